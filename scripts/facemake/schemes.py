"""Landmark schemes: which point is which, and the one table that takes FaceMesh to iBUG.

iBUG-68 as its makers number it (Sagonas et al., 300-W, ICCV Workshops 2013): 0-16 jaw, 17-26 brows,
27-30 bridge, 31-35 nostrils, 36-47 eyes, 48-59 outer lip, 60-67 inner lip, counted from the image's
left. iBUG-51 is the same without the jaw. Left and right in this file are the **image's**, which
for an unmirrored picture are the subject's right and left.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.intp]

MEDIAPIPE478 = "mediapipe478"
IBUG68 = "ibug68"
IBUG51 = "ibug51"

N_POINTS: Mapping[str, int] = MappingProxyType({MEDIAPIPE478: 478, IBUG68: 68, IBUG51: 51})
"""How many points each scheme has."""


def _indices(*parts: range | tuple[int, ...]) -> Indices:
    out = np.array([i for part in parts for i in part], dtype=np.intp)
    out.flags.writeable = False
    return out


MEDIAPIPE478_TO_IBUG68 = _indices(
    # jaw, from the image-left ear over the chin to the other ear
    (127, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 356),
    (70, 63, 105, 66, 107),  # image-left brow, outer to inner, its upper edge
    (336, 296, 334, 293, 300),  # image-right brow, inner to outer
    (168, 197, 5, 4),  # bridge, nasion to tip
    (75, 97, 2, 326, 305),  # under the nose
    (33, 160, 158, 133, 153, 144),  # image-left eye: outer, upper lid, inner, lower lid
    (362, 385, 387, 263, 373, 380),  # image-right eye: inner, upper lid, outer, lower lid
    (61, 40, 37, 0, 267, 270, 291, 321, 314, 17, 84, 91),  # outer lip, clockwise
    (78, 81, 13, 311, 308, 402, 14, 178),  # inner lip, clockwise
)
"""Point `i` of iBUG-68 is point `MEDIAPIPE478_TO_IBUG68[i]` of FaceMesh (468 points or 478).

Chosen by anatomy from FaceMesh's published map of its vertices (`canonical_face_model.obj`,
MediaPipe): corners, lid and lip points are the same anatomical points in both. FaceMesh's jaw is
the face oval, which lies on the visible outline only where the head is turned a little; treat these
17 points as less certain.
"""

IBUG68_TO_IBUG51 = _indices(range(17, 68))
"""iBUG-51 is iBUG-68 without the jaw."""

IBUG68_GROUPS: Mapping[str, Indices] = MappingProxyType(
    {
        "jaw": _indices(range(0, 17)),
        "brow_l": _indices(range(17, 22)),
        "brow_r": _indices(range(22, 27)),
        "bridge": _indices(range(27, 31)),
        "nostrils": _indices(range(31, 36)),
        "nose": _indices(range(27, 36)),
        "eye_l": _indices(range(36, 42)),
        "eye_r": _indices(range(42, 48)),
        "outer_lip": _indices(range(48, 60)),
        "inner_lip": _indices(range(60, 68)),
        "mouth": _indices(range(48, 68)),
    }
)
"""The parts of a face in iBUG-68; `_l` and `_r` are the image's."""

IBUG51_GROUPS: Mapping[str, Indices] = MappingProxyType(
    {
        "lb": _indices(range(0, 5)),
        "rb": _indices(range(5, 10)),
        "no": _indices(range(10, 19)),
        "le": _indices(range(19, 25)),
        "re": _indices(range(25, 31)),
        "ul": _indices(range(31, 37), range(43, 47)),
        "ll": _indices(range(37, 43), range(47, 51)),
    }
)
"""The groups of iBUG-51 as 3DI names them: brows, nose, eyes, upper and lower lip (image sides)."""

MIRROR_IBUG68 = _indices(
    range(16, -1, -1),
    range(26, 16, -1),
    range(27, 31),
    range(35, 30, -1),
    (45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40),
    (54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55),
    (64, 63, 62, 61, 60, 67, 66, 65),
)
"""Point `i` of a mirrored face is point `MIRROR_IBUG68[i]` of the face, with x negated."""

EYE_CORNERS_IBUG68 = (36, 45)
"""The outer corners of the eyes, image-left then image-right: the unit of length of errors."""

_SUBSETS: Mapping[tuple[str, str], Indices] = MappingProxyType(
    {
        (MEDIAPIPE478, MEDIAPIPE478): _indices(range(478)),
        (IBUG68, IBUG68): _indices(range(68)),
        (IBUG51, IBUG51): _indices(range(51)),
        (MEDIAPIPE478, IBUG68): MEDIAPIPE478_TO_IBUG68,
        (MEDIAPIPE478, IBUG51): _indices(tuple(MEDIAPIPE478_TO_IBUG68[17:].tolist())),
        (IBUG68, IBUG51): IBUG68_TO_IBUG51,
    }
)


def subset(source: str, target: str) -> Indices:
    """The indices into `source` that give the points of `target`.

    Raises:
        ValueError: where `source` does not hold the points of `target`.
    """
    try:
        return _SUBSETS[source, target]
    except KeyError:
        raise ValueError(
            f"landmarks of scheme {source!r} do not hold those of {target!r}"
        ) from None


def ibug(source: str) -> str:
    """The fullest scheme of iBUG that a scheme holds: iBUG-68, or iBUG-51 without the jaw."""
    return IBUG68 if (source, IBUG68) in _SUBSETS else IBUG51


def as_ibug68(points: NDArray[Any], source: str) -> NDArray[Any]:
    """(..., 68, D) of points (..., K, D); NaN for a jaw that the scheme does not have."""
    target = ibug(source)
    held = convert(points, source, target)
    if target == IBUG68:
        return held
    out = np.full((*held.shape[:-2], N_POINTS[IBUG68], held.shape[-1]), np.nan, held.dtype)
    out[..., IBUG68_TO_IBUG51, :] = held
    return out


def convert(points: NDArray[Any], source: str, target: str) -> NDArray[Any]:
    """The points of `target` among points of `source`, (..., K, D) to (..., K', D).

    Raises:
        ValueError: where the scheme does not fit, or the number of points is not that scheme's.
    """
    if points.ndim < 2 or points.shape[-2] != N_POINTS.get(source):
        raise ValueError(f"{source} has {N_POINTS.get(source)} points, got an array {points.shape}")
    return points[..., subset(source, target), :]


def five_points(ibug51: NDArray[Any]) -> NDArray[np.float32]:
    """Middles of the eyes, tip of the nose and corners of the mouth, image-left first.

    Args:
        ibug51: (51, 2) px.

    Returns:
        (5, 2) float32 px, in the order of `keypoints5`.
    """
    points = np.asarray(ibug51, np.float32)
    eyes = [points[IBUG51_GROUPS[side]].mean(axis=0) for side in ("le", "re")]
    tip, left, right = (points[index - 17] for index in (30, 48, 54))
    return np.stack([*eyes, tip, left, right])
