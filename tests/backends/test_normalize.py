"""Coefficients in units of their noise, and the noise as it was measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from facemake import models, recipes, settings
from facemake.backends.fit import builtin, measure_noise
from facemake.backends.fit.normalize import (
    PATH,
    NoiseStatistics,
    load_noise,
    normalize,
    shipped_noise,
)
from facemake.errors import ModelError
from facemake.provenance import file_sha256

MODEL = builtin.load_builtin()


def noise(m: float, w: float, sigma: float) -> NoiseStatistics:
    return NoiseStatistics(
        ("x",), np.array([m]), np.array([w]), np.array([sigma]), "some model", "0" * 64
    )


@pytest.mark.parametrize(
    ("value", "k", "z"),
    [
        (0.5, 1.0, 0.0),  # the middle
        (0.7, 1.0, 0.0),  # the upper end of the band
        (0.3, 1.0, 0.0),  # the lower end
        (0.8, 1.0, 2.0),  # 0.1 above it, sigma 0.05
        (0.2, 1.0, 2.0),  # as far below: unsigned
        (0.8, 2.0, 0.0),  # within twice the half-width
        (1.0, 2.0, 2.0),
        (0.5, 0.0, 0.0),  # no band: distance to the middle
        (0.6, 0.0, 2.0),
        (np.nan, 1.0, np.nan),
    ],
)
def test_the_formula(value: float, k: float, z: float) -> None:
    found = normalize([[value]], noise(0.5, 0.2, 0.05), k)
    assert found[0, 0] == pytest.approx(z, abs=1e-9, nan_ok=True)


def test_other_numbers_of_coefficients_and_negative_k_are_refused() -> None:
    with pytest.raises(ValueError, match="known of 1 coefficients"):
        normalize([[1.0, 2.0]], noise(0, 1, 1))
    with pytest.raises(ValueError, match="k is -1"):
        normalize([[1.0]], noise(0, 1, 1), k=-1)


def test_the_shipped_noise_is_of_the_shipped_model() -> None:
    """Where this fails: python -m facemake.backends.fit.measure_noise."""
    shipped = shipped_noise()
    assert shipped.names == MODEL.expression_names
    assert shipped.model == MODEL.name
    assert shipped.model_sha256 == MODEL.sha256
    described = PATH.with_suffix(".md").read_text(encoding="utf-8")
    assert MODEL.sha256 in described
    assert all(f"| {name} | " in described for name in shipped.names)
    assert (np.abs(shipped.m) < shipped.w).all(), "a face at rest is within the band"
    assert shipped.w.max() < 0.6 and shipped.sigma.max() < 0.5


def test_a_file_comes_back_as_it_was(tmp_path: Path) -> None:
    shipped = shipped_noise()
    shipped.save(tmp_path / "n.csv")
    assert (tmp_path / "n.csv").read_bytes() == PATH.read_bytes()
    some = load_noise(tmp_path / "n.csv").of(("jaw_open", "brow_lower_l"))
    assert some.names == ("jaw_open", "brow_lower_l")
    assert some.w[1] == shipped.w[shipped.names.index("brow_lower_l")]
    with pytest.raises(ModelError, match="noise of tail_wag was not measured"):
        shipped.of(("tail_wag",))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("coefficient,m,w,sigma\nx,0,1,1\n", "does not name a model"),
        ("# model,a,b\nname,m,w\nx,0,1\n", "no table"),
        ("# model,a,b\ncoefficient,m,w,sigma\nx,0,zero,1\n", "zero"),
        ("# model,a,b\ncoefficient,m,w,sigma\nx,0,0,1\n", "w of the expressions' noise"),
        ("# model,a,b\ncoefficient,m,w,sigma\nx,nan,1,1\n", "m of the expressions' noise"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "n.csv"
    path.write_text(text)
    with pytest.raises(ModelError, match=message):
        load_noise(path)


def test_the_noise_is_in_the_recipe_where_it_is_used() -> None:
    def models(**wanted: object) -> list[str]:
        config = settings.filled({"expressions": wanted})
        return [m["name"] for m in recipes.recipe("expressions", config).models]

    assert models() == ["facemake_face_model_1"]
    assert models(normalize=True) == ["facemake_face_model_1", "facemake_expression_noise_1"]
    plain, other = (
        recipes.recipe("expressions", settings.filled({"expressions": {"k": k}})).settings
        for k in (1.0, 2.0)
    )
    assert plain == other, "without normalize, k makes no difference"


# ------------------------------------------------------------------------------- its measurement


def test_deviations_of_faces_and_sides_are_pooled() -> None:
    """A face's own neutral is taken away; the noise of both sides is one."""
    rng = np.random.default_rng(0)
    count = len(MODEL.expression_names)
    left = MODEL.expression_names.index("lip_stretch_l")
    right = MODEL.expression_names.index("lip_stretch_r")
    faces = [np.zeros((4000, count)) for _ in range(2)]
    for face, neutral in zip(faces, (0.2, 0.6), strict=True):
        face[:, left] = neutral + rng.normal(size=4000) * 0.1
        face[:, right] = rng.normal(size=4000) * 0.1
    found = measure_noise.summarise(faces, MODEL)
    for k in (left, right):
        assert found.m[k] == pytest.approx(0, abs=0.005)
        assert found.w[k] == pytest.approx(0.196, abs=0.01)
        assert found.sigma[k] == pytest.approx(0.1, abs=0.005)
    others = np.delete(np.arange(count), [left, right])
    assert (found.w[others] == measure_noise.FLOOR).all()
    assert (found.sigma[others] == measure_noise.FLOOR).all()


def test_it_can_be_measured_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A few views of the portraits: the file is like the one that ships."""
    output = tmp_path / "noise.csv"
    measure_noise.main(["--views", "3", "--output", str(output)])
    lines, shipped = (path.read_text(encoding="utf-8").splitlines() for path in (output, PATH))
    assert [line.split(",")[0] for line in lines] == [line.split(",")[0] for line in shipped]
    assert "2 faces, 6 views" in capsys.readouterr().out


def test_the_registry_is_told_of_new_statistics(tmp_path: Path) -> None:
    registry = tmp_path / "models.yaml"
    before = models.REGISTRY.read_text(encoding="utf-8")
    registry.write_text(before, encoding="utf-8")
    measure_noise.register(PATH, registry)
    assert registry.read_text(encoding="utf-8") == before
    other = tmp_path / "other.csv"
    other.write_bytes(b"other")
    measure_noise.register(other, registry)
    after = registry.read_text(encoding="utf-8").split("\n")
    assert sum(a != b for a, b in zip(before.split("\n"), after, strict=True)) == 2
    row = models.registry(registry)["facemake_expression_noise_1"]
    assert (row.sha256, row.bytes) == (file_sha256(other), 5)
    registry.write_text("x: {}\n", encoding="utf-8")
    with pytest.raises(ValueError, match="has no row facemake_expression_noise_1"):
        measure_noise.register(other, registry)


def test_the_views_are_the_same_each_time_and_fill_their_ranges() -> None:
    views, again = (list(measure_noise.views(60, 1)) for _ in range(2))
    assert all(np.array_equal(a.angles, b.angles) for a, b in zip(views, again, strict=True))
    turns = np.array([v.angles for v in views]) / measure_noise.TURN
    assert np.abs(turns).max() <= 1 and (turns.max(axis=0) > 0.9).all()
    eyes = [v.eyes for v in views]
    assert measure_noise.EYES_PX[0] <= min(eyes) < max(eyes) <= measure_noise.EYES_PX[1]


def test_a_view_has_the_face_where_it_says() -> None:
    """A flat picture of a dot and a line, moved and scaled; then turned on a tilted plane."""
    rgb = np.full((200, 300, 3), 20, np.uint8)
    rgb[95:106, 145:156] = 250
    still = measure_noise.Still(
        "dot", "", rgb, np.array([150.0, 100.0]), 100.0, np.zeros((200, 300))
    )
    view = measure_noise.View(np.zeros(3), 120.0, np.array([400.0, 220.0]), 0, 1, 1, 0, 95)
    at = centre_of_light(measure_noise.render(still, view, np.random.default_rng(0)))
    assert at == pytest.approx([400, 220], abs=0.3)
    deeper = measure_noise.Still(
        "dot", "", rgb, np.array([100.0, 100.0]), 100.0, np.full((200, 300), 40.0)
    )
    turned = measure_noise.View(
        np.array([0.0, 0.3, 0.0]), 100.0, np.array([300.0, 200.0]), 0, 1, 1, 0, 95
    )
    at = centre_of_light(measure_noise.render(deeper, turned, np.random.default_rng(0)))
    wanted = 300 + np.cos(0.3) * 50 + np.sin(0.3) * 40
    assert at == pytest.approx([wanted, 200], abs=0.5)


def centre_of_light(rgb: np.ndarray) -> np.ndarray:
    light = np.clip(rgb[..., 1].astype(float) - 60, 0, None)
    y, x = np.mgrid[: rgb.shape[0], : rgb.shape[1]]
    return np.array([(light * x).sum(), (light * y).sum()]) / light.sum()


def test_depth_is_what_the_points_say_and_goes_on_smoothly() -> None:
    rng = np.random.default_rng(1)
    points = rng.uniform(40, 160, (80, 2))
    depth = 0.2 * points[:, 0] - 0.1 * points[:, 1]
    field = measure_noise.depth_field(points, depth, (200, 200))
    x, y = np.meshgrid(np.arange(60, 140), np.arange(60, 140))
    assert np.abs(field[60:140, 60:140] - (0.2 * x - 0.1 * y)).max() < 0.5
    assert depth.min() - 1 < field.min() and field.max() < depth.max() + 1
