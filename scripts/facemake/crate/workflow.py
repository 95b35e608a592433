"""The workflow in a crate: its own files, its configuration, what goes in and comes out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facemake.crate.graph import Entity, Graph, copy_file, media_type
from facemake.errors import FacemakeError
from facemake.exports import CRATE
from facemake.provenance import LIBRARY
from facemake.runtime.atomic import write_text
from facemake.version import __version__

PROJECT = LIBRARY.parent.parent
"""Where the workflow's own files are."""
_HOME = "https://www.researchobject.org/workflow-run-crate"
_MIT = "https://spdx.org/licenses/MIT"
SNAKEMAKE = "https://snakemake.github.io"
WORKFLOW = "workflow/Snakefile"
KINDS_OF_WORKFLOW = ["File", "SoftwareSourceCode", "ComputationalWorkflow", "HowTo"]
CONFIG = "config.json"
_README = "README.md"


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


def add_workflow_files(graph: Graph, folder: Path) -> list[Entity]:
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
        identifier={"@id": SNAKEMAKE},
        url={"@id": SNAKEMAKE},
    )
    makers = graph.add("#facemake", "Organization", name="The facemake developers")
    licence = graph.add(_MIT, "CreativeWork", name="MIT License")
    parts = [
        graph.add(
            WORKFLOW,
            KINDS_OF_WORKFLOW,
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
            graph.add(
                name, "File", name=path.name, license=licence, encodingFormat=media_type(path)
            )
        )
        copy_file(path, folder / name)
    copy_file(PROJECT / "Snakefile", folder / WORKFLOW)
    return parts


def add_readme(graph: Graph, about: About, folder: Path) -> Entity:
    """For who opens the folder."""
    write_text(
        folder / _README,
        f"""# {about.name}

A run of facemake {__version__}, as a [Workflow Run RO-Crate]({_HOME}): `{CRATE}` says what was
done to which recordings, by which settings, models and code, and when.

- `results/`: tables, one Parquet file a shard; every column has its unit in the file.
  Recordings and results that are not here are named by their SHA-256.
- `workflow/`: the workflow's rules, environments and list of models.
- `{CONFIG}`: the configuration without what its user named (paths, files).

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


def add_config(graph: Graph, config: Mapping[str, Any], folder: Path) -> Entity:
    """The configuration as it is given."""
    write_text(folder / CONFIG, json.dumps(config, indent=1) + "\n")
    return graph.add(
        CONFIG,
        "File",
        name="configuration",
        description="Every key that is a number, a switch or a choice; what a user named (paths, "
        "images, files of models) is left out. The models are in the graph by their SHA-256.",
        encodingFormat="application/json",
    )


def _profile(graph: Graph, name: str) -> Entity:
    return graph.add(
        f"https://bioschemas.org/profiles/{name}/1.0-RELEASE",
        "CreativeWork",
        name=f"Bioschemas {name}",
        version="1.0-RELEASE",
    )


def add_ports(graph: Graph, recordings: Entity, results: Sequence[tuple[str, Entity]]) -> None:
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
        port("configuration", "File", {"@id": CONFIG}, "config/config.yaml"),
    ]
    made = [port(name, "Dataset", entity, f"the folder {name}") for name, entity in results]
    graph.add(WORKFLOW, KINDS_OF_WORKFLOW, input=given, output=made)
