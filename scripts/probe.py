"""What each recording is: rules/probe.smk."""

from pathlib import Path

from facemake.runtime.job import job

with job(snakemake.log[0], snakemake.threads, recipe=snakemake.params.recipe):
    from facemake.provenance import Recipe
    from facemake.samples import plan_file
    from facemake.stages.probe import probe

    probe(
        plan=plan_file(snakemake.wildcards.shard),
        output=Path(snakemake.output.probe),
        recipe=Recipe.from_dict(snakemake.params.recipe),
    )
