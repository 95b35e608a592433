"""Export a shard in a format that is packed: rules/export.smk."""

from importlib import import_module
from pathlib import Path

from facemake.runtime.job import job

with job(snakemake.log[0], snakemake.threads, recipe=snakemake.params.recipe):
    from facemake.exports import MODULES
    from facemake.provenance import Recipe
    from facemake.samples import plan_file

    recipe = Recipe.from_dict(snakemake.params.recipe)
    form = recipe.stage.removeprefix("export_")
    export = getattr(import_module(f"facemake.stages.{MODULES[form]}"), recipe.stage)
    export(
        plan=plan_file(snakemake.wildcards.shard),
        tables={name: Path(path) for name, path in snakemake.input.items()},
        output=Path(snakemake.output.pack),
        recipe=recipe,
    )
