"""Snakemake, started as `python -m facemake.runtime.snakemake`: the same but for an early ^C.

Snakemake ends its jobs by itself when it is interrupted; before it has any, while it is imported
and plans, it would show where it was.
"""

from __future__ import annotations

import runpy
import sys

INTERRUPTED = 130


def main() -> None:
    """Run Snakemake's command line; exits as that does."""
    try:
        runpy.run_module("snakemake", run_name="__main__", alter_sys=True)
    except KeyboardInterrupt:
        print("facemake: interrupted before the first job", file=sys.stderr)
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
