"""The process in which the native engine works on one recording.

`python -m facemake.processors.job SPEC`, in a folder of its own, where the tables and what a stage
needs while it works are kept. `SPEC` is JSON: `recipes` (stage -> recipe, in order), `models_dir`,
`basis`. Crops are kept only where there are examples to be made, and until these are. An error in
goes to `error.txt`; what is no error of the user's ends in a traceback.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from facemake.errors import FacemakeError
from facemake.provenance import Recipe
from facemake.runtime.job import THREAD_VARIABLES
from facemake.samples import plan_file, read_shard, samples_digest
from facemake.shards import read_metadata

SHARD = "input"
"""Name of the shard and of its one sample."""
ERROR = "error.txt"
FOLDERS = {
    "probe": "probe",
    "detect": "detections",
    "landmarks": "landmarks",
    "fit": "fit",
    "smooth": "smooth",
    "expressions": "expressions",
    "aus": "aus",
    "dataset": "dataset",
}
"""Stage -> folder of its table."""
_HDF5 = frozenset({"dataset"})


def table(folder: Path, stage: str) -> Path:
    """Where a stage's table is, in the folder of the recording; of `dataset`, the examples."""
    return folder / FOLDERS[stage] / f"{SHARD}{'.h5' if stage in _HDF5 else '.parquet'}"


def counts(folder: Path) -> Path:
    """Where the table is that says which faces became examples, and why others did not."""
    return folder / "counts" / f"{SHARD}.parquet"


def _faces(folder: Path) -> Path:
    return folder / "faces" / f"{SHARD}.h5"


def is_made(path: Path, recipes: Mapping[str, Any], stage: str, samples: str) -> bool:
    """Whether a table was made of this recording, by these recipes.

    Args:
        path: of the table.
        recipes: stage -> recipe, of the stage and all before it.
        stage: its own.
        samples: digest of the recording (`samples_digest`).
    """
    if not path.is_file():
        return False
    try:
        document = read_metadata(path)
        made = {**document["upstream"], stage: document["recipe"]}
    except (FacemakeError, KeyError):
        return False
    return document.get("samples") == samples and all(made[n] == recipes.get(n) for n in made)


def main(spec: Path) -> int:
    """Make the tables that are not there.

    Returns:
        The exit code.
    """
    for name in THREAD_VARIABLES:
        os.environ[name] = "1"
    os.environ.setdefault("GLOG_minloglevel", "2")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    document = json.loads(spec.read_text(encoding="utf-8"))
    here = Path()
    (here / ERROR).unlink(missing_ok=True)
    try:
        _run(document, here)
    except FacemakeError as error:
        text = "\n".join([str(error), *getattr(error, "__notes__", ())])
        (here / ERROR).write_text(text, encoding="utf-8", errors="surrogateescape")
        return 1
    return 0


def _run(document: Mapping[str, Any], here: Path) -> None:
    from facemake.models import use_models_dir

    use_models_dir(document["models_dir"])
    plan = plan_file(SHARD)
    digest = samples_digest(read_shard(plan))
    recipes = document["recipes"]
    basis = Path(document["basis"]) if document["basis"] else None
    examples = "dataset" in recipes
    if examples and is_made(table(here, "dataset"), recipes, "dataset", digest):
        return
    for stage in recipes:
        path = table(here, stage)
        paths = [path, _faces(here)] if examples and stage == "landmarks" else [path]
        if all(is_made(one, recipes, stage, digest) for one in paths):
            continue
        path.unlink(missing_ok=True)
        _STAGES[stage](plan, here, Recipe.from_dict(recipes[stage]), basis)
        if not examples or stage == "dataset":
            _faces(here).unlink(missing_ok=True)


def _probe(plan: Path, here: Path, recipe: Recipe, basis: Path | None) -> None:
    from facemake.stages.probe import probe

    probe(plan, table(here, "probe"), recipe)


def _detect(plan: Path, here: Path, recipe: Recipe, basis: Path | None) -> None:
    from facemake.stages.detect import detect

    detect(plan, table(here, "probe"), table(here, "detect"), recipe)


def _landmarks(plan: Path, here: Path, recipe: Recipe, basis: Path | None) -> None:
    from facemake.stages.landmarks import landmarks

    before = table(here, "probe"), table(here, "detect")
    landmarks(plan, *before, table(here, "landmarks"), _faces(here), recipe)


def _fit(plan: Path, here: Path, recipe: Recipe, basis: Path | None) -> None:
    from facemake.stages.fit import fit

    identity = here / "identity" / f"{SHARD}.parquet"
    before = table(here, "probe"), table(here, "landmarks")
    fit(plan, *before, table(here, "fit"), identity, recipe)


def _smooth(plan: Path, here: Path, recipe: Recipe, basis: Path | None) -> None:
    from facemake.stages.smooth import smooth

    before = table(here, "probe"), table(here, "landmarks"), table(here, "fit")
    smooth(plan, *before, table(here, "smooth"), recipe)


def _expressions(plan: Path, here: Path, recipe: Recipe, basis: Path | None) -> None:
    from facemake.stages.expressions import expressions

    smooth = table(here, "smooth")
    source = smooth if smooth.is_file() else table(here, "fit")
    expressions(plan, source, table(here, "expressions"), recipe, basis)


def _aus(plan: Path, here: Path, recipe: Recipe, basis: Path | None) -> None:
    from facemake.stages.aus import aus

    before = table(here, "probe"), table(here, "expressions")
    aus(plan, *before, table(here, "aus"), recipe, _faces(here))


def _dataset(plan: Path, here: Path, recipe: Recipe, basis: Path | None) -> None:
    from facemake.stages.dataset import dataset

    dataset(
        plan,
        probe=table(here, "probe"),
        detections=table(here, "detect"),
        landmarks=table(here, "landmarks"),
        faces=_faces(here),
        fit=table(here, "fit"),
        aus=table(here, "aus"),
        output=table(here, "dataset"),
        counts=counts(here),
        recipe=recipe,
    )


_STAGES: Mapping[str, Callable[[Path, Path, Recipe, Path | None], None]] = {
    "probe": _probe,
    "detect": _detect,
    "landmarks": _landmarks,
    "fit": _fit,
    "smooth": _smooth,
    "expressions": _expressions,
    "aus": _aus,
    "dataset": _dataset,
}


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
