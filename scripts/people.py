"""Who is who in all samples: rules/dataset.smk."""

from pathlib import Path

from facemake.runtime.job import job

with job(snakemake.log[0], snakemake.threads, recipe=snakemake.params.recipe):
    from facemake.people.looks import ShardTables
    from facemake.provenance import Recipe
    from facemake.samples import plan_file
    from facemake.stages.people import people

    inputs = (snakemake.input.embeddings, snakemake.input.probe, snakemake.input.detections)
    people(
        plans=[plan_file(shard) for shard in snakemake.params.shards],
        shards=[ShardTables(*map(Path, paths)) for paths in zip(*inputs, strict=True)],
        output=Path(snakemake.output[0]),
        left_out=frozenset(snakemake.params.left_out),
        recipe=Recipe.from_dict(snakemake.params.recipe),
    )
