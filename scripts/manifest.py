"""What became of each sample: rules/dataset.smk."""

from pathlib import Path

from facemake.runtime.job import job

with job(snakemake.log[0], snakemake.threads, recipe=snakemake.params.recipe):
    from facemake.provenance import Recipe
    from facemake.samples import plan_file
    from facemake.stages.manifest import manifest

    manifest(
        plans=[plan_file(shard) for shard in snakemake.params.shards],
        counts=[Path(path) for path in snakemake.input.counts],
        output=Path(snakemake.output[0]),
        recipe=Recipe.from_dict(snakemake.params.recipe),
    )
