"""Networks that were trained for real, on pictures that show their labels."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

from facemake.errors import ConfigError, FacemakeError
from facemake.evaluation import evaluate, scores
from facemake.evaluation.card import write_card
from facemake.evaluation.labels import read_labels
from facemake.evaluation.predicting import Examples, Predictions, Trained
from facemake.nn.action_units import AU_NAMES
from maketraining import VIDEOS, make_training_set, train


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    make_training_set(folder / "data.h5", VIDEOS)
    train("landmark_pose", folder / "data.h5", folder / "landmark_pose")
    train("au_prediction", folder / "data.h5", folder / "au_prediction")
    return folder


@pytest.fixture(scope="module")
def document(study: Path) -> dict:
    lines = ["sample\tframe\tAU12\tAU04_r"]
    lines += [f"dua_1\t{i}\t{i % 6}\t" for i in range(10)] + ["nobody\t3\t1\t1"]
    (study / "labels.tsv").write_text("\n".join(lines) + "\n")
    return evaluate(
        study / "data.h5",
        study / "landmark_pose",
        study / "au_prediction",
        output=study / "evaluation",
        labels=study / "labels.tsv",
    )


def test_it_is_the_test_split_that_is_judged(document: dict):
    for network in ("landmark_pose", "au_prediction"):
        about = document["networks"][network]
        assert (about["split"], about["examples"], about["videos"]) == ("test", 24, 2)
        assert about["trained_on_this_set"] and not about["seen_in_training"]
    assert {row["video"]: row["n"] for row in document["videos"]} == {"dua_1": 14, "dua_2": 10}


def test_the_tables_are_what_numpy_and_pandas_say_of_the_predictions(study: Path, document: dict):
    one = Trained(study / "au_prediction", study / "data.h5", "au_prediction").predict("test")
    x, y = (pd.DataFrame(v["au_intensities"].astype(float)) for v in (one.found, one.wanted))
    table = pd.read_parquet(study / "evaluation" / "action_units.parquet")
    mine = table[(table["of"] == "network") & (table["against"] == "pipeline")].set_index("au")
    assert mine["mae"].to_numpy() == pytest.approx((x - y).abs().mean().to_numpy())
    csv = pd.read_csv(study / "evaluation" / "action_units.csv")
    assert csv["mae"].to_numpy() == pytest.approx(table["mae"].to_numpy(), nan_ok=True)

    one = Trained(study / "landmark_pose", study / "data.h5", "landmark_pose").predict("test")
    off = one.found["landmarks"].astype(float) - one.wanted["landmarks"]
    groups = pd.read_parquet(study / "evaluation" / "landmark_groups.parquet").set_index("group")
    assert groups.loc["all", "mae"] == pytest.approx(np.abs(off).mean())
    assert groups.loc["mouth", "mae"] == pytest.approx(np.abs(off[:, 48:]).mean())
    distance = np.sqrt((off**2).sum(axis=2))
    assert groups.loc["eyes", "nme"] == pytest.approx(100 * distance[:, 36:48].mean() / 40)
    pose = pd.read_parquet(study / "evaluation" / "pose.parquet").set_index("parameter")
    angles = (one.found["global_params"] - one.wanted["global_params"])[:, 2].astype(float)
    assert pose.loc["ry", "mae"] == pytest.approx(np.degrees(np.abs(angles)).mean(), rel=1e-5)


def test_each_action_unit_is_scored_by_itself():
    rng = np.random.default_rng(1)
    y = rng.uniform(0, 5, (50, 17)).astype(np.float32)
    y[:, 3] = 1  # does not vary
    y[::2, 5] = np.nan
    x = (y + rng.normal(0, 1, (50, 17))).astype(np.float32)
    rows = pd.DataFrame(scores.action_units(x, y, "network", "pipeline", np.full(17, 2.5)))
    found, wanted = pd.DataFrame(x.astype(float)), pd.DataFrame(y.astype(float))
    expected = [np.nan if i == 3 else found[i].corr(wanted[i]) for i in range(17)]
    assert rows["correlation"].to_numpy() == pytest.approx(expected, nan_ok=True)
    assert rows["n"].tolist() == [25 if i == 5 else 50 for i in range(17)]
    assert rows["mae_of_mean"].to_numpy() == pytest.approx((wanted - 2.5).abs().mean().to_numpy())
    assert rows["label_sd"].to_numpy() == pytest.approx(wanted.std(ddof=0).to_numpy(), abs=1e-6)
    assert rows["bias"].to_numpy() == pytest.approx((found - wanted).mean().to_numpy())


def faces(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = (np.linspace(20, 90, 136).reshape(68, 2) + rng.normal(0, 3, (n, 68, 2))).astype(np.float32)
    return (y + rng.normal(0, 1, y.shape)).astype(np.float32), y


def test_groups_and_points_are_what_pandas_says_of_whole_arrays():
    x, y = faces(40, seed=2)
    y[:30, :17] = np.nan  # iBUG-51 has no jaw
    mean = np.full((68, 2), 50.0)
    groups, points = scores.landmarks(x, y, mean)
    size = np.linalg.norm(y[:, 36].astype(float) - y[:, 45], axis=1)
    off = np.linalg.norm(x.astype(float) - y, axis=2)
    away = np.linalg.norm(y.astype(float) - mean, axis=2)
    for row in groups:
        part = slice(*scores.GROUPS[row["group"]])
        a, b = (pd.DataFrame(v[:, part].reshape(40, -1).astype(float)) for v in (x, y))
        assert row["n"] == (10 if row["group"] == "jaw" else 40)
        assert row["mae"] == pytest.approx(np.nanmean(np.abs(a - b).to_numpy()))
        assert row["distance"] == pytest.approx(np.nanmean(off[:, part]))
        assert row["distance_of_mean"] == pytest.approx(np.nanmean(away[:, part]))
        assert row["nme"] == pytest.approx(100 * np.nanmean(off[:, part] / size[:, None]))
        together = pd.Series(a.to_numpy().ravel()).corr(pd.Series(b.to_numpy().ravel()))
        assert row["correlation"] == pytest.approx(together)
        assert row["correlation_within"] == pytest.approx(a.corrwith(b).mean())
    assert [row["group"] for row in points[::17]] == ["jaw", "brows", "nose", "mouth"]
    assert points[30]["distance"] == pytest.approx(off[:, 30].mean())
    assert points[30]["distance_p95"] == pytest.approx(np.percentile(off[:, 30], 95))
    assert points[3]["nme"] == pytest.approx(100 * np.nanmean(off[:, 3] / size))
    assert (points[30]["x"], points[3]["y"]) == pytest.approx(
        (y[:, 30, 0].astype(float).mean(), np.nanmean(y[:, 3, 1].astype(float)))
    )


def test_a_video_has_the_numbers_of_its_own_rows():
    x, y = faces(30, seed=4)
    names = np.array([["b", "a", "c"][i % 3] for i in range(29)] + ["d"], object)
    whose = Examples(names, np.array([f"of {n}" for n in names]), np.arange(30), np.zeros(30, int))
    pose = np.zeros((30, 6), np.float32)
    one = Predictions(
        "landmark_pose", "test", np.arange(30), *({"landmarks": v, "global_params": pose}
        for v in (x, y)), whose,
    )  # fmt: skip
    rows = scores.videos([one])
    assert [(r["video"], r["subject"], r["n"]) for r in rows] == [
        ("b", "of b", 10), ("a", "of a", 10), ("c", "of c", 9), ("d", "of d", 1)
    ]  # fmt: skip
    mine = np.arange(1, 29, 3)
    off = np.linalg.norm(x[mine].astype(float) - y[mine], axis=2).mean()
    assert rows[1]["landmark_distance"] == pytest.approx(off)
    assert scores.videos([dataclasses.replace(one, examples=dataclasses.replace(
        whose, videos=names[::-1]))])[0]["video"] == "d"  # fmt: skip


def test_a_network_that_went_astray_is_refused(study: Path):
    trained = Trained(study / "landmark_pose", study / "data.h5", "landmark_pose")
    for parameter in trained._model.parameters():
        parameter.fill_(math.nan)
    with pytest.raises(FacemakeError, match=r"checkpoint_best\.pt says .* no number \(landmarks\)"):
        trained.predict("test")


def test_labels_of_people_are_another_reference(document: dict):
    assert document["labels"] == {"rows": 11, "examples": 10, "columns": ("AU12_r", "AU04_r")}
    rows = {(row["of"], row["against"], row["au"]): row for row in document["action_units"]}
    mine = rows["network", "labels", "AU12_r"]
    assert (mine["n"], mine["present"]) == (10, 6)
    assert rows["pipeline", "labels", "AU12_r"]["n"] == 10
    assert rows["network", "labels", "AU04_r"]["n"] == 0
    assert math.isnan(rows["network", "labels", "AU04_r"]["f1"])


def test_its_folder_has_tables_pictures_and_a_document_of_json(study: Path, document: dict):
    folder = study / "evaluation"
    found = json.loads((folder / "evaluation.json").read_text())
    assert found["action_units"][0]["correlation"] is None
    assert {t["target"]: t["wanted"] for t in found["targets"]} == {
        "landmark correlation": "> 0.95",
        "landmark MAE (px)": "< 2",
        "AU correlation": "> 0.90",
        "AU MAE (0-5)": "< 0.5",
    }
    pictures = {path.name for path in folder.glob("*.png")}
    assert pictures == {
        *("au_scatter.png", "au_bland_altman.png", "landmark_errors.png"),
        *("au_scatter_labels.png", "au_bland_altman_labels.png"),
    }
    assert all((folder / name).read_bytes()[:4] == b"\x89PNG" for name in pictures)
    assert found["formulas"]["icc"]["source"].startswith("Shrout")


def test_the_card_says_what_it_is_what_it_learned_from_and_what_it_cannot(study: Path):
    card = write_card(study / "au_prediction", study / "data.h5", "au_prediction")
    assert card["data"]["splits"] == {
        "train": {"examples": 32, "videos": 2, "subjects": 2},
        "val": {"examples": 16, "videos": 1, "subjects": 1},
        "test": {"examples": 24, "videos": 2, "subjects": 1},
    }
    assert set(card["metrics"]) == {"train", "val", "test"}
    # what the training itself saw of its best epoch
    history = json.loads((study / "au_prediction" / "training_history.json").read_text())
    best = history["val"][card["training"]["best_epoch"] - 1]
    assert card["metrics"]["val"]["mae"] == pytest.approx(best["mean_mae"], rel=1e-4)
    assert card["upstream_models"][0]["licence"] == "MIT"
    assert any("proxy" in line for line in card["limits"])
    assert any("AU01_r" in line and "AU12_r" not in line for line in card["limits"])
    assert len(card["files"]["checkpoint_best.pt"]) == 64
    text = (study / "au_prediction" / "model_card.md").read_text()
    for words in ("load_au_predictor", "agreement with the labels", "| test | 24 | 2 | 1 |"):
        assert words in text
    json.loads((study / "au_prediction" / "model_card.json").read_text())


def test_people_on_both_sides_are_said(tmp_path: Path):
    videos = {"a": ("ann", "train", 8), "b": ("ann", "val", 4), "c": ("bob", "val", 4)}
    data = make_training_set(tmp_path / "data.h5", videos)
    folder = train("au_prediction", data, tmp_path / "au_prediction", "--epochs", "1")
    found = evaluate(data, au_prediction=folder)["networks"]["au_prediction"]
    assert (found["split"], found["subjects"], found["seen_in_training"]) == ("val", 2, True)
    assert "1 of the people of split val are among" in (folder / "model_card.md").read_text()


def test_another_training_set_is_judged_whole_and_said(study: Path, tmp_path: Path, caplog):
    other = make_training_set(tmp_path / "other.h5", {"eve_1": ("eve", "", 12)}, seed=5)
    found = evaluate(other, study / "landmark_pose")
    about = found["networks"]["landmark_pose"]
    assert (about["split"], about["examples"]) == ("all", 12)
    assert not about["trained_on_this_set"]
    assert not about["seen_in_training"], "nothing says so"
    assert "was trained with another training set" in caplog.text


def test_what_cannot_be_evaluated_is_refused_in_words(study: Path, tmp_path: Path):
    data = study / "data.h5"
    with pytest.raises(ConfigError, match="nothing to evaluate"):
        evaluate(data)
    with pytest.raises(FacemakeError, match="weights of au_prediction, not of landmark_pose"):
        evaluate(data, study / "au_prediction")
    with pytest.raises(FacemakeError, match="there is no checkpoint"):
        evaluate(data, tmp_path)
    with pytest.raises(ConfigError, match="no examples of split dev"):
        evaluate(data, study / "landmark_pose", split="dev")
    labels = tmp_path / "labels.tsv"
    labels.write_text("sample\tframe\tAU12\nann_1\t0\t3\n")
    with pytest.raises(ConfigError, match="name a trained au_prediction, too"):
        evaluate(data, study / "landmark_pose", labels=labels)
    with pytest.raises(FacemakeError, match="none of the 24 examples of split test"):
        evaluate(data, au_prediction=study / "au_prediction", labels=labels)


def test_labels_in_the_manner_of_disfa_that_count_from_one_are_said(
    study: Path, tmp_path: Path, caplog
):
    """12 action units, an intensity each, frames from 1."""
    units = [1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26]
    lines = ["\t".join(["sample", "frame", *(f"AU{unit}" for unit in units)])]
    for frame in range(1, 15):
        cells = [str((frame + unit) % 6) for unit in units]
        lines.append("\t".join(["dua_1", str(frame), *cells]))
    (tmp_path / "disfa.tsv").write_text("\n".join(lines) + "\n")
    labels = read_labels(tmp_path / "disfa.tsv")
    assert labels.from_one and len(labels.columns) == 12
    assert labels.of(["dua_1"], [14])[0, AU_NAMES.index("AU12_r")] == (14 + 12) % 6
    model = study / "au_prediction"
    evaluate(study / "data.h5", au_prediction=model, labels=tmp_path / "disfa.tsv")
    assert "here frames count from 0" in caplog.text
    (tmp_path / "zero.tsv").write_text("sample\tframe\tAU1\na\t0\t1\na\t1\t1\n")
    assert not read_labels(tmp_path / "zero.tsv").from_one


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no column sample and frame"),
        ("sample\tframe\n", "no column of an action unit"),
        ("sample\tframe\tAU99\n", "'AU99' is none of AU01_r"),
        ("sample\tframe\tAU12\tAU12_r\n", "AU12_r is there twice"),
        ("sample\tframe\tAU12\n", "has no row"),
        ("sample\tframe\tAU12\tframe\n", ":1: frame is there twice"),
        (f"sample\tframe\tAU12\na\t0\t{'7' * 200_000}\n", "field larger than"),
        ("sample\tframe\tAU12\na\t0\t7\n", ":2: AU12 is '7', not 0 to 5"),
        ("sample\tframe\tAU12\na\t0.5\t1\n", ":2: frame is '0.5'"),
        ("sample\tframe\tAU12\na\t0\t1\na\t0\t2\n", ":3: sample a, frame 0 is there twice"),
        ("sample\tframe\tAU12\na\t0\n", ":2: has 2 cells, the header 3"),
    ],
)
def test_a_bad_file_of_labels_is_refused_with_its_line(tmp_path: Path, text: str, said: str):
    path = tmp_path / "labels.tsv"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_labels(path)
    assert said in str(caught.value)


def test_a_file_of_labels_that_is_not_there_or_no_text_is_named(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"gone\.tsv cannot be read: No such file"):
        read_labels(tmp_path / "gone.tsv")
    (tmp_path / "table.xls").write_bytes(b"\xd0\xcf\x11\xe0")
    with pytest.raises(ConfigError, match=r"table\.xls are no text in UTF-8"):
        read_labels(tmp_path / "table.xls")
