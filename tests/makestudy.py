"""Small studies run stage by stage in one process, for the tests of the later stages."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from facemake import plan as planning
from facemake.exclusions import Exclusions
from facemake.plan import Plan
from facemake.provenance import Recipe
from facemake.samples import plan_file


@dataclass(frozen=True)
class Study:
    """A working directory with its plan; its methods run a stage on a shard there."""

    folder: Path
    plan: Plan

    def table(self, stage: str, shard: str, suffix: str = "parquet") -> Path:
        return self.folder / "results" / stage / f"{shard}.{suffix}"

    def recipe(self, stage: str) -> Recipe:
        return Recipe.from_dict(self.plan.recipes[stage])

    def plan_file(self, shard: str) -> Path:
        return self.folder / plan_file(shard)

    def up_to_aus(self, shard: str) -> None:
        """Probe, detect, landmarks, fit, smooth (unless it is off), expressions and aus."""
        from facemake.stages.aus import aus
        from facemake.stages.detect import detect
        from facemake.stages.expressions import expressions
        from facemake.stages.fit import fit
        from facemake.stages.landmarks import landmarks
        from facemake.stages.probe import probe
        from facemake.stages.smooth import smooth

        def at(name: str) -> Path:
            return self.table(name, shard)

        plan, recipe = self.plan_file(shard), self.recipe
        with inside(self.folder):
            probe(plan, at("probe"), recipe("probe"))
            detect(plan, at("probe"), at("detections"), recipe("detect"))
            faces = self.table("faces", shard, "h5")
            landmarks(
                plan, at("probe"), at("detections"), at("landmarks"), faces, recipe("landmarks")
            )
            fit(plan, at("probe"), at("landmarks"), at("fit"), at("identity"), recipe("fit"))
            source = "fit"
            if self.plan.enabled("smooth"):
                source = "smooth"
                tables = (at(name) for name in ("probe", "landmarks", "fit"))
                smooth(plan, *tables, at("smooth"), recipe("smooth"))
            expressions(plan, at(source), at("expressions"), recipe("expressions"))
            aus(plan, at("probe"), at("expressions"), at("aus"), recipe("aus"))

    def embed(self, shard: str, output: Path) -> None:
        from facemake.stages.embed import embed

        inputs = (self.table(n, shard) for n in ("probe", "detections", "landmarks", "fit"))
        with inside(self.folder):
            embed(self.plan_file(shard), *inputs, output, self.recipe("embed"))

    def dataset(
        self, shard: str, output: Path, excluded: Exclusions | None = None, **settings: Any
    ) -> None:
        """Writes `output` and, beside it with the suffix .parquet, the counts."""
        from facemake.stages.dataset import dataset

        recipe = self.recipe("dataset").to_dict()
        recipe["settings"] = {**recipe["settings"], **settings}
        with inside(self.folder):
            dataset(
                plan=self.plan_file(shard),
                probe=self.table("probe", shard),
                detections=self.table("detections", shard),
                landmarks=self.table("landmarks", shard),
                faces=self.table("faces", shard, "h5"),
                fit=self.table("fit", shard),
                aus=self.table("aus", shard),
                output=output,
                counts=output.with_suffix(".parquet"),
                recipe=Recipe.from_dict(recipe),
                excluded=excluded,
            )


def make_study(folder: Path, sheet: Sequence[dict[str, Any]], **config: Any) -> Study:
    """Plan a study of these samples (rows of a sheet)."""
    columns = list(dict.fromkeys(name for row in sheet for name in row))
    lines = ["\t".join(columns)]
    lines += ["\t".join(str(row.get(name, "")) for name in columns) for row in sheet]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "samples.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    document = {"samples": "samples.tsv", "cache_dir": None, **config}
    (folder / "config.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    with inside(folder):
        plan = planning.make(document, [Path("config.yaml")])
        planning.write(plan)
        return Study(folder, plan)


@contextmanager
def inside(folder: Path) -> Iterator[None]:
    """With `folder` as the working directory: a run keeps its parts and locks there."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
