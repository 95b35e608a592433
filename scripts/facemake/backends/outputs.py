"""What is refused of a network's outputs, whatever library computes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facemake.errors import ModelError


def finite(values: NDArray[np.float32], whose: str | Path, what: str) -> NDArray[np.float32]:
    """The values, all of which are numbers.

    Args:
        values: what is used of an output.
        whose: its network's file or name.
        what: the values, in words.

    Raises:
        ModelError: one of them is NaN or infinite: in a table it would stand as a measurement.
    """
    if not np.isfinite(values).all():
        raise ModelError(
            f"{whose} gives {what} that are no numbers: its training went wrong, or the file is "
            "damaged; get it again, or take one in float32 where half precision does not suffice"
        )
    return values
