"""Fingerprints of the library's code: what another line of it changes, and what it does not.

Each module is read once: what was found in it is remembered as the hashes of recordings are.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from facemake.provenance import LIBRARY, digest, file_sha256

if TYPE_CHECKING:
    from facemake.hashes import HashMemo

PACKAGE = "facemake"

_RUNTIME = f"{PACKAGE}.runtime"
_OF_RESULTS = f"{_RUNTIME}.atomic"
"""The one module of the runtime that has a part in results."""


class _Module(NamedTuple):
    """What counts of a module.

    Attributes:
        code: digest of its source without comments, docstrings and blank lines.
        names: what it imports of the library, modules and what may be names in them.
    """

    code: str
    names: list[str]


_modules: dict[str, _Module] = {}


def code_fingerprint(*modules: str, memo: HashMemo | None = None) -> str:
    """SHA-256 of the library code that `modules` reach by import, comments and docstrings apart.

    Imports are read from the source (those inside functions too), so nothing is imported. A
    backend that a registry loads by its name is not seen, nor is the registry's row
    (`facemake.recipes.code_of` has both).

    Args:
        modules: their full names.
        memo: remembers what was read.
    """
    return digest(sorted((name, _module(name, memo).code) for name in reached(*modules, memo=memo)))


def reached(*modules: str, memo: HashMemo | None = None) -> set[str]:
    """The modules of the library that `modules` reach by import, themselves too."""
    pending, seen = list(modules), set[str]()
    while pending:
        name = pending.pop()
        if name in seen or _gives_no_result(name):
            continue
        seen.add(name)
        pending.extend(imports(name, memo))
    return seen


def _gives_no_result(module: str) -> bool:
    """The runtime decides what a person sees of a run, not what it gives; the package itself has
    only names for people who write Python, each of which brings in what it needs.
    """
    of_runtime = module == _RUNTIME or module.startswith(f"{_RUNTIME}.")
    return module == PACKAGE or (of_runtime and module != _OF_RESULTS)


def imports(module: str, memo: HashMemo | None = None) -> list[str]:
    """The modules of the library that a module's source imports."""
    return [name for name in _module(module, memo).names if _source(name) is not None]


def forget() -> None:
    """Read the modules again, whose files may have changed."""
    _modules.clear()
    _source.cache_clear()


@cache
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
def _reader() -> str:
    """Names what is done here to the files, for those who remember it."""
    return f"{file_sha256(Path(__file__))} {sys.version}"


def _module(name: str, memo: HashMemo | None) -> _Module:
    if name not in _modules:
        path = _source(name)
        if path is None:
            raise ValueError(f"{name} is no module of the library")
        text = memo.found_in(path, _reader(), _looked_at) if memo else _looked_at(path)
        _modules[name] = _Module(*json.loads(text))
    return _modules[name]


def _looked_at(path: Path) -> str:
    """The `_Module` of a file, in JSON."""
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    return json.dumps(_Module(_code_digest(text, tree), sorted(set(_names(tree)))))


def _statements(node: ast.AST) -> Iterator[ast.stmt]:
    """Every statement in a node; expressions hold none, and are most of a tree."""
    for part in ("body", "handlers", "orelse", "finalbody", "cases"):
        for child in getattr(node, part, ()):
            if isinstance(child, ast.stmt):
                yield child
            yield from _statements(child)


def _names(tree: ast.AST) -> Iterator[str]:
    for node in _statements(tree):
        found: list[str] = []
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        yield from (name for name in found if name == PACKAGE or name.startswith(f"{PACKAGE}."))


_WORDS = re.compile(
    r"""
    \"{3} (?: \\. | [^\\] )*? \"{3} | '{3} (?: \\. | [^\\] )*? '{3}
    | " (?: \\. | [^\\"] )* "  | ' (?: \\. | [^\\'] )* '
    | (?P<comment> [#] [^\n]* )
    """,
    re.DOTALL | re.VERBOSE,
)
"""A string or a comment of Python 3.11, in which no string holds its own quotation mark."""


def _without_comment(word: re.Match[str]) -> str:
    return "" if word["comment"] else word[0]


_REGISTRY = re.compile(r"dict\[str, \w*Backend\]")
"""The annotation of a registry of backends."""


def _code_digest(text: str, tree: ast.Module) -> str:
    """Of the source without comments, docstrings, blank lines and registries of backends.

    A result hangs on one row of a registry, which its recipe has (`facemake.recipes`), so a new row
    changes nothing that is there.
    """
    lines = _WORDS.sub(_without_comment, text).splitlines()
    docstrings = (
        node
        for node in _statements(tree)
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
    registries = (
        node
        for node in tree.body
        if isinstance(node, ast.AnnAssign) and _REGISTRY.fullmatch(ast.unparse(node.annotation))
    )
    for node in (*docstrings, *registries):
        for row in range(node.lineno, (node.end_lineno or node.lineno) + 1):
            lines[row - 1] = ""
    kept = "\n".join(line.rstrip() for line in lines if line.strip())
    return hashlib.sha256(kept.encode()).hexdigest()
