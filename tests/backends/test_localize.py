"""Localized expressions of models that are not localized themselves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from facemake.backends.fit import builtin
from facemake.backends.fit.localize import Localizer, units
from facemake.backends.fit.model import LinearFaceModel
from makefaces import ict

MODEL = builtin.load_builtin()
NAMES = MODEL.expression_names


def test_the_builtin_model_gives_its_own_coefficients() -> None:
    values = np.random.default_rng(0).uniform(0, 1, (5, len(NAMES)))
    values[2] = np.nan
    localizer = Localizer(MODEL, MODEL)
    assert localizer.names == NAMES
    assert np.array_equal(localizer(values), values, equal_nan=True)
    with pytest.raises(ValueError, match=f"has {len(NAMES)} coefficients"):
        localizer(values[:, :3])


def test_a_mixture_of_movements_is_taken_apart() -> None:
    """A model whose expressions are sums of ours, under other names, gives ours back."""
    smile = (NAMES.index("lip_corner_pull_l"), NAMES.index("lip_corner_pull_r"))
    frown = (NAMES.index("brow_lower_l"), NAMES.index("brow_lower_r"))
    mixed = replace(
        MODEL,
        expression=np.stack([MODEL.expression[list(smile + frown)].sum(axis=0)]),
        expression_sd=np.ones(1),
        expression_lower=np.zeros(1),
        expression_upper=np.ones(1),
        expression_names=("smirk",),
        expression_regions=("",),
        pdm=None,
    )
    found = Localizer(mixed, MODEL)(np.array([[0.0], [0.5], [1.0], [np.nan]]))
    assert np.abs(found[0]).max() == 0
    assert found[1, [*smile, *frown]] == pytest.approx(0.5, abs=0.1)
    assert found[2, [*smile, *frown]] == pytest.approx(1.0, abs=0.2)
    others = np.delete(found[2], [*smile, *frown])
    assert others.max() < 0.15 and found[:3].min() >= 0
    assert np.isnan(found[3]).all()


OTHER = replace(MODEL, expression_names=tuple(f"x{i}" for i in range(len(NAMES))))
SIGNED = replace(OTHER, expression_lower=np.full(len(NAMES), -1.0))


@pytest.mark.parametrize("other", [OTHER, SIGNED], ids=["blendshapes", "signed"])
def test_batches_make_no_difference(other: LinearFaceModel) -> None:
    values = np.random.default_rng(1).uniform(0, 1, (37, len(NAMES)))
    localizer = Localizer(other, MODEL)
    whole = localizer(values)
    assert np.array_equal(whole, np.concatenate([localizer(values[:1]), localizer(values[1:])]))


@pytest.mark.parametrize("other", [OTHER, SIGNED], ids=["blendshapes", "signed"])
def test_one_movement_stays_one_movement(other: LinearFaceModel) -> None:
    """Our own movements under other names: each is found, and hardly any other beside it."""
    found = Localizer(other, MODEL)(np.eye(len(NAMES)))
    own = np.diag(found)
    beside = found - np.diag(own)
    assert (found >= 0).all()
    assert own.min() > 0.5 and np.median(own) > 0.8
    assert (beside.max(axis=1) < own).all()
    assert np.median((beside > 0.05).sum(axis=1)) <= 1


def test_the_maker_of_a_blendshape_may_call_any_size_1() -> None:
    small = replace(OTHER, expression=0.1 * OTHER.expression)
    values = np.random.default_rng(4).uniform(0, 1, (5, len(NAMES)))
    plain, tenfold = Localizer(OTHER, MODEL)(values), Localizer(small, MODEL)(10 * values)
    assert np.allclose(plain, tenfold, atol=1e-6)


def test_a_model_without_the_jaw_is_localized_by_its_inner_points() -> None:
    inner = replace(
        SIGNED,
        scheme="ibug51",
        mean=SIGNED.mean[17:],
        identity=SIGNED.identity[:, 17:],
        expression=SIGNED.expression[:, 17:],
        pdm=None,
    )
    smile = np.zeros((1, len(NAMES)))
    smile[0, NAMES.index("lip_corner_pull_l")] = 1.0
    found = Localizer(inner, MODEL)(smile)[0]
    assert NAMES[int(found.argmax())] == "lip_corner_pull_l" and found.max() > 0.8


def test_each_coefficient_says_how_many_millimetres_it_is() -> None:
    size = np.sqrt((MODEL.expression**2).sum(axis=-1)).max(axis=1)
    said = dict(zip(NAMES, Localizer(MODEL, MODEL).units, strict=True))
    assert said == dict(zip(NAMES, units(MODEL), strict=True))
    for name, mm in zip(NAMES, size, strict=True):
        assert said[name].startswith(f"1 = {mm:.1f} mm at iBUG-68 point "), name
    left, right = said["brow_inner_raise_l"], said["brow_inner_raise_r"]
    assert "point 21, " in left and left.endswith("; image left")
    assert "point 22, " in right and right.endswith("; image right")
    assert said["jaw_open"].endswith("a full movement; not negative")


def test_a_basis_must_be_localized() -> None:
    loose = replace(MODEL, expression_regions=("",) * len(NAMES))
    with pytest.raises(ValueError, match="not localized"):
        Localizer(MODEL, loose)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("jawOpen", "jaw_open"),
        ("eyeBlink_L", "eye_close_r"),
        ("eyeBlink_R", "eye_close_l"),
        ("mouthSmile_L", "lip_corner_pull_r"),
        ("browDown_R", "brow_lower_l"),
        ("browOuterUp_L", "brow_outer_raise_r"),
        ("mouthPucker", "lips_pucker"),
        ("mouthLeft", "mouth_shift_r"),
    ],
)
def test_ict_blendshapes_land_on_their_names(shared: Path, theirs: str, ours: str) -> None:
    model = ict(shared)
    one = np.zeros((1, len(model.expression)))
    one[0, model.expression_names.index(theirs)] = 1.0
    found = Localizer(model, MODEL)(one)[0]
    region = MODEL.expression_regions[NAMES.index(ours)]
    same = [i for i, r in enumerate(MODEL.expression_regions) if r == region]
    assert NAMES[same[int(found[same].argmax())]] == ours
