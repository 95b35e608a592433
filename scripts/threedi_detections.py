"""3DI's rectangles as detections: rules/threedi.smk."""

from pathlib import Path

from facemake.runtime.job import job

with job(snakemake.log[0], snakemake.threads, recipe=snakemake.params.recipe):
    from facemake.provenance import Recipe
    from facemake.samples import plan_file
    from facemake.stages.threedi_detections import threedi_detections

    threedi_detections(
        plan=plan_file(snakemake.wildcards.shard),
        probe=Path(snakemake.input.probe),
        video=Path(snakemake.input.video),
        rects=Path(snakemake.input.rects[0]),
        output=Path(snakemake.output.detections),
        recipe=Recipe.from_dict(snakemake.params.recipe),
    )
