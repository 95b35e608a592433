"""What the install of 3DI says of its face model: rules/threedi.smk."""

from pathlib import Path

from facemake.runtime.job import job

with job(snakemake.log[0], snakemake.threads, recipe=snakemake.params.recipe):
    from facemake.provenance import Recipe
    from facemake.stages.threedi_model import threedi_model

    threedi_model(
        output=Path(snakemake.output.model),
        recipe=Recipe.from_dict(snakemake.params.recipe),
    )
