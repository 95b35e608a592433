from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest

from facemake.nn.action_units import AU_NAMES
from facemake.nn.history import draw_curves, write_history
from facemake.nn.metrics import au_metrics, landmark_metrics


def test_metrics_of_action_units_are_pandas():
    rng = np.random.default_rng(0)
    wanted = rng.random((50, 17)).astype(np.float32) * 5
    found = wanted + rng.normal(size=wanted.shape).astype(np.float32)
    wanted[rng.random(wanted.shape) < 0.1] = np.nan
    wanted[:, 3] = 2.0  # does not vary
    wanted[:, 4] = np.nan  # is never there
    metrics = au_metrics(found, wanted)
    x, y = pd.DataFrame(found, columns=AU_NAMES), pd.DataFrame(wanted, columns=AU_NAMES)
    x, y = x.astype(float), y.astype(float)
    for name in AU_NAMES:
        if name in AU_NAMES[3:5]:
            assert math.isnan(metrics[f"corr_{name}"])
        else:
            assert metrics[f"corr_{name}"] == pytest.approx(x[name].corr(y[name]), abs=1e-9)
        assert metrics[f"mae_{name}"] == pytest.approx(
            (x[name] - y[name]).abs().mean(), abs=1e-9, nan_ok=True
        )
    each = [metrics[f"corr_{name}"] for name in AU_NAMES]
    assert metrics["mean_correlation"] == pytest.approx(np.nanmean(each))
    assert metrics["mean_mae"] == pytest.approx(np.nanmean([metrics[f"mae_{n}"] for n in AU_NAMES]))


def test_the_mean_face_has_a_high_correlation_and_none_within():
    rng = np.random.default_rng(1)
    face = rng.random((68, 2)) * 100
    wanted = face + rng.normal(size=(30, 68, 2))
    constant = {"landmarks": np.repeat(face[None], 30, axis=0)}
    metrics = landmark_metrics(constant, {"landmarks": wanted})
    assert metrics["landmark_correlation"] > 0.99
    assert metrics["landmark_correlation_within"] == 0
    half = {"landmarks": face + 0.5 * (wanted - face)}
    within = landmark_metrics(half, {"landmarks": wanted})
    assert within["landmark_correlation_within"] == pytest.approx(1)
    assert within["landmark_mae"] == pytest.approx(np.abs(0.5 * (wanted - face)).mean())


def test_the_history_is_json_without_nan(tmp_path):
    train = [{"loss": 3.0, "lr": 1e-3}, {"loss": 2.0, "lr": 1e-4}]
    val = [{"loss": 2.5, "corr_AU01_r": math.nan}, {"loss": 1.5, "corr_AU01_r": 0.5}]
    path = tmp_path / "training_history.json"
    write_history(path, train, val, 1.5, AU_NAMES)

    def refuse(name: str) -> None:
        raise ValueError(name)

    content = json.loads(path.read_text(), parse_constant=refuse)
    assert list(content) == ["train", "val", "best_val_loss", "au_names"]
    assert content["val"][0]["corr_AU01_r"] is None and content["au_names"] == AU_NAMES
    assert content["train"] == train and content["val"][1] == val[1]
    write_history(path, train, val, 1.5, None)
    assert "au_names" not in json.loads(path.read_text())


def test_the_curves_are_a_picture_and_the_same_one_again(tmp_path):
    train = [{"loss": 3.0, "lr": 1e-3}, {"loss": 2.0, "lr": 1e-4}]
    val = [{"loss": 2.5, "landmark_mae": 3.0}, {"loss": 1.5, "landmark_mae": math.nan}]
    for name in ("a.png", "b.png"):
        draw_curves(tmp_path / name, train, val)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
