"""facemake compare-faces: real people, packs, and what it says where nothing is to be compared."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from conftest import ROOT
from facemake.backends.embed import EMBEDDERS
from facemake.cli import main
from makenetworks import write_recogniser


def test_one_person_is_like_herself_and_not_like_another(
    bundled: Path, capsys: pytest.CaptureFixture[str]
):
    paths = [str(bundled / "portraits"), str(bundled / "moving_portrait.mp4")]
    assert main(["compare-faces", *paths, "--frames", "2"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[:2] == ["1  eileen_collins.png", "2  grace_hopper.jpg"]
    assert said[2].startswith("3  moving_portrait.mp4 #")
    threshold = EMBEDDERS["dlib"].same_person
    assert said[-1] == f"taken for one person (from {threshold} on): 1 and 3, 1 and 4, 3 and 4"
    row = [float(v) for v in said[6].split()[1:]]
    assert row[0] == 1 and row[1] < threshold < row[2]


def test_json_has_the_boxes_and_is_all_that_is_printed(
    shared: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(["compare-faces", str(shared / "data" / "multi_face.jpg"), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [face["name"] for face in document["faces"]][:1] == ["multi_face.jpg, face 0"]
    values = np.array(document["similarities"])
    assert values.shape == (5, 5) and np.allclose(values, values.T) and (values <= 1).all()
    # five people, of whom two are nearer to each other than dlib's threshold
    alike = values[np.triu_indices(5, 1)] >= document["same_person"]
    assert alike.sum() == 1 and document["same_person"] == EMBEDDERS["dlib"].same_person


def test_where_there_is_no_face_or_no_file_the_cure_is_named(
    bundled: Path, shared: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    assert main(["compare-faces", str(shared / "data" / "free-mountain-vector-01.jpg")]) == 2
    said = capsys.readouterr().err
    assert "free-mountain-vector-01.jpg: no face" in said and "try another --detector" in said
    assert main(["compare-faces", str(tmp_path / "none.jpg")]) == 2
    assert "none.jpg is not there" in capsys.readouterr().err


def test_a_file_of_ones_own_has_no_threshold(
    bundled: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    pytest.importorskip("onnxruntime")
    monkeypatch.setenv("FACEMAKE_MODELS", "")
    write_recogniser(tmp_path / "mine.onnx", dim=64)
    arguments = ["compare-faces", str(bundled / "portraits"), "--embedder", "onnx"]
    assert main([*arguments, "--model", "mine.onnx", "--models-dir", str(tmp_path)]) == 0
    assert "nobody published from which similarity on" in capsys.readouterr().out


def test_the_demonstration_says_which_files_of_a_pack_are_missing(bundled: Path, tmp_path: Path):
    """The two commands of `make demo-embed`, without a pack and with one."""
    text = (ROOT / "Makefile").read_text()
    target = text[text.index("demo-embed: .venv/default") :].split("\n\n")[0].replace("\\\n", " ")
    commands = re.findall(r"\$\(BIN\)/facemake (compare-faces [^|\n]*)", target)
    assert len(commands) == 2 and "HF_HUB_OFFLINE=1 $(BIN)/facemake compare-faces" in target

    def run(command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "facemake", *command.split()],
            cwd=ROOT,
            env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "HF_HUB_OFFLINE": "1"} | variables,
            capture_output=True,
            text=True,
            timeout=120,
        )

    done = run(commands[0])
    assert done.returncode == 0 and "taken for one person (from 0.917 on): 1 and 3" in done.stdout
    # and nothing of what libraries write by themselves
    assert done.stderr == "moving_portrait.mp4 #37: no face\n"
    lacking = run(commands[1])
    assert lacking.returncode == 2
    for part in ("detection", "recognition"):
        assert f"scrfd_10g_iresnet50/onnxrt/fp16/{part}.onnx" in lacking.stderr
    assert "LUMEN_FACE_LOCAL_DIR" in lacking.stderr and "Traceback" not in lacking.stderr


def test_the_demonstration_takes_a_pack_that_is_there(
    bundled: Path,
    shared: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    pytest.importorskip("onnxruntime")
    folder = tmp_path / "scrfd_10g_iresnet50" / "onnxrt" / "fp16"
    write_recogniser(folder / "recognition.onnx", precision="fp16")
    detection = (shared / "models" / "scrfd_500m_kps.onnx").read_bytes()
    (folder / "detection.onnx").write_bytes(detection)
    monkeypatch.setenv("LUMEN_FACE_LOCAL_DIR", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert main(["compare-faces", str(bundled / "portraits"), "--pack"]) == 0
    said = capsys.readouterr().out
    assert "2  grace_hopper.jpg" in said and "nobody published" in said
