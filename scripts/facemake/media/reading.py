"""The two ways to a sample's frames: all of them, or a few chosen ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from facemake.media.files import classify
from facemake.media.frame import Frame, Kind, Media, MediaError
from facemake.media.video import VideoMedia
from facemake.samples import Sample
from facemake.status import SampleStatus


def open_media(sample: Sample) -> Media:
    """Opens a sample's video, picture or folder; a context manager, and iterable.

    Memory does not grow with the length; one thread decodes.

    Raises:
        MediaError: the data are not what they should be: `unreadable`, `no_video_stream`,
            `no_images` or `no_permission`, with the reason.
        OSError: the path is gone, or the disk fails.
    """
    if classify(sample.path) is Kind.VIDEO:
        return VideoMedia(sample.path, sample.start, sample.end)
    if sample.start is not None or sample.end is not None:
        raise MediaError(
            SampleStatus.UNREADABLE,
            f"{sample.path.name} is no video and has no time: remove start and end from this line "
            "of the sample sheet",
        )
    # here: a job that reads videos does without Pillow's readers
    from facemake.media.images import ImageMedia

    return ImageMedia(sample.path)


def read_frames(
    sample: Sample, wanted_indices: Sequence[int], times: Sequence[float] | None = None
) -> Iterator[Frame]:
    """Only the chosen frames, in order, pixel for pixel those that `open_media` gives.

    With `times` a video is entered at key frames where that is certain to give the same
    pixels; each frame must then bear the very time stamp that is expected of it. Where
    anything is doubtful, and without `times`, everything up to the last chosen frame is decoded.

    Arguments:
        sample: as for `open_media`.
        wanted_indices: frame indices, strictly increasing.
        times: their stamps in seconds, as `Frame.time` gave them (float64, or rounded to
            float32); not needed for pictures.

    Raises:
        ValueError: the indices do not increase, or the recording has no such frame (it was
            exchanged since it was probed).
        MediaError, OSError: as for `open_media`.
    """
    wanted = [int(index) for index in wanted_indices]
    if min(wanted, default=0) < 0 or any(b <= a for a, b in pairwise(wanted)):
        raise ValueError("frame indices must be strictly increasing, from 0")
    stamps = None if times is None else [float(time) for time in times]
    if stamps is not None and len(stamps) != len(wanted):
        raise ValueError(f"{len(wanted)} indices but {len(stamps)} times")
    if not wanted:
        return
    with open_media(sample) as media:
        yield from media.pick(wanted, stamps)
