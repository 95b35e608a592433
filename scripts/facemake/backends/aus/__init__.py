"""Action unit estimators: the registry, and what each of them gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from facemake.backends import Backend

INTENSITY_AUS = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 45)
"""Action units with an intensity, in OpenFace's order."""

OCCURRENCE_AUS = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 28, 45)
"""Action units with an occurrence, in OpenFace's order."""

INTENSITY_COLUMNS = tuple(f"AU{n:02d}_r" for n in INTENSITY_AUS)
"""Columns of the intensities, 0-5."""

SIDED_AUS = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 20, 45)
"""Action units that each side of the face can do alone."""

SIDED_COLUMNS = tuple(f"AU{n:02d}_r_{side}" for n in SIDED_AUS for side in ("left", "right"))
"""Columns of the intensities of one side of the image, 0-5.

They do not end in `_r`, by which analysis code written for OpenFace finds its 17 intensities.
"""

AU_COLUMNS = (
    *INTENSITY_COLUMNS,
    *(f"AU{n:02d}_c" for n in OCCURRENCE_AUS),
    *SIDED_COLUMNS,
)
"""Columns of the table: intensities 0-5, occurrences 0 or 1, intensities of one side."""


OCCURS_FROM = 1.0
"""Intensity from which an action unit occurs; FACS A, a trace, is up to 1."""


class AuEstimator(Protocol):
    """Estimates action units of one track from its localized expressions, in two passes."""

    def look(self, coefficients: NDArray[np.float64]) -> None:
        """See (n, K) coefficients of fitted frames, to learn the track's neutral."""
        ...

    def estimate(self, coefficients: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n, 61) values of AU_COLUMNS for (n, K) coefficients; rows of NaN stay NaN."""
        ...


class AuModule(Protocol):
    """What the module of a backend offers that goes by localized expressions."""

    NEEDED: tuple[str, ...]
    """Names of the built-in model's localized coefficients that it reads."""

    UNITS: tuple[str, ...]
    """Of each of AU_COLUMNS."""

    def create(self, names: Sequence[str]) -> AuEstimator:
        """An estimator for one track whose coefficients have these names."""
        ...


class CropEstimator(Protocol):
    """Estimates action units of aligned crops, each by itself.

    Attributes:
        batch_size: how many crops it wants at once; 1 where more at once are no gain.
    """

    batch_size: int

    def __call__(self, crops: Sequence[NDArray[np.uint8]]) -> NDArray[np.float64]:
        """(n, 61) values of AU_COLUMNS of n (112, 112, 3) uint8 RGB; NaN in what it gives not."""
        ...

    def close(self) -> None:
        """Free the network."""
        ...


@dataclass(frozen=True, kw_only=True)
class AuBackend(Backend):
    """An action unit backend's row; its module has UNITS, of each of AU_COLUMNS.

    Attributes:
        crops: whether it goes by aligned crops (`create(model, device)` makes a `CropEstimator`);
            else by localized expressions (`AuModule`).
    """

    crops: bool = False

    def estimator(self, model: str, device: str) -> CropEstimator:
        """What estimates by crops.

        Args:
            model: its first model's name, or a file of the user's.
            device: of `devices`.

        Raises:
            ModelError: a model or a package is missing or not the registered one, or the device is
                not there.
        """
        with self.needed(device):
            made: CropEstimator = self.load().create(model, device)
        return made


AU_ESTIMATORS: dict[str, AuBackend] = {
    "proxy": AuBackend(
        module="facemake.backends.aus.proxy",
        models=("facemake_expression_noise_1",),
        stack="core",
        use="the default: a rule on the localized expressions, named a proxy wherever it is shown",
    ),
    "network": AuBackend(
        module="facemake.backends.aus.network",
        models=("au_prediction",),
        stack="onnx",
        gpu_stack="onnx-gpu",
        devices=("cpu", "cuda"),
        own_model=True,
        use="an AUPredictionNet that you trained: intensities from the crop of each frame alone",
        crops=True,
    ),
}
