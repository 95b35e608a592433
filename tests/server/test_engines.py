"""The service with the processors themselves, whose engine is the stand-in install of 3DI."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import requests

import makemedia
from facemake.server.settings import FACTORIES
from serving import Served, serving, settings
from standin3di import build

FITTED = (
    *("shape_coeff", "texture_coeff", "shape", "texture", "expression", "pose"),
    *("illumination", "expression_smooth", "pose_smooth", "landmarks_canonicalized"),
)


@pytest.fixture(scope="module")
def installs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("in stalls")
    return {engine: build.build(folder / engine, engine) for engine in ("3di", "3dilite")}


@pytest.fixture
def server(
    tmp_path: Path, installs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Served]:
    for name in ("BITBOX_3DI", "BITBOX_3DI_LITE", "BITBOX_DOCKER"):
        monkeypatch.delenv(name, raising=False)
    runtimes = {
        "FaceProcessor3DI": str(installs["3di"]),
        "FaceProcessor3DIlite": str(installs["3dilite"]),
    }
    what = settings(tmp_path / "ser ver")
    with serving(replace(what, factories=FACTORIES, runtimes=runtimes)) as served:
        yield served
    (installs["3di"] / "standin.json").unlink(missing_ok=True)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return makemedia.write_video(tmp_path_factory.mktemp("clip") / "clip.mp4", 12).read_bytes()


def names(answer: requests.Response) -> set[str]:
    import io
    import zipfile

    assert answer.status_code == 200, answer.text
    return set(zipfile.ZipFile(io.BytesIO(answer.content)).namelist())


def test_each_method_of_both_engines(server: Served, clip: bytes):
    session = server.session(data=clip)
    found = names(server.call("execute", session, "localized_expressions"))  # runs all before it
    assert found == {"input_file_expression_localized.3DI"}
    job = server.job(session, "fit")
    state = server.until(job, "done")
    assert state["provenance"].keys() == {f"input_file_{kind}.3DI" for kind in FITTED}
    for said in state["provenance"].values():
        assert said["backend"] == "3DI" and said["runtime_identity"]
        assert not {"cmd", "input", "output"} & said.keys()
    found = names(
        server.call("execute", session, "run_all", processor_class="FaceProcessor3DIlite")
    )
    assert "input_file_pose_smooth.3DIl" in found and len(found) == 9


def test_a_calibrated_camera(server: Served, clip: bytes):
    matrix = "!!opencv-matrix\n  rows: 3\n  cols: 3\n  dt: d\n  data: [100,0,32,0,100,24,0,0,1]"
    camera = f"%YAML:1.0\n---\ncameraMatrix_postUndistort: {matrix}\n"
    session = server.session(data=clip, files={"camera_file": ("c.txt", camera)})
    found = names(server.call("execute", session, "preprocess", camera_model="c.txt"))
    assert found == {"input_file_preprocessed.mp4"}
    state = server.until(server.job(session, camera_model="c.txt"), "done")
    assert "camera" not in state["provenance"]["input_file_rects.3DI"]


def test_progress_is_what_the_engine_does(server: Served, clip: bytes, installs: dict[str, Path]):
    (installs["3di"] / "standin.json").write_text(json.dumps({"video_detect_landmarks": "sleep"}))
    session = server.session(data=clip)
    job = server.job(session, "detect_landmarks")
    said = set()
    # that it is started, or already what it says: whichever is there when somebody asks
    starts = ("Running 3DI to find landmarks...", "video_detect_landmarks: ")
    end = time.monotonic() + 30
    while (state := server.state(job))["state"] in ("queued", "running"):
        assert time.monotonic() < end, said
        said.add(state["progress"])
        if any(text.startswith(starts) for text in said):
            break
        time.sleep(0.05)
    server.ask("DELETE", f"jobs/{job}")
    server.until(job, "interrupted")
    assert any(text.startswith(starts) for text in said)
    assert not [text for text in said if "/" in text.replace("/12", "")]


def test_a_program_that_never_ends_is_ended_by_the_time_limit(
    server: Served, clip: bytes, installs: dict[str, Path]
):
    server.queue._limits = replace(server.settings.limits, job_seconds=3)
    (installs["3di"] / "standin.json").write_text(json.dumps({"video_detect_face": "sleep"}))
    session = server.session(data=clip)
    answer = server.call("execute", session)
    assert answer.status_code == 504, answer.text
    here = str(installs["3di"])
    left = [
        p for p in psutil.process_iter(["cmdline"]) if here in " ".join(p.info["cmdline"] or [])
    ]
    assert not left


@pytest.mark.parametrize("mode", ["half", "noise"])
def test_a_program_that_fails_is_said_in_words(
    server: Served, clip: bytes, installs: dict[str, Path], mode: str
):
    (installs["3di"] / "standin.json").write_text(json.dumps({"video_detect_face": mode}))
    answer = server.call("execute", server.session(data=clip))
    assert answer.status_code == 500
    said = answer.json()["detail"]
    assert "video_detect_face" in said or "input_file_rects.3DI" in said
    for folder in (installs["3di"], server.settings.folder, Path.home()):
        assert str(folder) not in said
    assert len(said) < 2100


def test_a_video_that_is_none_is_said_in_words(server: Served):
    answer = server.call("execute", server.session())
    assert answer.status_code == 500
    said = answer.json()["detail"]
    assert said.startswith("input_file.mp4 cannot be used") and "/" not in said


@pytest.mark.parametrize(
    ("processor_class", "words"),
    [
        ("FaceProcessor3DI", "no 3DI that can be used.*`facemake serve --runtime-3di RUNTIME`"),
        ("FaceProcessor3DIlite", "no 3DI-lite that .*`facemake serve --runtime-3dilite RUNTIME`"),
    ],
)
def test_3di_that_is_not_there_is_the_servers_to_mend(
    tmp_path: Path,
    clip: bytes,
    monkeypatch: pytest.MonkeyPatch,
    processor_class: str,
    words: str,
):
    for name in ("BITBOX_3DI", "BITBOX_3DI_LITE", "BITBOX_DOCKER"):
        monkeypatch.delenv(name, raising=False)
    with serving(replace(settings(tmp_path), factories=FACTORIES, runtimes={})) as server:
        session = server.session(data=clip)
        answer = server.call("execute", session, processor_class=processor_class)
        said = answer.json()["detail"]
        assert answer.status_code == 500 and re.search(words, said)
        assert "BITBOX" not in said and "threedi.runtime" not in said
