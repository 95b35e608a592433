"""The action unit proxy: monotone, relative to the track's own neutral, and honest about gaps."""

from __future__ import annotations

import numpy as np
import pytest

from facemake import recipes, settings
from facemake.backends.aus import AU_COLUMNS, AU_ESTIMATORS, INTENSITY_AUS, OCCURRENCE_AUS
from facemake.backends.aus.proxy import BASELINE_CAP, MOVEMENTS, create
from facemake.backends.fit import builtin

NAMES = builtin.load_builtin().expression_names


def rows(n: int, **values: float | np.ndarray) -> np.ndarray:
    out = np.zeros((n, len(NAMES)))
    for name, value in values.items():
        out[:, NAMES.index(name)] = value
    return out


def estimated(coefficients: np.ndarray, seen: np.ndarray | None = None) -> dict[str, np.ndarray]:
    estimator = create(NAMES)
    estimator.look(coefficients if seen is None else seen)
    out = estimator.estimate(coefficients)
    return {name: out[:, i] for i, name in enumerate(AU_COLUMNS)}


def test_the_columns_are_openfaces() -> None:
    assert len(INTENSITY_AUS) == 17 and len(OCCURRENCE_AUS) == 18
    assert AU_COLUMNS[0] == "AU01_r" and AU_COLUMNS[17] == "AU01_c"
    assert set(OCCURRENCE_AUS) - set(INTENSITY_AUS) == {28}
    assert set(MOVEMENTS) == set(INTENSITY_AUS)
    assert AU_ESTIMATORS["proxy"].load().create is create


@pytest.mark.parametrize("au", INTENSITY_AUS)
def test_each_unit_rises_with_its_movement_and_with_no_other(au: int) -> None:
    rise = np.linspace(0, 1.4, 29)
    weights = MOVEMENTS[au].weights
    still = np.zeros((60, len(NAMES)))
    moving = estimated(rows(29, **dict.fromkeys(weights, rise)), still)[f"AU{au:02d}_r"]
    assert moving[0] == 0 and moving[-1] == 5
    assert (np.diff(moving) >= 0).all() and (np.diff(moving)[:6] > 0).all()
    others = {name: 1.0 for name in NAMES if name not in weights}
    assert estimated(rows(3, **others), still)[f"AU{au:02d}_r"].max() == 0
    occurs = estimated(rows(29, **dict.fromkeys(weights, rise)), still)[f"AU{au:02d}_c"]
    assert np.array_equal(occurs, (moving >= 1.0).astype(float))


def test_lips_rolled_in_are_au28() -> None:
    both = rows(4, upper_lip_tighten=0.9, lower_lip_tighten=0.9)
    one = rows(4, upper_lip_tighten=0.9)
    still = np.zeros((50, len(NAMES)))
    assert estimated(both, still)["AU28_c"].tolist() == [1] * 4
    assert estimated(one, still)["AU28_c"].tolist() == [0] * 4


def test_someone_who_smiles_most_of_the_time_still_smiles() -> None:
    """A running median as neutral would make these labels zero."""
    smile = np.where(np.arange(200) % 4 == 0, 0.0, 0.8)
    values = estimated(rows(200, lip_corner_pull_l=smile, lip_corner_pull_r=smile))
    assert np.median(values["AU12_r"]) == pytest.approx(4.0, abs=0.05)
    always = estimated(rows(200, lip_corner_pull_l=0.8, lip_corner_pull_r=0.8))
    assert always["AU12_r"].min() >= 5 * (0.8 - BASELINE_CAP)


def test_a_constant_bias_is_neutral() -> None:
    lowered = np.where(np.arange(200) < 20, 0.7, 0.2)
    values = estimated(rows(200, brow_lower_l=lowered, brow_lower_r=lowered))["AU04_r"]
    assert values[50:].max() < 0.1
    assert values[:20].min() > 2.3


def test_a_single_picture_keeps_its_expression() -> None:
    one = estimated(rows(1, jaw_open=0.6))
    assert one["AU26_r"][0] > 3.5


def test_pieces_of_a_recording_agree() -> None:
    rng = np.random.default_rng(0)
    smile = np.clip(np.sin(np.arange(600) / 15) + rng.normal(scale=0.05, size=600), 0, 1)
    track = rows(600, lip_corner_pull_l=smile, lip_corner_pull_r=smile, brow_lower_l=0.1)
    whole = estimated(track)
    for start in range(0, 600, 200):
        piece = estimated(track[start : start + 200])
        for name in ("AU12_r", "AU04_r"):
            assert np.abs(piece[name] - whole[name][start : start + 200]).max() < 0.1, name


def test_the_order_and_size_of_looks_make_no_difference() -> None:
    rng = np.random.default_rng(1)
    track = rng.uniform(0, 1.2, (90, len(NAMES)))
    first, second = create(NAMES), create(NAMES)
    first.look(track)
    for row in track[rng.permutation(90)]:
        second.look(row[None])
    assert np.array_equal(first.estimate(track), second.estimate(track))


def test_what_was_not_fitted_has_no_value() -> None:
    track = rows(30, jaw_open=0.5)
    track[3] = np.nan
    values = estimated(track)
    assert all(np.isnan(v[3]) and np.isfinite(np.delete(v, 3)).all() for v in values.values())
    nothing = estimated(np.full((4, len(NAMES)), np.nan))
    assert all(np.isnan(v).all() for v in nothing.values())


def test_missing_expressions_are_named() -> None:
    with pytest.raises(ValueError, match="jaw_open"):
        create([n for n in NAMES if n != "jaw_open"])


def test_the_config_chooses_the_backend() -> None:
    config = settings.filled({})
    recipe = recipes.recipe("aus", config)
    assert recipe.backend == config["aus"]["backend"] == "proxy"
