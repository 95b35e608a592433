"""The mean face and the expressions of an install, learnt from what its own programs say.

The face model is the user's licensed file, in an image perhaps. Nothing of it is read here:
canonical landmarks are `M + E e`, linear in the coefficients e, so the program that makes them is
given a file of e = 0 and of each coefficient by itself, and its answers are M and E at the 51
landmarks. Of 3DI (not of 3DI-lite) the shape of a person is a mesh; that of the mean person, from
the program that makes it, holds M, and so tells which vertices the landmarks are.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facemake.backends.fit import archive
from facemake.backends.fit.model import LinearFaceModel, make_model
from facemake.backends.threedi import CITATIONS, LICENCE, Engine, Options, rawfiles
from facemake.backends.threedi.install import Install
from facemake.backends.threedi.programs import program
from facemake.backends.threedi.run import Recording, run_program
from facemake.backends.threedi.runtimes import Runtime
from facemake.errors import ModelError

Array = NDArray[np.float64]

_STEP = 1e5
"""Of one coefficient: the answer has four decimals of a mm, and 1 moves a point by micrometres."""

_SAME_MM = 2e-3
"""How far a vertex may be from the landmark that it is: both are written with few decimals."""

_SCALE = 1000.0
"""Size of a coefficient of the expressions of BFM 2009: some hundreds in real faces."""


@dataclass(frozen=True, eq=False)
class InstallModel:
    """What is known of an install's face model, mm, model axes (x image-right, y down, z forward).

    Attributes:
        mean: (51, 3) the mean face at the iBUG-51 landmarks.
        expression: (79, 51, 3) what each coefficient does at 1.
        vertices: (51,) which vertices of a person's shape the landmarks are; empty for 3DI-lite.
    """

    mean: Array
    expression: Array
    vertices: NDArray[np.int64]

    def canonical(self, expression: Array) -> Array:
        """(n, 153) canonical landmarks of (n, 79) coefficients: x0 y0 z0 ..., y up."""
        return (self.shapes(expression) * [1.0, -1.0, 1.0]).reshape(len(expression), -1)

    def shapes(self, expression: Array, neutral: Array | None = None) -> Array:
        """(n, 51, 3) of (n, 79) coefficients, on the mean face or a person's (51, 3)."""
        base = self.mean if neutral is None else neutral
        moved = np.zeros((len(expression), *self.mean.shape))
        # one coefficient after the other: the same bits however many frames there are
        for e, direction in zip(expression.T, self.expression, strict=True):
            moved += e[:, None, None] * direction
        return np.asarray(base + moved)

    def as_face_model(self, name: str) -> LinearFaceModel:
        """As every other face model: for localizing its expressions."""
        n = len(self.expression)
        return make_model(
            name=name,
            mean=self.mean,
            identity=np.zeros((0, *self.mean.shape)),
            expression=self.expression,
            identity_sd=[],
            expression_sd=np.full(n, _SCALE),
            expression_lower=np.full(n, -100 * _SCALE),
            expression_upper=np.full(n, 100 * _SCALE),
            identity_names=[],
            expression_names=[f"GE{i}" for i in range(n)],
            unit="mm",
            axes="x-right y-down z-forward",
            licence=LICENCE,
            citation=CITATIONS[Engine.FULL],
            scheme="ibug51",
        )

    def save(self, path: Path) -> None:
        """Write it as plain arrays."""
        archive.write(
            {"mean": self.mean, "expression": self.expression, "vertices": self.vertices}, path
        )


def load(path: Path) -> InstallModel:
    """What `save` wrote.

    Raises:
        ModelError: it is no such file.
    """
    content = archive.read(path.read_bytes(), str(path))
    try:
        return InstallModel(content["mean"], content["expression"], content["vertices"])
    except KeyError as error:
        raise ModelError(f"{path} has no {error}: delete it and run again") from None


def learn(
    runtime: Runtime, install: Install, options: Options, folder: Path, limit: float | None = None
) -> InstallModel:
    """Ask an install for its mean face and its expressions.

    Args:
        runtime: of the install.
        install: for messages.
        options: with the face model's name.
        folder: where the questions and answers are written.
        limit: seconds that a program may take.

    Raises:
        RunError: a program failed.
        ModelError: what it says is no face.
    """
    asked = Recording(folder / "none.mp4", "ask", folder, 1 + rawfiles.N_EXPRESSIONS)
    questions = np.concatenate(
        [np.zeros((1, rawfiles.N_EXPRESSIONS)), _STEP * np.eye(rawfiles.N_EXPRESSIONS)]
    )
    rawfiles.write(asked.file("expression_smooth", options), questions)
    answers = _ask("canonical", "landmarks_canonicalized", asked, runtime, install, options, limit)
    shapes = answers.reshape(len(answers), -1, 3) * [1.0, -1.0, 1.0]
    mean, expression = shapes[0], (shapes[1:] - shapes[0]) / _STEP
    if not expression.any():
        raise ModelError(f"{install}: its canonical landmarks are the same whatever the expression")
    vertices = np.zeros(0, np.int64)
    if options.engine is Engine.FULL:
        zeros = np.zeros((rawfiles.N_IDENTITY, 1))
        rawfiles.write(asked.file("shape_coeff", options), zeros)
        rawfiles.write(asked.file("texture_coeff", options), zeros)
        mesh = _ask("shape", "shape", asked, runtime, install, options, limit)
        vertices = _nearest(mesh, mean, install)
        mean = mesh[vertices]  # with all its decimals
    return InstallModel(mean, expression, vertices)


def _ask(
    step: str,
    kind: str,
    asked: Recording,
    runtime: Runtime,
    install: Install,
    options: Options,
    limit: float | None,
) -> Array:
    one = program(options.engine, step)
    _, files = run_program(one, asked, options, runtime, install, limit)
    values = rawfiles.read(files[kind], kind, options.engine)
    if not np.isfinite(values).all():
        raise ModelError(f"{install}: {one.executable} gives numbers that are none")
    return values


def _nearest(mesh: Array, mean: Array, install: Install) -> NDArray[np.int64]:
    """The vertex of each landmark."""
    found = np.array([int(((mesh - p) ** 2).sum(axis=1).argmin()) for p in mean], np.int64)
    away = np.sqrt(((mesh[found] - mean) ** 2).sum(axis=1)).max()
    if not away < _SAME_MM:
        raise ModelError(
            f"{install}: its mean face and its canonical landmarks differ by {away:.3g} mm, so its "
            "programs use different face models; install it again (models/prepare_BFM.py)"
        )
    return found
