"""Models by their address, from a real HTTP server."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from facemake import fetching, models
from facemake.cli import main, parser
from facemake.errors import BusyError, ModelError
from facemake.fetching import fetch
from facemake.models import Model, fetched_file, fetched_folder, model_path

DATA = os.urandom(3 << 20)

parser()  # imports the commands, while the registry is the real one


class Server(BaseHTTPRequestHandler):
    """Sends DATA; how is said by the path."""

    asked: ClassVar[list[tuple[str, str | None]]] = []

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.asked.append((self.path, wanted))
        if self.path == "/none":
            self.send_error(404)
            return
        if self.path == "/elsewhere":
            self.send_response(302)
            self.send_header("Location", "/good")
            self.end_headers()
            return
        data = {
            "/other": b"x" * len(DATA),
            "/larger": DATA + b"x",
            "/short": DATA[:-7],
            "/zeros": bytes(len(DATA)),
            "/page": b"<!DOCTYPE html>\n<HTML>Log in, please",
        }.get(self.path, DATA)
        start = 0
        if wanted == f"bytes={len(DATA) - 1}-" and self.path == "/shorter":
            self.send_error(416)
            return
        if wanted and self.path != "/whole":
            start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        if self.path == "/slow":
            self.wfile.write(data[start : start + 50_000])
            time.sleep(0.3)  # longer than is waited for
            self.close_connection = True
            return
        if self.path == "/broken" and not start:
            self.wfile.write(data[: 1 << 20])
            self.close_connection = True
            return
        self.wfile.write(data[start:])

    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture
def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FACEMAKE_MODELS", "")
    Server.asked.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def register(monkeypatch: pytest.MonkeyPatch, url: str | None, **more: str | None) -> Model:
    row = Model("m", "test", hashlib.sha256(DATA).hexdigest(), len(DATA), "CC0-1.0", "x", url=url)
    row = replace(row, **more)
    monkeypatch.setattr(models, "registry", lambda: {"m": row})
    return row


@pytest.mark.parametrize("path", ["/good", "/elsewhere"])
def test_a_model_is_fetched_once_into_a_private_folder(
    address: str, path: str, monkeypatch: pytest.MonkeyPatch
):
    row = register(monkeypatch, address + path)
    with pytest.raises(ModelError, match="`facemake models fetch m` where there is a network"):
        model_path("m")
    said: list[str] = []
    assert fetch("m", said.append) == fetched_file(row) == model_path("m")
    assert fetched_file(row).read_bytes() == DATA
    assert fetched_folder().stat().st_mode & 0o777 == 0o700
    assert len(said) == 1 and "CC0-1.0" in said[0] and address in said[0]
    asked = len(Server.asked)
    assert fetch("m", said.append) == fetched_file(row)
    assert len(Server.asked) == asked and len(said) == 1
    assert [path.name for path in fetched_folder().iterdir()] == [fetched_file(row).name]


@pytest.mark.parametrize(("path", "asked"), [("/broken", "bytes=1048576-"), ("/whole", "")])
def test_a_broken_off_download_goes_on(
    address: str, path: str, asked: str, monkeypatch: pytest.MonkeyPatch
):
    register(monkeypatch, f"{address}/broken")
    with pytest.raises(ModelError, match=r"cannot be fetched .*: run the same again, which goes"):
        fetch("m")
    with pytest.raises(ModelError, match="not on this machine"):
        model_path("m")
    row = register(monkeypatch, address + path)  # /whole: a server that knows no ranges
    assert fetch("m").read_bytes() == DATA
    assert Server.asked[-1] == (path, asked or "bytes=1048576-")
    assert [path.name for path in fetched_folder().iterdir()] == [fetched_file(row).name]


def test_a_slow_download_keeps_what_came(address: str, monkeypatch: pytest.MonkeyPatch):
    """Where it falls silent before all that is asked for at once has come."""
    row = register(monkeypatch, f"{address}/slow")
    monkeypatch.setattr(fetching, "SECONDS_OF_SILENCE", 0.1)
    for _ in range(2):
        with pytest.raises(ModelError, match="run the same again, which goes on"):
            fetch("m")
    part = fetched_file(row).with_name(f".{fetched_file(row).name}.part")
    assert part.read_bytes() == DATA[:100_000]


@pytest.mark.parametrize(("path", "size"), [("/good", 1000), ("/shorter", len(DATA) - 1)])
def test_the_beginning_of_something_else_is_not_gone_on_with(
    address: str, path: str, size: int, monkeypatch: pytest.MonkeyPatch
):
    """As half of a web page; and as more than the server has, which answers that with 416."""
    row = register(monkeypatch, address + path)
    fetching.private_folder(fetched_folder())
    fetched_file(row).with_name(f".{fetched_file(row).name}.part").write_bytes(b"<" * size)
    assert fetch("m").read_bytes() == DATA
    assert Server.asked == [(path, f"bytes={size}-"), (path, None)]


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/other", r"is not the model m: what came has 3145728 .* nothing of it was kept; fetch"),
        ("/short", r"is not the model m: what came has 3145721 bytes and the SHA-256"),
        ("/larger", r"is larger than the 3145728 bytes that are registered; fetch that file by"),
        ("/page", r"is not the model m: it is a web page, as of a login .* by other means and put"),
        ("/none", r"cannot be fetched from .*Not Found"),
    ],
)
def test_what_is_not_the_model_is_never_under_its_name(
    address: str, path: str, said: str, monkeypatch: pytest.MonkeyPatch
):
    row = register(monkeypatch, address + path)
    for _ in range(2):
        with pytest.raises(ModelError, match=said):
            fetch("m")
    assert not fetched_file(row).exists()
    # and what is left of it is in nobody's way
    register(monkeypatch, f"{address}/good")
    assert fetch("m").read_bytes() == DATA


def test_no_network_and_no_web_address_are_words(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    register(monkeypatch, "http://127.0.0.1:1/m")
    with pytest.raises(ModelError, match="or fetch that file by other means and put it into"):
        fetch("m")
    (tmp_path / "m").write_bytes(DATA)
    register(monkeypatch, f"file://{tmp_path}/m")
    with pytest.raises(ModelError, match="no web address"):
        fetch("m")


def test_a_proxy_is_named_and_its_password_is_not(address: str, monkeypatch: pytest.MonkeyPatch):
    register(monkeypatch, f"{address}/good")
    monkeypatch.setenv("http_proxy", "http://me:secret@127.0.0.1:1")
    monkeypatch.setattr("urllib.request._opener", None)  # which knows the proxies of earlier
    with pytest.raises(ModelError, match=r"/good through the proxy 127\.0\.0\.1:1 \(") as caught:
        fetch("m")
    assert "secret" not in str(caught.value) and Server.asked == []
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert fetch("m").read_bytes() == DATA


def test_a_gated_model_is_never_fetched(address: str, monkeypatch: pytest.MonkeyPatch):
    register(monkeypatch, f"{address}/good", gated="ask at https://example.org")
    with pytest.raises(ModelError, match=r"who have its licence \(CC0-1\.0\): ask at https://ex"):
        fetch("m")
    register(monkeypatch, None, package="some.package")
    with pytest.raises(ModelError, match=r"or install the package some\.package"):
        fetch("m")
    assert Server.asked == []


def test_two_do_not_write_one_file(address: str, monkeypatch: pytest.MonkeyPatch):
    import fcntl

    row = register(monkeypatch, f"{address}/good")
    fetching.private_folder(fetched_folder())
    part = fetched_file(row).with_name(f".{fetched_file(row).name}.part")
    with part.open("ab") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(BusyError, match="another process fetches the model m"):
            fetch("m")


def test_a_file_that_got_its_name_while_its_lock_was_waited_for_is_not_written_to(
    address: str, monkeypatch: pytest.MonkeyPatch
):
    row = register(monkeypatch, address + "/good")

    def locked(descriptor: int, how: int) -> None:
        part = fetched_file(row).with_name(f".{fetched_file(row).name}.part")
        part.rename(fetched_file(row))  # by who had the lock
        part.write_bytes(b"of a third one")

    monkeypatch.setattr(fetching.fcntl, "flock", locked)
    with pytest.raises(BusyError):
        fetch("m")
    assert fetched_file(row).read_bytes() == b""


def test_what_another_process_has_fetched_meanwhile_is_not_fetched_again(
    address: str, monkeypatch: pytest.MonkeyPatch
):
    row = register(monkeypatch, address + "/good")
    lock = fetching._lock

    def when_the_other_is_done(descriptor: int, part: Path, name: str) -> None:
        fetched_file(row).write_bytes(DATA)
        lock(descriptor, part, name)

    monkeypatch.setattr(fetching, "_lock", when_the_other_is_done)
    assert fetch("m").read_bytes() == DATA
    assert Server.asked == []
    assert list(fetched_folder().iterdir()) == [fetched_file(row)]


def test_a_long_download_says_how_far_it_is(address: str, monkeypatch: pytest.MonkeyPatch):
    register(monkeypatch, f"{address}/good")
    monkeypatch.setattr(fetching, "SECONDS_BETWEEN_LINES", 0.0)
    said: list[str] = []
    fetch("m", said.append)
    assert said[1] == "m: 0.0 of 3.1 MB" and said[1:] == sorted(said[1:])
    assert all(re.fullmatch(r"m: [0-3]\.\d of 3\.1 MB", line) for line in said[1:])


def test_a_folder_that_cannot_be_written_to_is_named(address: str, monkeypatch: pytest.MonkeyPatch):
    register(monkeypatch, f"{address}/good")
    fetched_folder().parent.mkdir(parents=True)
    fetched_folder().write_bytes(b"a file in its place")
    with pytest.raises(ModelError, match=rf"cannot be written to {fetched_folder()} \(File exis"):
        fetch("m")
    assert Server.asked == []


def test_a_disk_that_is_full_is_no_fault_of_the_network(address: str):
    """A limit on the size of a file stands for it; with room, the download goes on."""
    program = (
        "import resource, signal, sys; sys.path.insert(0, sys.argv[1])\n"
        "import test_fetching as here, pytest\n"
        "from facemake.errors import ModelError\n"
        "here.DATA = bytes(3 << 20)\n"
        "patch = pytest.MonkeyPatch()\n"
        "row = here.register(patch, sys.argv[2] + '/zeros')\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2 << 20, resource.RLIM_INFINITY))\n"
        "try: here.fetch('m')\n"
        "except ModelError as error: print(error)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)\n"
        "print(here.fetch('m').stat().st_size)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(Path(__file__).parent), address],
        capture_output=True,
        text=True,
        check=True,
    )
    said, size = done.stdout.splitlines()
    assert "cannot be written to" in said and "make room" in said and size == str(3 << 20)
    assert Server.asked[-1] == ("/zeros", f"bytes={2 << 20}-")


def test_the_command_fetches_what_has_an_address(
    address: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    row = register(monkeypatch, f"{address}/good")
    monkeypatch.setattr("facemake.cli.models.registry", lambda: {"m": row})
    assert main(["models", "fetch"]) == 0
    assert capsys.readouterr().out == f"ok\tm\t{fetched_file(row)}\n"
    assert main(["models", "path", "m"]) == 0
    assert capsys.readouterr().out == f"{fetched_file(row)}\n"


def test_what_cannot_be_fetched_keeps_no_other_from_it(
    address: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    good = register(monkeypatch, f"{address}/good")
    rows = {
        "own": replace(good, name="own", sha256=None, bytes=None, file="own.onnx"),
        "m": good,
    }
    monkeypatch.setattr(models, "registry", lambda: rows)
    monkeypatch.setattr("facemake.cli.models.registry", lambda: rows)
    assert main(["models", "fetch"]) == 0
    said = capsys.readouterr()
    assert said.out == f"ok\tm\t{fetched_file(good)}\n"
    assert f"own is left out, since nobody registered its SHA-256: {address}/good" in said.err
    fetched_file(good).unlink()
    rows["gone"] = replace(good, name="gone", url=f"{address}/none")
    assert main(["models", "fetch", "gone", "m"]) == 2
    said = capsys.readouterr()
    assert said.out == f"ok\tm\t{fetched_file(good)}\n" and "the model gone cannot be" in said.err
