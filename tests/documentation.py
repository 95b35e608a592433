"""The pages of docs/ and the README as the tests read them: their code blocks, and how each is run.

A block is run by tests/docs/test_commands.py, unless the line above it says otherwise:

    <!-- run by tests/nn/test_pages.py -->    another test runs it, which names the page
    <!-- not run: a cluster -->               it cannot run here; why is one of NOT_RUN
"""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

from conftest import ROOT

SHELL = ("sh", "bash", "console")
CODE = (*SHELL, "python", "yaml", "r")
OTHER = ("text", "html", "mermaid", "")
"""What is shown and no code."""

_BLOCK = re.compile(
    r"^(?P<indent> *)```(?P<language>[\w-]*)[^\n]*\n(?P<code>.*?)^(?P=indent)```$", re.M | re.S
)
_MARKER = re.compile(r"<!-- (run by|not run:) (.*?) -->\s*\Z")


@dataclass(frozen=True)
class Block:
    """A code block.

    Attributes:
        by: the test that runs it, a path below the project; or None.
        why: why it is not run; or None.
    """

    page: Path
    line: int
    language: str
    code: str
    by: str | None
    why: str | None

    @property
    def runs(self) -> bool:
        return self.by is None and self.why is None

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    def commands(self) -> list[tuple[str, str]]:
        """Each command line of a shell's block, and what the page shows of what it prints.

        A `console` has commands behind `$ `; a line that ends in `\\` goes on in the next.
        """
        lines = self.code.replace("\\\n", " ").splitlines()
        if self.language != "console":
            return [(line, "") for line in lines if line.split("#")[0].strip()]
        found: list[tuple[str, str]] = []
        for line in lines:
            if line.startswith("$ "):
                found.append((line[2:], ""))
            elif found:
                found[-1] = (found[-1][0], found[-1][1] + line + "\n")
            else:
                raise ValueError(f"{self}: a console begins with a command")
        return found


def pages() -> list[Path]:
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def text(page: str) -> str:
    """The source of a page of docs/, by its name without the suffix."""
    return (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")


def blocks(page: Path) -> list[Block]:
    source = page.read_text(encoding="utf-8")
    found = []
    for match in _BLOCK.finditer(source):
        before = source[: match.start()]
        marker = _MARKER.search(before)
        kind, said = marker.groups() if marker else ("", "")
        found.append(
            Block(
                page,
                before.count("\n") + 1,
                match["language"],
                textwrap.dedent(match["code"]),
                said if kind == "run by" else None,
                said if kind == "not run:" else None,
            )
        )
    return found


def block(page: str, language: str, start: str) -> str:
    """The code of the one block of a page that begins so."""
    (code,) = (
        b.code
        for b in blocks(ROOT / "docs" / f"{page}.md")
        if b.language == language and b.code.startswith(start)
    )
    return code
