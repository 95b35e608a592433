"""Detect faces in a segment of a long recording: rules/detect.smk."""

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
    from facemake.segments import Segment
    from facemake.stages.detect_segment import detect_segment

    probe = Path(snakemake.input.probe)
    detect_segment(
        plan=plan_file(probe.stem),
        probe=probe,
        output=Path(snakemake.output[0]),
        recipe=Recipe.from_dict(snakemake.params.recipe),
        segment=Segment(*snakemake.params.segment),
    )
