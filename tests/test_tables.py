"""Tables: bytes that do not depend on how rows came, streams, and clear errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from facemake.errors import TableError
from facemake.tables import ROWS_PER_GROUP, SCHEMAS, TableReader, TableWriter, merge

METADATA = {"recipe": {"stage": "detect"}, "lineage": "x"}


def rows(sample: str, n: int) -> list[dict]:
    return [
        {
            "sample": sample,
            "frame": i,
            "track": 0,
            "time": i / 25,
            "x": float(i),
            "keypoints5": [0.5, np.nan] * 5 if i % 3 else None,
            "status": "ok",
        }
        for i in range(n)
    ]


def write(path: Path, samples: dict[str, int]) -> Path:
    with TableWriter(path, SCHEMAS["detections"], METADATA) as writer:
        for sample, n in samples.items():
            for row in rows(sample, n):
                writer.append(**row)
    return path


def test_rows_come_back_with_nulls_and_nans_apart(tmp_path: Path):
    write(tmp_path / "t.parquet", {"a": 4, "b": 2})
    frame = pd.read_parquet(tmp_path)  # the folder, as a user reads it
    assert frame["sample"].tolist() == ["a"] * 4 + ["b"] * 2
    assert frame["keypoints5"][0] is None
    assert np.isnan(frame["keypoints5"][1][1])
    assert frame["score"].isna().all()


def test_merged_parts_are_the_same_bytes_as_one_stream(tmp_path: Path):
    n = 2 * ROWS_PER_GROUP + 5
    parts = [write(tmp_path / f"{s}.parquet", {s: n}) for s in ("a", "b")]
    merge(parts, tmp_path / "merged.parquet")
    write(tmp_path / "whole.parquet", {"a": n, "b": n})
    assert (tmp_path / "merged.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()


def test_columns_and_rows_give_the_same_bytes(tmp_path: Path):
    n = ROWS_PER_GROUP + 3
    write(tmp_path / "rows.parquet", {"a": n})
    with TableWriter(tmp_path / "columns.parquet", SCHEMAS["detections"], METADATA) as writer:
        wanted = rows("a", n)
        writer.append_columns(
            "a", {k: [row[k] for row in wanted] for k in wanted[0] if k != "sample"}
        )
    assert (tmp_path / "rows.parquet").read_bytes() == (tmp_path / "columns.parquet").read_bytes()


def test_a_sample_is_read_in_pieces(tmp_path: Path):
    n = 2 * ROWS_PER_GROUP + 5
    write(tmp_path / "t.parquet", {"a": 3, "b": n})
    with TableReader(tmp_path / "t.parquet") as reader:
        assert reader.samples == ["a", "b"]
        sizes = [len(group) for group in reader.groups("b", ["frame"])]
        assert sizes == [ROWS_PER_GROUP, ROWS_PER_GROUP, 5]
        assert reader.read("b")["frame"].to_pylist() == list(range(n))
        assert reader.read("nobody").num_rows == 0
        assert reader.metadata["units"]["x"] == "px"


def test_a_few_frames_are_read_without_the_row_groups_between(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    n = 3 * ROWS_PER_GROUP
    write(tmp_path / "t.parquet", {"a": 9, "b": n})
    wanted = [n - 1, 3, ROWS_PER_GROUP - 1]
    with TableReader(tmp_path / "t.parquet") as reader:
        read, seen = reader._read, []
        monkeypatch.setattr(
            reader, "_read", lambda groups, c: (seen.append(groups), read(groups, c))[1]
        )
        found = reader.frames("b", wanted, ["frame", "x"])
        assert found.to_pylist() == [{"frame": i, "x": float(i)} for i in sorted(wanted)]
        assert seen == [[1], [3]]
        assert reader.frames("b", [], ["x"]).column_names == ["x"]
        assert reader.frames("nobody", [3], ["x"]).num_rows == 0
        assert reader.whole(["sample"])["sample"].to_pylist() == ["a"] * 9 + ["b"] * n


def test_an_unknown_column_is_refused(tmp_path: Path):
    writer = TableWriter(tmp_path / "t.parquet", SCHEMAS["detections"], METADATA)
    with writer, pytest.raises(KeyError, match="colour"):
        writer.append(sample="a", frame=0, track=0, status="ok", colour=1)


def test_damaged_and_foreign_files_are_named(tmp_path: Path):
    damaged = write(tmp_path / "t.parquet", {"a": 5})
    damaged.write_bytes(damaged.read_bytes()[:-20])
    with pytest.raises(TableError, match=f"results, delete {damaged.resolve()} and run again"):
        TableReader(damaged)
    pd.DataFrame({"x": [1]}).to_parquet(tmp_path / "foreign.parquet")
    with pytest.raises(TableError, match="not written by facemake"):
        TableReader(tmp_path / "foreign.parquet")
    reader = TableReader(write(tmp_path / "u.parquet", {"a": 5}))
    with reader, pytest.raises(TableError, match="lacks the column colour"):
        reader.read("a", ["colour"])


def test_damage_inside_a_table_is_named_with_its_cure(tmp_path: Path):
    path = write(tmp_path / "t.parquet", {"a": 2000})
    data = bytearray(path.read_bytes())
    data[100:2000] = bytes(1900)
    path.write_bytes(data)
    link = tmp_path / "results.parquet"
    link.symlink_to(path)
    with TableReader(link) as reader, pytest.raises(TableError, match=f"delete {path} and run"):
        reader.read("a")


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_floats_are_stored_as_floats_and_words_by_a_dictionary(tmp_path: Path, name: str):
    def some(kind: pa.DataType) -> object:
        if pa.types.is_list(kind):
            return [some(kind.value_type)] * 3
        return pa.scalar("1").cast(kind).as_py()

    path = tmp_path / "table.parquet"
    with TableWriter(path, SCHEMAS[name], METADATA) as writer:
        writer.append(**{field.name: some(field.type) for field in SCHEMAS[name]})
    group = pq.ParquetFile(path).metadata.row_group(0)
    columns = [group.column(i) for i in range(group.num_columns)]
    assert len(columns) == len(SCHEMAS[name])
    for column in columns:
        floating = column.physical_type in ("FLOAT", "DOUBLE")
        assert floating == ("BYTE_STREAM_SPLIT" in column.encodings), column.path_in_schema
        boolean = column.physical_type == "BOOLEAN"
        assert (floating or boolean) != column.has_dictionary_page, column.path_in_schema
