"""Whether what the stages of a run load is on this machine: looked at before its first job starts.

Only the main process looks; each job of its own verifies what it loads when it loads it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from facemake.errors import ModelError
from facemake.hashes import FileState, HashMemo, open_memo
from facemake.models import model_path, registry
from facemake.provenance import file_sha256
from facemake.runtime import libraries


def faults(recipes: Iterable[Mapping[str, Any]], memory: Path, *, apart: bool) -> list[str]:
    """What is missing or another than registered, each with its cure and who needs it.

    A model's file is hashed once: its SHA-256 is remembered as those of recordings are.

    Args:
        recipes: of the stages that are to run (`Recipe.to_dict`).
        memory: the private folder where hashes are remembered.
        apart: jobs run in images or environments of their own, which have their own packages, and
            the models in these.
    """
    models: dict[str, list[str]] = defaultdict(list)
    packages: dict[str, list[str]] = defaultdict(list)
    known = registry()
    for recipe in recipes:
        stage = str(recipe["stage"])
        for one in recipe["models"]:
            row = known.get(one["name"])
            if row is not None and not (apart and row.package):
                models[row.name].append(stage)
        for wrong in [] if apart else libraries.faults(recipe["libraries"]):
            packages[wrong].append(stage)
    found = []
    if models:
        with open_memo(memory) as memo:
            for name, stages in models.items():
                try:
                    model_path(name, _remembering(memo))
                except ModelError as error:
                    found.append(f"{error} (needed by {_listed(stages)})")
    cure = "requirements/ has the pins, and `make help` lists what there is to add"
    found += [f"{wrong}: {cure} (needed by {_listed(s)})" for wrong, s in packages.items()]
    return found


def _remembering(memo: HashMemo) -> Any:
    def sha256(path: Path) -> str:
        where = path.resolve()
        return memo.sha256([str(where)], [FileState.of(where.stat())])[0] or file_sha256(where)

    return sha256


def _listed(stages: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(stages))
