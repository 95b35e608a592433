"""The people of a dataset by what they look like, held against the sheet's subjects and splits."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from facemake import tables
from facemake.dataset.splits import split_of, subject_of
from facemake.errors import TableError
from facemake.people.grouping import group, similarity_to_person
from facemake.people.looks import ShardTables, read_looks
from facemake.people.splits import found_in
from facemake.provenance import Recipe, digest
from facemake.runtime.atomic import replacing
from facemake.samples import read_shard
from facemake.shards import metadata, read_metadata

logger = logging.getLogger(__name__)

ROWS_PER_GROUP = 65_536
"""Of a table that is small and read whole: its row groups hold many samples."""

_MOST_NAMED = 10


def people(
    plans: Sequence[Path],
    shards: Sequence[ShardTables],
    output: Path,
    recipe: Recipe,
    left_out: frozenset[str] = frozenset(),
) -> None:
    """Write the table of people: a row a track with embeddings, or a face of a single picture.

    Memory is that of two vectors a track, and of its sample's line of the plan; the time is that of
    comparing each with each other one.

    Args:
        plans: plan files of all shards: who is in each sample, and in which split.
        shards: their tables, in the same order.
        output: `dataset/people.parquet`.
        recipe: of the stage `people`.
        left_out: samples that are not in the training set, and so in no split.

    Raises:
        TableError: a table is damaged or of another run, or two were made by different embedders.
    """
    settings = recipe.settings
    known = {
        sample.sample: (sample, split_of(sample, settings["splits"]))
        for plan in plans
        for sample in read_shard(plan)
    }
    looks = read_looks(shards, without=left_out)
    for name in looks.names:
        if name not in known:
            raise TableError(
                f"an embeddings table has the sample {name}, which the plan does not have: it is "
                "of another run; delete it and run again"
            )
    logger.info("comparing %d faces of %d samples", len(looks), len(looks.names))
    person = group(looks.vectors, settings["same_person"], looks.together)
    whose = [known[looks.names[index]] for index in looks.sample.tolist()]
    columns = {
        "sample": [sample.sample for sample, _ in whose],
        "track": looks.track,
        "frame": pa.array(looks.frame, pa.int32(), mask=~looks.alone),
        "subject": [
            subject_of(sample, track)
            for (sample, _), track in zip(whose, looks.track.tolist(), strict=True)
        ],
        "split": [split for _, split in whose],
        "person": person,
        "similarity": similarity_to_person(looks.vectors, person),
        "faces": looks.count,
        "quality": looks.quality,
    }
    made = [read_metadata(shard.embeddings) for shard in shards[:1]]
    seen = [read_metadata(shard.detections)["lineage"] for shard in shards if shard.detections]
    rows = sorted((s.sample, s.subject, split) for s, split in known.values())
    rows += [(name, "", "left out") for name in sorted(left_out)]
    lineage = recipe.lineage([*looks.lineages.values(), *seen], digest(rows))
    schema = tables.SCHEMAS["people"]
    text = json.dumps(
        {**metadata(recipe, lineage, made), "units": tables.units(schema)},
        sort_keys=True,
        ensure_ascii=False,
    )
    arrays = [
        column if isinstance(column, pa.Array) else pa.array(column, schema.field(name).type)
        for name, column in columns.items()
    ]
    table = pa.Table.from_arrays(
        arrays, schema=schema.with_metadata({tables.METADATA_KEY: text.encode()})
    )
    with replacing(output) as beside:
        options = tables.parquet_options(schema)
        pq.write_table(table, beside, row_group_size=ROWS_PER_GROUP, **options)
    _say(output)


def _say(output: Path) -> None:
    found = found_in(output)
    logger.info("%d faces are %d people", found.faces, found.people)
    for one in found.in_one_split[:_MOST_NAMED]:
        logger.info("one person under several subjects, in one split: %s", one)
    if (more := len(found.in_one_split) - _MOST_NAMED) > 0:
        logger.info("... and %d more such", more)
    if lines := found.lines():
        logger.warning("%s", "\n".join(lines))
