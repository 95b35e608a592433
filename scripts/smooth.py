"""Smooth pose and expression through time: rules/smooth.smk."""

from pathlib import Path

from facemake.runtime.job import job

with job(snakemake.log[0], snakemake.threads, recipe=snakemake.params.recipe):
    from facemake.provenance import Recipe
    from facemake.samples import plan_file
    from facemake.stages.smooth import smooth

    smooth(
        plan=plan_file(snakemake.wildcards.shard),
        probe=Path(snakemake.input.probe),
        landmarks=Path(snakemake.input.landmarks),
        fit=Path(snakemake.input.fit),
        output=Path(snakemake.output.smooth),
        recipe=Recipe.from_dict(snakemake.params.recipe),
    )
