from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from facemake.errors import TableError
from facemake.rows import Source, equals, lists, numbers, side_by_side
from facemake.tables import SCHEMAS, TableReader, TableWriter, coefficient_schema

META = {"recipe": {}, "lineage": "", "upstream": {}}


def write(path: Path, frames: list[int], cuts: list[int]) -> TableReader:
    """A table with a value `10 * frame` in row groups cut at `cuts`."""
    schema = coefficient_schema(["value"], "")
    with TableWriter(path, schema, META) as writer:
        for part in np.split(np.array(frames, np.int32), cuts):
            if len(part):
                columns = {
                    "frame": part,
                    "track": np.zeros(len(part), np.int16),
                    "value": part * 10.0,
                    "status": ["ok"] * len(part),
                }
                writer.append_columns("s", columns)
    return TableReader(path)


def test_row_groups_need_not_agree(tmp_path):
    frames = list(range(1000))
    one = write(tmp_path / "one.parquet", frames, [300, 512])
    two = write(tmp_path / "two.parquet", frames, [1, 700, 701])
    seen: list[int] = []
    sources = {"one": Source(one, ["value"]), "two": Source(two, ["value"])}
    for piece in side_by_side(sources, "s"):
        assert len(piece["one"]) == len(piece["two"]) > 0
        np.testing.assert_array_equal(
            numbers(piece["one"], "value"), numbers(piece["two"], "value")
        )
        seen += piece["one"]["frame"].to_pylist()
    assert seen == frames
    assert not list(side_by_side(sources, "nobody"))


@pytest.mark.parametrize("other", [[*range(9)], [*range(11)], [*range(9), 10]])
def test_tables_of_different_rows_are_refused(tmp_path, other):
    one = write(tmp_path / "one.parquet", list(range(10)), [])
    two = write(tmp_path / "two.parquet", other, [])
    with pytest.raises(TableError, match=r"two\.parquet|one\.parquet"):
        list(side_by_side({"one": Source(one, []), "two": Source(two, [])}, "s"))


def test_nulls_become_nan(tmp_path):
    path = tmp_path / "detections.parquet"
    with TableWriter(path, SCHEMAS["detections"], META) as writer:
        writer.append(sample="s", frame=0, track=0, status="no_face")
        writer.append(
            sample="s", frame=1, track=0, status="ok", x=2.0, keypoints5=[1.0] * 9 + [np.nan]
        )
        writer.append(sample="s", frame=2, track=0, status="ok", x=3.0, keypoints5=[1.0, 2.0])
    table = TableReader(path).read("s")
    np.testing.assert_array_equal(numbers(table, "x"), [np.nan, 2, 3])
    points = lists(table, "keypoints5", 10)
    assert np.isnan(points[0]).all() and np.isnan(points[2]).all()
    np.testing.assert_array_equal(points[1], [1] * 9 + [np.nan])
    assert equals(table, "status", "ok").tolist() == [False, True, True]
    assert lists(table.slice(0, 0), "keypoints5", 10).shape == (0, 10)
    assert isinstance(table, pa.Table)
