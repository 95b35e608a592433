"""Join tracks to people: rules/detect.smk."""

from pathlib import Path

from facemake.runtime.job import job

with job(snakemake.log[0], snakemake.threads, recipe=snakemake.params.recipe):
    from facemake.provenance import Recipe
    from facemake.samples import plan_file
    from facemake.stages.identify import identify

    identify(
        plan=plan_file(snakemake.wildcards.shard),
        probe=Path(snakemake.input.probe),
        tracklets=Path(snakemake.input.tracklets),
        output=Path(snakemake.output.detections),
        recipe=Recipe.from_dict(snakemake.params.recipe),
        references={
            subject: (Path(path), sha256)
            for (subject, sha256), path in zip(
                snakemake.params.references, snakemake.input.references, strict=True
            )
        },
    )
