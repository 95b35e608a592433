"""Snakemake, started as `python -m facemake.runtime.snakemake`: the same but for ^C.

Snakemake ends its jobs by itself when it is interrupted; before it has any, while it is imported
and plans, it would show where it was. An interrupted run ends with the status of one.
"""

from __future__ import annotations

import sys

from facemake.runtime import interrupts

interrupts.end_at_once()

import runpy  # noqa: E402

from facemake.runtime import runs  # noqa: E402


def main() -> None:
    """Run Snakemake's command line; exits as that does, or with 130."""
    try:
        interrupts.listen()
        runpy.run_module("snakemake", run_name="__main__", alter_sys=True)
    except KeyboardInterrupt:
        print("facemake: interrupted", file=sys.stderr)
        sys.exit(interrupts.INTERRUPTED)
    except SystemExit as ended:
        if ended.code and runs.interrupted:
            sys.exit(interrupts.INTERRUPTED)
        raise
    finally:
        interrupts.ended()


if __name__ == "__main__":
    main()
