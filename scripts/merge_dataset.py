"""The training set of all shards: rules/dataset.smk."""

from pathlib import Path

from facemake.runtime.job import job

with job(snakemake.log[0], snakemake.threads, recipe=snakemake.params.recipe):
    from facemake.provenance import Recipe
    from facemake.stages.merge_dataset import merge_dataset

    merge_dataset(
        parts=[Path(path) for path in snakemake.input.examples],
        output=Path(snakemake.output[0]),
        recipe=Recipe.from_dict(snakemake.params.recipe),
        people=Path(snakemake.input.people) if snakemake.input.get("people") else None,
    )
