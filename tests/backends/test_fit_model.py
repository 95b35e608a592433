"""Face models: the door, the file, and what the built-in one claims of itself."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from facemake import schemes
from facemake.backends.fit import FACE_MODELS, builtin, load, pdm
from facemake.backends.fit.bootstrap import Person, mean_face
from facemake.backends.fit.fields import REGION_POINTS, expression_fields
from facemake.backends.fit.model import LinearFaceModel, make_model
from facemake.backends.fit.modelfile import load_model, save_model
from facemake.backends.fit.proportions import FREE
from facemake.errors import ModelError
from facemake.geometry import rotation_from_euler
from facemake.models import model
from facemake.settings import SCHEMA, schema
from makefaces import ict

MODEL = builtin.load_builtin()


def arrays() -> dict:
    return {
        "name": "test",
        "mean": MODEL.mean / 10,
        "identity": MODEL.identity / 10,
        "expression": MODEL.expression / 10,
        "identity_sd": MODEL.identity_sd,
        "expression_sd": MODEL.expression_sd,
        "expression_lower": MODEL.expression_lower,
        "expression_upper": MODEL.expression_upper,
        "identity_names": MODEL.identity_names,
        "expression_names": MODEL.expression_names,
        "unit": "cm",
        "axes": "x-right y-down z-forward",
        "licence": "MIT",
        "citation": "none",
    }


def test_units_and_axes_are_taken_to_ours() -> None:
    same = make_model(**arrays())
    assert np.allclose(same.mean, MODEL.mean, atol=1e-4)
    flipped = arrays()
    for key in ("mean", "identity", "expression"):
        flipped[key] = flipped[key] * [1, -1, -1] + (0.5 if key == "mean" else 0)
    turned = make_model(**{**flipped, "axes": "x-right y-up z-backward"})
    assert np.allclose(turned.mean, MODEL.mean, atol=1e-4), "the origin is ours, whatever it was"
    assert np.allclose(turned.expression, MODEL.expression, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"unit": "inch"}, "unit 'inch' is not one of mm, cm, m"),
        ({"axes": "y-up"}, "axes 'y-up'"),
        ({"unit": "mm"}, "8.9 mm between the outer eye corners.*is its unit right"),
        ({"unit": "m"}, "between the outer eye corners"),
        ({"axes": "x-right y-up z-backward"}, "upside down, mirrored or looks backwards"),
        ({"mean": MODEL.mean[:67]}, r"mean has shape \(67, 3\), wanted \(68, 3\)"),
        ({"identity": MODEL.identity[:, :51]}, "identity has shape"),
        ({"expression": MODEL.expression[0]}, "expression has shape"),
        ({"identity_sd": np.ones(3)}, "identity_sd has not one value for each"),
        ({"identity_sd": np.zeros(len(MODEL.identity))}, "standard deviation"),
        ({"expression_lower": np.ones(len(MODEL.expression))}, "enclose 0"),
        ({"expression_names": ["same"] * len(MODEL.expression)}, "stands twice"),
        ({"expression_names": ["one"]}, "one name for each"),
        ({"mean": np.full((68, 3), np.nan)}, "not finite"),
        ({"mean": [["a"]]}, "not numbers"),
        ({"scheme": "wflw98"}, "scheme 'wflw98' is not one of"),
        ({"scheme": "ibug51"}, r"wanted \(51, 3\)"),
        ({"points": np.arange(68)[::-1]}, "rising"),
        ({"points": np.arange(51)}, r"wanted \(51, 3\)"),
        ({"pdm": np.zeros((5, 34))}, "pdm has shape"),
    ],
)
def test_what_is_wrong_is_refused_in_words(change: dict, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        make_model(**{**arrays(), **change})


def test_a_model_file_comes_back_and_has_one_hash(tmp_path: Path) -> None:
    first, second = tmp_path / "a.npz", tmp_path / "b.npz"
    save_model(MODEL, first)
    save_model(load_model(first), second)
    assert first.read_bytes() == second.read_bytes()
    again = load_model(first)
    assert again.sha256 == hashlib.sha256(first.read_bytes()).hexdigest()
    assert again.expression_names == MODEL.expression_names
    assert np.array_equal(again.expression, MODEL.expression)


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "broken.npz"
    path.write_bytes(b"no zip at all")
    with pytest.raises(ModelError, match=r"broken\.npz is not a face model"):
        load_model(path)
    np.savez(path, neutral=MODEL.mean)
    with pytest.raises(ModelError, match=r"broken\.npz: it lacks identity, expression"):
        load_model(path)
    np.savez(path, neutral=np.array([{}], dtype=object))
    with pytest.raises(ModelError, match="not a face model"):  # it would have to be unpickled
        load_model(path)


def test_the_registry_has_what_the_config_may_name() -> None:
    assert load("builtin").sha256 == MODEL.sha256
    allowed = schema()["properties"]["fit"]["properties"]["model"]["enum"]
    assert list(FACE_MODELS) == allowed
    comment = (SCHEMA.parent / "config.yaml").read_text().split("model: builtin")[1].split("(")[0]
    assert [name.strip(" #") for name in comment.split("|")] == allowed


def test_the_registered_file_is_this_one() -> None:
    row = model("facemake_face_model_1")
    assert row.sha256 == MODEL.sha256
    assert row.bytes == builtin.PATH.stat().st_size


def test_the_committed_file_is_what_the_code_makes_of_its_mean() -> None:
    made = builtin.assemble(MODEL.mean)
    assert made.expression_names == MODEL.expression_names
    assert made.identity_names == MODEL.identity_names
    assert np.allclose(made.expression, MODEL.expression, atol=1e-4)
    free = np.array([name.startswith(FREE) for name in MODEL.identity_names])
    assert np.allclose(made.identity[~free], MODEL.identity[~free], atol=1e-4)
    # Modes that are equally strong may come out in any mixture: what they span together is fixed.
    spread = [np.einsum("kia,kjb->iajb", m.identity[free], m.identity[free]) for m in (made, MODEL)]
    assert np.abs(spread[0] - spread[1]).max() < 0.02 * np.abs(spread[1]).max()
    assert MODEL.pdm is not None
    derived = pdm.derive_pdm(replace(made, pdm=None))
    overlap = np.abs((derived * MODEL.pdm).sum(axis=0))
    assert np.median(overlap) > 0.99
    text = builtin.PATH.with_suffix(".md").read_text()
    assert MODEL.sha256 in text
    assert all(name in text for name in MODEL.expression_names)
    assert all(n in text for n in MODEL.identity_names if not n.startswith(FREE))
    assert builtin.PATH.stat().st_size < 100_000


def test_the_mean_face_is_a_face() -> None:
    m = MODEL.mean
    assert np.linalg.norm(m[45] - m[36]) == pytest.approx(89, abs=0.1)
    assert m[30] == pytest.approx([0, m[30, 1], -41], abs=1e-3)
    assert abs(m[17:, 1].mean()) < 1e-3
    mirrored = m[schemes.MIRROR_IBUG68] * [-1, 1, 1]
    assert np.abs(m - mirrored).max() < 1e-3
    heights = [m[i, 1] for i in (19, 37, 41, 30, 33, 51, 62, 66, 57, 8)]
    assert heights == sorted(heights), "brow, lids, nose, lips and chin stand in order"
    nose, wing, corner, eye, ear = (m[i, 2] for i in (30, 31, 48, 36, 0))
    assert nose < wing < corner < eye < ear, "depth rises from the nose tip to the ear"
    assert 38 < eye - nose < 50


def test_each_expression_moves_one_region_and_its_mirror_image_the_other_side() -> None:
    fields = {f.name: f for f in expression_fields(MODEL.mean)}
    assert set(MODEL.expression_names) == set(fields)
    for i, name in enumerate(MODEL.expression_names):
        moved = np.flatnonzero(np.abs(MODEL.expression[i]).max(axis=1) > 1e-6)
        assert len(moved), name
        assert set(moved) <= set(REGION_POINTS[MODEL.expression_regions[i]].tolist()), name
        assert np.abs(MODEL.expression[i]).max() > 2, f"{name} moves less than 2 mm"
        if match := re.fullmatch(r"(.*)_l", name):
            other = MODEL.expression[MODEL.expression_names.index(f"{match[1]}_r")]
            assert np.allclose(
                MODEL.expression[i], other[schemes.MIRROR_IBUG68] * [-1, 1, 1], atol=1e-6
            )
            middle = MODEL.mean[moved, 0] * np.abs(MODEL.expression[i][moved]).max(axis=1)
            assert middle.mean() <= 0 or "shift" in name, f"{name} is on the image's left"


@pytest.mark.parametrize(
    ("name", "point", "axis", "sign"),
    [
        ("brow_inner_raise_l", 21, 1, -1),
        ("brow_outer_raise_r", 25, 1, -1),
        ("brow_lower_l", 20, 1, 1),
        ("eye_close_l", 37, 1, 1),
        ("eye_widen_r", 43, 1, -1),
        ("eye_tighten_l", 40, 1, -1),
        ("nose_wrinkle_l", 31, 1, -1),
        ("lip_corner_pull_l", 48, 0, -1),
        ("lip_corner_pull_l", 48, 1, -1),
        ("lip_corner_depress_r", 54, 1, 1),
        ("lip_stretch_r", 54, 0, 1),
        ("jaw_open", 8, 1, 1),
        ("jaw_open", 66, 1, 1),
        ("lips_pucker", 48, 0, 1),
        ("lips_funnel", 51, 2, -1),
        ("upper_lip_raise_l", 50, 1, -1),
        ("chin_raise", 57, 1, -1),
        ("mouth_shift_l", 51, 0, -1),
    ],
)
def test_movements_go_where_their_names_say(name: str, point: int, axis: int, sign: int) -> None:
    shape = MODEL.expression[MODEL.expression_names.index(name)]
    assert sign * shape[point, axis] > 1.5


def test_lids_meet_and_never_cross() -> None:
    for name, opening in (("eye_close", 0.0), ("eye_tighten", 0.2), ("eye_cheek_raise", 0.2)):
        for side, lids in (("l", ((37, 41), (38, 40))), ("r", ((43, 47), (44, 46)))):
            shape = MODEL.mean + MODEL.expression[MODEL.expression_names.index(f"{name}_{side}")]
            for upper, lower in lids:
                gap = shape[lower, 1] - shape[upper, 1]
                rest = MODEL.mean[lower, 1] - MODEL.mean[upper, 1]
                assert gap >= opening * rest - 1e-3
                if name == "eye_close":
                    assert gap < 0.01 * rest


def test_the_pdm_is_orthonormal_and_spans_the_model() -> None:
    phi = MODEL.pdm
    assert phi is not None and phi.shape == (204, 34)
    assert np.allclose(phi.T @ phi, np.eye(34), atol=1e-5)
    smile = MODEL.expression[MODEL.expression_names.index("lip_corner_pull_l")]
    flat = smile.T.ravel()  # all x, all y, all z
    assert np.linalg.norm(phi @ (phi.T @ flat) - flat) < 0.2 * np.linalg.norm(flat)


def test_a_model_of_few_modes_gets_a_padded_pdm() -> None:
    small: LinearFaceModel = replace(
        MODEL,
        identity=MODEL.identity[:3],
        identity_sd=MODEL.identity_sd[:3],
        identity_names=MODEL.identity_names[:3],
        expression=MODEL.expression[:2],
        expression_sd=MODEL.expression_sd[:2],
        expression_lower=MODEL.expression_lower[:2],
        expression_upper=MODEL.expression_upper[:2],
        expression_names=MODEL.expression_names[:2],
        expression_regions=MODEL.expression_regions[:2],
        pdm=None,
    )
    phi = pdm.derive_pdm(small)
    assert phi.shape == (204, 34)
    assert np.allclose(np.linalg.norm(phi, axis=0), [1] * 5 + [0] * 29)


def test_the_bootstrap_finds_a_known_face_through_pose_scale_and_smiles() -> None:
    rng = np.random.default_rng(5)
    smile = sum(
        MODEL.expression[MODEL.expression_names.index(n)]
        for n in ("lip_corner_pull_l", "lip_corner_pull_r", "jaw_open")
    )
    people = []
    for i in range(6):
        shape = MODEL.mean + (0.6 * smile if i % 2 else 0)
        turn = rotation_from_euler(np.deg2rad(rng.uniform(-8, 8, 3)))
        points = 1.7 * shape @ turn.T + rng.normal(size=3) * 50
        people.append(Person(str(i), points[None] + rng.normal(scale=0.2, size=(1, 68, 3))))
    found = mean_face(people)
    error = np.linalg.norm(found - MODEL.mean, axis=1)[17:]
    assert error.mean() < 1.0
    assert error.max() < 3.0
    with pytest.raises(ValueError, match="closed"):
        mean_face(people[1::2])


def test_ict_is_a_model_like_any_other(shared: Path) -> None:
    model = ict(shared)
    assert not model.localized
    assert model.mean[30, 2] == pytest.approx(-41)
    assert np.abs(model.mean - MODEL.mean)[17:].max() < 10, "two heads in one frame of reference"
