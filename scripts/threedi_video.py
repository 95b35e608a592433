"""What 3DI is given of each sample: rules/threedi.smk."""

from pathlib import Path

from facemake.runtime.job import job

with job(snakemake.log[0], snakemake.threads, recipe=snakemake.params.recipe):
    from facemake.provenance import Recipe
    from facemake.samples import plan_file
    from facemake.stages.threedi_video import threedi_video

    threedi_video(
        plan=plan_file(snakemake.wildcards.shard),
        probe=Path(snakemake.input.probe),
        output=Path(snakemake.output.videos),
        recipe=Recipe.from_dict(snakemake.params.recipe),
    )
