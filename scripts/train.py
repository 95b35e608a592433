"""A network trained on the training set: rules/train.smk."""

from pathlib import Path

from facemake.runtime.job import job

with job(
    snakemake.log[0],
    snakemake.threads,
    gpus=snakemake.resources.get("gpu", 0),
    recipe=snakemake.params.recipe,
):
    from facemake.provenance import Recipe
    from facemake.stages.train import train

    train(
        data=Path(snakemake.input.data),
        output=Path(snakemake.output.model),
        recipe=Recipe.from_dict(snakemake.params.recipe),
        threads=snakemake.threads,
    )
