"""What the processes of a run import, and where they look for it.

Not in the folder that they work in: `python -m snakemake`, which each job of a cluster is, would
list it once for each kind of plugin, which takes seconds where it holds hundreds of thousands of
recordings, and would import what others put there.
"""

from __future__ import annotations

import os
import sys

VARIABLE = "PYTHONSAFEPATH"
"""Python's own name for it."""


def keep_out_of_folder() -> None:
    """Have the Pythons that this process starts, and those that they start, keep out of it."""
    os.environ[VARIABLE] = "1"


def spare_pandas() -> None:
    """Keep pyarrow from importing pandas in this process; for jobs, none of which uses it.

    pyarrow does so whenever it is given values of Python's or NumPy's, to see whether they are a
    Series: 0.1 s of CPU and 30 MB of each job. What it once failed to import it does not try again,
    and takes nothing for a Series. Afterwards pandas can be imported as ever, but `to_pandas` of
    pyarrow finds none.
    """
    if "pandas" in sys.modules:
        return
    nobody = _NoPandas()
    sys.meta_path.insert(0, nobody)
    try:
        import pyarrow as pa

        pa.array([0])
    finally:
        sys.meta_path.remove(nobody)


class _NoPandas:
    """A finder by which pandas is not there."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError(name=name)
