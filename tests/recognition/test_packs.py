"""Files of packs: where they are looked for, and what a real HTTP server sends of them."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar
from urllib.request import Request

import pytest

from facemake.errors import ModelError
from facemake.recognition import packs
from facemake.recognition.config import Config
from facemake.recognition.packs import DETECTION, RECOGNITION, Pack

pytestmark = pytest.mark.usefixtures("no_variables")

INNER = "scrfd_10g_iresnet50/onnxrt/fp16/recognition.onnx"
DATA = b"a network" * 1000


class Server(BaseHTTPRequestHandler):
    """Sends `files`, or what the first part of the path says."""

    files: ClassVar[dict[str, bytes]] = {}
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        _, how, *rest = self.path.split("/")
        if how == "elsewhere":
            self.send_response(302)
            self.send_header("Location", rest[0] and f"http://example.org/{rest[0]}")
            self.end_headers()
            return
        if how == "moved":
            self.send_response(302)
            self.send_header("Location", f"/packs/{'/'.join(rest)}")
            self.end_headers()
            return
        data = self.files.get("/".join(rest))
        if data is None:
            self.send_error(404)
            return
        self.send_response(200)
        if how == "page":
            data = b"<!DOCTYPE html>\n<HTML>Log in, please"
        self.send_header("Content-Length", str(len(data) + (how == "short")))
        self.end_headers()
        if how == "slow":
            time.sleep(1.5)
        self.wfile.write(data)

    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture
def base() -> Iterator[str]:
    Server.files, Server.asked = {INNER: DATA}, []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def pack(tmp_path: Path, base: str, how: str = "packs", **more: Any) -> Pack:
    settings = {"repo_base": f"{base}/{how}", "cache_dir": tmp_path / "cache", **more}
    return Pack(Config(**settings))


def test_a_file_of_the_users_comes_first_and_no_server_is_asked(tmp_path: Path, base: str):
    mine = tmp_path / "models" / INNER
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    found = pack(tmp_path, base, local_dir=tmp_path / "models").artifact(RECOGNITION)
    assert found.path == mine and not Server.asked
    assert mine.with_name("recognition.onnx.sha256").read_text().startswith(found.sha256)
    mine.write_bytes(b"other")
    with pytest.raises(ModelError, match=r"recognition\.onnx has changed"):
        pack(tmp_path, base, local_dir=tmp_path / "models").artifact(RECOGNITION)


@pytest.mark.parametrize("how", ["packs", "moved"])
def test_a_file_is_downloaded_once_into_a_private_folder(tmp_path: Path, base: str, how: str):
    found = pack(tmp_path, base, how).artifact(RECOGNITION)
    assert found.path.read_bytes() == DATA
    assert (tmp_path / "cache").stat().st_mode & 0o777 == 0o700
    asked = len(Server.asked)
    assert pack(tmp_path, base, how).artifact(RECOGNITION) == found
    assert len(Server.asked) == asked
    left = [p.name for p in found.path.parent.iterdir()]
    assert sorted(left) == ["recognition.onnx", "recognition.onnx.sha256"]


def test_what_was_accepted_once_is_refused_when_it_changes(tmp_path: Path, base: str):
    found = pack(tmp_path, base).artifact(RECOGNITION)
    found.path.write_bytes(b"tampered")
    with pytest.raises(ModelError, match="has changed"):
        pack(tmp_path, base).artifact(RECOGNITION)
    found.path.unlink()
    Server.files[INNER] = b"another network"  # of the same name at the same address
    with pytest.raises(ModelError, match="has changed"):
        pack(tmp_path, base).artifact(RECOGNITION)
    assert not found.path.exists()
    Server.files[INNER] = DATA
    assert pack(tmp_path, base).artifact(RECOGNITION) == found


def test_another_address_is_another_pack(tmp_path: Path, base: str):
    pack(tmp_path, base).artifact(RECOGNITION)
    with pytest.raises(ModelError, match="404"):
        pack(tmp_path, base, "packs/beta").artifact(RECOGNITION)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("short", "gave nothing"),
        ("slow", r"gave nothing \(timed out\)"),
        ("page", r"gave nothing \(what came is a web page, as of a login or a proxy\)"),
        ("elsewhere", r"http://example\.org/.* is no https:// address"),
    ],
)
def test_what_is_no_whole_file_is_never_under_its_name(
    tmp_path: Path, base: str, how: str, said: str
):
    with pytest.raises(ModelError, match=said):
        pack(tmp_path, base, how, timeout=0.5).artifact(RECOGNITION)
    assert not list((tmp_path / "cache").rglob("recognition.onnx*"))


def test_an_address_elsewhere_leads_to_no_server_of_this_machine():
    there, here = "https://example.org/pack", "http://127.0.0.1:8000/private"
    for at, to, refused in ((there, here, True), (there, there, False), (here, here, False)):
        arguments = (Request(at), None, 302, "Found", {}, to)
        with pytest.raises(ModelError, match="sends on to") if refused else nullcontext():
            assert packs._Redirects().redirect_request(*arguments).full_url == to


def test_what_is_too_large_is_not_kept(tmp_path: Path, base: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(packs, "LARGEST", 1000)
    with pytest.raises(ModelError, match="more than 1000 bytes are sent"):
        pack(tmp_path, base).artifact(RECOGNITION)
    assert sum(p.stat().st_size for p in (tmp_path / "cache").rglob("*") if p.is_file()) == 0


def test_a_missing_part_says_where_it_was_looked_for_and_what_to_do(tmp_path: Path, base: str):
    one = pack(tmp_path, base, local_dir=tmp_path / "models")
    with pytest.raises(ModelError) as caught:
        one.artifact(DETECTION)
    text = str(caught.value)
    inner = INNER.replace("recognition", "detection")
    assert f"there is no folder {tmp_path / 'models'} (LUMEN_FACE_LOCAL_DIR)" in text
    assert f"{base}/packs/{inner} says 404" in text
    assert f"put your own file there as {tmp_path / 'models' / inner}" in text
    none = Pack(Config(repo_base="", cache_dir=tmp_path / "cache"))
    with pytest.raises(ModelError, match="name the folder by LUMEN_FACE_LOCAL_DIR"):
        none.artifact(RECOGNITION)


def test_a_missing_precision_names_the_one_that_is_there(tmp_path: Path, base: str):
    pack(tmp_path, base).artifact(RECOGNITION)
    said = r"precision int8: .* /onnxrt/fp16/recognition\.onnx is there \(LUMEN_FACE_RUNTIME, LUMEN"
    said = said.replace(" /", " scrfd_10g_iresnet50/")
    for other in ({"precision": "int8"}, {"runtime": "rknn", "precision": "int8"}):
        with pytest.raises(ModelError, match=said):
            pack(tmp_path, base, **other).artifact(RECOGNITION)


def test_no_network_is_words(tmp_path: Path, base: str, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ModelError, match="Connection refused"):
        pack(tmp_path, "http://127.0.0.1:1").artifact(RECOGNITION)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelError, match="was not asked, since HF_HUB_OFFLINE is set"):
        pack(tmp_path, base).artifact(RECOGNITION)
    assert not Server.asked


def test_two_that_want_a_file_download_it_once(tmp_path: Path, base: str):
    found: list[object] = []
    threads = [
        threading.Thread(
            target=lambda: found.append(pack(tmp_path, base, "slow").artifact(RECOGNITION))
        )
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3 and len(set(found)) == 1 and len(Server.asked) == 1


def test_the_address_at_hugging_face_is_that_of_a_repositorys_files(tmp_path: Path):
    assert Pack(Config()).address(RECOGNITION) == (
        "https://huggingface.co/Lumilio-Photos/scrfd_10g_iresnet50/resolve/main/onnxrt/fp16/"
        "recognition.onnx"
    )
    pinned = Pack(Config(extra={"revision": "0a1b2c"}, cache_dir=tmp_path))
    assert "/resolve/0a1b2c/onnxrt/" in str(pinned.address(RECOGNITION))
    assert pinned._cache != Pack(Config(cache_dir=tmp_path))._cache
    elsewhere = Pack(Config(repo_base="https://example.org/models"))
    assert elsewhere.address(DETECTION) == (
        "https://example.org/models/scrfd_10g_iresnet50/onnxrt/fp16/detection.onnx"
    )


def test_a_pin_that_cannot_lie_beside_its_file_lies_in_the_cache(
    tmp_path: Path, base: str, monkeypatch: pytest.MonkeyPatch
):
    mine = tmp_path / "models" / INNER
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    real = packs.os.access
    monkeypatch.setattr(
        packs.os, "access", lambda path, how: path != mine.parent and real(path, how)
    )
    one = pack(tmp_path, base, local_dir=tmp_path / "models")
    assert one.artifact(RECOGNITION).path == mine
    assert [p.name for p in mine.parent.iterdir()] == ["recognition.onnx"]
    mine.write_bytes(b"other")
    with pytest.raises(ModelError, match="has changed"):
        one.artifact(RECOGNITION)


def test_a_private_pack_is_asked_for_with_the_users_login(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A stand-in for huggingface_hub, with the call that is used of it."""
    from urllib.error import HTTPError

    def refused(address: str, target: Path, timeout: float) -> None:
        raise HTTPError(address, 401, "Unauthorized", None, None)

    asked: list[object] = []

    def hf_hub_download(repo_id: str, filename: str, *, revision: str, local_dir: str) -> str:
        asked.append((repo_id, filename, revision))
        path = Path(local_dir) / filename
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(DATA)
        return str(path)

    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")  # what is asked for sets it
    monkeypatch.setattr(packs, "_download", refused)
    one = Pack(Config(cache_dir=tmp_path / "cache"))
    monkeypatch.setattr(packs, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"401 Unauthorized; a private pack needs `pip install"):
        one.artifact(RECOGNITION)
    monkeypatch.setattr(packs, "find_spec", lambda name: name)
    stand_in = SimpleNamespace(hf_hub_download=hf_hub_download)
    monkeypatch.setitem(sys.modules, "huggingface_hub", stand_in)
    assert one.artifact(RECOGNITION).path.read_bytes() == DATA
    assert one.artifact(RECOGNITION).path == one.found(RECOGNITION)
    assert asked == [("Lumilio-Photos/scrfd_10g_iresnet50", "onnxrt/fp16/recognition.onnx", "main")]
