"""The index of the report: rules/report.smk."""

from pathlib import Path

from facemake.runtime.job import job

with job(snakemake.log[0], snakemake.threads, recipe=snakemake.params.recipe):
    from facemake.provenance import Recipe
    from facemake.stages.report import report

    report(
        manifest=Path(snakemake.input.manifest),
        probe=[Path(path) for path in snakemake.input.probe],
        pages=[Path(path) for path in snakemake.input.pages],
        made=[Path(path) for path in (snakemake.input.manifest, *snakemake.input.embeddings)],
        output=Path(snakemake.output.index),
        networks=bool(snakemake.params.networks),
        recipe=Recipe.from_dict(snakemake.params.recipe),
    )
