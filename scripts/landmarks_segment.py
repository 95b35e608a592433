"""Landmarks and aligned crops of a segment of a long recording: rules/landmarks.smk."""

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
    from facemake.stages.landmarks_segment import landmarks_segment

    probe = Path(snakemake.input.probe)
    landmarks_segment(
        plan=plan_file(probe.stem),
        probe=probe,
        detections=Path(snakemake.input.detections),
        output=Path(snakemake.output.landmarks),
        faces=Path(snakemake.output.faces),
        recipe=Recipe.from_dict(snakemake.params.recipe),
        segment=Segment(*snakemake.params.segment),
    )
