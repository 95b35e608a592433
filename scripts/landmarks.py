"""Landmarks and aligned crops: rules/landmarks.smk."""

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
    from facemake.stages.landmarks import landmarks

    tables = by_sample(Path(path) for path in snakemake.input.get("segments", []))
    crops = by_sample(Path(path) for path in snakemake.input.get("segment_faces", []))
    landmarks(
        plan=plan_file(snakemake.wildcards.shard),
        probe=Path(snakemake.input.probe),
        detections=Path(snakemake.input.detections),
        output=Path(snakemake.output.landmarks),
        faces=Path(snakemake.output.faces),
        recipe=Recipe.from_dict(snakemake.params.recipe),
        given=[Path(path) for path in snakemake.input.get("given", [])],
        segments={name: list(zip(tables[name], crops[name], strict=True)) for name in tables},
    )
