"""Linear face models and their fit: the registry of models, and the packages around it.

`model` is the interface that every model has, `fitter` the fit on plain arrays. A further model is
a row here and a module with a `load_...` function that returns a `LinearFaceModel`.
"""

from collections.abc import Callable

from facemake.backends.fit.builtin import load_builtin
from facemake.backends.fit.model import LinearFaceModel

FACE_MODELS: dict[str, Callable[[], LinearFaceModel]] = {"builtin": load_builtin}
"""Name in the config (`fit.model`) -> how to load it."""


def load(name: str) -> LinearFaceModel:
    """The face model of a name of FACE_MODELS.

    Raises:
        KeyError: for an unknown name.
    """
    return FACE_MODELS[name]()
