"""Noise of the native engine's expressions, and coefficients in units of it.

Of each coefficient, m is what a face at rest shows beyond its own neutral, w the half-width of the
band that its noise stays in, and sigma the noise's standard deviation, as measured on faces that
keep still (`measure_noise`, data/expression_noise.md). The normalised coefficient is

    z = 0 within [m - k w, m + k w], else the distance to the nearer end of that band over sigma

so it is never negative: z tells how far beyond noise a value is, not to which side.

z is of the coefficients as they are. A constant offset of a person (brows that sit lower than the
mean's) is no noise and shows in it; action units are relative to the person's neutral.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from facemake.errors import ModelError
from facemake.models import packaged_model

Array = NDArray[np.float64]

NAME = "facemake_expression_noise_1"
"""Of the shipped statistics in the registry of models."""

PATH = Path(__file__).resolve().parents[2] / "data" / "expression_noise.csv"
_HEADER = ("coefficient", "m", "w", "sigma")
_MODEL = "# model,"


@dataclass(frozen=True, eq=False)
class NoiseStatistics:
    """What the coefficients of a face model show of a face that keeps still."""

    names: tuple[str, ...]
    m: Array
    """(K,) centre of the noise; 1 is a full movement, here and below."""
    w: Array
    """(K,) half-width of the band that holds 95 % of it, above 0."""
    sigma: Array
    """(K,) its standard deviation, above 0."""
    model: str
    """Name of the face model."""
    model_sha256: str
    """Of the file of that model that the numbers were measured with."""

    def __post_init__(self) -> None:
        """Refuse numbers that are none, and bands without width."""
        for key in ("m", "w", "sigma"):
            values = getattr(self, key)
            if values.shape != (len(self.names),) or not np.isfinite(values).all():
                raise ModelError(
                    f"{key} of the expressions' noise has not one number a coefficient"
                )
            if key != "m" and not (values > 0).all():
                raise ModelError(f"{key} of the expressions' noise is not above 0 everywhere")

    def of(self, names: tuple[str, ...]) -> NoiseStatistics:
        """Those of some coefficients, in this order.

        Raises:
            ModelError: for a coefficient that was not measured.
        """
        index = {name: k for k, name in enumerate(self.names)}
        missing = [name for name in names if name not in index]
        if missing:
            raise ModelError(
                f"the noise of {', '.join(missing)} was not measured: run `python -m "
                "facemake.backends.fit.measure_noise`"
            )
        at = [index[name] for name in names]
        return NoiseStatistics(
            names, self.m[at], self.w[at], self.sigma[at], self.model, self.model_sha256
        )

    def save(self, path: Path) -> None:
        """Write the file that `load_noise` reads."""
        lines = [f"{_MODEL}{self.model},{self.model_sha256}", ",".join(_HEADER)]
        for name, *row in zip(self.names, self.m, self.w, self.sigma, strict=True):
            lines.append(",".join([name, *(f"{value:.4f}" for value in row)]))
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")


@cache
def shipped_noise() -> NoiseStatistics:
    """The statistics that the package carries, which are those that recipes name.

    Raises:
        ModelError: its file is not the registered one.
    """
    return load_noise(packaged_model(NAME))


def load_noise(path: Path) -> NoiseStatistics:
    """The measured statistics: CSV, first the model's name and SHA-256, then a row a coefficient.

    Raises:
        ModelError: it is not such a file.
        OSError: it cannot be read.
    """
    first, *rest = path.read_text(encoding="utf-8").splitlines()
    try:
        if not first.startswith(_MODEL):
            raise ValueError("its first line does not name a model")
        name, sha256 = first.removeprefix(_MODEL).split(",")
        rows = list(csv.DictReader(rest))
        numbers = np.array([[float(row[key]) for key in _HEADER[1:]] for row in rows])
        m, w, sigma = numbers.reshape(len(rows), 3).T
        names = tuple(row[_HEADER[0]] for row in rows)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{path} is no table of the expressions' noise: {error}") from None
    return NoiseStatistics(names, m, w, sigma, name, sha256)


def normalize(values: ArrayLike, noise: NoiseStatistics, k: float = 1.0) -> Array:
    """(n, K) coefficients as distances from their band of noise; NaN stays NaN.

    Args:
        values: (n, K) coefficients.
        noise: of these coefficients.
        k: half-widths that count as noise, not negative.

    Raises:
        ValueError: for another number of coefficients, or a negative k.
    """
    c = np.asarray(values, dtype=np.float64)
    if c.ndim != 2 or c.shape[1] != len(noise.names):
        raise ValueError(f"noise is known of {len(noise.names)} coefficients, got {c.shape}")
    if not k >= 0:
        raise ValueError(f"k is {k}, and must not be negative")
    beyond = np.abs(c - noise.m) - k * noise.w
    return np.asarray(np.maximum(beyond, 0.0) / noise.sigma)
