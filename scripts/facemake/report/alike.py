"""Which samples are the same recording: byte for byte, or by what their small frames show.

The same bytes are the same SHA-256. A recording that was encoded again, made smaller or given
another frame rate has other bytes and the same course of pictures: the small frames of the contact
sheet, as grey pictures of 16 x 16 cells, are compared in two ways, and both must agree.

- The scene: the correlation of the mean pictures of both.
- The movement: the correlation of what changes, each picture without the mean of its sample. Two
  takes in one room, of one person, share the scene and do not move alike.

Two recordings, each encoded again (other quality, half the size, half the frame rate), agreed with
their copies by 0.9997 and 0.985 at least; four parts of 4 s of one of them, the same person before
the same wall, by at most 0.960 and 0.153.

Samples are compared where they are of one kind, have as many small frames, and last as long
(2 %, at least 0.1 s; pictures: as many of them). What is cut shorter, mirrored or cropped is not
found; nor is a second copy of a recording in which nothing moves.
"""

from __future__ import annotations

import base64
import io
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 16
SAME_SCENE = 0.98
SAME_MOVEMENT = 0.85
SAME_PICTURE = 0.995
"""Of a picture that stands alone there is no movement: its scene must agree more closely."""

_LEAST_MOVEMENT = 0.5
"""Grey levels (0-255), root mean square: below, what changes is noise of the encoder."""
_LENGTH = 0.02
_SECONDS = 0.1
_ROWS = 512
_FEW = 1024
"""Pairs, up to which their movements are multiplied one by one."""


@dataclass(frozen=True)
class Look:
    """What of a sample is compared.

    Attributes:
        sample: its name.
        kind: of its medium.
        sha256: of its bytes.
        start, end: of the part that is used, s; None: from the first frame, to the last.
        length: seconds; of pictures, their number.
        small: (n, SIDE * SIDE) uint8, its small frames; n is 0 where it has none.
    """

    sample: str
    kind: str
    sha256: str
    start: float | None
    end: float | None
    length: float
    small: NDArray[np.uint8]


@dataclass(frozen=True)
class Alike:
    """Samples that are one recording.

    Attributes:
        how: `bytes`: the same file and the same part of it; `overlap`: parts of one file that
            share frames; `looks`: other bytes, the same pictures.
        samples: their names, sorted.
        likeness: the lowest of the correlations that joined them (1 for the same bytes).
    """

    how: str
    samples: tuple[str, ...]
    likeness: float


def packed(jpegs: Iterable[bytes]) -> str:
    """Small frames as text: grey, `SIDE` x `SIDE` cells each, base64."""
    cells = bytearray()
    for jpeg in jpegs:
        with Image.open(io.BytesIO(jpeg)) as image:
            cells += image.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX).tobytes()
    return base64.b64encode(bytes(cells)).decode()


def unpacked(text: str) -> NDArray[np.uint8]:
    """(n, SIDE * SIDE) of `packed`."""
    return np.frombuffer(base64.b64decode(text), np.uint8).reshape(-1, SIDE * SIDE)


def find(looks: Sequence[Look]) -> list[Alike]:
    """All groups of samples that are one recording; those of the same bytes first.

    Memory is that of the small frames (3 kB a sample); the time is that of comparing each sample
    with those that last as long.
    """
    exact: dict[tuple[Any, ...], list[str]] = defaultdict(list)
    files: dict[str, list[Look]] = defaultdict(list)
    for one in looks:
        if one.sha256:
            exact[one.sha256, one.start, one.end].append(one.sample)
            files[one.sha256].append(one)
    found = [Alike("bytes", tuple(sorted(s)), 1.0) for s in exact.values() if len(s) > 1]
    for parts in files.values():
        found += _overlaps(parts)
    first = {min(s): set(s) for s in exact.values()}
    return found + _by_looks([one for one in looks if one.sample in first and len(one.small)])


def _overlaps(parts: Sequence[Look]) -> list[Alike]:
    """Parts of one file that share frames, without those that are the same part."""
    spans = sorted({(p.start or 0.0, np.inf if p.end is None else p.end) for p in parts})
    names: dict[tuple[float, float], list[str]] = defaultdict(list)
    for part in parts:
        names[part.start or 0.0, np.inf if part.end is None else part.end].append(part.sample)
    found: list[Alike] = []
    together: list[tuple[float, float]] = []
    reach = -np.inf
    for span in [*spans, (np.inf, np.inf)]:
        if span[0] >= reach:
            if len(together) > 1:
                samples = tuple(sorted(name for one in together for name in names[one]))
                found.append(Alike("overlap", samples, 1.0))
            together, reach = [], -np.inf
        together.append(span)
        reach = max(reach, span[1])
    return found


def _by_looks(looks: Sequence[Look]) -> list[Alike]:
    groups: dict[tuple[str, int], list[Look]] = defaultdict(list)
    for one in looks:
        groups[one.kind, len(one.small)].append(one)
    found = []
    for some in groups.values():
        some.sort(key=lambda one: (one.length, one.sample))
        found += _joined(some, _pairs(some))
    return sorted(found, key=lambda one: one.samples)


def _pairs(looks: Sequence[Look]) -> Iterable[tuple[int, int, float]]:
    """Pairs of samples, by rising length, that look alike, with their likeness."""
    length = np.array([one.length for one in looks])
    reach = np.searchsorted(length, np.maximum(length * (1 + _LENGTH), length + _SECONDS), "right")
    if looks[0].kind != "video":
        reach = np.searchsorted(length, length, "right")
    alone = looks[0].small.shape[0] == 1
    for start in range(0, len(looks), _ROWS):
        end = min(start + _ROWS, len(looks))
        last = int(reach[start:end].max())
        if last - start < 2:
            continue
        scene, movement = _vectors(looks[start:end])
        for at in range(start, last, _ROWS):
            other = (
                (scene, movement) if at == start else _vectors(looks[at : min(at + _ROWS, last)])
            )
            alike = scene @ other[0].T
            same = alike >= (SAME_PICTURE if alone else SAME_SCENE)
            i, j = np.nonzero(same)
            keep = (start + i < at + j) & (at + j < reach[start + i])
            i, j = i[keep], j[keep]
            if not len(i):
                continue
            if not alone:
                few = len(i) <= _FEW
                moves = (
                    np.einsum("nd,nd->n", movement[i], other[1][j])
                    if few
                    else (movement @ other[1].T)[i, j]
                )
                keep = moves >= SAME_MOVEMENT
                i, j, moves = i[keep], j[keep], moves[keep]
                likeness = np.minimum(alike[i, j], moves)
            else:
                likeness = alike[i, j]
            yield from zip((start + i).tolist(), (at + j).tolist(), likeness.tolist(), strict=True)


def _vectors(looks: Sequence[Look]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Scene (n, SIDE²) and movement (n, frames * SIDE²), of L2 norm 1, or 0 where there is none."""
    small = np.stack([one.small for one in looks]).astype(np.float32)
    mean = small.mean(axis=1)
    moved = (small - mean[:, None]).reshape(len(looks), -1)
    still = np.sqrt((moved**2).mean(axis=1)) < _LEAST_MOVEMENT
    moved[still] = 0.0
    return _unit(mean - mean.mean(axis=1, keepdims=True)), _unit(moved)


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    norm = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: NDArray[np.float32] = rows / np.where(norm > 0, norm, 1)
    return unit


def _joined(looks: Sequence[Look], pairs: Iterable[tuple[int, int, float]]) -> list[Alike]:
    """The groups that pairs make."""
    group = list(range(len(looks)))
    likeness: dict[int, float] = {}

    def head(one: int) -> int:
        while group[one] != one:
            group[one] = group[group[one]]
            one = group[one]
        return one

    for a, b, alike in pairs:
        a, b = head(a), head(b)
        if a != b:
            lowest = min(likeness.pop(a, 1.0), likeness.pop(b, 1.0), alike)
            group[b] = a
            likeness[a] = lowest
    members: dict[int, list[str]] = defaultdict(list)
    for index, one in enumerate(looks):
        members[head(index)].append(one.sample)
    return [
        Alike("looks", tuple(sorted(names)), likeness[one])
        for one, names in members.items()
        if len(names) > 1
    ]
