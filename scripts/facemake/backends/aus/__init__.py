"""Action unit estimators: the registry, and what each of them gives."""

from __future__ import annotations

from collections.abc import Sequence
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


class AuEstimator(Protocol):
    """Estimates action units of one track from its localized expressions, in two passes."""

    def look(self, coefficients: NDArray[np.float64]) -> None:
        """See (n, K) coefficients of fitted frames, to learn the track's neutral."""
        ...

    def estimate(self, coefficients: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n, 61) values of AU_COLUMNS for (n, K) coefficients; rows of NaN stay NaN."""
        ...


class AuModule(Protocol):
    """What a backend's module offers."""

    NEEDED: tuple[str, ...]
    """Names of the built-in model's localized coefficients that it reads."""

    UNITS: tuple[str, ...]
    """Of each of AU_COLUMNS."""

    def create(self, names: Sequence[str]) -> AuEstimator:
        """An estimator for one track whose coefficients have these names."""
        ...


AU_ESTIMATORS: dict[str, Backend] = {
    "proxy": Backend(
        module="facemake.backends.aus.proxy",
        models=("facemake_expression_noise_1",),
        stack="core",
        use="the default: a rule on the localized expressions, named a proxy wherever it is shown",
    ),
}
