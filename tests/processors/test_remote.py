"""Processors that work on a server: a real one, whose engines are stand-in installs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import pandas as pd
import pytest

import makemedia
from facemake import FaceProcessor, FaceProcessor3DI, FaceProcessor3DIlite
from facemake.server.settings import FACTORIES
from serving import ANNA, Served, serving, settings


def remote(kind: type, server: Served, clip: Path, folder: Path, **options: Any) -> Any:
    where = {"host": "127.0.0.1", "port": server.port}
    made = kind(**{"server": where, "verbose": False, **options})
    made.io(clip, folder)
    return made


@pytest.mark.parametrize("kind", [FaceProcessor3DI, FaceProcessor3DIlite])
def test_the_same_as_here(
    kind: type, server: Served, clip: Path, tmp_path: Path, noise: Path, runs: list[str]
):
    theirs = remote(kind, server, clip, tmp_path / "theirs").run_all()
    assert runs == []
    local = kind(verbose=False)
    local.io(clip, tmp_path / "ours")
    for ours, other in zip(local.run_all(), theirs, strict=True):
        assert {**ours, "data": 0} == {**other, "data": 0}
        pd.testing.assert_frame_equal(ours["data"], other["data"])
    word = json.loads((tmp_path / "theirs" / f"clip_rects{_suffix(kind)}.json").read_text())
    assert word["cmd"] == "API call" and word["input"] == str(clip)
    assert word["runtime_identity"] == local._current_identity()


def _suffix(kind: type) -> str:
    return ".3DI" if kind is FaceProcessor3DI else ".3DIl"


def test_what_came_is_used_again_here_and_there(
    server: Served, clip: Path, tmp_path: Path, runs: list[str]
):
    remote(FaceProcessor3DI, server, clip, tmp_path / "out").run_all(normalize=False)
    local = FaceProcessor3DI(verbose=False)
    local.io(clip, tmp_path / "out")
    local.run_all(normalize=False)
    assert runs == []
    server.queue.stopping = True  # no more jobs
    remote(FaceProcessor3DI, server, clip, tmp_path / "out").run_all(normalize=False)


def test_options_and_arguments_reach_the_server(server: Served, clip: Path, tmp_path: Path):
    p = remote(
        FaceProcessor3DI, server, clip, tmp_path / "out", camera_model=41.5, fast=True,
        return_output="file",
    )  # fmt: skip
    files = p.run_all()
    assert len(files) == 13
    identity = p._session().provenance
    plain = p.localized_expressions(normalize=False)
    assert Path(plain).read_text() and identity
    for name, said in p._session().provenance.items():
        assert name.endswith("localized.3DI") and said["normalized"] is False
        assert said["camera"] == 41.5 and said["fast"] is True


def test_the_servers_failure_is_ours(server: Served, clip: Path, tmp_path: Path, installs: Any):
    installs.play(video_detect_landmarks="exit")
    p = remote(FaceProcessor3DI, server, clip, tmp_path / "out")
    p.detect_faces()
    with pytest.raises(ValueError, match="told to fail"):
        p.detect_landmarks()
    assert not list((tmp_path / "out").glob("*landmarks*"))


def test_a_server_of_bitbox_normalises_always(
    server: Served, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    p = remote(FaceProcessor3DI, server, clip, tmp_path / "out")
    p.run_all(normalize=False)
    monkeypatch.setattr(p._session(), "check", dict)  # it says nothing of itself
    with pytest.raises(ValueError, match="server of bitbox"):
        p.localized_expressions(normalize=False)
    assert p.localized_expressions()["schema"] == "3DI-L32"


@pytest.mark.parametrize("kind", [FaceProcessor3DI, FaceProcessor3DIlite])
def test_a_runtime_of_our_own_is_refused_with_a_server(kind: type):
    # before the server is asked: there is none here
    with pytest.raises(ValueError, match="runtime is 'bitbox:latest', and a server has its own"):
        kind(runtime="bitbox:latest", server={"host": "127.0.0.1", "port": 9})


def test_no_token_is_printed(
    clip: Path, tmp_path: Path, installs: Any, capsys: pytest.CaptureFixture[str]
):
    what = replace(settings(tmp_path / "server", tokens=True), factories=FACTORIES, runtimes={})
    with serving(what) as served:
        where = {"host": "127.0.0.1", "port": served.port, "token": ANNA}
        p = FaceProcessor3DI(server=where, debug=True)
        p.io(clip, tmp_path / "out")
        p.detect_faces()
    said = capsys.readouterr()
    assert "http://127.0.0.1" in said.out and ANNA not in said.out + said.err
    assert all(ANNA not in path.read_text() for path in (tmp_path / "out").glob("*.json"))


def test_what_a_server_sends_is_looked_at(
    server: Served, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    p = remote(FaceProcessor3DI, server, clip, tmp_path / "out")
    real = p._session().execute

    def half(*arguments: Any) -> list[Path]:
        files: list[Path] = real(*arguments)
        files[0].write_text("1 2 3 4\n")
        return files

    monkeypatch.setattr(p._session(), "execute", half)
    with pytest.raises(ValueError, match="has 1 rows, wanted 12"):
        p.detect_faces()
    assert not list((tmp_path / "out").glob("clip*"))


def test_a_calibrated_camera_is_sent(server: Served, clip: Path, tmp_path: Path):
    camera = tmp_path / "camera.yml"
    matrix = "!!opencv-matrix\n  rows: 3\n  cols: 3\n  dt: d\n  data: [100,0,32,0,100,24,0,0,1]"
    camera.write_text(f"%YAML:1.0\n---\ncameraMatrix_postUndistort: {matrix}\n")
    p = remote(FaceProcessor3DI, server, clip, tmp_path / "out", camera_model=camera)
    assert p.run_all(normalize=False)[0]["frame count"] == 12
    p.preprocess(undistort=True)
    assert (tmp_path / "out" / "clip_preprocessed.mp4").is_file()


def test_pictures_are_sent_as_a_video(server: Served, tmp_path: Path):
    from PIL import Image

    (tmp_path / "set").mkdir()
    for i in range(3):
        Image.fromarray(makemedia.pattern(i)).save(tmp_path / "set" / f"{i}.png")
    p = remote(FaceProcessor3DI, server, tmp_path / "set", tmp_path / "out")
    assert [t["frame count"] for t in p.run_all(normalize=False)] == [3] * 6
    native = remote(FaceProcessor, server, tmp_path / "set", tmp_path / "out")
    with pytest.raises(ValueError, match="takes videos, not pictures"):
        native.detect_faces()


def test_two_recordings_one_after_the_other(server: Served, clip: Path, tmp_path: Path):
    p = remote(FaceProcessor3DI, server, clip, tmp_path / "out")
    assert p.detect_faces()["frame count"] == 12
    p.io(makemedia.write_video(tmp_path / "other.mp4", 7), tmp_path / "out")
    assert p.detect_faces()["frame count"] == 7


def test_tokens_and_servers_that_are_not_there(tmp_path: Path, clip: Path, installs: Any):
    with serving(
        replace(settings(tmp_path / "server", tokens=True), factories=FACTORIES, runtimes={})
    ) as served:
        where = {"host": "127.0.0.1", "port": served.port}
        with pytest.raises(ValueError, match="token"):
            FaceProcessor3DI(server=where, verbose=False)
        p = FaceProcessor3DI(server={**where, "token": ANNA}, verbose=False)
        p.io(clip, tmp_path / "out")
        assert p.detect_faces()["frame count"] == 12
    with pytest.raises(ValueError, match="cannot be reached"):
        FaceProcessor3DI(server=where, verbose=False)


@pytest.mark.slow
def test_the_native_engine_on_a_server(server: Served, bundled: Path, tmp_path: Path):
    with av.open(str(bundled / "moving_portrait.mp4")) as container:
        frames = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
    clip = makemedia.write_video(tmp_path / "clip.mp4", frames[:12])
    theirs = remote(FaceProcessor, server, clip, tmp_path / "theirs").run_all()
    local = FaceProcessor(verbose=False)
    local.io(clip, tmp_path / "ours")
    for ours, other in zip(local.run_all(), theirs, strict=True):
        assert {**ours, "data": 0} == {**other, "data": 0}
        pd.testing.assert_frame_equal(ours["data"], other["data"])
