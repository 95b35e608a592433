"""The command `facemake`: a thin front, one module a command."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import io
import itertools
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from facemake.errors import FacemakeError
from facemake.runtime import interrupts
from facemake.version import __version__

_COMMANDS = (
    *("init", "doctor", "run", "status", "profile", "fetch", "models", "provenance"),
    *("compare", "compare_detectors", "mesh", "overlay", "qc", "compare_faces", "dataset"),
    *("evaluate", "export", "extract", "identities", "cache", "materialize", "serve"),
    "completion",
)
"""Modules here, in the order in which help lists them; imported when the line is read, so that
whoever interrupts that is not shown where it was.
"""


class _Parser(argparse.ArgumentParser):
    """Takes the names of a list also behind an option that stands amid them.

    An option with a list of choices ends before the first word that is none of them.

    Sub-parsers are of the same class, so that each command does.
    """

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """As argparse has it."""
        words = list(sys.argv[1:] if args is None else args)
        found, rest = super().parse_known_args(self._ending_lists(words), namespace)
        lists = [one for one in self._actions if not one.option_strings and one.nargs in ("*", "+")]
        if lists and rest and not any(word.startswith("-") for word in rest):
            known = getattr(found, lists[-1].dest)
            setattr(found, lists[-1].dest, [*known, *self._get_values(lists[-1], rest)])
            rest = []
        return found, rest

    def _ending_lists(self, words: list[str]) -> list[str]:
        """What stands behind the choices of an option, before all such options."""
        lists = {
            name: [*one.choices]
            for one in self._actions
            if one.nargs == "+" and one.choices
            for name in one.option_strings
        }
        first, at, moved, kept = None, 0, [], list[str]()
        while lists and at < len(words) and words[at] != "--":
            word = words[at]
            named = [n for n in lists if n == word or (word[:2] == "--" and n.startswith(word))]
            kept.append(word)
            at += 1
            if named:
                first = len(kept) - 1 if first is None else first
                behind = [*itertools.takewhile(lambda one: one[:1] != "-", words[at:])]
                taken = [*itertools.takewhile(lists[named[0]].__contains__, behind)]
                if taken:  # else the first is misspelt
                    kept += taken
                    moved += behind[len(taken) :]
                    at += len(behind)
        return [*kept[:first], *moved, *kept[first:], *words[at:]] if moved else words

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """A name that is none of those that there are is told the nearest of them."""
        try:
            super()._check_value(action, value)
        except argparse.ArgumentError as error:
            near = difflib.get_close_matches(str(value), map(str, action.choices or ()), 1)
            if near:
                error.message = f"there is no {value!r}; did you mean {near[0]}?"
            raise


def parser() -> argparse.ArgumentParser:
    """The parser of the command line, every command in it."""
    made = _Parser(
        prog="facemake",
        description="From videos and pictures of faces to tables of facial behaviour and a "
        "training set. `facemake COMMAND --help` explains a command.",
        epilog="example: facemake init ~/videos -d my_study; facemake run -d my_study",
    )
    made.add_argument("--version", action="version", version=__version__)
    commands = made.add_subparsers(required=True, metavar="COMMAND")
    for command in _COMMANDS:
        import_module(f"{__name__}.{command}").add_to(commands)
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns:
        The exit code: 1 where what it did or compared went wrong, 2 where it could not do it, by
        a mistake of the user's or of the machine, which is shown as its message alone; 130 where it
        was interrupted.
    """
    _print_any_name()
    try:
        line = parser()
        with interrupts.listening():
            return _main(line, arguments)
    except KeyboardInterrupt:
        pass
    except Exception:
        if not interrupts.came():
            raise
    print("facemake: interrupted", file=sys.stderr)
    return interrupts.INTERRUPTED


def _main(line: argparse.ArgumentParser, arguments: Sequence[str] | None) -> int:
    try:
        if not (sys.argv[1:] if arguments is None else arguments):
            line.print_help(sys.stderr)
            return 2
        options, rest = line.parse_known_args(arguments)
        if rest and not getattr(options, "passes_on", False):
            line.error(f"no such argument: {' '.join(rest)}")
        code = int(options.function(options, rest))
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        _close_standard_output()
        return 0
    except (FacemakeError, OSError, MemoryError) as error:  # also a folder that may not be read
        if interrupts.came():
            raise
        print(f"facemake: {_in_words(error)}", file=sys.stderr)
        return 2


def _in_words(error: FacemakeError | OSError | MemoryError) -> str:
    if isinstance(error, FacemakeError):
        return str(error)
    if isinstance(error, MemoryError):
        return "out of memory"
    if error.filename is None or error.strerror is None:
        return error.strerror or str(error) or type(error).__name__
    return f"{os.fsdecode(error.filename)}: {error.strerror}"


def _print_any_name() -> None:
    """Names of files may be none that standard output can encode: they are printed escaped."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _close_standard_output() -> None:
    """Nobody reads any more: what is left to write goes nowhere, also at the interpreter's end."""
    with contextlib.suppress(OSError, ValueError):
        sink = os.open(os.devnull, os.O_WRONLY)
        os.dup2(sink, sys.stdout.fileno())
        os.close(sink)
