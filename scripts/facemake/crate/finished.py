"""A finished run as it lies there: its stages, what each job left, and when it worked."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from facemake.counting import counted
from facemake.errors import FacemakeError
from facemake.provenance import file_sha256
from facemake.shards import read_metadata


@dataclass(frozen=True)
class Product:
    """What a stage leaves in the results.

    Attributes:
        stage: its name, and of the folder of its logs.
        does: in words.
        files: patterns below the results; where `{shard}` is in them there is a job a shard.
        needed: whether a finished run has all of them.
        asked: the stage that the config asks for; "": this one.
    """

    stage: str
    does: str
    files: tuple[str, ...]
    needed: bool = True
    asked: str = ""


STEPS = "3di/.steps"
"""Below the results: what 3DI's programs have made."""
PRODUCTS = (
    Product("probe", "looks what each recording is", ("probe/{shard}.parquet",)),
    Product("threedi_model", "reads the face model of 3DI", (f"{STEPS}/model.npz",), needed=False),
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
    Product(
        "overlay",
        "draws what was measured on the recordings",
        ("overlay/{shard}/",),
        needed=False,
    ),
    Product(
        "report_pages",
        "draws a page a sample",
        ("report/samples/{shard}/",),
        needed=False,
        asked="report",
    ),
    Product("report", "draws the report", ("report/*",), needed=False),
)
"""The stages of a run, in order."""
_OTHERS: Mapping[str, str] = {
    "detect": "finds faces, and joins those that overlap",
    "identify": "tells people apart by their faces",
    "threedi_video": "makes the video that 3DI reads",
}
"""Stages whose files are no results, or that write those of another one, where they are used."""
TRACKLETS = "detections/.tracklets/{shard}.parquet"
"""What `detect` leaves where people are told apart after it."""
SHARED = ("probe", "smooth", "expressions", "aus")
"""Folders of the results whose files a crate has unless others are asked for: what faces did, and
not what they look like (as `fit` has it in `local_params`, and `identity`)."""


FOLDERS = tuple(
    dict.fromkeys(
        pattern.split("/")[0]
        for product in PRODUCTS
        for pattern in product.files
        if not pattern.startswith(STEPS)
    )
)
"""Folders of the results whose files a crate may have."""


@dataclass(frozen=True)
class FinishedRun:
    """A run as it lies there.

    Attributes:
        results: its folder.
        shards: in order.
        stages: that its config asks for, in the order of `facemake.engines.stages`.
        config: without words of the user (`facemake.settings.without_words`).
    """

    results: Path
    shards: Sequence[str]
    stages: Sequence[str]
    config: Mapping[str, Any]


class Cost(NamedTuple):
    """When a job worked (s since 1970), and what it took (s of CPU, MB)."""

    start: float
    end: float
    cpu: float
    memory: float


@dataclass(frozen=True)
class Job:
    """One execution of a stage.

    Attributes:
        name: of its shard; "" of one for all.
        files: path below the results -> SHA-256, of what it made.
        cost: None where no log says it: what came from the cache has none.
    """

    name: str
    files: Mapping[str, str] = field(default_factory=dict)
    cost: Cost | None = None


@dataclass
class Done:
    """A stage of the run.

    Attributes:
        stage: its name.
        does: in words.
        recipe: what made its files; None of a stage that leaves no recipe.
        jobs: in the order of the shards.
    """

    stage: str
    does: str
    recipe: Mapping[str, Any] | None = None
    jobs: list[Job] = field(default_factory=list)

    def add(self, other: Done) -> None:
        """Take what the same jobs have made besides."""
        files = {job.name: {**job.files} for job in self.jobs}
        for job in other.jobs:
            files.setdefault(job.name, {}).update(job.files)
        self.jobs = [Job(name, made) for name, made in files.items()]

    def files(self) -> dict[str, str]:
        """Path below the results -> SHA-256, of all jobs."""
        return {path: sha256 for job in self.jobs for path, sha256 in job.files.items()}


def finished_stages(run: FinishedRun, say: Callable[[str], None]) -> list[Done]:
    """The stages of a run with what they left, each after those that it needs.

    Jobs on segments of a long recording leave nothing; what joins them is the job of the stage.

    Raises:
        FacemakeError: a table is missing, or one stage's were made in two ways.
    """
    stages: list[Done] = []
    for product in PRODUCTS:
        if (product.asked or product.stage) not in run.stages:
            continue
        if product.stage == "overlay" and not run.config["overlay"]["in_report"]:
            continue  # made by themselves, as exports are
        one = Done(product.stage, product.does)
        before: dict[str, Any] = {}
        names = {job: list(_names(product, run.results, job)) for job in _jobs_of(product, run)}
        say(f"hashing {product.stage}: {counted(sum(map(len, names.values())), 'file')}")
        for job, paths in names.items():
            files = {}
            for path in paths:
                if not (run.results / path).is_file():
                    if product.needed and path.endswith(".parquet"):
                        raise FacemakeError(
                            f"{run.results / path} is missing: finish the run first"
                        )
                    continue
                files[path] = file_sha256(run.results / path)
                if path.endswith((".parquet", ".h5")):
                    document = read_metadata(run.results / path)
                    before |= document["upstream"]
                    _same(one, document["recipe"], run.results / path)
            if files:
                one.jobs.append(Job(job, files))
        if not one.jobs:
            continue
        if one.recipe is not None and one.recipe["stage"] != one.stage:  # tracks by identity
            one.stage = one.recipe["stage"]
            one.does = _OTHERS.get(one.stage, one.does)
        known = {done.stage: done for done in stages}
        stages += _others({k: v for k, v in before.items() if k not in known}, run, say)
        if one.stage in known:  # 3DI's fit is smoothed by itself
            known[one.stage].add(one)
        else:
            stages.append(one)
    for one in stages:
        one.jobs = [_dated(job, one.stage, run.results) for job in one.jobs]
    return stages


def _jobs_of(product: Product, run: FinishedRun) -> Sequence[str]:
    return run.shards if any("{shard}" in pattern for pattern in product.files) else ("",)


def _names(product: Product, results: Path, shard: str) -> Iterator[str]:
    for pattern in product.files:
        name = pattern.format(shard=shard)
        if name.endswith("/"):
            found = (results / name).rglob("[!.]*")
        elif name.endswith("/*"):
            found = (results / name[:-2]).glob("[!.]*")
        else:
            yield name
            continue
        yield from sorted(path.relative_to(results).as_posix() for path in found if path.is_file())


def _others(
    recipes: Mapping[str, Mapping[str, Any]], run: FinishedRun, say: Callable[[str], None]
) -> list[Done]:
    """Stages whose files lie beside the results (programs of 3DI), in their order."""
    order = {stage: number for number, stage in enumerate(run.stages)}
    return [
        Done(
            stage,
            _OTHERS.get(stage, "works for the stages that follow"),
            recipes[stage],
            list(_hidden(stage, run, say)) or [Job("")],
        )
        for stage in sorted(recipes, key=lambda stage: (order.get(stage, 0), stage))
    ]


def _hidden(stage: str, run: FinishedRun, say: Callable[[str], None]) -> Iterator[Job]:
    """Jobs of a stage whose files lie beside the results."""
    archive = f"{STEPS}/{stage.removeprefix('threedi_')}/{{shard}}.zip"
    pattern = TRACKLETS if stage == "detect" else archive
    say(f"hashing {stage}: at most {counted(len(run.shards), 'file')}")
    for shard in run.shards:
        path = pattern.format(shard=shard)
        if (run.results / path).is_file():
            yield Job(shard, {path: file_sha256(run.results / path)})


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
_SLACK = 2.0
"""Seconds by which the clock of a file system may differ."""


def _dated(job: Job, stage: str, results: Path) -> Job:
    """A job with what its log says, where that is of what is there.

    The log of a job that made something else lies there, too, where its results were taken from the
    cache since then: one of the files must have been written while it worked.
    """
    logs = results / "logs"
    cost = _cost(logs / stage / f"{job.name}.log" if job.name else logs / f"{stage}.log")
    if cost is None:
        return job
    written = ((results / path).stat().st_mtime for path in job.files)
    if not any(cost.start - _SLACK <= moment <= cost.end + _SLACK for moment in written):
        return job
    return Job(job.name, job.files, cost)


def _cost(log: Path) -> Cost | None:
    """What the log of a job says; None where there is none, or the job did not end well."""
    try:
        lines = _COST.findall(log.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return None
    if not lines:
        return None
    at, milliseconds, seconds, cpu, memory = lines[-1]
    end = time.mktime(time.strptime(at, "%Y-%m-%d %H:%M:%S")) + int(milliseconds) / 1000
    return Cost(end - float(seconds), end, float(cpu), float(memory))
