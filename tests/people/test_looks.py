from __future__ import annotations

import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from facemake.backends.embed.vectors import weighted_mean
from facemake.errors import FacemakeError, TableError
from facemake.people import looks as reading
from facemake.people.looks import read_looks, tables_of
from facemake.tables import TableReader
from makelooks import EMBED, unit, write_looks

RNG = np.random.default_rng(3)
VECTORS = unit(RNG.normal(size=(20, 16)))


def two_tracks(first: int, frames: tuple[int, ...] = (0, 10, 20)) -> list:
    v = VECTORS[first:]
    one = [(frame, 0, v[k], 0.5 + 0.1 * k) for k, frame in enumerate(frames)]
    return [*one, (15, 1, v[4], 0.3), (25, 1, v[5], 0.9)]


def test_a_track_is_the_mean_of_its_faces_by_their_quality(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(reading, "_GROUPS_AT_ONCE", 1)
    write_looks(tmp_path, {"b": two_tracks(0), "a": two_tracks(6), "none": []})
    looks = read_looks(tables_of(tmp_path))
    assert looks.names == ["a", "b"]
    assert [looks.name(row) for row in range(len(looks))] == [
        *("a track 0", "a track 1", "b track 0", "b track 1")
    ]
    assert looks.count.tolist() == [3, 2, 3, 2]
    assert looks.frame.tolist() == [20, 25, 20, 25]
    np.testing.assert_allclose(looks.quality, [0.7, 0.9, 0.7, 0.9])
    mean = weighted_mean(VECTORS[:3], np.array([0.5, 0.6, 0.7], np.float32))
    np.testing.assert_array_equal(looks.vectors[2], mean)
    # no detections, and no two chosen frames are the same
    assert looks.together.tolist() == []
    assert looks.maker.embedder == "dlib"

    faces = read_looks(tables_of(tmp_path), each_face=True)
    assert len(faces) == 10 and faces.alone.all()
    np.testing.assert_array_equal(faces.vectors[5], VECTORS[0])
    assert faces.name(5) == "b track 0 frame 0"


def test_who_was_seen_together_is_two_people(tmp_path: Path):
    seen = {"a": [(0, 0), (1, 0), (1, 1), (2, 1)], "b": [(0, 0), (1, 0), (2, 1), (2, 7)]}
    write_looks(tmp_path, {"a": two_tracks(0), "b": two_tracks(6)}, seen=seen)
    assert read_looks(tables_of(tmp_path)).together.tolist() == [[0, 1]]
    # without detections, by the frames that have embeddings
    (tmp_path / "detections" / "one.parquet").unlink()
    write_looks(tmp_path, {"a": two_tracks(0, (0, 15, 20)), "b": two_tracks(6)}, shard="one")
    assert read_looks(tables_of(tmp_path)).together.tolist() == [[0, 1]]


def test_who_was_seen_together_is_read_a_few_rows_at_a_time(tmp_path: Path, monkeypatch):
    # the rows of frame 511 are in two groups of rows, frame 600 has one of three tracks
    rows = [(frame, 0) for frame in range(600)] + [(511, 1), (600, 1), (600, 7)]
    write_looks(tmp_path, {"a": two_tracks(0), "b": two_tracks(6)}, seen={"a": rows})
    with TableReader(tmp_path / "detections" / "one.parquet") as reader:
        first = next(reader.groups("a"))
        assert first["frame"][-1].as_py() == 511 == len(first) - 1

    def whole(*_: object) -> None:
        raise AssertionError("all rows of a recording at once")

    monkeypatch.setattr(TableReader, "read", whole)
    assert read_looks(tables_of(tmp_path)).together.tolist() == [[0, 1]]


def test_faces_of_pictures_are_by_themselves(tmp_path: Path):
    rows = [(0, 0, VECTORS[0], 0.5), (0, 1, VECTORS[1], 0.6), (1, 0, VECTORS[2], 0.7)]
    rows += [(0, 2, VECTORS[3], 0.5)]
    write_looks(tmp_path, {"album": rows, "clip": two_tracks(6)}, pictures=["album"])
    looks = read_looks(tables_of(tmp_path))
    assert looks.alone.tolist() == [True] * 4 + [False] * 2
    assert [(looks.track[k], looks.frame[k]) for k in range(4)] == [(0, 0), (0, 1), (1, 0), (2, 0)]
    np.testing.assert_allclose(looks.vectors[1], VECTORS[2], atol=1e-6)
    assert looks.together.tolist() == [[0, 2], [0, 3], [2, 3]]


def test_shards_make_no_difference(tmp_path: Path):
    people = {name: two_tracks(k) for k, name in enumerate("abcd")}
    write_looks(tmp_path / "whole", people)
    for shard, names in {"x": "db", "y": "ca"}.items():
        write_looks(tmp_path / "parts", {n: people[n] for n in names}, shard=shard)
    one, other = (read_looks(tables_of(tmp_path / name)) for name in ("whole", "parts"))
    assert one.names == other.names
    np.testing.assert_array_equal(one.vectors, other.vectors)
    assert len(other.lineages) == 2


def test_samples_are_passed_over_and_nothing_is_there_twice(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(reading, "_GROUPS_AT_ONCE", 4)
    monkeypatch.setattr(reading, "_ROWS_AT_ONCE", 10)
    vectors = unit(RNG.normal(size=(180, 1024)))
    names = [f"{k * 7 % 60:03d}" for k in range(60)]  # the shards share the alphabet
    for shard in range(4):
        rows = {
            names[k]: [(0, track, vectors[3 * k + track], 0.5) for track in range(3)]
            for k in range(shard, 60, 4)
        }
        write_looks(tmp_path, rows, shard=f"s{shard}")
    tracemalloc.start()
    looks = read_looks(tables_of(tmp_path), without={names[5]})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert looks.names == sorted({*names} - {names[5]})
    order = sorted((name, k) for k, name in enumerate(names) if k != 5)
    rows = np.concatenate([np.arange(3 * k, 3 * k + 3) for _, k in order])
    np.testing.assert_allclose(looks.vectors, vectors[rows], atol=1e-6)
    assert looks.together.tolist() == [
        [3 * k + a, 3 * k + b] for k in range(59) for a, b in ((0, 1), (0, 2), (1, 2))
    ]
    assert peak < 1.5 * looks.vectors.nbytes


@pytest.mark.parametrize(
    "other, what",
    [
        (replace(EMBED, backend="other"), "embedder"),
        (replace(EMBED, models=({**EMBED.models[0], "sha256": "cd" * 32},)), "model"),
        (replace(EMBED, settings={**EMBED.settings, "chip": "112 px"}), "chip"),
        (replace(EMBED, settings={**EMBED.settings, "flip": True}), "flip"),
    ],
)
def test_vectors_of_two_makers_are_refused(other, what: str, tmp_path: Path):
    write_looks(tmp_path, {"a": two_tracks(0)}, shard="one")
    write_looks(tmp_path, {"b": two_tracks(0)}, shard="two", recipe=other)
    with pytest.raises(TableError, match=f"two.parquet and .*one.parquet.* differ in {what}"):
        read_looks(tables_of(tmp_path))


def test_what_is_missing_or_damaged_is_named(tmp_path: Path):
    with pytest.raises(FacemakeError, match=r"no table in .*embeddings.*embed: off"):
        tables_of(tmp_path)
    write_looks(tmp_path, {"a": two_tracks(0)})
    path = tmp_path / "embeddings" / "one.parquet"
    whole = path.read_bytes()
    path.write_bytes(whole[:200] + bytes(300) + whole[500:])
    with pytest.raises(TableError, match=r"one\.parquet"):
        read_looks(tables_of(tmp_path))
    path.write_bytes(b"PAR1 no table")
    with pytest.raises(TableError, match=r"one\.parquet"):
        read_looks(tables_of(tmp_path))
    path.write_bytes((tmp_path / "probe" / "one.parquet").read_bytes())
    (tmp_path / "probe" / "one.parquet").unlink()
    with pytest.raises(FacemakeError, match=r"probe.*missing"):
        tables_of(tmp_path)


def test_vectors_of_two_lengths_are_refused(tmp_path: Path):
    rows = [(0, 0, VECTORS[0], 0.5), (1, 0, VECTORS[1][:5], 0.5)]
    write_looks(tmp_path, {"a": rows})
    with pytest.raises(TableError, match="another length"):
        read_looks(tables_of(tmp_path))
    write_looks(tmp_path, {"a": [(0, 0, None, 0.5)]})
    with pytest.raises(TableError, match="without an embedding"):
        read_looks(tables_of(tmp_path))
    write_looks(tmp_path, {"a": rows[:1]})
    write_looks(tmp_path, {"b": [(0, 0, VECTORS[1][:5], 0.5)]}, shard="two")
    with pytest.raises(TableError, match="5 and 16 numbers"):
        read_looks(tables_of(tmp_path))
