"""Examples as they might have been: mirrored, a little turned, in other light, partly covered.

What moves pixels moves labels with them. With `x' = 111 - x` in the crop, a face of OpenFace's
model `s R[0:2] X + t`, `R = Rx Ry Rz`, becomes one whose points are `M X` (each point's partner,
with x negated), whose angles are (rx, -ry, -rz), since `D R D = Rx(rx) Ry(-ry) Rz(-rz)` for
`D = diag(-1, 1, 1)`, and whose tx is 111 - tx. A small turn, scaling and shift is one more
similarity after that of the crop (`facemake.dataset.crop`). Intensities of action units have no
side and stay.

What becomes of an example depends on the seed, the epoch and its row in the file alone: not on
batches, or on how many processes load them.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from facemake import facemodels
from facemake.backends.fit import load, pdm
from facemake.backends.fit.model import LinearFaceModel
from facemake.dataset.crop import global_params_in_crop, landmarks_in_crop
from facemake.errors import FacemakeError
from facemake.schemes import MIRROR_IBUG68
from facemake.template import CROP_SIZE

logger = logging.getLogger(__name__)

Images = NDArray[np.uint8]
Labels = dict[str, NDArray[np.float32]]

_MIDDLE = (CROP_SIZE - 1) / 2
_DRAWS = 24
"""Random numbers of an example, so that what one change uses moves no other one."""


@dataclass(frozen=True)
class ShapeMirror:
    """What mirroring a face does to its local parameters: `p' = matrix p + offset`.

    Attributes:
        matrix: (M, M). Where a model is symmetric its modes are, each, symmetric (1) or
            antisymmetric (-1): a diagonal of signs.
        offset: (M,), of a mean face that is not symmetric.
    """

    matrix: NDArray[np.float64]
    offset: NDArray[np.float64]

    @classmethod
    def of(cls, model: LinearFaceModel) -> ShapeMirror:
        """Derived from the modes of a face model: `p' = Phi^T (M (mean + Phi p) - mean)`.

        Raises:
            FacemakeError: the modes are not those of 68 points, or are not orthonormal.
        """
        modes = model.pdm if model.pdm is not None else pdm.derive_pdm(model)
        if modes.shape[0] != 3 * len(MIRROR_IBUG68):
            raise FacemakeError(f"{model.local_params_are} are not of the 68 points of iBUG")
        gram = modes.T @ modes  # modes that a model lacks are zero
        if np.abs(gram - np.diag(np.round(np.diag(gram)))).max() > 1e-3:
            raise FacemakeError(f"{model.local_params_are} are not orthonormal")
        mean = (model.mean - model.pdm_origin).T.reshape(-1)
        return cls(modes.T @ _mirrored(modes), modes.T @ (_mirrored(mean[:, None])[:, 0] - mean))

    def __call__(self, params: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, M) local parameters of the mirrored faces."""
        out: NDArray[np.float32] = (params @ self.matrix.T + self.offset).astype(np.float32)
        return out


def _mirrored(columns: NDArray[np.float64]) -> NDArray[np.float64]:
    """(3 * 68, k), all x, all y, all z: each point is its partner, with x negated."""
    points = columns.reshape(3, len(MIRROR_IBUG68), -1)[:, MIRROR_IBUG68]
    out: NDArray[np.float64] = points * np.array([-1.0, 1.0, 1.0])[:, None, None]
    return out.reshape(columns.shape)


def shape_mirror(metadata: Mapping[str, Any]) -> ShapeMirror | None:
    """The mirror of the face model that a training set's local parameters are of.

    Args:
        metadata: what made the training set (`facemake.h5.read_metadata`).

    Returns:
        None where it does not say which model it was, or where that one is not on this machine,
        or is another one by now.
    """
    rows = metadata.get("upstream", {}).get("fit", {}).get("models", ())
    wanted = {str(row["sha256"]) for row in rows if "pdm" in row and "sha256" in row}
    for name in ("builtin", *facemodels.present()):
        try:
            model = load(name)
            if model.sha256 in wanted:
                return ShapeMirror.of(model)
        except FacemakeError as error:
            logger.warning("%s", error)
    return None


@dataclass(frozen=True)
class Augmentation:
    """How much examples are changed, and how often.

    Attributes:
        seed: of all random numbers.
        geometry: whether pixels may be moved at all: only where labels are pixels of the crop.
        mirror: of the local parameters; None: those of mirrored examples are missing.
        flip, affine, colour, grey, blur, occlusion: how often, as shares of the examples.
        turn: degrees, at most, to each side.
        zoom: scale between 1 / (1 + zoom) and 1 + zoom.
        shift: px, at most, along each axis.
        light: contrast and gamma between 1 / (1 + light) and 1 + light, brightness up to 64 times
            as much, of 255.
        tint: the same of each colour alone.
        blurred: px, the largest standard deviation.
        covered: the longest side of what is covered, as a share of the crop's.
    """

    seed: int
    geometry: bool = True
    mirror: ShapeMirror | None = None
    flip: float = 0.5
    affine: float = 0.8
    colour: float = 0.8
    grey: float = 0.05
    blur: float = 0.15
    occlusion: float = 0.15
    turn: float = 8.0
    zoom: float = 0.07
    shift: float = 4.0
    light: float = 0.35
    tint: float = 0.08
    blurred: float = 1.5
    covered: float = 0.35

    def __call__(
        self, images: Images, labels: Labels, epoch: int, rows: NDArray[np.int64]
    ) -> tuple[Images, Labels]:
        """Change a batch.

        Args:
            images: (n, 112, 112, 3) uint8 RGB.
            labels: some of `landmarks` (n, 68, 2), `global_params` (n, 6), `local_params` (n, M)
                and others, which stay.
            epoch: from 0.
            rows: (n,) of the file.

        Returns:
            New arrays.
        """
        draws = np.stack([self._draws(epoch, row) for row in rows.tolist()])
        out = images.copy()
        labels = dict(labels)
        if self.geometry:
            flipped = draws[:, 0] < self.flip
            moved = draws[:, 1] < self.affine
            affines = self._affines(draws[moved, 2:6])
            labels = _move_labels(self._flip_labels(labels, flipped), moved, affines)
            _move_pixels(out, flipped, moved, affines)
        for image, draw in zip(out, draws, strict=True):
            self._change_pixels(image, draw)
        return out, labels

    def _draws(self, epoch: int, row: int) -> NDArray[np.float64]:
        """(_DRAWS,) in [0, 1), of one example in one epoch."""
        key = np.array([self.seed & (2**64 - 1), (epoch << 40) | row], np.uint64)
        return np.random.Generator(np.random.Philox(key=key)).random(_DRAWS)

    def _flip_labels(self, labels: Labels, rows: NDArray[np.bool_]) -> Labels:
        out = {name: values.copy() for name, values in labels.items()}
        if "landmarks" in out:
            points = out["landmarks"][rows][:, MIRROR_IBUG68]
            points[..., 0] = CROP_SIZE - 1 - points[..., 0]
            out["landmarks"][rows] = points
        if "global_params" in out:
            params = out["global_params"][rows] * np.array([1, 1, -1, -1, -1, 1], np.float32)
            params[:, 4] += CROP_SIZE - 1
            out["global_params"][rows] = params
        if "local_params" in out:
            local = out["local_params"][rows]
            known = self.mirror is not None and self.mirror.matrix.shape[1] == local.shape[1]
            out["local_params"][rows] = (
                self.mirror(local) if self.mirror is not None and known else np.nan
            )
        return out

    def _affines(self, draws: NDArray[np.float64]) -> NDArray[np.float64]:
        """(k, 2, 3) similarities about the middle of the crop, from (k, 4) draws."""
        wide = 2 * draws - 1
        angle = np.deg2rad(self.turn) * wide[:, 0]
        scale = (1 + self.zoom) ** wide[:, 1]
        a, b = scale * np.cos(angle), scale * np.sin(angle)
        tx = _MIDDLE - a * _MIDDLE + b * _MIDDLE + self.shift * wide[:, 2]
        ty = _MIDDLE - b * _MIDDLE - a * _MIDDLE + self.shift * wide[:, 3]
        return np.stack([np.stack([a, -b, tx], axis=1), np.stack([b, a, ty], axis=1)], axis=1)

    def _change_pixels(self, image: Images, draw: NDArray[np.float64]) -> None:
        """Colour, blur and occlusion of one picture, in place."""
        if draw[6] < self.colour:
            cv2.LUT(image, self._curves(draw[7:13]), dst=image)
        if draw[13] < self.grey:
            image[:] = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[:, :, None]
        if draw[14] < self.blur:
            sigma = 0.4 + (self.blurred - 0.4) * float(draw[15])
            cv2.GaussianBlur(image, (0, 0), sigma, dst=image, borderType=cv2.BORDER_REPLICATE)
        if draw[16] < self.occlusion:
            sides = np.maximum(1, (self.covered * CROP_SIZE * (0.3 + 0.7 * draw[17:19])))
            width, height = sides.astype(int).tolist()
            x = int(draw[19] * (CROP_SIZE - width + 1))
            y = int(draw[20] * (CROP_SIZE - height + 1))
            image[y : y + height, x : x + width] = (draw[21:24] * 256).astype(np.uint8)

    def _curves(self, draws: NDArray[np.float64]) -> Images:
        """(1, 256, 3): what each value of each colour becomes."""
        wide = 2 * draws - 1
        gains = (1 + self.light) ** wide[0] * (1 + self.tint) ** wide[3:6]
        gamma = (1 + self.light) ** wide[1]
        values = 255 * (np.arange(256) / 255) ** gamma
        # contrast turns about the middle grey, so that it does not brighten
        lit = (values[:, None] - 128) * gains + 128 + 64 * self.light * wide[2]
        curves: Images = np.clip(np.rint(lit), 0, 255).astype(np.uint8)[None]
        return curves


def _move_pixels(
    images: Images,
    flipped: NDArray[np.bool_],
    moved: NDArray[np.bool_],
    affines: NDArray[np.float64],
) -> None:
    """Mirror pictures, and move them after it, in place; `affines` are those of `moved`."""
    where = np.zeros((len(images), 2, 3))
    where[moved] = affines
    both = where[flipped & moved]
    both[:, :, 2] += (CROP_SIZE - 1) * both[:, :, 0]
    both[:, :, 0] *= -1
    where[flipped & moved] = both
    for i, image in enumerate(images):
        if moved[i]:
            images[i] = cv2.warpAffine(
                image,
                where[i],
                (CROP_SIZE, CROP_SIZE),
                flags=cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_REPLICATE,
            )
        elif flipped[i]:
            cv2.flip(image, 1, dst=image)


def _move_labels(labels: Labels, rows: NDArray[np.bool_], affines: NDArray[np.float64]) -> Labels:
    out = dict(labels)
    if not rows.any():
        return out
    small = affines.astype(np.float32)
    if "landmarks" in out:
        out["landmarks"] = out["landmarks"].copy()
        out["landmarks"][rows] = landmarks_in_crop(small, out["landmarks"][rows])
    if "global_params" in out:
        out["global_params"] = out["global_params"].copy()
        out["global_params"][rows] = global_params_in_crop(small, out["global_params"][rows])
    return out
