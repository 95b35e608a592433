"""What made a file: the recipe of a stage, carried by every file that it writes.

A recipe is all that a stage's result depends on, besides the pictures: its settings, its models by
their SHA-256, its own code. Snakemake's cache and rerun rules see it as a parameter of the rule.
It names no path, host, time, core count or user.
"""

from __future__ import annotations

import ast
import hashlib
import io
import json
import tokenize
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from facemake.version import __version__

LIBRARY = Path(__file__).parent
PACKAGE = "facemake"

# They decide what a person sees of a run, not what it gives; the package itself has only names for
# people who write Python, each of which brings in what it needs.
_NO_RESULT = frozenset(
    (
        PACKAGE,
        *(
            f"{PACKAGE}.runtime.{name}"
            for name in (
                *("failures", "gpu", "heartbeat", "job", "locks", "memory", "parent", "progress"),
                "runs",
            )
        ),
    )
)


@dataclass(frozen=True)
class Recipe:
    """What a stage does, whatever it does it to.

    Attributes:
        stage: the stage's name.
        backend: the row of the stage's registry, None for a stage without backends.
        settings: the part of the config that the stage obeys.
        models: name, sha256 and licence of each model file.
        libraries: version of each installed library that the result can hang on.
        code: fingerprint of the library code that the stage uses.
        version: of facemake.
    """

    stage: str
    backend: str | None
    settings: Mapping[str, Any]
    models: tuple[Mapping[str, str], ...]
    code: str
    libraries: Mapping[str, str] = field(default_factory=dict)
    version: str = __version__

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Recipe:
        """The recipe that `to_dict` wrote (a rule's parameter, a file's metadata)."""
        known = {key: document[key] for key in cls.__dataclass_fields__}
        return cls(**{**known, "models": tuple(known["models"])})

    def to_dict(self) -> dict[str, Any]:
        """As plain lists and dictionaries, in a fixed order."""
        return {**asdict(self), "models": [dict(model) for model in self.models]}

    def lineage(self, upstream: Iterable[str], samples: str) -> str:
        """SHA-256 that names a file's content before it is made.

        Args:
            upstream: lineages of the input files, in any order.
            samples: digest of the shard's samples.
        """
        return digest([self.to_dict(), sorted(upstream), samples])


def digest(document: object) -> str:
    """SHA-256 of a JSON document, independent of the order of keys."""
    return text_digest(json_text(document))


def json_text(document: object) -> str:
    """The one JSON text of a document, whatever the order of its keys."""
    return json.dumps(document, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def text_digest(text: str) -> str:
    """SHA-256 of a text, as lower-case hexadecimal."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, as lower-case hexadecimal."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def code_fingerprint(*modules: str) -> str:
    """SHA-256 of the library code that `modules` reach by import, comments and docstrings apart.

    Imports are read from the source (those inside functions too), so nothing is imported. A
    backend that a registry loads by its name is not seen: name it.
    """
    pending, seen = list(modules), set[str]()
    while pending:
        name = pending.pop()
        if name in seen or name in _NO_RESULT:
            continue
        seen.add(name)
        pending.extend(_imports(name))
    return digest(sorted((name, _code_digest(name)) for name in seen))


def _source(module: str) -> Path | None:
    relative = module.split(".")[1:]
    base = LIBRARY.joinpath(*relative)
    for path in (
        base.with_suffix(".py") if relative else base / "__init__.py",
        base / "__init__.py",
    ):
        if path.is_file():
            return path
    return None


@cache
def _imports(module: str) -> tuple[str, ...]:
    path = _source(module)
    if path is None:
        raise ValueError(f"{module} is no module of the library")
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    ours = {name for name in found if name == PACKAGE or name.startswith(f"{PACKAGE}.")}
    return tuple(sorted(name for name in ours if _source(name) is not None))


@cache
def _code_digest(module: str) -> str:
    """Of the source without comments, docstrings and blank lines."""
    path = _source(module)
    assert path is not None
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    for node in ast.walk(ast.parse(text)):
        if (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        ):
            for row in range(node.lineno, (node.end_lineno or node.lineno) + 1):
                lines[row - 1] = ""
    kept = "\n".join(line.rstrip() for line in lines if line.strip())
    return hashlib.sha256(kept.encode()).hexdigest()
