"""Export a shard in a format that is packed: rules/export.smk."""

from pathlib import Path

from facemake.runtime.job import job

with job(snakemake.log[0], snakemake.threads, recipe=snakemake.params.recipe):
    from facemake.provenance import Recipe
    from facemake.samples import plan_file
    from facemake.stages.exporting import export_shard, format_of

    recipe = Recipe.from_dict(snakemake.params.recipe)
    export_shard(
        plan=plan_file(snakemake.wildcards.shard),
        tables={name: Path(path) for name, path in snakemake.input.items()},
        output=Path(snakemake.output.pack),
        recipe=recipe,
        form=format_of(recipe.stage.removeprefix("export_")),
    )
