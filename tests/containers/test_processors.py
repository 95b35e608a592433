"""The Python interface on real images of the stand-in, and the page's block for Docker."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import makemedia
from facemake import FaceProcessor3DI, FaceProcessor3DIlite

pytestmark = pytest.mark.containers

FRAMES = 8


@pytest.fixture(autouse=True)
def no_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BITBOX_3DI", "BITBOX_3DI_LITE", "BITBOX_DOCKER", "FACEMAKE_3DI_RUNTIME"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    folder = tmp_path / "in $x"
    folder.mkdir()
    return makemedia.write_video(folder / "-é 'a'; b.mp4", FRAMES)


@pytest.mark.parametrize("image", ["sif", "sandbox", "docker_image"])
@pytest.mark.parametrize("kind", [FaceProcessor3DI, FaceProcessor3DIlite])
def test_all_of_it(image: str, kind: type, clip: Path, tmp_path: Path, request: Any):
    runtime = request.getfixturevalue(image)
    p = kind(runtime=str(runtime), verbose=False)
    p.io(clip, tmp_path / "out; put")
    tables = p.run_all(normalize=False)
    assert [t["frame count"] for t in tables] == [FRAMES] * 2 + [FRAMES - 1] * 4
    again = kind(runtime=runtime, verbose=False, return_output="file")
    again.io(clip, tmp_path / "out; put")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out; put").glob("*.3DI*")}
    assert all(Path(path).is_file() for path in again.run_all())
    assert before == {path: path.stat().st_mtime_ns for path in before}


@pytest.fixture
def bitbox_latest(docker_image: str) -> Iterator[str]:
    """The stand-in's image under the name that the page gives, unless an image has it."""
    import docker
    from docker.errors import ImageNotFound

    client, name = docker.from_env(), "bitbox:latest"
    try:
        client.images.get(name)
        pytest.skip(f"there is an image {name} here, and it is not the stand-in")
    except ImageNotFound:
        client.images.get(docker_image).tag("bitbox", "latest")
    yield name
    client.images.remove(name)


def test_the_pages_block_for_docker(
    shared: Path, bitbox_latest: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (page,) = (shared / "seeds").glob("000_*.txt")
    text = page.read_text(encoding="utf-8")
    found = re.findall(r"^( *)```python\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    (code,) = (textwrap.dedent(code) for _, code in found if bitbox_latest in code)
    (tmp_path / "desk" / "data").mkdir(parents=True)
    makemedia.write_video(tmp_path / "desk" / "data" / "video.mp4", FRAMES)
    noise = np.tile([-2.0, 2.0, 0.5], (79, 1))  # ends of the band, sigma
    table = tmp_path / "expression_noise_signal_stats_3DI.csv"
    np.savetxt(table, noise, delimiter=",")
    monkeypatch.setenv("FACEMAKE_3DI_NOISE", str(table))
    monkeypatch.chdir(tmp_path / "desk")
    names: dict[str, Any] = {}
    exec(code.replace("bitbox.face_backend.backend3DI", "facemake"), names)
    assert [t["frame count"] for t in names["results"]] == [FRAMES] * 2 + [FRAMES - 1] * 4
    assert (tmp_path / "desk" / "output" / "video_expression_localized.3DI").is_file()
