"""One stage on one shard in this process, as its rule runs it."""

from __future__ import annotations

import sys

from facemake.runtime.job import job


def main(stage: str, shard: str) -> None:
    """Run `stage` on `shard` in the working directory, whose plan is there already."""
    with job(None):
        # recipes come as the rules get them: without planning, hashing or reading the sheet
        import json
        from importlib import import_module
        from pathlib import Path

        from facemake.provenance import Recipe
        from facemake.samples import plan_file

        plan = json.loads(Path(".facemake/plan.json").read_text())
        recipe = Recipe.from_dict(plan["recipes"]["report" if stage == "report_pages" else stage])
        out = Path(plan["config"]["outdir"])

        def table(name: str) -> Path:
            return out / name / f"{shard}.parquet"

        if stage == "report_pages":
            from facemake.stages.report_pages import Sources, report_pages

            names = ("detections", "landmarks", "fit", "smooth", "aus", "counts")
            sources = {name: table(name) for name in names}
            h5 = {"faces": out / "faces", "examples": out / "dataset"}
            report_pages(
                plan=plan_file(shard),
                sources=Sources(
                    probe=table("probe"),
                    **sources,
                    **{name: folder / f"{shard}.h5" for name, folder in h5.items()},
                ),
                output=out / "report" / "samples" / shard,
                recipe=recipe,
            )
            return

        files: dict[str, dict[str, Path]] = {
            "probe": {"output": table("probe")},
            "detect": {
                "probe": table("probe"),
                "output": table("tracklets" if "identify" in plan["recipes"] else "detections"),
            },
            "identify": {
                "probe": table("probe"),
                "tracklets": table("tracklets"),
                "output": table("detections"),
            },
            "landmarks": {
                "probe": table("probe"),
                "detections": table("detections"),
                "output": table("landmarks"),
                "faces": out / "faces" / f"{shard}.h5",
            },
            "fit": {
                "probe": table("probe"),
                "landmarks": table("landmarks"),
                "output": table("fit"),
                "identity": table("identity"),
            },
            "smooth": {
                "probe": table("probe"),
                "landmarks": table("landmarks"),
                "fit": table("fit"),
                "output": table("smooth"),
            },
            "expressions": {"fit": table("smooth"), "output": table("expressions")},
            "aus": {
                "probe": table("probe"),
                "expressions": table("expressions"),
                "output": table("aus"),
            },
            "embed": {
                "probe": table("probe"),
                "detections": table("detections"),
                "landmarks": table("landmarks"),
                "fit": table("fit"),
                "output": table("embeddings"),
            },
            "dataset": {
                "probe": table("probe"),
                "detections": table("detections"),
                "landmarks": table("landmarks"),
                "faces": out / "faces" / f"{shard}.h5",
                "fit": table("fit"),
                "aus": table("aus"),
                "output": out / "dataset" / f"{shard}.h5",
                "counts": table("counts"),
            },
        }
        function = getattr(import_module(f"facemake.stages.{stage}"), stage)
        function(plan=plan_file(shard), recipe=recipe, **files[stage])


if __name__ == "__main__":
    main(*sys.argv[1:])
