"""The built-in face model: our own, small, and free of anybody's licence.

`data/face_model.npz` holds it; `data/face_model.md` says what it was made from and how;
`python -m facemake.backends.fit.build_builtin` makes both.
"""

from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from facemake import schemes
from facemake.backends.fit.fields import expression_fields
from facemake.backends.fit.model import LinearFaceModel, make_model
from facemake.backends.fit.modelfile import load_model
from facemake.backends.fit.proportions import free_fields, identity_fields

NAME = "facemake-1"
PATH = Path(__file__).resolve().parents[2] / "data" / "face_model.npz"
LICENCE = "MIT"
CITATION = "facemake built-in face model 1 (mean bootstrapped from landmarks; fields by formula)"


def load_builtin() -> LinearFaceModel:
    """The built-in model as the package carries it."""
    return load_model(PATH)


def assemble(mean: ArrayLike) -> LinearFaceModel:
    """The built-in model on a mean face (68, 3) mm in model axes."""
    shape = np.asarray(mean, dtype=np.float64)
    identity = (*identity_fields(shape), *free_fields(shape))
    expression = expression_fields(shape)
    return make_model(
        name=NAME,
        scheme=schemes.IBUG68,
        mean=shape,
        identity=[f.shape for f in identity],
        expression=[f.shape for f in expression],
        identity_sd=[f.sd for f in identity],
        expression_sd=[f.sd for f in expression],
        expression_lower=np.zeros(len(expression)),
        expression_upper=[f.upper for f in expression],
        identity_names=[f.name for f in identity],
        expression_names=[f.name for f in expression],
        expression_regions=[f.region for f in expression],
        unit="mm",
        axes="x-right y-down z-forward",
        licence=LICENCE,
        citation=CITATION,
    )
