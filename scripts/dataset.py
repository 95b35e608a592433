"""The examples of a shard: rules/dataset.smk."""

from pathlib import Path

from facemake.runtime.job import job

with job(snakemake.log[0], snakemake.threads, recipe=snakemake.params.recipe):
    from facemake.exclusions import Exclusions
    from facemake.provenance import Recipe
    from facemake.samples import plan_file
    from facemake.stages.dataset import dataset

    dataset(
        plan=plan_file(snakemake.wildcards.shard),
        probe=Path(snakemake.input.probe),
        detections=Path(snakemake.input.detections),
        landmarks=Path(snakemake.input.landmarks),
        faces=Path(snakemake.input.faces),
        fit=Path(snakemake.input.fit),
        aus=Path(snakemake.input.aus),
        output=Path(snakemake.output.examples),
        counts=Path(snakemake.output.counts),
        recipe=Recipe.from_dict(snakemake.params.recipe),
        raw=[Path(path) for path in snakemake.input.get("raw", [])],
        excluded=Exclusions(snakemake.params.excluded),
    )
