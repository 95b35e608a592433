"""The exported files of a shard out of their archive: rules/export.smk."""

from pathlib import Path

from facemake.runtime.job import job

with job(snakemake.log[0], snakemake.threads):
    from facemake.samples import plan_file
    from facemake.stages.exporting import unpack

    unpack(
        plan=plan_file(snakemake.wildcards.shard),
        pack=Path(snakemake.input.pack),
        output=Path(snakemake.output.listed),
    )
