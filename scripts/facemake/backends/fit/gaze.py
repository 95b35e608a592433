"""Where the eyes look: the direction of each eyeball, from its iris and the fitted head.

An eyeball is a sphere that turns about its centre, which sits at a fixed place behind the corners
of the eye. The line of sight from the camera through the middle of the iris meets the sphere on
which that middle moves; the gaze is the direction from the centre of the eyeball to that point.
Angles are those of OpenFace (Baltrusaitis et al., OpenFace 2.0, FG 2018; `GetGazeAngle` of its
code): of the mean of both eyes' vectors, in camera axes, and so not relative to the head.

Axes and signs. Vectors are in camera axes: x right, y down, z away from the camera, so that z is
negative for who looks towards the camera. Left and right are the image's.

* angle_x = atan2(x, -z) > 0: towards the right edge of the image (the subject's left);
* angle_y = atan2(y, -z) > 0: downwards;
* both are 0 for a gaze along the camera's axis. Who looks into the lens from beside the axis does
  not look along it: the angles are then those at which the camera sees the face, negated.

What this cannot know: the line of sight leaves the axis of an eyeball by about 5 degrees towards
the nose (kappa, 2 to 8 degrees by person: Atchison and Smith, Optics of the Human Eye, 2000), and
the depth of an eyeball behind the lids differs by 1 to 2 mm. Neither is measured, since no target
is known. The first parts the two vectors and cancels in the angles while both eyes are seen; with
one eye it stays. The second costs about 3 degrees a mm at a head turned 30 degrees away from where
the eyes look, nothing when both agree. Constant offsets of a few degrees a person are to be
expected, vertically more than horizontally; changes of gaze are more certain than its place.

Nothing here calls BLAS or LAPACK, and a frame's numbers depend on that frame alone.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from facemake import geometry, schemes
from facemake.geometry import Camera

Array = NDArray[np.float64]

IRIS_DIAMETER = 11.7
"""mm, of the visible iris: 11.71 +- 0.42 (Ruefer et al., Cornea 24(3), 2005, 743 eyes)."""

CORNEA_RADIUS = 7.8
"""mm, of the cornea's front (Atchison and Smith, Optics of the Human Eye, 2000)."""

CORNEA_TO_ROTATION = 13.5
"""mm from the cornea's apex back to the point about which the eyeball turns: the textbooks' value,
between 15.3 +- 1.5 for horizontal and 12.5 +- 1.4 for vertical turns (Ophthalmic Physiol. Opt.
42(2), 2022, 376-383, 59 eyes)."""

IRIS_TO_ROTATION = CORNEA_TO_ROTATION - (
    CORNEA_RADIUS - math.sqrt(CORNEA_RADIUS**2 - (IRIS_DIAMETER / 2) ** 2)
)
"""mm, 10.9: from the middle of the iris's visible edge, which is the cornea's rim, to the point of
rotation. The sphere on which that middle moves is smaller than the eyeball (radius 12 mm)."""

CORNERS_TO_IRIS = 5.0
"""mm by which the iris's edge lies before the midpoint of the eye's corners, when it looks straight
ahead: 5.0 in the mean head of ICT-FaceKit (Li et al., CVPR 2020), and 5 in OpenFace (a sphere of
12 mm whose centre is 7 mm behind)."""

EYE_BACK = IRIS_TO_ROTATION - CORNERS_TO_IRIS
"""mm, 5.9: from the midpoint of the corners back, along the head's z, to the point of rotation."""

EYE_UP = 1.5
"""mm by which the point of rotation lies above the midpoint of the corners: what FaceMesh's points
of six people who look into the lens ask for (0.5 to 2.2). ICT-FaceKit's eyeballs lie 2.8 mm above,
OpenFace's 3.5 mm above the corners of its own model."""

MIN_OPENING = 0.3
"""Opening of the lids over the iris's diameter below which an eye counts as closed: less than a
third of the iris is then in sight, and the network guesses its middle."""

IRIS_SIZES = (0.5, 1.6)
"""Least and largest apparent diameter of an iris over the one that the head's distance asks for;
pictures of clear eyes gave 0.83 to 1.2."""

MAX_OFF_CENTRE = 0.25
"""Largest distance of the iris's middle from the mean of the four points of its edge, over the
diameter: FaceMesh's agree within 0.02."""

MAX_MISS = 1.15
"""A line of sight that passes the sphere at more than so many radii is none through an iris; a
nearer miss is noise at an eye seen from its side, and takes the nearest point of the sphere."""

MAX_TURN = math.cos(math.radians(65.0))
"""Cosine of the largest angle between gaze and head: eyeballs turn up to about 55 degrees (Guitton
and Volle, J. Neurophysiol. 58, 1987); 10 more for the offsets above."""


@dataclass(frozen=True)
class _Eye:
    """Indices of one eye, outer before inner and upper before lower."""

    corners: tuple[int, int]
    """Of iBUG-68."""
    lids: tuple[int, int]
    """Of FaceMesh, the middles of the lids' edges."""
    iris: range
    """Of FaceMesh: the middle, then the edge's right, top, left and bottom point in the image."""


_EYES = (
    _Eye(corners=(36, 39), lids=(159, 145), iris=range(468, 473)),
    _Eye(corners=(45, 42), lids=(386, 374), iris=range(473, 478)),
)
"""The image-left eye, the image-right eye: FaceMesh's 468 to 472 are the iris of the subject's
right eye, which lies left in the image."""


@dataclass(frozen=True)
class Gaze:
    """Directions of gaze in n frames; NaN where an eye is closed, hidden or not found."""

    gaze_0: Array
    """(n, 3) unit vectors in camera axes, the image-left eye."""
    gaze_1: Array
    """(n, 3) of the image-right eye."""
    angle_x: Array
    """(n,) radians, > 0 towards the right edge of the image; of both eyes, or the one there is."""
    angle_y: Array
    """(n,) radians, > 0 downwards."""


def estimate_gaze(
    points: ArrayLike, rotation: Array, translation: Array, shape: Array, camera: Camera
) -> Gaze:
    """The gaze of each frame.

    The corners of the eyes say twice where an eyeball is: in the fitted head, which gives its
    depth, and in the picture, which gives its place there, free of what the head model does not
    know of this person's eyes.

    Args:
        points: (n, 478, 2) px of the camera (undistorted, where it is calibrated), FaceMesh with
            irises.
        rotation: (n, 3, 3), model axes to camera axes; NaN where a frame was not fitted.
        translation: (n, 3) mm.
        shape: (68, 3) mm in model axes, the person's neutral iBUG-68; or (n, 68, 3).
        camera: of the fit.

    Raises:
        ValueError: for points that are not FaceMesh's 478.
    """
    p = np.asarray(points, dtype=np.float64)
    if p.ndim != 3 or p.shape[1:] != (schemes.N_POINTS[schemes.MEDIAPIPE478], 2):
        raise ValueError(f"gaze takes (n, 478, 2) points of FaceMesh with irises, got {p.shape}")
    with np.errstate(invalid="ignore", divide="ignore"):
        left, right = (_direction(eye, p, rotation, translation, shape, camera) for eye in _EYES)
        both = np.where(np.isnan(left), right, np.where(np.isnan(right), left, left + right))
    return Gaze(
        gaze_0=left,
        gaze_1=right,
        angle_x=geometry._atan2(both[:, 0], -both[:, 2]),
        angle_y=geometry._atan2(both[:, 1], -both[:, 2]),
    )


def _direction(
    eye: _Eye, points: Array, rotation: Array, translation: Array, shape: Array, camera: Camera
) -> Array:
    """(n, 3) unit vectors of one eye."""
    outer, inner = (shape[..., i, :] for i in eye.corners)
    ball = 0.5 * (outer + inner) + np.array([0.0, -EYE_UP, EYE_BACK])
    local = np.broadcast_to(np.stack([outer, inner, ball], axis=-2), (len(points), 3, 3))
    placed = geometry.rotate(rotation, local) + translation[:, None, :]
    centre, seen = placed[:, 2], camera.project(placed[:, :2])

    ours = schemes.MEDIAPIPE478_TO_IBUG68
    off = [points[:, ours[i]] - seen[:, k] for k, i in enumerate(eye.corners)]
    px_per_mm = camera.focal / centre[:, 2]
    centre = np.concatenate(
        [centre[:, :2] + 0.5 * (off[0] + off[1]) / px_per_mm[:, None], centre[:, 2:]], axis=1
    )

    middle_px, edge = points[:, eye.iris[0]], [points[:, i] for i in eye.iris[1:]]
    ring = 0.25 * (edge[0] + edge[1] + edge[2] + edge[3])
    iris = 0.2 * middle_px + 0.8 * ring
    diameter = IRIS_DIAMETER * px_per_mm
    across = np.maximum(_length(edge[0] - edge[2]), _length(edge[1] - edge[3])) / diameter
    opening = _length(points[:, eye.lids[0]] - points[:, eye.lids[1]]) / diameter
    visible = (
        (opening >= MIN_OPENING)
        & (across >= IRIS_SIZES[0])
        & (across <= IRIS_SIZES[1])
        & (_length(middle_px - ring) <= MAX_OFF_CENTRE * across * diameter)
        & (centre[:, 2] > 0)
    )

    gaze = _to_sphere(iris, centre, camera)
    forward = -rotation[:, :, 2]
    visible &= (gaze * forward).sum(axis=1) >= MAX_TURN
    return np.where(visible[:, None], gaze, np.nan)


def _to_sphere(pixels: Array, centre: Array, camera: Camera) -> Array:
    """(n, 3) unit vectors from the centres (n, 3) to where the sphere meets rays through pixels."""
    ray = np.stack(
        [
            (pixels[:, 0] - camera.cx) / camera.focal,
            (pixels[:, 1] - camera.cy) / camera.focal,
            np.ones(len(pixels)),
        ],
        axis=1,
    )
    ray /= _length(ray)[:, None]
    along = ray[:, 0] * centre[:, 0] + ray[:, 1] * centre[:, 1] + ray[:, 2] * centre[:, 2]
    past = along[:, None] * ray - centre  # from the centre to the nearest point of the ray
    miss = _length(past)
    back = np.sqrt(np.maximum(IRIS_TO_ROTATION**2 - miss * miss, 0.0))
    gaze = past - back[:, None] * ray
    gaze /= _length(gaze)[:, None]
    return np.where((miss <= MAX_MISS * IRIS_TO_ROTATION)[:, None], gaze, np.nan)


def _length(vectors: Array) -> Array:
    """Of (n, 2) or (n, 3) vectors: (n,)."""
    squares = vectors * vectors
    total = squares[:, 0] + squares[:, 1]
    if vectors.shape[1] == 3:
        total = total + squares[:, 2]
    return np.sqrt(total)
