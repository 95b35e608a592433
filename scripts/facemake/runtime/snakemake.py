"""Snakemake, started as `python -m facemake.runtime.snakemake`: the same but for ^C.

Snakemake ends its jobs by itself when it is interrupted; before it has any, while it is imported
and plans, it would show where it was. An interrupted run ends with the status of one.
"""

from __future__ import annotations

import sys

from facemake.runtime import early

early.end_at_once()

import runpy  # noqa: E402

from facemake.runtime import interrupts, runs  # noqa: E402


def main() -> None:
    """Run Snakemake's command line; exits as that does, or with 130."""
    try:
        interrupts.listen()
        runpy.run_module("snakemake", run_name="__main__", alter_sys=True)
    except BaseException as error:
        if isinstance(error, SystemExit) and not (error.code and runs.interrupted):
            raise
        if not isinstance(error, SystemExit):
            if not interrupts.came():
                raise
            print("facemake: interrupted", file=sys.stderr)
        sys.exit(interrupts.INTERRUPTED)
    finally:
        interrupts.ended()


if __name__ == "__main__":
    main()
