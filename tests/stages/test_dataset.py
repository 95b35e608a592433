from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest

from facemake import h5, tables
from facemake.backends.fit import load
from facemake.dataset import layout
from facemake.dataset.fhog import fhog
from facemake.errors import TableError
from facemake.exclusions import Exclusions
from facemake.geometry import apply_affine, rotation_from_euler_xyz
from facemake.provenance import LIBRARY
from facemake.samples import read_shard, samples_digest, shard_text
from facemake.schemes import MEDIAPIPE478, MEDIAPIPE478_TO_IBUG68
from facemake.stages import dataset as stage
from facemake.stages.merge_dataset import merge_dataset
from makestudy import Study, inside, make_study

pytestmark = pytest.mark.xdist_group("dataset")

SHARD = "pack0of1"


@pytest.fixture(scope="session")
def examples(portraits: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The examples of the portraits; their counts lie beside them."""
    path = tmp_path_factory.mktemp("examples") / f"{SHARD}.h5"
    portraits.dataset(SHARD, path)
    return path


def whole(path: Path) -> dict[str, Any]:
    """All of a file in memory."""
    with h5py.File(path) as file:
        return {field.name: file[field.name][:] for field in layout.FIELDS}


def names(path: Path) -> list[str]:
    with h5py.File(path) as file:
        return [name.decode() for name in file["metadata/video_names"][:]]


def test_every_good_face_becomes_an_example(examples):
    found = pd.Series(names(examples)).value_counts().to_dict()
    assert found == {"clip": 75, "collins": 1, "hopper": 1}
    data = whole(examples)
    for field in layout.NUMBERS:
        if field.name not in ("metadata/times",):
            assert np.isfinite(data[field.name]).all(), field.name
    pictures = np.array(names(examples)) != "clip"
    assert np.isnan(data["metadata/times"][pictures]).all()
    assert (np.diff(data["metadata/times"][~pictures]) > 0).all()
    assert (data["metadata/quality_scores"] >= 0.5).all()
    assert data["au_intensities"].min() >= 0 and data["au_intensities"].max() <= 5
    for image in data["images"]:
        assert image.std() > 10


def test_what_a_person_excludes_is_no_example_and_has_its_reason(
    portraits: Study, examples: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    rows = [
        ("clip", 10, 19, "hand"),
        ("clip", 70, None, "leaves"),
        ("clip", 900, 901, "typo"),
        ("hopper", None, None, "wrong person"),
    ]
    path = tmp_path / "examples.h5"
    portraits.dataset(SHARD, path, Exclusions(rows))
    found = pd.Series(names(path)).value_counts().to_dict()
    assert found == {"clip": 60, "collins": 1}
    with h5py.File(path) as file:
        frames = file["metadata/frame_indices"][:][np.array(names(path)) == "clip"]
    assert frames.tolist() == [*range(10), *range(20, 70)]
    counts = pd.read_parquet(path.with_suffix(".parquet")).set_index("sample")
    assert counts.status.to_dict() == {
        "clip": "ok",
        "collins": "ok",
        "hopper": "excluded",
        **{s: v for s, v in counts.status.items() if s not in ("clip", "collins", "hopper")},
    }
    assert counts.reason["hopper"] == "wrong person" and counts.n_kept["hopper"] == 0
    assert counts.reason["clip"].startswith("frames 10 to 19 excluded: hand; frames 70 to the end")
    assert (counts.rejected_excluded[["clip", "hopper"]] == [15, 1]).all()
    assert "frames 900 to 901" in caplog.text and "75 frames" in caplog.text
    lineage = [h5.read_metadata(p)["lineage"] for p in (examples, path)]
    assert lineage[0] != lineage[1]  # a part of a killed job of another table is not taken


def test_an_example_is_the_row_of_the_tables_and_its_crop(portraits, examples):
    data = whole(examples)
    read = {
        name: pd.read_parquet(portraits.table(name, SHARD)).set_index(["sample", "frame", "track"])
        for name in ("detections", "landmarks", "fit", "aus")
    }
    with h5py.File(portraits.table("faces", SHARD, "h5")) as faces:
        for i, name in enumerate(names(examples)):
            frame, track = data["metadata/frame_indices"][i], data["metadata/track"][i]
            box = read["detections"].loc[(name, frame, track)]
            corners = np.float32([box.x, box.y, box.x + box.w, box.y + box.h])
            np.testing.assert_allclose(data["bboxes"][i], corners, rtol=1e-6)
            marked = read["landmarks"].loc[(name, frame, track)]
            assert marked.scheme == MEDIAPIPE478
            points = np.reshape(marked.points, (-1, 2))[MEDIAPIPE478_TO_IBUG68]
            np.testing.assert_array_equal(data["frame/landmarks"][i], points)
            assert data["metadata/confidence"][i] == marked.confidence
            fitted = read["fit"].loc[(name, frame, track)]
            np.testing.assert_array_equal(data["frame/global_params"][i], fitted.global_params)
            np.testing.assert_array_equal(data["local_params"][i], fitted.local_params)
            units = read["aus"].loc[(name, frame, track)][list(layout.AU_NAMES)]
            np.testing.assert_array_equal(data["au_intensities"][i], units.astype("f4"))
            group = faces[name]
            (row,) = np.flatnonzero((group["frame"][:] == frame) & (group["track"][:] == track))
            np.testing.assert_array_equal(data["images"][i], group["crops"][row])
            np.testing.assert_array_equal(data["affine"][i], group["affine"][row])
    features = np.empty_like(data["hog_features"])
    fhog(data["images"], features)
    np.testing.assert_array_equal(data["hog_features"], features)


def test_targets_are_in_the_crop(examples):
    data = whole(examples)
    moved = apply_affine(data["affine"], data["frame/landmarks"])
    np.testing.assert_allclose(data["landmarks"], moved, atol=1e-4)
    # eyes, nose and mouth of every example are inside of its picture, eyes above mouth
    inner = data["landmarks"][:, 27:]
    assert inner.min() > 0 and inner.max() < 111
    assert (data["landmarks"][:, 36:48, 1].max(1) < data["landmarks"][:, 48:, 1].min(1)).all()


def test_the_model_projected_by_the_crops_parameters_lies_on_its_landmarks(examples):
    data = whole(examples)
    model = load("builtin")

    def project(params: np.ndarray) -> np.ndarray:
        shape = model.mean.T.ravel() + data["local_params"].astype(float) @ model.pdm.T
        points = shape.reshape(-1, 3, 68).transpose(0, 2, 1)
        rotation = rotation_from_euler_xyz(params[:, 1:4].astype(float))[:, :2]
        turned = np.einsum("nij,nkj->nki", rotation, points)
        return params[:, 0, None, None] * turned + params[:, None, 4:]

    in_frame, in_crop = project(data["frame/global_params"]), project(data["global_params"])
    np.testing.assert_allclose(apply_affine(data["affine"], in_frame), in_crop, atol=1e-3)

    def rms(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.sqrt(((a - b) ** 2).sum(-1).mean(-1))

    scale = np.hypot(data["affine"][:, 0, 0], data["affine"][:, 1, 0])
    fit_error = rms(in_frame, data["frame/landmarks"]) * scale
    np.testing.assert_allclose(rms(in_crop, data["landmarks"]), fit_error, atol=1e-3)
    assert np.median(fit_error) < 5


def test_people_and_splits(examples):
    data = whole(examples)
    rows = pd.DataFrame(
        {
            "name": names(examples),
            "subject": [s.decode() for s in data["metadata/subjects"]],
            "split": [s.decode() for s in data["metadata/split"]],
        }
    ).drop_duplicates()
    assert dict(zip(rows.name, rows.subject, strict=True)) == {
        "clip": "one",
        "collins": "one",
        "hopper": "hopper",
    }
    split = dict(zip(rows.name, rows.split, strict=True))
    assert split["clip"] == split["collins"]
    assert split["hopper"] == "test"


def test_counts_add_up_and_name_what_is_wrong(examples):
    counts = pd.read_parquet(examples.with_suffix(".parquet")).set_index("sample")
    assert list(counts.index) == ["blank", "clip", "collins", "hopper", "nonsense"]
    rejected = counts[[f"rejected_{reason}" for reason in tables.REJECTIONS]].sum(axis=1)
    assert (counts.n_considered == counts.n_kept + rejected).all()
    assert counts.n_kept.to_dict() == {
        **dict.fromkeys(("blank", "nonsense"), 0),
        "clip": 75,
        "collins": 1,
        "hopper": 1,
    }
    assert counts.status.to_dict() == {
        "blank": "no_face",
        "clip": "ok",
        "collins": "ok",
        "hopper": "ok",
        "nonsense": "unreadable",
    }
    assert counts.reason["blank"] == "no face was found in 1 frame"
    assert counts.reason["nonsense"]
    assert counts.loc["clip", ["n_frames", "n_face", "n_tracks", "n_fitted"]].tolist() == [
        *(75, 75, 1, 75)
    ]


def test_settings_choose(portraits, tmp_path):
    path = tmp_path / "step.h5"
    portraits.dataset(SHARD, path, frame_step=10)
    frames = whole(path)["metadata/frame_indices"][np.array(names(path)) == "clip"]
    assert frames.tolist() == [0, 10, 20, 30, 40, 50, 60, 70]
    counts = pd.read_parquet(path.with_suffix(".parquet")).set_index("sample")
    assert counts.n_considered["clip"] == 8

    path = tmp_path / "most.h5"
    portraits.dataset(SHARD, path, max_per_track=5)
    frames = whole(path)["metadata/frame_indices"][np.array(names(path)) == "clip"]
    assert frames.tolist() == [7, 22, 37, 52, 67]
    counts = pd.read_parquet(path.with_suffix(".parquet")).set_index("sample")
    assert counts.rejected_surplus["clip"] == 70

    path = tmp_path / "best.h5"
    portraits.dataset(SHARD, path, min_quality=0.97)
    scores = whole(path)["metadata/quality_scores"]
    counts = pd.read_parquet(path.with_suffix(".parquet"))
    assert len(scores) == counts.n_kept.sum() < 77
    assert (scores >= np.float32(0.97)).all()
    assert counts.rejected_quality.sum() == 77 - len(scores)


def test_a_thinned_set_has_the_same_rows_as_the_full_one(portraits, examples, tmp_path):
    path = tmp_path / "most.h5"
    portraits.dataset(SHARD, path, max_per_track=5)
    few, all_of_them = whole(path), whole(examples)
    mine = np.array(names(path)) == "clip"
    rows = np.flatnonzero(
        np.isin(all_of_them["metadata/frame_indices"], few["metadata/frame_indices"][mine])
        & (np.array(names(examples)) == "clip")
    )
    for field in layout.FIELDS:
        np.testing.assert_array_equal(few[field.name][mine], all_of_them[field.name][rows])


def test_the_same_bytes_again_and_after_a_kill(portraits, examples, tmp_path, monkeypatch):
    again = tmp_path / "again.h5"
    portraits.dataset(SHARD, again)
    assert again.read_bytes() == examples.read_bytes()
    assert (
        again.with_suffix(".parquet").read_bytes() == examples.with_suffix(".parquet").read_bytes()
    )

    judged: list[str] = []
    judge = stage._judge_sample

    def killed_at_collins(sample: str, *rest: Any) -> None:
        judged.append(sample)
        if sample == "collins" and judged.count("collins") == 1:
            raise KeyboardInterrupt
        judge(sample, *rest)

    monkeypatch.setattr(stage, "_judge_sample", killed_at_collins)
    resumed = tmp_path / "resumed.h5"
    with pytest.raises(KeyboardInterrupt):
        portraits.dataset(SHARD, resumed)
    assert not resumed.exists() and not resumed.with_suffix(".parquet").exists()
    portraits.dataset(SHARD, resumed)
    assert judged == ["blank", "clip", "collins", "collins", "hopper"]
    assert resumed.read_bytes() == examples.read_bytes()


def test_a_sheet_that_changes_while_a_killed_shard_waits(portraits, tmp_path, monkeypatch):
    study = Study(tmp_path / "study", portraits.plan)
    shutil.copytree(portraits.folder, study.folder)
    judge = stage._judge_sample

    def killed(sample: str, *rest: Any) -> None:
        if sample == "hopper":
            raise KeyboardInterrupt
        judge(sample, *rest)

    monkeypatch.setattr(stage, "_judge_sample", killed)
    with pytest.raises(KeyboardInterrupt):
        study.dataset(SHARD, tmp_path / "a.h5")
    monkeypatch.undo()
    plan = study.plan_file(SHARD)
    text = plan.read_text().replace("\tone\t", "\tanna\t")
    assert text != plan.read_text()
    plan.write_text(text)
    study.dataset(SHARD, tmp_path / "a.h5")
    assert set(whole(tmp_path / "a.h5")["metadata/subjects"]) == {b"anna", b"hopper"}
    made, before = h5.read_metadata(tmp_path / "a.h5"), tmp_path / "b.h5"
    portraits.dataset(SHARD, before)
    assert made["lineage"] != h5.read_metadata(before)["lineage"]


def test_the_file_says_what_made_it_and_not_where(examples):
    made = h5.read_metadata(examples)
    assert set(made["upstream"]) == {
        *("probe", "detect", "landmarks", "fit", "smooth", "expressions", "aus"),
    }
    models = [model for recipe in made["upstream"].values() for model in recipe["models"]]
    assert {"blazeface_full_range", "facemesh_attention"} <= {model["name"] for model in models}
    assert all(len(model["sha256"]) == 64 and model["licence"] for model in models)
    with h5py.File(examples) as file:
        text = json.dumps({k: str(v) for k, v in file.attrs.items()})
    assert str(Path.home()) not in text and str(examples.parent) not in text


def test_crops_of_another_run_are_refused(portraits, tmp_path):
    study = Study(tmp_path / "study", portraits.plan)
    shutil.copytree(portraits.folder, study.folder)
    with h5py.File(study.table("faces", SHARD, "h5"), "a") as faces:
        faces["clip/frame"][10] = 9999
    with pytest.raises(TableError, match="clip does not have the crops of its landmarks"):
        study.dataset(SHARD, tmp_path / "a.h5")
    assert not (tmp_path / "a.h5").exists()


def test_a_fit_that_did_not_converge_is_no_example(portraits, tmp_path):
    """Whatever values it may have, and however good the face is."""
    study = Study(tmp_path / "study", portraits.plan)
    shutil.copytree(portraits.folder, study.folder)
    with tables.TableReader(portraits.table("fit", SHARD)) as reader:
        parts = [reader.read(name) for name in reader.samples]
        made, schema = dict(reader.metadata), reader.schema.remove_metadata()
    made.pop("units")
    with tables.TableWriter(study.table("fit", SHARD), schema, made) as writer:
        for part in parts:
            columns = {name: part[name] for name in schema.names if name != "sample"}
            status = part["status"].to_pylist()
            if part["sample"][0].as_py() == "clip":
                status[10:20] = ["not_converged"] * 10
            writer.append_columns(part["sample"][0].as_py(), {**columns, "status": status})
    study.dataset(SHARD, tmp_path / "a.h5", min_quality=0)
    counts = pd.read_parquet(tmp_path / "a.parquet").set_index("sample")
    assert counts.rejected_fit["clip"] == 10


def test_shards_are_merged_in_order(portraits, examples, tmp_path, caplog):
    two = tmp_path / "two.h5"
    portraits.dataset(SHARD, two)
    output = tmp_path / "training_data.h5"
    merge_dataset([two, examples], output, portraits.recipe("merge_dataset"))
    assert names(output) == 2 * names(examples)
    one, both = whole(examples), whole(output)
    for field in layout.FIELDS:
        np.testing.assert_array_equal(both[field.name], np.concatenate([one[field.name]] * 2))
    made = h5.read_metadata(output)
    assert made["recipe"]["stage"] == "merge_dataset" and "dataset" in made["upstream"]
    first = output.read_bytes()
    merge_dataset([two, examples], output, portraits.recipe("merge_dataset"))
    assert output.read_bytes() == first
    assert not caplog.records


def test_shards_of_other_settings_are_not_merged(portraits, examples, tmp_path):
    other = tmp_path / "other.h5"
    portraits.dataset(SHARD, other, min_quality=0.25)
    with pytest.raises(TableError, match=r"other\.h5.*settings of stage dataset"):
        merge_dataset([examples, other], tmp_path / "a.h5", portraits.recipe("merge_dataset"))
    assert not (tmp_path / "a.h5").exists()


def test_nobody_in_any_recording(portraits, tmp_path, caplog):
    sheet = [{"sample": "blank", "path": portraits.folder / "blank.png"}]
    study = make_study(tmp_path / "study", sheet)
    study.up_to_aus("blank")
    study.dataset("blank", tmp_path / "blank.h5")
    output = tmp_path / "training_data.h5"
    with caplog.at_level(logging.WARNING):
        merge_dataset([tmp_path / "blank.h5"], output, study.recipe("merge_dataset"))
    assert "no example" in caplog.text
    with h5py.File(output) as file:
        assert layout.length(file) == file.attrs["num_samples"] == 0
        assert file["images"].shape == (0, 112, 112, 3)


MEASURE = """
import json, sys
from pathlib import Path
from makestudy import Study
from facemake.plan import Plan
folder, shard = Path(sys.argv[1]), sys.argv[2]
study = Study(folder, Plan(**json.loads((folder / ".facemake/plan.json").read_text())))
study.dataset(shard, folder / f"{shard}.h5")
# not ru_maxrss: that starts from the parent's
lines = Path("/proc/self/status").read_text().splitlines()
print(next(line.split()[1] for line in lines if line.startswith("VmHWM")))
"""


def lengthen(study: Study, times: int, shard: str) -> None:
    """The portraits' clip, `times` over, as a shard of its own."""
    with inside(study.folder):
        (clip,) = (s for s in read_shard(study.plan_file(SHARD)) if s.sample == "clip")
    study.plan_file(shard).write_text(shard_text([clip]))
    listed = {"samples": samples_digest([clip])}
    for name in ("probe", "detections", "landmarks", "fit", "aus"):
        with tables.TableReader(study.table(name, SHARD)) as reader:
            rows, made = reader.read("clip"), {**reader.metadata, **listed}
            schema = reader.schema.remove_metadata()
        made.pop("units")
        with tables.TableWriter(study.table(name, shard), schema, made) as writer:
            columns = {n: rows[n] for n in schema.names if n != "sample"}
            if name == "probe":
                writer.append_columns("clip", {**columns, "n_frames": [75 * times]})
                continue
            repeated = np.tile(np.arange(75), times)
            columns = {n: values.take(repeated) for n, values in columns.items()}
            columns["frame"] = np.arange(75 * times, dtype=np.int32)
            writer.append_columns("clip", columns)
    with (
        h5py.File(study.table("faces", SHARD, "h5")) as faces,
        h5.create(study.table("faces", shard, "h5")) as longer,
    ):
        made = h5.read_metadata(study.table("faces", SHARD, "h5"))
        h5.write_metadata(longer, {**made, **listed})
        for name in ("crops", "affine", "track"):
            values = faces[f"clip/{name}"]
            target = longer.create_dataset(
                f"clip/{name}",
                (75 * times, *values.shape[1:]),
                values.dtype,
                chunks=values.chunks,
                maxshape=values.maxshape,
            )
            for start in range(0, 75 * times, 75):
                target[start : start + 75] = values[:]
        longer["clip/frame"] = np.arange(75 * times, dtype=np.int32)


def test_memory_does_not_grow_with_the_length(portraits, tmp_path):
    study = Study(tmp_path / "study", portraits.plan)
    shutil.copytree(portraits.folder, study.folder)
    peaks = {}
    for times in (10, 40):
        lengthen(study, times, f"times{times}")
        command = [sys.executable, "-c", MEASURE, str(study.folder), f"times{times}"]
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, cwd=Path(__file__).parent.parent
        )
        peaks[times] = int(done.stdout) / 1024
        with h5py.File(study.folder / f"times{times}.h5") as file:
            assert file.attrs["num_samples"] == 75 * times
    # 2250 more examples are 126 MB
    assert peaks[40] - peaks[10] < 25, peaks


FULL = """
import os, pathlib, shutil, subprocess, sys
sys.path[:0] = {paths!r}
from facemake.runtime.job import in_words
from facemake.plan import load
from makestudy import Study
study, disk = Study(pathlib.Path.cwd(), load()), pathlib.Path(sys.argv[1])
for size in map(int, sys.argv[2:]):
    subprocess.run(["mount", "-o", f"remount,size={{size}}", str(disk)], check=True)
    shutil.rmtree(".facemake/parts", ignore_errors=True)
    (disk / "parts").mkdir()
    pathlib.Path(".facemake/parts").symlink_to(disk / "parts")
    if not (child := os.fork()):
        try:
            study.dataset({shard!r}, disk / "out" / {name!r})
        except Exception as error:
            print((in_words(error) or repr(error)).splitlines()[0], flush=True)
        sys.exit(7)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    print([path.name for path in (disk / "out").glob("*")], flush=True)
    shutil.rmtree(disk / "parts")
    os.unlink(".facemake/parts")
"""


def test_a_full_disk_is_said_and_the_process_ends_by_itself(portraits, examples, tmp_path):
    """While examples are written, when a part ends, and when parts are put together."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = f"mount -t tmpfs none {disk}"
    inside_one = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
    if (
        not shutil.which("unshare")
        or subprocess.run([*inside_one, mount], capture_output=True).returncode
    ):
        pytest.skip("no mount of one's own here")
    study = shutil.copytree(portraits.folder, tmp_path / "study")
    paths = [str(LIBRARY.parent), str(Path(__file__).parent.parent)]
    script = FULL.format(paths=paths, shard=SHARD, name=examples.name)
    total = examples.stat().st_size
    sizes = [total // 2, total - 150_000, 2 * total - 100_000]
    ended = subprocess.run(
        [*inside_one, f'{mount} && exec "$0" -c "$@"', sys.executable, script, str(disk)]
        + [str(size) for size in sizes],
        cwd=study,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    said = ended.stdout.splitlines()
    assert len(said) == 3 * len(sizes)
    for message, code, left in zip(said[::3], said[1::3], said[2::3], strict=True):
        assert message.startswith(f"the disk {disk} (with "), message
        assert ") is full: make room there and run again" in message
        assert code == "7" and left == "[]"
