"""How faces differ at rest: the built-in model's identity fields, by formula on iBUG-68.

Each field is one standard deviation in mm, in model axes (x image-right, y down, z away from the
camera). The sizes follow the scatter of the standard measurements of adults (Farkas, Anthropometry
of the Head and Face, 1994: most facial lengths scatter by 4-8 %) and are rounded; where no such
measurement exists they are judged. Overall size is left out: from one camera it cannot be told from
distance.
"""

import numpy as np
from numpy.typing import NDArray

from facemake import schemes
from facemake.backends.fit.fields import Field, Moves

Array = NDArray[np.float64]

_G = schemes.IBUG68_GROUPS
_BROWS = np.concatenate([_G["brow_l"], _G["brow_r"]])
_EYES = np.concatenate([_G["eye_l"], _G["eye_r"]])
_JAW_FALL = np.array(
    [0, 0.1, 0.25, 0.45, 0.65, 0.85, 0.95, 1, 1, 1, 0.95, 0.85, 0.65, 0.45, 0.25, 0.1, 0]
)
_JAW_WIDE = np.array([0, 0.2, 0.5, 0.9, 1, 1, 0.8, 0.4, 0])
_JAW_SIDE = np.concatenate([-_JAW_WIDE, _JAW_WIDE[-2::-1]])
_CORNER = {48: 1.0, 60: 0.9, 49: 0.6, 59: 0.6, 61: 0.35, 67: 0.35, 50: 0.2, 58: 0.25}


FREE = "free_"
"""How the names of the modes of `free_fields` begin."""

FREE_MM = 2.0
"""Standard deviation of what the named proportions leave of a person's face, a point and axis."""

FREE_REACH_MM = 15.0
"""Distance over which it is alike: about that of neighbouring features (eye to brow)."""

_FREE_SHARE = 0.97
"""Of the variance that the modes have together; the rest is finer than landmarks can tell."""

_JAW_SHARE = 0.1


def free_fields(mean: Array) -> tuple[Field, ...]:
    """What no list of proportions foresees: smooth deviations of the face, the largest first.

    The principal modes of a Gaussian process over the landmarks with the kernel FREE_MM^2
    exp(-d^2 / (2 FREE_REACH_MM^2)), the same and independent in each axis (Luethi, Gerig, Jud &
    Vetter, Gaussian Process Morphable Models, IEEE PAMI 40, 2018), without what is a turn, a shift
    or a change of size of the whole. They give an identity the room to say where exactly this
    person's brows and lips are at rest, and landmark networks where they put them; else a turning
    neutral head seems to move them. They need several frames: in one, they would take up the
    expression. It calls LAPACK.
    """
    apart = mean[:, None, :] - mean[None, :, :]
    kernel = FREE_MM**2 * np.exp(-(apart**2).sum(axis=-1) / (2 * FREE_REACH_MM**2))
    strength, modes = np.linalg.eigh(kernel)
    scaled = modes * np.sqrt(np.maximum(strength, 0.0))
    shapes = np.zeros((3 * 68, 68, 3))
    for axis in range(3):
        shapes[axis::3, :, axis] = scaled.T
    weight = np.ones(68)
    weight[_G["jaw"]] = _JAW_SHARE
    root = np.sqrt(weight)[None, :, None]
    arm = mean - mean[schemes.IBUG68_TO_IBUG51].mean(axis=0)
    rigid = [arm]
    for unit in np.eye(3):
        rigid += [np.tile(unit, (68, 1)), np.cross(unit, arm)]
    base, _ = np.linalg.qr((np.stack(rigid) * root).reshape(7, -1).T)
    flat = (shapes * root).reshape(len(shapes), -1)
    flat = flat - (flat @ base) @ base.T
    u, size, _ = np.linalg.svd(flat.T, full_matrices=False)
    kept = np.cumsum(size**2) <= _FREE_SHARE * (size**2).sum()
    found = (u * size).T[kept].reshape(-1, 68, 3) / root
    return tuple(
        Field(f"{FREE}{i:02d}", "", shape * np.sign(shape.ravel()[np.abs(shape).argmax()]), says)
        for i, shape in enumerate(found)
        for says in (f"smooth deviation, at most {np.abs(shape).max():.1f} mm",)
    )


def identity_fields(mean: Array) -> tuple[Field, ...]:
    """All identity fields on a mean face (68, 3) mm."""
    made = {
        **_outline(mean),
        **_nose(),
        **_eyes(mean),
        **_brows(),
        **_mouth(mean),
        **_depth(mean),
    }
    return tuple(Field(name, "", shape, says) for name, (shape, says) in made.items())


def _empty() -> Array:
    return np.zeros((68, 3))


def _moved(points: NDArray[np.intp] | list[int], axis: int, amount: float | Array) -> Array:
    shape = _empty()
    shape[points, axis] = amount
    return shape


def _both(moves: Moves) -> Array:
    """Moves of image-left points, and the mirror image on the right."""
    shape = _empty()
    for point, move in moves.items():
        shape[point] = move
        shape[schemes.MIRROR_IBUG68[point]] = np.array(move) * [-1, 1, 1]
    return shape


_Made = dict[str, tuple[Array, str]]


def _outline(mean: Array) -> _Made:
    jaw = np.arange(17)
    width = _moved(jaw, 0, 4.0 * mean[:17, 0] / np.abs(mean[:17, 0]).max())
    lower = _moved(jaw, 1, 3.5 * _JAW_FALL)
    lower[_G["mouth"], 1] = 1.5
    upper = _moved(np.concatenate([_EYES, _BROWS]), 1, -2.5)
    upper[[27, 28, 29], 1] = (-2.5, -1.6, -0.8)
    upper[[0, 1, 15, 16], 1] = (-2.5, -1.5, -1.5, -2.5)
    return {
        "face_width": (width, "outline 4 mm wider a side"),
        "jaw_width": (_moved(jaw, 0, 3.5 * _JAW_SIDE), "jaw angle 3.5 mm wider a side"),
        "upper_face_height": (upper, "eyes and brows 2.5 mm higher over the nose"),
        "lower_face_height": (lower, "mouth 1.5 mm, chin 3.5 mm lower"),
        "chin_length": (
            _moved([5, 6, 7, 8, 9, 10, 11], 1, np.array([0.7, 1.7, 2.6, 3, 2.6, 1.7, 0.7])),
            "chin 3 mm longer",
        ),
        "chin_asymmetry": (
            _moved([5, 6, 7, 8, 9, 10, 11], 0, np.array([0.5, 1.2, 1.8, 2, 1.8, 1.2, 0.5])),
            "chin 2 mm to the image's right",
        ),
    }


def _nose() -> _Made:
    length = _moved([28, 29, 30, 31, 32, 33, 34, 35], 1, np.array([0.6, 1.3, 2, 2, 2, 2, 2, 2]))
    forward = _moved(
        [28, 29, 30, 31, 32, 33, 34, 35],
        2,
        -np.array([1, 2, 3, 0.6, 1.3, 1.8, 1.3, 0.6]),
    )
    bridge = _moved([27, 28, 29], 2, np.array([-2.0, -2, -1]))
    shift = _moved([28, 29, 30, 31, 32, 33, 34, 35], 0, np.array([0.4, 0.9, 1.4, 1, 1, 1, 1, 1]))
    return {
        "nose_length": (length, "nose 2 mm longer"),
        "nose_width": (_both({31: (-2, 0, 0), 32: (-0.9, 0, 0)}), "nose 2 mm wider a side"),
        "nose_protrusion": (forward, "nose tip 3 mm further forward"),
        "nose_bridge_depth": (bridge, "bridge 2 mm further forward"),
        "nose_tip_height": (_moved([29, 30], 1, np.array([-1.0, -2.5])), "nose tip 2.5 mm higher"),
        "nose_wing_height": (
            _both({31: (0, -2, 0), 32: (0, -0.6, 0)}),
            "wings 2 mm higher than the base",
        ),
        "nose_asymmetry": (shift, "nose tip 1.4 mm to the image's right"),
    }


def _eyes(mean: Array) -> _Made:
    apart = _both(
        dict.fromkeys(range(36, 42), (-1.8, 0.0, 0.0))
        | dict.fromkeys(range(17, 22), (-0.6, 0.0, 0.0))
    )
    wide = _both(
        {
            36: (-1.4, 0, 0),
            37: (-0.6, 0, 0),
            41: (-0.6, 0, 0),
            38: (0.4, 0, 0),
            40: (0.4, 0, 0),
            39: (1.0, 0, 0),
        }
    )
    tilt = _empty()
    for eye, sign in ((_G["eye_l"], -1.0), (_G["eye_r"], 1.0)):
        outward = sign * (mean[eye, 0] - mean[eye, 0].mean())
        tilt[eye, 1] = -1.6 * outward / outward.max()
    return {
        "eye_distance": (apart, "eyes 1.8 mm further out a side"),
        "eye_width": (wide, "eye 2.4 mm wider"),
        "eye_opening": (
            _both({37: (0, -1.1, 0), 38: (0, -1.1, 0), 40: (0, 0.5, 0), 41: (0, 0.5, 0)}),
            "lids 1.6 mm further apart at rest",
        ),
        "eye_tilt": (tilt, "outer corner 1.6 mm higher, inner lower"),
        "eye_depth": (_moved(_EYES, 2, 2.5), "eyes 2.5 mm deeper"),
        "lid_depth": (
            _both({37: (0, 0, -1.5), 38: (0, 0, -1.5), 40: (0, 0, -1), 41: (0, 0, -1)}),
            "eyeball 1.5 mm fuller",
        ),
    }


def _brows() -> _Made:
    tilt = np.array([-2.0, -1.2, -0.2, 0.8, 1.6])
    arch = np.array([1.2, -0.4, -1.6, -0.4, 1.0])
    one_up = _empty()
    one_up[_G["brow_l"], 1], one_up[_G["brow_r"], 1] = -1.0, 1.0
    return {
        "brow_height": (_moved(_BROWS, 1, -3.0), "brows 3 mm higher"),
        "brow_tilt": (
            _both({17 + i: (0, float(t), 0) for i, t in enumerate(tilt)}),
            "brows 2 mm higher outside, lower inside",
        ),
        "brow_arch": (
            _both({17 + i: (0, float(a), 0) for i, a in enumerate(arch)}),
            "brows arched by 1.6 mm",
        ),
        "brow_distance": (
            _both({21: (-2, 0, 0), 20: (-1.5, 0, 0), 19: (-0.8, 0, 0)}),
            "inner ends 2 mm further apart a side",
        ),
        "brow_length": (
            _both({17: (-2.2, 0.4, 1), 18: (-1.5, 0.2, 0.7), 19: (-0.7, 0, 0.3)}),
            "outer ends 2.2 mm further out",
        ),
        "brow_depth": (_moved(_BROWS, 2, -2.5), "brows 2.5 mm further forward"),
        "brow_asymmetry": (one_up, "image-left brow 1 mm higher, the other lower"),
    }


def _mouth(mean: Array) -> _Made:
    lips = _G["mouth"]
    return {
        "mouth_width": (
            _both({p: (-2.8 * w, 0, 0.8 * w) for p, w in _CORNER.items()}),
            "corners 2.8 mm further out",
        ),
        "mouth_height": (_moved(lips, 1, -2.0), "mouth 2 mm higher"),
        "upper_lip_thickness": (
            _moved([49, 50, 51, 52, 53], 1, np.array([-0.9, -1.4, -1.4, -1.4, -0.9])),
            "upper red of the lips 1.4 mm thicker",
        ),
        "lower_lip_thickness": (
            _moved([55, 56, 57, 58, 59], 1, np.array([0.9, 1.6, 1.7, 1.6, 0.9])),
            "lower red of the lips 1.7 mm thicker",
        ),
        "mouth_protrusion": (_moved(lips, 2, -2.5), "lips 2.5 mm further forward"),
        "mouth_curve": (
            _both({p: (0, -1.2 * w, 0) for p, w in _CORNER.items()}),
            "corners 1.2 mm higher at rest",
        ),
        "mouth_roundness": (
            _both({p: (0, 0, 2.5 * w) for p, w in _CORNER.items()}),
            "corners 2.5 mm further back",
        ),
    }


def _depth(mean: Array) -> _Made:
    relief = _moved(np.arange(68), 2, 0.04 * mean[:, 2])
    lower = _moved(np.arange(17), 2, 3.0 * _JAW_FALL)
    lower[_G["mouth"], 2] = 2.0
    return {
        "relief": (relief, "all depth 4 % larger"),
        "lower_face_depth": (lower, "mouth 2 mm, chin 3 mm further back"),
        "outline_depth": (
            _moved(np.arange(17), 2, 5.0 * (1 - _JAW_FALL)),
            "outline by the ears 5 mm further back",
        ),
    }
