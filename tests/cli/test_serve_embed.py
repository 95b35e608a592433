"""facemake serve --embed (docs/service.md): the command itself, as a process."""

from __future__ import annotations

import argparse
import re
import shutil
import signal
import subprocess
from pathlib import Path

import grpc
import pytest
import requests
from grpc_health.v1 import health_pb2, health_pb2_grpc

from conftest import ROOT
from facemake.cli import main, serve, serve_embed, serving
from facemake.embedserver.settings import Limits, Settings
from serving import ANNA, running

pytestmark = pytest.mark.usefixtures("bundled")

PORTRAIT = ROOT / "resources" / "bundled" / "portraits" / "grace_hopper.jpg"


def settings(*arguments: str) -> Settings:
    parser = argparse.ArgumentParser()
    serve.add_to(parser.add_subparsers())
    return serve_embed.settings_of(parser.parse_args(["serve", "--embed", *arguments]))


def test_it_serves_both_protocols_says_so_and_ends():
    with running("--embed", "--grpc-port", "0") as (url, process):
        files = {"image": PORTRAIT.read_bytes()}
        answer = requests.post(url + "v1/embed", files=files, timeout=30)
        assert len(answer.json()["pictures"][0]["faces"][0]["vector"]) == 128
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(2)]
        assert lines[0] == "detector mediapipe, embedder dlib; nothing sent is kept\n"
        found = re.fullmatch(r"gRPC on (127\.0\.0\.1:\d+)\n", lines[1])
        assert found, lines
        with grpc.insecure_channel(found[1], [("grpc.enable_http_proxy", 0)]) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            assert stub.Check(health_pb2.HealthCheckRequest(), timeout=60).status == 1
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) in (0, -signal.SIGTERM)
        assert "Traceback" not in process.stdout.read()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
def test_it_speaks_tls_on_all_addresses_with_a_token(tmp_path: Path):
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"),
            *("-subj", "/CN=x", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    arguments = ["--embed", "--host", "0.0.0.0", "--grpc-port", "0"]
    arguments += ["--certificate", str(certificate), "--key", str(key)]
    with running(*arguments, FACEMAKE_SERVER_TOKEN=ANNA) as (url, process):
        url = url.replace("0.0.0.0", "127.0.0.1")
        trust = {"verify": str(certificate), "timeout": 30}
        files = {"image": PORTRAIT.read_bytes()}
        assert requests.post(url + "v1/detect", files=files, **trust).status_code == 401
        head = {"Authorization": f"Bearer {ANNA}"}
        answer = requests.post(url + "v1/detect", files=files, headers=head, **trust)
        assert answer.status_code == 200
        assert process.stdout is not None
        process.stdout.readline()
        place = process.stdout.readline().split()[-1].replace("0.0.0.0", "127.0.0.1")
        trusted = grpc.ssl_channel_credentials(certificate.read_bytes())
        with grpc.secure_channel(place, trusted, [("grpc.enable_http_proxy", 0)]) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            assert stub.Check(health_pb2.HealthCheckRequest(), timeout=60).status == 1


def test_what_the_command_line_sets():
    found = settings(
        *(
            "--max-picture",
            "5MB",
            "--max-pixels",
            "1000",
            "--max-request",
            "9mb",
            "--decoders",
            "3",
        ),
        *("--max-pictures", "2", "--max-faces", "7", "--max-waiting", "9", "--max-memory", "1gb"),
        *("--wait-time", "3s", "--batch-time", "20ms", "--batch", "4", "--decoders", "3"),
    )
    assert found.limits == Limits(
        picture_bytes=5 * 10**6,
        picture_pixels=1000,
        request_bytes=9 * 10**6,
        pictures=2,
        faces=7,
        queue=9,
        memory_bytes=10**9,
        wait_seconds=3.0,
        batch=4,
        batch_seconds=0.02,
        decoders=3,
    )
    assert settings() == Settings(hosts=frozenset(("localhost", "127.0.0.1", "::1")))


def test_what_stays_on_the_cpu_is_named():
    def staying(*words: str) -> list[str]:
        parser = argparse.ArgumentParser()
        serve.add_to(parser.add_subparsers())
        return serve_embed.on_cpu(parser.parse_args(["serve", "--embed", *words]))

    assert staying() == []
    assert staying("--device", "cuda", "--embedder", "facenet") == ["detector mediapipe"]
    assert staying("--device", "cuda", "--detector", "scrfd") == ["embedder dlib"]
    assert staying("--device", "cuda", "--detector", "mtcnn", "--embedder", "onnx") == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--embed", "--folder", "x"], "--folder is for the engines, not for --embed"),
        (["--embed", "--max-queue", "9"], "--max-queue is for the engines"),
        (["--detector", "yunet"], "--detector is for --embed"),
        (["--grpc-port", "1"], "--grpc-port is for --embed"),
        (["--embed", "--device", "cuda"], "detector mediapipe and embedder dlib compute on a CPU"),
        (["--embed", "--host", "0.0.0.0"], "only with tokens"),
        (["--embed", "--max-waiting", "2"], "a larger --max-waiting"),
        (["--embed", "--max-memory", "10MB"], "a larger --max-memory"),
        (["--embed", "--model", "none/x.onnx"], "there is no file none/x.onnx"),
        (["--embed", "--embedder", "onnx", "--model", "x.onnx"], "no model is called x.onnx"),
        (["--embed", "--certificate", "/none", "--key", "/none"], "cannot be read"),
        (["--embed", "--models-dir", "/none"], "there is no such folder"),
    ],
)
def test_what_cannot_be_done_is_said(
    arguments: list[str],
    words: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.delenv("FACEMAKE_SERVER_TOKEN", raising=False)
    monkeypatch.setenv("FACEMAKE_MODELS", "")
    assert main(["serve", "--port", "0", *arguments]) == 2
    said = capsys.readouterr().err
    assert words in said and "Traceback" not in said


def test_without_the_extras_they_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    for module, words in (
        ("prometheus_client", "needs prometheus-client: in facemake's own folder"),
        ("grpc_health", "needs grpcio-health-checking"),
    ):
        monkeypatch.setattr(serving, "find_spec", lambda name, out=module: name != out or None)
        assert main(["serve", "--embed", "--grpc-port", "0"]) == 2
        assert words in capsys.readouterr().err
