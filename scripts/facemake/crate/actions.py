"""What was done in a run, stage by stage, to which recordings, and what came of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from facemake.backends.threedi import Engine
from facemake.backends.threedi.programs import needs, programs
from facemake.crate.finished import STEPS, TRACKLETS, Done, FinishedRun
from facemake.crate.graph import Entity, Graph, address, copy_file, iso_time, media_type, ni
from facemake.exports import RECORDINGS
from facemake.media import Kind
from facemake.models import registry
from facemake.overlay.options import Options
from facemake.provenance import json_text
from facemake.tables import TableReader
from facemake.version import __version__

DONE = "http://schema.org/CompletedActionStatus"


@dataclass
class Parts:
    """What the actions of a run are about: the recordings, files and folders that the graph has.

    Attributes:
        recordings: shard -> the recording in it, or a collection of several.
        all_recordings: the collection of all.
        files: path below the results -> file.
        folders: name -> folder of the results.
    """

    recordings: dict[str, Entity] = field(default_factory=dict)
    all_recordings: Entity = field(default_factory=dict)
    files: dict[str, Entity] = field(default_factory=dict)
    folders: dict[str, Entity] = field(default_factory=dict)


def add_recordings(graph: Graph, run: FinishedRun, parts: Parts) -> None:
    """All samples, each by the SHA-256 of what it was made of."""
    said: dict[str, list[str]] = {}
    names: dict[str, list[str]] = {}
    everything: dict[str, Entity] = {}
    for shard in run.shards:
        mine: dict[str, Entity] = {}
        with TableReader(run.results / "probe" / f"{shard}.parquet") as reader:
            for sample in reader.samples:
                (row,) = reader.read(sample).to_pylist()
                sha256 = row["sha256"]
                if sha256 is None:
                    identifier = f"#recording-{len(everything)}"
                elif row["kind"] in (Kind.VIDEO, Kind.IMAGE):
                    identifier = ni(sha256)
                else:
                    identifier = f"#pictures-{sha256}"
                # parts of one recording are several samples
                names.setdefault(identifier, []).append(sample)
                what = f"{row['kind'] or 'recording'}; {row['status']}"
                what += f": {row['reason']}" if row["reason"] else ""
                said.setdefault(identifier, []).append(what)
                mine[identifier] = everything[identifier] = graph.add(
                    identifier,
                    "CreativeWork",
                    name=", ".join(names[identifier]),
                    identifier=list(names[identifier]),
                    description="; ".join(dict.fromkeys(said[identifier])),
                    sha256=sha256,
                )
        if len(mine) == 1:
            (parts.recordings[shard],) = mine.values()
        else:
            parts.recordings[shard] = graph.add(
                f"{RECORDINGS}-{address(shard)}",
                "Collection",
                name=f"recordings of {shard}",
                hasPart=list(mine.values()),
            )
    parts.all_recordings = graph.add(
        RECORDINGS, "Collection", name="recordings", hasPart=list(everything.values())
    )


def add_folders(
    graph: Graph,
    run: FinishedRun,
    done: Sequence[Done],
    inside: set[str],
    folder: Path,
    parts: Parts,
) -> None:
    """Folders of the results: data sets of the crate, or collections of what is elsewhere.

    Args:
        graph: they are added to.
        run: whose they are.
        done: its stages.
        inside: names of the folders whose files the crate has.
        folder: of the crate: the files are copied there.
        parts: are told of them.
    """
    members: dict[str, list[Entity]] = {}
    does: dict[str, list[str]] = {}
    for one in done:
        for path, sha256 in one.files().items():
            name = path.partition("/")[0]
            source = run.results / path
            about = {
                "name": path,
                "sha256": sha256,
                "contentSize": str(source.stat().st_size),
                "encodingFormat": media_type(source),
            }
            if name in inside:
                copy_file(source, folder / "results" / path)
                parts.files[path] = graph.add(address(f"results/{path}"), "File", **about)
            else:
                # not by its content: files of several jobs may have the same
                parts.files[path] = graph.add(
                    f"#results/{address(path)}",
                    "CreativeWork",
                    description="not in the crate",
                    identifier=ni(sha256),
                    **about,
                )
            members.setdefault(name, []).append(parts.files[path])
            does.setdefault(name, []).append(one.does)
    for name, files in members.items():
        what = "; ".join(dict.fromkeys(does[name]))
        if name in inside:
            parts.folders[name] = graph.add(
                f"results/{name}/", "Dataset", name=name, description=what, hasPart=files
            )
        else:
            parts.folders[name] = graph.add(
                f"#results-{name}",
                "Collection",
                name=name,
                description=f"{what}; not in the crate",
                hasPart=files,
            )


def add_tool(graph: Graph, one: Done) -> Entity:
    """What works in a stage: this code with these libraries."""
    recipe = one.recipe or {}
    backend = f" ({recipe['backend']})" if recipe.get("backend") else ""
    return graph.add(
        f"#tool-{one.stage}",
        "SoftwareApplication",
        name=f"facemake {one.stage}{backend}",
        description=one.does,
        softwareVersion=recipe.get("version", __version__),
        identifier=f"code {recipe['code']}" if recipe else None,
        softwareRequirements=[f"{k} {v}" for k, v in recipe.get("libraries", {}).items()],
    )


def add_actions(
    graph: Graph,
    one: Done,
    run: FinishedRun,
    tool: Entity,
    parts: Parts,
    agent: Entity | None,
) -> list[Entity]:
    """The jobs of a stage, an action each, as the profile Provenance Run Crate asks."""
    stage, recipe = one.stage, one.recipe or {}
    by = [*_settings(graph, stage, recipe), *_models(graph, recipe)]
    actions = []
    for job in one.jobs:
        text = "from the cache, or its log is not there"
        if job.cost:
            text = f"{job.cost.cpu:.1f} s of CPU, at most {job.cost.memory:.0f} MB"
        actions.append(
            graph.add(
                f"#action-{stage}" + (f"-{address(job.name)}" if job.name else ""),
                "CreateAction",
                name=f"{stage}: {job.name or 'all'}",
                description=text,
                instrument=tool,
                object=[*_given(stage, job.name, run, parts), *by],
                result=[parts.files[path] for path in job.files],
                startTime=iso_time(job.cost.start) if job.cost else None,
                endTime=iso_time(job.cost.end) if job.cost else None,
                actionStatus=DONE,
                agent=agent,
            )
        )
    return actions


def _settings(graph: Graph, stage: str, recipe: Mapping[str, Any]) -> Iterator[Entity]:
    if recipe.get("settings"):
        yield graph.add(
            f"#settings-{stage}",
            "PropertyValue",
            name=f"settings of {stage}",
            value=json_text(recipe["settings"]),
        )


def _models(graph: Graph, recipe: Mapping[str, Any]) -> Iterator[Entity]:
    rows = registry()
    for model in recipe.get("models", ()):
        known = rows.get(model["name"])
        yield graph.add(
            ni(model["sha256"]) if _SHA256.fullmatch(model["sha256"]) else f"#{model['name']}",
            "CreativeWork",
            name=model["name"],
            description="model",
            license=model.get("licence"),
            citation=known.citation if known else model.get("citation"),
            sha256=model["sha256"],
        )


def _given(stage: str, name: str, run: FinishedRun, parts: Parts) -> Iterator[Entity]:
    """What a job reads: recordings, and files of its shard or of all."""
    if stage in _SEES:
        yield parts.recordings.get(name, parts.all_recordings)
    given = _GIVEN.get(stage, ())
    if stage == "overlay":
        tables = Options.of(run.config["overlay"]).tables
        given = (_PROBE, *(f"{table}/{{shard}}.parquet" for table in tables))
    for ways in (*given, *_of_3di(stage, run)):
        for way in ways.split("|"):
            if way.endswith("/"):
                inside = way.format(shard=name)
                paths = [path for path in parts.files if path.startswith(inside)]
            elif "{shard}" in way and not name:
                paths = [way.format(shard=shard) for shard in run.shards]
            else:
                paths = [way.format(shard=name)]
            found = [parts.files[path] for path in paths if path in parts.files]
            yield from found
            if found:
                break


def _of_3di(stage: str, run: FinishedRun) -> tuple[str, ...]:
    """What a job reads of the files of 3DI's programs."""
    if run.config.get("engine", "native") == "native":
        return ()
    engine, undistorts = Engine(run.config["engine"]), "threedi_undistort" in run.stages
    ran = {program.step: program for program in programs(engine, undistorts)}
    if program := ran.get(stage.removeprefix("threedi_")) if stage[:7] == "threedi" else None:
        return (_PROBE, *_steps("video", *needs(engine, program, undistorts)))
    fitted = (step for step in ran if step not in ("undistort", "detect", "localized"))
    model = f"{STEPS}/model.npz"
    given: Mapping[str, tuple[str, ...]] = {
        "threedi_video": (_PROBE,),
        "detect": _steps("video", "detect"),
        "landmarks": _steps("video", "landmarks"),
        "fit": (*_steps("video", *fitted), model),
        "expressions": (*_steps("localized"), model),
        "overlay": (model,) if Options.of(run.config["overlay"]).needs_mesh else (),
        "dataset": _steps(*ran),
    }
    return given.get(stage, ())


def _steps(*names: str) -> tuple[str, ...]:
    return tuple(f"{STEPS}/{name}/{{shard}}.zip" for name in names)


_SHA256 = re.compile(r"[0-9a-f]{64}")


_SEES = ("probe", "detect", "identify", "landmarks", "embed", "overlay", "threedi_video")
"""Stages that decode recordings."""
_FITTED = ("detections/{shard}.parquet", "landmarks/{shard}.parquet", "fit/{shard}.parquet")
_PROBE = "probe/{shard}.parquet"
_GIVEN: Mapping[str, tuple[str, ...]] = {
    "detect": (_PROBE,),
    "identify": (_PROBE, TRACKLETS),
    "landmarks": (_PROBE, _FITTED[0]),
    "fit": (_PROBE, _FITTED[1]),
    "smooth": (_PROBE, *_FITTED[1:]),
    "expressions": ("smooth/{shard}.parquet|fit/{shard}.parquet",),
    "aus": (_PROBE, "expressions/{shard}.parquet"),
    "embed": (_PROBE, *_FITTED),
    "dataset": (_PROBE, *_FITTED, "faces/{shard}.h5", "aus/{shard}.parquet"),
    "people": (_PROBE, _FITTED[0], "embeddings/{shard}.parquet"),
    "manifest": ("counts/{shard}.parquet",),
    "merge_dataset": ("dataset/{shard}.h5",),
    "report_pages": (
        *(_PROBE, *_FITTED, "faces/{shard}.h5", "smooth/{shard}.parquet", "aus/{shard}.parquet"),
        *("dataset/{shard}.h5", "counts/{shard}.parquet", "overlay/{shard}/"),
    ),
    "report": ("dataset/manifest.parquet", _PROBE, "report/samples/", "dataset/people.parquet"),
}
"""Stage -> files of the results that its rule reads: all of a folder behind `/`, and of several
with `|` between them the first that is there."""
