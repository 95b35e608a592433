"""The probe stage: what each sample really is, found by decoding all of it."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from facemake.counting import counted
from facemake.media import Frame, Kind, Media, MediaError, VideoMedia, classify, open_media
from facemake.provenance import Recipe
from facemake.samples import Sample
from facemake.shards import ShardRun
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
        sound_offset: seconds from the first frame's stamp to where the sound begins, by the
            file's own clock; None where there is no sound, for a time range, and where the file is
            cut short.
        sound_duration: seconds that the sound lasts; None likewise.
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
    sound_offset: float | None = None
    sound_duration: float | None = None
    sha256: str | None = None
    status: SampleStatus = SampleStatus.OK
    reason: str = ""


def probe(plan: Path, output: Path, recipe: Recipe) -> None:
    """Write the probe table of a shard: a row a sample, whatever the sample is.

    Args:
        plan: the shard's plan file.
        output: `probe/{shard}.parquet`.
        recipe: of the stage `probe`.
    """
    with ShardRun(recipe, plan, [], {"probe": output}) as run:
        for sample, part in run.pending():
            row = probe_sample(sample)
            part.table("probe").append(**asdict(row))
            run.progress.frame(row.n_frames or 0)


def probe_sample(sample: Sample) -> ProbeRow:
    """Decodes a whole sample (no pixel is converted) and says what it is.

    Raises:
        OSError: the path is gone, or the disk fails: nothing that a row could say.
    """
    row = ProbeRow(sample=sample.sample, sha256=sample.sha256)
    if sample.excluded:
        return replace(row, status=SampleStatus.EXCLUDED, reason=sample.reason)
    try:
        row = replace(row, kind=str(classify(sample.path)))
        with open_media(sample) as media:
            if isinstance(media, VideoMedia):
                return _probe_video(sample, media, row)
            return _probe_pictures(sample, media, row)
    except MediaError as error:
        return replace(row, status=error.status, reason=error.reason)


@dataclass(slots=True)
class _Looks:
    """What the frames have in common."""

    sizes: set[tuple[int, int]] = field(default_factory=set)
    turns: set[int] = field(default_factory=set)
    codecs: set[str] = field(default_factory=set)
    count: int = 0
    broken: list[Frame] = field(default_factory=list)
    """The first few."""
    n_broken: int = 0

    def add(self, frame: Frame) -> None:
        self.count += 1
        if frame.status is FrameStatus.DECODE_ERROR:
            self.n_broken += 1
            if len(self.broken) < 3:
                self.broken.append(frame)
        if frame.width:
            self.sizes.add((frame.width, frame.height))
            self.turns.add(frame.orientation.degrees)
            self.codecs.add(frame.codec or "")

    def into(self, row: ProbeRow) -> ProbeRow:
        width, height = self.sizes.copy().pop() if len(self.sizes) == 1 else (None, None)
        return replace(
            row,
            width=width,
            height=height,
            rotation=self.turns.copy().pop() if len(self.turns) == 1 else None,
            codec=",".join(sorted(self.codecs)) or None,
            n_frames=self.count,
        )


def _probe_pictures(sample: Sample, media: Media, row: ProbeRow) -> ProbeRow:
    looks, statuses = _Looks(), set()
    for frame in media:
        looks.add(frame)
        statuses.add(frame.error.status if frame.error else SampleStatus.OK)
    row = looks.into(row)
    all_ = counted(looks.count, "picture")
    reasons = "; ".join(str(frame.error) for frame in looks.broken)
    if looks.n_broken > len(looks.broken):
        reasons += "; …"
    if looks.n_broken == looks.count:
        status = statuses.pop() if len(statuses) == 1 else SampleStatus.UNREADABLE
        if row.kind == Kind.IMAGES:
            reasons = f"none of the {all_} in {sample.path.name} can be read: {reasons}"
        return replace(row, n_frames=0, status=status, reason=reasons)
    if looks.n_broken:
        return replace(row, reason=f"{looks.n_broken} of {all_} cannot be read: {reasons}")
    return row


@dataclass(slots=True)
class _Clock:
    """The stamps of a stream, one by one."""

    tick: float
    first: float | None = None
    last: float = 0.0
    last_duration: float | None = None
    steps: int = 0
    backward: int = 0
    shortest: float = math.inf
    longest: float = -math.inf

    def add(self, frame: Frame) -> None:
        if frame.time is None:
            return
        if self.first is None:
            self.first = frame.time
        else:
            step = frame.time - self.last
            self.steps += 1
            self.backward += step <= 0
            self.shortest, self.longest = min(self.shortest, step), max(self.longest, step)
        self.last, self.last_duration = frame.time, frame.duration

    def into(self, row: ProbeRow, until: float) -> ProbeRow:
        """The row with its times; `until`, in seconds, is where the stream ends by its word."""
        if self.first is None:
            return row
        span = self.last - self.first
        mean = span / self.steps if self.steps else None
        shown = self.last_duration if self.last_duration is not None else mean
        end = self.last + (shown or 0.0)
        if until > self.last:
            end = min(end, until)
        if mean is None or span <= 0:
            return replace(row, duration=end - self.first)
        shortest, longest = round(self.shortest / self.tick), round(self.longest / self.tick)
        return replace(
            row,
            duration=end - self.first,
            fps=1 / mean,
            vfr=longest - shortest > (1 if shortest > 1 else 0),
        )


def _probe_video(sample: Sample, media: VideoMedia, row: ProbeRow) -> ProbeRow:
    path, tick = sample.path, media.tick
    looks, clock = _Looks(), _Clock(tick or 1.0)
    for frame in media:
        looks.add(frame)
        clock.add(frame)
    tally, missing = media.tally, media.missing()
    row = clock.into(looks.into(replace(row, codec=media.codec)), media.shown_until)
    if not looks.count:
        return replace(
            row, n_frames=0, status=SampleStatus.UNREADABLE, reason=_nothing(sample, media)
        )
    notes = []
    if missing:
        notes.append(
            f"{path.name} is cut short: {missing}. What is there is used "
            f"({counted(looks.count, 'frame')}); copy it again from where it came to have all"
        )
    if tally.failed:
        notes.append(
            f"{tally.failed} of {tally.packets} packets could not be decoded ({tally.error}): the "
            "frames in them are left out, those that follow may show damage"
        )
    if looks.n_broken:
        first = ", ".join(str(frame.index) for frame in looks.broken)
        notes.append(
            f"{looks.n_broken} of {counted(looks.count, 'frame')} damaged (decode_error), first: "
            f"{first}"
        )
    if tick is None:
        notes.append("a bare stream without time stamps: its duration and rate are not known")
    if clock.backward:
        notes.append(f"{clock.backward} of its time stamps do not come after the one before")
    if media.pixel_aspect != 1:
        notes.append(f"its pixels are not square ({media.pixel_aspect}); they are used as they are")
    if tally.interlaced:
        notes.append(
            f"{tally.interlaced} of its frames are interlaced (two half pictures woven together): "
            "fast movement has combed edges"
        )
    whole = sample.start is None and sample.end is None and tally.finished and not missing
    if whole and clock.first is not None and tally.sound_start is not None:
        row = replace(
            row,
            sound_offset=tally.sound_start - clock.first,
            sound_duration=tally.sound_end - tally.sound_start,
        )
    if sample.end is not None and tally.finished and sample.end - tally.shown_end > 0.5:
        notes.append(f"its range ends at {sample.end} s, it ends at {tally.shown_end:.2f} s")
    status = SampleStatus.TRUNCATED if missing else SampleStatus.OK
    return replace(row, status=status, reason="; ".join(notes))


def _nothing(sample: Sample, media: VideoMedia) -> str:
    """Why a video gave no frame."""
    tally = media.tally
    if tally.frames or (tally.packets and not tally.failed and not media.missing()):
        return (
            f"{sample.path.name} has no frame from {sample.start or 0} s to "
            f"{'its end' if sample.end is None else f'{sample.end} s'}: the recording ends at "
            f"{tally.shown_end:.2f} s of its own clock. Correct start and end in the sample sheet"
        )
    said = tally.error or media.missing() or "it holds none"
    return f"{sample.path.name} gives not a single frame ({said}): copy it again from where it came"
