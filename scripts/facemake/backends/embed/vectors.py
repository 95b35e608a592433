"""What is done with vectors of any embedder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facemake.backends.embed import Embedder, Pixels
from facemake.errors import ModelError


def embed_chips(
    embedder: Embedder, chips: Sequence[Pixels], flip: bool = False
) -> Iterator[NDArray[np.float32]]:
    """Embed any number of chips, in batches as the embedder wants them.

    Args:
        embedder: whose chips they are.
        chips: (S, S, 3) uint8 RGB each.
        flip: also embed each chip mirrored, and take the mean of the two vectors, made one of norm
            1: the customary test-time augmentation of face recognition.

    Yields:
        (D,) float32 of L2 norm 1 of each chip.
    """
    for start in range(0, len(chips), embedder.batch_size):
        some = chips[start : start + embedder.batch_size]
        vectors = embedder(some)
        if flip:
            mirrored = embedder([np.ascontiguousarray(chip[:, ::-1]) for chip in some])
            vectors = unit(vectors.astype(np.float64) + mirrored)
        yield from vectors


def unit(vectors: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Vectors of L2 norm 1, computed in double precision.

    Args:
        vectors: (n, D), none of them zero.

    Returns:
        (n, D) float32.
    """
    wide = vectors.astype(np.float64)
    return np.asarray(wide / np.sqrt((wide * wide).sum(axis=1, keepdims=True)), np.float32)


def unit_or_refused(raw: NDArray[np.floating[Any]], whose: str | Path) -> NDArray[np.float32]:
    """Vectors of L2 norm 1 of what a network gives.

    Args:
        raw: (n, D).
        whose: the network's file or name.

    Raises:
        ModelError: one of them is zero or not finite.
    """
    if not np.isfinite(raw).all() or not raw.any(axis=1).all():
        raise ModelError(
            f"{whose} gives a vector that is zero or not finite, so it is damaged, or overflows in "
            "its precision: take the file of another precision"
        )
    return unit(raw)


def weighted_mean(
    vectors: NDArray[np.float32], quality: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The mean vector of a track, by the quality of its faces.

    Args:
        vectors: (n, D) of L2 norm 1; n at least 1.
        quality: (n,) 0-1; where all are 0 each counts as much.

    Returns:
        (D,) float32 of L2 norm 1.
    """
    weights = quality.astype(np.float64)
    if not weights.any():
        weights = np.ones(len(weights))
    total = (vectors.astype(np.float64) * weights[:, None]).sum(axis=0, keepdims=True)
    mean: NDArray[np.float32] = unit(total)[0]
    return mean
