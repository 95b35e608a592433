"""`facemake serve --embed` with a pack, and with networks of the user's own."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facemake.cli import main
from facemake.embedserver.client import EmbedClient
from facemake.recognition.backend import recognizer_of_pack
from facemake.recognition.config import Config
from makenetworks import write_recogniser
from serving import running


def picture(bundled: Path) -> tuple[Path, np.ndarray]:
    path = bundled / "portraits" / "grace_hopper.jpg"
    with Image.open(io.BytesIO(path.read_bytes())) as image:
        return path, np.array(image.convert("RGB"))


@pytest.mark.usefixtures("no_variables")
def test_a_pack_is_served(
    bundled: Path,
    tmp_path: Path,
    make_pack: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("LUMEN_FACE_LOCAL_DIR", str(make_pack(tmp_path / "packs")))
    path, rgb = picture(bundled)
    with recognizer_of_pack(Config.from_env()) as direct:
        faces = direct.find([rgb])[0]
        expected = direct.embed(rgb, [face.face for face in faces])
    assert len(faces) == 1
    with running("--embed", "--pack") as (url, _), EmbedClient({"host": url}) as client:
        (found,) = client.embed(path)
        np.testing.assert_array_equal([face["vector"] for face in found["faces"]], expected)
        model = client.about()["model"]
    assert model["detector"] == model["embedder"] == "scrfd_10g_iresnet50"
    assert model["dim"] == expected.shape[1] and model["same_person"] is None
    assert [file["name"] for file in model["embedder_models"]] == ["recognition.fp16"]


def test_networks_of_the_users_own_are_served(
    bundled: Path, tmp_path: Path, shared: Path, monkeypatch: pytest.MonkeyPatch
):
    write_recogniser(tmp_path / "mine.onnx")
    monkeypatch.setenv("FACEMAKE_MODELS", str(shared / "models"))
    own = ["--embedder", "onnx", "--model", str(tmp_path / "mine.onnx"), "--detector", "scrfd"]
    path, _ = picture(bundled)
    with (
        running("--embed", *own, "--batch", "4") as (url, _),
        EmbedClient({"host": url}) as client,
    ):
        (found,) = client.embed(path)
        vector = found["faces"][0]["vector"]
        assert None not in found["faces"][0]["points"], "scrfd has all five"
        model = client.about()["model"]
        assert model["dim"] == len(vector) and model["same_person"] is None
        assert model["embedder_models"][0]["name"] == "mine.onnx"
        given = [[face["box"] for face in found["faces"]]]
        # without the points it is another chip
        assert client.embed(path, boxes=given)[0]["faces"][0]["vector"].shape == vector.shape


@pytest.mark.usefixtures("no_variables")
def test_what_no_pack_can_be_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    serve = ["serve", "--embed", "--port", "0", "--pack"]
    assert main([*serve, "--detector", "yunet"]) == 2
    assert "--detector is not for --pack" in capsys.readouterr().err
    monkeypatch.setenv("LUMEN_FACE_LOCAL_DIR", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")  # nothing is asked for
    assert main(serve) == 2
    said = capsys.readouterr().err
    assert "detection.onnx" in said and "Traceback" not in said
