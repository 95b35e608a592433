"""3DI's tables of noise: where they are found, how they are read, what is made of them."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from facemake.backends.threedi import Engine
from facemake.errors import FacemakeError
from facemake.processors.normalize import FILES, Noise, NoiseError, find_table, read_table

RNG = np.random.default_rng(3)
SIGMA = np.linspace(400, 0.1, 79)


def write(path: Path, *columns: np.ndarray, header: str = "") -> Path:
    np.savetxt(path, np.stack(columns, axis=1), delimiter=",", header=header, comments="")
    return path


def ends_like_bitboxs() -> tuple[np.ndarray, np.ndarray]:
    """Ends as of today's tables: most bands hold 0, some do not, either end may be the wider."""
    low = -SIGMA * RNG.uniform(0.5, 2.5, 79)
    high = SIGMA * RNG.uniform(0.5, 2.5, 79)
    low[[7, 13]] = [0.8, 6.3]
    return low, high


def test_ends_of_bands(tmp_path: Path):
    low, high = ends_like_bitboxs()
    found = read_table(write(tmp_path / "t.csv", low, high, SIGMA))
    np.testing.assert_allclose(found.m, (low + high) / 2)
    np.testing.assert_allclose(found.w, (high - low) / 2)
    np.testing.assert_allclose(found.sigma, SIGMA)


def test_ends_with_a_band_below_zero(tmp_path: Path):
    low, high = ends_like_bitboxs()
    high[21] = -0.5 * SIGMA[21] * 0.5
    found = read_table(write(tmp_path / "t.csv", low, high, SIGMA))
    np.testing.assert_allclose(found.m, (low + high) / 2)


def test_middle_and_half_width(tmp_path: Path):
    m, w = RNG.normal(0, 0.3, 79) * SIGMA, 1.5 * SIGMA
    found = read_table(write(tmp_path / "t.csv", m, w, SIGMA))
    np.testing.assert_allclose(found.m, m)
    np.testing.assert_allclose(found.w, w)


def test_middles_that_are_larger_than_their_width(tmp_path: Path):
    m, w = np.full(79, 5.0), np.full(79, 2.0)
    np.testing.assert_allclose(read_table(write(tmp_path / "t.csv", m, w, SIGMA)).m, m)


def test_bands_around_zero_either_way(tmp_path: Path):
    zero, one = np.zeros(79), np.ones(79)
    as_widths = read_table(write(tmp_path / "w.csv", zero, one, SIGMA))
    as_ends = read_table(write(tmp_path / "e.csv", -one, one, SIGMA))
    for found in (as_widths, as_ends):
        np.testing.assert_array_equal(found.m, 0)
        np.testing.assert_array_equal(found.w, 1)


def test_what_cannot_be_told_asks_for_a_header_and_takes_it(tmp_path: Path):
    columns = np.full(79, -0.5), np.full(79, 1.0), SIGMA
    with pytest.raises(NoiseError, match="give it a first line that says which"):
        read_table(write(tmp_path / "t.csv", *columns))
    found = read_table(write(tmp_path / "t.csv", *columns, header="m,w,sigma"))
    np.testing.assert_array_equal(found.w, 1.0)
    found = read_table(write(tmp_path / "t.csv", *columns, header="# L,U,sigma"))
    np.testing.assert_array_equal(found.w, 0.75)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t[:78], "has not 79 rows"),
        (lambda t: t[:, :2], "has not 79 rows"),
        (lambda t: t * [1, 1, 0], "sigma, is not above 0"),
        (lambda t: np.where(np.arange(79)[:, None] == 4, np.nan, t), "not finite"),
        (lambda t: t * [-1, -1, 1], "neither ends nor"),
    ],
)
def test_what_is_no_table(tmp_path: Path, change, said: str):
    table = change(np.stack([*ends_like_bitboxs(), SIGMA], axis=1))
    np.savetxt(tmp_path / "t.csv", table, delimiter=",")
    with pytest.raises(NoiseError, match=said) as error:
        read_table(tmp_path / "t.csv")
    assert "t.csv" in str(error.value)


def test_what_is_no_text_or_no_numbers(tmp_path: Path):
    (tmp_path / "a.csv").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "b.csv").write_text("1,2,x\n" * 79)
    (tmp_path / "c.csv").write_text("mean,width,sigma\n" + "1,2,3\n" * 79)
    for name in ("a", "b", "c", "missing"):
        with pytest.raises(NoiseError, match=f"{name}.csv"):
            read_table(tmp_path / f"{name}.csv")


def test_the_rule():
    noise = Noise(m=np.full(79, 10.0), w=np.full(79, 4.0), sigma=np.full(79, 2.0))
    values = np.zeros((1, 79))
    values[0, :9] = [10, 6, 14, 5, 15, 0, 20, np.nan, 13.9]
    z = noise.normalize(values)
    assert z[0, :7].tolist() == [0, 0, 0, 0.5, 0.5, 3, 3]
    assert np.isnan(z[0, 7]) and z[0, 8] == 0
    # a wider band, none at all
    assert noise.normalize(values, 2)[0, 5:7].tolist() == [1, 1]
    assert noise.normalize(values, 0)[0, :3].tolist() == [0, 2, 2]
    for bad in (-1, float("nan")):
        with pytest.raises(ValueError, match="must not be negative"):
            noise.normalize(values, bad)
    with pytest.raises(ValueError, match="79 coefficients"):
        noise.normalize(values[:, :5])


def test_where_it_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    name = FILES[Engine.LITE]
    assert name == "expression_noise_signal_stats_3DIl.csv"
    places = {where: tmp_path / where for where in ("named", "env", "site/bitbox/data", "install")}
    for folder in places.values():
        folder.mkdir(parents=True)
        (folder / name).write_text("")
    # a package that must not be imported for it
    (tmp_path / "site/bitbox/__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setenv("FACEMAKE_3DI_NOISE", str(places["env"]))
    arguments = Engine.LITE, places["named"], places["install"]
    assert find_table(*arguments).parent == places["named"]
    assert find_table(Engine.LITE, places["named"] / name).parent == places["named"]
    assert find_table(Engine.LITE).parent == places["env"]
    monkeypatch.setenv("FACEMAKE_3DI_NOISE", str(places["env"] / name))
    assert find_table(Engine.LITE).parent == places["env"]
    monkeypatch.delenv("FACEMAKE_3DI_NOISE")
    assert find_table(Engine.LITE, None, places["install"]).parent == places["site/bitbox/data"]
    assert "bitbox" not in sys.modules
    (places["site/bitbox/data"] / name).unlink()
    assert find_table(Engine.LITE, None, places["install"]).parent == places["install"]
    (places["install"] / name).unlink()
    with pytest.raises(FacemakeError, match=r"FACEMAKE_3DI_NOISE .*normalize=False"):
        find_table(Engine.LITE, None, places["install"])
    with pytest.raises(NoiseError, match="there is no such file"):
        find_table(Engine.LITE, tmp_path / "nowhere.csv")


def test_no_table_comes_with_the_package():
    from facemake.provenance import LIBRARY

    assert not list(LIBRARY.rglob("*noise_signal*"))
