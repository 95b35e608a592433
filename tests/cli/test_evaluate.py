"""facemake evaluate."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from maketraining import make_training_set, train

torch = pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

from facemake.cli import main  # noqa: E402


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    few = {"ann_1": ("ann", "train", 8), "cem_1": ("cem", "val", 6)}
    data = make_training_set(folder / "data.h5", few)
    train("au_prediction", data, folder / "models" / "au_prediction", "--epochs", "1")
    return folder


def test_it_says_what_is_met_and_writes_what_is_asked_for(study: Path, tmp_path: Path, capsys):
    given = [str(study / "data.h5"), "--models", str(study / "models")]
    assert main(["evaluate", *given, "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "au_prediction: 6 examples of split val (subjects: 1, videos: 1)" in said
    assert "target > 0.90" in said and "  AU12_r" in said
    assert main(["evaluate", *given, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document == json.loads((tmp_path / "evaluation.json").read_text())


def test_mistakes_are_messages(study: Path, tmp_path: Path, capsys):
    data = str(study / "data.h5")
    for given, said in (
        ([data], "name a trained network"),
        ([data, "--models", str(tmp_path)], "has neither landmark_pose/ nor au_prediction/"),
        ([data, "--landmark-pose", str(tmp_path)], "there is no checkpoint"),
        ([str(tmp_path / "no.h5"), "--models", str(study / "models")], "no training set"),
    ):
        assert main(["evaluate", *given]) == 2
        captured = capsys.readouterr()
        assert said in captured.err and "Traceback" not in captured.err
