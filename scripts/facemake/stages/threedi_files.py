"""The raw files of 3DI, out of the shard's archives into a folder a sample."""

from __future__ import annotations

import json
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from facemake.archives import Archive
from facemake.backends.threedi import Engine, rawfiles, sidecar
from facemake.provenance import file_sha256
from facemake.runtime.atomic import replacing, write_text
from facemake.samples import read_shard
from facemake.status import FAILED

# Whose step obeys a setting, the first that there is: the word beside another file has its default.
_SAID_BY = {
    "camera": ("pose", "pose_smooth"),
    "landmark": ("landmarks",),
    "fast": ("landmarks",),
    "local_bases": ("expression_localized",),
}


def threedi_files(plan: Path, steps: Sequence[Path], results: Path, output: Path) -> None:
    """Put each sample's raw files and their sidecars into `3di/{sample}/`.

    A file that is there with the same content is left alone. The word of a failure that was made
    good goes; raw files of an earlier run that this one does not have (after a failure, or of the
    other engine) are set aside to `.orphans`, so that a folder is one run's. Sidecars have the
    settings of the whole run, as bitbox writes them: a step knows those alone that it obeys.

    Args:
        plan: the shard's plan file.
        steps: archives of the steps (`facemake.stages.threedi_step`).
        results: the folder `3di`.
        output: a list of the files with their SHA-256, by sample (`facemake.exports`).
    """
    listed: dict[str, dict[str, str]] = {}
    with ExitStack() as stack:
        archives = [stack.enter_context(Archive(path)) for path in steps]
        engine = Engine(archives[0].metadata["recipe"]["backend"])
        for row in read_shard(plan):
            sample = row.sample
            # of another folder's run perhaps, from the cache
            here = {"input": str(row.path), "output": str((results / sample).absolute())}
            found = dict(_files(sample, archives, engine))
            settings = _settings(sample, found, engine)
            mine = listed[sample] = {}
            for name, archive in found.items():
                target = results / sample / name
                if name.endswith(".json"):
                    word = {**json.loads(archive.read(name)), **settings, **here}
                    write_text(target, json.dumps(word, indent=4))
                elif not target.is_file() or file_sha256(target) != archive.sha256(name):
                    with replacing(target) as beside:
                        archive.copy(name, beside)
                mine[f"{sample}/{name}"] = file_sha256(target)
            _clear(results, sample, found)
    write_text(output, json.dumps({"files": listed}, indent=1, sort_keys=True) + "\n")


def _clear(results: Path, sample: str, found: Container[str]) -> None:
    """Take what an earlier run has left out of a sample's folder."""
    folder = results / sample
    for stale in folder.glob(f"*_{FAILED}*.txt"):
        if stale.name not in found:
            stale.unlink()
    aside = results.parent / ".orphans" / results.name / sample
    for engine in Engine:
        for name in _names(sample, engine):
            if name not in found and (folder / name).is_file():
                aside.mkdir(parents=True, exist_ok=True)
                (folder / name).replace(aside / name)


def _names(sample: str, engine: Engine) -> set[str]:
    """Names of all raw files that an engine may write of a sample, and of their sidecars."""
    names = {rawfiles.file_name(sample, kind, engine) for kind in rawfiles.KINDS}
    return names | {sidecar.sidecar_of(Path(name)).name for name in names}


def _files(
    sample: str, archives: Sequence[Archive], engine: Engine
) -> Iterator[tuple[str, Archive]]:
    """The files of a sample, each with the archive that has it.

    By what a name says after the sample's: `a_pose_smooth.3DI` is of `a`, also where there is a
    sample `a_pose`.
    """
    kinds = _names(sample, engine)
    for archive in archives:
        step = archive.metadata["recipe"]["stage"].removeprefix("threedi_")
        for name in sorted(kinds | {f"{sample}_{FAILED}{step}.txt"}):
            if name in archive:
                yield name, archive


def _settings(sample: str, found: Mapping[str, Archive], engine: Engine) -> dict[str, Any]:
    """What the words beside a sample's files say in common."""
    known: dict[str, Any] = {}
    for key, kinds in _SAID_BY.items():
        names = [f"{rawfiles.file_name(sample, kind, engine)}.json" for kind in kinds]
        said = next((name for name in names if name in found), None)
        if said is not None:
            word = json.loads(found[said].read(said))
            keys = (key, sidecar.CAMERA_FILE) if key == "camera" else (key,)
            known |= {k: word[k] for k in keys if k in word}
    return known
