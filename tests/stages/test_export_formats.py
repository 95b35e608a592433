"""Exports in the formats of OpenFace and py-feat, and of any table: read back by pandas."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import math
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from facemake import geometry
from facemake.backends.aus import AU_COLUMNS
from facemake.backends.fit import load
from facemake.cli import export as command
from facemake.cli import main
from facemake.csvs import write_csv
from facemake.errors import FacemakeError
from facemake.geometry import Camera
from facemake.stages import export_openface as openface
from facemake.stages import export_pyfeat as pyfeat
from facemake.stages.export_tables import CsvWriter, ParquetWriter
from facemake.stages.exporting import Tables
from facemake.tables import SCHEMAS, TableReader, TableWriter, coefficient_schema, list_array
from makestudy import Study

SAMPLES = ("clip", "collins", "hopper", "blank", "nonsense")
NAMES = ("probe", "detections", "landmarks", "fit", "identity", "smooth", "expressions", "aus")


@pytest.fixture(scope="module")
def tables(portraits: Study):
    shard = portraits.plan.shards[0]
    with Tables.open({name: portraits.table(name, shard) for name in NAMES}) as opened:
        yield opened


@pytest.fixture(scope="module")
def written(tables: Tables, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every sample in both formats, in a folder each."""
    folder = tmp_path_factory.mktemp("exported")
    for name, form in (("openface", openface.OpenFaceWriter), ("pyfeat", pyfeat.PyFeatWriter)):
        (folder / name).mkdir()
        writer = form(tables)
        for sample in SAMPLES:
            writer.write(sample, folder / name)
    return folder


def of(study: Study, table: str, sample: str) -> pd.DataFrame:
    whole = pd.read_parquet(study.table(table, study.plan.shards[0]))
    return whole[whole["sample"] == sample].reset_index(drop=True)


def numbered(text: str, last: int) -> list[str]:
    return [text.format(i) for i in range(last + 1)]


def test_openfaces_columns_are_its_own_in_its_order(written: Path):
    """From the page "Output Format" of OpenFace's wiki, written down anew."""
    eyes = [name for a in "xyXYZ" for name in numbered(f"eye_lmk_{a}_{{}}", 55)]
    units = [
        "01",
        "02",
        "04",
        "05",
        "06",
        "07",
        "09",
        "10",
        "12",
        "14",
        "15",
        "17",
        "20",
        "23",
        "25",
        "26",
    ]
    wanted = [
        *["frame", "face_id", "timestamp", "confidence", "success"],
        *(f"gaze_{eye}_{axis}" for eye in "01" for axis in "xyz"),
        *("gaze_angle_x", "gaze_angle_y", *eyes),
        *(f"pose_{kind}{axis}" for kind in "TR" for axis in "xyz"),
        *(name for axis in "xyXYZ" for name in numbered(f"{axis}_{{}}", 67)),
        *("p_scale", "p_rx", "p_ry", "p_rz", "p_tx", "p_ty", *numbered("p_{}", 33)),
        *(f"AU{unit}_r" for unit in (*units, "45")),
        *(f"AU{unit}_c" for unit in (*units, "28", "45")),
    ]
    assert len(wanted) == 714
    header = (written / "openface" / "nonsense.csv").read_text()
    assert header == ",".join(wanted) + "\n"


def test_openface_says_what_the_tables_say(portraits: Study, written: Path):
    read = pd.read_csv(written / "openface" / "clip.csv")
    fit, marks, aus = (of(portraits, name, "clip") for name in ("fit", "landmarks", "aus"))
    assert read["frame"].tolist() == (fit["frame"] + 1).tolist()
    assert (read["face_id"] == 0).all() and (read["success"] == 1).all()
    np.testing.assert_array_equal(read["timestamp"], marks["time"])
    for name in (*openface.GROUPS["gaze"], *openface.GROUPS["intensities"], "AU28_c"):
        table = fit if "gaze" in name else aus
        np.testing.assert_array_equal(read[name].astype(np.float32), table[name])
    corner = np.stack(marks["points"]).reshape(-1, 478, 2)[:, 33]  # by anatomy: point 36
    np.testing.assert_array_equal(read[["x_36", "y_36"]].astype(np.float32), corner)
    assert read.filter(regex=r"^eye_lmk|^p_\d").isna().all(axis=None)


def test_the_fitted_model_projects_to_where_the_landmarks_are(portraits: Study, written: Path):
    read = pd.read_csv(written / "openface" / "clip.csv")
    row = of(portraits, "probe", "clip").iloc[0]
    solid = np.stack([read[[f"{a}_{i}" for i in range(68)]] for a in "XYZ"], axis=-1)
    seen = np.stack([read[[f"{a}_{i}" for i in range(68)]] for a in "xy"], axis=-1)
    flat = Camera.from_fov(row["width"], row["height"], 30.0).project(solid)
    error = np.sqrt(((flat - seen)[:, 17:] ** 2).sum(axis=2).mean(axis=1))
    wanted = of(portraits, "fit", "clip")["error_px"]
    np.testing.assert_allclose(error, wanted, rtol=1e-3, atol=1e-3)
    # the head's place is that of the middle of its points, but for what makes this face its own
    place = read[["pose_Tx", "pose_Ty", "pose_Tz"]].to_numpy()
    assert np.linalg.norm(solid.mean(axis=1) - place, axis=1).max() < 8
    shift = read[["p_tx", "p_ty"]].to_numpy() - seen.mean(axis=1)
    assert np.abs(shift).max() < 6


def about(axis: int, angle: float) -> np.ndarray:
    """The turn about an axis by the right-hand rule."""
    c, s = math.cos(angle), math.sin(angle)
    i, j = ((1, 2), (2, 0), (0, 1))[axis]
    turn = np.eye(3)
    turn[i, i] = turn[j, j] = c
    turn[j, i], turn[i, j] = s, -s
    return turn


KNOWN = [(0.3, 0, 0), (0, 0.5, 0), (0, 0, -0.4), (0.3, -0.5, 0.2), (-0.6, 0.7, 1.1)]


@pytest.mark.parametrize("angles", KNOWN)
def test_openfaces_angles_of_known_heads(angles: tuple[float, float, float]):
    """Ours are of Rz Ry Rx, OpenFace's of Rx Ry Rz: the same head, other numbers."""
    pitch, yaw, roll = angles
    head = about(2, roll) @ about(1, yaw) @ about(0, pitch)
    np.testing.assert_allclose(geometry.rotation_from_euler([angles])[0], head, atol=1e-12)
    origin = np.array([1.0, 9.0, -5.0])
    got = openface.openface_pose(head[None], np.array([[10.0, 20.0, 600.0]]), origin)[0]
    rx, ry, rz = got[3:]
    np.testing.assert_allclose(about(0, rx) @ about(1, ry) @ about(2, rz), head, atol=1e-12)
    np.testing.assert_allclose(got[:3], [10, 20, 600] + head @ origin, atol=1e-9)
    if np.count_nonzero(angles) == 1:
        np.testing.assert_allclose(got[3:], angles, atol=1e-12)
    else:
        assert np.abs(got[3:] - angles).max() > 0.01


def test_the_origin_is_the_middle_of_the_68_points():
    model = load("builtin")
    np.testing.assert_allclose(openface.model_origin(model), model.mean.mean(axis=0))
    assert openface.model_origin(None).tolist() == [0, 0, 0]


def test_a_frame_without_a_face_has_no_numbers(written: Path):
    read = pd.read_csv(written / "openface" / "blank.csv")
    there = read.loc[0].dropna().to_dict()
    assert there.keys() <= {"frame", "face_id", "timestamp", "success"}
    assert there["frame"] == 1 and there["success"] == 0
    fex = pd.read_csv(written / "pyfeat" / "blank.csv")
    assert fex.loc[0].dropna().to_dict() == {
        "FaceScore": 0.0,
        "Identity": "Person_0",
        "input": "blank",
        "frame": 0,
    }


def test_a_picture_of_its_own_has_no_identity_and_so_no_model(portraits: Study, written: Path):
    read = pd.read_csv(written / "openface" / "collins.csv")
    identity = of(portraits, "identity", "collins")
    known = identity["neutral"].notna().all()
    assert read[["X_0", "Z_67"]].notna().all(axis=None) == known
    assert read[["pose_Tz", "x_0", "AU12_r"]].notna().all(axis=None)


@pytest.mark.parametrize("form", ["openface", "pyfeat"])
def test_what_is_said_beside_each_file(form: str, portraits: Study, written: Path):
    said = json.loads((written / form / "nonsense.csv.json").read_text())
    assert said["status"] == "unreadable" and said["reason"] and said["rows"] == {}
    said = json.loads((written / form / "blank.csv.json").read_text())
    assert said["status"] == "no_face" or said["rows"] == {"no_face": 1}
    text = (written / form / "clip.csv.json").read_text()
    said = json.loads(text)
    assert said["rows"] == {"ok": said["frames"]}
    assert {"detect", "landmarks", "fit", "aus"} <= said["stages"].keys()
    assert "proxy" in json.dumps(said["columns"])
    assert str(portraits.folder) not in text


def test_pyfeats_columns_are_those_of_its_first_detector(written: Path):
    """From `feat.utils` of py-feat 2.1.5, written down anew."""
    units = (1, 2, 4, 5, 6, 7, 9, 10, 11, 12, 14, 15, 17, 20, 23, 24, 25, 26, 28, 43)
    wanted = [
        *(f"FaceRect{name}" for name in ("X", "Y", "Width", "Height")),
        *("FaceScore", *numbered("x_{}", 67), *numbered("y_{}", 67)),
        *("Pitch", "Roll", "Yaw", "X", "Y", "Z", *(f"AU{n:02d}" for n in units)),
        *("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral"),
        *("Identity", "input", "frame"),
    ]
    assert (written / "pyfeat" / "nonsense.csv").read_text() == ",".join(wanted) + "\n"


def test_pyfeats_numbers(portraits: Study, written: Path):
    read = pd.read_csv(written / "pyfeat" / "clip.csv")
    fit, aus, boxes = (of(portraits, name, "clip") for name in ("fit", "aus", "detections"))

    def same(columns: list[str], wanted: object) -> None:
        got = read[columns].to_numpy(np.float32)
        np.testing.assert_allclose(got, np.asarray(wanted, np.float32), rtol=1e-6)

    same([f"FaceRect{n}" for n in ("X", "Y", "Width", "Height")], boxes[list("xywh")])
    same(["FaceScore"], boxes[["score"]])
    same(["Pitch", "Yaw", "Roll"], fit[["rx", "ry", "rz"]] * [-1, 1, -1])
    same(["AU12", "AU43"], aus[["AU12_r", "AU45_r"]] / 5)
    same(["AU28"], aus[["AU28_c"]])
    assert read.filter(regex="AU").max(axis=None) <= 1
    absent = ["AU11", "AU24", *"XYZ", "anger", "disgust", "fear", "happiness", "sadness"]
    assert read[[*absent, "surprise", "neutral"]].isna().all(axis=None)
    assert read["frame"].tolist() == list(range(len(fit)))


BUILTIN = {"model": "builtin"}


def two_faces(
    folder: Path,
    n: int,
    settings: dict[str, str] | None = None,
    pdm: str = "34 modes derived from another model",
) -> Tables:
    """Tables of a recording of n frames, in the second half of which there are two faces."""
    frame = np.concatenate([np.arange(n // 2), np.repeat(np.arange(n // 2, n), 2)])
    track = np.concatenate([np.zeros(n // 2, int), np.tile([0, 1], n - n // 2)])
    status = np.where((frame == 1) & (track == 0), "not_converged", "ok")
    there = status == "ok"
    key = {"frame": frame.astype(np.int32), "track": track.astype(np.int16)}

    def fill(value: np.ndarray) -> pa.Array:
        return pa.array(value.astype(np.float32), mask=~there)

    model = load("builtin")
    fitted = {
        **{f"t{a}": fill(track * 100.0) for a in "xyz"},
        **{f"r{a}": fill(track * 0.1) for a in "xyz"},
        "expression": list_array(np.zeros((len(frame), len(model.expression))), there),
        "global_params": list_array(np.ones((len(frame), 6)), there),
        "local_params": list_array(np.ones((len(frame), 34)), there),
    }
    points = list_array(np.tile(track[:, None] * 10.0, (1, 956)), np.ones(len(frame), bool))
    marks = {"time": frame / 25.0, "scheme": ["mediapipe478"] * len(frame), "points": points}
    units = {name: fill(track + 1.0) for name in AU_COLUMNS}
    boxes = {"time": frame / 25.0, **dict.fromkeys("xywh", track * 1.0), "score": track * 0.5}
    models = [{"name": model.name, "sha256": model.sha256, "pdm": pdm}]

    def write(name: str, schema: pa.Schema, columns: dict, stage: str) -> Path:
        recipe = {"stage": stage, "backend": None, "settings": settings or {}}
        recipe |= {"models": models, "version": "0", "code": "0"}
        path = folder / f"{name}{n}.parquet"
        with TableWriter(path, schema, {"recipe": recipe, "upstream": {}}) as writer:
            writer.append_columns("a", columns)
        return path

    one = np.array([True, True])
    people = {"track": [0, 1], "neutral": list_array(np.tile(model.mean.ravel(), (2, 1)), one)}
    probe = {"status": ["ok"], "reason": [""], "n_frames": [n]}
    status_of = {"status": status.tolist()}
    coefficients = coefficient_schema(AU_COLUMNS, "0-5")
    return Tables.open(
        {
            "probe": write("probe", SCHEMAS["probe"], probe, "probe"),
            "detections": write(
                "detections", SCHEMAS["detections"], {**key, **boxes, **status_of}, "detect"
            ),
            "landmarks": write(
                "landmarks", SCHEMAS["landmarks"], {**key, **marks, **status_of}, "landmarks"
            ),
            "fit": write("fit", SCHEMAS["fit"], {**key, **fitted, **status_of}, "fit"),
            "identity": write(
                "identity", SCHEMAS["identity"], {**people, "status": ["ok", "ok"]}, "fit"
            ),
            "aus": write("aus", coefficients, {**key, **units, **status_of}, "aus"),
        }
    )


def test_several_faces_and_a_frame_that_failed(tmp_path: Path):
    with two_faces(tmp_path, 6, BUILTIN) as tables:
        openface.OpenFaceWriter(tables).write("a", tmp_path)
        read = pd.read_csv(tmp_path / "a.csv")
        assert read["frame"].tolist() == [1, 2, 3, 4, 4, 5, 5, 6, 6]
        assert read["face_id"].tolist() == [0, 0, 0, 0, 1, 0, 1, 0, 1]
        assert read["success"].tolist() == [1, 0, *[1] * 7]
        failed = read.loc[1].drop(["frame", "face_id", "timestamp", "success"])
        assert failed.drop([n for n in read if n[:2] in ("x_", "y_")]).isna().all()
        assert (read.loc[read["face_id"] == 1, "AU06_r"] == 2).all()
        # what is there is the model at its place
        model, other = load("builtin"), read.loc[4]
        turn = about(2, 0.1) @ about(1, 0.1) @ about(0, 0.1)
        np.testing.assert_allclose(
            other[["X_30", "Y_30", "Z_30"]], turn @ model.mean[30] + 100, rtol=1e-5
        )
        pyfeat.PyFeatWriter(tables).write("a", tmp_path)
        fex = pd.read_csv(tmp_path / "a.csv")
        assert fex["Identity"].tolist() == [f"Person_{k}" for k in read["face_id"]]
        assert fex.loc[1, ["FaceScore", "Pitch", "AU12"]].isna().tolist() == [False, True, True]


@pytest.mark.parametrize("unit", [")", ", its unit is 1.02 mm)"])
def test_modes_are_those_of_openfaces_own_model_alone(unit: str, tmp_path: Path):
    own = f"OpenFace's own 34 modes (In-the-wild_aligned_PDM_68.txt{unit}"
    with two_faces(tmp_path, 4, BUILTIN, own) as tables:
        openface.OpenFaceWriter(tables).write("a", tmp_path)
    modes = pd.read_csv(tmp_path / "a.csv").filter(regex=r"^p_\d")
    assert modes.shape[1] == 34
    if unit == ")":
        assert (modes.dropna() == 1).all(axis=None) and modes.isna().all(axis=1).sum() == 1
    else:  # other numbers than OpenFace's
        assert modes.isna().all(axis=None)


def test_another_engines_fit_has_no_model_of_ours(tmp_path: Path):
    with two_faces(tmp_path, 4) as tables:
        openface.OpenFaceWriter(tables).write("a", tmp_path)
    read = pd.read_csv(tmp_path / "a.csv")
    assert read.filter(regex="^[XYZ]_").isna().all(axis=None)
    seen = read[read["success"] == 1]
    np.testing.assert_allclose(seen["pose_Tx"], seen["face_id"] * 100.0)  # as the table has it
    np.testing.assert_array_equal(seen["p_tx"], 1)
    said = json.loads((tmp_path / "a.csv.json").read_text())
    assert said["columns"]["X_*, Y_*, Z_*"] == "empty"


def test_memory_does_not_grow_with_the_recording(tmp_path: Path):
    def peak(n: int) -> int:
        with two_faces(tmp_path, n, BUILTIN) as tables:
            writer = openface.OpenFaceWriter(tables)
            tracemalloc.start()
            writer.write("a", tmp_path)
            used = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        return used

    peak(20)
    assert peak(800) < peak(300) + 500_000


def test_tables_as_csv_say_what_the_tables_say(portraits: Study, tables: Tables, tmp_path: Path):
    CsvWriter(tables, {"tables": list(NAMES)}).write("clip", tmp_path)
    for name in NAMES:
        read = pd.read_csv(tmp_path / f"clip~{name}.csv")
        table = of(portraits, name, "clip")
        assert len(read) == len(table)
        for column in table:
            first = next(iter(table[column].dropna()), None)
            if isinstance(first, np.ndarray):
                flat = read.filter(regex=rf"^{column}_[a-z]*\d*$").to_numpy(np.float32)
                np.testing.assert_array_equal(flat, np.stack(table[column]), column)
            elif table[column].dtype == np.float32:
                np.testing.assert_array_equal(read[column].astype(np.float32), table[column])
            elif first:
                assert read[column].tolist() == table[column].tolist()
        said = json.loads((tmp_path / f"clip~{name}.csv.json").read_text())
        assert said["columns"].keys() <= set(table) and said["stages"]
    header = pd.read_csv(tmp_path / "clip~landmarks.csv", nrows=0).columns
    assert header[5:9].tolist() == ["points_x0", "points_y0", "points_x1", "points_y1"]


def test_tables_as_parquet_are_tables_of_facemake(portraits: Study, tables: Tables, tmp_path: Path):
    ParquetWriter(tables, {"tables": ["fit", "aus"]}).write("clip", tmp_path)
    for name in ("fit", "aus"):
        path = tmp_path / f"clip~{name}.parquet"
        wanted = of(portraits, name, "clip")
        pd.testing.assert_frame_equal(pd.read_parquet(path), wanted, check_dtype=False)
        with TableReader(path) as reader:
            assert reader.metadata == tables.readers[name].metadata


def test_a_list_of_another_length_is_no_lost_number(tmp_path: Path):
    ragged = pa.array([[1.0, 2.0], [1.0]], pa.list_(pa.float32()))
    key = {"frame": np.arange(2, dtype=np.int32), "track": np.zeros(2, np.int16)}
    path = tmp_path / "t.parquet"
    with TableWriter(path, SCHEMAS["embeddings"], {"recipe": {}}) as writer:
        writer.append_columns("a", {**key, "embedding": ragged})
    with TableReader(path) as reader:
        writer = CsvWriter(Tables({"embeddings": reader}), {"tables": ["embeddings"]})
        with pytest.raises(FacemakeError, match="embedding is not 2 numbers in every row"):
            writer.write("a", tmp_path)
    assert not (tmp_path / "a~embeddings.csv").exists()


def test_words_and_what_is_missing_in_a_table_of_tabs(tmp_path: Path):
    schema = pa.schema([("a", pa.float32()), ("b", pa.string())])
    rows = pa.RecordBatch.from_arrays(
        [pa.array([0.1, None], pa.float32()), ["x", None]], ["a", "b"]
    )
    path = tmp_path / "t.tsv"
    assert write_csv(path, schema, [rows.cast(schema)], separator="\t", missing="n/a") == 2
    assert path.read_text() == "a\tb\n0.1\tx\nn/a\tn/a\n"


def parse(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    command.add_to(parser.add_subparsers())
    options = parser.parse_args(["export", *arguments])
    return options.function(options, [])


def test_the_command(portraits: Study, written: Path, tmp_path: Path, capsys):
    results = ("--results", str(portraits.folder / "results"))
    assert parse("openface", "clip", "nonsense", *results, "--output", str(tmp_path / "o")) == 0
    printed = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert [p.name for p in printed if p.suffix == ".csv"] == ["clip.csv", "nonsense.csv"]
    for path in printed:
        assert path.read_bytes() == (written / "openface" / path.name).read_bytes()
    assert parse("csv", "--all", "-t", "aus", *results, "--output", str(tmp_path / "c")) == 0
    found = {p.relative_to(tmp_path / "c").as_posix() for p in (tmp_path / "c").rglob("*.csv")}
    assert found == {f"aus/{sample}.csv" for sample in SAMPLES}
    here = ("-d", str(portraits.folder), "--output", str(tmp_path / "d"))
    assert parse("openface", "clip", *here) == 0
    for name in ("clip.csv", "clip.csv.json"):
        assert (tmp_path / "d" / name).read_bytes() == (tmp_path / "o" / name).read_bytes()
    with pytest.raises(FacemakeError, match="-d names the folder of a finished run"):
        parse("openface", "clip", "-d", str(tmp_path))
    with pytest.raises(FacemakeError, match=r"has no sample nobody$"):
        parse("pyfeat", "clip", "nobody", *results)
    with pytest.raises(FacemakeError, match=r"has no sample clips; did you mean clip\?"):
        parse("pyfeat", "clips", *results)
    with pytest.raises(FacemakeError, match="does not make embeddings"):
        parse("parquet", "clip", "-t", "embeddings", *results)
    with pytest.raises(FacemakeError, match="--all"):
        parse("pyfeat", *results)
    (tmp_path / "file").touch()
    with pytest.raises(FacemakeError, match="cannot be read or written"):
        parse("pyfeat", "clip", *results, "--output", str(tmp_path / "file"))

    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError(32, "Broken pipe")  # as `| head` makes it

    with (
        contextlib.redirect_stdout(Closed()),
        pytest.raises(FacemakeError, match=r"not all are in .*; run it again without"),
    ):
        parse("openface", "clip", *results, "--output", str(tmp_path / "e"))


def test_a_table_that_lacks_frames_is_no_shorter_file(portraits: Study, tmp_path: Path):
    shard = portraits.plan.shards[0]
    paths = {name: portraits.table(name, shard) for name in NAMES}
    with TableReader(paths["fit"]) as reader:
        short = tmp_path / "fit.parquet"
        with TableWriter(short, reader.schema.remove_metadata(), reader.metadata) as writer:
            for name in reader.samples:
                if name != "clip":
                    writer.write_table(reader.read(name))
    with Tables.open({**paths, "fit": short}) as tables:
        for form in (CsvWriter, ParquetWriter):
            with pytest.raises(FacemakeError, match="has 0 frames of clip, which has 75"):
                form(tables, {"tables": ["fit"]}).write("clip", tmp_path)
        with pytest.raises(FacemakeError, match="does not have the rows of"):
            openface.OpenFaceWriter(tables).write("clip", tmp_path)
        with pytest.raises(FacemakeError, match="does not have the rows of"):
            pyfeat.PyFeatWriter(tables).write("clip", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["fit.parquet"]


def test_what_made_an_exported_file(written: Path, tmp_path: Path, capsys):
    assert main(["provenance", str(written / "openface" / "clip.csv")]) == 0
    assert json.loads(capsys.readouterr().out)["stages"]["fit"]["models"]
    (tmp_path / "a.csv").touch()
    (tmp_path / "a.csv.json").write_text("[]")
    assert main(["provenance", str(tmp_path / "a.csv")]) == 2
    assert "was not exported by facemake" in capsys.readouterr().err


def test_a_table_that_there_is_not_is_told_the_nearest(
    portraits: Study, capsys: pytest.CaptureFixture[str]
):
    export = ["export", "csv", "-d", str(portraits.folder)]
    with pytest.raises(SystemExit):
        main([*export, "--tables", "auss"])
    assert main([*export, "--tables", "fit", "auss"]) == 2
    assert main([*export, "--all", "--tables", "fit", "auss"]) == 2
    there, sample, both = capsys.readouterr().err.splitlines()[-3:]
    assert there.endswith("there is no 'auss'; did you mean aus?")
    assert sample.endswith("has no sample auss; did you mean aus?")
    assert both.endswith("--all means all samples, and auss is named beside it")
