"""Whether enough samples gave something: rules/dataset.smk."""

from pathlib import Path

from facemake.runtime.job import job

with job(snakemake.log[0], snakemake.threads):
    from facemake.stages.manifest import verdict

    verdict(
        table=Path(snakemake.input.manifest),
        output=Path(snakemake.output[0]),
        max_failed_fraction=snakemake.params.max_failed_fraction,
        people=Path(snakemake.input.people) if snakemake.input.get("people") else None,
    )
