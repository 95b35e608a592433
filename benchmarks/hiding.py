"""Who is still recognised when their face is hidden: dlib's network on faces of a finished run.

Each face is aligned by its true landmarks, the worst case. Hidden, it is compared with all faces as
they were: whose is nearest, and is any as near as dlib asks for one person? Faces are up to four
frames of each track, evenly spread. The right person is whoever looked like one with this face
before it was hidden, by dlib's own threshold.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facemake.backends.embed import EMBEDDERS, Face
from facemake.media import read_frames
from facemake.overlay import hiding, rows
from facemake.overlay.study import find_all
from facemake.schemes import IBUG68, convert
from facemake.tables import TableReader

CELLS = {"pixelate": (4, 6, 8, 12, 16), "blur": (2, 3, 4, 5, 8), "fill": (0,)}
_FRAMES = 4


def run(study: Path) -> None:
    """Print, by way of hiding and colours across a face, how many are recognised."""
    row = EMBEDDERS["dlib"]
    network = row.create(row.models[0], "cpu")

    def vector(rgb: NDArray[np.uint8], face: rows.Face) -> NDArray[np.float32]:
        assert face.box is not None and face.points is not None
        box = face.box.astype(np.float32)
        points = convert(face.points, face.scheme, IBUG68).astype(np.float32)
        return network([network.chip(rgb, Face(square=box, ibug=points, bbox=box))])[0]

    faces = _faces(study)
    known = np.stack([vector(rgb, face) for _, rgb, face in faces])
    same_person = row.same_person or 1.0
    right = known @ known.T >= same_person
    tracks = len({name for name, _, _ in faces})
    print(f"{len(faces)} faces of {tracks} tracks; similarity of one person: {same_person}")
    chance = float(right.mean())
    print(f"of two faces taken at random {chance:.2f} are of one person")
    for how, tried in CELLS.items():
        for cells in tried:
            nearest = same = 0
            for i, (_, rgb, face) in enumerate(faces):
                hidden = rgb.copy()
                assert face.box is not None
                region = hiding.widened(face.box, face.points)
                hiding.hide(hidden, region, how, cells or None)
                likeness = known @ vector(hidden, face)
                nearest += bool(right[i, likeness.argmax()])
                same += bool((right[i] & (likeness >= same_person)).any())
            print(
                f"{how}{f', {cells} across' if cells else ''}: nearest to the right one "
                f"{nearest} of {len(faces)}, alike enough to be known {same}"
            )


def _faces(study: Path) -> list[tuple[str, NDArray[np.uint8], rows.Face]]:
    found = []
    for recorded in find_all(study):
        sample = recorded.sample.sample
        seen: dict[int, list[tuple[int, rows.Face]]] = {}
        with ExitStack() as stack:
            readers = {
                name: stack.enter_context(TableReader(recorded.table(name)))
                for name in ("detections", "landmarks")
            }
            for one in rows.frames_of(readers, sample, "fit", None):
                for face in one.faces:
                    if face.points is not None and face.box is not None:
                        seen.setdefault(face.track, []).append((one.frame, face))
        for track, members in seen.items():
            step = max(1, len(members) // _FRAMES)
            chosen = dict(members[step // 2 :: step][:_FRAMES])
            for frame in read_frames(recorded.sample, sorted(chosen)):
                found.append((f"{sample}#{track}", frame.rgb, chosen[frame.index]))
    return found
