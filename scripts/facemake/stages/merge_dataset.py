"""The training set: the examples of all shards in one file."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from facemake import h5
from facemake.dataset import layout
from facemake.errors import TableError
from facemake.people.splits import refuse_shared
from facemake.provenance import Recipe
from facemake.runtime.atomic import replacing
from facemake.shards import metadata

logger = logging.getLogger(__name__)


def merge_dataset(
    parts: Sequence[Path], output: Path, recipe: Recipe, people: Path | None = None
) -> None:
    """Write the examples of all shards, in the order of the shards, as one file.

    Only a few megabytes are in memory at a time. Without any example the file is there all the
    same, with no rows, and a warning is logged.

    Args:
        parts: `dataset/{shard}.h5` in the order of the plan.
        output: `dataset/training_data.h5`.
        recipe: of the stage `merge_dataset`.
        people: the table of people; nobody may be in two splits by it.

    Raises:
        FacemakeError: somebody is in two splits.
        TableError: two parts were made in different ways (other settings, models or code), or a
            part has another layout.
    """
    if people is not None:
        refuse_shared(people)
    made = [h5.read_metadata(path) for path in parts]
    for path, document in zip(parts[1:], made[1:], strict=True):
        for what in ("recipe", "upstream"):
            if document[what] != made[0][what]:
                raise TableError(
                    f"{path} and {parts[0]} were not made in the same way: they differ in "
                    f"{_difference(document, made[0])}; delete the older one and run again"
                )
    lineage = recipe.lineage([], "\n".join(document["lineage"] for document in made))
    with replacing(output) as beside:
        total = layout.concatenate(parts, beside, metadata(recipe, lineage, made[:1]))
    if not total:
        logger.warning("the training set %s has no example: no face was good enough", output)


def _difference(one: dict[str, object], other: dict[str, object]) -> str:
    """Which stages, and what of them, in words."""
    mine, theirs = _stages(one), _stages(other)
    found = []
    for stage in sorted(mine.keys() | theirs.keys()):
        a, b = mine.get(stage, {}), theirs.get(stage, {})
        keys = sorted(k for k in a.keys() | b.keys() if a.get(k) != b.get(k))
        if keys:
            found.append(f"the {' and '.join(keys)} of stage {stage}")
    return ", ".join(found)


def _stages(document: dict[str, object]) -> dict[str, dict[str, object]]:
    upstream, recipe = document["upstream"], document["recipe"]
    assert isinstance(upstream, dict) and isinstance(recipe, dict)
    return {**upstream, str(recipe["stage"]): recipe}
