"""What is there of an earlier run is used where it fits; two at once on one folder."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import makemedia
from facemake import FaceProcessor3DI, FaceProcessor3DIlite
from facemake.errors import FacemakeError
from facemake.processors.base import NotReadyError
from processing import ALL_STEPS, FRAMES, age, as_bitbox, processor

pytestmark = pytest.mark.usefixtures("installs")


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
    clip: Path, filled: Path, tmp_path: Path, runs: list[str], options: dict[str, Any]
):
    shutil.copytree(filled, tmp_path, dirs_exist_ok=True)
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


def test_a_file_without_its_word_is_computed_again(
    clip: Path, filled: Path, tmp_path: Path, runs: list[str]
):
    shutil.copytree(filled, tmp_path, dirs_exist_ok=True)
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


def test_a_folder_that_bitbox_filled_is_used(
    clip: Path, filled: Path, tmp_path: Path, runs: list[str], installs: Any
):
    shutil.copytree(filled, tmp_path, dirs_exist_ok=True)
    as_bitbox(tmp_path, clip)
    # bitbox takes T - 1 rows of rectangles, too
    for kind in ("rects", "landmarks"):
        path = tmp_path / f"clip_{kind}.3DI"
        path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    installs.break_all()
    p = processor(clip, tmp_path)
    tables = p.run_all(normalize=False)
    assert runs == [] and tables[0]["frame count"] == tables[2]["frame count"] == FRAMES - 1
    # its localized expressions were normalised, as its command says
    with pytest.raises(ValueError, match="told to fail"):
        p.localized_expressions(normalize=False)
    assert runs == ["localized"]


def test_a_docker_command_of_bitbox_says_what_is_normalised(
    clip: Path, filled: Path, tmp_path: Path, runs: list[str]
):
    shutil.copytree(filled, tmp_path, dirs_exist_ok=True)
    p = processor(clip, tmp_path)
    beside = tmp_path / "clip_expression_localized.3DI.json"
    word = json.loads(beside.read_text())
    del word["normalized"]
    for command, normalized in (
        ('singularity exec x.sif bash -c "cd /app/3DI && ./s.py a b M B 0" > /dev/null', False),
        ("docker run bitbox ./s.py a b M B 1 > /dev/null", True),
        ("API call", True),
    ):
        beside.write_text(json.dumps({**word, "cmd": command}))
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


def told_of_waiting(waits: Any, told: Callable[[], None]) -> None:
    """Have `told` called when a processor says that it waits for another one."""
    say = waits._lock._say

    def and_tell(text: str) -> None:
        say(text)
        if "waiting for it" in text:
            told()

    waits._lock._say = and_tell


def test_who_waits_says_so(clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    first = processor(clip, tmp_path)
    waits = processor(clip, tmp_path, verbose=True)
    said = threading.Event()
    told_of_waiting(waits, said.set)
    thread = threading.Thread(target=waits.detect_faces)
    with first._at_work():
        thread.start()
        assert said.wait(120) and thread.is_alive()
    thread.join(120)
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
    thread.join(120)
    assert len(done) == 2


def test_a_forked_process_waits_for_the_lock_of_its_parent(clip: Path, tmp_path: Path):
    p = processor(clip, tmp_path)
    fork = multiprocessing.get_context("fork")
    said = fork.Event()
    told_of_waiting(p, said.set)
    with p._at_work():
        child = fork.Process(target=_lock_and_end, args=(p,))
        child.start()
        assert said.wait(120) and child.is_alive()
    child.join(120)
    assert child.exitcode == 7


def _lock_and_end(p: Any) -> None:
    with p._at_work():
        os._exit(7)


def test_engines_wait_for_each_other(clip: Path, tmp_path: Path):
    """They share the undistorted video, and a program of one must not read what another writes."""
    full = processor(clip, tmp_path)
    lite = processor(clip, tmp_path, FaceProcessor3DIlite)
    said = threading.Event()
    told_of_waiting(lite, said.set)
    thread = threading.Thread(target=lite.detect_faces)
    with full._at_work():
        thread.start()
        assert said.wait(120)
        assert thread.is_alive() and not (tmp_path / "clip_rects.3DIl").exists()
    thread.join(120)
    assert (tmp_path / "clip_rects.3DIl").is_file()
