from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from facemake.people import grouping
from facemake.people.grouping import group, similarity_to_person
from makelooks import near, unit

NONE = np.zeros((0, 2), np.int64)


def by_the_book(vectors: np.ndarray, threshold: float, apart: np.ndarray) -> np.ndarray:
    """Average linkage as it is written down: all pairs of all groups, the nearest two join."""
    vectors = vectors.astype(float)
    groups = [[i] for i in range(len(vectors))]
    never = {tuple(sorted(pair)) for pair in apart.tolist()}
    while True:
        best, pair = threshold, None
        for i, one in enumerate(groups):
            for j, other in enumerate(groups[:i]):
                if any(tuple(sorted((a, b))) in never for a in one for b in other):
                    continue
                mean = np.mean([vectors[a] @ vectors[b] for a in one for b in other])
                if mean >= best:
                    best, pair = mean, (j, i)
        if pair is None:
            break
        groups[pair[0]] += groups.pop(pair[1])
    person = np.empty(len(vectors), int)
    for number, members in enumerate(sorted(groups, key=min)):
        person[members] = number
    return person


@pytest.mark.parametrize("seed", range(12))
def test_groups_are_those_of_average_linkage(seed: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(grouping, "_ROWS", 7)  # pieces of the table of pairs that do not fit it
    monkeypatch.setattr(grouping, "_COLUMNS", 11)
    rng = np.random.default_rng(seed)
    centres = unit(rng.normal(size=(8, 16)))
    spread = rng.choice([0.05, 0.15, 0.2, 0.3])
    vectors = unit(centres[rng.integers(0, 8, 50)] + rng.normal(size=(50, 16)) * spread)
    apart = rng.integers(0, 50, (20, 2)) if seed % 3 else NONE
    apart = apart[apart[:, 0] != apart[:, 1]]
    threshold = rng.uniform(0.3, 0.95)
    person = group(vectors, threshold, apart)
    np.testing.assert_array_equal(person, by_the_book(vectors, threshold, apart))
    assert (person[apart[:, 0]] != person[apart[:, 1]]).all()


@pytest.mark.parametrize("seed", range(5))
def test_sets_are_those_that_pairs_link(seed: int):
    rng = np.random.default_rng(seed)
    lowest = np.arange(60)
    links = [rng.integers(0, 60, (2, 12)) for _ in range(3)]
    links.append(np.array([[40, 41, 42, 59, 20], [41, 42, 43, 20, 3]]))
    sets = {i: {i} for i in range(60)}
    for pairs in links:
        grouping._link(lowest, pairs)
        for a, b in pairs.T.tolist():
            sets[a] |= sets[b]
            for k in sets[a]:
                sets[k] = sets[a]
    assert lowest.tolist() == [min(sets[i]) for i in range(60)]


def test_sets_of_any_size_are_looked_at_whole(monkeypatch: pytest.MonkeyPatch):
    """Many small ones together, a large one by itself."""
    monkeypatch.setattr(grouping, "_ROWS", 8)
    sizes: list[int] = []
    made = grouping._Groups

    def noted(vectors: np.ndarray, apart: np.ndarray) -> grouping._Groups:
        sizes.append(len(vectors))
        return made(vectors, apart)

    monkeypatch.setattr(grouping, "_Groups", noted)
    whose = np.array([0] * 20 + [1, 1, 2, 2, 2, 3, 4, 5, 5, 6, 6, 6, 7])
    order = np.random.default_rng(0).permutation(len(whose))
    person = group(np.eye(8, dtype=np.float32)[whose[order]], 0.9, np.array([[0, 1]]))
    assert len(set(zip(person.tolist(), whose[order].tolist(), strict=True))) == 8 + (
        whose[order][0] == whose[order][1]
    )
    assert sum(sizes) == 30 and 2 <= len(sizes) < 5  # who is alone is not looked at again


def test_who_is_between_two_people_does_not_make_them_one():
    a, b = np.array([1.0, 0, 0]), np.array([np.cos(0.8), np.sin(0.8), 0])
    middle = np.array([np.cos(0.4), np.sin(0.4), 0])
    vectors = unit(np.stack([a, a, middle, b, b]))
    # the nearest pairs of the two groups are 0.92 alike, the groups on average are not
    assert len(set(group(vectors, 0.9, NONE).tolist())) == 2


def test_equal_vectors_are_one_person_and_those_of_one_frame_are_not():
    same = np.repeat(unit(np.ones((1, 4))), 5, axis=0)
    assert group(same, 0.99, NONE).tolist() == [0] * 5
    person = group(same, 0.99, np.array([[0, 1], [1, 2], [0, 2]]))
    assert len(set(person[:3].tolist())) == 3
    assert group(same[:0], 0.9, NONE).tolist() == []
    assert similarity_to_person(same[:0], np.zeros(0, np.int32)).tolist() == []


def test_similarity_to_the_persons_mean():
    rng = np.random.default_rng(0)
    one = unit(rng.normal(size=8))
    vectors = np.stack([one, near(one, 0.9, rng), unit(rng.normal(size=8))])
    person = np.array([0, 0, 1], np.int32)
    found = similarity_to_person(vectors, person)
    assert found[2] == pytest.approx(1)
    # the mean of two halves the angle between them
    np.testing.assert_allclose(found[:2], np.cos(np.arccos(0.9) / 2), atol=1e-6)


def test_memory_is_that_of_the_vectors_and_of_a_copy(monkeypatch: pytest.MonkeyPatch):
    """All of them are linked, and many are joined at a time."""
    monkeypatch.setattr(grouping, "_ROWS", 64)
    monkeypatch.setattr(grouping, "_COLUMNS", 512)
    rng = np.random.default_rng(0)
    centres = unit(unit(rng.normal(size=(1, 512))) + unit(rng.normal(size=(300, 512))))
    vectors = unit(np.repeat(centres, 10, axis=0) + 0.4 * unit(rng.normal(size=(3000, 512))))
    tracemalloc.start()
    person = group(vectors, 0.7, NONE)
    similarity_to_person(vectors, person)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert person.max() + 1 == 300
    assert peak < 1.3 * vectors.nbytes


def test_threads_make_no_difference():
    """What a rule computes on one thread, `facemake identities` computes on all of them."""
    import json
    import os
    import subprocess
    import sys

    program = (
        "import numpy as np, json, sys\n"
        "from facemake.people.grouping import group, similarity_to_person\n"
        "rng = np.random.default_rng(1)\n"
        "v = rng.normal(size=(300, 128))[np.arange(3000) % 300]\n"
        "v += rng.normal(size=v.shape) * 0.5\n"
        "v = (v / np.linalg.norm(v, axis=1)[:, None]).astype(np.float32)\n"
        "p = group(v, 0.75, np.zeros((0, 2), np.int64))\n"
        "s = similarity_to_person(v, p)\n"
        "print(json.dumps([p.tolist(), [float(x).hex() for x in s]]))\n"
    )
    said = [
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "OPENBLAS_NUM_THREADS": threads},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for threads in ("1", "2")
    ]
    assert said[0] == said[1]
    assert 250 < len(set(json.loads(said[0])[0])) < 1000
