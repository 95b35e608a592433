"""Detect faces and join them to tracks: rules/detect.smk."""

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
    from facemake.segments import by_sample
    from facemake.stages.detect import detect

    detect(
        plan=plan_file(snakemake.wildcards.shard),
        probe=Path(snakemake.input.probe),
        output=Path(snakemake.output.detections),
        recipe=Recipe.from_dict(snakemake.params.recipe),
        segments=by_sample(Path(path) for path in snakemake.input.segments),
    )
