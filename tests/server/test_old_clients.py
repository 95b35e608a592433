"""Clients of 3DI's own wrapper: their requests, byte by byte, and what they do with the answers."""

from __future__ import annotations

import io
import json
import os
import socket
import zipfile
from pathlib import Path
from typing import Any

import requests

from serving import (
    ANNA,
    VIDEO,
    Served,
    serving,
    settings,
    sha256,
)
from standin_processors import FITTED


class OldClient:
    """What the client of 3DI's wrapper sends, and does with the answer."""

    def __init__(self, url: str, **locals_: Any) -> None:
        self.url = url
        assert requests.get(url, timeout=3).status_code == 200
        self.config = {
            "camera_model": 30,
            "landmark_model": "global4",
            "morphable_model": "BFMmm-19830",
            "basis_model": "0.0.1.F591-cd-K32d",
            "fast": False,
            "args": [],
            "kwargs": {"server": {"host": "127.0.0.1", "port": 1}, "return_output": "dict"},
            **locals_,
        }

    def io(self, path: Path, folder: Path) -> None:
        self.folder, self.base = folder, path.stem
        with path.open("rb") as file:
            data = {"file_hash": sha256(path.read_bytes())}
            answer = requests.post(
                self.url + "prepare_session", files={"input_file": file}, data=data
            )
        assert answer.status_code == 200, answer.text
        self.session = answer.json()["session_id"]

    def run(self, method: str, processor_class: str = "FaceProcessor3DI") -> list[str]:
        data = {
            "session_id": self.session,
            "processor_class": processor_class,
            "method": method,
            "config": json.dumps(self.config),
        }
        answer = requests.post(self.url + "execute", files=None, data=data)
        assert answer.status_code == 200, answer.text
        assert "application/zip" in answer.headers["Content-Type"]
        with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
            archive.extractall(self.folder)
        for name in os.listdir(self.folder):
            if "input_file" in name:
                to = self.folder / name.replace("input_file", self.base)
                (self.folder / name).rename(to)
        return sorted(os.listdir(self.folder))


def test_a_client_of_old_gets_its_files(server: Served, tmp_path: Path):
    video, folder = tmp_path / "-my Clip é.MP4", tmp_path / "out"
    video.write_bytes(VIDEO)
    folder.mkdir()
    client = OldClient(server.url)
    client.io(video, folder)
    assert client.run("detect_faces") == ["-my Clip é_rects.3DI"]
    said = json.loads((folder / "-my Clip é_rects.3DI").read_text())
    assert said["options"] == {
        "camera_model": 30,
        "landmark_model": "global4",
        "morphable_model": "BFMmm-19830",
        "basis_model": "0.0.1.F591-cd-K32d",
        "fast": False,
    }
    assert said["runtime"] is None
    client.run("detect_landmarks")
    client.run("fit")
    names = {f"-my Clip é_{kind}.3DI" for kind in ("rects", "landmarks", *FITTED)}
    assert set(client.run("localized_expressions")) == {
        *names,
        "-my Clip é_expression_localized.3DI",
    }


def test_a_client_of_old_gets_3di_lite_with_lites_models(server: Served, tmp_path: Path):
    (tmp_path / "a.avi").write_bytes(b"RIFF\0\0\0\0AVI " + bytes(100))
    (tmp_path / "out").mkdir()
    client = OldClient(server.url, args=["/opt/evil"])
    client.io(tmp_path / "a.avi", tmp_path / "out")
    assert client.run("detect_faces", "FaceProcessor3DIlite") == ["a_rects.3DIl"]
    said = json.loads((tmp_path / "out" / "a_rects.3DIl").read_text())
    assert said["options"] == {"camera_model": 30, "landmark_model": "global4"}
    assert said["runtime"] == "an-image:1"  # the server's own


PREPARE = (
    b"POST /prepare_session HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUser-Agent: python-requests/2.32\r\n"
    b"Accept-Encoding: gzip, deflate\r\nAccept: */*\r\nConnection: keep-alive\r\n"
    b"Content-Length: %d\r\n"
    b"Content-Type: multipart/form-data; boundary=f1c9e6f0bd45b5c37d0f0c5ab2c57d2c\r\n\r\n"
)
FORM = (
    b"--f1c9e6f0bd45b5c37d0f0c5ab2c57d2c\r\n"
    b'Content-Disposition: form-data; name="file_hash"\r\n\r\n%s\r\n'
    b"--f1c9e6f0bd45b5c37d0f0c5ab2c57d2c\r\n"
    b'Content-Disposition: form-data; name="input_file"; filename="video.mp4"\r\n\r\n%s\r\n'
    b"--f1c9e6f0bd45b5c37d0f0c5ab2c57d2c--\r\n"
)
EXECUTE = (
    b"POST /execute HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUser-Agent: python-requests/2.32\r\n"
    b"Accept-Encoding: gzip, deflate\r\nAccept: */*\r\nConnection: keep-alive\r\n"
    b"Content-Length: %d\r\nContent-Type: application/x-www-form-urlencoded\r\n\r\n"
)
CALL = (
    b"session_id=%s&processor_class=FaceProcessor3DI&method=detect_faces&config=%%7B"
    b"%%22camera_model%%22%%3A+30%%2C+%%22landmark_model%%22%%3A+%%22global4%%22%%2C+"
    b"%%22morphable_model%%22%%3A+%%22BFMmm-19830%%22%%2C+%%22basis_model%%22%%3A+"
    b"%%220.0.1.F591-cd-K32d%%22%%2C+%%22fast%%22%%3A+false%%2C+%%22args%%22%%3A+%%5B%%5D%%2C+"
    b"%%22kwargs%%22%%3A+%%7B%%22server%%22%%3A+%%7B%%22host%%22%%3A+%%22127.0.0.1%%22%%2C+"
    b"%%22port%%22%%3A+8000%%7D%%7D%%7D"
)


def exchange(server: Served, data: bytes) -> tuple[int, bytes, bytes]:
    """Send bytes; status, head and body of the answer."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(data)
        answer = b""
        while b"\r\n\r\n" not in answer:
            piece = connection.recv(65536)
            if not piece:
                break
            answer += piece
        head, _, body = answer.partition(b"\r\n\r\n")
        lengths = [
            line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")
        ]
        length = int(lengths[0].split(b":")[1]) if lengths else 0
        while len(body) < length:
            piece = connection.recv(65536)
            if not piece:
                break
            body += piece
    return int(head.split()[1]), head, body


def test_the_requests_of_old_byte_by_byte(server: Served):
    form = FORM % (sha256(VIDEO).encode(), VIDEO)
    status, _, body = exchange(server, PREPARE % (server.port, len(form)) + form)
    assert status == 200
    session = json.loads(body)["session_id"]
    call = CALL % session.encode()
    status, head, body = exchange(server, EXECUTE % (server.port, len(call)) + call)
    assert status == 200 and b"content-type: application/zip" in head.lower()
    assert zipfile.ZipFile(io.BytesIO(body)).namelist() == ["input_file_rects.3DI"]


def test_a_client_of_old_may_have_a_token_in_its_host(tmp_path: Path):
    with serving(settings(tmp_path / "s", tokens=True)) as server:
        url = f"http://anybody:{ANNA}@127.0.0.1:{server.port}/"
        (tmp_path / "a.mp4").write_bytes(VIDEO)
        (tmp_path / "out").mkdir()
        client = OldClient(url)
        client.io(tmp_path / "a.mp4", tmp_path / "out")
        assert client.run("detect_faces") == ["a_rects.3DI"]
        assert requests.get(url.replace(ANNA, "wrong"), timeout=3).status_code == 401
