"""The command `facemake`: a thin front, one module a command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from facemake.cli import (
    cache,
    compare,
    compare_detectors,
    compare_faces,
    dataset,
    evaluate,
    export,
    extract,
    fetch,
    identities,
    materialize,
    mesh,
    models,
    overlay,
    profile,
    provenance,
    run,
    serve,
    status,
)
from facemake.errors import FacemakeError
from facemake.version import __version__

_COMMANDS = (
    *(run, status, profile, fetch, models, provenance, compare, compare_detectors, mesh),
    overlay,
    *(compare_faces, dataset, evaluate, export, extract, identities, cache, materialize, serve),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns:
        The exit code; 2 for a user's mistake, which is shown as its message alone.
    """
    parser = argparse.ArgumentParser(prog="facemake", description=__doc__)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in _COMMANDS:
        command.add_to(commands)
    options, rest = parser.parse_known_args(arguments)
    if rest and not getattr(options, "passes_on", False):
        parser.error(f"no such argument: {' '.join(rest)}")
    try:
        return int(options.function(options, rest))
    except FacemakeError as error:
        print(f"facemake: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        return 0
