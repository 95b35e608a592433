"""FaceProcessor: the stages of the workflow, behind the methods of 3DI's processors."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import makemedia
from documentation import block
from facemake import FaceProcessor
from facemake.backends.fit.normalize import normalize, shipped_noise
from facemake.errors import FacemakeError
from facemake.processors import native
from facemake.processors.base import NoFaceError, NotReadyError

N = 30
KINDS = (
    *("rects", "landmarks", "expression", "pose", "expression_smooth", "pose_smooth"),
    *("landmarks_canonicalized", "expression_localized"),
)


def processor(clip: Path, folder: Path, **options: Any) -> FaceProcessor:
    made = FaceProcessor(**{"verbose": False, **options})
    made.io(clip, folder)
    return made


@pytest.fixture(scope="module")
def short(bundled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The beginning of the bundled clip, the third of its frames without a face."""
    import av

    with av.open(str(bundled / "moving_portrait.mp4")) as container:
        frames = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)][:N]
    frames[2] = np.full_like(frames[2], 90)
    return makemedia.write_video(tmp_path_factory.mktemp("short") / "clip.mp4", frames)


@pytest.fixture(scope="module")
def made(short: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("done") / "out"
    processor(short, folder).run_all()
    return folder


@pytest.fixture
def done(made: Path, tmp_path: Path) -> Path:
    """An output folder with all of it, a test's own: what it asks for stays in it."""
    return Path(shutil.copytree(made, tmp_path / "done"))


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was asked of the process of the stages: the last stage of each."""
    asked: list[str] = []
    real = native.run_child

    def counted(command: Any, **more: Any) -> Any:
        spec = json.loads((more["folder"] / "spec.json").read_text())
        asked.append(list(spec["recipes"])[-1])
        return real(command, **more)

    monkeypatch.setattr(native, "run_child", counted)
    return asked


def test_tables(short: Path, done: Path, children: list[str]):
    p = processor(short, done)
    rects, landmarks, expressions, pose, canonical, localized = p.run_all()
    assert children == []
    tables = (rects, landmarks, expressions, pose, canonical, localized)
    assert {t["backend"] for t in tables} == {"facemake"}
    assert [t["frame count"] for t in tables] == [N] * 6
    assert [t["type"] for t in tables] == [
        *("rectangle", "landmark", "expression", "pose", "landmark-can", "expression")
    ]
    # a frame without a face has NaN and no zeros, and a row
    for table in tables:
        assert table["data"].isna().any(axis=1).tolist() == [i == 2 for i in range(N)]
    x, y, w, h = rects["data"].iloc[0]
    points = landmarks["data"].iloc[0].to_numpy().reshape(51, 2)
    inside = (points > [x, y]) & (points < [x + w, y + h])
    assert inside.mean() > 0.9
    assert points[28, 0] - points[19, 0] > 0.3 * w  # the image's left eye is left
    assert pose["data"]["Tz"].between(500, 2000).sum() == N - 1
    face = canonical["data"].iloc[0].to_numpy().reshape(51, 3)
    assert face[13, 2] < -20 and face[:10, 1].min() > face[31:, 1].max()  # y is up
    assert landmarks["schema"] == canonical["schema"] == "ibug51"


def test_the_block_of_the_documentation(
    short: Path,
    done: Path,
    children: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    """That of docs/api/processors.md, on what is done already."""
    monkeypatch.chdir(short.parent)
    shutil.copytree(done, "output")
    names: dict[str, Any] = {}
    exec(block("api/processors", "python", "from facemake import"), names)
    assert children == [] and len(names["pose"]["data"]) == N
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[-5:]] == [*"01234"]


def test_expressions_say_that_they_are_not_3dis(short: Path, done: Path):
    p = processor(short, done)
    expressions, _, _ = p.fit()
    localized = p.localized_expressions(normalize=False)
    names = list(shipped_noise().names)
    assert expressions["schema"] == "facemake-G48" and localized["schema"] == "facemake-L48"
    for table in (expressions, localized):
        assert list(table["data"].columns) == names
        assert names[0] in table["format"] and "GE0" not in table["format"]
    assert (localized["data"].dropna() >= 0).all(axis=None)


def test_units_of_the_measured_noise(short: Path, done: Path):
    p = processor(short, done)
    plain = p.fit()[0]["data"].to_numpy()
    for k in (1, 3):
        found = p.fit(normalize=True, k=k)[0]["data"].to_numpy()
        np.testing.assert_array_equal(found, normalize(plain, shipped_noise(), k))
    plain = p.localized_expressions(normalize=False)["data"].to_numpy()
    found = p.localized_expressions(normalize=True)["data"].to_numpy()
    np.testing.assert_allclose(found, normalize(plain, shipped_noise()), atol=1e-4)
    with pytest.raises(ValueError, match="k is -2"):
        p.fit(normalize=True, k=-2)


def test_files_are_the_tables(short: Path, done: Path):
    p = processor(short, done, return_output="file")
    files = p.run_all()
    assert files == tuple(str(done / f"clip_{kind}.fmk") for kind in KINDS)
    tables = processor(short, done).run_all()
    by_kind = dict(zip(KINDS, files, strict=True))
    pose = np.loadtxt(by_kind["pose_smooth"])
    assert pose.shape == (N, 9)
    np.testing.assert_array_equal(pose[:, [0, 1, 2, 7, 6, 8]], tables[3]["data"])
    np.testing.assert_array_equal(np.loadtxt(by_kind["rects"]), tables[0]["data"])
    for kind, path in by_kind.items():
        word = json.loads(Path(f"{path}.json").read_text())
        assert word["backend"] == "facemake" and word["frames"] == N
        assert len(word["columns"]) == np.loadtxt(path).shape[1], kind
    assert processor(short, done, return_output=None).run_all() is None


def test_they_are_the_workflows_own(short: Path, done: Path, tmp_path: Path):
    from makestudy import make_study

    study = make_study(tmp_path / "study", [{"sample": "clip", "path": short}])
    study.up_to_aus("clip")
    tables = processor(short, done).run_all(normalize=False)
    smooth = pd.read_parquet(study.table("smooth", "clip"))
    np.testing.assert_allclose(
        tables[3]["data"], smooth[["tx", "ty", "tz", "rx", "ry", "rz"]], atol=1e-5
    )


def test_other_settings_are_computed_again(
    short: Path, done: Path, tmp_path: Path, children: list[str]
):
    out = Path(shutil.copytree(done, tmp_path / "out"))
    processor(short, out).run_all()
    assert children == []
    p = processor(short, out, camera_model=60)
    p.detect_faces()
    assert children == ["detect"]  # the words beside it name the camera; the table is there
    with pytest.raises(NotReadyError):
        p.fit()
    nearer = p.run_all(normalize=False)[3]["data"]["Tz"].median()
    assert children == ["detect", "landmarks", "smooth", "expressions"]
    assert nearer < 0.6 * processor(short, done).run_all()[3]["data"]["Tz"].median()


def test_without_smoothing(short: Path, done: Path, tmp_path: Path):
    out = Path(shutil.copytree(done, tmp_path / "out"))
    raw = {"config": {"fit": {"smoothing": 0}}}
    files = processor(short, out, return_output="file", **raw).run_all()
    assert [Path(f).stem for f in files[2:-1]] == [
        *("clip_expression", "clip_pose", "clip_landmarks_canonicalized")
    ]
    pose = processor(short, out, **raw).fit()[1]["data"]
    smoothed = processor(short, done).fit()[1]["data"]
    assert 0 < np.nanmax(np.abs(pose - smoothed)["Rx"]) < 0.1


def test_what_expired_is_made_in_earnest(
    short: Path, done: Path, tmp_path: Path, children: list[str]
):
    out = Path(shutil.copytree(done, tmp_path / "out"))
    beside = out / "clip_rects.fmk.json"
    word = json.loads(beside.read_text())
    beside.write_text(json.dumps({**word, "time": "2020-01-01 00:00:00"}))
    table = out / ".facemake" / "clip" / "facemake" / "detections" / "input.parquet"
    before = table.stat().st_mtime_ns
    processor(short, out).detect_faces()
    assert children == ["detect"] and table.stat().st_mtime_ns > before


def test_order_and_recordings(short: Path, bundled: Path, tmp_path: Path):
    p = FaceProcessor(verbose=False)
    with pytest.raises(ValueError, match="io"):
        p.detect_faces()
    p.io(short, tmp_path)
    for method in (p.detect_landmarks, p.fit, p.localized_expressions):
        with pytest.raises(NotReadyError, match="first"):
            method()
    grey = makemedia.write_video(tmp_path / "grey.mp4", [np.full((48, 64, 3), 99, np.uint8)] * 3)
    p.io(grey, tmp_path)
    assert p.detect_faces()["data"].isna().all(axis=None)
    assert p.detect_landmarks()["frame count"] == 3
    with pytest.raises(NoFaceError, match="no face in any frame"):
        p.fit()
    p.io(bundled / "portraits", tmp_path)
    n = len(list((bundled / "portraits").glob("*.*g")))
    assert p.detect_faces()["frame count"] == n


def test_a_recording_that_breaks_off(short: Path, tmp_path: Path):
    cut = makemedia.truncate(Path(shutil.copy(short, tmp_path / "cut.mp4")), 0.4)
    with pytest.raises(ValueError, match=r"cut\.mp4") as error:
        processor(cut, tmp_path / "out").detect_faces()
    assert isinstance(error.value, FacemakeError)


def test_arguments(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(ValueError, match="runtime"):
        FaceProcessor("bitbox:latest")  # type: ignore[arg-type]
    for options, said in (
        ({"camera_model": 0}, "fov"),
        ({"camera_model": "nowhere.yml"}, "calibration"),
        ({"config": {"fit": {"modle": "x"}}}, "did you mean model"),
        ({"config": {"engine": "3di"}}, "FaceProcessor3DI"),
        ({"config": {"camera": {"fov": 50}}, "camera_model": 40}, "not both"),
        ({"config": {"fit": {}}, "server": {"host": "h", "port": 1}}, "a server has its own"),
    ):
        with pytest.raises(ValueError, match=said) as error:
            FaceProcessor(verbose=False, **options)
        assert isinstance(error.value, FacemakeError)
    p = FaceProcessor(verbose=False)
    p.preprocess()
    with pytest.raises(ValueError, match="calibration file"):
        p.preprocess(undistort=True)
    p.citation()
    assert "facemake" in capsys.readouterr().out


def test_a_models_noise_that_was_not_measured(short: Path, done: Path, monkeypatch):
    p = processor(short, done)
    monkeypatch.setitem(p._config["fit"], "model", "ict-facekit")
    with pytest.raises(ValueError, match="was not measured"):
        p.run_all()


def test_a_stage_that_fails_says_why(short: Path, tmp_path: Path, monkeypatch):
    p = processor(short, tmp_path)
    recipes = p._all_recipes()
    with monkeypatch.context() as patch:
        patch.setitem(recipes["detect"], "backend", "no such detector")
        with pytest.raises(ValueError, match=r"(?s)exit code 1.*no such detector") as error:
            p.detect_faces()
    assert isinstance(error.value, FacemakeError)
    assert not list(tmp_path.glob("clip_*"))
    p.detect_faces()
    p.detect_landmarks()
    with monkeypatch.context() as patch:
        patch.setitem(recipes["fit"]["models"][0], "sha256", "0" * 64)
        with pytest.raises(ValueError, match=r"^the face model facemake-1 has SHA-256"):
            p.fit()
    assert len(p.fit()) == 3


def test_modules_of_the_output_folder_are_not_ours(
    short: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """It is the working directory of the stages, and others write there."""
    monkeypatch.setenv("PYTHONPATH", ".")
    p = processor(short, tmp_path)
    p._folder.mkdir(parents=True, exist_ok=True)
    for name in ("json", "h5py", "pyarrow", "facemake"):
        (p._folder / f"{name}.py").write_text("raise SystemExit('somebody else')\n")
    assert p.detect_faces()["frame count"] == N


def test_what_is_said(short: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    p = FaceProcessor()
    p.io(short, tmp_path)
    p.detect_faces()
    p.detect_faces()
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("Running facemake to find faces... (took ")
    assert said[1] == "clip_rects.fmk: already there, not made again"
