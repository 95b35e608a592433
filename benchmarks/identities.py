"""People of a large dataset: what comparing all with all costs over its bare matrix product."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import cost

DIM = 128
SIMILARITY = 0.917
A_PERSON = 10
_ROWS, _COLUMNS = 1024, 8192


def run(folder: Path, count: int) -> None:
    """Print CPU time and peak memory of grouping, and the time and the misses of searches.

    Args:
        folder: scratch.
        count: vectors.
    """
    print(f"{count:,} vectors of {DIM} numbers, one thread:")

    def measured(what: str) -> tuple[float, float]:
        one = cost("-m", "benchmarks.identities", what, str(count), folder=folder)
        return one.cpu, one.peak / 1e6

    none = measured("none")[0]
    base = measured("product")[0] - none
    print(f"  the product of all with all, blockwise: {base:.1f} s")
    for what, words in (("apart", "all strangers"), ("people", f"{A_PERSON} a person")):
        seconds, peak = measured(what)
        seconds -= none
        print(f"  grouped, {words}: {seconds:.1f} s, {seconds / base:.2f} of it, {peak:.0f} MB")
    cost("-m", "benchmarks.identities", "search", str(count), folder=folder)
    print((folder / "output.txt").read_text(encoding="utf-8").rstrip())


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def _strangers(count: int, rng: np.random.Generator) -> NDArray[np.float32]:
    return _unit(rng.normal(size=(count, DIM)).astype(np.float32))


def _people(count: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """As alike as dlib's: two people about 0.78 (one in a thousand 0.85), one person 0.94."""
    centres = _unit(0.45 * _strangers(-(-count // A_PERSON), rng) + _strangers(1, rng))
    spread = np.float32(0.25 / np.sqrt(DIM))
    noise = rng.normal(size=(count, DIM)).astype(np.float32)
    return _unit(centres[np.arange(count) // A_PERSON] + spread * noise)


def _product(vectors: NDArray[np.float32]) -> None:
    out = np.empty((_ROWS, _COLUMNS), np.float32)
    for start in range(0, len(vectors), _ROWS):
        rows = vectors[start : start + _ROWS]
        for other in range(0, len(vectors), _COLUMNS):
            columns = vectors[other : other + _COLUMNS]
            np.matmul(rows, columns.T, out=out[: len(rows), : len(columns)])


def _search(vectors: NDArray[np.float32], rng: np.random.Generator) -> None:
    import faiss

    from facemake.people.index import _cells, _flat

    faiss.omp_set_num_threads(1)
    asked = vectors[rng.integers(0, len(vectors), 100)]
    asked = _unit(asked + np.float32(0.2 / np.sqrt(DIM)) * rng.normal(size=asked.shape))
    asked = asked.astype(np.float32)
    start = time.process_time()
    exact = _flat(DIM)
    exact.add(vectors)
    made = time.process_time() - start
    truth, seconds = _found(exact, asked)
    print(f"  exact search: made in {made:.1f} s, {1000 * seconds:.1f} ms a question")
    start = time.process_time()
    cells, method = _cells(vectors)
    cells.add(vectors)
    made = time.process_time() - start
    found, seconds = _found(cells, asked)
    among = [len(set(a) & set(b)) / len(a) for a, b in zip(truth, found, strict=True)]
    first = np.mean([a[0] == b[0] for a, b in zip(truth, found, strict=True)])
    print(
        f"  {method}: made in {made:.1f} s, {1000 * seconds:.1f} ms a question, finds "
        f"{np.mean(among):.1%} of the ten nearest and {first:.0%} of the nearest"
    )


def _found(index: object, asked: NDArray[np.float32]) -> tuple[list[list[int]], float]:
    start = time.process_time()
    found = [index.search(one[None], 10)[1][0].tolist() for one in asked]  # type: ignore[attr-defined]
    return found, (time.process_time() - start) / len(asked)


if __name__ == "__main__":
    what, count = sys.argv[1], int(sys.argv[2])
    rng = np.random.default_rng(0)
    made = _strangers(count, rng) if what == "apart" else _people(count, rng)
    if what == "product":
        _product(made)
    elif what == "search":
        _search(made, rng)
    elif what != "none":
        from facemake.people.grouping import group

        person = group(made, SIMILARITY, np.zeros((0, 2), np.int64))
        people = count if what == "apart" else -(-count // A_PERSON)
        assert person.max() + 1 == people, f"{person.max() + 1} people, and they are {people}"
