"""Export a shard in the file formats of 3DI: rules/export.smk."""

from pathlib import Path

from facemake.runtime.job import job

with job(snakemake.log[0], snakemake.threads, recipe=snakemake.params.recipe):
    from facemake.provenance import Recipe
    from facemake.samples import plan_file
    from facemake.stages.export_3di import export_3di

    output = Path(snakemake.output.files)
    export_3di(
        plan=plan_file(snakemake.wildcards.shard),
        tables={name: Path(path) for name, path in snakemake.input.items()},
        folder=output.parents[1],
        output=output,
        recipe=Recipe.from_dict(snakemake.params.recipe),
    )
