"""The run as a Workflow Run RO-Crate: rules/export.smk."""

from pathlib import Path

from facemake.runtime.job import job

with job(snakemake.log[0], snakemake.threads, recipe=snakemake.params.recipe):
    from facemake.crate.finished import FinishedRun
    from facemake.crate.workflow import About
    from facemake.engines import stages
    from facemake.plan import load
    from facemake.settings import without_words
    from facemake.stages.export_crate import export_crate

    plan = load()
    folder = Path(snakemake.output.folder)
    config = without_words(plan.config)
    in_order = [stage for stage in stages(plan.config) if plan.enabled(stage)]
    run = FinishedRun(folder.parents[1], plan.shards, in_order, config)
    export_crate(run, folder, About())
