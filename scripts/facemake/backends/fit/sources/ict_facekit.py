"""ICT-FaceKit's light face model (MIT): 100 identities, 57 expressions, 9409 vertices of the face.

Read from its folder FaceXModel: `generic_neutral_mesh.obj`, `identity000.obj` ... and one .obj an
expression, all with the same vertices, in cm, y up, z towards the viewer. The model is their
differences from the neutral mesh; kept are the vertices 0 to 9408, which its README calls the face
(the rest is neck, mouth socket, teeth and eyes), and the faces between them. An .npz of the same
arrays (`neutral`, `identity`, `expression`, `expr_names`) is read as well; it brings no triangles.

A coefficient of 1 is one standard deviation of an identity (the kit's own `randomize_identity`
draws them from a standard normal distribution) and one full expression, which is 0 to 1. `_L` and
`_R` are the subject's sides.
"""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facemake import facemodels, schemes
from facemake.backends.fit import archive
from facemake.backends.fit.archive import Content
from facemake.backends.fit.sources.ict_mediapipe import MEDIAPIPE468
from facemake.errors import ModelError

NAME = "ict-facekit"
LICENCE = "MIT"
CITATION = (
    "Li et al., Learning Formation of Physically-Based Face Attributes, CVPR (2020); ICT-FaceKit, "
    "USC Institute for Creative Technologies"
)
NEUTRAL = "generic_neutral_mesh"
FACE_VERTICES = 9409

LANDMARKS = (
    *(1225, 1888, 1052, 367, 1719, 1722, 2199, 1447, 966),  # jaw, image-left to chin
    *(3661, 4390, 3927, 3924, 2608, 3272, 4088, 3443),
    *(268, 493, 1914, 2044, 1401, 3615, 4240, 4114, 2734, 2509),  # brows
    *(978, 4527, 4942, 4857, 1140, 2075, 1147, 4269, 3360),  # nose
    *(1507, 1542, 1537, 1528, 1518, 1511, 3742, 3751, 3756, 3721, 3725, 3732),  # eyes
    *(5708, 5695, 2081, 0, 4275, 6200, 6213, 6346, 6461, 5518, 5957, 5841),  # outer lip
    *(5702, 5711, 5533, 6216, 6207, 6470, 5517, 5966),  # inner lip
)
"""The vertex of each iBUG-68 (Multi-PIE) landmark, as the README of ICT-FaceKit lists them."""

EXPRESSION_SD = 0.6
"""Prior scale of an expression: most of the time most of them are far from full."""


def read(source: Path) -> Content:
    """The model file's content from the kit's folder, a clone of it, or an .npz of its arrays.

    Args:
        source: FaceXModel, a folder that holds it, or a file.

    Raises:
        ModelError: a file is missing, is no .obj, or has other vertices than the neutral mesh.
    """
    if source.is_file():
        return _from_npz(source)
    for folder in (source, source / "FaceXModel"):
        if (folder / f"{NEUTRAL}.obj").is_file():
            return _from_folder(folder)
    raise ModelError(
        f"{source} has no {NEUTRAL}.obj: name {facemodels.SOURCES[NAME]} or the clone that holds it"
    )


def _content(
    neutral: NDArray[Any],
    identity: NDArray[Any],
    expression: NDArray[Any],
    names: list[str],
    landmarks: NDArray[Any] | None,
    triangles: NDArray[np.int32] | None,
) -> Content:
    n_identity, n_expression = len(identity), len(expression)
    # 0.01 mm of rounding on a surface of 9409 vertices; landmarks alone stay as they are
    kind = np.float32 if landmarks is None else np.float16
    content: Content = {
        "neutral": neutral.astype(np.float32),
        "identity": identity.astype(kind),
        "expression": expression.astype(kind),
        "expr_names": np.array(names, dtype=np.str_),
        "identity_names": np.array([f"identity{i:03d}" for i in range(n_identity)]),
        "expression_regions": np.array([""] * n_expression),
        "identity_sd": np.ones(n_identity, np.float32),
        "expression_sd": np.full(n_expression, EXPRESSION_SD, np.float32),
        "expression_lower": np.zeros(n_expression, np.float32),
        "expression_upper": np.ones(n_expression, np.float32),
        "name": np.array(NAME),
        "unit": np.array("cm"),
        "axes": np.array("x-right y-up z-backward"),
        "licence": np.array(LICENCE),
        "citation": np.array(CITATION),
    }
    if landmarks is not None:
        content["landmarks_ibug68"] = landmarks.astype(np.int32)
        if len(neutral) == FACE_VERTICES and tuple(landmarks.tolist()) == LANDMARKS:
            # of this numbering of the vertices; the irises are no part of the face
            irises = schemes.N_POINTS[schemes.MEDIAPIPE478] - len(MEDIAPIPE468)
            points = np.array([*MEDIAPIPE468, *[-1] * irises], np.int32)
            content["landmarks_mediapipe478"] = points
    if triangles is not None:
        content["triangles"] = triangles
    return content


def _from_npz(path: Path) -> Content:
    arrays = archive.read(path.read_bytes(), str(path))
    missing = [k for k in ("neutral", "identity", "expression", "expr_names") if k not in arrays]
    if missing:
        raise ModelError(f"{path} lacks {', '.join(missing)}: it is not ICT-FaceKit's arrays")
    neutral, identity, expression = (arrays[k] for k in ("neutral", "identity", "expression"))
    count = len(neutral) if neutral.ndim else 0
    for key in ("identity", "expression"):
        if arrays[key].ndim != 3 or arrays[key].shape[1:] != (count, 3):
            raise ModelError(
                f"{path}: {key} has shape {arrays[key].shape}, wanted (count, {count}, 3) as "
                "neutral has"
            )
    if count == schemes.N_POINTS[schemes.IBUG68]:
        landmarks = None
    elif count == FACE_VERTICES:
        landmarks = np.array(LANDMARKS)
    else:
        raise ModelError(
            f"{path}: neutral has shape {neutral.shape}, wanted ({FACE_VERTICES}, 3), the face, or "
            "(68, 3), its landmarks"
        )
    names = [str(name) for name in np.atleast_1d(arrays["expr_names"])]
    return _content(neutral, identity, expression, names, landmarks, arrays.get("triangles"))


def _from_folder(folder: Path) -> Content:
    neutral, faces = read_obj(folder / f"{NEUTRAL}.obj")
    count = len(neutral)
    identities = sorted(folder.glob("identity*.obj"))
    others = {NEUTRAL, *(path.stem for path in identities)}
    expressions = sorted(p for p in folder.glob("*.obj") if p.stem not in others)
    if not identities or not expressions:
        raise ModelError(
            f"{folder} has {len(identities)} identity*.obj and {len(expressions)} .obj of "
            "expressions: clone the whole kit (it may be stored in Git LFS: `git lfs pull`)"
        )
    kept = min(count, FACE_VERTICES)

    def differences(paths: list[Path]) -> NDArray[np.float32]:
        out = np.empty((len(paths), kept, 3), np.float32)
        for i, path in enumerate(paths):
            vertices, _ = read_obj(path, faces=False)
            if len(vertices) != count:
                raise ModelError(
                    f"{path} has {len(vertices)} vertices and {NEUTRAL}.obj {count}: all files "
                    "must be of one version of the kit, and no other .obj be among them"
                )
            out[i] = vertices[:kept] - neutral[:kept]
        return out

    return _content(
        neutral[:kept],
        differences(identities),
        differences(expressions),
        [path.stem for path in expressions],
        _landmarks(folder, neutral[:kept]),
        _triangles(faces, kept),
    )


def _landmarks(folder: Path, neutral: NDArray[np.float64]) -> NDArray[np.int64]:
    """The landmarks' vertices: by the folder's own list or by the README's.

    The kit's `vertex_indices.json` has had a list of an older numbering of the vertices beside
    newer meshes. The neutral face is symmetric, so the list that gives the more symmetric
    landmarks is the one that belongs to these vertices.

    Raises:
        ModelError: neither list fits the mesh.
    """
    lists = [np.array(LANDMARKS)]
    path = folder / "vertex_indices.json"
    if path.is_file():
        try:
            own = json.loads(path.read_text(encoding="utf-8"))["idx_to_landmark_verts"]
            lists.append(np.array([int(i) for i in own]))
        except (ValueError, KeyError, TypeError) as error:
            raise ModelError(
                f"{path} has no list of numbers idx_to_landmark_verts ({error!r}): take the file "
                "from the kit again, or away"
            ) from None
    usable = [
        one
        for one in lists
        if one.shape == (68,) and one.min(initial=0) >= 0 and one.max(initial=0) < len(neutral)
    ]
    if not usable:
        raise ModelError(
            f"{folder}: {NEUTRAL}.obj has {len(neutral)} vertices of the face, and its landmarks "
            f"are vertices up to {max(LANDMARKS)}: it is not ICT-FaceKit's mesh"
        )

    def asymmetry(one: NDArray[np.int64]) -> float:
        points = neutral[one]
        return float(np.abs(points[schemes.MIRROR_IBUG68] * [-1, 1, 1] - points).mean())

    return min(usable, key=asymmetry)


def _triangles(faces: list[list[int]], kept: int) -> NDArray[np.int32]:
    """(T, 3): the faces whose vertices are all kept, cut into triangles from their first corner."""
    triangles = [
        (face[0], *edge) for face in faces if max(face) < kept for edge in pairwise(face[1:])
    ]
    return np.array(triangles, np.int32).reshape(-1, 3)


def read_obj(path: Path, faces: bool = True) -> tuple[NDArray[np.float64], list[list[int]]]:
    """Vertices (V, 3) of a Wavefront .obj file, and the vertices of each face, from 0.

    Raises:
        ModelError: it is no such file, is cut off in a vertex, or has a face of missing vertices.
    """
    lines = path.read_bytes().split(b"\n")
    numbers = [line[2:] for line in lines if line.startswith(b"v ")]
    try:
        flat = np.array(b" ".join(numbers).split(), dtype=np.float64)
        vertices = flat.reshape(-1, 3)
        whole = len(vertices) == len(numbers) and np.isfinite(vertices).all()
    except ValueError:
        whole = False
    if not numbers or not whole:
        raise ModelError(
            f"{path} is not an .obj file of vertices with three finite coordinates: get it again "
            "(a file of a few lines is a Git LFS pointer: `git lfs pull`)"
        )
    found: list[list[int]] = []
    if faces:
        try:
            for line in lines:
                if line.startswith(b"f "):
                    corners = [int(part.split(b"/", 1)[0]) for part in line[2:].split()]
                    found.append([c - 1 if c > 0 else len(vertices) + c for c in corners])
        except ValueError:
            raise ModelError(f"{path} has a face that is no list of numbers") from None
        if any(len(f) < 3 or min(f) < 0 or max(f) >= len(vertices) for f in found):
            raise ModelError(f"{path} has a face of vertices that are not there")
    return vertices, found
