"""Every code block of the page of 3DI's wrapper runs, with only package names changed.

So do those of docs/3di.md.
"""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Any

import pytest

import documentation
import makemedia
from serving import Served

FRAMES = 8


def blocks(shared: Path) -> list[str]:
    (page,) = (shared / "seeds").glob("000_*.txt")
    text = page.read_text(encoding="utf-8")
    found = re.findall(r"^( *)```python\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    return [textwrap.dedent(code) for _, code in found]


def renamed(code: str) -> str:
    """Package names, and nothing else."""
    assert "from bitbox.face_backend.backend3DI import" in code
    return code.replace("bitbox.face_backend.backend3DI", "facemake")


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, installs: Any, noise: Path) -> Path:
    """A working directory with the video that the page speaks of."""
    folder = tmp_path / "desk"
    (folder / "data").mkdir(parents=True)
    makemedia.write_video(folder / "data" / "video.mp4", FRAMES)
    monkeypatch.chdir(folder)
    return folder


def test_the_page_has_three_blocks(shared: Path):
    local, docker, remote = blocks(shared)
    assert "FaceProcessor3DI()" in local
    assert "runtime='bitbox:latest'" in docker  # tests/containers/test_processors.py
    assert '"host": "api.bitbox.local"' in remote


def test_local(shared: Path, desk: Path):
    names: dict[str, Any] = {}
    exec(renamed(blocks(shared)[0]), names)
    assert names["rectangles"]["frame count"] == FRAMES
    assert names["landmarks"]["schema"] == "ibug51"
    assert names["expressions"]["schema"] == "3DI-G79"
    assert (names["expressions"]["data"] >= 0).all(axis=None)  # normalised
    assert list(names["pose"]["data"].columns) == ["Tx", "Ty", "Tz", "Rx", "Ry", "Rz"]
    assert names["canonical_landmarks"]["type"] == "landmark-can"
    assert names["localized"]["schema"] == "3DI-L32"
    assert (desk / "output" / "video_expression_localized.3DI").is_file()


def test_remote(shared: Path, desk: Path, server: Served, monkeypatch: pytest.MonkeyPatch):
    import socket

    def here(host: str, port: int, *rest: Any, **more: Any) -> Any:
        """The page's server, on this machine's free port."""
        if host == "api.bitbox.local":
            host, port = "127.0.0.1", server.port
        return real(host, port, *rest, **more)

    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", here)
    names: dict[str, Any] = {}
    exec(renamed(blocks(shared)[2]), names)
    results = names["results"]
    assert [t["type"] for t in results] == [
        *("rectangle", "landmark", "expression", "pose", "landmark-can", "expression")
    ]
    assert results[0]["frame count"] == FRAMES
    assert (desk / "output" / "remote" / "video_rects.3DI").is_file()


def test_the_documentation(desk: Path, server: Served):
    local, remote = re.findall(r"```python\n(.*?)```", documentation.text("3di"), re.DOTALL)
    names: dict[str, Any] = {}
    exec(local, names)
    assert names["localized"]["schema"] == "3DI-L32"
    exec(remote.replace("8000", str(server.port)), names)
    names["processor"].io("data/video.mp4", output_dir="remote")
    assert names["processor"].detect_faces()["frame count"] == FRAMES
