"""Files of face models: what is wrong with one is said, the surface and points among it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from facemake import schemes
from facemake.backends.fit import archive, sources
from facemake.backends.fit.modelfile import load_mesh, load_model
from facemake.backends.fit.pdm import derive_pdm
from facemake.backends.fit.sources import bfm2009
from facemake.errors import ModelError
from makesources import bfm, bfm_raw, mat


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> archive.Content:
    """Of a Basel model of few vertices."""
    model = bfm()
    monkeypatch.setattr(bfm2009, "_read_mat", lambda path: mat(model))
    read = bfm2009.read(bfm_raw(tmp_path / "raw", model), len(model.ids), model.landmarks)
    return sources.complete(read, "raw")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"landmarks_ibug51": np.arange(50)}, r"landmarks_ibug51 has shape \(50,\)"),
        ({"landmarks_ibug51": np.arange(51.0)}, "whole numbers"),
        ({"landmarks_ibug51": np.arange(51) - 1}, "vertices that are not there"),
        ({"landmarks_ibug51": np.arange(51) + 470}, "vertices that are not there"),
        ({"landmarks_ibug51": None}, "does not say which of them are landmarks"),
        ({"neutral": np.zeros((500, 2))}, r"neutral has shape \(500, 2\), wanted \(500, 3\)"),
        ({"neutral": np.float64(3)}, "neutral has shape"),
        ({"identity": np.zeros((199, 499, 3))}, r"identity has shape \(199, 499, 3\)"),
        ({"expression": np.zeros((79, 500, 3), int)}, "expression is of type int"),
        ({"unit": np.array("cm")}, "between the outer eye corners"),
        ({"axes": np.array("x-right y-down z-forward")}, "upside down"),
        ({"licence": None}, "lacks licence; `facemake models build`"),
        (
            {"pdm": np.zeros((204, 34))},
            r"pdm has shape \(204, 34\), wanted \(3L, modes\), 3L = 153",
        ),
        ({"pdm": np.full((153, 34), np.nan)}, "pdm holds values that are not finite"),
        ({"expr_names": np.array(["GE0"])}, "expression_names has not one name for each of 79"),
    ],
)
def test_a_wrong_model_file_is_named_with_what_is_wrong(
    small: archive.Content, tmp_path: Path, change: dict, message: str
) -> None:
    content = {k: v for k, v in {**small, **change}.items() if v is not None}
    path = tmp_path / "wrong.npz"
    archive.write({k: np.asarray(v) for k, v in content.items()}, path)
    with pytest.raises(ModelError, match=message) as caught:
        load_model(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"triangles": np.array([[0, 1, 500]], np.int32)}, "0 to 499"),
        ({"triangles": np.array([[0, 1]], np.int32)}, r"shape \(1, 2\)"),
        ({"neutral": "nan"}, "not finite"),
    ],
)
def test_a_wrong_surface_is_refused(
    small: archive.Content, tmp_path: Path, change: dict, message: str
) -> None:
    path = tmp_path / "wrong.npz"
    if "neutral" in change:
        outside = next(i for i in range(500) if i not in small["landmarks_ibug51"])
        change = {"neutral": small["neutral"].copy()}
        change["neutral"][outside] = np.nan
    archive.write({**small, **change}, path)
    load_model(path)  # the fit does not look at the surface
    with pytest.raises(ModelError, match=message):
        load_mesh(path)


def test_a_cut_or_damaged_archive_is_named(small: archive.Content, tmp_path: Path) -> None:
    path = tmp_path / "cut.npz"
    archive.write(small, path)
    data = path.read_bytes()
    middle = len(data) // 2
    for damaged in (data[:middle], data[:10], data[:middle] + b"\0" * 40 + data[middle + 40 :]):
        path.write_bytes(damaged)
        with pytest.raises(ModelError, match=r"cut\.npz is not a face model file"):
            load_model(path)
    with path.open("wb") as handle:
        np.save(handle, np.zeros(3))
    with pytest.raises(ModelError, match="holds a single array"):
        load_model(path)


def test_points_of_mediapipe_that_the_mesh_lacks_are_left_out(
    small: archive.Content, tmp_path: Path
) -> None:
    vertices = np.full(478, -1, np.int32)
    wanted = schemes.subset("mediapipe478", "ibug51")
    vertices[wanted] = small["landmarks_ibug51"]
    path = tmp_path / "m.npz"
    archive.write({**small, "landmarks_mediapipe478": vertices}, path)
    assert load_model(path).scheme == "ibug51", "the default"
    model = load_model(path, "mediapipe478")
    assert model.points is not None
    assert model.n_points == len(np.unique(wanted)) and (np.diff(model.points) > 0).all()
    assert np.array_equal(model.mean[model.inner], load_model(path).mean)
    assert derive_pdm(model).shape == (3 * model.n_points, 34)
    with pytest.raises(ModelError, match="does not have all points of ibug68"):
        load_model(path, "ibug68")
    vertices[wanted[5]] = -1
    archive.write({**small, "landmarks_mediapipe478": vertices}, path)
    with pytest.raises(ModelError, match="do not hold all 51 of iBUG-51"):
        load_model(path, "mediapipe478")
