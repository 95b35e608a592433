"""The stages train and evaluate, on a small training set: interrupted, gone on with, shown."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from maketraining import make_training_set

torch = pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

from facemake import settings  # noqa: E402
from facemake.nn.training import Training  # noqa: E402
from facemake.recipes import recipe  # noqa: E402
from facemake.stages.evaluate import evaluate  # noqa: E402
from facemake.stages.train import train  # noqa: E402

FEW = {"ann_1": ("ann", "train", 12), "cem_1": ("cem", "val", 6), "dua_1": ("dua", "test", 6)}
SMALL = {"epochs": 2, "width_mult": 0.125, "batch_size": 8}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def config() -> dict:
    return settings.filled({"train": SMALL})


@pytest.fixture(scope="module")
def results(tmp_path_factory, config) -> Path:
    folder = tmp_path_factory.mktemp("results")
    data = make_training_set(folder / "training_data.h5", FEW)
    for stage, name in (("train_landmark_pose", "landmark_pose"), ("train_aus", "au_prediction")):
        train(data, folder / "models" / name, recipe(stage, config), 1, folder / ".facemake")
    return folder


def history(folder: Path) -> dict:
    return json.loads((folder / "training_history.json").read_text())


def test_a_finished_training_is_in_its_place_whole(results: Path):
    files = {path.name for path in (results / "models" / "au_prediction").iterdir()}
    assert files - {"au_prediction.mlpackage"} == {
        *("checkpoint_best.pt", "checkpoint_final.pt", "au_prediction.onnx"),
        *("training_history.json", "training_curves.png", "model_card.md", "model_card.json"),
    }
    assert not list((results / ".facemake" / "parts").rglob("*.pt"))


def test_a_job_that_was_ended_goes_on_and_gives_the_same(
    results: Path, config: dict, tmp_path: Path, monkeypatch
):
    stage, data = recipe("train_landmark_pose", config), results / "training_data.h5"
    validate, calls = Training._validate, []

    def ended(self, loader):
        calls.append(self.epoch)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return validate(self, loader)

    monkeypatch.setattr(Training, "_validate", ended)
    with pytest.raises(KeyboardInterrupt):
        train(data, tmp_path / "model", stage, 1, tmp_path / "work")
    assert not (tmp_path / "model").exists()
    train(data, tmp_path / "model", stage, 1, tmp_path / "work")
    assert calls == [0, 1, 1]
    assert history(tmp_path / "model") == history(results / "models" / "landmark_pose")


def test_what_another_recipe_left_is_not_gone_on_with(
    results: Path, config: dict, tmp_path: Path, monkeypatch
):
    stage, data = recipe("train_aus", config), results / "training_data.h5"
    monkeypatch.setattr(Training, "_finish", lambda self: (_ for _ in ()).throw(RuntimeError))
    with pytest.raises(RuntimeError):
        train(data, tmp_path / "model", stage, 1, tmp_path / "work")
    (left,) = (tmp_path / "work" / "parts" / "train_aus").iterdir()
    monkeypatch.undo()
    other = replace(stage, settings={**stage.settings, "epochs": 1})
    train(data, tmp_path / "model", other, 1, tmp_path / "work")
    assert not left.exists() and len(history(tmp_path / "model")["val"]) == 1


def test_the_page_shows_what_the_tables_say(results: Path, config: dict, tmp_path: Path):
    models = {name: results / "models" / name for name in ("landmark_pose", "au_prediction")}
    labels = tmp_path / "labels.tsv"
    labels.write_text("sample\tframe\tAU12\n" + "".join(f"dua_1\t{i}\t{i}\n" for i in range(6)))
    page = tmp_path / "report" / "networks.html"
    evaluate(
        results / "training_data.h5",
        models,
        tmp_path / "e",
        page,
        recipe("evaluate", config),
        labels,
    )
    document = json.loads((tmp_path / "e" / "evaluation.json").read_text())
    text = page.read_text()
    everything = next(r for r in document["landmark_groups"] if r["group"] == "all")
    assert f">{everything['mae']:.2f}<" in text
    assert "The network against your labels" in text and "6 rows, of which 6 are" in text
    assert text.count("data:image/png;base64,") == 7  # five pictures, two curves
    assert "http://" not in text and "https://" not in text
    from facemake.shards import read_metadata

    made = read_metadata(tmp_path / "e" / "pose.parquet")
    assert made["recipe"]["stage"] == "evaluate" and "aus" in made["upstream"]


def test_the_options_of_the_config_are_those_of_the_command_lines():
    from facemake.nn.options import AUPredictionOptions, LandmarkPoseOptions

    of_networks = {}
    for kind in (LandmarkPoseOptions, AUPredictionOptions):
        names = (*kind.deciding(), "save_every")
        of_networks |= {name: kind.__dataclass_fields__[name].default for name in names}
    assert settings.filled({})["train"] == of_networks


def test_a_label_file_counts_by_its_content(tmp_path: Path):
    (tmp_path / "a.tsv").write_text("sample\tframe\tAU12\na\t0\t1\n")
    (tmp_path / "b.tsv").write_text("sample\tframe\tAU12\na\t0\t1\n")
    made = [
        recipe("evaluate", settings.filled({"evaluate": {"labels": str(tmp_path / name)}}))
        for name in ("a.tsv", "b.tsv")
    ]
    assert made[0] == made[1] != recipe("evaluate", settings.filled({}))
