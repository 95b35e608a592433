"""Facial action units: rules/aus.smk."""

from pathlib import Path

from facemake.runtime.job import job

with job(
    snakemake.log[0],
    snakemake.threads,
    gpus=snakemake.resources.get("gpu", 0),
    recipe=snakemake.params.recipe,
):
    from facemake.provenance import Recipe
    from facemake.samples import plan_file
    from facemake.stages.aus import aus

    aus(
        plan=plan_file(snakemake.wildcards.shard),
        probe=Path(snakemake.input.probe),
        expressions=Path(snakemake.input.expressions),
        output=Path(snakemake.output.aus),
        recipe=Recipe.from_dict(snakemake.params.recipe),
        faces=Path(snakemake.input.faces) if snakemake.input.faces else None,
    )
