"""The action unit proxy: monotone, relative to the track's own neutral, and honest about gaps."""

from __future__ import annotations

import numpy as np
import pytest

from facemake import recipes, settings
from facemake.backends.aus import (
    AU_COLUMNS,
    AU_ESTIMATORS,
    INTENSITY_AUS,
    OCCURRENCE_AUS,
    SIDED_AUS,
    SIDED_COLUMNS,
)
from facemake.backends.aus.proxy import (
    BASELINE_CAP,
    DEAD,
    DEAD_LEAST,
    MOVEMENTS,
    NEEDED,
    SEEN_IN_PART,
    UNITS,
    create,
)
from facemake.backends.fit import builtin
from facemake.backends.fit.fitter import Fitter
from facemake.backends.fit.normalize import shipped_noise
from facemake.dataset.layout import AU_NAMES
from makefaces import CAMERA, SIZE, seen

NAMES = builtin.load_builtin().expression_names
DEAD_OF = dict(zip(NAMES, np.maximum(DEAD * shipped_noise().of(NAMES).w, DEAD_LEAST), strict=True))


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
    assert AU_COLUMNS[:17] == AU_NAMES, "the training set has exactly these"
    assert [c for c in AU_COLUMNS if c.endswith("_r")] == list(AU_NAMES)
    assert set(NEEDED) <= set(NAMES)


def test_each_column_says_what_it_is() -> None:
    units = dict(zip(AU_COLUMNS, UNITS, strict=True))
    assert all(unit.startswith("proxy: ") for unit in units.values())
    assert units["AU12_r"] == "proxy: intensity 0-5, mean of both sides"
    assert units["AU17_r"].startswith("proxy: intensity 0-5; ")
    assert units["AU12_r_left"] == "proxy: intensity 0-5 on the image's left side"
    assert units["AU12_c"] == "proxy: 0 or 1, from intensity 1 on"
    for au, what in SEEN_IN_PART.items():
        assert all(what in units[c] for c in AU_COLUMNS if c.startswith(f"AU{au:02d}_")), au


@pytest.mark.parametrize("au", INTENSITY_AUS)
def test_each_unit_rises_with_its_movement_and_with_no_other(au: int) -> None:
    rise = np.linspace(0, 1.4, 29)
    weights = {name: w for name, w in MOVEMENTS[au].weights.items() if w > 0}
    still = np.zeros((60, len(NAMES)))
    moving = estimated(rows(29, **dict.fromkeys(weights, rise)), still)[f"AU{au:02d}_r"]
    assert moving[0] == 0 and moving[-1] == 5
    step = np.diff(moving)
    assert (step >= 0).all()
    counts = rise[:-1] >= max(DEAD_OF[name] for name in weights)
    assert (step[counts & (moving[:-1] < 5)] > 0).all(), "it rises from the dead zone to 5"
    assert moving[rise <= min(DEAD_OF[name] for name in weights)].max() == 0
    others = {name: 1.0 for name in NAMES if name not in weights}
    assert estimated(rows(3, **others), still)[f"AU{au:02d}_r"].max() == 0
    occurs = estimated(rows(29, **dict.fromkeys(weights, rise)), still)[f"AU{au:02d}_c"]
    assert np.array_equal(occurs, (moving >= 1.0).astype(float))


def test_the_dead_zone_ends_without_a_step() -> None:
    dead = DEAD_OF["jaw_open"]
    assert dead == max(DEAD * shipped_noise().of(("jaw_open",)).w[0], DEAD_LEAST)
    still = np.zeros((60, len(NAMES)))
    values = estimated(rows(3, jaw_open=[dead - 0.01, dead, dead + 0.001]), still)["AU26_r"]
    assert values[:2].tolist() == [0, 0]
    assert 0 < values[2] < 0.01
    assert estimated(rows(1, jaw_open=1.0), still)["AU26_r"][0] == 5


def test_a_neutral_head_that_turns_has_no_action_units() -> None:
    model = builtin.load_builtin()
    t = np.linspace(0, 2 * np.pi, 60)
    angles = np.stack([20 * np.sin(2 * t), 40 * np.sin(t), 15 * np.cos(3 * t)], axis=1)
    rng = np.random.default_rng(0)
    for noise in (0.0, 0.5):
        who = 0.5 * rng.normal(size=len(model.identity))
        still = np.zeros((60, len(NAMES)))
        points = seen(model, angles, still, identity=who, noise=noise, rng=rng).points
        fit = Fitter(model, CAMERA, size=SIZE)
        fits = fit.fit_frames(points, fit.fit_identity(points))
        assert fits.ok.all()
        values = estimated(fits.expression)
        largest = {c: v.max() for c, v in values.items() if c.endswith("_r")}
        assert max(largest.values()) <= 0.3, largest


@pytest.mark.parametrize("au", SIDED_AUS)
def test_one_sided_movements_are_seen_on_their_side(au: int) -> None:
    still = np.zeros((60, len(NAMES)))
    weights = [name for name, weight in MOVEMENTS[au].weights.items() if weight > 0]
    left = {name: 0.7 for name in weights if name.endswith("_l")}
    values = estimated(rows(2, **left), still)
    assert values[f"AU{au:02d}_r_left"][0] > 2
    assert values[f"AU{au:02d}_r_right"][0] == 0
    assert values[f"AU{au:02d}_r"][0] == pytest.approx(values[f"AU{au:02d}_r_left"][0] / 2)
    values = estimated(rows(2, **dict.fromkeys(weights, 0.7)), still)
    sides = [values[f"AU{au:02d}_r_{side}"][0] for side in ("left", "right")]
    assert values[f"AU{au:02d}_r"][0] == sides[0] == sides[1]
    others = [c for c in SIDED_COLUMNS if not c.startswith(f"AU{au:02d}_")]
    assert max(values[c].max() for c in others) == 0


def test_what_a_wrinkled_nose_does_to_the_brow_is_no_brow_lowerer() -> None:
    still = np.zeros((60, len(NAMES)))
    brow = {"brow_lower_l": 0.6, "brow_lower_r": 0.6}
    alone = estimated(rows(1, **brow), still)["AU04_r"][0]
    wrinkled = estimated(rows(1, **brow, nose_wrinkle_l=1.0), still)
    assert 0 < alone - wrinkled["AU04_r"][0] < 1
    assert wrinkled["AU04_r_right"][0] == pytest.approx(alone)
    nose = estimated(rows(1, nose_wrinkle_l=1.0, nose_wrinkle_r=1.0), still)
    assert nose["AU04_r"][0] == 0 and nose["AU09_r"][0] == 5


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
    dead = DEAD_OF["lip_corner_pull_l"]
    wanted = 5 * (0.8 - dead) / (1 - dead)
    assert np.median(values["AU12_r"]) == pytest.approx(wanted, abs=0.05)
    always = estimated(rows(200, lip_corner_pull_l=0.8, lip_corner_pull_r=0.8))
    assert always["AU12_r"].min() >= wanted - 5 * BASELINE_CAP / (1 - dead)


def test_a_constant_bias_is_neutral() -> None:
    lowered = np.where(np.arange(200) < 20, 0.7, 0.2)
    values = estimated(rows(200, brow_lower_l=lowered, brow_lower_r=lowered))["AU04_r"]
    assert values[50:].max() < 0.1
    dead = DEAD_OF["brow_lower_l"]
    assert values[:20].min() == pytest.approx(5 * (0.5 - dead) / (1 - dead), abs=0.1)


def test_a_single_picture_keeps_its_expression() -> None:
    one = estimated(rows(1, jaw_open=0.6))
    assert one["AU26_r"][0] > 2.9


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


def test_the_order_of_the_coefficients_makes_no_difference() -> None:
    rng = np.random.default_rng(2)
    track = rng.uniform(0, 1.2, (40, len(NAMES)))
    mixed = rng.permutation(len(NAMES))
    first, second = create(NAMES), create([NAMES[i] for i in mixed])
    first.look(track)
    second.look(track[:, mixed])
    assert np.array_equal(first.estimate(track), second.estimate(track[:, mixed]))


def test_the_config_chooses_the_backend() -> None:
    config = settings.filled({})
    recipe = recipes.recipe("aus", config)
    assert recipe.backend == config["aus"]["backend"] == "proxy"
    assert [m["name"] for m in recipe.models] == ["facemake_expression_noise_1"]
