"""What was done in a run, stage by stage, to which recordings, and what came of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from facemake.crate.finished import Done, FinishedRun
from facemake.crate.graph import Entity, Graph, address, copy_file, iso_time, media_type, ni
from facemake.media import Kind
from facemake.models import registry
from facemake.provenance import json_text
from facemake.tables import TableReader
from facemake.version import __version__

DONE = "http://schema.org/CompletedActionStatus"
_RECORDINGS = "#recordings"


def add_recordings(graph: Graph, run: FinishedRun) -> Entity:
    """The collection of all samples, each by the SHA-256 of what it was made of."""
    samples: dict[str, Entity] = {}
    names: dict[str, list[str]] = {}
    for shard in run.shards:
        with TableReader(run.results / "probe" / f"{shard}.parquet") as reader:
            for sample in reader.samples:
                (row,) = reader.read(sample).to_pylist()
                sha256 = row["sha256"]
                if sha256 is None:
                    identifier = f"#recording-{len(samples)}"
                elif row["kind"] in (Kind.VIDEO, Kind.IMAGE):
                    identifier = ni(sha256)
                else:
                    identifier = f"#pictures-{sha256}"
                names.setdefault(identifier, []).append(sample)
                samples[identifier] = graph.add(
                    identifier,
                    "CreativeWork",
                    name=", ".join(names[identifier]),
                    description=f"{row['kind'] or 'recording'}; {row['status']}"
                    + (f": {row['reason']}" if row["reason"] else ""),
                    sha256=sha256,
                )
    return graph.add(_RECORDINGS, "Collection", name="recordings", hasPart=list(samples.values()))


def add_folder(
    graph: Graph, name: str, one: Done, results: Path, inside: bool, folder: Path
) -> Entity:
    """A folder of the results: a data set of the crate, or a collection of what is elsewhere."""
    files = []
    for path, sha256 in one.files.items():
        if path.split("/")[0] != name:
            continue
        source = results / path
        about = {
            "name": path,
            "sha256": sha256,
            "contentSize": str(source.stat().st_size),
            "encodingFormat": media_type(source),
        }
        if inside:
            copy_file(source, folder / "results" / path)
            files.append(graph.add(address(f"results/{path}"), "File", **about))
        else:
            files.append(
                graph.add(ni(sha256), "CreativeWork", description="not in the crate", **about)
            )
    if inside:
        return graph.add(
            f"results/{name}/",
            "Dataset",
            name=name,
            description=one.product.does,
            hasPart=files,
        )
    return graph.add(
        f"#results-{name}",
        "Collection",
        name=name,
        description=f"{one.product.does}; not in the crate",
        hasPart=files,
    )


def add_tool(graph: Graph, one: Done) -> Entity:
    """What works in a stage: this code with these libraries."""
    recipe = one.recipe or {}
    backend = f" ({recipe['backend']})" if recipe.get("backend") else ""
    return graph.add(
        f"#tool-{one.product.stage}",
        "SoftwareApplication",
        name=f"facemake {one.product.stage}{backend}",
        description=one.product.does,
        softwareVersion=recipe.get("version", __version__),
        identifier=f"code {recipe['code']}" if recipe else None,
        softwareRequirements=[f"{k} {v}" for k, v in recipe.get("libraries", {}).items()],
    )


def add_action(
    graph: Graph,
    one: Done,
    tool: Entity,
    recordings: Entity,
    folders: Mapping[str, Entity],
    agent: Entity | None,
) -> Entity:
    """All jobs of a stage."""
    stage, recipe = one.product.stage, one.recipe or {}
    given: list[Entity] = []
    if stage in _SEES:
        given.append(recordings)
    given += [folders[name] for name in _GIVEN.get(stage, ()) if name in folders]
    if recipe.get("settings"):
        given.append(
            graph.add(
                f"#settings-{stage}",
                "PropertyValue",
                name=f"settings of {stage}",
                value=json_text(recipe["settings"]),
            )
        )
    rows = registry()
    for model in recipe.get("models", ()):
        known = rows.get(model["name"])
        given.append(
            graph.add(
                ni(model["sha256"]) if _SHA256.fullmatch(model["sha256"]) else f"#{model['name']}",
                "CreativeWork",
                name=model["name"],
                description="model",
                license=model.get("licence"),
                citation=known.citation if known else model.get("citation"),
                sha256=model["sha256"],
            )
        )
    jobs = one.jobs
    text = (
        f"{len(jobs)} jobs are known by their logs" if jobs else "taken from the cache, or undated"
    )
    if jobs:
        cpu, memory = sum(job[2] for job in jobs), max(job[3] for job in jobs)
        text += f": {cpu:.1f} s of CPU in all, one had at most {memory:.0f} MB"
    return graph.add(
        f"#action-{stage}",
        "CreateAction",
        name=f"{stage}: {one.product.does}",
        description=text,
        instrument=tool,
        object=given,
        result=[folders[name] for name in dict.fromkeys(p.split("/")[0] for p in one.files)],
        startTime=iso_time(min(job[0] for job in jobs)) if jobs else None,
        endTime=iso_time(max(job[1] for job in jobs)) if jobs else None,
        actionStatus=DONE,
        agent=agent,
    )


_SHA256 = re.compile(r"[0-9a-f]{64}")


_SEES = ("probe", "detect", "landmarks", "embed", "threedi_video")
"""Stages that decode recordings."""
_FITTED = ("detections", "landmarks", "fit")
_GIVEN: Mapping[str, tuple[str, ...]] = {
    "detect": ("probe",),
    "identify": ("probe",),
    "landmarks": ("probe", "detections"),
    "fit": ("probe", "landmarks"),
    "smooth": ("probe", "landmarks", "fit"),
    "expressions": ("smooth", "fit"),
    "aus": ("probe", "expressions"),
    "embed": ("probe", *_FITTED),
    "dataset": ("probe", *_FITTED, "faces", "aus"),
    "people": ("embeddings",),
    "manifest": ("counts",),
    "merge_dataset": ("dataset",),
    "report": ("probe", *_FITTED, "smooth", "aus", "faces", "counts", "dataset"),
}
"""Stage -> folders of the results that its rule reads."""
