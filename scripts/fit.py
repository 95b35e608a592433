"""Fit the linear face model: rules/fit.smk."""

from pathlib import Path

from facemake.runtime.job import job

with job(snakemake.log[0], snakemake.threads, recipe=snakemake.params.recipe):
    from facemake.provenance import Recipe
    from facemake.samples import plan_file
    from facemake.stages.fit import fit

    fit(
        plan=plan_file(snakemake.wildcards.shard),
        probe=Path(snakemake.input.probe),
        landmarks=Path(snakemake.input.landmarks),
        output=Path(snakemake.output.fit),
        identity=Path(snakemake.output.identity),
        recipe=Recipe.from_dict(snakemake.params.recipe),
    )
