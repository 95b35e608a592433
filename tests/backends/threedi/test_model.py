"""What an install says of its face model, against the numbers of the stand-in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from facemake.backends.threedi import Engine, Options, model, rawfiles
from facemake.backends.threedi.install import find_install
from facemake.backends.threedi.model import InstallModel, learn, load
from facemake.backends.threedi.runtimes import Call, Ended, RunError, TimeLimitError, runtime
from facemake.errors import ModelError
from standin3di import programs as standin

FULL, LITE = Engine.FULL, Engine.LITE
MEAN = np.array(standin.MEAN)
EXPRESSION = np.array([standin.deformation(row) for row in np.eye(79)])


@pytest.fixture(scope="module")
def learnt(
    installs: dict[Engine, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[Engine, InstallModel]:
    found = {}
    for engine in Engine:
        install = find_install(engine, installs[engine], {})
        folder = tmp_path_factory.mktemp("ask")
        found[engine] = learn(runtime(install), install, Options(engine=engine), folder, 30)
    return found


def test_the_mean_face(learnt: dict[Engine, InstallModel]) -> None:
    # of 3DI from its mesh, with all decimals; of 3DI-lite from landmarks with four
    assert np.array_equal(learnt[FULL].mean, MEAN)
    assert np.abs(learnt[LITE].mean - MEAN).max() <= 5e-5
    assert learnt[FULL].vertices.tolist() == standin.landmark_vertices(19830)
    assert learnt[LITE].vertices.tolist() == []


@pytest.mark.parametrize("engine", Engine)
def test_expressions(learnt: dict[Engine, InstallModel], engine: Engine) -> None:
    found = learnt[engine].expression
    assert found.shape == (79, 51, 3)
    # four decimals of a mm, of 1e5 of a coefficient, twice
    assert np.abs(found - EXPRESSION).max() < 1.1e-9
    # of a face that moves a lot: a thousandth of a mm
    e = np.random.default_rng(0).normal(0, 1000, (20, 79))
    wanted = MEAN + np.array([standin.deformation(row) for row in e])
    assert np.abs(learnt[engine].shapes(e) - wanted).max() < 1e-4


def test_canonical_landmarks_are_those_of_the_program(
    learnt: dict[Engine, InstallModel], installs: dict[Engine, Path], tmp_path: Path
) -> None:
    e = np.random.default_rng(1).normal(0, 300, (7, 79))
    install = find_install(FULL, installs[FULL], {})
    rawfiles.write(tmp_path / "e", e)
    name = "scripts/produce_canonicalized_3Dlandmarks.py"
    words = [str(tmp_path / "e"), str(tmp_path / "out"), "BFMmm-19830"]
    assert runtime(install).run(Call(name, words, tmp_path)).code == 0
    told = rawfiles.read(tmp_path / "out", "landmarks_canonicalized", FULL)
    found = learnt[FULL].canonical(e)
    assert found.shape == (7, 153) and np.abs(found - told).max() < 1e-4
    assert (found[:, 1::3] > 0).any() and found.reshape(7, 51, 3)[:, 13, 2].mean() < -35


def test_a_persons_face(learnt: dict[Engine, InstallModel]) -> None:
    neutral = MEAN * [1.1, 0.9, 1.0]
    e = np.zeros((2, 79))
    e[1, 0] = 500
    shapes = learnt[FULL].shapes(e, neutral)
    assert np.array_equal(shapes[0], neutral)
    assert np.allclose(shapes[1], neutral + 500 * EXPRESSION[0], atol=1e-6)


def test_a_row_by_itself_is_the_same_to_the_bit(learnt: dict[Engine, InstallModel]) -> None:
    e = np.random.default_rng(2).normal(0, 300, (50, 79))
    one = np.concatenate([learnt[FULL].shapes(e[i : i + 1]) for i in range(50)])
    assert np.array_equal(one, learnt[FULL].shapes(e))
    assert learnt[FULL].shapes(np.zeros((0, 79))).shape == (0, 51, 3)


@pytest.mark.parametrize("engine", Engine)
def test_it_is_kept(learnt: dict[Engine, InstallModel], engine: Engine, tmp_path: Path) -> None:
    learnt[engine].save(tmp_path / "a.npz")
    learnt[engine].save(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    found = load(tmp_path / "a.npz")
    for name in ("mean", "expression", "vertices"):
        assert np.array_equal(getattr(found, name), getattr(learnt[engine], name))


def test_a_file_that_is_something_else(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"no archive")
    with pytest.raises(ModelError, match=r"a\.npz"):
        load(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", mean=MEAN)
    with pytest.raises(ModelError, match=r"b\.npz has no 'expression': delete it and run again"):
        load(tmp_path / "b.npz")


def test_as_every_other_face_model(learnt: dict[Engine, InstallModel]) -> None:
    found = learnt[FULL].as_face_model("3DI's")
    assert found.n_points == 51 and len(found.expression) == 79
    assert found.expression_names[0] == "GE0" and found.expression_names[-1] == "GE78"
    away = np.asarray(found.mean) - MEAN  # where the origin lies is its own matter
    assert np.ptp(away, axis=0).max() < 1e-9


# --- installs that lie ---------------------------------------------------------------------------


class Liar:
    """A runtime that stands in for one, whose programs answer as they are told to."""

    def __init__(
        self,
        canonical: Callable[[np.ndarray], np.ndarray] = lambda rows: rows,
        mesh: Callable[[np.ndarray], np.ndarray] = lambda rows: rows,
    ) -> None:
        self._canonical, self._mesh = canonical, mesh

    def run(self, call: Call) -> Ended:
        suffix = ".3DI" if call.executable.startswith("scripts/") else ".3DIl"
        if "canonical" in call.executable:
            e = np.loadtxt(call.output / f"ask_expression_smooth{suffix}")
            faces = (MEAN + np.einsum("nk,kij->nij", e, EXPRESSION)) * [1, -1, 1]
            rows = self._canonical(faces.reshape(len(e), -1))
            np.savetxt(call.output / f"ask_landmarks_canonicalized{suffix}", rows, fmt="%.4f")
        else:
            mesh = self._mesh(np.array(standin.mean_mesh(19830)))
            np.savetxt(call.output / f"ask_shape{suffix}", mesh)
            np.savetxt(call.output / f"ask_texture{suffix}", np.ones(len(mesh)))
        return Ended([call.executable], 0, ["a liar"])

    def identity(self) -> str:
        return "0" * 64


def ask(engine: Engine, liar: Liar, installs: dict[Engine, Path], folder: Path) -> InstallModel:
    install = find_install(engine, installs[engine], {})
    return learn(liar, install, Options(engine=engine), folder)


def test_one_that_tells_the_truth(installs: dict[Engine, Path], tmp_path: Path) -> None:
    found = ask(FULL, Liar(), installs, tmp_path)
    assert np.array_equal(found.mean, MEAN) and np.abs(found.expression - EXPRESSION).max() < 2e-9


def test_a_mesh_without_the_landmarks(installs: dict[Engine, Path], tmp_path: Path) -> None:
    """Programs of one install that use different face models."""

    def moved(mesh: np.ndarray) -> np.ndarray:
        mesh = mesh.copy()
        mesh[standin.landmark_vertices(19830)[7]] += [0, 0.004, 0]
        return mesh

    with pytest.raises(ModelError, match=r"differ by 0\.004 mm.*different face models") as error:
        ask(FULL, Liar(mesh=moved), installs, tmp_path)
    assert "prepare_BFM.py" in str(error.value) and str(installs[FULL]) in str(error.value)
    with pytest.raises(RunError, match="has 19829 rows, wanted 19830"):
        ask(FULL, Liar(mesh=lambda mesh: mesh[1:]), installs, tmp_path)


def broken(row: int, column: int, value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(rows: np.ndarray) -> np.ndarray:
        rows = rows.copy()
        rows[row, column if column >= 0 else slice(None)] = value
        return rows

    return change


@pytest.mark.parametrize("engine", Engine)
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("column", [5, -1], ids=["one number", "a row"])
def test_numbers_that_are_none(
    engine: Engine, value: float, column: int, installs: dict[Engine, Path], tmp_path: Path
) -> None:
    """Of 3DI-lite a row of NaN is a frame without a fit elsewhere; here it is no answer."""
    with pytest.raises((ModelError, RunError), match=r"finite number|numbers that are none"):
        ask(engine, Liar(broken(3, column, value)), installs, tmp_path)


@pytest.mark.parametrize("engine", Engine)
def test_answers_to_other_questions(
    engine: Engine, installs: dict[Engine, Path], tmp_path: Path
) -> None:
    for lie in (
        lambda rows: rows[:-1],
        lambda rows: np.vstack([rows, rows[:1]]),
        lambda rows: rows[:9],
    ):
        with pytest.raises(RunError, match="rows, "):
            ask(engine, Liar(lie), installs, tmp_path)
    with pytest.raises(ModelError, match="the same whatever the expression"):
        ask(engine, Liar(lambda rows: np.repeat(rows[:1], 80, axis=0)), installs, tmp_path)


def test_an_old_answer_is_none(
    learnt: dict[Engine, InstallModel],
    installs: dict[Engine, Path],
    playing: Callable[..., None],
    tmp_path: Path,
) -> None:
    install = find_install(LITE, installs[LITE], {})
    options = Options(engine=LITE)
    learn(runtime(install), install, options, tmp_path)
    playing(**{"produce_canonicalized_3Dlandmarks.py": "nothing"})
    with pytest.raises(RunError, match=r"ask_landmarks_canonicalized\.3DIl is missing"):
        learn(runtime(install), install, options, tmp_path)
    playing(**{"produce_canonicalized_3Dlandmarks.py": "exit"})
    with pytest.raises(RunError, match="ended with exit code 1"):
        learn(runtime(install), install, options, tmp_path)
    playing(**{"produce_canonicalized_3Dlandmarks.py": "sleep"})
    with pytest.raises(TimeLimitError):
        learn(runtime(install), install, options, tmp_path, limit=0.5)


def test_another_face_model(installs: dict[Engine, Path], tmp_path: Path) -> None:
    install = find_install(FULL, installs[FULL], {})
    options = Options(engine=FULL, morphable_model="BFMmm-23660")
    with pytest.raises(RunError, match="it lacks its face model"):
        learn(runtime(install), install, options, tmp_path)


def test_the_question_is_small_enough_for_four_decimals() -> None:
    """A coefficient moves a point by micrometres: the answer must not lose them."""
    assert model._STEP * 1e-9 < 1e-3 < model._STEP * np.abs(EXPRESSION).max()
