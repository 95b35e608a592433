"""The export of native results in 3DI's formats: what is written is what the tables say."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from facemake import exports, geometry
from facemake.backends.threedi import Engine, rawfiles
from facemake.backends.threedi.turns import rotation_from_vector
from facemake.cli import export as command
from facemake.errors import FacemakeError
from facemake.processors import dicts
from facemake.provenance import Recipe, file_sha256
from facemake.stages.export_3di import BFM, Kind, export_3di, kinds, write_rows
from facemake.tables import SCHEMAS, TableReader, TableWriter, list_array
from makestudy import Study, inside

RECIPE = Recipe(stage="export_3di", backend=None, settings={}, models=(), code="0")
NAMES = ("probe", "detections", "landmarks", "fit", "smooth")


@pytest.fixture(scope="module")
def exported(portraits: Study) -> Path:
    """The folder of the exported files of the shard."""
    shard = portraits.plan.shards[0]
    tables = {name: portraits.table(name, shard) for name in NAMES}
    folder = portraits.folder / "results" / "export" / "3di"
    output = folder / ".shards" / f"{shard}.json"
    with inside(portraits.folder):
        export_3di(portraits.plan_file(shard), tables, folder, output, RECIPE)
    return folder


def rows(study: Study, stage: str, sample: str) -> pd.DataFrame:
    table = pd.read_parquet(study.table(stage, study.plan.shards[0]))
    return table[(table["sample"] == sample) & (table["track"] == 0)].reset_index(drop=True)


def stacked(column: pd.Series, width: int) -> np.ndarray:
    return np.stack([np.full(width, np.nan) if v is None else v for v in column])


@pytest.mark.parametrize("sample", ["clip", "collins", "blank"])
def test_what_is_read_back_is_what_the_tables_say(portraits: Study, exported: Path, sample: str):
    def path(kind: str) -> Path:
        return exported / f"{sample}_{kind}.3DI"

    boxes = rows(portraits, "detections", sample)
    found = dicts.read_rectangles(path("rects"), Engine.FULL)["data"]
    wanted = boxes[["x", "y", "w", "h"]].astype(float).fillna(0.0)
    np.testing.assert_allclose(found, wanted, atol=0.0051)

    landmarks = rows(portraits, "landmarks", sample)
    points = stacked(landmarks["points"], 956).reshape(-1, 478, 2)
    found = dicts.read_landmarks(path("landmarks"), Engine.FULL)["data"].to_numpy()
    there = ~np.isnan(points[:, 0, 0])
    assert (found[~there] == 0).all()
    # by anatomy, not by the table that the export uses: outer eye corners and the nose tip
    for ibug51, mesh in ((19, 33), (28, 263), (13, 4)):
        seen = found.reshape(-1, 51, 2)[there, ibug51]
        np.testing.assert_allclose(seen, points[there, mesh], atol=6e-5)

    for kind, stage in (("pose", "fit"), ("pose_smooth", "smooth")):
        table = rows(portraits, stage, sample)
        found = dicts.read_pose(path(kind), Engine.FULL)["data"]
        wanted = table[["tx", "ty", "tz", "rx", "ry", "rz"]]
        np.testing.assert_allclose(found, wanted.astype(float), atol=6e-7, rtol=1e-7)

    table = rows(portraits, "smooth", sample)
    found = dicts.read_canonical_landmarks(path("landmarks_canonicalized"), Engine.FULL)["data"]
    np.testing.assert_allclose(found, stacked(table["canonical"], 153), atol=6e-5)
    assert len(found) == len(boxes)


def test_a_frame_without_a_face_has_3dis_zeros_and_no_pose(exported: Path):
    assert (exported / "blank_rects.3DI").read_text() == "0.00 0.00 0.00 0.00\n"
    assert set((exported / "blank_landmarks.3DI").read_text().split()) == {"0.0000"}
    assert set((exported / "blank_pose.3DI").read_text().split()) == {"nan"}


def test_the_three_columns_that_are_ignored_hold_the_turn_too(exported: Path):
    values = rawfiles.read(exported / "clip_pose.3DI", "pose", Engine.FULL)
    angles = values[:, [7, 6, 8]]
    assert np.abs(angles).max() > 0.1
    np.testing.assert_allclose(
        rotation_from_vector(values[:, 3:6]), geometry.rotation_from_euler(angles), atol=3e-6
    )


def test_what_is_not_the_same_quantity_has_no_file(exported: Path):
    assert not list(exported.glob("*expression*"))
    names = {path.name for path in exported.glob("clip_*.3DI")}
    kinds = "rects", "landmarks", "pose", "pose_smooth", "landmarks_canonicalized"
    assert names == {f"clip_{kind}.3DI" for kind in kinds}


def test_a_sample_that_cannot_be_read_has_no_files(portraits: Study, exported: Path):
    assert not list(exported.glob("nonsense*"))
    listed = json.loads(next((exported / ".shards").glob("*.json")).read_text())
    assert listed["files"]["nonsense"] == {}
    for name, sha256 in listed["files"]["clip"].items():
        assert file_sha256(exported / name) == sha256
    assert len(listed["files"]["clip"]) == 5


def test_sidecars_name_facemake_and_no_place(portraits: Study, exported: Path):
    for path in exported.glob("*.3DI"):
        text = path.with_name(f"{path.name}.json").read_text()
        word = json.loads(text)
        assert word["backend"] == "facemake" and word["track"] == 0
        assert str(portraits.folder) not in text
    table = pd.read_parquet(portraits.table("probe", portraits.plan.shards[0]))
    word = json.loads((exported / "clip_rects.3DI.json").read_text())
    assert word["input_hash"] == table.set_index("sample")["sha256"]["clip"]


def test_the_same_tables_give_the_same_bytes(portraits: Study, exported: Path, tmp_path: Path):
    shard = portraits.plan.shards[0]
    tables = {name: portraits.table(name, shard) for name in NAMES}
    with inside(portraits.folder):
        export_3di(
            portraits.plan_file(shard), tables, tmp_path / "again", tmp_path / "list.json", RECIPE
        )
    for path in (tmp_path / "again").iterdir():
        assert path.read_bytes() == (exported / path.name).read_bytes()


def test_without_smoothing_the_canonical_landmarks_are_of_the_fit():
    found = kinds(smoothed=False, model="builtin")
    assert set(found) == {"rects", "landmarks", "pose", "landmarks_canonicalized"}
    assert found["landmarks_canonicalized"].table == "fit"


def test_coefficients_of_bfm_are_3dis(tmp_path: Path):
    found = kinds(smoothed=True, model=BFM)
    assert found["expression_smooth"].table == "smooth"
    values = np.linspace(-900, 900, 3 * 79).reshape(3, 79)
    there = np.array([True, False, True])
    table = tmp_path / "fit.parquet"
    with TableWriter(table, SCHEMAS["fit"], {}) as writer:
        writer.append_columns(
            "a",
            {
                "frame": np.arange(3, dtype=np.int32),
                "track": np.zeros(3, np.int16),
                "expression": list_array(values, there),
                "status": ["ok", "no_face", "ok"],
            },
        )
    with TableReader(table) as reader:
        write_rows(tmp_path / "a_expression.3DI", found["expression"], reader, "a")
    read = dicts.read_expressions(tmp_path / "a_expression.3DI", Engine.FULL)
    assert read["schema"] == "3DI-G79"
    np.testing.assert_allclose(read["data"], np.where(there[:, None], values, np.nan), atol=1e-4)


def long_table(path: Path, n: int, skip: int | None = None, tracks: int = 2) -> Path:
    """Boxes of n frames, each of two faces."""
    frame = np.repeat(np.arange(n, dtype=np.int32), tracks)
    keep = frame != skip
    with TableWriter(path, SCHEMAS["detections"], {}) as writer:
        writer.append_columns(
            "a",
            {
                "frame": frame[keep],
                "track": np.tile(np.arange(tracks, dtype=np.int16), n)[keep],
                **{name: frame[keep].astype(np.float32) for name in "xywh"},
                "status": ["ok"] * int(keep.sum()),
            },
        )
    return path


def test_a_frame_is_missing(tmp_path: Path):
    with (
        TableReader(long_table(tmp_path / "a.parquet", 2000, skip=700)) as reader,
        pytest.raises(FacemakeError, match=r"a\.parquet has not one row"),
    ):
        write_rows(tmp_path / "out", kinds(True, "builtin")["rects"], reader, "a")
    assert not (tmp_path / "out").exists()


def test_memory_does_not_grow_with_the_recording(tmp_path: Path):
    rects: Kind = kinds(True, "builtin")["rects"]

    def peak(n: int) -> int:
        with TableReader(long_table(tmp_path / f"{n}.parquet", n)) as reader:
            tracemalloc.start()
            assert write_rows(tmp_path / f"{n}.3DI", rects, reader, "a") == n
            used = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        return used

    peak(100)
    assert peak(60_000) < peak(3_000) + 500_000


def test_tables_of_3di_are_not_exported(portraits: Study, tmp_path: Path):
    shard = portraits.plan.shards[0]
    fit = tmp_path / "fit.parquet"
    metadata = {"recipe": {"stage": "threedi_fit"}, "upstream": {}, "lineage": "0"}
    with TableWriter(fit, SCHEMAS["fit"], metadata):
        pass
    tables = {name: portraits.table(name, shard) for name in NAMES[:3]} | {"fit": fit}
    with inside(portraits.folder), pytest.raises(FacemakeError, match="was made by 3DI"):
        export_3di(portraits.plan_file(shard), tables, tmp_path, tmp_path / "l", RECIPE)


def test_the_command(portraits: Study, exported: Path, tmp_path: Path, capsys):
    results = str(portraits.folder / "results")
    arguments = ["export", "3di", "clip", "blank", "--results", results]
    assert parse([*arguments, "--output", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out.split()
    assert len(printed) == 10
    for path in map(Path, printed):
        assert path.read_bytes() == (exported / path.name).read_bytes()
    with pytest.raises(FacemakeError, match="has no sample nobody"):
        parse(["export", "3di", "nobody", "--results", results])
    with pytest.raises(FacemakeError, match="--results its results"):
        parse(["export", "3di", "clip", "--results", str(tmp_path)])


def test_3dis_own_files_are_not_written_over(portraits: Study, tmp_path: Path):
    (tmp_path / "clip_pose.3DI").write_text("1 2 3\n")
    arguments = ["export", "3di", "clip", "--results", str(portraits.folder / "results")]
    with pytest.raises(FacemakeError, match=r"clip_pose\.3DI is there and was not exported"):
        parse([*arguments, "--output", str(tmp_path)])
    (tmp_path / "clip_pose.3DI.json").write_text('{"backend": "3DI"}')
    with pytest.raises(FacemakeError, match="another folder"):
        parse([*arguments, "--output", str(tmp_path)])
    assert {path.name for path in tmp_path.iterdir()} == {"clip_pose.3DI", "clip_pose.3DI.json"}
    assert (tmp_path / "clip_pose.3DI").read_text() == "1 2 3\n"


def parse(arguments: list[str]) -> int:
    """Run the command by itself: it need not be in `facemake` yet."""
    import argparse

    parser = argparse.ArgumentParser()
    command.add_to(parser.add_subparsers())
    options = parser.parse_args(arguments)
    return options.function(options, [])


def test_lists_of_what_is_gone_and_files_of_samples_that_went(tmp_path: Path):
    folder = tmp_path / "export" / "3di"
    (folder / ".shards").mkdir(parents=True)
    for name in ("a_pose_smooth.3DI", "a_pose_smooth.3DI.json", "b_pose_pose.3DI", "mine.txt"):
        (folder / name).write_text('{"backend": "facemake"}')
    for shard, file in (("a", "a_pose_smooth.3DI"), ("b_pose", "b_pose_pose.3DI"), ("c", "gone")):
        text = json.dumps({"files": {shard: {file: "0"}}})
        (folder / ".shards" / f"{shard}.json").write_text(text)
    (folder / ".shards/d.json").write_text("not JSON")
    (folder / ".shards/unreadable.json").write_text('{"files": {"unreadable": {}}}')
    assert [path.stem for path in exports.drop_broken(tmp_path)] == ["c", "d"]
    moved = exports.set_aside(
        tmp_path, {"b_pose", "unreadable"}, {"b_pose": "b", "unreadable": "u"}
    )
    assert {path.name for path in moved} == {"a_pose_smooth.3DI", "a_pose_smooth.3DI.json"}
    assert all(path.parent == tmp_path / ".orphans" / "export/3di" for path in moved)
    left = {path.name for path in folder.iterdir()} | {
        path.name for path in (folder / ".shards").iterdir()
    }
    assert left == {".shards", "b_pose_pose.3DI", "mine.txt", "b_pose.json", "unreadable.json"}
