"""The built-in model's movements and proportions, written by formula on iBUG-68.

Each field gives every landmark a displacement in mm at coefficient 1, in model axes (x image-right,
y down, z away from the camera). Expression fields follow the muscles as Ekman & Friesen's Facial
Action Coding System describes what each moves; 1.0 is a full movement of an adult. Each moves the
points of one region only: `brow_l`, `brow_r`, `nose`, `eye_l`, `eye_r`, or `mouth` (lips and lower
jaw). `_l` and `_r` are the image's sides: in an unmirrored picture `_l` is the subject's right.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facemake import schemes

Array = NDArray[np.float64]
Move = tuple[float, float, float]
Moves = Mapping[int, Move]


def _all(points: tuple[int, ...], dx: float, dy: float, dz: float) -> dict[int, Move]:
    """The same move for several points."""
    return dict.fromkeys(points, (dx, dy, dz))


@dataclass(frozen=True)
class Field:
    """One basis vector of the model."""

    name: str
    region: str
    """The one region it moves; '' for an identity field."""
    shape: Array
    """(68, 3) mm at coefficient 1."""
    says: str
    """What it is, with its size at coefficient 1."""
    sd: float = 1.0
    upper: float = 1.5


REGIONS = ("brow_l", "brow_r", "nose", "eye_l", "eye_r", "mouth")
"""All regions that an expression may have."""

REGION_POINTS: Mapping[str, schemes.Indices] = {
    **{
        name: schemes.IBUG68_GROUPS[name] for name in ("brow_l", "brow_r", "nose", "eye_l", "eye_r")
    },
    "mouth": np.concatenate([schemes.IBUG68_GROUPS["jaw"], schemes.IBUG68_GROUPS["mouth"]]),
}
"""The iBUG-68 points of each region; the jaw moves with the mouth."""

# ---------------------------------------------------------------------------------- expressions

# Image-left sides, (dx, dy, dz) in mm at 1; the other side is the mirror image. Left brow: 17 is
# the outer end, 21 the inner. Left eye: 36 outer corner, 37 38 upper lid, 39 inner corner,
# 40 41 lower lid.
_SIDED: dict[str, tuple[str, str, float, Moves]] = {
    "brow_inner_raise": (
        "brow",
        "medial frontalis (AU1): the inner end rises 8 mm",
        0.4,
        {21: (0, -8, 0.5), 20: (0, -7, 0.5), 19: (0, -4, 0.5), 18: (0, -1.5, 0), 17: (0, -0.3, 0)},
    ),
    "brow_outer_raise": (
        "brow",
        "lateral frontalis (AU2): the outer part rises 7 mm",
        0.4,
        {
            21: (0, -1.4, 0),
            20: (-0.5, -4, 0.5),
            19: (-0.8, -6, 1),
            18: (-0.6, -7, 1.5),
            17: (-0.4, -5.5, 1.5),
        },
    ),
    "brow_lower": (
        "brow",
        "corrugator and depressor supercilii (AU4): the inner half sinks 4.5 mm and moves 4 mm in",
        0.4,
        {
            21: (2.2, 3.6, -1),
            20: (3.6, 4.6, -1.8),
            19: (4.2, 4.2, -2.2),
            18: (3.4, 2.6, -2.4),
            17: (1.8, 0.8, -2),
        },
    ),
    "eye_widen": (
        "eye",
        "levator palpebrae (AU5): the upper lid rises 3 mm",
        0.4,
        {37: (0, -3, 0.6), 38: (0, -3, 0.6)},
    ),
    "eye_tighten": (
        "eye",
        "orbicularis oculi, palpebral part (AU7): the lower lid rises 2.5 mm, most at its inner "
        "part, the upper sinks 1 mm",
        0.4,
        {40: (0.6, -2.6, -0.4), 41: (0.4, -2.0, -0.5), 37: (0, 0.8, 0), 38: (0, 1.2, 0)},
    ),
    "eye_cheek_raise": (
        "eye",
        "orbicularis oculi, orbital part (AU6), as far as the lids show it: the lower lid rises "
        "2.5 mm, most at its outer part, and the outer corner is pushed up 0.7 mm",
        0.4,
        {40: (0.2, -1.4, -0.5), 41: (0.5, -2.6, -0.9), 36: (0.3, -0.7, -0.4)},
    ),
    "eye_look_down": (
        "eye",
        "lids that follow the eyeball down (AU64): the upper lid sinks 4.5 mm, the lower 1.6",
        0.4,
        {
            36: (0.4, 1.8, 0.2),
            37: (0.2, 4.5, 0.5),
            38: (0, 4.5, 0.5),
            39: (0, 0.5, 0),
            40: (0, 1.5, 0.7),
            41: (0.2, 1.7, 0.7),
        },
    ),
    "eye_look_up": (
        "eye",
        "lids that follow the eyeball up (AU63): the upper lid rises 3 mm, the lower 1.4",
        0.4,
        {
            36: (0, -1.2, 0),
            37: (0, -2.9, 0.7),
            38: (0, -3.1, 0.7),
            39: (0, -0.4, 0),
            40: (0, -1.3, -0.3),
            41: (-0.2, -1.4, -0.3),
        },
    ),
    "nose_wrinkle": (
        "nose",
        "levator labii alaeque nasi (AU9) at the nose: the wing rises 5 mm",
        0.4,
        {31: (-0.6, -5, 0), 32: (-0.2, -3, 0), 33: (0, -1, 0), 30: (0, -0.6, 0)},
    ),
    "nose_flare": (
        "nose",
        "alar nasalis (AU38): the wing moves 2.5 mm outwards",
        0.3,
        {31: (-2.5, 0.2, 0.4), 32: (-0.8, 0, 0)},
    ),
    "lip_corner_pull": (
        "mouth",
        "zygomaticus major (AU12): the corner moves 7 mm outwards, 9 up and 8 back",
        0.4,
        {
            48: (-7, -9, 8),
            60: (-6.8, -8.5, 7.5),
            49: (-5, -5, 5.5),
            59: (-4.5, -6, 5),
            50: (-1.6, -2, 2),
            61: (-3.4, -3.5, 3.5),
            67: (-3, -3.5, 3),
            58: (-1.7, -2.6, 2),
            51: (0, -0.8, 0.8),
            62: (0, -0.8, 0.8),
            66: (0, -0.8, 0.8),
            57: (0, -0.8, 0.8),
        },
    ),
    "lip_corner_depress": (
        "mouth",
        "depressor anguli oris (AU15): the corner sinks 6 mm",
        0.3,
        {
            48: (-1, 6, 1.5),
            60: (-1, 5.2, 1.3),
            49: (-0.5, 2.4, 0.8),
            59: (-0.6, 2.6, 0.6),
            61: (-0.3, 1, 0.4),
            67: (-0.3, 1, 0.3),
        },
    ),
    "lip_corner_dimple": (
        "mouth",
        "buccinator (AU14): the corner is drawn 6 mm back, and the lips close on it",
        0.3,
        {
            48: (-1.5, -1.5, 6),
            60: (-1.5, -1.5, 5.5),
            49: (-0.8, 1, 3),
            59: (-0.8, -2.2, 3),
            61: (-0.4, 0.3, 1.2),
            67: (-0.4, -0.8, 1.2),
        },
    ),
    "lip_stretch": (
        "mouth",
        "risorius and platysma (AU20): the corner moves 7 mm outwards, 2 down and 6 back",
        0.3,
        {
            48: (-7, 2, 6),
            60: (-6.8, 1.8, 6),
            49: (-3.8, 0.8, 3.2),
            59: (-4, 1.2, 3.4),
            61: (-2.4, 0.4, 1.8),
            67: (-2.5, 0.7, 1.6),
            50: (-1, 0.2, 0.6),
            58: (-1.4, 0.6, 0.8),
        },
    ),
    "cheek_puff": (
        "mouth",
        "air in the cheek (AU34): corner and lips of its side come 12 mm forward",
        0.2,
        {
            48: (2.5, -1.5, -12),
            60: (2.5, -1.5, -12),
            49: (2.4, -1.3, -9),
            59: (2.3, 0, -10),
            50: (1, -0.6, -5.5),
            58: (1.5, 0, -7),
            61: (1.6, -0.6, -7),
            67: (1.6, -0.6, -7.5),
            51: (0, -0.3, -3.7),
            57: (0, 0, -4.2),
            62: (0, -0.1, -3.6),
            66: (0, -0.2, -4.2),
        },
    ),
    "upper_lip_raise": (
        "mouth",
        "levator labii superioris (AU10): the upper lip rises 7 mm on its side",
        0.3,
        {
            49: (-1, -6.5, 0),
            50: (-0.5, -7, 0),
            61: (-0.5, -6.5, 0),
            51: (0, -3.8, 0),
            62: (0, -3.8, 0),
            48: (0, -2, 0),
            60: (0, -2, 0),
            52: (0, -1.2, 0),
            63: (0, -1, 0),
        },
    ),
    "lower_lip_depress": (
        "mouth",
        "depressor labii inferioris (AU16): the lower lip sinks 6 mm on its side",
        0.3,
        {
            59: (-0.8, 4.5, 0.8),
            58: (-0.6, 6, 1),
            67: (-0.5, 6, 1),
            57: (0, 3.4, 0.8),
            66: (0, 3.4, 0.8),
            56: (0, 1, 0.3),
            65: (0, 1, 0.3),
        },
    ),
}

_UPPER_OUTER, _LOWER_OUTER = (49, 50, 51, 52, 53), (59, 58, 57, 56, 55)
_UPPER_INNER, _LOWER_INNER = (61, 62, 63), (67, 66, 65)
_UPPER_RED, _LOWER_RED = (50, 51, 52), (56, 57, 58)  # the middle of the outer contours


def expression_fields(mean: Array) -> tuple[Field, ...]:
    """All expression fields on a mean face (68, 3) mm."""
    sided = []
    for name, (part, says, sd, moves) in _SIDED.items():
        left = _from_moves(moves)
        if part == "eye":
            left = _within_aperture(left, mean)
        for side, shape in (("l", left), ("r", mirrored(left))):
            region = part if part in ("nose", "mouth") else f"{part}_{side}"
            sided.append(Field(f"{name}_{side}", region, shape, says, sd))
    blink = _blink(mean)
    for side, shape in (("l", blink), ("r", mirrored(blink))):
        says = (
            "orbicularis oculi (AU45): the upper lid comes down onto the lower, which rises a bit"
        )
        sided.append(Field(f"eye_close_{side}", f"eye_{side}", shape, says, 0.5, 2.0))
    order = {"brow": 0, "eye": 1, "nose": 2, "mouth": 3}
    sided.sort(key=lambda f: order[f.region.split("_")[0]])  # stable
    return (*sided, *_middle_fields(mean))


def _middle_fields(mean: Array) -> list[Field]:
    def field(name: str, shape: Array, says: str, sd: float = 0.3, upper: float = 1.5) -> Field:
        return Field(name, "mouth", shape, says, sd, upper)

    jaw = _jaw_weight()
    opening = _jaw_opening(mean)
    together = np.zeros((68, 3))
    lips = [*_LOWER_OUTER, *_LOWER_INNER, 48, 54, 60, 64]
    together[lips] = -opening[lips]
    thrust = jaw[:, None] * np.array([0, 0.8, -9.0])
    side = jaw[:, None] * np.array([-8.0, 0, 0])
    shift = np.zeros((68, 3))
    for i in range(48, 68):
        shift[i] = (-8.0, 0, 0)
    shift[[48, 60], 2], shift[[54, 64], 2] = 4.0, -4.0
    chin = _from_moves(
        _all((57, 66), 0, -4.5, -2.5)
        | _all((56, 58, 65, 67), 0, -4, -2.3)
        | _all((55, 59), 0, -2, -1)
        | _all((51, 62), 0, -1.5, -0.3)
        | _all((50, 52, 61, 63), 0, -1.2, -0.3)
        | _all((48, 54, 60, 64), 0, 0.8, 0)
        | _all((8,), 0, -5, -2)
        | _all((7, 9), 0, -4.6, -2)
        | _all((6, 10), 0, -3, -1)
    )
    upper = _from_moves(
        _all(_UPPER_RED, 0, 5.5, 6) | _all((49, 53), 0, 4, 5) | _all(_UPPER_INNER, 0, -1, 9)
    )
    lower = _from_moves(
        _all(_LOWER_RED, 0, -7.5, 4) | _all((55, 59), 0, -4.2, 2.4) | _all(_LOWER_INNER, 0, -2, 9)
    )
    funnel = _from_moves(
        _all(_UPPER_RED, 0, -4, -6)
        | _all(_LOWER_RED, 0, 5, -5)
        | _all(_UPPER_INNER, 0, -3.5, -6)
        | _all(_LOWER_INNER, 0, 5, -5)
    )
    pucker = _from_moves(
        _all(_UPPER_RED, 0, 0.3, -6) | _all(_LOWER_RED, 0, -0.3, -6) | _all((62, 66), 0, 0, -6)
    )
    funnel += _towards_midline(mean, 0.22, (48, 54, 60, 64, 49, 53, 55, 59), -7.0)
    pucker += _towards_midline(
        mean, 0.36, (48, 54, 60, 64, 49, 53, 55, 59, 50, 52, 56, 58, 61, 63, 65, 67), 0.0
    )
    for i in (48, 54, 60, 64):
        pucker[i, 2] -= 8.0
    for i in (49, 53, 55, 59, 61, 63, 65, 67):
        pucker[i, 2] -= 7.0
    return [
        field("jaw_open", opening, "lower jaw (AU26, AU27): the chin sinks 27 mm", 0.4),
        field(
            "lips_together",
            together,
            "lips towards each other (AU8): they stay closed over a jaw that drops by 27 mm",
            0.2,
        ),
        field("jaw_thrust", thrust, "lower jaw 9 mm forward (AU29)", 0.2),
        field("jaw_shift_l", side, "lower jaw 8 mm to the image's left (AU30)", 0.2),
        field("jaw_shift_r", mirrored(side), "lower jaw 8 mm to the image's right (AU30)", 0.2),
        field("mouth_shift_l", shift, "both lips 8 mm to the image's left", 0.2),
        field("mouth_shift_r", mirrored(shift), "both lips 8 mm to the image's right", 0.2),
        field("chin_raise", chin, "mentalis (AU17): chin and lower lip rise 5 mm"),
        field(
            "upper_lip_tighten",
            upper,
            "orbicularis oris (AU23, AU24, AU28): the upper red of the lips rolls in by 5.5 mm",
        ),
        field(
            "lower_lip_tighten",
            lower,
            "orbicularis oris (AU23, AU24, AU28): the lower red of the lips rolls in by 7.5 mm",
        ),
        field("lips_funnel", funnel, "orbicularis oris (AU22): lips 6 mm forward and apart"),
        field("lips_pucker", pucker, "incisivii (AU18): corners 9 mm inwards, lips 6 mm forward"),
    ]


def mirrored(shape: Array) -> Array:
    """The same field on the other side of the face."""
    return np.asarray(shape[schemes.MIRROR_IBUG68] * [-1.0, 1.0, 1.0])


def _from_moves(moves: Moves) -> Array:
    shape = np.zeros((68, 3))
    for point, move in moves.items():
        shape[point] = move
    return shape


def _blink(mean: Array) -> Array:
    """Image-left eye shut: both lids meet a fifth of the way up from the lower lid."""
    shape = np.zeros((68, 3))
    for upper, lower in ((37, 41), (38, 40)):
        gap = mean[lower] - mean[upper]
        shape[upper, 1] = 0.8 * gap[1]
        shape[lower, 1] = -0.2 * gap[1]
        shape[upper, 2] = 0.8 * max(gap[2], 0.0)
    shape[36, 1] = 0.5
    return shape


def _within_aperture(shape: Array, mean: Array) -> Array:
    """An eye field, whose lids never cross at coefficient 1, whatever the mean's lid aperture."""
    closing = max(
        (shape[upper, 1] - shape[lower, 1]) / (mean[lower, 1] - mean[upper, 1])
        for upper, lower in ((37, 41), (38, 40))
    )
    return shape / max(1.0, float(closing) / 0.7)


def _jaw_weight() -> Array:
    """How far each point follows the lower jaw, (68,) in 0-1."""
    weight = np.zeros(68)
    contour = (0.0, 0.05, 0.15, 0.35, 0.6, 0.85, 0.95, 1.0, 1.0)
    weight[:9] = contour
    weight[8:17] = contour[::-1]
    weight[list(_LOWER_OUTER)] = (0.75, 0.97, 1.0, 0.97, 0.75)
    weight[list(_LOWER_INNER)] = (0.9, 1.0, 0.9)
    weight[[48, 54, 60, 64]] = 0.4
    weight[[49, 53]] = 0.06
    return weight


def _jaw_opening(mean: Array) -> Array:
    """A turn of the lower jaw by 0.3 rad about an axis through the ears, level with their canals.

    The condyles also slide forward as the jaw opens wide, which a linear model of one coefficient
    leaves out (Grant, J. Dent. Res. 52, 1973). The corners follow in part and are drawn inwards.
    """
    pivot = np.array([0.0, -14.0, 75.0])
    arm = mean - pivot
    turn = 0.3 * np.stack([np.zeros(68), -arm[:, 2], arm[:, 1]], axis=1)
    shape = _jaw_weight()[:, None] * turn
    for point in (48, 54, 60, 64, 55, 59, 65, 67):
        shape[point, 0] = -0.1 * mean[point, 0]
    return np.asarray(shape)


def _towards_midline(mean: Array, share: float, points: tuple[int, ...], forward: float) -> Array:
    shape = np.zeros((68, 3))
    for point in points:
        shape[point] = (-share * mean[point, 0], 0.0, forward)
    return shape
