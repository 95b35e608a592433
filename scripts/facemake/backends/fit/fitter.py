"""The fit of a linear face model to 2-D landmarks, on plain arrays.

`Fitter.fit_identity` takes some frames of a track and finds who it is; `Fitter.fit_frames` then
finds pose and expression of any number of frames. A frame's numbers depend on its own points, the
identity, the camera and the model: not on the frames around it, on the size of the batches, or on
the number of threads.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from facemake import geometry, schemes
from facemake.backends.fit import identity as identities
from facemake.backends.fit import linalg, pdm, pose, solver
from facemake.backends.fit.identity import Identity
from facemake.backends.fit.model import LinearFaceModel
from facemake.backends.fit.normal import State
from facemake.backends.fit.proportions import FREE
from facemake.backends.fit.solver import FACE_UNIT, PAD, SolverSettings
from facemake.calibration.lens import Lens
from facemake.geometry import Camera

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

JAW_WEIGHT = 0.25
"""Weight of each jaw point against 1 of the others: where a network marks the visible outline, that
slides over the skin as the head turns, so it says less about the shape."""

MESH_WEIGHT = 0.25
"""Weight of each point of a dense mesh that is none of iBUG-51: neighbours err alike, so that ten
times the points are not ten times the evidence."""

_OTHER_WEIGHTS = {schemes.IBUG68: JAW_WEIGHT, schemes.MEDIAPIPE478: MESH_WEIGHT}
"""Scheme -> weight of the points that iBUG-51 has not."""

BATCH = 128
"""Frames that are solved together; it changes speed and memory, and no result."""

MIN_EYES_PX = 6.0
"""Outer eye distance, as seen from the front, below which points are a heap and not a face."""

MAX_PIXEL = 1e6
"""Coordinates beyond this belong to no picture."""

MAX_ERROR_SHARE = 0.08
"""Root mean square error of the near points, over the outer eye distance, from which a frame is
not converged."""

NEAR_SHARE = 0.12
"""Distance over the outer eye distance from which a point is not where the fit has it at all."""

MIN_NEAR = 0.8
"""Share of the inner points that must be nearer than that: the few others, under a hand or badly
found, are what robust weights are for, and no reason to distrust the frame."""

MAX_WHOLE_ERROR_SHARE = 0.12
"""Likewise of all inner points together: what is scattered is no face, however few lie far off."""

MIN_FACING = 0.15
"""Cosine between the line of sight and the head's own axis below which the fit is a profile or a
face seen from behind, which is what mirrored landmarks look like."""

_RAYLEIGH = 1.1774
"""Median length of a vector of two Gaussian errors of standard deviation 1."""

NOISE_RANGE = (0.006, 0.02)
"""What the error of a point may be, as a share of the outer eye distance, as a track shows it: no
landmark network is better than the one, and no face worse than the other."""

_NOISE_FRAMES = 5
"""Frames from which a track's own error is taken, and not the solver's setting."""

_FITTED_AWAY = 1.15
"""Errors before the fit over those after it: of about 100 coordinates a frame, the pose and the
coefficients that are not at a bound take some 25."""

WELL_POSED = np.deg2rad(40.0)
"""|yaw| and |pitch| up to which a frame counts for the identity, where there are such frames."""


@dataclass(frozen=True)
class FrameFits:
    """What the fit says about n frames; all NaN in the rows where `ok` is False."""

    ok: Mask
    """(n,) converged, plausible."""
    translation: Array
    """(n, 3) mm, tx ty tz of the head's origin in camera axes."""
    euler: Array
    """(n, 3) radians, rx ry rz: pitch, yaw, roll; signs in `facemake.geometry`."""
    expression: Array
    """(n, E)."""
    canonical: Array
    """(n, 153) mm, iBUG-51 x0 y0 z0 ..., x image-right, y up, nose tip at negative z; mean face
    and expression, without identity and pose."""
    global_params: Array
    """(n, 6): scale, rx, ry, rz, tx, ty in OpenFace's convention; see `pdm`."""
    local_params: Array
    """(n, 34) mm along the modes of the model's PDM."""
    error_px: Array
    """(n,) root mean square distance of the 51 inner points from their projections, px."""
    inliers: Array
    """(n,) how many points the fit rests on; the others are too far from where it has them."""
    noise: Array
    """(n,) error of a point in one axis, robust, as a share of the outer eye distance as it would
    be seen from the front."""

    @classmethod
    def empty(cls, n: int, n_expression: int) -> "FrameFits":
        """Of n frames that were not fitted."""
        widths = {
            "translation": 3,
            "euler": 3,
            "expression": n_expression,
            "canonical": 153,
            "global_params": 6,
            "local_params": pdm.N_MODES,
        }
        return cls(
            ok=np.zeros(n, dtype=bool),
            **{name: np.full(n, np.nan) for name in ("error_px", "inliers", "noise")},
            **{name: np.full((n, width), np.nan) for name, width in widths.items()},
        )


class Fitter:
    """Fits one face model to the pictures of one camera.

    Args:
        model: any linear face model; its landmarks are what is fitted.
        camera: of the recording; `Camera.from_fov(width, height, fov)`.
        settings: of the solver.
        size: width and height in px; where given, a frame that lies mostly outside is not fitted.
        lens: of a calibrated recording, whose `camera` is the camera: points and global parameters
            are then of the recording's pixels, errors of the ideal camera's.
    """

    def __init__(
        self,
        model: LinearFaceModel,
        camera: Camera,
        settings: SolverSettings | None = None,
        size: tuple[int, int] | None = None,
        lens: Lens | None = None,
    ) -> None:
        self.model = model
        self.camera = camera
        self.settings = settings or SolverSettings()
        self.size = size
        self.lens = lens
        self.pdm = model.pdm if model.pdm is not None else pdm.derive_pdm(model)
        self._inner = model.inner
        self._weights = np.full(model.n_points, _OTHER_WEIGHTS.get(model.scheme, 1.0))
        self._weights[self._inner] = 1.0
        self._rates = identities.rates(model, self.settings)
        self._of_one_picture = _without_free_modes(model)

    def fit_identity(self, points: ArrayLike) -> Identity:
        """Who this is, from frames of one track.

        Of the frames that can be fitted, those within 40 degrees of frontal are preferred (all
        count where there is none), and of these at most 32 are used, evenly spread.

        Args:
            points: (n, L, 2) px, the model's landmarks; frames that are not finite are passed over.

        Returns:
            The identity; the mean face with n_frames 0 where no frame is usable.

        Raises:
            ValueError: for an array of another shape.
        """
        p = self._checked(points)
        nobody = Identity(
            np.zeros(len(self.model.identity)),
            self.model.neutral(),
            0,
            float("nan"),
            self.settings.sigma,
        )
        chosen = self._choose(p)
        if not len(chosen):
            return nobody
        p, n = _padded(p[chosen]), len(chosen)
        use = np.arange(len(p)) < n
        guess = self._guess(p, self.model.mean)
        sigma = self.settings.sigma * FACE_UNIT * guess.scale
        coefficients = identities.estimate(
            p,
            _at(guess, self.model),
            sigma,
            use,
            self.model,
            self._weights,
            self.camera,
            self.settings,
        )
        # Now that the face is known about, so are the wrong points and the error of the others.
        shape = self.model.neutral(coefficients)
        found, weights, noise = self._look_again(p, n, shape, sigma)
        coefficients = identities.estimate(
            p,
            found.state,
            sigma * (noise / self.settings.sigma),
            use & found.at_rest,
            self.model,
            weights,
            self.camera,
            self.settings,
            known=coefficients,
        )
        shape = self.model.neutral(coefficients)
        fits = self._fit_frames(p[:n], shape, noise)
        n_ok = int(fits.ok.sum())
        if not n_ok:
            return nobody
        error = float(np.sqrt(np.mean(fits.error_px[fits.ok] ** 2)))
        return Identity(coefficients, shape, n_ok, error, noise)

    def fit_frames(self, points: ArrayLike, identity: Identity) -> FrameFits:
        """Pose and expression of each frame under a fixed identity.

        Args:
            points: (n, L, 2) px, the model's landmarks.
            identity: of the track.

        Raises:
            ValueError: for an array of another shape.
        """
        return self._fit_frames(self._checked(points), identity.shape, identity.noise)

    def _fit_frames(self, points: Array, shape: Array, noise: float) -> FrameFits:
        parts = [
            self._fit_batch(points[start : start + BATCH], shape, noise)
            for start in range(0, len(points), BATCH)
        ]
        return _joined(parts, len(self.model.expression))

    def fit_pictures(self, points: ArrayLike) -> FrameFits:
        """Identity, pose and expression of each frame on its own, for pictures that stand alone.

        Args:
            points: (n, L, 2) px, the model's landmarks.

        Raises:
            ValueError: for an array of another shape.
        """
        p = self._checked(points)
        parts = []
        for first in range(0, len(p), BATCH):
            batch = p[first : first + BATCH]
            model = self._of_one_picture
            padded, guess, sigma = self._start(batch, model.mean, self.settings.sigma)
            coefficients = identities.estimate_each(
                padded,
                _at(guess, model),
                sigma,
                model,
                self._weights,
                self.camera,
                self.settings,
            )
            shape = model.mean + linalg.combine(coefficients, model.identity)
            parts.append(self._fit_batch(batch, shape, self.settings.sigma))
        return _joined(parts, len(self.model.expression))

    def project(self, fits: FrameFits, identity: Identity) -> Array:
        """(n, L, 2) px: where the fitted landmarks lie in the picture; NaN where not ok."""
        shape = identity.shape + linalg.combine(fits.expression, self.model.expression)
        turned = geometry.rotate(geometry.rotation_from_euler(fits.euler), shape)
        seen = self.camera.project(turned + fits.translation[:, None, :])
        return self.lens.distort(seen) if self.lens is not None else seen

    def _checked(self, points: ArrayLike) -> Array:
        """(n, L, 2) pixels of the camera; NaN in frames that lie mostly outside the picture."""
        p = np.asarray(points, dtype=np.float64)
        if p.ndim != 3 or p.shape[1:] != (self.model.n_points, 2):
            raise ValueError(
                f"the fit takes (n, {self.model.n_points}, 2) points of {self.model.scheme}, "
                f"got {p.shape}"
            )
        if self.size is not None:
            width, height = self.size
            inner = p[:, self._inner]
            x, y = inner[..., 0], inner[..., 1]
            inside = (x > -1) & (y > -1) & (x < width) & (y < height)
            p = np.where((inside.mean(axis=1) >= 0.5)[:, None, None], p, np.nan)
        return self.lens.undistort(p) if self.lens is not None else p

    def _usable(self, points: Array) -> Mask:
        """(n,) frames whose points are there and spread."""
        finite = np.isfinite(points).all(axis=(1, 2))
        safe = np.where(finite[:, None, None], points, 0.0)
        inner = safe[:, self._inner]
        extent = inner.max(axis=1) - inner.min(axis=1)
        usable: Mask = finite & (extent.max(axis=1) > MIN_EYES_PX)
        usable &= np.abs(safe).max(axis=(1, 2)) < MAX_PIXEL
        return usable

    def _choose(self, points: Array) -> NDArray[np.intp]:
        """Indices of the frames for the identity, at most MAX_FRAMES, in order."""
        usable = self._usable(points)
        index = np.flatnonzero(usable)
        if not len(index):
            return index
        guess = self._guess(_padded(points[index]), self.model.mean)
        turned = np.abs(geometry.euler_from_rotation(guess.rotation[: len(index)]))
        angle = np.maximum(turned[:, 0], turned[:, 1])
        sound = np.isfinite(angle) & (guess.rotation[: len(index), 2, 2] > MIN_FACING)
        good = sound & (angle < WELL_POSED)
        index = index[good] if good.any() else index[sound]
        if len(index) > identities.MAX_FRAMES:
            spread = np.arange(identities.MAX_FRAMES) * len(index) // identities.MAX_FRAMES
            index = index[spread]
        return np.asarray(index)

    def _guess(self, points: Array, shape: Array) -> pose.Guess:
        return pose.first_guess(points, shape, self._inner[pose.RIGID], self.camera, FACE_UNIT)

    def _start(self, points: Array, shape: Array, noise: float) -> tuple[Array, pose.Guess, Array]:
        """Padded points without what cannot be fitted, their first guess and their sigma."""
        # A frame that cannot be fitted is replaced by a harmless one and struck out at the end.
        stand_in = self.model.mean[:, :2] + [self.camera.cx, self.camera.cy]
        usable = self._usable(points)
        p = _padded(np.where(usable[:, None, None], points, stand_in))
        guess = self._guess(p, shape)
        return p, guess, noise * FACE_UNIT * guess.scale

    def _fit_batch(self, points: Array, shape: Array, noise: float) -> FrameFits:
        """Fits of one batch; shape is (L, 3), or that of every padded frame."""
        n = len(points)
        usable = self._usable(points)
        p, guess, sigma = self._start(points, shape, noise)
        found = self._solve(p, shape, self._weights, _at(guess, self.model), sigma)
        found, inliers = self._without_outliers(found, p, shape)
        state = found.state
        inner = found.residual[:, self._inner]
        error = np.sqrt((inner * inner).sum(axis=-1).mean(axis=-1))
        eyes_px = sigma / noise
        ok = found.at_rest & self._plausible(state, _size(inner), eyes_px)
        ok[:n] &= usable
        with np.errstate(invalid="ignore", divide="ignore"):
            deformation = linalg.combine(state.expression, self.model.expression)
            canonical = (self.model.mean + deformation)[:, self._inner]
            canonical = canonical * [1.0, -1.0, 1.0]
            change = deformation + (shape - self.model.mean)
            globals_ = pdm.global_params(
                state.rotation, state.translation, self.model.mean + change, self.camera, self.lens
            )
            if self.model.pdm_origin.any():
                # A PDM of its maker's has its own origin, of which its tx and ty are.
                turn = geometry.rotation_from_euler_xyz(globals_[:, 1:4])
                origin = geometry.rotate(turn, np.tile(self.model.pdm_origin, (len(p), 1, 1)))
                globals_[:, 4:] += globals_[:, :1] * origin[:, 0, :2]
            flat = np.ascontiguousarray(change.transpose(0, 2, 1)).reshape(len(p), 1, -1)
            local = np.matmul(flat, self.pdm)[:, 0]
            euler = geometry.euler_from_rotation(state.rotation)
        columns = {
            "translation": state.translation,
            "euler": euler,
            "expression": state.expression,
            "canonical": canonical.reshape(len(p), -1),
            "global_params": globals_,
            "local_params": local,
            "error_px": error,
            "inliers": inliers,
            "noise": np.median(_size(inner), axis=1) / (_RAYLEIGH * eyes_px),
        }
        for value in columns.values():
            ok &= np.isfinite(value).reshape(len(p), -1).all(axis=1)
        for value in columns.values():
            value[~ok] = np.nan
        return FrameFits(ok=ok[:n], **{key: value[:n] for key, value in columns.items()})

    def _solve(
        self, points: Array, shape: Array, weights: Array, start: State, sigma: Array
    ) -> solver.Solution:
        return solver.solve(
            points,
            shape,
            self.model.expression,
            weights,
            self.camera,
            (self.model.expression_lower, self.model.expression_upper),
            self.model.expression_sd,
            self._rates,
            start,
            sigma,
            self.settings,
        )

    def _look_again(
        self, points: Array, n: int, shape: Array, sigma: Array
    ) -> tuple[solver.Solution, Array, float]:
        """The frames under a first identity: their solution, the weights (n, L) that it leaves the
        points, and the error of a point over the outer eye distance.
        """
        guess = self._guess(points, shape)
        found = self._solve(points, shape, self._weights, _at(guess, self.model), sigma)
        with np.errstate(invalid="ignore", over="ignore"):
            away = _size(found.residual) / sigma[:, None]
            weights = self._weights * self._tukey(away)
        error = np.median(away[:n][:, self._inner], axis=1) / _RAYLEIGH * self.settings.sigma
        sound = found.at_rest[:n] & np.isfinite(error)
        if int(sound.sum()) < _NOISE_FRAMES:
            return found, weights, self.settings.sigma
        noise = _FITTED_AWAY * float(np.median(error[sound]))
        return found, weights, min(max(noise, NOISE_RANGE[0]), NOISE_RANGE[1])

    def _tukey(self, away: Array) -> Array:
        """Weights of points that are wrong by so many sigma."""
        share = away / self.settings.outlier
        return np.where(share < 1, (1 - share * share) ** 2, 0.0)

    def _without_outliers(
        self, found: solver.Solution, points: Array, shape: Array
    ) -> tuple[solver.Solution, Array]:
        """The solution with outliers left out, and (n,) the number of points that it rests on."""
        limit = self.settings.outlier
        with np.errstate(invalid="ignore", over="ignore"):
            away = _size(found.residual) / found.sigma_px[:, None]
            again = np.flatnonzero((away > limit).any(axis=1))
            if len(again):
                weights = self._weights * self._tukey(away[again])
                padding = -len(again) % PAD
                rows = np.concatenate([again, np.repeat(again[-1:], padding)])
                better = self._solve(
                    points[rows],
                    shape[rows] if shape.ndim == 3 else shape,
                    np.concatenate([weights, np.repeat(weights[-1:], padding, axis=0)]),
                    found.state.rows(rows),
                    found.sigma_px[rows],
                )
                found = found.replaced(again, better)
                away = _size(found.residual) / found.sigma_px[:, None]
            inliers = (away <= limit).sum(axis=1).astype(np.float64)
        return found, inliers

    def _plausible(self, state: State, away: Array, eyes_px: Array) -> Mask:
        """(n,) frames that look like a face; away: (n, 51) px, how far the inner points are off."""
        with np.errstate(invalid="ignore", divide="ignore"):
            near = away < NEAR_SHARE * eyes_px[:, None]
            error = np.sqrt((away * away * near).sum(axis=-1) / near.sum(axis=-1))
            sight = state.translation / np.sqrt((state.translation**2).sum(axis=-1))[:, None]
            facing = (sight * state.rotation[:, :, 2]).sum(axis=-1)
            result: Mask = (
                (eyes_px > MIN_EYES_PX)
                & (near.mean(axis=-1) >= MIN_NEAR)
                & (error < MAX_ERROR_SHARE * eyes_px)
                & (np.sqrt((away * away).mean(axis=-1)) < MAX_WHOLE_ERROR_SHARE * eyes_px)
                & (facing > MIN_FACING)
                & (state.translation[:, 2] > 0)
            )
        return result


def _without_free_modes(model: LinearFaceModel) -> LinearFaceModel:
    """The model as one picture can tell it: `proportions.free_fields` want several frames."""
    kept = np.array([not name.startswith(FREE) for name in model.identity_names], dtype=bool)
    if kept.all():
        return model
    return replace(
        model,
        identity=model.identity[kept],
        identity_sd=model.identity_sd[kept],
        identity_names=tuple(n for n, k in zip(model.identity_names, kept, strict=True) if k),
    )


def _size(residual: Array) -> Array:
    """Lengths of (..., 2)."""
    length: Array = np.sqrt(residual[..., 0] ** 2 + residual[..., 1] ** 2)
    return length


def _padded(points: Array) -> Array:
    """Points with copies of the last frame up to a multiple of PAD frames."""
    missing = -len(points) % PAD
    if not missing:
        return points
    return np.concatenate([points, np.repeat(points[-1:], missing, axis=0)])


def _at(guess: pose.Guess, model: LinearFaceModel) -> State:
    """The state that a first guess stands for: no expression."""
    n = len(guess.rotation)
    return State(guess.rotation, guess.translation, np.zeros((n, len(model.expression))))


def _joined(parts: list[FrameFits], n_expression: int) -> FrameFits:
    if not parts:
        return FrameFits.empty(0, n_expression)
    names = FrameFits.__dataclass_fields__
    return FrameFits(
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    )
