"""facemake compare: never "the same" of what is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from facemake.cli import compare, compare_shards, differences, main
from facemake.tables import SCHEMAS, TableWriter


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    for name in ("a", "b"):
        (tmp_path / name / "dataset").mkdir(parents=True)
    return tmp_path / "a", tmp_path / "b"


class Compared:
    """Runs the command and reads what it said."""

    def __init__(self, folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
        self.folders = folders
        self._capsys = capsys

    def run(self) -> tuple[int, dict[str, str]]:
        code = main(["compare", *map(str, self.folders)])
        *lines, total = self._capsys.readouterr().out.splitlines()
        assert total.startswith("1 file: " if len(lines) == 1 else f"{len(lines)} files: ")
        return code, dict(line.split("\t") for line in lines)

    def columns(self, a: pa.Array, b: pa.Array) -> tuple[int, str]:
        for folder, array in zip(self.folders, (a, b), strict=True):
            pq.write_table(pa.table({"x": array}), folder / "x.parquet")
        code, said = self.run()
        return code, said["x.parquet"]

    def sets(self, a: Any, b: Any) -> tuple[int, str]:
        for folder, data in zip(self.folders, (a, b), strict=True):
            with h5py.File(folder / "dataset" / "training_data.h5", "w") as file:
                file["x"] = data
        code, said = self.run()
        return code, said["dataset/training_data.h5"]


@pytest.fixture
def compared(folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> Compared:
    return Compared(folders, capsys)


LISTS = pa.list_(pa.float32())


@pytest.mark.parametrize(
    ("a", "b", "words"),
    [
        ([[1, 2], None, [3, 4]], [None, [1, 2], [3, 4]], "x (nulls in other places)"),
        ([[1, 2], [3, 4]], [[1, 2, 3], [4]], "x (lists of other lengths)"),
        ([[1, None]], [[None, 1]], "x (nulls in other places)"),
        ([[1, 2], []], [[1, 2], None], "x (nulls in other places)"),
        ([[1, 2], [3, 4]], [[1, 2], [3, 5]], "x (1 values by up to 1)"),
    ],
)
def test_lists_are_compared_with_their_nulls_and_lengths(
    compared: Compared, a: list[Any], b: list[Any], words: str
):
    assert compared.columns(pa.array(a, LISTS), pa.array(b, LISTS)) == (1, f"differs: {words}")


def test_a_null_is_no_nan(compared: Compared):
    nan = pa.array([1.0, float("nan")], from_pandas=False)
    assert compared.columns(nan, pa.array([1.0, None])) == (
        1,
        "differs: x (nulls in other places)",
    )
    code, words = compared.columns(nan, pa.array([float("nan"), 1.0], from_pandas=False))
    assert (code, words) == (1, "differs: x (2 values, NaN on one side only)")


def test_a_little_is_the_same_within_tolerances_nulls_and_nans_too(compared: Compared):
    a = [[1.0, float("nan")], None, [1000.0]]
    b = [[1.0005, float("nan")], None, [1000.9]]
    same = compare.WITHIN
    made = [pa.array(v, LISTS, from_pandas=False) for v in (a, b)]
    assert compared.columns(*made) == (0, same)
    assert compared.columns(made[0], made[0]) == (0, "identical")
    # other row groups are other bytes, and the same rows
    values = np.arange(10_000, dtype=np.float32)
    table = pa.table({"x": values})
    for folder, rows in zip(compared.folders, (512, 3000), strict=True):
        pq.write_table(table, folder / "x.parquet", row_group_size=rows)
    assert compared.run() == (0, {"x.parquet": same})
    values = values.copy()
    values[[4500, 9999]] += [50, 100]
    pq.write_table(pa.table({"x": values}), compared.folders[1] / "x.parquet")
    assert compared.run() == (1, {"x.parquet": "differs: x (2 values by up to 100)"})


@pytest.mark.parametrize(
    ("a", "b", "words"),
    [
        (pa.array([5000], pa.int32()), pa.array([5001], pa.int32()), "x (1 values by up to 1)"),
        (pa.array(["ok"]), pa.array(["lost"]), "x (1 values)"),
        (pa.array([True]), pa.array([False]), "x (1 values by up to 1)"),
        (pa.array([1.0]), pa.array([1], pa.int32()), "x is double against int32"),
        (pa.array([1.0]), pa.array([1.0, 2.0]), "1 rows against 2"),
        (pa.array([np.inf]), pa.array([1.0]), "x (1 values by up to inf)"),
    ],
)
def test_frames_words_types_and_rows_are_compared_exactly(
    compared: Compared, a: pa.Array, b: pa.Array, words: str
):
    assert compared.columns(a, b) == (1, f"differs: {words}")


def test_a_column_more_is_a_difference(compared: Compared):
    for folder, names in zip(compared.folders, ("x", "xy"), strict=True):
        pq.write_table(pa.table({name: [1.0] for name in names}), folder / "x.parquet")
    assert compared.run() == (1, {"x.parquet": "differs: y is absent against double"})


@pytest.mark.parametrize(
    ("a", "b", "words"),
    [
        (np.zeros((3, 2), "f4"), np.ones((3, 2), "f4"), "x (6 values by up to 1)"),
        (np.zeros((3, 2), "f4"), np.zeros((2, 3), "f4"), "x has the shape (3, 2) against (2, 3)"),
        (np.zeros(3, "f4"), np.zeros(3, "f8"), "x is float32 against float64"),
        (np.zeros(3, "u1"), np.array([0, 255, 0], "u1"), "x (1 values by up to 255)"),
        (["one", "two"], ["one", "three"], "x (1 values)"),
        (1.0, 2.0, "x (1 values by up to 1)"),
        (np.zeros(2, "f4"), np.array([0, np.nan], "f4"), "x (1 values, NaN on one side only)"),
    ],
)
def test_hdf5_files_are_compared(compared: Compared, a: Any, b: Any, words: str):
    assert compared.sets(a, b) == (1, f"differs: {words}")


def test_hdf5_values_within_tolerances_are_the_same(compared: Compared):
    a = np.linspace(0, 10, 50).reshape(25, 2)
    assert compared.sets(a, a + 5e-4) == (0, compare.WITHIN)


def test_large_sets_are_read_in_slabs(compared: Compared, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(differences, "_BYTES_AT_ONCE", 100)
    a = np.arange(1000, dtype="f4").reshape(100, 10)
    b = a.copy()
    b[99, 9] += 100
    b[0, 0] += 2
    assert compared.sets(a, b) == (1, "differs: x (2 values by up to 100)")
    with h5py.File(compared.folders[0] / "dataset" / "training_data.h5") as file:
        taken = [file["x"][part].nbytes for part in differences._slabs(file["x"])]
    assert sum(taken) == a.nbytes and max(taken) <= 100


def test_groups_and_attributes_of_hdf5_count(compared: Compared):
    a, b = (folder / "dataset" / "training_data.h5" for folder in compared.folders)
    with h5py.File(a, "w") as left, h5py.File(b, "w") as right:
        left["metadata/split"] = right["metadata/split"] = [1, 2]
        left["only"] = [1]
        left["kind"], right["kind/x"] = [1], [1]
        left.attrs["au_names"], right.attrs["au_names"] = ["AU01_r"], ["AU02_r"]
        left["metadata/split"].attrs["description"] = "words"
        left.attrs["same"] = right.attrs["same"] = [np.nan, 1.0]
    code, said = compared.run()
    assert code == 1
    assert said["dataset/training_data.h5"].removeprefix("differs: ").split("; ") == [
        "the attribute au_names differs",
        "kind is a group on one side only",
        "metadata/split: the attribute description is on one side only",
        "only is on one side only",
    ]


def test_another_recipe_is_said_and_is_no_other_value(compared: Compared):
    for folder, made in zip(compared.folders, ("one", "other"), strict=True):
        with TableWriter(folder / "fit.parquet", SCHEMAS["fit"], {"lineage": made}) as writer:
            writer.append(sample="s", frame=0, track=0, status="ok")
        with h5py.File(folder / "dataset" / "x.h5", "w") as file:
            file["x"] = [1]
            file.attrs["facemake"] = json.dumps({"lineage": made})
    words = f"{compare.WITHIN}; made in another way (lineage)"
    assert compared.run() == (0, {"dataset/x.h5": words, "fit.parquet": words})


def test_other_units_are_a_difference(compared: Compared):
    for folder, unit in zip(compared.folders, ("mm", "px"), strict=True):
        field = pa.field("x", pa.float32(), metadata={"unit": unit})
        document = json.dumps({"units": {"x": unit}}).encode()
        table = pa.table({"x": [1.0]}, pa.schema([field], {"facemake": document}))
        pq.write_table(table, folder / "x.parquet")
    assert compared.run() == (1, {"x.parquet": "differs: the units differ"})


# --- the same samples in other shards ---

ROWS = 1300  # of a sample: more than a row group


def write_shards(folder: Path, shards: dict[str, str], *, ry: float = 0.0, lost: str = "") -> None:
    """Fits of samples that have one letter each; `ry` is added in one row of c, no rows of lost."""
    (folder / "fit").mkdir()
    for shard, samples in shards.items():
        about = {"samples": f"digest of {samples}", "lineage": shard, "recipe": "one"}
        with TableWriter(folder / "fit" / f"{shard}.parquet", SCHEMAS["fit"], about) as writer:
            for sample in samples.replace(lost, "") if lost else samples:
                turned = {"c": {1200: ry}}.get(sample, {})
                for frame in range(ROWS):
                    at = float(np.float32(frame / 7 + turned.get(frame, 0)))
                    writer.append(sample=sample, frame=frame, track=0, status="ok", ry=at)


ONE_EACH = {"a": "a", "b": "b", "c": "c", "d": "d"}
PACKS = {"pack0of2": "da", "pack1of2": "bc"}


def test_the_same_samples_in_other_shards_are_the_same(compared: Compared):
    write_shards(compared.folders[0], ONE_EACH)
    write_shards(compared.folders[1], PACKS)
    words = f"{compare.WITHIN}; in other shards"
    code = main(["compare", *map(str, compared.folders)])
    said = compared._capsys.readouterr().out.splitlines()
    assert (code, said[0]) == (0, f"fit/*.parquet\t{words}")
    assert said[1].startswith("1 file or folder of shards: 0 identical, 1 same")


def test_what_differs_in_other_shards_names_the_sample(compared: Compared):
    write_shards(compared.folders[0], ONE_EACH)
    write_shards(compared.folders[1], PACKS, ry=0.5, lost="d")
    code = main(["compare", *map(str, compared.folders)])
    said = compared._capsys.readouterr().out.splitlines()[0]
    assert code == 1
    assert said == (
        f"fit/*.parquet\tdiffers: only in {compared.folders[0]}: d; "
        "c: ry (1 values by up to 0.5); in other shards"
    )


def test_a_shard_that_both_have_is_compared_by_its_file(compared: Compared):
    write_shards(compared.folders[0], {**ONE_EACH, "same": "ef"})
    write_shards(compared.folders[1], {**PACKS, "same": "ef"})
    main(["compare", *map(str, compared.folders)])
    said = compared._capsys.readouterr().out.splitlines()
    assert [line.split("\t")[0] for line in said[:2]] == ["fit/*.parquet", "fit/same.parquet"]
    assert said[1].endswith("\tidentical")
    # names that are the same, of other samples
    for root, packs in zip(compared.folders, (["gh", "ij"], ["gi", "hj"]), strict=True):
        for path in (root / "fit").iterdir():
            path.unlink()
        (root / "fit").rmdir()
        write_shards(root, {f"p{i}": pack for i, pack in enumerate(packs)})
    assert main(["compare", *map(str, compared.folders)]) == 0


def test_hdf5_files_of_other_shards(compared: Compared, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(differences, "_BYTES_AT_ONCE", 64)
    images = {name: np.full((9, 8), i, "f4") for i, name in enumerate("abcd")}

    def write(root: Path, shards: dict[str, str]) -> None:
        (root / "faces").mkdir(exist_ok=True)
        for shard, samples in shards.items():
            made = json.dumps({"samples": samples, "lineage": shard})
            with h5py.File(root / "faces" / f"{shard}.h5", "w") as file:
                file.attrs["facemake"] = made
                for sample in samples:
                    file[f"{sample}/crops"] = images[sample]
            with h5py.File(root / "dataset" / f"{shard}.h5", "w") as file:
                file.attrs["facemake"], file.attrs["num_samples"] = made, 9 * len(samples)
                file["images"] = np.concatenate([images[sample] for sample in samples])
                file["metadata/video_names"] = [s for sample in samples for s in [sample] * 9]

    def said() -> list[str]:
        main(["compare", *map(str, compared.folders)])
        return compared._capsys.readouterr().out.splitlines()[:-1]

    write(compared.folders[0], ONE_EACH)
    write(compared.folders[1], PACKS)
    same = f"{compare.WITHIN}; in other shards"
    assert said() == [f"dataset/*.h5\t{same}", f"faces/*.h5\t{same}"]
    images["b"][8, 7] += 3
    write(compared.folders[1], PACKS)
    other = "differs: b: {} (1 values by up to 3); in other shards"
    assert said() == [
        f"dataset/*.h5\t{other.format('images')}",
        f"faces/*.h5\t{other.format('crops')}",
    ]


def test_other_shards_are_compared_in_flat_memory(
    compared: Compared, monkeypatch: pytest.MonkeyPatch
):
    held: list[int] = []

    def of_rows(*arguments: Any) -> list[str]:
        found = differences.of_rows(*arguments)
        held.append(pa.total_allocated_bytes())
        return found

    monkeypatch.setattr(compare_shards, "of_rows", of_rows)
    shards = {letter: letter for letter in "abcdefghijklmnopqrstuvwxyz"}
    write_shards(compared.folders[0], shards)
    write_shards(compared.folders[1], {"pack": "".join(shards)})
    assert main(["compare", *map(str, compared.folders)]) == 0
    assert len(held) == 26
    one = pq.read_table(compared.folders[0] / "fit" / "a.parquet").nbytes
    assert max(held) - min(held) < 2 * one


def test_hidden_folders_are_not_looked_into(compared: Compared):
    for folder in compared.folders:
        pq.write_table(pa.table({"x": [1.0]}), folder / "x.parquet")
    orphans = compared.folders[0] / ".orphans" / "fit"
    orphans.mkdir(parents=True)
    pq.write_table(pa.table({"x": [1.0]}), orphans / "gone.parquet")
    (compared.folders[1] / ".half.h5").write_bytes(b"half")
    assert compared.run() == (0, {"x.parquet": "identical"})


def test_what_is_missing_or_damaged_differs(compared: Compared):
    a, b = compared.folders
    pq.write_table(pa.table({"x": [1.0]}), a / "x.parquet")
    (a / "y.h5").write_bytes(b"no HDF5")
    (b / "y.h5").write_bytes(b"none either")
    code, said = compared.run()
    assert code == 1
    assert said["x.parquet"] == f"differs: only {a / 'x.parquet'} is there"
    assert said["y.h5"].startswith("differs: it cannot be read")


def test_a_path_that_is_no_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["compare", str(tmp_path), str(tmp_path / "none")]) == 2
    assert "none is no folder" in capsys.readouterr().err
    assert main(["compare", str(tmp_path), str(tmp_path)]) == 2
    assert "there is no table in" in capsys.readouterr().err
