"""The model registry: config/models.yaml, and where each file is on this machine.

A model is looked for in `models_dir`, in the folders of `FACEMAKE_MODELS` (written as PATH is), in
the folder of fetched models, and in the installed package that carries it; its address is used by
`facemake models fetch` alone. A file counts by its SHA-256, whatever its name and folder. Where a
file was found is no part of a recipe: its SHA-256 is.

A file whose SHA-256 nobody registered, one of the user's own, counts by its name; what it is when
first seen is pinned beside it (`facemake.pins`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import yaml

from facemake.errors import ModelError
from facemake.pins import verify_pin
from facemake.provenance import LIBRARY, Recipe, file_sha256

REGISTRY = LIBRARY.parent.parent / "config" / "models.yaml"


@dataclass(frozen=True)
class Model:
    """A row of the registry.

    Attributes:
        name: its name in the config and in the metadata of tables.
        task: what it does, in words.
        sha256, bytes: of its file; None of one that no registry knows and that is not here.
        licence: SPDX identifier where there is one.
        citation: what to cite.
        package, file: the installed package that carries it, and the file in it; without a package,
            the name under which a file of unregistered SHA-256 is looked for.
        url: where it can be fetched.
        made: how the user makes the file, in words; it is never fetched.
        gated: where and how each user gets it who may have it, in words; it is never fetched.
    """

    name: str
    task: str
    sha256: str | None
    bytes: int | None
    licence: str
    citation: str
    package: str | None = None
    file: str | None = None
    url: str | None = None
    gated: str | None = None
    made: str | None = None

    @property
    def provenance(self) -> dict[str, str]:
        """What a recipe says of the model.

        Raises:
            ModelError: no registry knows its SHA-256, and its file is not here.
        """
        if self.sha256 is None:
            raise _missing(self)
        return {"name": self.name, "sha256": self.sha256, "licence": self.licence}


@cache
def registry(path: Path = REGISTRY) -> dict[str, Model]:
    """All registered models by name."""
    rows = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {name: Model(name=name, **row) for name, row in rows.items()}


def model(name: str) -> Model:
    """The registry's row; of a file of the user's, by its name in a folder of models, one for it.

    Raises:
        ModelError: there is none of that name, or a file has another SHA-256 than the pinned one.
    """
    row = registry().get(name)
    if row is None:
        own = Model(name, "the user's own", None, None, "the user's own file", "", file=name)
        if _by_name(own) is None:
            folders = os.environ.get("FACEMAKE_MODELS", "").replace(os.pathsep, ", ")
            raise ModelError(
                f"no model is called {name}; there are {', '.join(sorted(registry()))}, and a file "
                f"of yours by its name in models_dir or a folder of FACEMAKE_MODELS (looked in: "
                f"{folders or 'none'})"
            )
        row = own
    path = _by_name(row) if row.sha256 is None else None
    return row if path is None else replace(row, sha256=verify_pin(path), bytes=path.stat().st_size)


def planned(recipe: Recipe) -> Model:
    """The first model of a recipe, which is the backend's, as it is on this machine.

    Raises:
        ModelError: it is missing, or another one than when the run was planned.
    """
    wanted = recipe.models[0]
    if (found := model(wanted["name"])).sha256 != wanted["sha256"]:
        raise ModelError(
            f"the model {found.name} has the SHA-256 {found.sha256}, and had {wanted['sha256']} "
            "when the run was planned: start it again"
        )
    return found


def is_onnx(name: str | Path | None) -> bool:
    """Whether a model file is an ONNX network, by its name."""
    return name is not None and Path(name).suffix.lower() == ".onnx"


def fetched_folder() -> Path:
    """Where `facemake models fetch` puts files."""
    return Path.home() / ".cache" / "facemake" / "models"


def fetched_file(row: Model) -> Path:
    """The file of a fetched model; another version of it is another file."""
    return fetched_folder() / f"{row.name}-{(row.sha256 or '')[:16]}"


def model_path(name: str, sha256: Callable[[Path], str] = file_sha256) -> Path:
    """The model's verified file on this machine.

    Args:
        name: its name in the registry, or that of a file of the user's.
        sha256: hashes a file, or remembers what it was.

    Raises:
        ModelError: it is nowhere, or what its package carries has another SHA-256.
    """
    row = model(name)
    if row.package is None and (path := _by_name(row)) is not None and row.sha256 is not None:
        return path  # its pin was verified
    for path in _same_size(row):
        try:
            if sha256(path) == row.sha256:
                return path
        except OSError:  # another copy may do, and `_missing` says so
            continue
    if _packaged(row):
        return packaged_model(name, sha256)
    raise _missing(row)


def _missing(row: Model) -> ModelError:
    if row.sha256 is None:
        cure = f"put it as {row.file} into models_dir or a folder of FACEMAKE_MODELS"
        if row.made:
            cure = f"{row.made}. Then {cure}"
        elif row.gated:
            cure = f"it is for those alone who have its licence: {row.gated}. Then {cure}"
        elif row.url:
            cure = (
                f"get it from {row.url} (nobody registered its SHA-256 yet, so look twice), {cure}"
            )
        return ModelError(f"the model {row.name} is not on this machine: {cure}")
    cure = (
        f"put a file of {row.bytes} bytes with SHA-256 {row.sha256} into models_dir or a folder of "
        "FACEMAKE_MODELS"
    )
    if row.package:
        cure += f", or install the package {row.package}"
    elif row.gated:
        cure = (
            f"it is for those alone who have its licence ({row.licence}): {row.gated}. Then {cure}"
        )
    elif row.url:
        cure = f"`facemake models fetch {row.name}` where there is a network, or {cure}"
    others = "".join(f"; {path} {_why_not(path)}" for path in _of_its_name(row))
    return ModelError(f"the model {row.name} is not on this machine{others}: {cure}")


def _why_not(path: Path) -> str:
    try:
        return f"is not it, with {path.stat().st_size} bytes and SHA-256 {file_sha256(path)}"
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def use_models_dir(models_dir: str | Path | None) -> None:
    """Look through `models_dir` before all else, in this process and those that it starts.

    Puts it in front of `FACEMAKE_MODELS`, once, so that stages need no parameter for it.

    Args:
        models_dir: as the config has it, relative to the working directory; None changes nothing.

    Raises:
        ModelError: it is no folder.
    """
    if models_dir is None:
        return
    folder = Path(models_dir).expanduser().absolute()
    if not folder.is_dir():
        raise ModelError(f"models_dir is {models_dir}, and there is no such folder")
    if os.pathsep in str(folder):
        raise ModelError(
            f"models_dir is {models_dir}: FACEMAKE_MODELS separates folders by {os.pathsep}, so "
            "none can have it in its path; rename the folder or link to it"
        )
    others = [p for p in os.environ.get("FACEMAKE_MODELS", "").split(os.pathsep) if p]
    os.environ["FACEMAKE_MODELS"] = os.pathsep.join(
        [str(folder), *(p for p in others if p != str(folder))]
    )


@contextmanager
def models_dir_first(models_dir: str | Path | None) -> Iterator[None]:
    """While `use_models_dir` holds, in the process of somebody else's program."""
    before = os.environ.get("FACEMAKE_MODELS")
    try:
        use_models_dir(models_dir)
        yield
    finally:
        if before is None:
            os.environ.pop("FACEMAKE_MODELS", None)
        else:
            os.environ["FACEMAKE_MODELS"] = before


def packaged_model(name: str, sha256: Callable[[Path], str] = file_sha256) -> Path:
    """The verified file inside the installed package, for libraries that load no other.

    Args:
        name: its name in the registry.
        sha256: hashes a file, or remembers what it was.

    Raises:
        ModelError: the package is not installed, or its file has another SHA-256.
    """
    row = model(name)
    path = _packaged(row)
    if path is None:
        raise ModelError(f"the model {name} comes with the package {row.package}: install that")
    found = sha256(path)
    if found != row.sha256:
        raise ModelError(
            f"{path} is not the model {name}: its SHA-256 is {found}, registered is "
            f"{row.sha256}; install the version of {row.package} that requirements/default.txt pins"
        )
    return path


def _by_name(row: Model) -> Path | None:
    """The file of a model that no registry knows by its bytes; a name with folders is none."""
    if row.package is not None or row.file is None or Path(row.file).name != row.file:
        return None
    named = [folder / row.file for folder in _folders()]
    return next((path for path, _ in _sized(named)), None)


def _of_its_name(row: Model) -> Iterator[Path]:
    """Files that somebody may have taken for the model: cut off, or another version of it."""
    names = {row.file, row.name, (row.url or "").rpartition("/")[2]} - {None, ""}
    fetched = fetched_file(row)
    for path, _ in _files(fetched):
        if path == fetched or names & {path.name, path.stem}:
            yield path


def _same_size(row: Model) -> Iterator[Path]:
    fetched = fetched_file(row)
    for path, size in _files(fetched):
        if path == fetched or size == row.bytes:
            yield path


def _files(*more: Path) -> Iterator[tuple[Path, int]]:
    """The files of the folders that are looked through, and `more`, with their sizes.

    What may not be looked at, or goes meanwhile, is passed over: it is in the way of no other file.
    """
    for folder in _folders():  # `rglob` of Python 3.11 fails where a folder goes
        found = (Path(at, name) for at, _, names in os.walk(folder) for name in names)
        yield from _sized(sorted(found))
    yield from _sized(more)


def _folders() -> list[Path]:
    given = os.environ.get("FACEMAKE_MODELS", "").split(os.pathsep)
    return [Path(folder) for folder in given if folder]


def _sized(paths: Iterable[Path]) -> Iterator[tuple[Path, int]]:
    for path in paths:
        with suppress(OSError):
            if path.is_file():
                yield path, path.stat().st_size


def _packaged(row: Model) -> Path | None:
    if row.package is None or row.file is None:
        return None
    spec = find_spec(row.package)  # does not import it
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / row.file
        if path.is_file():
            return path
    return None
