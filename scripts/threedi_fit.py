"""3DI's fit as tables: rules/threedi.smk."""

from pathlib import Path

from facemake.runtime.job import job

with job(snakemake.log[0], snakemake.threads, recipe=snakemake.params.recipe):
    from facemake.provenance import Recipe
    from facemake.samples import plan_file
    from facemake.stages.threedi_fit import threedi_fit

    threedi_fit(
        plan=plan_file(snakemake.wildcards.shard),
        probe=Path(snakemake.input.probe),
        video=Path(snakemake.input.video),
        landmarks=Path(snakemake.input.landmarks),
        raw=[Path(path) for path in snakemake.input.raw],
        model=Path(snakemake.input.model),
        outputs={name: Path(path) for name, path in snakemake.output.items()},
        recipe=Recipe.from_dict(snakemake.params.recipe),
    )
