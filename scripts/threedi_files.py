"""3DI's raw files, a folder a sample: rules/threedi.smk."""

from pathlib import Path

from facemake.runtime.job import job

with job(snakemake.log[0], snakemake.threads):
    from facemake.samples import plan_file
    from facemake.stages.threedi_files import threedi_files

    output = Path(snakemake.output.listed)
    threedi_files(
        plan=plan_file(snakemake.wildcards.shard),
        steps=[Path(path) for path in snakemake.input.steps],
        results=output.parents[1],
        output=output,
    )
