"""Trained networks against labels: rules/train.smk."""

from pathlib import Path

from facemake.runtime.job import job

with job(
    snakemake.log[0],
    snakemake.threads,
    gpus=snakemake.resources.get("gpu", 0),
    recipe=snakemake.params.recipe,
):
    from facemake.provenance import Recipe
    from facemake.stages.evaluate import evaluate

    evaluate(
        data=Path(snakemake.input.data),
        models={name: Path(snakemake.input[name]) for name in ("landmark_pose", "au_prediction")},
        output=Path(snakemake.output.tables),
        page=Path(snakemake.output.page),
        recipe=Recipe.from_dict(snakemake.params.recipe),
        labels=Path(snakemake.input.labels) if snakemake.input.get("labels") else None,
    )
