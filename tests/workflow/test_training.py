"""The targets `train` and `evaluate` (docs/training.md), from a recording to the report's page."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

import runworkflow
from conftest import ROOT

pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

RECORDING = ROOT / "resources" / "bundled" / "moving_portrait.mp4"
SMALL = {"epochs": 1, "width_mult": 0.125, "batch_size": 8}


@pytest.mark.workflow
@pytest.mark.slow
def test_from_a_recording_to_the_page_of_networks(tmp_path: Path):
    folder = runworkflow.study(tmp_path, [("a", RECORDING)], embed="off", train=SMALL)
    sheet = folder / "config" / "samples.tsv"
    sheet.write_text(f"sample\tpath\tend\na\t{RECORDING}\t0.6\n")
    done = runworkflow.run(folder, "evaluate")
    assert done.code == 0, done.output
    models = done.results / "models"
    assert (models / "landmark_pose" / "landmark_pose.onnx").is_file()
    assert (models / "au_prediction" / "model_card.md").is_file()
    assert (done.results / "evaluation" / "evaluation.json").is_file()
    assert (done.results / "report" / "networks.html").is_file()
    assert not (done.results / "report" / "index.html").exists()

    # nothing of it is part of a usual run, whose index leads to the page
    again = runworkflow.run(folder, "--", f"{done.results.name}/report/index.html")
    assert again.code == 0, again.output
    assert 'href="networks.html"' in (done.results / "report" / "index.html").read_text()
    assert "train_aus" not in again.output

    config = folder / "config" / "config.yaml"
    document = {**yaml.safe_load(config.read_text()), "train": {**SMALL, "epochs": 0}}
    config.write_text(yaml.safe_dump(document))
    refused = runworkflow.run(folder, "train")
    assert refused.code != 0 and "train.epochs is 0" in refused.output
