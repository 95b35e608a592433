"""The command `facemake`, also as `python -m facemake`."""

import sys

from facemake.runtime import early

early.end_at_once()

from facemake.cli import main as _main  # noqa: E402
from facemake.runtime import interrupts  # noqa: E402


def main() -> int:
    """Run a command by the words of this process; see `facemake.cli.main`."""
    try:
        return _main()
    finally:
        interrupts.ended()


if __name__ == "__main__":
    sys.exit(main())
