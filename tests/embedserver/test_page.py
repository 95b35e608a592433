"""What the documentation says of the service works as it stands there."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from conftest import ROOT
from embedserving import PORTRAITS, EmbedServed, embed_serving, settings

pytestmark = pytest.mark.usefixtures("bundled")


def section() -> str:
    return (ROOT / "docs" / "service.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", section(), re.DOTALL)


@pytest.fixture(scope="module")
def server(bundled) -> EmbedServed:
    with embed_serving(settings()) as served:
        yield served


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copy(PORTRAITS / "grace_hopper.jpg", tmp_path / "anna.jpg")
    shutil.copy(PORTRAITS / "eileen_collins.png", tmp_path / "bob.jpg")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_the_lines_for_curl(server: EmbedServed, folder: Path):
    lines = [line for line in "".join(blocks("sh")).splitlines() if line.startswith("curl")]
    assert len(lines) == 5
    for line in lines:
        command = shlex.split(line.replace("http://127.0.0.1:8000", server.url))
        done = subprocess.run([*command, "-sS", "--fail"], capture_output=True, timeout=30)
        assert done.returncode == 0, (line, done.stderr)
        pictures = json.loads(done.stdout)["pictures"]
        assert all(len(one["faces"]) == 1 for one in pictures), line


def test_the_lines_of_python(server: EmbedServed, folder: Path):
    (code,) = blocks("python")
    names: dict[str, object] = {}
    exec(code.replace('"localhost", "port": 8000', f'"localhost", "port": {server.port}'), names)
    assert names["vector"].shape == (128,) and names["said"]["same_person"] == [[False]]
