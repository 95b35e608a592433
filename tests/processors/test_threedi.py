"""FaceProcessor3DI and FaceProcessor3DIlite on stand-in installs: programs that measure nothing."""

from __future__ import annotations

import json
import logging
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import makemedia
from conftest import ROOT
from facemake import FaceProcessor3DI, FaceProcessor3DIlite
from facemake.errors import FacemakeError
from facemake.processors.base import NoFaceError
from facemake.provenance import file_sha256
from processing import ALL_STEPS, FRAMES, processor
from standin3di import programs

FULL_KINDS = (
    *("rects", "landmarks", "shape_coeff", "texture_coeff", "shape", "texture", "expression"),
    *("pose", "illumination", "expression_smooth", "pose_smooth", "landmarks_canonicalized"),
    "expression_localized",
)
LITE_KINDS = (
    *("rects", "landmarks", "expression_smooth", "shape_coeff", "texture_coeff", "illumination"),
    *("pose_smooth", "landmarks_canonicalized", "expression_localized"),
)

pytestmark = pytest.mark.usefixtures("installs")


def raw(folder: Path, kind: str, suffix: str = "3DI") -> np.ndarray:
    return np.loadtxt(folder / f"clip_{kind}.{suffix}")


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


def test_localized_expressions_by_3dis_own_flag(clip: Path, filled: Path, tmp_path: Path):
    p = processor(clip, Path(shutil.copytree(filled, tmp_path / "out")))
    normalized = p.localized_expressions()["data"].to_numpy()
    plain = p.localized_expressions(normalize=False)["data"].to_numpy()
    assert not np.allclose(normalized, plain) and (plain >= 0).all()
    np.testing.assert_array_equal(p.localized_expressions(normalize=True)["data"], normalized)


# --- what goes wrong -----------------------------------------------------------------------------


WAYS_TO_FAIL = sorted(set(programs.MODES) - {"sleep", "one"})


@pytest.mark.parametrize("mode", WAYS_TO_FAIL)
def test_every_failure_of_the_first_program_is_an_error_and_leaves_nothing(
    clip: Path, tmp_path: Path, installs: Any, mode: str
):
    installs.play(video_detect_face=mode)
    p = processor(clip, tmp_path / "out")
    with pytest.raises(ValueError, match="video_detect_face") as error:
        p.run_all(normalize=False)
    assert isinstance(error.value, FacemakeError)
    assert not list((tmp_path / "out").glob("clip_*"))
    installs.play()
    assert p.detect_faces()["frame count"] == FRAMES


@pytest.mark.parametrize("mode", WAYS_TO_FAIL)
def test_every_failure_of_a_later_program_is_an_error_and_leaves_nothing(
    clip: Path, filled: Path, tmp_path: Path, installs: Any, runs: list[str], mode: str
):
    out = Path(shutil.copytree(filled, tmp_path / "out"))
    for path in out.glob("clip_expression_smooth*"):
        path.unlink()
    installs.play(**{"total_variance_rec.py": mode})
    p = processor(clip, out)
    with pytest.raises(ValueError, match="total_variance_rec") as error:
        p.run_all(normalize=False)
    assert isinstance(error.value, FacemakeError)
    # the raw file in place of a smoothed one would be no result
    assert not list(out.glob("clip_expression_smooth.*"))
    with pytest.raises(ValueError, match="total_variance_rec"):
        p.fit()
    installs.play()
    runs.clear()
    assert len(p.run_all(normalize=False)) == 6 and runs[0] == "smooth_expression"


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
