"""The whole of a crate, root first."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from facemake.crate.actions import DONE, Parts, add_actions, add_folders, add_recordings, add_tool
from facemake.crate.finished import Done, FinishedRun
from facemake.crate.graph import Entity, Graph, iso_time
from facemake.crate.workflow import (
    CONFIG,
    KINDS_OF_WORKFLOW,
    SNAKEMAKE,
    WORKFLOW,
    About,
    add_config,
    add_ports,
    add_readme,
    add_workflow_files,
)
from facemake.exports import CRATE, ORCHESTRATION, RECORDINGS

_PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": "Process Run Crate",
    "https://w3id.org/ro/wfrun/workflow/0.5": "Workflow Run Crate",
    "https://w3id.org/ro/wfrun/provenance/0.5": "Provenance Run Crate",
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": "Workflow RO-Crate",
}


CONTEXT = (
    "https://w3id.org/ro/crate/1.1/context",
    "https://w3id.org/ro/terms/workflow-run/context",
)


def describe(
    graph: Graph,
    run: FinishedRun,
    done: Sequence[Done],
    about: About,
    contents: set[str],
    folder: Path,
) -> None:
    """Everything, root first; the files that the crate has are put into `folder`."""
    costs = [job.cost for one in done for job in one.jobs if job.cost]
    end = max((cost.end for cost in costs), default=None)
    if end is None:  # all of it from the cache
        end = max(path.stat().st_mtime for path in (run.results / "probe").glob("*.parquet"))
    graph.add("./", "Dataset")
    agent = _author(graph, about)
    inside = add_workflow_files(graph, folder)
    inside += [add_config(graph, run.config, folder), add_readme(graph, about, folder)]
    parts = Parts()
    add_recordings(graph, run, parts)
    add_folders(graph, run, done, contents, folder, parts)
    folders, recordings = parts.folders, parts.all_recordings
    inside += [folders[name] for name in folders if name in contents]

    actions, controls, steps, tools = [], [], [], []
    for number, one in enumerate(done, start=1):
        tool = add_tool(graph, one)
        jobs = add_actions(graph, one, run, tool, parts, agent)
        step = graph.add(
            f"{WORKFLOW}#step-{one.stage}",
            "HowToStep",
            name=one.stage,
            position=str(number),
            workExample=tool,
        )
        controls.append(
            graph.add(
                f"#control-{one.stage}",
                "ControlAction",
                name=f"has {one.stage} done",
                instrument=step,
                object=jobs,
                actionStatus=DONE,
            )
        )
        actions += jobs
        steps.append(step)
        tools.append(tool)
    add_ports(graph, recordings, [(n, folders[n]) for n in folders if n in contents])
    workflow = graph.add(WORKFLOW, KINDS_OF_WORKFLOW, hasPart=tools, step=steps)
    whole = graph.add(
        "#run",
        "CreateAction",
        name="the run",
        description=f"{len(run.shards)} shards of recordings through {len(done)} stages; times are "
        "those of the jobs that are in it, of one that was taken from the cache there is none",
        instrument=workflow,
        object=[recordings, {"@id": CONFIG}],
        result=list(folders.values()),
        startTime=iso_time(min(cost.start for cost in costs)) if costs else None,
        endTime=iso_time(end),
        actionStatus=DONE,
        agent=agent,
    )
    engine = graph.add(
        SNAKEMAKE,
        "SoftwareApplication",
        name="Snakemake",
        url=SNAKEMAKE,
        softwareVersion=_installed("snakemake"),
    )
    organize = graph.add(
        ORCHESTRATION,
        "OrganizeAction",
        name="Snakemake runs the workflow",
        instrument=engine,
        object=controls,
        result=whole,
        actionStatus=DONE,
        agent=agent,
    )
    several = [one for one in parts.recordings.values() if one["@id"].startswith(RECORDINGS)]
    collections = [*several, *(one for one in folders.values() if one["@id"].startswith("#"))]
    graph.add(
        "./",
        "Dataset",
        name=about.name,
        description="A run of facemake: what was measured in recordings of faces, by which "
        "settings, models and code. The recordings are named by their SHA-256 and are not in it.",
        datePublished=iso_time(end),
        license=_licence(graph, about.licence),
        author=agent,
        conformsTo=[
            graph.add(uri, "CreativeWork", name=name, version=uri.rpartition("/")[2])
            for uri, name in _PROFILES.items()
        ],
        hasPart=inside,
        mainEntity=workflow,
        mentions=[whole, *actions, organize, *controls, recordings, *collections],
    )
    graph.add(
        CRATE,
        "CreativeWork",
        about={"@id": "./"},
        conformsTo=[
            {"@id": "https://w3id.org/ro/crate/1.1"},
            {"@id": "https://w3id.org/workflowhub/workflow-ro-crate/1.0"},
        ],
    )


def _author(graph: Graph, about: About) -> Entity | None:
    if not about.author:
        return None
    identifier = f"https://orcid.org/{about.orcid}" if about.orcid else "#author"
    return graph.add(identifier, "Person", name=about.author)


def _licence(graph: Graph, text: str) -> Entity:
    """Of the data: what the user says, or that nothing is said."""
    if re.match(r"https?://", text):
        return graph.add(text, "CreativeWork", name=text)
    return graph.add(
        "#licence",
        "CreativeWork",
        name=text or "no licence is given",
        description="of the data" if text else "ask who gave you these data what you may do",
    )


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
