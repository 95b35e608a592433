"""A finished run as a Workflow Run RO-Crate: what was done to which recordings, by what, and when.

RO-Crate 1.1 with the profiles Process, Workflow and Provenance Run Crate 0.5
(https://www.researchobject.org/workflow-run-crate, Leo et al., PLoS ONE 19(9), 2024). The workflow
is a tool a stage; all jobs of a stage are one action, from the start of the first to the end of the
last, as their logs say. What a stage was given and made is named by its SHA-256 (`ni:` names, RFC
6920): recordings are not in the crate, nor are files that show faces or tell who somebody is unless
they are asked for. No path outside the crate is in it, no host and no user; names of samples are.

The same run gives the same bytes.
"""

from __future__ import annotations

import base64
import json
import math
import re
import shutil
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from urllib.parse import quote

from facemake.errors import FacemakeError
from facemake.media import Kind
from facemake.models import registry
from facemake.provenance import LIBRARY, file_sha256, json_text
from facemake.runtime.atomic import replacing, replacing_folder, write_text
from facemake.shards import read_metadata
from facemake.tables import TableReader
from facemake.version import __version__

Entity = dict[str, Any]

METADATA = "ro-crate-metadata.json"
PROJECT = LIBRARY.parent.parent
"""Where the workflow's own files are."""

_PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": "Process Run Crate",
    "https://w3id.org/ro/wfrun/workflow/0.5": "Workflow Run Crate",
    "https://w3id.org/ro/wfrun/provenance/0.5": "Provenance Run Crate",
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": "Workflow RO-Crate",
}
_CONTEXT = (
    "https://w3id.org/ro/crate/1.1/context",
    "https://w3id.org/ro/terms/workflow-run/context",
)
_HOME = "https://www.researchobject.org/workflow-run-crate"
_DONE = "http://schema.org/CompletedActionStatus"
_MIT = "https://spdx.org/licenses/MIT"
_SNAKEMAKE = "https://snakemake.github.io"
_WORKFLOW = "workflow/Snakefile"
_ORCHESTRATION = "#facemake-orchestration"
_RECORDINGS = "#recordings"


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


@dataclass(frozen=True)
class About:
    """What the user says of the crate.

    Attributes:
        name: of the study.
        author: a name; "" for none.
        orcid: of the author; "" for none.
        licence: of the data: an address or words; "" where none is given.
    """

    name: str = "Facial behaviour, measured by facemake"
    author: str = ""
    orcid: str = ""
    licence: str = ""


@dataclass
class _Done:
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


def export_crate(
    run: FinishedRun,
    output: Path,
    about: About,
    contents: Iterable[str] = SHARED,
    say: Callable[[str], None] = lambda line: None,
) -> Path:
    """Write a crate, as a whole or not at all.

    Args:
        run: what it is of.
        output: a folder, or a file NAME.zip; one that is there must be a crate of facemake.
        about: what the user says of it.
        contents: folders of the results (of `FOLDERS`) whose files it has.
        say: is told how far it is.

    Returns:
        `output`.

    Raises:
        FacemakeError: the run is not finished, or something else is there.
    """
    _check_ours(output)
    done = _finished(run, say)
    say("writing the crate")
    if output.suffix == ".zip":
        scratch = output.with_name(f".{output.name}.files")
        try:
            with replacing_folder(scratch) as folder, replacing(output) as beside:
                _write(run, done, about, set(contents), folder)
                _zip(folder, beside)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    else:
        with replacing_folder(output) as folder:
            _write(run, done, about, set(contents), folder)
    return output


def _write(
    run: FinishedRun, done: Sequence[_Done], about: About, contents: set[str], folder: Path
) -> None:
    graph = _Graph()
    _describe(graph, run, done, about, contents, folder)
    document = {"@context": list(_CONTEXT), "@graph": graph.entities()}
    write_text(folder / METADATA, json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def _check_ours(output: Path) -> None:
    """Refuse to write over what is no crate of facemake's.

    Raises:
        FacemakeError: it is none.
    """
    text = ""
    try:
        if output.is_dir() and not any(output.iterdir()):
            return
        if output.suffix == ".zip" and output.is_file():
            with zipfile.ZipFile(output) as archive:
                text = archive.read(METADATA).decode()
        elif output.exists():
            text = (output / METADATA).read_text(encoding="utf-8")
        else:
            return
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        pass
    if f'"{_ORCHESTRATION}"' not in text:
        raise FacemakeError(
            f"{output} is there and is no crate that facemake wrote: name another place"
        )


def _zip(folder: Path, target: Path) -> None:
    """The files of a folder, in order and without a date, so that the same are the same bytes."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            entry = zipfile.ZipInfo(path.relative_to(folder).as_posix())
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o100600 << 16
            with path.open("rb") as handle, archive.open(entry, "w", force_zip64=True) as member:
                shutil.copyfileobj(handle, member, 1 << 20)


def _finished(run: FinishedRun, say: Callable[[str], None]) -> list[_Done]:
    """The stages of a run with their files.

    Raises:
        FacemakeError: a table is missing, or one stage's were made in two ways.
    """
    stages = []
    earlier: dict[str, Mapping[str, Any]] = {}
    for product in PRODUCTS:
        if product.stage not in run.stages:
            continue
        one = _Done(product)
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
        _Done(
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


def _same(one: _Done, recipe: Mapping[str, Any], path: Path) -> None:
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


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


class _Graph:
    """Entities by their id, in order."""

    def __init__(self) -> None:
        self._known: dict[str, Entity] = {}

    def add(self, identifier: str, kind: str | list[str], /, **properties: Any) -> Entity:
        """Add one, or what is new of one that is there; gives the reference to it."""
        given = {
            k: v[0] if isinstance(v, list) and len(v) == 1 else v
            for k, v in properties.items()
            if v not in (None, "", [])
        }
        self._known.setdefault(identifier, {"@id": identifier, "@type": kind}).update(given)
        return {"@id": identifier}

    def entities(self) -> list[Entity]:
        return list(self._known.values())


def ni(sha256: str) -> str:
    """The name of a content by its SHA-256 (RFC 6920)."""
    text = base64.urlsafe_b64encode(bytes.fromhex(sha256)).decode().rstrip("=")
    return f"ni:///sha-256;{text}"


def _describe(
    graph: _Graph,
    run: FinishedRun,
    done: Sequence[_Done],
    about: About,
    contents: set[str],
    folder: Path,
) -> None:
    """Everything, root first; the files that the crate has are put into `folder`."""
    moments = [moment for one in done for moment in one.jobs]
    end = max((m[1] for m in moments), default=None)
    if end is None:  # all of it from the cache
        end = max(path.stat().st_mtime for path in (run.results / "probe").glob("*.parquet"))
    graph.add("./", "Dataset")
    agent = _author(graph, about)
    parts = _workflow_files(graph, folder)
    parts += [_config(graph, run.config, folder), _readme(graph, about, folder)]
    recordings = _recordings(graph, run)
    folders: dict[str, Entity] = {}
    for one in done:
        for name in dict.fromkeys(path.split("/")[0] for path in one.files):
            folders[name] = _folder(graph, name, one, run.results, name in contents, folder)
    parts += [folders[name] for name in folders if name in contents]

    actions, controls, steps, tools = [], [], [], []
    for number, one in enumerate(done, start=1):
        tool = _tool(graph, one)
        action = _action(graph, one, tool, recordings, folders, agent)
        step = graph.add(
            f"{_WORKFLOW}#step-{one.product.stage}",
            "HowToStep",
            name=one.product.stage,
            position=str(number),
            workExample=tool,
        )
        controls.append(
            graph.add(
                f"#control-{one.product.stage}",
                "ControlAction",
                name=f"has {one.product.stage} done",
                instrument=step,
                object=action,
                actionStatus=_DONE,
            )
        )
        actions.append(action)
        steps.append(step)
        tools.append(tool)
    _ports(graph, recordings, [(n, folders[n]) for n in folders if n in contents])
    workflow = graph.add(_WORKFLOW, _KINDS_OF_WORKFLOW, hasPart=tools, step=steps)
    whole = graph.add(
        "#run",
        "CreateAction",
        name="the run",
        description=f"{len(run.shards)} shards of recordings through {len(done)} stages; times are "
        "those of the jobs that are in it, of one that was taken from the cache there is none",
        instrument=workflow,
        object=[recordings, {"@id": _CONFIG}],
        result=list(folders.values()),
        startTime=_moment(min(m[0] for m in moments)) if moments else None,
        endTime=_moment(end),
        actionStatus=_DONE,
        agent=agent,
    )
    engine = graph.add(
        _SNAKEMAKE,
        "SoftwareApplication",
        name="Snakemake",
        url=_SNAKEMAKE,
        softwareVersion=_installed("snakemake"),
    )
    organize = graph.add(
        _ORCHESTRATION,
        "OrganizeAction",
        name="Snakemake runs the workflow",
        instrument=engine,
        object=controls,
        result=whole,
        actionStatus=_DONE,
        agent=agent,
    )
    collections = [one for one in folders.values() if one["@id"].startswith("#")]
    graph.add(
        "./",
        "Dataset",
        name=about.name,
        description="A run of facemake: what was measured in recordings of faces, by which "
        "settings, models and code. The recordings are named by their SHA-256 and are not in it.",
        datePublished=_moment(end),
        license=_licence(graph, about.licence),
        author=agent,
        conformsTo=[
            graph.add(uri, "CreativeWork", name=name, version=uri.rpartition("/")[2])
            for uri, name in _PROFILES.items()
        ],
        hasPart=parts,
        mainEntity=workflow,
        mentions=[whole, *actions, organize, *controls, recordings, *collections],
    )
    graph.add(
        METADATA,
        "CreativeWork",
        about={"@id": "./"},
        conformsTo=[
            {"@id": "https://w3id.org/ro/crate/1.1"},
            {"@id": "https://w3id.org/workflowhub/workflow-ro-crate/1.0"},
        ],
    )


def _author(graph: _Graph, about: About) -> Entity | None:
    if not about.author:
        return None
    identifier = f"https://orcid.org/{about.orcid}" if about.orcid else "#author"
    return graph.add(identifier, "Person", name=about.author)


def _licence(graph: _Graph, text: str) -> Entity:
    """Of the data: what the user says, or that nothing is said."""
    if re.match(r"https?://", text):
        return graph.add(text, "CreativeWork", name=text)
    return graph.add(
        "#licence",
        "CreativeWork",
        name=text or "no licence is given",
        description="of the data" if text else "ask who gave you these data what you may do",
    )


_KINDS_OF_WORKFLOW = ["File", "SoftwareSourceCode", "ComputationalWorkflow", "HowTo"]


def _workflow_files(graph: _Graph, folder: Path) -> list[Entity]:
    """The workflow's own files, copied.

    Raises:
        FacemakeError: the library is not in a clone of the workflow.
    """
    if not (PROJECT / "Snakefile").is_file():
        raise FacemakeError(
            f"{PROJECT / 'Snakefile'} is missing: a crate has the workflow's own files, so write "
            "it with a clone of facemake"
        )
    language = graph.add(
        "https://w3id.org/workflowhub/workflow-ro-crate#snakemake",
        "ComputerLanguage",
        name="Snakemake",
        alternateName="smk",
        identifier={"@id": _SNAKEMAKE},
        url={"@id": _SNAKEMAKE},
    )
    makers = graph.add("#facemake", "Organization", name="The facemake developers")
    licence = graph.add(_MIT, "CreativeWork", name="MIT License")
    parts = [
        graph.add(
            _WORKFLOW,
            _KINDS_OF_WORKFLOW,
            name="facemake",
            description="Face videos and image folders to tables of facial behaviour and a "
            "training set.",
            version=__version__,
            programmingLanguage=language,
            license=licence,
            creator=makers,
            conformsTo=_profile(graph, "ComputationalWorkflow"),
            encodingFormat="text/plain",
        )
    ]
    for path in (
        *sorted((PROJECT / "rules").glob("*.smk")),
        *sorted((PROJECT / "envs").glob("*.yaml")),
        *(PROJECT / "config" / name for name in ("config.schema.yaml", "models.yaml")),
        *(PROJECT / name for name in ("LICENSE", "CITATION.cff")),
    ):
        if not path.is_file():
            continue
        name = f"workflow/{path.relative_to(PROJECT).as_posix()}"
        parts.append(
            graph.add(name, "File", name=path.name, license=licence, encodingFormat=_format(path))
        )
        _copy(path, folder / name)
    _copy(PROJECT / "Snakefile", folder / _WORKFLOW)
    return parts


_README = "README.md"


def _readme(graph: _Graph, about: About, folder: Path) -> Entity:
    """For who opens the folder."""
    write_text(
        folder / _README,
        f"""# {about.name}

A run of facemake {__version__}, as a [Workflow Run RO-Crate]({_HOME}): `{METADATA}` says what was
done to which recordings, by which settings, models and code, and when.

- `results/`: tables, one Parquet file a shard; every column has its unit in the file.
  Recordings and results that are not here are named by their SHA-256.
- `workflow/`: the workflow's rules, environments and list of models.
- `{_CONFIG}`: the configuration without what its user named (paths, files).

These are measurements of people's faces. Whoever has the recordings knows who they are.
""",
    )
    return graph.add(
        _README,
        "File",
        name=_README,
        about={"@id": "./"},
        encodingFormat="text/markdown",
    )


_CONFIG = "config.json"


def _config(graph: _Graph, config: Mapping[str, Any], folder: Path) -> Entity:
    """The configuration as it is given."""
    write_text(folder / _CONFIG, json.dumps(config, indent=1) + "\n")
    return graph.add(
        _CONFIG,
        "File",
        name="configuration",
        description="Every key that is a number, a switch or a choice; what a user named (paths, "
        "images, files of models) is left out. The models are in the graph by their SHA-256.",
        encodingFormat="application/json",
    )


def _recordings(graph: _Graph, run: FinishedRun) -> Entity:
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


def _folder(
    graph: _Graph, name: str, one: _Done, results: Path, inside: bool, folder: Path
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
            "encodingFormat": _format(source),
        }
        if inside:
            _copy(source, folder / "results" / path)
            files.append(graph.add(_address(f"results/{path}"), "File", **about))
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


def _address(path: str) -> str:
    return quote(path, safe="/-._~+=@,")


def _tool(graph: _Graph, one: _Done) -> Entity:
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


def _action(
    graph: _Graph,
    one: _Done,
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
        startTime=_moment(min(job[0] for job in jobs)) if jobs else None,
        endTime=_moment(max(job[1] for job in jobs)) if jobs else None,
        actionStatus=_DONE,
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


def _profile(graph: _Graph, name: str) -> Entity:
    return graph.add(
        f"https://bioschemas.org/profiles/{name}/1.0-RELEASE",
        "CreativeWork",
        name=f"Bioschemas {name}",
        version="1.0-RELEASE",
    )


def _ports(graph: _Graph, recordings: Entity, results: Sequence[tuple[str, Entity]]) -> None:
    """What goes in and comes out of the workflow, as formal parameters."""
    profile = _profile(graph, "FormalParameter")

    def port(name: str, kind: str, example: Entity, words: str) -> Entity:
        made = graph.add(
            f"#parameter-{name}",
            "FormalParameter",
            name=name,
            description=words,
            additionalType=kind,
            conformsTo=profile,
            workExample=example,
        )
        graph.add(example["@id"], "", exampleOfWork=made)
        return made

    given = [
        port("recordings", "Collection", recordings, "videos, pictures, folders of pictures"),
        port("configuration", "File", {"@id": _CONFIG}, "config/config.yaml"),
    ]
    made = [port(name, "Dataset", entity, f"the folder {name}") for name, entity in results]
    graph.add(_WORKFLOW, _KINDS_OF_WORKFLOW, input=given, output=made)


_FORMATS = {
    ".parquet": "application/vnd.apache.parquet",
    ".h5": "application/x-hdf5",
    ".json": "application/json",
    ".yaml": "application/yaml",
    ".cff": "application/yaml",
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".jpg": "image/jpeg",
    ".png": "image/png",
}


def _format(path: Path) -> str:
    return _FORMATS.get(path.suffix, "text/plain")


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)  # what a link into the cache leads to


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
