"""3DI's localized basis: the user's own file as plain arrays, coded as scikit-learn codes it."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facemake import recipes, settings
from facemake.backends.fit import builtin
from facemake.backends.fit.dictionary import EXPORT, REGIONS, Dictionary, load_basis
from facemake.errors import ConfigError, ModelError

MODEL = builtin.load_builtin()
L32 = {"lb": 4, "rb": 4, "no": 4, "le": 4, "re": 4, "ul": 5, "ll": 7}
L50 = {"lb": 5, "rb": 5, "no": 3, "le": 7, "re": 7, "mo": 23}


def content(counts: dict[str, int], seed: int = 0, **params: Any) -> dict[str, Any]:
    """What EXPORT writes of a basis of unit rows."""
    rng = np.random.default_rng(seed)
    said = {
        "transform_algorithm": "lasso_cd",
        "transform_alpha": 0.4,
        "positive_code": False,
        "split_sign": False,
        **params,
    }
    found: dict[str, Any] = {"use_abs": True, "regions": list(counts)}
    for region, count in counts.items():
        rows = rng.normal(size=(count, 3 * len(REGIONS[region])))
        found[region] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        found[f"{region}_params"] = json.dumps(said)
    return found


def write(path: Path, arrays: dict[str, Any]) -> Path:
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize(
    ("counts", "names"),
    [
        (
            L32,
            "lb0 lb1 lb2 lb3 rb0 rb1 rb2 rb3 no0 no1 no2 no3 le0 le1 le2 le3 re0 re1 re2 re3 "
            "ul0 ul1 ul2 ul3 ul4 ll0 ll1 ll2 ll3 ll4 ll5 ll6",
        ),
        (
            L50,
            "lb0 lb1 lb2 lb3 lb4 rb0 rb1 rb2 rb3 rb4 no0 no1 no2 le0 le1 le2 le3 le4 le5 le6 "
            "re0 re1 re2 re3 re4 re5 re6 " + " ".join(f"mo{i}" for i in range(23)),
        ),
    ],
    ids=["3DI-L32", "3DIlite-L50"],
)
def test_columns_are_named_as_3dis(tmp_path: Path, counts: dict[str, int], names: str) -> None:
    basis = load_basis(write(tmp_path / "mine.npz", content(counts)))
    assert basis.names == tuple(names.split())
    assert basis.name == "mine" and "mine" in basis.unit
    found = basis.localize(np.zeros((3, len(MODEL.expression))), MODEL)
    assert found.shape == (3, len(basis.names)) and not found.any()


def test_the_code_is_the_minimum(tmp_path: Path) -> None:
    """Against the optimality conditions of the lasso, for codes of either sign and of one."""
    rng = np.random.default_rng(2)
    x = rng.normal(size=(16, 6, 3)) * 2
    flat = x.transpose(0, 2, 1).reshape(16, -1)
    for positive in (False, True):
        rows = content({"le": 4}, positive_code=positive)["le"]
        code = Dictionary("le", rows, 0.4, positive)(x)
        pull = (flat - code @ rows) @ rows.T
        assert np.abs(pull[code > 1e-9] - 0.4).max() < 1e-6
        if positive:
            assert code.min() >= 0 and pull[code == 0].max() <= 0.4 + 1e-6
        else:
            assert (code < -0.1).any()
            assert np.abs(pull[code < -1e-9] + 0.4).max() < 1e-6
            assert np.abs(pull[np.abs(code) < 1e-9]).max() <= 0.4 + 1e-6


def test_the_code_is_scikit_learns() -> None:
    """Numbers of DictionaryLearning.transform (scikit-learn 1.9.1, lasso_cd, alpha 0.4)."""
    rows = np.array(
        [
            [0.6, 0.0, 0.8, 0.0, 0.0, 0.0],
            [0.0, 1.0, 0.0, 0.0, 0.0, 0.0],
            [0.8, 0.0, 0.0, 0.6, 0.0, 0.0],
        ]
    )
    x = np.array([[2.0, -1.5, 1.0, 0.3, 0.2, -0.1], [0.3, 0.2, -0.2, 0.1, 0.0, 0.0]])
    wanted = {
        False: [[1.21829522, -1.1, 0.79521829], [0.0, 0.0, 0.0]],
        True: [[1.21829522, 0.0, 0.79521829], [0.0, 0.0, 0.0]],
    }
    padded = np.zeros((16, 6))
    padded[:2] = x
    for positive, code in wanted.items():
        # two "points" of three coordinates: all x, all y, all z
        found = Dictionary("lb", rows, 0.4, positive)(padded.reshape(16, 3, 2).transpose(0, 2, 1))
        assert np.abs(found[:2] - code).max() < 1e-6


def test_displacements_are_of_the_regions_points_x_then_y_then_z(tmp_path: Path) -> None:
    """A dictionary of one movement of our own finds that movement, and no other region sees it."""
    names = MODEL.expression_names
    raise_left = MODEL.expression[names.index("brow_outer_raise_l"), 17:]
    move = raise_left[REGIONS["lb"]].T.ravel()
    arrays = content({"lb": 1, "rb": 2}, transform_alpha=0.0)
    arrays["lb"] = (move / np.linalg.norm(move))[None]
    basis = load_basis(write(tmp_path / "b.npz", arrays))
    e = np.zeros((2, len(names)))
    e[0, names.index("brow_outer_raise_l")] = 0.5
    e[1] = np.nan
    found = basis.localize(e, MODEL)
    assert found[0] == pytest.approx([0.5 * np.linalg.norm(move), 0, 0])
    assert np.isnan(found[1]).all()


def test_batches_make_no_difference(tmp_path: Path) -> None:
    basis = load_basis(write(tmp_path / "b.npz", content(L50)))
    e = np.random.default_rng(1).uniform(0, 1, (37, len(MODEL.expression)))
    whole = basis.localize(e, MODEL)
    parts = [basis.localize(e[:1], MODEL), basis.localize(e[1:], MODEL)]
    assert np.array_equal(whole, np.concatenate(parts))


class _Spy:
    """Unpickling it would leave a trace."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.trace,))


def test_3dis_own_file_is_not_opened_and_the_message_says_what_to_run(tmp_path: Path) -> None:
    trace = tmp_path / "opened"
    path = tmp_path / "v.0.0.1.F591-cd-K32d.npy"
    np.save(path, {"lb": _Spy(trace)}, allow_pickle=True)
    with pytest.raises(ModelError) as caught:
        load_basis(path)
    text = str(caught.value)
    assert f"{EXPORT}{path} {path.with_suffix('.npz')}" in text
    assert "in the environment of your 3DI" in text
    inside = write(tmp_path / "b.npz", {**content(L32), "lb": np.array([_Spy(trace)])})
    with pytest.raises(ModelError, match="cannot be read as plain arrays"):
        load_basis(inside)
    raw = tmp_path / "c.npz"
    raw.write_bytes(pickle.dumps(_Spy(trace)))
    with pytest.raises(ModelError, match=r"no \.npz file"):
        load_basis(raw)
    assert not trace.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"use_abs": False}, "changes from frame to frame"),
        ({"use_abs": None}, "has no use_abs"),
        ({"regions": ["lb", "chin"]}, "regions lb, chin; there are lb, rb"),
        ({"regions": ["lb", "lb"]}, "at most once"),
        ({"lb": None}, "has no lb"),
        (
            {"lb": np.ones((4, 14))},
            r"lb has shape \(4, 14\) .* wanted floating point \(count, 15\)",
        ),
        ({"lb": np.ones((4, 15), int)}, "type int"),
        ({"lb": np.full((4, 15), np.nan)}, "not finite"),
        ({"lb": np.zeros((4, 15))}, "a row of zeros"),
        ({"lb_params": None}, "has no lb_params"),
        ({"lb_params": "lasso"}, "not a JSON object"),
        ({"lb_params": '{"transform_alpha": 0.4}'}, "lacks positive_code, split_sign"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    arrays = {**content(L32), **change}
    path = write(tmp_path / "b.npz", {k: v for k, v in arrays.items() if v is not None})
    with pytest.raises(ModelError, match=message):
        load_basis(path)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"transform_algorithm": "omp"}, "coded by 'omp'"),
        ({"transform_alpha": None}, "transform_alpha of lb is None"),
        ({"transform_alpha": -1.0}, "transform_alpha of lb is -1.0"),
        ({"split_sign": True}, "split_sign True"),
        ({"positive_code": 1}, "positive_code 1"),
    ],
)
def test_what_is_not_known_is_not_guessed(
    tmp_path: Path, params: dict[str, Any], message: str
) -> None:
    path = write(tmp_path / "b.npz", content(L32, **params))
    with pytest.raises(ModelError, match=message):
        load_basis(path)


def test_the_config_names_the_file_and_the_recipe_its_hash(tmp_path: Path) -> None:
    path = write(tmp_path / "b.npz", content(L32))
    config = settings.filled({"expressions": {"basis": str(path)}})
    settings.check(config)
    recipe = recipes.recipe("expressions", config)
    assert recipe.models[-1]["sha256"] == load_basis(path).sha256
    assert recipe.models[-1]["name"] == "3DI localized basis b"
    assert str(tmp_path) not in json.dumps(recipe.to_dict()), "no path in what tables carry"
    write(path, content(L32, seed=1))
    with pytest.raises(ModelError, match="has changed"):
        recipes.recipe("expressions", config)
    missing = settings.filled({"expressions": {"basis": "nowhere.npz"}})
    with pytest.raises(ConfigError, match=r"expressions\.basis is refused: .*nowhere\.npz"):
        settings.check(missing)


def test_a_face_of_another_model_will_do(tmp_path: Path) -> None:
    """Only displacements count: our movements under other names and halved."""
    basis = load_basis(write(tmp_path / "b.npz", content(L32)))
    half = replace(MODEL, expression=0.5 * MODEL.expression)
    e = np.random.default_rng(3).uniform(0, 1, (4, len(MODEL.expression)))
    assert np.allclose(basis.localize(e, MODEL), basis.localize(2 * e, half))
