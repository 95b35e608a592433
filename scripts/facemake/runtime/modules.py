"""Where the processes of a run look for modules: not in the folder that they work in.

`python -m snakemake`, which each job of a cluster is, would list that folder once for each kind of
plugin, which takes seconds where it holds hundreds of thousands of recordings, and would import
what others put there.
"""

from __future__ import annotations

import os

VARIABLE = "PYTHONSAFEPATH"
"""Python's own name for it."""


def keep_out_of_folder() -> None:
    """Have the Pythons that this process starts, and those that they start, keep out of it."""
    os.environ[VARIABLE] = "1"
