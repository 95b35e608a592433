"""Linear face models and their fit: the registry of models, and the packages around it.

`model` is the interface that every model has, `fitter` the fit on plain arrays. The built-in model
comes with the package; the others are files that `facemake models build` makes from what their
makers publish (`sources`). A further one is a module there, and a name in `facemake.facemodels`.
"""

from collections.abc import Callable
from functools import partial

from facemake import facemodels
from facemake.backends.fit.builtin import load_builtin
from facemake.backends.fit.model import LinearFaceModel, load_model


def load_built(name: str) -> LinearFaceModel:
    """A face model that the user built.

    Raises:
        ModelError: its file is not there, has changed, or is not a face model.
    """
    return load_model(facemodels.find(name).path)


FACE_MODELS: dict[str, Callable[[], LinearFaceModel]] = {
    "builtin": load_builtin,
    **{name: partial(load_built, name) for name in facemodels.SOURCES},
}
"""Name in the config (`fit.model`) -> how to load it."""


def load(name: str) -> LinearFaceModel:
    """The face model of a name of FACE_MODELS.

    Raises:
        KeyError: for an unknown name.
        ModelError: for one that is not built, or whose file has changed.
    """
    return FACE_MODELS[name]()
