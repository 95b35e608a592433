"""A finished run as a Workflow Run RO-Crate: what was done to which recordings, by what, and when.

RO-Crate 1.1 with the profiles Process, Workflow and Provenance Run Crate 0.5
(https://www.researchobject.org/workflow-run-crate, Leo et al., PLoS ONE 19(9), 2024). The workflow
is a tool a stage; all jobs of a stage are one action, from the start of the first to the end of the
last, as their logs say. What a stage was given and made has its SHA-256 (`ni:` names, RFC 6920):
recordings are not in the crate, nor are files that show faces or tell who somebody is unless they
are asked for; each file of the results is an entity of its own all the same, by its path. No path
outside the crate is in it, no host and no user; names of samples are.

The same run gives the same bytes.
"""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from facemake.crate.describing import CONTEXT, describe
from facemake.crate.finished import SHARED, Done, FinishedRun, finished_stages
from facemake.crate.graph import Graph
from facemake.crate.workflow import About
from facemake.errors import FacemakeError
from facemake.exports import CRATE, is_crate
from facemake.runtime.atomic import replacing, replacing_folder, write_text


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
    done = finished_stages(run, say)
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
    run: FinishedRun, done: Sequence[Done], about: About, contents: set[str], folder: Path
) -> None:
    graph = Graph()
    describe(graph, run, done, about, contents, folder)
    document = {"@context": list(CONTEXT), "@graph": graph.entities()}
    write_text(folder / CRATE, json.dumps(document, indent=1, ensure_ascii=False) + "\n")


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
                text = archive.read(CRATE).decode()
        elif output.exists():
            text = (output / CRATE).read_text(encoding="utf-8")
        else:
            return
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        pass
    if not is_crate(text):
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
