"""Linear face models and their fit: the registry of models, and the packages around it.

`model` is the interface that every model has, `fitter` the fit on plain arrays. The built-in model
comes with the package; the others are files that `facemake models build` makes from what their
makers publish (`sources`). A further one is a module there, and a name in `facemake.facemodels`.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial

from facemake import facemodels
from facemake.backends.fit.builtin import load_builtin
from facemake.backends.fit.model import LinearFaceModel
from facemake.backends.fit.modelfile import load_model
from facemake.errors import ModelError


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


def load_as_planned(name: str, planned: Iterable[Mapping[str, str]]) -> LinearFaceModel:
    """The face model of a name, which must be one of those that a recipe, and so a table, names.

    Args:
        name: of FACE_MODELS.
        planned: the recipe's models, each with its `sha256`; none are none to compare with.

    Raises:
        ModelError: the file is not the one that was planned with, or as `load`.
    """
    model = load(name)
    known = [row["sha256"] for row in planned]
    if known and model.sha256 not in known:
        raise ModelError(
            f"the face model {model.name} has SHA-256 {model.sha256[:12]}…, the plan of this run "
            f"says {known[0][:12]}…: run again, so that the plan sees the file as it is now; where "
            "it is the built-in model, install facemake again"
        )
    return model


def load(name: str) -> LinearFaceModel:
    """The face model of a name of FACE_MODELS.

    Raises:
        KeyError: for an unknown name.
        ModelError: for one that is not built, or whose file has changed.
    """
    return FACE_MODELS[name]()
