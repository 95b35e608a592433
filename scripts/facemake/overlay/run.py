"""A sample's overlay, from its tables and its recording to a file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import takewhile, zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from facemake.counting import counted
from facemake.errors import FacemakeError, TableError
from facemake.media import Frame, Kind, Media, MediaError, VideoMedia, open_media
from facemake.media.images import ImageMedia
from facemake.overlay.drawing import Pen
from facemake.overlay.hiding import BEFORE_AND_AFTER, Course, hide
from facemake.overlay.options import Options
from facemake.overlay.rows import FrameRows, au_columns, frames_of
from facemake.overlay.sinks import (
    STAMPLESS_RATE,
    PictureSink,
    Pixels,
    Sink,
    Sound,
    Stream,
    VideoSink,
    colours_of,
    comment_of,
)
from facemake.overlay.study import Recorded
from facemake.overlay.surface import Surface
from facemake.overlay.view import View
from facemake.pictures import stand_alone
from facemake.provenance import digest
from facemake.rows import numbers
from facemake.runtime.atomic import replacing, replacing_folder
from facemake.shards import read_metadata
from facemake.status import FrameStatus
from facemake.tables import TableReader
from facemake.version import __version__

_UNDECODED = 40  # grey of a frame that cannot be decoded
_UNKNOWN_SIZE = 64  # px of one whose size nobody knows
_MOST_RUNS = 10


@dataclass
class Made:
    """What became of a sample.

    Attributes:
        path: the file, or the folder of pictures.
        frames: that it has.
        undecoded: frames that are grey.
        bare: frames in which nothing is hidden though faces were to be hidden.
        without_mesh: frames of faces whose identity is in no table, so that they have no mesh.
        unseen: tracks that were asked for and are in none of its frames.
    """

    path: Path
    frames: int = 0
    undecoded: int = 0
    bare: list[int] | None = None
    without_mesh: int = 0
    unseen: frozenset[int] = frozenset()

    def remarks(self) -> Iterator[str]:
        """What who looks at it should know, a line each."""
        frames = counted(self.frames, "frame")
        if self.undecoded:
            yield f"{self.undecoded} of {frames} cannot be decoded: grey"
        if self.bare:
            yield (
                f"in {len(self.bare)} of {frames} nothing is hidden, since no face was "
                f"found there that is to be; look at them: {_runs(self.bare)}"
            )
        if self.without_mesh:
            yield (
                f"{counted(self.without_mesh, 'face')} without a mesh: pictures that stand alone "
                "are fitted each with an identity that no table has"
            )
        if self.unseen:
            yield f"no frame has track {', '.join(map(str, sorted(self.unseen)))}"


def _runs(frames: Sequence[int]) -> str:
    """`3-5, 9`: runs of frames by their ends."""
    runs: list[list[int]] = []
    for frame in frames:
        if runs and frame == runs[-1][-1] + 1:
            runs[-1][1:] = [frame]
        else:
            runs.append([frame])
    words = ", ".join("-".join(map(str, run)) for run in runs[:_MOST_RUNS])
    return words + (f" and {len(runs) - _MOST_RUNS} more" if len(runs) > _MOST_RUNS else "")


def frames_in(recorded: Recorded, options: Options) -> int:
    """How many frames a sample's overlay has."""
    there = recorded.probe["n_frames"] or 0
    if options.frames is None:
        return there
    first, last = options.frames
    return max(0, min(last + 1, there) - first)


def target(recorded: Recorded, options: Options, folder: Path) -> Path:
    """Where a sample's overlay goes."""
    name = recorded.sample.sample
    if options.frames is not None:
        name += "_frames" + "-".join(f"{frame:06d}" for frame in options.frames)
    kind = recorded.probe["kind"]
    if kind == Kind.VIDEO:
        return folder / f"{name}.mp4"
    if kind == Kind.IMAGE:
        return PictureSink(folder, name, "").path(0, recorded.sample.path.name)
    return folder / name


def is_made(recorded: Recorded, options: Options, folder: Path) -> bool:
    """Whether a sample's overlay is there, of these tables and in this very way."""
    path = target(recorded, options, folder)
    if not path.exists():
        return False
    try:
        tables = {stage: recorded.table(stage) for stage in options.tables}
        lineages = {
            stage: _lineage(path, path.stat().st_mtime_ns) for stage, path in tables.items()
        }
    except FacemakeError:
        return False
    return comment_of(path) == _comment(recorded, options, lineages)


@lru_cache(maxsize=64)
def _lineage(table: Path, mtime_ns: int) -> str:
    """Of a table; the samples of a shard have the same ones."""
    return str(read_metadata(table)["lineage"])


def _comment(recorded: Recorded, options: Options, lineages: Mapping[str, str]) -> str:
    # a sample's name is often a person's
    of = f" of {recorded.sample.sample}" if options.hide is None else ""
    made_of = digest([[stage, lineages[stage]] for stage in options.tables])
    return f"facemake {__version__} overlay{of}; {options.words}; tables {made_of[:16]}"


def overlay(
    recorded: Recorded,
    options: Options,
    folder: Path,
    told: Callable[[int], None] = lambda frames: None,
) -> Made:
    """Write the overlay of a sample; what is there is replaced when the new one is whole.

    Args:
        recorded: the sample.
        options: what is drawn and hidden.
        folder: where it goes, by `target`.
        told: is told how many frames are done.

    Raises:
        FacemakeError: it has no frames, a table is missing or of another run, the recording was
            exchanged.
        OSError: it cannot be written.
    """
    if not recorded.has_frames:
        status, reason = recorded.probe["status"], recorded.probe["reason"]
        raise FacemakeError(f"{recorded.sample.sample} has no frames: {status}, {reason}")
    with ExitStack() as stack:
        readers = {
            stage: stack.enter_context(TableReader(recorded.table(stage)))
            for stage in options.tables
        }
        _check_one_run(readers)
        try:
            media = stack.enter_context(open_media(recorded.sample))
        except MediaError as error:
            raise FacemakeError(f"{recorded.sample.sample}: {error.reason}") from None
        except OSError as error:
            raise FacemakeError(
                f"{recorded.sample.path} cannot be read ({error.strerror}): put the recording back "
                "where the sample sheet names it"
            ) from None
        made = Made(target(recorded, options, folder))
        _Overlay(recorded, options, readers, media, made).write(told)
    return made


def _check_one_run(readers: dict[str, TableReader]) -> None:
    samples = {name: reader.metadata.get("samples") for name, reader in readers.items()}
    for name, recordings in samples.items():
        if recordings != samples["detections"]:
            raise TableError(
                f"{readers[name].path} and {readers['detections'].path} are not of one run: run "
                "the workflow again"
            )


class _Overlay:
    """One sample at work."""

    def __init__(
        self,
        recorded: Recorded,
        options: Options,
        readers: dict[str, TableReader],
        media: Media,
        made: Made,
    ) -> None:
        self._recorded = recorded
        self._options = options
        self._readers = readers
        self._media = media
        self._made = made
        sample = recorded.sample.sample
        surface = None
        if options.needs_mesh:
            surface = Surface.of(readers["fit"].metadata["recipe"], recorded.faces_of_3di)
        if surface is not None and "identity" in readers:
            surface.know(readers["identity"], sample)
        self._surface = surface
        self._settings: dict[str, Any] = (
            readers["fit"].metadata["recipe"]["settings"] if "fit" in readers else {}
        )
        self._view: tuple[tuple[int, int], View] | None = None
        self._seen: set[int] = set()
        barred = frozenset({0}) if options.tracks is None else options.tracks
        self._pen = Pen(
            options.draw,
            au_columns(readers),
            surface,
            barred,
            self._bars_left(barred),
        )
        self._times = self._shown() if options.frames or options.from_zero else []
        self._zero = (self._times[0] or 0.0) if options.from_zero and self._times else 0.0
        self._course: Course | None = None
        if options.hide is not None:
            made.bare = []
            alone = stand_alone(recorded.probe, readers["detections"].metadata)
            around = round(BEFORE_AND_AFTER * (recorded.probe["fps"] or 0))
            self._course = Course(
                readers["detections"],
                sample,
                in_time=not alone,
                around=max(1, around),
                spare=options.spare,
            )

    def _bars_left(self, tracks: frozenset[int]) -> bool | None:
        """Which side of a video has the bars, all of it; None: each picture has its own side."""
        width = self._recorded.probe["width"]
        if not isinstance(self._media, VideoMedia) or not width:
            return None
        total = count = 0.0
        columns = ["track", "x", "w"]
        for table in self._readers["detections"].groups(self._recorded.sample.sample, columns):
            mine = np.isin(table["track"].to_numpy(), list(tracks))
            middles = (numbers(table, "x") + numbers(table, "w") / 2)[mine]
            total += float(np.nansum(middles))
            count += int(np.isfinite(middles).sum())
        return count > 0 and total / count > width / 2

    def write(self, told: Callable[[int], None]) -> None:
        with self._sink() as sink:
            for frame, rows in self._frames():
                sink.write(*self._drawn(frame, rows), self._name(frame))
                self._made.frames += 1
                told(self._made.frames)
        self._made.unseen = (self._options.tracks or frozenset()) - self._seen

    def _frames(self) -> Iterator[tuple[Frame, FrameRows]]:
        """Each frame with its rows, which must be about the same recording."""
        surface = self._surface
        rows = frames_of(
            self._readers,
            self._recorded.sample.sample,
            self._options.pose,
            surface.coefficients if surface is not None else None,
        )
        frames: Iterable[Frame] = self._media
        if self._options.frames is not None:
            first, last = self._options.frames
            rows = (row for row in takewhile(lambda r: r.frame <= last, rows) if row.frame >= first)
            frames = self._picked(first)
        for frame, row in zip_longest(frames, rows):
            if frame is None or row is None or frame.index != row.frame or frame.time != row.time:
                at = frame.index if frame else row.frame if row else 0
                raise FacemakeError(
                    f"{self._recorded.sample.path} does not have the frames that the tables of "
                    f"{self._recorded.sample.sample} are about (frame {at}): it was exchanged "
                    "since; run the workflow again"
                )
            yield frame, row

    def _picked(self, first: int) -> Iterator[Frame]:
        """The frames from `first` on that have a time in `_times`, by way of key frames."""
        times = [time for time in self._times if time is not None]
        wanted = list(range(first, first + len(self._times)))
        try:
            yield from self._media.pick(wanted, times if len(times) == len(wanted) else None)
        except ValueError as error:
            raise FacemakeError(f"{error}; run the workflow again") from None

    def _shown(self) -> list[float | None]:
        """The times of the frames that are written; of all frames, the first one's alone."""
        first, last = self._options.frames or (0, None)
        found: list[float | None] = []
        sample = self._recorded.sample.sample
        for table in self._readers["detections"].groups(sample, ["frame", "track", "time"]):
            frames = table["frame"].to_numpy()
            mine = (table["track"].to_numpy() == 0) & (frames >= first)
            if last is not None:
                mine &= frames <= last
            found += table["time"].filter(mine).to_pylist()
            if last is None and found:
                return found[:1]
        if not found:
            n = self._recorded.probe["n_frames"]
            raise FacemakeError(f"{sample} has no frame {first}: it has {n} frames, from 0")
        return found

    def _drawn(
        self, frame: Frame, rows: FrameRows
    ) -> tuple[Pixels, int, float | None, float | None]:
        time = frame.time
        if time is not None and self._options.from_zero:
            time -= self._zero
        if frame.status == FrameStatus.DECODE_ERROR:
            self._made.undecoded += 1
            probe = self._recorded.probe
            height = frame.height or probe["height"] or _UNKNOWN_SIZE
            width = frame.width or probe["width"] or _UNKNOWN_SIZE
            return (
                np.full((height, width, 3), _UNDECODED, np.uint8),
                frame.index,
                time,
                frame.duration,
            )
        rgb = frame.rgb
        if not rgb.flags.writeable:
            rgb = rgb.copy()
        options = self._options
        view = self._view_of(frame)
        self._seen.update(face.track for face in rows.faces)
        if self._course is not None and options.hide is not None:
            regions = list(self._course.regions(frame.index, rows.faces))
            for region in regions:
                hide(rgb, region, options.hide)
            if not regions and self._made.bare is not None:
                self._made.bare.append(frame.index)
            if options.hide == "mesh" and self._surface is not None:
                for face in rows.faces:
                    if face.track not in options.spare:
                        self._surface.shaded(rgb, face, view)
        faces = [
            face for face in rows.faces if options.tracks is None or face.track in options.tracks
        ]
        if "mesh" in options.draw and self._surface is not None:
            self._made.without_mesh += sum(
                face.expression is not None and not self._surface.knows(face.track)
                for face in faces
            )
        self._pen.draw(rgb, faces, view, frame.index, frame.time)
        return rgb, frame.index, time, frame.duration

    def _view_of(self, frame: Frame) -> View:
        size = frame.width, frame.height
        if self._view is None or self._view[0] != size:
            view = View.of(self._settings, size, self._recorded.probe["rotation"])
            self._view = size, view
        return self._view[1]

    def _name(self, frame: Frame) -> str:
        if isinstance(self._media, ImageMedia):
            return self._media.paths[frame.index].name
        return ""

    @contextmanager
    def _sink(self) -> Iterator[Sink]:
        sample, path = self._recorded.sample, self._made.path
        lineages = {name: reader.metadata["lineage"] for name, reader in self._readers.items()}
        comment = _comment(self._recorded, self._options, lineages)
        if isinstance(self._media, VideoMedia):
            with ExitStack() as stack:
                beside = stack.enter_context(replacing(path))
                sound = None
                if self._options.audio:
                    start, end = sample.start, sample.end
                    if self._options.frames is not None:
                        start = self._times[0]
                        usual = 1 / (self._recorded.probe["fps"] or STAMPLESS_RATE)
                        end = None if self._times[-1] is None else self._times[-1] + usual
                    sound = Sound(sample.path, start, end, self._zero)
                    stack.callback(sound.close)
                yield stack.enter_context(
                    VideoSink(beside, self._stream(), comment, sound, self._options.threads)
                )
        elif self._recorded.probe["kind"] == Kind.IMAGE:
            yield PictureSink(path.parent, path.stem, comment)
        else:
            with replacing_folder(path) as beside:
                yield PictureSink(beside, None, comment, named=self._options.hide is None)

    def _stream(self) -> Stream:
        assert isinstance(self._media, VideoMedia)
        aspect = self._media.pixel_aspect
        turned = (self._recorded.probe["rotation"] or 0) % 180 == 90
        return Stream(
            self._media.tick,
            self._recorded.probe["fps"],
            1 / aspect if turned else aspect,
            *colours_of(self._media.path),
        )
