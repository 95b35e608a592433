"""The index of the report: rules/report.smk."""

from pathlib import Path

from facemake.runtime.job import job

with job(snakemake.log[0], snakemake.threads, recipe=snakemake.params.recipe):
    from facemake.provenance import Recipe
    from facemake.stages.report import report

    given = snakemake.input
    people = Path(given.people) if given.get("people") else None
    recipes = (given.manifest, *given.smooth, *given.expressions, *given.embeddings)
    report(
        manifest=Path(given.manifest),
        probe=[Path(path) for path in given.probe],
        pages=[Path(path) for path in given.pages],
        made=[*map(Path, recipes), *([people] if people else [])],
        output=Path(snakemake.output.index),
        networks=bool(snakemake.params.networks),
        people=people,
        logs=Path(snakemake.log[0]).parent,
        recipe=Recipe.from_dict(snakemake.params.recipe),
    )
