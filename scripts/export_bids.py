"""All tables in a layout like that of BIDS: rules/export.smk."""

from pathlib import Path

from facemake.runtime.job import job

with job(snakemake.log[0], snakemake.threads, recipe=snakemake.params.recipe):
    from facemake.exports import bids_tables
    from facemake.plan import load
    from facemake.samples import plan_file, read_shard
    from facemake.stages.export_bids import export_bids

    plan = load()
    folder = Path(snakemake.output.folder)
    export_bids(
        shards={shard: read_shard(plan_file(shard)) for shard in plan.shards},
        results=folder.parents[1],
        output=folder,
        tables=bids_tables(plan.recipes),
    )
