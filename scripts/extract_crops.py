"""Crops of a shard's faces: rules/extract.smk."""

from pathlib import Path

from facemake.runtime.job import job

with job(snakemake.log[0], snakemake.threads, recipe=snakemake.params.recipe):
    from facemake.provenance import Recipe
    from facemake.samples import plan_file
    from facemake.stages.extract_crops import extract_crops

    landmarks = snakemake.input.get("landmarks")
    extract_crops(
        plan=plan_file(snakemake.wildcards.shard),
        probe=Path(snakemake.input.probe),
        detections=Path(snakemake.input.detections),
        output=Path(snakemake.output.table),
        crops=Path(snakemake.output.crops),
        recipe=Recipe.from_dict(snakemake.params.recipe),
        landmarks=Path(landmarks) if landmarks else None,
    )
