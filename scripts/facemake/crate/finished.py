"""A finished run as it lies there: its stages, what each left, and when its jobs worked."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from facemake.errors import FacemakeError
from facemake.provenance import file_sha256
from facemake.shards import read_metadata


@dataclass(frozen=True)
class Product:
    """What a stage leaves in the results.

    Attributes:
        stage: its name.
        does: in words.
        files: patterns below the results; `{shard}` stands for each shard.
        needed: whether a finished run has all of them.
    """

    stage: str
    does: str
    files: tuple[str, ...]
    needed: bool = True


PRODUCTS = (
    Product("probe", "looks what each recording is", ("probe/{shard}.parquet",)),
    Product("detect", "finds and tracks faces", ("detections/{shard}.parquet",)),
    Product(
        "landmarks",
        "finds landmarks and cuts aligned crops",
        ("landmarks/{shard}.parquet", "faces/{shard}.h5"),
    ),
    Product(
        "fit",
        "fits a 3D face model and the gaze",
        ("fit/{shard}.parquet", "identity/{shard}.parquet"),
    ),
    Product("smooth", "smooths pose and expression through time", ("smooth/{shard}.parquet",)),
    Product("expressions", "localizes expressions", ("expressions/{shard}.parquet",)),
    Product("aus", "estimates action units", ("aus/{shard}.parquet",)),
    Product("embed", "computes identity embeddings", ("embeddings/{shard}.parquet",)),
    Product(
        "dataset",
        "chooses examples of the training set",
        ("dataset/{shard}.h5", "counts/{shard}.parquet"),
        needed=False,
    ),
    Product("people", "compares people across splits", ("dataset/people.parquet",), needed=False),
    Product("manifest", "counts samples", ("dataset/manifest.parquet",), needed=False),
    Product("merge_dataset", "merges examples", ("dataset/training_data.h5",), needed=False),
    Product("report", "draws the report", ("report/",), needed=False),
)
"""The stages of a run, in order."""
SHARED = ("probe", "smooth", "expressions", "aus")
"""Folders of the results whose files a crate has unless others are asked for: what faces did, and
not what they look like (as `fit` has it in `local_params`, and `identity`)."""


FOLDERS = tuple(
    dict.fromkeys(pattern.split("/")[0] for product in PRODUCTS for pattern in product.files)
)


@dataclass(frozen=True)
class FinishedRun:
    """A run as it lies there.

    Attributes:
        results: its folder.
        shards: in order.
        stages: that its config asks for.
        config: without words of the user (`facemake.settings.without_words`).
    """

    results: Path
    shards: Sequence[str]
    stages: Sequence[str]
    config: Mapping[str, Any]


@dataclass
class Done:
    """A stage of the run.

    Attributes:
        product: what it leaves.
        recipe: what made its files; None of a stage that leaves no recipe.
        files: path below the results -> SHA-256.
        jobs: start and end (s since 1970), CPU seconds and MB of each job whose log says it.
    """

    product: Product
    recipe: Mapping[str, Any] | None = None
    files: dict[str, str] = field(default_factory=dict)
    jobs: list[tuple[float, float, float, float]] = field(default_factory=list)


def finished_stages(run: FinishedRun, say: Callable[[str], None]) -> list[Done]:
    """The stages of a run with their files.

    Raises:
        FacemakeError: a table is missing, or one stage's were made in two ways.
    """
    stages = []
    earlier: dict[str, Mapping[str, Any]] = {}
    for product in PRODUCTS:
        if product.stage not in run.stages:
            continue
        one = Done(product)
        names = list(_names(product, run))
        say(f"hashing {product.stage}: {len(names)} files")
        for name in names:
            path = run.results / name
            if not path.is_file():
                if product.needed and path.suffix == ".parquet":
                    raise FacemakeError(f"{path} is missing: finish the run first")
                continue
            one.files[name] = file_sha256(path)
            if path.suffix in (".parquet", ".h5"):
                document = read_metadata(path)
                earlier |= document["upstream"]
                _same(one, document["recipe"], path)
        if one.files:
            one.jobs = list(_jobs(run.results / "logs", product.stage))
            stages.append(one)
    known = {one.product.stage for one in stages}
    others = [  # programs of 3DI, tracks by identity: their files are no results
        Done(
            Product(stage, "works for the stages that follow", ()),
            recipe,
            jobs=list(_jobs(run.results / "logs", stage)),
        )
        for stage, recipe in sorted(earlier.items())
        if stage not in known
    ]
    others.sort(key=lambda one: min((job[0] for job in one.jobs), default=math.inf))
    return [*stages[:1], *others, *stages[1:]]


def _names(product: Product, run: FinishedRun) -> Iterator[str]:
    for pattern in product.files:
        if pattern.endswith("/"):
            found = sorted(p for p in (run.results / pattern).rglob("*") if p.is_file())
            yield from (path.relative_to(run.results).as_posix() for path in found)
        elif "{shard}" in pattern:
            yield from (pattern.format(shard=shard) for shard in run.shards)
        else:
            yield pattern


def _same(one: Done, recipe: Mapping[str, Any], path: Path) -> None:
    if one.recipe is None:
        one.recipe = recipe
    elif one.recipe != recipe:
        raise FacemakeError(
            f"{path} was made with other settings or code than the others of its stage: run again, "
            "so that all are of one run"
        )


_COST = re.compile(
    r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),(\d{3}) INFO "
    r"([\d.]+) s, ([\d.]+) s of CPU, at most (\d+) MB$",
    re.MULTILINE,
)
"""The last line of a job that did its work (`facemake.runtime.job`)."""


def _jobs(logs: Path, stage: str) -> Iterator[tuple[float, float, float, float]]:
    """Start, end, CPU seconds and MB of each job of a stage; of one from the cache nothing."""
    for path in (*sorted((logs / stage).glob("*.log")), logs / f"{stage}.log"):
        try:
            lines = _COST.findall(path.read_text(encoding="utf-8", errors="replace"))
        except OSError:
            continue
        if lines:
            at, milliseconds, seconds, cpu, memory = lines[-1]
            end = time.mktime(time.strptime(at, "%Y-%m-%d %H:%M:%S")) + int(milliseconds) / 1000
            yield end - float(seconds), end, float(cpu), float(memory)
