"""A page a sample: rules/report.smk."""

from pathlib import Path

from facemake.runtime.job import job

with job(snakemake.log[0], snakemake.threads, recipe=snakemake.params.recipe):
    from facemake.provenance import Recipe
    from facemake.samples import plan_file
    from facemake.stages.report_pages import Sources, report_pages

    report_pages(
        plan=plan_file(snakemake.wildcards.shard),
        sources=Sources(**{name: Path(path) for name, path in snakemake.input.items()}),
        output=Path(snakemake.output.pages),
        recipe=Recipe.from_dict(snakemake.params.recipe),
    )
