"""FaceProcessor3DI and FaceProcessor3DIlite on stand-in installs: programs that measure nothing."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import shutil
import threading
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import makemedia
from conftest import ROOT
from facemake import FaceProcessor3DI, FaceProcessor3DIlite
from facemake.backends.threedi import sidecar
from facemake.errors import FacemakeError
from facemake.processors.base import NoFaceError, NotReadyError
from facemake.provenance import file_sha256
from standin3di import programs

FRAMES = 12
FULL_KINDS = (
    *("rects", "landmarks", "shape_coeff", "texture_coeff", "shape", "texture", "expression"),
    *("pose", "illumination", "expression_smooth", "pose_smooth", "landmarks_canonicalized"),
    "expression_localized",
)
LITE_KINDS = (
    *("rects", "landmarks", "expression_smooth", "shape_coeff", "texture_coeff", "illumination"),
    *("pose_smooth", "landmarks_canonicalized", "expression_localized"),
)
ALL_STEPS = [
    *("detect", "landmarks", "identity", "shape", "fit", "smooth_expression", "smooth_pose"),
    *("canonical", "localized"),
]

pytestmark = pytest.mark.usefixtures("installs")


def processor(clip: Path, folder: Path, kind: type = FaceProcessor3DI, **options: Any) -> Any:
    made = kind(**{"verbose": False, **options})
    made.io(clip, folder)
    return made


def raw(folder: Path, kind: str, suffix: str = "3DI") -> np.ndarray:
    return np.loadtxt(folder / f"clip_{kind}.{suffix}")


def age(path: Path, **how: float) -> None:
    """Make the word beside a file older."""
    beside = path.with_name(f"{path.name}.json")
    word = json.loads(beside.read_text())
    word["time"] = (datetime.now() - timedelta(**how)).strftime(sidecar.TIME)
    beside.write_text(json.dumps(word))


# --- what is returned ----------------------------------------------------------------------------


def test_tables_step_by_step(clip: Path, tmp_path: Path):
    p = processor(str(clip), str(tmp_path / "out"))
    rects, landmarks = p.detect_faces(), p.detect_landmarks()
    expressions, pose, canonical = p.fit()
    localized = p.localized_expressions()
    out = tmp_path / "out"

    start = "for each frame (rows) "
    assert {k: v for k, v in rects.items() if k != "data"} == {
        "backend": "3DI",
        "frame count": FRAMES,
        "type": "rectangle",
        "format": start + "[x, y, w, h] values of the detected rectangles",
        "dimension": 2,
    }
    assert list(rects["data"].columns) == ["x", "y", "w", "h"]
    np.testing.assert_array_equal(rects["data"], raw(out, "rects"))

    assert (landmarks["type"], landmarks["schema"], landmarks["dimension"]) == (
        "landmark",
        "ibug51",
        2,
    )
    assert landmarks["format"] == start + "[x, y] values of the detected landmarks"
    assert list(landmarks["data"].columns)[:3] == ["x0", "y0", "x1"]
    np.testing.assert_array_equal(landmarks["data"], raw(out, "landmarks"))

    assert (expressions["type"], expressions["schema"]) == ("expression", "3DI-G79")
    assert expressions["format"] == (
        start + "[GE0, GE1, ..., GE78] values corresponding to global expression coefficients"
    )
    assert list(expressions["data"].columns) == [f"GE{i}" for i in range(79)]
    np.testing.assert_array_equal(expressions["data"], raw(out, "expression_smooth"))

    assert "schema" not in pose and pose["dimension"] == 3 and pose["type"] == "pose"
    assert pose["format"] == (start + "[Tx, Ty, Tz, Rx, Ry, Rz] values of the detected face pose")
    columns = raw(out, "pose_smooth")
    for name, column in zip(("Tx", "Ty", "Tz", "Rx", "Ry", "Rz"), (0, 1, 2, 7, 6, 8), strict=True):
        np.testing.assert_array_equal(pose["data"][name], columns[:, column])

    assert (canonical["type"], canonical["schema"]) == ("landmark-can", "ibug51")
    assert canonical["format"] == start + "[x, y, z] values of the canonicalized landmarks"
    assert list(canonical["data"].columns)[:4] == ["x0", "y0", "z0", "x1"]
    np.testing.assert_array_equal(canonical["data"], raw(out, "landmarks_canonicalized"))

    assert localized["schema"] == "3DI-L32"
    assert localized["format"] == (
        start + "[lb0, lb1, ...] values corresponding to localized expression coefficients"
    )
    names = {"lb": 4, "rb": 4, "no": 4, "le": 4, "re": 4, "ul": 5, "ll": 7}
    assert list(localized["data"].columns) == [
        f"{g}{i}" for g, n in names.items() for i in range(n)
    ]

    # the engine gives no fit of the last frame: rows are those of frames 0 to T - 2
    for table in (expressions, pose, canonical, localized):
        assert table["frame count"] == FRAMES - 1
        assert table["data"].index.tolist() == list(range(FRAMES - 1))


def test_the_pose_is_the_one_that_the_stand_in_started_from(clip: Path, tmp_path: Path):
    class Video:
        path, width, height = str(clip), 64, 48

    person = programs.Person(Video)
    wanted = np.array([person.angles(t) for t in range(FRAMES - 1)])
    p = processor(clip, tmp_path)
    full = p.run_all(normalize=False)[3]["data"][["Rx", "Ry", "Rz"]]
    np.testing.assert_allclose(full, wanted, atol=0.01)  # smoothed, by a mean of three
    lite = processor(clip, tmp_path, FaceProcessor3DIlite).run_all(normalize=False)[3]
    assert list(lite["data"].columns) == ["Rx", "Ry", "Rz"] and lite["backend"] == "3DIl"
    assert lite["format"] == ("for each frame (rows) [Rx, Ry, Rz] values of the detected face pose")
    from facemake import geometry

    rx, ry, rz = lite["data"].to_numpy().T
    zero = 0 * rx
    found = geometry.compose(
        geometry.rotation_from_euler(np.stack([zero, ry, zero], -1)),
        geometry.compose(
            geometry.rotation_from_euler(np.stack([rx, zero, zero], -1)),
            geometry.rotation_from_euler(np.stack([zero, zero, rz], -1)),
        ),
    )
    # the stand-in's crop goes by other points of the eyes
    np.testing.assert_allclose(found, geometry.rotation_from_euler(wanted), atol=0.006)


def test_lite_tables(clip: Path, tmp_path: Path):
    p = processor(clip, tmp_path, FaceProcessor3DIlite)
    rects, _, expressions, _, canonical, localized = p.run_all(normalize=False)
    assert rects["frame count"] == FRAMES and expressions["frame count"] == FRAMES - 1
    assert expressions["schema"] == "3DI-G79" and canonical["dimension"] == 3
    assert localized["schema"] == "3DIlite-L50"
    names = {"lb": 5, "rb": 5, "no": 3, "le": 7, "re": 7, "mo": 23}
    assert list(localized["data"].columns) == [
        f"{g}{i}" for g, n in names.items() for i in range(n)
    ]


@pytest.mark.parametrize(
    ("kind", "kinds", "suffix"),
    [(FaceProcessor3DI, FULL_KINDS, "3DI"), (FaceProcessor3DIlite, LITE_KINDS, "3DIl")],
)
def test_files(clip: Path, tmp_path: Path, kind: type, kinds: tuple[str, ...], suffix: str):
    p = processor(clip, tmp_path / "out", kind, return_output="file")
    files = p.run_all()  # normalize=True by default, which is a matter of tables alone
    assert files == tuple(str(tmp_path / "out" / f"clip_{k}.{suffix}") for k in kinds)
    assert p.detect_faces() == files[0] and p.detect_landmarks() == files[1]
    assert p.fit() == files[2:-1] and p.localized_expressions() == files[-1]
    for path in map(Path, files):
        word = json.loads(path.with_name(f"{path.name}.json").read_text())
        assert word["input_hash"] == file_sha256(clip)
        assert word["backend"] == p.engine and word["output"] == str(tmp_path / "out")
        assert len(word["runtime_identity"]) == 64 and word["cmd"].startswith(str(tmp_path))
        assert set(word) >= {"morphable_model", "camera", "landmark", "fast", "local_bases", "time"}
        assert word["input"] == str(clip)


def test_nothing_is_returned_where_that_is_wanted(clip: Path, tmp_path: Path):
    p = processor(clip, tmp_path, return_output=None)
    assert p.detect_faces() is None and p.detect_landmarks() is None and p.fit() is None
    assert p.localized_expressions() is None and p.run_all() is None
    assert (tmp_path / "clip_expression_localized.3DI").is_file()
    with pytest.raises(ValueError, match="return_output"):
        FaceProcessor3DI(return_output="files")  # type: ignore[arg-type]


def test_run_all_gives_what_the_steps_give(clip: Path, tmp_path: Path, noise: Path):
    p = processor(clip, tmp_path)
    tables = p.run_all()
    steps = (p.detect_faces(), p.detect_landmarks(), *p.fit(True, 1), p.localized_expressions())
    assert len(tables) == len(steps) == 6
    for one, other in zip(tables, steps, strict=True):
        pd.testing.assert_frame_equal(one["data"], other["data"])


def test_expressions_in_units_of_noise(clip: Path, tmp_path: Path, noise: Path):
    p = processor(clip, tmp_path)
    p.detect_faces()
    p.detect_landmarks()
    plain = p.fit()[0]["data"].to_numpy()
    k = np.arange(79)
    low, high, sigma = -20.0 - k, 30 + 0.5 * k, 5 + 0.1 * k
    for factor in (1, 2.5):
        m, w = (low + high) / 2, (high - low) / 2 * factor
        below, above = (m - w) - plain, plain - (m + w)
        wanted = np.maximum(0, np.maximum(below, above)) / sigma
        found = p.fit(normalize=True, k=factor)[0]
        np.testing.assert_allclose(found["data"], wanted, atol=1e-9)
        assert found["schema"] == "3DI-G79" and (wanted > 0).any() and (wanted == 0).any()
    with pytest.raises(ValueError, match="k is -1"):
        p.fit(normalize=True, k=-1)


def test_without_the_table_nothing_is_run(clip: Path, tmp_path: Path, runs: list[str]):
    p = processor(clip, tmp_path)
    with pytest.raises(FacemakeError, match="install bitbox") as error:
        p.run_all()
    assert isinstance(error.value, ValueError) and runs == []
    p.run_all(normalize=False)
    assert runs == ALL_STEPS


def test_localized_expressions_by_3dis_own_flag(clip: Path, tmp_path: Path):
    p = processor(clip, tmp_path)
    p.run_all(normalize=False)
    normalized = p.localized_expressions()["data"].to_numpy()
    plain = p.localized_expressions(normalize=False)["data"].to_numpy()
    assert not np.allclose(normalized, plain) and (plain >= 0).all()
    np.testing.assert_array_equal(p.localized_expressions(normalize=True)["data"], normalized)


# --- the cache -----------------------------------------------------------------------------------


def test_what_is_there_is_used(clip: Path, tmp_path: Path, runs: list[str]):
    processor(clip, tmp_path).run_all(normalize=False)
    assert runs == ALL_STEPS
    first = processor(clip, tmp_path).run_all(normalize=False)
    copy = Path(shutil.copy(clip, tmp_path / "elsewhere"))  # the same bytes under another name
    copy = copy.rename(tmp_path / "installs" / "clip.mp4")
    second = processor(copy, tmp_path).run_all(normalize=False)
    assert runs == ALL_STEPS
    pd.testing.assert_frame_equal(first[2]["data"], second[2]["data"])


@pytest.mark.parametrize(
    "options",
    [
        {"camera_model": 45},
        {"fast": True},
        {"basis_model": "another"},
    ],
)
def test_other_settings_are_computed_again(
    clip: Path, tmp_path: Path, runs: list[str], options: dict[str, Any]
):
    processor(clip, tmp_path).run_all(normalize=False)
    runs.clear()
    p = processor(clip, tmp_path, **options)
    with pytest.raises(NotReadyError):
        p.fit()
    p.run_all(normalize=False)
    assert runs == ALL_STEPS
    word = json.loads((tmp_path / "clip_pose.3DI.json").read_text())
    assert word["camera"] == options.get("camera_model", 30)


def test_another_video_of_the_same_name_is_computed_again(
    clip: Path, tmp_path: Path, runs: list[str]
):
    processor(clip, tmp_path).detect_faces()
    other = makemedia.write_video(tmp_path / "installs" / "clip.mp4", FRAMES + 3)
    assert processor(other, tmp_path).detect_faces()["frame count"] == FRAMES + 3
    assert runs == ["detect", "detect"]


def test_another_install_is_computed_again(
    clip: Path, tmp_path: Path, runs: list[str], installs: Any
):
    processor(clip, tmp_path).detect_faces()
    (installs.folders["3di"] / "configs" / "more.txt").write_text("a new version")
    processor(clip, tmp_path).detect_faces()
    assert runs == ["detect", "detect"]


def test_the_retention_period(clip: Path, tmp_path: Path, runs: list[str]):
    p = processor(clip, tmp_path)
    p.detect_faces()
    age(tmp_path / "clip_rects.3DI", days=200)  # more than 6 months
    p.cache.change_retention_period("1 year")
    p.detect_faces()
    assert runs == ["detect"]
    processor(clip, tmp_path).detect_faces()
    assert runs == ["detect", "detect"]
    p.cache.change_retention_period("1 minutes")
    age(tmp_path / "clip_rects.3DI", seconds=70)
    with pytest.raises(ValueError, match="detect_faces"):
        p.detect_landmarks()
    with pytest.raises(FacemakeError, match="no period"):
        p.cache.change_retention_period("a while")
    assert p.cache.retention_period == "1 minutes"


def test_a_file_without_its_word_is_computed_again(clip: Path, tmp_path: Path, runs: list[str]):
    processor(clip, tmp_path).run_all(normalize=False)
    runs.clear()
    (tmp_path / "clip_expression.3DI.json").unlink()
    processor(clip, tmp_path).run_all(normalize=False)
    # what is made of it is made again, too
    assert runs == ["fit", "smooth_expression", "smooth_pose", "canonical", "localized"]


@pytest.mark.parametrize("change", ["cut", "rows", "words", "empty"])
def test_a_damaged_file_is_computed_again(clip: Path, tmp_path: Path, runs: list[str], change: str):
    processor(clip, tmp_path).detect_faces()
    path = tmp_path / "clip_rects.3DI"
    text = path.read_text()
    lines = text.splitlines(keepends=True)
    changed = {"cut": text[:-4], "rows": "".join(lines[:5]), "words": "a b c d\n", "empty": ""}
    path.write_text(changed[change])
    assert processor(clip, tmp_path).detect_faces()["frame count"] == FRAMES
    assert runs == ["detect", "detect"] and path.read_text() == text


def as_bitbox(folder: Path, clip: Path, camera: object = 30) -> None:
    """Make the words of a folder what bitbox writes."""
    for path in folder.glob("clip_*.json"):
        word = json.loads(path.read_text())
        del word["runtime_identity"]
        word.pop("normalized", None)
        word.pop("camera_sha256", None)
        word["camera"] = camera
        args = word["cmd"].split()[1:]
        word["cmd"] = f"CUDA_VISIBLE_DEVICES=0 /opt/3DI/x {' '.join(args)} > /dev/null"
        word["input"] = f"/data/{clip.name}"
        path.write_text(json.dumps(word, indent=4))
    shutil.rmtree(folder / ".facemake")


def test_a_folder_that_bitbox_filled_is_used(
    clip: Path, tmp_path: Path, runs: list[str], installs: Any
):
    processor(clip, tmp_path).run_all(normalize=False)
    as_bitbox(tmp_path, clip)
    # bitbox takes T - 1 rows of rectangles, too
    for kind in ("rects", "landmarks"):
        path = tmp_path / f"clip_{kind}.3DI"
        path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    installs.break_all()
    runs.clear()
    p = processor(clip, tmp_path)
    tables = p.run_all(normalize=False)
    assert runs == [] and tables[0]["frame count"] == tables[2]["frame count"] == FRAMES - 1
    # its localized expressions were normalised, as its command says
    with pytest.raises(ValueError, match="told to fail"):
        p.localized_expressions(normalize=False)
    assert runs == ["localized"]


def test_a_docker_command_of_bitbox_says_what_is_normalised(clip: Path, tmp_path: Path, runs):
    p = processor(clip, tmp_path)
    p.run_all(normalize=False)
    beside = tmp_path / "clip_expression_localized.3DI.json"
    word = json.loads(beside.read_text())
    del word["normalized"]
    for command, normalized in (
        ('singularity exec x.sif bash -c "cd /app/3DI && ./s.py a b M B 0" > /dev/null', False),
        ("docker run bitbox ./s.py a b M B 1 > /dev/null", True),
        ("API call", True),
    ):
        beside.write_text(json.dumps({**word, "cmd": command}))
        runs.clear()
        p.localized_expressions(normalize=normalized)
        assert runs == []


def test_methods_want_what_they_build_on(clip: Path, tmp_path: Path):
    p = FaceProcessor3DI(verbose=False)
    with pytest.raises(ValueError, match=r"io\(input_file, output_dir\)"):
        p.detect_faces()
    p.io(clip, tmp_path)
    for method, first in (
        (p.detect_landmarks, "detect_faces"),
        (p.fit, "detect_landmarks"),
        (p.localized_expressions, "fit"),
    ):
        with pytest.raises(ValueError, match=rf"call {first}\(\) first") as error:
            method()
        assert isinstance(error.value, FacemakeError)


# --- what goes wrong -----------------------------------------------------------------------------


@pytest.mark.parametrize("mode", sorted(set(programs.MODES) - {"sleep", "one"}))
@pytest.mark.parametrize("name", ["video_detect_face", "total_variance_rec.py"])
def test_every_failure_is_an_error_and_leaves_nothing(
    clip: Path, tmp_path: Path, installs: Any, mode: str, name: str
):
    installs.play(**{name: mode})
    p = processor(clip, tmp_path / "out")
    with pytest.raises(ValueError, match=name.removesuffix(".py")) as error:
        p.run_all(normalize=False)
    assert isinstance(error.value, FacemakeError)
    kind = {"video_detect_face": "rects", "total_variance_rec.py": "expression_smooth"}[name]
    # the raw file in place of a smoothed one would be no result
    assert not list((tmp_path / "out").glob(f"clip_{kind}.*"))
    assert not list((tmp_path / "out").glob("clip_expression_localized*"))
    installs.play()
    assert len(p.run_all(normalize=False)) == 6


def test_one_file_of_two_is_not_enough(clip: Path, tmp_path: Path, installs: Any):
    installs.play(video_learn_identity="one")
    p = processor(clip, tmp_path / "out")
    with pytest.raises(ValueError, match="texture_coeff"):
        p.run_all(normalize=False)
    assert not list((tmp_path / "out").glob("*coeff*"))


def test_a_program_that_never_ends(clip: Path, tmp_path: Path, installs: Any):
    from facemake.backends.threedi.runtimes import TimeLimitError

    installs.play(video_detect_face="sleep")
    p = processor(clip, tmp_path, time_limit=1.5)
    with pytest.raises(TimeLimitError) as error:
        p.detect_faces()
    assert isinstance(error.value, ValueError)


def test_no_face_in_any_frame(tmp_path: Path, runs: list[str]):
    grey = [np.full((48, 64, 3), 120, np.uint8)] * 5
    clip = makemedia.write_video(tmp_path / "clip.mp4", grey)
    p = processor(clip, tmp_path / "out")
    assert (p.detect_faces()["data"] == 0).all(axis=None)
    assert (p.detect_landmarks()["data"] == 0).all(axis=None)
    with pytest.raises(NoFaceError, match=r"face in no frame of .*clip\.mp4") as error:
        p.fit()
    assert isinstance(error.value, ValueError) and runs == ["detect", "landmarks"]
    lite = processor(clip, tmp_path / "out", FaceProcessor3DIlite)
    with pytest.raises(NoFaceError):
        lite.run_all(normalize=False)


def test_some_frames_without_a_face(tmp_path: Path):
    grey = np.full((48, 64, 3), 120, np.uint8)
    frames = [grey, *(makemedia.pattern(i) for i in range(6)), grey]
    clip = makemedia.write_video(tmp_path / "clip.mp4", frames)
    lite = processor(clip, tmp_path / "out", FaceProcessor3DIlite).run_all(normalize=False)
    assert (lite[0]["data"].iloc[[0, 7]] == 0).all(axis=None)
    assert lite[3]["data"].isna().all(axis=1).tolist() == [True, *[False] * 6]
    full = processor(clip, tmp_path / "out").run_all(normalize=False)
    # 3DI's smoothing fills in positions, and leaves the angles of a frame that was not fitted
    assert full[3]["data"][["Tx", "Ty", "Tz"]].notna().all(axis=None)
    # its fit ends where the face does
    assert full[3]["data"]["Rx"].isna().tolist() == [True, *[False] * 5]
    assert full[0]["frame count"] == 8


def test_where_there_is_no_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, installs: Any, clip: Path
):
    monkeypatch.delenv("BITBOX_3DI")
    with pytest.raises(ValueError, match="BITBOX_3DI") as error:
        FaceProcessor3DI()
    assert isinstance(error.value, FacemakeError)
    with pytest.raises(ValueError, match="no video_learn_identity"):
        FaceProcessor3DI(runtime=installs.folders["3dilite"])
    p = processor(clip, tmp_path, runtime=str(installs.folders["3di"]))
    assert p.detect_faces()["frame count"] == FRAMES


def test_without_the_face_model_the_cure_is_said(clip: Path, tmp_path: Path, installs: Any):
    shutil.rmtree(installs.folders["3di"] / "models" / "MMs")
    with pytest.raises(ValueError, match=r"faces\.dmi\.unibas\.ch"):
        processor(clip, tmp_path).detect_faces()


# --- recordings ----------------------------------------------------------------------------------


def test_recordings_that_cannot_be_used(tmp_path: Path):
    p = FaceProcessor3DI(verbose=False)
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "file").write_text("")
    (tmp_path / "none").mkdir()
    for path, said in (("nowhere.mp4", "is not there"), ("text.mp4", "cannot be used")):
        with pytest.raises(ValueError, match=said) as error:
            p.io(tmp_path / path, tmp_path / "out")
            p.detect_faces()
        assert isinstance(error.value, FacemakeError) and path in str(error.value)
    with pytest.raises(ValueError, match="cannot be used"):
        p.io(tmp_path / "none", tmp_path / "out")
        p.detect_faces()
    clip = makemedia.write_video(tmp_path / "clip.mp4", 3)
    with pytest.raises(ValueError, match="cannot be made"):
        p.io(clip, tmp_path / "file" / "out")
    long = clip.rename(tmp_path / f"{'é' * 110}.mp4")
    with pytest.raises(ValueError, match="too long a name"):
        p.io(long, tmp_path / "out")


NAMES = [
    "with blanks.mp4",
    "-dash.mp4",
    "quo'te\"s.mp4",
    "a;b&c|d.mp4",
    "$HOME `id` $(id).mp4",
    "é日本.mp4",
    "two.dots.mp4",
    "percent%d{x}.MP4",
    "new\nline.mp4",
    "*?[a].mp4",
]


@pytest.mark.parametrize("name", NAMES)
def test_names_of_videos(clip: Path, tmp_path: Path, name: str):
    folder = tmp_path / "in $x 'y'"
    folder.mkdir()
    path = Path(shutil.copy(clip, folder / name))
    lite = processor(path, tmp_path / "out put;", FaceProcessor3DIlite, return_output="file")
    files = lite.run_all()
    stem = name.rpartition(".")[0]
    assert [Path(f).name for f in files[:2]] == [f"{stem}_rects.3DIl", f"{stem}_landmarks.3DIl"]
    assert all(Path(f).parent == tmp_path / "out put;" for f in files)
    assert sorted(p.name for p in folder.iterdir()) == [name]


def test_relative_paths(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    shutil.copy(clip, "data/clip.mp4")
    p = FaceProcessor3DI(verbose=False, return_output="file")
    p.io("data/clip.mp4", output_dir="output/")
    monkeypatch.chdir("/")
    assert p.detect_faces() == str(tmp_path / "output" / "clip_rects.3DI")


def test_pictures_are_offered_as_a_video(tmp_path: Path):
    from PIL import Image

    folder = tmp_path / "pictures.of"
    folder.mkdir()
    for i in range(4):
        Image.fromarray(makemedia.pattern(i)).save(folder / f"{i}.png")
    tables = processor(folder, tmp_path / "out").run_all(normalize=False)
    assert [t["frame count"] for t in tables] == [4] * 6
    rects = np.loadtxt(tmp_path / "out" / "pictures.of_rects.3DI")
    assert len(rects) == 5  # the last picture is there twice in what 3DI sees
    single = processor(folder / "2.png", tmp_path / "out").run_all(normalize=False)
    assert [t["frame count"] for t in single] == [1] * 6


@pytest.mark.parametrize("at", ["while it is written", "before it is noted"])
def test_an_interrupt_leaves_no_video_of_another_recording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
):
    from PIL import Image

    from facemake.backends.threedi import offer
    from facemake.processors import base

    for number, who in enumerate(("anna", "bert")):
        (tmp_path / who / "pictures").mkdir(parents=True)
        for i in range(3):
            picture = makemedia.pattern(i + 7 * number)
            Image.fromarray(picture).save(tmp_path / who / "pictures" / f"{i}.png")

    def of(who: str) -> Any:
        return processor(tmp_path / who / "pictures", tmp_path / "out")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    annas = of("anna")
    annas.detect_faces()
    seen = annas._prepared.read_bytes()
    with monkeypatch.context() as patch:
        if at == "while it is written":
            patch.setattr(offer, "_encode", interrupt)
        else:
            patch.setattr(base, "write_text", interrupt)
        berts = of("bert")
        with pytest.raises(KeyboardInterrupt):
            berts.detect_faces()
    assert berts._prepared.is_file() == (at == "before it is noted")
    (tmp_path / "out" / "pictures_rects.3DI").unlink()
    again = of("anna")
    again.detect_faces()
    assert again._prepared.read_bytes() == seen
    # one that was told of its video before another recording's took the place
    of("bert").detect_faces()
    again.detect_faces()
    assert again._prepared.read_bytes() == seen
    assert len(list(again._private.glob("*prepared*"))) == 1


def test_a_turned_video_is_seen_upright(tmp_path: Path):
    clip = makemedia.write_video(tmp_path / "clip.mp4", 6, rotation=90)
    tables = processor(clip, tmp_path / "out").run_all(normalize=False)
    assert tables[0]["frame count"] == 6
    x = tables[1]["data"].to_numpy()[:, ::2]
    assert x.max() < 48  # the upright width


def test_a_calibrated_camera(clip: Path, tmp_path: Path, runs: list[str], installs: Any):
    camera = tmp_path / "camera file.txt"
    matrix = "!!opencv-matrix\n   rows: 3\n   cols: 3\n   dt: d\n"
    matrix += "   data: [ 100, 0, 32, 0, 100, 24, 0, 0, 1 ]"
    camera.write_text(f"%YAML:1.0\n---\ncameraMatrix_postUndistort: {matrix}\n")
    p = processor(clip, tmp_path / "out", camera_model=str(camera))
    assert runs == ["undistort"]  # io does that
    undistorted = tmp_path / "out" / "clip_preprocessed.mp4"
    assert undistorted.is_file()
    word = json.loads(undistorted.with_name(f"{undistorted.name}.json").read_text())
    assert word["camera"] == str(camera) and word["input_hash"] == file_sha256(clip)
    tables = p.run_all(normalize=False)
    assert tables[2]["frame count"] == FRAMES - 1
    assert str(undistorted) in json.loads((tmp_path / "out/clip_rects.3DI.json").read_text())["cmd"]

    runs.clear()
    moved = camera.rename(tmp_path / "moved.txt")  # the same content
    processor(clip, tmp_path / "out", camera_model=moved).run_all(normalize=False)
    assert runs == []
    as_bitbox(tmp_path / "out", clip, camera=str(moved))
    processor(clip, tmp_path / "out", camera_model=moved).run_all(normalize=False)
    assert runs == []

    shutil.rmtree(tmp_path / "out")
    for width in ("31", "30"):  # other content under the same name
        moved.write_text(moved.read_text().replace("32", width).replace("31", width))
        runs.clear()
        processor(clip, tmp_path / "out", camera_model=moved).run_all(normalize=False)
        assert runs == ["undistort", *ALL_STEPS]


def test_what_a_camera_may_be(clip: Path, tmp_path: Path):
    for value in (0, 180, -5, True, float("nan")):
        with pytest.raises(ValueError, match="camera_model"):
            FaceProcessor3DI(camera_model=value)
    with pytest.raises(ValueError, match="no such calibration file"):
        FaceProcessor3DI(camera_model="nowhere.txt")
    p = processor(clip, tmp_path)
    p.preprocess()
    p.preprocess(undistort=False)
    with pytest.raises(ValueError, match="camera_model is 30 degrees"):
        p.preprocess(undistort=True)


# --- two at once ---------------------------------------------------------------------------------


def test_two_processors_on_one_folder_do_the_work_once(clip: Path, tmp_path: Path, runs: list[str]):
    results: list[Any] = []

    def work() -> None:
        results.append(processor(clip, tmp_path).run_all(normalize=False))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert runs == ALL_STEPS and len(results) == 3
    for other in results[1:]:
        pd.testing.assert_frame_equal(results[0][2]["data"], other[2]["data"])


def test_who_waits_says_so(clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    first = processor(clip, tmp_path)
    waits = processor(clip, tmp_path, verbose=True)
    thread = threading.Thread(target=waits.detect_faces)
    with first._at_work():
        thread.start()
        time.sleep(0.3)
        assert thread.is_alive()
    thread.join(30)
    assert "waiting for it" in capsys.readouterr().out
    assert (tmp_path / "clip_rects.3DI").is_file()


def test_who_has_the_folder_may_nest_another_processor(clip: Path, tmp_path: Path):
    """A lock of its own would wait for the first one, and that one for it."""
    outer = processor(clip, tmp_path)
    # the same folder by another name
    (tmp_path / "link").symlink_to(tmp_path)
    inner = processor(clip, tmp_path / "link")
    done: list[Any] = []

    def nest() -> None:
        with outer._at_work():
            done.append(inner.detect_faces())
            outer.detect_landmarks()
        done.append(processor(clip, tmp_path).detect_landmarks())

    thread = threading.Thread(target=nest, daemon=True)
    thread.start()
    thread.join(30)
    assert len(done) == 2


def test_a_forked_process_waits_for_the_lock_of_its_parent(clip: Path, tmp_path: Path):
    p = processor(clip, tmp_path)
    with p._at_work():
        child = multiprocessing.get_context("fork").Process(target=_lock_and_end, args=(p,))
        child.start()
        child.join(0.7)
        assert child.is_alive()
    child.join(30)
    assert child.exitcode == 7


def _lock_and_end(p: Any) -> None:
    with p._at_work():
        os._exit(7)


def test_engines_wait_for_each_other(clip: Path, tmp_path: Path):
    """They share the undistorted video, and a program of one must not read what another writes."""
    full = processor(clip, tmp_path)
    lite = processor(clip, tmp_path, FaceProcessor3DIlite)
    thread = threading.Thread(target=lite.detect_faces)
    with full._at_work():
        thread.start()
        time.sleep(0.5)
        assert thread.is_alive() and not (tmp_path / "clip_rects.3DIl").exists()
    thread.join(30)
    assert (tmp_path / "clip_rects.3DIl").is_file()


# --- words ---------------------------------------------------------------------------------------


def test_what_is_said(clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    p = FaceProcessor3DI()
    p.io(clip, tmp_path)
    p.detect_faces()
    said = capsys.readouterr().out
    assert "Running 3DI to detect the face... (took 0." in said
    p.detect_faces()
    assert "clip_rects.3DI: already there" in capsys.readouterr().out
    quiet = processor(clip, tmp_path)
    quiet.detect_faces()
    assert capsys.readouterr().out == ""
    loud = processor(clip, tmp_path, debug=True)
    loud.detect_landmarks()
    said = capsys.readouterr().out
    assert "Engine: 3DI in the folder" in said and "Command: " in said


def test_debug_is_of_one_processor(clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    log = logging.getLogger("facemake")
    before = log.level, list(log.handlers)
    loud = processor(clip, tmp_path, debug=True)
    quiet = processor(clip, tmp_path / "other")
    loud.detect_faces()
    assert "video_detect_face: " in capsys.readouterr().err
    assert (log.level, log.handlers) == before
    quiet.detect_faces()
    assert capsys.readouterr().err == ""
    with loud._at_work():  # at the same time, in another thread
        thread = threading.Thread(target=quiet.detect_landmarks)
        thread.start()
        thread.join(30)
        assert capsys.readouterr().err == ""
        warning = threading.Thread(target=log.warning, args=("the server is away",))
        warning.start()
        warning.join(30)
        assert capsys.readouterr().err == "the server is away\n"
        loud.detect_landmarks()
    assert "video_detect_landmarks: " in capsys.readouterr().err
    assert (log.level, log.handlers) == before


def test_citations(clip: Path, capsys: pytest.CaptureFixture[str]):
    assert FaceProcessor3DI(camera_model=44.5).citation() is None
    said = capsys.readouterr().out
    for word in ("TPAMI.2023.3334948", "AVSS.2009.58", "CVPR42600.2020.00720", "CITATION.cff"):
        assert word in said
    assert "44.5 degrees" in said and "FG61629" in said
    FaceProcessor3DIlite().citation()
    said = capsys.readouterr().out
    assert "FG61629" in said and "TPAMI" not in said and "degrees" not in said
    assert (ROOT / "CITATION.cff").is_file()


def test_positional_arguments_as_bitbox_has_them(clip: Path, installs: Any):
    p = FaceProcessor3DI(str(installs.folders["3di"]), "file", None, False, False)
    assert p.return_output == "file" and p.verbose is False and p.debug is False
    lite = FaceProcessor3DIlite(None, "dict", verbose=False, camera_model=40, fast=True)
    assert lite.return_output == "dict"
