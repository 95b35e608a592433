"""What an install of 3DI says of its face model, once a run."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from facemake.backends.threedi.install import find_install, time_limit
from facemake.backends.threedi.model import learn
from facemake.backends.threedi.runtimes import runtime
from facemake.provenance import Recipe
from facemake.runtime.atomic import replacing
from facemake.samples import WORK
from facemake.stages.threedi_step import options_of


def threedi_model(output: Path, recipe: Recipe) -> None:
    """Write the mean face and the expressions at the 51 landmarks, as plain arrays.

    Args:
        output: `3di/.steps/model.npz` (`facemake.backends.threedi.model`).
        recipe: of the stage `threedi_model`.

    Raises:
        RunError: a program of the install failed.
        ModelError: what it says is no face.
    """
    options = options_of(recipe.settings, str(recipe.backend), 30.0)
    install = find_install(options.engine)
    (WORK / "3di").mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="model.", dir=WORK / "3di") as folder:
        found = learn(runtime(install), install, options, Path(folder), time_limit())
    with replacing(output) as beside:
        found.save(beside)
