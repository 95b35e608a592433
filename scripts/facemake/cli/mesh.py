"""facemake mesh: the dense face of fitted frames, a file a frame."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facemake import geometry
from facemake.backends.fit.mesh import (
    CAMERA,
    CANONICAL,
    SPACES,
    Surface,
    canonical_axes,
    dense_faces,
    load_surface,
)
from facemake.backends.fit.meshfile import FORMATS, write_mesh
from facemake.cli.arguments import add_models_dir_of_run, add_results
from facemake.counting import counted
from facemake.errors import FacemakeError, TableError
from facemake.models import use_models_dir
from facemake.rows import lists, numbers
from facemake.runtime.contexts import Closing
from facemake.status import FrameStatus
from facemake.tables import TableReader
from facemake.version import __version__

_MOST_NAMED = 12


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "mesh",
        help="write the dense face of fitted frames, one PLY or OBJ file per frame",
        description="Write the surface of a sample's face in the given frames, in mm, from the "
        "tables `fit` and `identity` of a finished run. A face model with a mesh (`facemake models "
        "build ict-facekit`) gives a statistical surface. The built-in model has 68 landmarks: its "
        "surface of 468 points is interpolated between them, plausible but not measured. Frames "
        "without a fit are listed and left out. The model must be the one that made the fit.",
        epilog="example: facemake mesh anna_01 --frames 0:100:10 --space head --output heads",
    )
    parser.add_argument("sample", metavar="SAMPLE", help="a sample of the run")
    add_results(parser)
    parser.add_argument(
        "--track", type=_track, default=0, metavar="N", help="which face (default: 0)"
    )
    parser.add_argument(
        "--frames",
        type=_Frames.of,
        metavar="FRAMES",
        help="one frame, or START:STOP:STEP, which excludes STOP; parts left out mean the track's "
        "first frame, its last (included) and 1, so `:` is every frame (default: the first fitted "
        "frame)",
    )
    parser.add_argument(
        "--space",
        choices=list(SPACES),
        default=CAMERA,
        help=" | ".join(f"{name}: {words}" for name, words in SPACES.items())
        + f" (default: {CAMERA})",
    )
    parser.add_argument(
        "--format", choices=list(FORMATS), default="ply", help="file format (default: ply)"
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("mesh"),
        metavar="DIR",
        help="where to write (default: mesh)",
    )
    add_models_dir_of_run(parser)
    parser.set_defaults(function=_mesh)


def _track(text: str) -> int:
    if not _is_number(text):
        raise argparse.ArgumentTypeError(f"{text} is no track: a number from 0")
    return int(text)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


@dataclass(frozen=True)
class _Frames:
    """What `--frames` asks for; None is left out."""

    start: int | None
    stop: int | None
    step: int

    @classmethod
    def of(cls, text: str) -> _Frames:
        """From `N` or `START:STOP:STEP`."""
        if _is_number(text):
            return cls(int(text), int(text) + 1, 1)
        parts = text.split(":")
        numbers = [int(part) if _is_number(part) else None for part in parts]
        sound = all(not part or n is not None for part, n in zip(parts, numbers, strict=True))
        if not (2 <= len(parts) <= 3 and sound and 0 not in numbers[2:]):
            raise argparse.ArgumentTypeError(
                f"{text} names no frames: a frame as 120, or some as 0:100:10, from 0 and up"
            )
        start, stop = numbers[:2]
        return cls(start, stop, (numbers[2] if len(parts) == 3 else None) or 1)

    def among(self, first: int, last: int) -> range:
        """The frames, of a track that has those from `first` to `last`.

        Raises:
            FacemakeError: there is none, or one that the track does not have.
        """
        wanted = range(
            first if self.start is None else self.start,
            last + 1 if self.stop is None else self.stop,
            self.step,
        )
        if not wanted:
            raise FacemakeError(
                f"{wanted.start}:{wanted.stop} is no frame: START must be below STOP, which is not "
                f"taken itself; there are frames {first} to {last}"
            )
        for frame in (wanted[0], wanted[-1]):
            if not first <= frame <= last:
                raise FacemakeError(f"there is no frame {frame}: there are {first} to {last}")
        return wanted


def _mesh(options: argparse.Namespace, rest: list[str]) -> int:
    use_models_dir(options.models_dir)
    written = 0
    with _Track.open(options.results, options.sample, options.track) as track:
        chosen = track.choose(options.frames)
        identity = None if options.space == "canonical" else track.identity()
        surface = load_surface(*track.model())
        for frame, vertices, triangles in _faces(track, surface, chosen, identity, options.space):
            name = f"{track.sample}_track{track.number}_frame{frame:06d}.{options.format}"
            path = options.output / name
            try:
                write_mesh(path, vertices, triangles, _comments(track, surface, frame, options))
            except OSError as error:
                raise FacemakeError(f"{path} cannot be written: {error.strerror}") from None
            print(path)
            written += 1
    mesh = surface.mesh
    print(
        f"{counted(written, 'file')}, {len(mesh.mean)} vertices and {len(mesh.triangles)} "
        f"triangles each: {surface.says}; licence: {mesh.licence}",
        file=sys.stderr,
    )
    return 0


def _faces(
    track: _Track,
    surface: Surface,
    chosen: NDArray[np.int32],
    identity: NDArray[np.float32] | None,
    space: str,
) -> Iterator[tuple[int, NDArray[np.float64], NDArray[np.int32]]]:
    """Frame, (V, 3) mm and (T, 3) of each chosen frame, a row group of the table at a time."""
    triangles = surface.mesh.triangles
    for frames, expression, euler, translation in track.rows(chosen, surface):
        pose = space == CAMERA
        faces = dense_faces(
            surface.mesh,
            identity,
            expression,
            geometry.rotation_from_euler(euler) if pose else None,
            translation if pose else None,
        )
        for frame, shape in zip(frames, faces, strict=True):
            if space == CANONICAL:
                yield frame, *canonical_axes(shape, triangles)
            else:
                yield frame, shape, triangles


def _comments(
    track: _Track, surface: Surface, frame: int, options: argparse.Namespace
) -> list[str]:
    mesh = surface.mesh
    return [
        f"facemake {__version__}: sample {track.sample}, track {track.number}, frame {frame}",
        f"mm, {options.space} axes: {SPACES[options.space]}",
        f"{surface.says}",
        f"face model {mesh.name}, SHA-256 {mesh.sha256}",
        f"licence: {mesh.licence}",
        f"citation: {mesh.citation}",
    ]


class _Track(Closing):
    """One face of a sample, as the tables of a run have it."""

    def __init__(self, results: Path, sample: str, number: int, reader: TableReader) -> None:
        self.sample = sample
        self.number = number
        self._reader = reader
        self._people = results / "identity" / reader.path.name

    @classmethod
    def open(cls, results: Path, sample: str, number: int) -> _Track:
        """Find the shard of a sample.

        Raises:
            FacemakeError: there is no such run, or no such sample in it.
        """
        folder = results / "fit"
        tables = sorted(p for p in folder.glob("*.parquet") if not p.name.startswith("."))
        if not tables:
            raise FacemakeError(
                f"there is no table of fits in {folder}: --results names the results folder of a "
                "finished run"
            )
        # most often a sample is a shard of its own
        tables.sort(key=lambda path: path.stem != sample)
        known: list[str] = []
        for path in tables:
            reader = TableReader(path)
            if sample in reader.samples:
                return cls(results, sample, number, reader)
            known += reader.samples
            reader.close()
        raise FacemakeError(
            f"no table in {folder} has frames of a sample {sample}: "
            f"{results / 'probe'} says whether it could be read; there are "
            f"{_some(sorted(known)) or 'none at all'}"
        )

    def close(self) -> None:
        """Close the table."""
        self._reader.close()

    def model(self) -> tuple[str, str]:
        """Name in the config and SHA-256 of the face model that made the fit.

        Raises:
            TableError: the table does not say it.
        """
        recipe = self._reader.metadata.get("recipe", {})
        name = recipe.get("settings", {}).get("model")
        models = recipe.get("models", ())
        if not name or not models:
            raise TableError(
                f"{self._reader.path} does not name the face model that made it, so that its "
                "coefficients have no meaning: run the workflow again"
            )
        return str(name), str(models[0]["sha256"])

    def choose(self, asked: _Frames | None) -> NDArray[np.int32]:
        """The fitted ones (n,) of the frames that are asked for; the others are named on stderr.

        Raises:
            FacemakeError: the track does not have them, or none of them is fitted.
        """
        table = self._reader.read(self.sample, ["frame", "track", "status"])
        track = table["track"].to_numpy()
        mine = track == self.number
        if not mine.any():
            there = _some([str(n) for n in np.unique(track).tolist()])
            raise FacemakeError(f"{self.sample} has no track {self.number}: it has {there}")
        frames = table["frame"].to_numpy()[mine]
        status = table["status"].to_numpy(zero_copy_only=False)[mine]
        wanted = (asked or _Frames(None, None, 1)).among(int(frames[0]), int(frames[-1]))
        here = np.isin(frames, wanted)
        fitted = here & (status == FrameStatus.OK)
        others = here & ~fitted
        words = _by_status(frames[others].tolist(), status[others].tolist(), wanted.step)
        if not fitted.any():
            raise FacemakeError(f"no frame is fitted of those asked for ({words})")
        found: NDArray[np.int32] = frames[fitted]
        if asked is None:
            return found[:1]
        if words:
            print(f"left out, not fitted: {words}", file=sys.stderr)
        return found

    def identity(self) -> NDArray[np.float32] | None:
        """(I,) coefficients of the track; None where the fit fell back on the mean face.

        Raises:
            FacemakeError: its pictures stand alone, so that each has an identity that no table has.
            TableError: the identity table is missing or of another run.
        """
        if not self._people.is_file():
            raise TableError(f"{self._people} is missing: run the workflow again")
        with TableReader(self._people) as reader:
            if reader.metadata.get("lineage") != self._reader.metadata.get("lineage"):
                raise TableError(
                    f"{self._people} and {self._reader.path} are not of one run: run the workflow "
                    "again"
                )
            rows = reader.read(self.sample, ["track", "identity", "n_frames"]).to_pylist()
        row = next((row for row in rows if row["track"] == self.number), None)
        if row is None:
            raise TableError(f"{self._people} lacks track {self.number} of {self.sample}")
        if row["identity"] is None and row["n_frames"]:
            raise FacemakeError(
                f"the pictures of {self.sample} stand alone: each was fitted with an identity of "
                "its own, which is in no table. --space canonical, which is without identity, "
                "works; for the person's own face set `track: {image_folders: sequence}` where "
                "all pictures are of one person and one size, and run the workflow again"
            )
        return None if row["identity"] is None else np.array(row["identity"], np.float32)

    def rows(self, chosen: NDArray[np.int32], surface: Surface) -> Iterator[tuple[Any, ...]]:
        """Frames, expression (n, E), angles (n, 3) rad and translation (n, 3) mm, by row group."""
        columns = ("rx", "ry", "rz", "tx", "ty", "tz")
        for table in self._reader.groups(
            self.sample, ["frame", "track", "expression", "status", *columns]
        ):
            frames = table["frame"].to_numpy()
            mine = (table["track"].to_numpy() == self.number) & np.isin(frames, chosen)
            if not mine.any():
                continue
            some = table.filter(mine)
            pose = np.stack([numbers(some, name) for name in columns], axis=1).astype(np.float64)
            expression = lists(some, "expression", len(surface.mesh.expression))
            if not (np.isfinite(expression).all() and np.isfinite(pose).all()):
                raise TableError(
                    f"{self._reader.path} has fitted frames without the {expression.shape[1]} "
                    "expressions of its model, or without a pose: delete it and run again"
                )
            yield frames[mine].tolist(), expression, pose[:, :3], pose[:, 3:]


def _some(words: Sequence[str]) -> str:
    more = len(words) - _MOST_NAMED
    return ", ".join(words[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _by_status(frames: Sequence[int], status: Sequence[str], step: int) -> str:
    """Every frame by its status: `lost 3-5, 9; no_face 12`, a run of frames as its ends."""
    words = []
    for word in sorted(set(status)):
        runs: list[list[int]] = []
        for frame in (f for f, s in zip(frames, status, strict=True) if s == word):
            if runs and frame == runs[-1][-1] + step:
                runs[-1][1:] = [frame]
            else:
                runs.append([frame])
        words.append(f"{word} {', '.join('-'.join(map(str, run)) for run in runs)}")
    return "; ".join(words)
