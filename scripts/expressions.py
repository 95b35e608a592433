"""Localized expressions: rules/expressions.smk."""

from pathlib import Path

from facemake.runtime.job import job

with job(snakemake.log[0], snakemake.threads, recipe=snakemake.params.recipe):
    from facemake.provenance import Recipe
    from facemake.samples import plan_file
    from facemake.stages.expressions import OfEngine, expressions

    files = snakemake.input
    localized = files.get("localized")
    expressions(
        plan=plan_file(snakemake.wildcards.shard),
        fit=Path(snakemake.input.fit),
        output=Path(snakemake.output.expressions),
        recipe=Recipe.from_dict(snakemake.params.recipe),
        basis=next(map(Path, files.get("basis") or []), None),
        engine=OfEngine(Path(files.model), Path(localized)) if localized else None,
    )
