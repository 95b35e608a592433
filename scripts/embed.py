"""Identity embeddings: rules/embed.smk."""

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
    from facemake.stages.embed import embed

    embed(
        plan=plan_file(snakemake.wildcards.shard),
        probe=Path(snakemake.input.probe),
        detections=Path(snakemake.input.detections),
        landmarks=Path(snakemake.input.landmarks),
        fit=Path(snakemake.input.fit),
        output=Path(snakemake.output.embeddings),
        recipe=Recipe.from_dict(snakemake.params.recipe),
    )
