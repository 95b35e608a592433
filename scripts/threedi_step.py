"""One program of 3DI: rules/threedi.smk."""

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
    from facemake.stages.threedi_step import threedi_step

    output = Path(snakemake.output.raw)
    threedi_step(
        plan=plan_file(snakemake.wildcards.shard),
        probe=Path(snakemake.input.probe),
        video=Path(snakemake.input.video),
        before=[Path(path) for path in snakemake.input.get("before", [])],
        output=output,
        recipe=Recipe.from_dict(snakemake.params.recipe),
        results=output.parents[2],
        calibration=next(map(Path, snakemake.input.get("calibration", [])), None),
    )
