"""A shard's recordings with what was measured drawn on them: rules/overlay.smk."""

from pathlib import Path

from facemake.runtime.job import job

with job(snakemake.log[0], snakemake.threads, recipe=snakemake.params.recipe):
    from facemake.provenance import Recipe
    from facemake.samples import plan_file
    from facemake.stages.overlay import overlays

    overlays(
        plan=plan_file(snakemake.wildcards.shard),
        probe=Path(snakemake.input.probe),
        output=Path(snakemake.output.folder),
        recipe=Recipe.from_dict(snakemake.params.recipe),
    )
