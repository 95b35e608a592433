"""Join tracks by boxes to people, by what their faces look like, and choose the main one."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from facemake.backends.embed import EMBEDDERS, Embedder, Face, OnlyFace
from facemake.bestframes import choose_frames
from facemake.detections import DetectionList, Track, landmark_box
from facemake.errors import FacemakeError
from facemake.identities import SAME_PERSON, Piece, people_of, pieces_of, seen_together
from facemake.media import MediaError, open_media, read_frames
from facemake.pictures import stand_alone
from facemake.provenance import Recipe, digest, file_sha256
from facemake.references import EVERYBODY
from facemake.samples import Sample
from facemake.shards import ShardRun, decodable_samples
from facemake.stages.tracked import Tracked, read_tracked
from facemake.tables import TableReader
from facemake.tracking import ordered

logger = logging.getLogger(__name__)

FRAMES_PER_PIECE = 5
"""That a piece of a track is known by."""

LEAST_SIDE = 40.0
"""px: of a face as BlazeFace draws it. At 40 an embedding is on average 0.18 and at most 0.22 away
from that of the same face in full size, at 32 it is 0.21 and 0.26, at 20 it is 0.32 and 0.38."""

_ALIKE = 0.3
"""How far apart the looks of a piece may be that is seen beside another: who look alike are told
apart by who is nearer to whom, and one person's pieces join again."""

_LONG = 250
"""Detections of a recording of one track, from which on its looks are looked at all the same: five
faces cost little beside what so many frames have cost."""

_FULL_SIDE = 150.0
"""px: the chip's own."""

_FARTHEST = 2.0
"""Of two unit vectors."""

REFERENCE = "reference"
"""The main-face rule that goes by a picture."""

_Looks = dict[int, NDArray[np.float32]]
"""Detection -> unit vector."""


def identify(
    plan: Path,
    probe: Path,
    tracklets: Path,
    output: Path,
    recipe: Recipe,
    references: Mapping[str, tuple[Path, str]] = MappingProxyType({}),
) -> None:
    """Write the detections table of a shard from its tracks by boxes.

    Nothing else of it changes than which track a face belongs to. Of pictures that stand alone only
    the main face is chosen, where that goes by a picture.

    Args:
        plan: the shard's plan file.
        probe: its probe table.
        tracklets: what `detect` wrote: tracks that end where boxes end.
        output: `detections/{shard}.parquet`.
        recipe: of the stage `identify`.
        references: subject -> a picture of them and its SHA-256, for the rule `reference`; the
            subject `EVERYBODY` is that of all samples. A sample of nobody's goes by `prominent`.

    Raises:
        FacemakeError: there is not one face in the reference picture, or it was exchanged.
        ModelError: a model is missing or not the registered one.
    """
    row = EMBEDDERS[str(recipe.backend)]
    # one picture of everybody is in the recipe
    pictures = {who: sha256 for who, (_, sha256) in references.items() if who != EVERYBODY}
    also = digest(pictures) if pictures else ""
    with (
        closing(row.create(recipe.models[0]["name"], "cpu")) as embedder,
        ShardRun(recipe, plan, [probe, tracklets], {"detections": output}, also=also) as run,
        TableReader(tracklets) as reader,
    ):
        if pictures:
            run.metadata["references"] = pictures
        wanted_of = _Wanted(references, embedder)
        known = decodable_samples(probe)
        run.progress.expect(sum(one["n_frames"] for one in known.values()))
        for sample, part in run.pending():
            writer = part.table("detections")
            if sample.sample not in known:
                continue
            of_probe = known[sample.sample]
            wanted = wanted_of(sample.subject)
            alone = stand_alone(of_probe, run.metadata)
            tracked = read_tracked(reader, sample.sample, alone)
            faces = _Faces(sample, tracked, embedder, recipe)
            if alone:
                tracks = _of_pictures(tracked, faces, wanted)
            else:
                size = of_probe["width"] or 0, of_probe["height"] or 0
                tracks = _of_video(sample, tracked, faces, recipe, wanted, size)
            replace(tracked, tracks=tracks).write(writer, sample.sample)
            run.progress.frame(of_probe["n_frames"])


class _Wanted:
    """The looks of the people who shall be track 0, each when they are first asked for."""

    def __init__(self, references: Mapping[str, tuple[Path, str]], embedder: Embedder) -> None:
        self._references, self._embedder = references, embedder
        self._known: dict[str, NDArray[np.float64]] = {}

    def __call__(self, subject: str) -> NDArray[np.float64] | None:
        """The unit vector of a subject; None where the pictures are others'."""
        whose = EVERYBODY if EVERYBODY in self._references else subject
        if whose in self._references and whose not in self._known:
            self._known[whose] = _of_reference(*self._references[whose], self._embedder)
        return self._known.get(whose)


def _of_reference(path: Path, sha256: str, embedder: Embedder) -> NDArray[np.float64]:
    """The unit vector of the face of a picture."""
    cure = (
        "name a picture (track.reference) in which the person's face is the only one, with room "
        "around it"
    )
    if file_sha256(path) != sha256:
        raise FacemakeError(f"{path} was exchanged after the run was planned: start it again")
    try:
        with open_media(Sample("reference", path, "reference")) as media:
            frame = next(iter(media), None)
            if frame is None or frame.error is not None:
                raise frame.error if frame and frame.error else ValueError("no picture")
            chip = cast(OnlyFace, embedder).chip_of_only_face(frame.rgb)
            return np.asarray(embedder([chip])[0], np.float64)
    except (MediaError, ValueError) as error:
        raise FacemakeError(f"{path} shows no person to look for ({error}): {cure}") from None


class _Faces:
    """Embeds faces of a sample."""

    def __init__(
        self, sample: Sample, tracked: Tracked, embedder: Embedder, recipe: Recipe
    ) -> None:
        self._sample, self._times = sample, tracked.times
        self._found, self._embedder = tracked.found, embedder
        box = recipe.settings.get("face_box", (0.0, 0.0, 1.0))
        self._squares = landmark_box(tracked.found.values[:, :4], box)
        self._quality = _quality(tracked.found, self._squares)

    def best(self, members: Sequence[int]) -> list[int]:
        """A few good ones of some detections, spread over them."""
        rows = np.array(members, np.int64)
        rows = rows[self._quality[rows] > 0]
        frames = self._found.frames[rows]
        if not len(rows):
            return []
        # by frames, since pictures of a sequence have no times
        apart = (int(frames[-1]) - int(frames[0])) / FRAMES_PER_PIECE
        where = frames.astype(np.float64)
        chosen = choose_frames(frames, where, self._quality[rows], FRAMES_PER_PIECE, apart)
        return [int(row) for row in rows[chosen]]

    def embedded(self, wanted: Iterable[int]) -> _Looks:
        """The unit vectors of these detections; too small ones have none."""
        return dict(self.one_by_one(wanted))

    def one_by_one(self, wanted: Iterable[int]) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """These detections and their unit vectors, by frame; too small ones are left out."""
        by_frame: dict[int, list[int]] = defaultdict(list)
        for index in sorted(set(wanted)):
            if self._quality[index] > 0:
                by_frame[int(self._found.frames[index])].append(index)
        frames = sorted(by_frame)
        stamps = [self._times[frame] for frame in frames]
        times = None if np.isnan(stamps).any() else stamps
        for frame in read_frames(self._sample, frames, times):
            for index in by_frame[frame.index]:
                chip = self._embedder.chip(frame.rgb, Face(self._squares[index]))
                yield index, self._embedder([chip])[0]


def _quality(found: DetectionList, squares: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n,) how much each face can say about who it is, 0-1; 0: too small to say anything.

    The product of the detector's score, the side over 150 px (at most 1), and how far the nose is
    from beside the eyes: 1 where it is between them, 0.5 where it is below one of them.
    """
    values = found.values.astype(np.float64)
    side = squares[:, 2].astype(np.float64)
    points = values[:, 5:].reshape(-1, 5, 2)
    eyes = points[:, 1] - points[:, 0]
    width = np.maximum((eyes * eyes).sum(axis=1), 1e-6)
    beside = ((points[:, 2] - points[:, :2].mean(axis=1)) * eyes).sum(axis=1) / width * 2
    frontal = 1 / (1 + np.nan_to_num(beside) ** 2)
    quality = values[:, 4] * np.minimum(side / _FULL_SIDE, 1.0) * frontal
    return np.where(side >= LEAST_SIDE, quality, 0.0).astype(np.float32)


def _of_video(
    sample: Sample,
    tracked: Tracked,
    faces: _Faces,
    recipe: Recipe,
    wanted: NDArray[np.float64] | None,
    size: tuple[int, int],
) -> list[Track]:
    found, main = tracked.found, recipe.settings["main"]
    pieces = pieces_of(found, tracked.tracks, tracked.cuts or ())
    looks = [np.zeros((0, 0))] * len(pieces)
    if len(pieces) > 1 or wanted is not None or len(found) >= _LONG:
        chosen = [faces.best(piece.clear) for piece in pieces]
        vectors = faces.embedded(index for members in chosen for index in members)
        together = seen_together(found, pieces).any(axis=1)
        far = [_ALIKE if others else SAME_PERSON for others in together]
        pieces, looks = _told_apart(pieces, chosen, vectors, faces, far)
    tracks, means = people_of(found, pieces, looks)
    least = min(recipe.settings["min_frames"], len(tracked.times))
    kept = [k for k, track in enumerate(tracks) if len(track.detections) >= least]
    first: list[Track] = []
    if wanted is not None and kept:
        far = [_distance(means[k], wanted) for k in kept]
        nearest = int(np.argmin(far))
        if far[nearest] < SAME_PERSON:
            first = [tracks[kept.pop(nearest)]]
        else:
            first = [Track()]
            logger.warning(
                "%s: nobody looks like the reference picture (the nearest of %d faces is %.2f "
                "from it, one person is within %.2f): its track 0 is empty",
                sample.sample,
                len(kept),
                far[nearest],
                SAME_PERSON,
            )
    rule = "prominent" if main == REFERENCE else main
    return first + ordered([tracks[k] for k in kept], found, rule, *size)


def _told_apart(
    pieces: Sequence[Piece],
    chosen: Sequence[list[int]],
    vectors: _Looks,
    faces: _Faces,
    least: Sequence[float],
) -> tuple[list[Piece], list[NDArray[np.float64]]]:
    """The pieces, each of one person by its looks, and these looks.

    Boxes go on from one person to another where nothing else of the picture changes: somebody sits
    down in the same place, a cut that is seen in the faces alone.

    Args:
        pieces: by boxes.
        chosen: the detections by whose looks each is known.
        vectors: of these; further ones are added.
        faces: of the sample.
        least: how far the looks of each may be apart.
    """
    result: list[Piece] = []
    looks: list[NDArray[np.float64]] = []
    last: list[int] = []  # what a piece is there, or the last of its parts
    for piece, members, far in zip(pieces, chosen, least, strict=True):
        before = last[piece.follows] if piece.follows >= 0 else -1
        for part, seen in _parts(piece, members, vectors, faces, far):
            if part.follows >= 0:
                part.follows = before
            before = len(result)
            result.append(part)
            looks.append(np.array([vectors[i] for i in seen], np.float64))
        last.append(len(result) - 1)
    return result, looks


def _parts(
    piece: Piece, members: list[int], vectors: _Looks, faces: _Faces, least: float
) -> list[tuple[Piece, list[int]]]:
    """A piece, or what it falls into, with the detections by whose looks it is known.

    `follows` of a further part says whether it follows the one before: -1, or 0 or more.
    """
    members = sorted(members)  # by frame
    whole = [(piece, members)]
    if len(members) < 2:
        return whole
    rows = np.array([vectors[i] for i in members], np.float64)
    apart = [_between([*rows[:k]], [*rows[k:]]) for k in range(1, len(rows))]
    if max(apart) < least:
        return whole
    k = int(np.argmax(apart)) + 1
    before, after = rows[:k].mean(axis=0), rows[k:].mean(axis=0)
    low, high = piece.clear.index(members[k - 1]), piece.clear.index(members[k])
    while high - low > 1:
        middle = (low + high) // 2
        look = faces.embedded([piece.clear[middle]]).get(piece.clear[middle], before)
        nearer = np.linalg.norm(look - before) <= np.linalg.norm(look - after)
        low, high = (middle, high) if nearer else (low, middle)
    at = piece.detections.index(piece.clear[high])
    halves = (
        Piece(piece.detections[:at], piece.clear[:high], piece.follows),
        Piece(piece.detections[at:], piece.clear[high:]),
    )
    seen = [faces.best(half.clear) for half in halves]
    vectors.update(faces.embedded(i for half in seen for i in half if i not in vectors))
    far = _between(*([vectors[i] for i in half] for half in seen)) if all(seen) else 0.0
    if far < least:
        return whole
    if far < SAME_PERSON:  # else looks have spoken, and boxes have no say
        halves[1].follows = 0
    return [
        part
        for half, its in zip(halves, seen, strict=True)
        for part in _parts(half, its, vectors, faces, least)
    ]


def _between(a: Sequence[NDArray[Any]], b: Sequence[NDArray[Any]]) -> float:
    """Distance of the unit vectors of two means, of n and m vectors."""
    one, other = (mean / np.linalg.norm(mean) for mean in (np.mean(np.stack(v), 0) for v in (a, b)))
    return float(np.linalg.norm(one - other))


def _of_pictures(
    tracked: Tracked, faces: _Faces, wanted: NDArray[np.float64] | None
) -> list[Track]:
    """In each picture the face that looks like the reference first, the others as they were."""
    if wanted is None:
        return list(tracked.tracks)
    found = tracked.found
    # of a hundred thousand pictures the vectors would be more than a job's memory
    every = faces.one_by_one(range(len(found)))
    distances = {index: _distance(look, wanted) for index, look in every}
    by_frame: dict[int, list[int]] = defaultdict(list)
    for track in tracked.tracks:
        for index in track.detections:
            by_frame[int(found.frames[index])].append(index)
    tracks = [Track()]
    for frame in sorted(by_frame):
        members = by_frame[frame]
        far = [distances.get(index, _FARTHEST) for index in members]
        nearest = int(np.argmin(far))
        if far[nearest] < SAME_PERSON:
            tracks[0].detections.append(members.pop(nearest))
        for number, index in enumerate(members, 1):
            while len(tracks) <= number:
                tracks.append(Track())
            tracks[number].detections.append(index)
    return tracks


def _distance(
    looks: NDArray[np.float32] | NDArray[np.float64] | None, wanted: NDArray[np.float64]
) -> float:
    """Of two unit vectors; the largest there is where one is not known."""
    return _FARTHEST if looks is None else float(np.linalg.norm(looks - wanted))
