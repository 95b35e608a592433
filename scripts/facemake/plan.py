"""From the config and the sample sheet to shards: read, check, hash, pack, write down.

Only the main process of a run plans. It writes `.facemake/plan/{shard}.tsv`, a file a shard, and
`.facemake/plan.json`, what the rules need; a job of a cluster reads those two and checks nothing.
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
import shutil
import sqlite3
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facemake.counting import counted
from facemake.errors import ConfigError, FacemakeError, ModelError
from facemake.exclusions import Exclusion
from facemake.exclusions import read as read_exclusions
from facemake.runtime import runs
from facemake.runtime.atomic import write_text
from facemake.samples import (
    LINEAGE_DIGITS,
    RESERVED,
    WORK,
    PlanRow,
    people_digest,
    plan_file,
    read_shard,
    samples_digest,
    shard_text,
)
from facemake.segments import Segment, cuts_of, segment
from facemake.store.place import cache_folder

if TYPE_CHECKING:
    from facemake.hashes import HashMemo

LARGEST_UNPACKED = 500
_SHOWN = 5
_NAME = attrgetter("sample")


@dataclass(frozen=True)
class Plan:
    """What the rules need of a run; JSON in `.facemake/plan.json`.

    Attributes:
        config: filled with its defaults.
        shards: in order.
        media: shard -> digest of its samples (`facemake.samples.samples_digest`).
        people: shard -> digest of subjects and splits.
        recipes: stage -> recipe, of the stages that the config asks for.
        stacks: stage -> environment.
        containers: stack -> what identifies its container, "" where none is configured.
        samples: how many there are.
        segments: sample -> its shard, and where it is cut (s of its stream's clock): of the long
            recordings that are looked at in segments.
        packs: shard -> its rows, in the main process alone; a job reads its own plan file.
        excluded: shard -> what of its samples a person leaves out of the training set
            (`facemake.exclusions`), of the shards that have any.
        references: shard -> the pictures of the people that its track 0 shall be
            (`facemake.references`), of the shards that go by any.
        mounts: folders that a job in a container must see (`facemake.mounts`).
    """

    config: dict[str, Any]
    shards: list[str]
    media: dict[str, str]
    people: dict[str, str]
    recipes: dict[str, dict[str, Any]]
    stacks: dict[str, str]
    containers: dict[str, str]
    samples: int
    segments: dict[str, dict[str, Any]] = field(default_factory=dict)
    packs: dict[str, list[PlanRow]] = field(default_factory=dict)
    excluded: dict[str, list[list[Any]]] = field(default_factory=dict)
    references: dict[str, list[list[str]]] = field(default_factory=dict)
    mounts: list[str] = field(default_factory=list)

    @cached_property
    def names(self) -> frozenset[str]:
        """What files of the results are named after: the shards, and what is made of all."""
        return frozenset((*self.shards, *RESERVED))

    def is_planned(self, name: str) -> bool:
        """Whether something by this name is made: one of `names`, or of a recording's segments."""
        return name in self.names or name.rpartition(".")[0] in self.segments

    @property
    def left_out(self) -> list[str]:
        """Names of the samples of which nothing is in the training set, by `dataset.exclude`."""
        rows = (Exclusion(*row) for rows in self.excluded.values() for row in rows)
        return sorted({row.sample for row in rows if row.whole})

    def enabled(self, stage: str) -> bool:
        """Whether the config asks for the stage."""
        return stage in self.recipes

    def segments_of(self, shard: str) -> list[str]:
        """Names of the segments of a shard's long recordings, each recording's in order of time."""
        return [
            Segment(sample, number, None, None).name
            for sample, one in self.segments.items()
            if one["shard"] == shard
            for number in range(len(one["cuts"]) + 1)
        ]

    def segment(self, sample: str, number: int) -> Segment:
        """A segment of a long recording."""
        return segment(sample, number, self.segments[sample]["cuts"])

    def stack(self, stage: str) -> str:
        """The stage's environment."""
        return self.stacks[stage]


def load(work: Path = WORK) -> Plan:
    """The plan that the main process wrote.

    Raises:
        FacemakeError: there is none, it is that of another run than this job's, or it is damaged or
            of another version.
    """
    if runs.is_stale(work):
        raise FacemakeError("another run was started in this folder: this job is its own now")
    path = work / "plan.json"
    try:
        return Plan(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise FacemakeError(f"{path} is missing: start the workflow in this folder first") from None
    except (ValueError, TypeError):
        raise FacemakeError(
            f"{path} is damaged, or of another version of facemake: the next run writes it anew"
        ) from None


def make(config: Mapping[str, Any], files: Sequence[Path] = (), work: Path = WORK) -> Plan:
    """Check everything and hash the recordings; `write` puts the plan where jobs read it.

    Two steps, because every look at the workflow plans (a dry run, the linter), also while a run is
    at work in the same folder, whose jobs must not see another plan than that run's.

    Args:
        config: as Snakemake merged it.
        files: the config files, to name lines in messages.
        work: where hashes are remembered when there is no cache folder.

    Raises:
        ConfigError: the config or the sheet is refused; the message lists all that is wrong.
        ModelError: a file of the user's is missing or has changed.
    """
    # 300,000 rows are looked through by each collection of garbage, and none of them is any
    gc.disable()
    try:
        return _make(config, files, work)
    finally:
        gc.enable()
        gc.freeze()


def _make(config: Mapping[str, Any], files: Sequence[Path], work: Path) -> Plan:
    # a job of a cluster parses the Snakefile too, and needs none of these
    from facemake import recipes, settings
    from facemake.engines import stages
    from facemake.hashes import open_memo
    from facemake.models import use_models_dir
    from facemake.references import of_shards
    from facemake.sheet import read_samples

    full = settings.filled(config)
    if isinstance(full["outdir"], str) and Path(full["outdir"]).resolve() == Path.cwd():
        raise ConfigError(
            "outdir is the working directory itself: give the results a folder of their own"
        )
    fault: ConfigError | None = None
    try:
        settings.check(full, files)
    except ConfigError as error:
        fault = error
        if not settings.readable(full):
            raise
    try:
        rows = read_samples(full)
    except ConfigError as error:
        raise ConfigError(f"{fault}\n{error}" if fault else str(error)) from None
    if fault:
        raise fault
    use_models_dir(full["models_dir"])  # a recipe has the hash of a file of the user's

    folder = cache_folder(full) or work
    try:
        with open_memo(folder) as memo:
            samples = rows.hashed(memo)
            containers = _containers(full, memo)
            cuts = _cuts(full, samples, rows.sizes(), memo)
            packs = _packs(samples, full["shards"])
            references = of_shards(full, packs, memo)
            asked_for, lacking = {}, []
            for stage in stages(full):
                if recipes.enabled(stage, full):
                    try:
                        asked_for[stage] = recipes.recipe(stage, full, memo).to_dict()
                    except ModelError as error:  # all that is missing is said at once
                        lacking.append(error)
    except (OSError, sqlite3.Error) as error:
        if isinstance(error, OSError) and (other := _named_outside(error, folder)):
            raise ConfigError(f"{other} cannot be read: {error.strerror}") from None
        raise ConfigError(
            f"hashes of recordings cannot be kept in {folder} ({error}); set cache_dir to a folder "
            "that you can write to, or delete the file hashes-1.sqlite there if it is damaged"
        ) from None
    if lacking:
        first, *more = dict.fromkeys(map(str, lacking))
        raise ModelError("\n".join([first, *more])) if more else lacking[0]
    excluded = _excluded(full, packs)
    return Plan(
        config=full,
        shards=list(packs),
        media={shard: samples_digest(members) for shard, members in packs.items()},
        people={shard: people_digest(members) for shard, members in packs.items()},
        recipes=asked_for,
        stacks={stage: recipes.stack(stage, full) for stage in stages(full)},
        containers=containers,
        samples=len(samples),
        segments={
            row.sample: {"shard": shard, "cuts": cuts[row.sample]}
            for shard, members in (packs.items() if cuts else ())
            for row in members
            if row.sample in cuts
        },
        packs=packs,
        excluded=excluded,
        references=references,
    )


def _named_outside(error: OSError, folder: Path) -> str:
    """The file that an error is of; "" where that is in a folder, or one that it lies in."""
    if error.filename is None:
        return ""
    at, place = (Path(os.path.realpath(path)) for path in (error.filename, folder))
    return "" if at.is_relative_to(place) or place.is_relative_to(at) else str(error.filename)


def _excluded(
    config: Mapping[str, Any], packs: Mapping[str, Sequence[PlanRow]]
) -> dict[str, list[list[Any]]]:
    """Shard -> the lines of `dataset.exclude` about its samples."""
    named = config["dataset"]["exclude"]
    if named is None:
        return {}
    shards = {row.sample: shard for shard, rows in packs.items() for row in rows}
    found: dict[str, list[list[Any]]] = {}
    for row in sorted(read_exclusions(Path(named).expanduser(), shards.keys())):
        found.setdefault(shards[row.sample], []).append(row.to_list())
    return found


def write(plan: Plan, work: Path = WORK) -> bool:
    """Write what the jobs of a run read: a file a shard, and what the rules need.

    What is left there of shards that are no longer in the plan goes: parts of killed jobs, notes of
    how one failed.

    To be called by a run that holds Snakemake's lock of the folder, before its first job.

    Returns:
        Whether the plan before had a sample that this one has not.
    """
    before: set[str] = set()
    for shard, members in plan.packs.items():
        path, text = plan_file(shard, work), shard_text(members)
        before |= _samples_but_of(path, text)
        write_text(path, text)
    for stale in (work / "plan").glob("*.tsv"):
        if stale.stem not in plan.packs:
            before |= _samples_but_of(stale, "")
            stale.unlink()
    document = {f.name: getattr(plan, f.name) for f in fields(plan) if f.name != "packs"}
    write_text(work / "plan.json", json.dumps(document, indent=1, sort_keys=True))
    for path in (work / "parts").glob("*/*"):
        if not plan.is_planned(path.name[: -LINEAGE_DIGITS - 1]):
            shutil.rmtree(path, ignore_errors=True)
    for path in (*(work / "failed").glob("*.json"), *(work / "progress").glob("*.json")):
        shard = path.stem.partition(".")[2]
        if shard and not plan.is_planned(shard):
            path.unlink(missing_ok=True)
    return bool(before.difference(row.sample for rows in plan.packs.values() for row in rows))


def _samples_but_of(path: Path, text: str) -> set[str]:
    """The samples of a plan file, none where it has this text, or cannot be read."""
    try:
        if path.read_bytes() == text.encode("utf-8", "surrogateescape"):
            return set()
        return {row.sample for row in read_shard(path)}
    except (OSError, ValueError, KeyError, FacemakeError):
        return set()


def _cuts(
    config: Mapping[str, Any], samples: Sequence[PlanRow], sizes: Sequence[int], memo: HashMemo
) -> dict[str, list[float]]:
    """Where long recordings are cut; 3DI's programs take a recording whole."""
    minutes = config["segment_minutes"]
    if minutes is None or config["engine"] != "native":
        return {}
    return cuts_of(samples, sizes, minutes, memo)


def _containers(config: Mapping[str, Any], memo: HashMemo) -> dict[str, str]:
    """Stack -> what identifies its container: an image's address, a local file's SHA-256."""
    from facemake.hashes import FileState

    identities = {}
    for stack, image in config["containers"].items():
        identities[stack] = image or ""
        if image and Path(image).is_file():
            path = os.path.realpath(image)
            identities[stack] = memo.sha256([path], [FileState.of(Path(path).stat())])[0] or image
    return identities


def suggested_shards(samples: int) -> int | None:
    """How many packs so many samples want; None where each may have a job of its own.

    A pack of about a hundred samples keeps both jobs and reruns reasonable.
    """
    from facemake.estimate import packs_for

    return packs_for(samples) if samples > LARGEST_UNPACKED else None


def _packs(samples: Sequence[PlanRow], shards: int | None) -> dict[str, list[PlanRow]]:
    """Shard name -> its samples by name.

    A sample's pack hangs on its own name only, so a sample that comes or goes touches one pack.
    """
    if shards is None:
        if len(samples) > LARGEST_UNPACKED:
            raise ConfigError(
                f"{len(samples)} samples would be {len(samples)} jobs a stage: set `shards:` in "
                f"the config; {suggested_shards(len(samples))} gives about 100 samples a job"
            )
        return {s.sample: [s] for s in sorted(samples, key=_NAME)}
    digits = len(str(shards - 1))
    packs: dict[int, list[PlanRow]] = defaultdict(list)
    for sample in samples:
        name = hashlib.sha256(sample.sample.encode()).digest()
        packs[int.from_bytes(name[:8], "big") % shards].append(sample)
    return {
        f"pack{index:0{digits}d}of{shards}": sorted(packs[index], key=_NAME)
        for index in sorted(packs)
    }


def describe(plan: Plan, jobs: int = 0, cores: int | None = None) -> str:
    """What lies ahead, in a line or two, for the start of a run.

    Args:
        plan: of the run.
        jobs: that are to run; 0: not known.
        cores: that they run on; None: not known (on a cluster).
    """
    from facemake.dataset.splits import lacking, split_of
    from facemake.engines.native import people_not_compared
    from facemake.estimate import estimate
    from facemake.references import without

    shards = list(plan.packs.values())
    text = f"{counted(plan.samples, 'sample')} in {counted(len(plan.shards), 'shard')}"
    if plan.config["shards"] and shards:
        sizes = [len(members) for members in shards]
        text += f", largest over mean {max(sizes) / (sum(sizes) / len(sizes)):.2f}"
    if plan.segments:
        count = sum(len(one["cuts"]) + 1 for one in plan.segments.values())
        text += f"; {counted(len(plan.segments), 'long recording')} in {count} segments"
    if why := people_not_compared(plan.config):
        text += f"\n{why}"
    if nobody := without(plan.references, plan.packs):
        named = ", ".join(nobody[:_SHOWN]) + (", ..." if len(nobody) > _SHOWN else "")
        text += (
            f"\ntrack.reference has no picture of {counted(len(nobody), 'subject')} ({named}): "
            "track 0 is the prominent face there"
        )
    used = [row for rows in shards for row in rows if not row.excluded]
    shares = plan.config["dataset"]["splits"]
    people = ((split_of(row, shares), row.subject) for row in used)
    if empty := lacking(people, shares, avoidable=True):
        text += f"\n{empty}"
    recordings = [Path(row.path) for row in used]
    ahead = estimate(recordings, jobs, cores, packed=plan.config["shards"] is not None)
    return f"{text}\n{ahead}" if ahead else text
