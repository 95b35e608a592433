"""The probe stage: what each sample really is, found by decoding all of it."""

from __future__ import annotations

from array import array
from dataclasses import dataclass

from facemake.media import Frame, Kind, MediaError, VideoMedia, classify, open_media
from facemake.samples import Sample
from facemake.status import FrameStatus, SampleStatus


@dataclass(frozen=True, slots=True)
class ProbeRow:
    """One row of the probe table.

    Attributes:
        sample: its name.
        kind: `video`, `image` or `images`; None where it could not be looked at.
        width, height: pixels, upright; None where its frames differ in size, or has none.
        codec: ffmpeg's name of a video's codec, Pillow's of a picture's format, lower case; in
            a folder of several kinds, all of them with a comma between.
        rotation: degrees clockwise that make the stored pixels upright (0, 90, 180, 270), as
            every stage already does; None where frames differ in it.
        n_frames: frames that the decoder put out, those with status `decode_error` included;
            for pictures, their number.
        duration: seconds from the first frame's stamp to the last one's, plus how long the last
            one is shown: by its own word, but no longer than the stream; the mean step where it
            says nothing. None for pictures and where a stream has no stamps.
        fps: frames a second, mean: steps between stamps divided by their time; None for a
            single frame.
        vfr: whether the frame rate varies: two steps between frames differ by more than one
            tick of the stream's clock (which is what rounding to it can do), or at all where a
            frame is as short as a tick. None for pictures and single frames.
        sha256: as the sample has it.
        status: of the sample.
        reason: in words; for status `ok` what is worth knowing, mostly nothing.
    """

    sample: str
    kind: str | None = None
    width: int | None = None
    height: int | None = None
    codec: str | None = None
    rotation: int | None = None
    n_frames: int | None = None
    duration: float | None = None
    fps: float | None = None
    vfr: bool | None = None
    sha256: str | None = None
    status: SampleStatus = SampleStatus.OK
    reason: str = ""
