"""Make the bundled sample: rules/bundled_sample.smk."""

from pathlib import Path

from facemake.runtime.job import job

with job(snakemake.log[0], snakemake.threads):
    from facemake.bundled import make_bundled_sample

    make_bundled_sample(
        portraits=Path(snakemake.output.portraits),
        clip=Path(snakemake.output.clip),
        truth=Path(snakemake.output.truth),
    )
