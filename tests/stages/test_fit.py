"""The stages fit, expressions and aus on tables."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from facemake import schemes
from facemake.backends.aus import AU_COLUMNS
from facemake.backends.fit import builtin
from facemake.backends.fit.identity import MAX_FRAMES
from facemake.calibration import Calibration
from facemake.errors import FacemakeError, ModelError
from facemake.provenance import Recipe
from facemake.samples import Sample, shard_text
from facemake.stages.aus import aus
from facemake.stages.expressions import expressions
from facemake.stages.fit import _Candidates, fit
from facemake.tables import SCHEMAS, TableReader, TableWriter
from makefaces import CAMERA, SIZE, proportions, seen

MODEL = builtin.load_builtin()
NAMES = MODEL.expression_names
FOLDER = "pictures"  # its name says that its frames stand alone


def recipe(stage: str, settings: dict[str, Any]) -> Recipe:
    return Recipe(stage=stage, backend=None, settings=settings, models=(), code="0")


FIT = recipe("fit", {"model": "builtin", "fov": 30})


def movie(n: int, seed: int = 0) -> np.ndarray:
    """A person who turns, blinks and smiles: (n, 478, 2) FaceMesh points, NaN but for ours."""
    rng = np.random.default_rng(seed)
    t = np.arange(n) / 12
    angles = np.stack([8 * np.sin(t), 25 * np.sin(t / 3), 5 * np.cos(t)], axis=1)
    values = np.zeros((n, len(NAMES)))
    smile = np.clip(np.sin(t / 2), 0, 1)
    for side in "lr":
        values[:, NAMES.index(f"lip_corner_pull_{side}")] = smile
        values[:, NAMES.index(f"eye_close_{side}")] = (np.arange(n) % 30 < 3) * 0.9
    person = proportions(MODEL, rng, 0.7)
    points = seen(MODEL, angles, values, identity=person, noise=0.3, rng=rng).points
    full = np.zeros((n, 478, 2))
    full[:, schemes.MEDIAPIPE478_TO_IBUG68] = points
    return full


def write_inputs(
    folder: Path, samples: dict[str, list[tuple[int, np.ndarray | None, str]]], size: bool = True
) -> tuple[Path, Path, Path]:
    """Plan, probe and landmarks tables; a row is (track, points, status), a frame each."""
    folder.mkdir(parents=True, exist_ok=True)
    plan, probe, landmarks = (folder / n for n in ("s.tsv", "probe.parquet", "lm.parquet"))
    plan.write_text(shard_text(Sample(n, folder / n, n, sha256=n) for n in samples))
    if not size:
        for name, rows in samples.items():
            (folder / name).mkdir()
            for i in range(len(rows)):
                Image.new("L", SIZE).save(folder / name / f"{i}.png")
    detect = {"settings": {"track": {"image_folders": "pictures"}}}
    about = {"recipe": {"stage": "landmarks"}, "lineage": "x", "upstream": {"detect": detect}}
    with TableWriter(probe, SCHEMAS["probe"], about) as writer:
        for name, rows in samples.items():
            writer.append(
                sample=name,
                kind="images" if name == FOLDER else "video",
                width=SIZE[0] if size else None,
                height=SIZE[1] if size else None,
                rotation=0,
                n_frames=len(rows),
                status="ok" if rows else "unreadable",
                reason="",
            )
    with TableWriter(landmarks, SCHEMAS["landmarks"], about) as writer:
        for name, rows in samples.items():
            frames: dict[int, int] = {}
            for track, points, status in rows:
                frame = frames[track] = frames.get(track, -1) + 1
                writer.append(
                    sample=name,
                    frame=frame,
                    track=track,
                    time=frame / 25,
                    scheme="mediapipe478",
                    points=None if points is None else points.ravel().astype(np.float32),
                    confidence=None if points is None else 1.0,
                    status=status,
                )
    return plan, probe, landmarks


def run(folder: Path, inputs: tuple[Path, Path, Path]) -> dict[str, Path]:
    out = {n: folder / f"{n}.parquet" for n in ("fit", "identity", "expressions", "aus")}
    plan, probe, landmarks = inputs
    fit(plan, probe, landmarks, out["fit"], out["identity"], FIT)
    expressions(plan, out["fit"], out["expressions"], recipe("expressions", {"model": "builtin"}))
    aus(plan, probe, out["expressions"], out["aus"], replace(recipe("aus", {}), backend="proxy"))
    return out


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def rows_of(points: np.ndarray, track: int = 0) -> list[tuple[int, np.ndarray | None, str]]:
    return [(track, p, "ok") for p in points]


def test_a_shard_of_good_and_bad_frames(tmp_path: Path) -> None:
    rows = rows_of(movie(700))  # more than a row group
    rows[5] = (0, None, "no_face")
    rows[6] = (0, None, "lost")
    rows[7] = (0, rows[7][1], "low_confidence")
    broken = np.array(rows[8][1])
    broken[:] = 100.0
    rows[8] = (0, broken, "ok")
    samples = {"a": rows, "gone": [], "b": [(0, None, "no_face")] * 3}
    out = run(tmp_path, write_inputs(tmp_path / "in", samples))
    table = pd.read_parquet(out["fit"])
    assert table.groupby("sample").size().to_dict() == {"a": 700, "b": 3}
    assert table.frame[:700].tolist() == list(range(700))
    status = table.status[:10].tolist()
    assert status[5:9] == ["no_face", "lost", "low_confidence", "not_converged"]
    good = table[table.status == "ok"]
    assert len(good) == 696
    numbers = ["tx", "ty", "tz", "rx", "ry", "rz", "error_px"]
    lists = {"expression": len(NAMES), "global_params": 6, "local_params": 34, "canonical": 153}
    assert np.isfinite(good[numbers].to_numpy()).all()
    for name, length in lists.items():
        assert (good[name].map(len) == length).all()
    rest = table[table.status != "ok"]
    assert rest[[*numbers, *lists]].isna().all().all(), "no value is a silent zero"

    people = pd.read_parquet(out["identity"]).set_index("sample")
    assert people.status.to_dict() == {"a": "ok", "b": "no_face"}
    assert people.n_frames["a"] == MAX_FRAMES and len(people.identity["a"]) == len(MODEL.identity)
    assert people.identity["b"] is None and np.isnan(people.error_px["b"])

    local = pd.read_parquet(out["expressions"])
    assert [c for c in local if c not in ("sample", "frame", "track", "status")] == list(NAMES)
    assert np.array_equal(np.stack(good.expression), local.loc[good.index, list(NAMES)])
    assert local.loc[rest.index, list(NAMES)].isna().all().all()
    assert local.status.tolist() == table.status.tolist()

    units = pd.read_parquet(out["aus"])
    assert list(units.columns) == ["sample", "frame", "track", *AU_COLUMNS, "status"]
    known = units.loc[good.index, list(AU_COLUMNS)]
    assert np.isfinite(known.to_numpy()).all()
    assert known.filter(like="_r").max().max() <= 5 and known.min().min() >= 0
    assert set(np.unique(known.filter(like="_c"))) <= {0.0, 1.0}
    assert units.loc[rest.index, list(AU_COLUMNS)].isna().all().all()
    # What was played is what is found.
    t = np.arange(700)
    smile = np.clip(np.sin(t / 24), 0, 1)[good.index]
    assert np.corrcoef(smile, known.AU12_r)[0, 1] > 0.95
    blink = (t % 30 < 3)[good.index]
    assert known.AU45_c[blink].mean() > 0.95 and known.AU45_c[~blink].mean() < 0.02


def test_two_runs_give_the_same_bytes(tmp_path: Path) -> None:
    samples = {"a": rows_of(movie(40)), "b": rows_of(movie(30, seed=1))}
    digests = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        out = run(tmp_path / name, write_inputs(tmp_path / name / "in", samples))
        digests.append([hashlib.sha256(p.read_bytes()).hexdigest() for p in out.values()])
    assert digests[0] == digests[1]


def test_a_sample_does_not_depend_on_its_shard(tmp_path: Path) -> None:
    alone = run(tmp_path, write_inputs(tmp_path / "1", {"b": rows_of(movie(30, seed=1))}))
    one = {n: pd.read_parquet(p) for n, p in alone.items()}
    (tmp_path / "two").mkdir()
    both = {"a": rows_of(movie(600)), "b": rows_of(movie(30, seed=1))}
    packed = run(tmp_path / "two", write_inputs(tmp_path / "2", both))
    for name, path in packed.items():
        table = pd.read_parquet(path)
        pd.testing.assert_frame_equal(
            table[table["sample"] == "b"].reset_index(drop=True), one[name], check_exact=True
        )


def test_tracks_have_identities_of_their_own(tmp_path: Path) -> None:
    first, second = movie(40), movie(40, seed=5)
    rows = [r for pair in zip(rows_of(first), rows_of(second, 1), strict=True) for r in pair]
    out = run(tmp_path, write_inputs(tmp_path / "in", {"a": rows}))
    people = pd.read_parquet(out["identity"])
    assert people.track.tolist() == [0, 1] and people.n_frames.tolist() == [MAX_FRAMES] * 2
    assert np.abs(people.identity[0] - people.identity[1]).max() > 0.5
    table = pd.read_parquet(out["fit"])
    assert table.track.tolist() == [0, 1] * 40
    single = run(tmp_path, write_inputs(tmp_path / "in1", {"a": rows_of(second)}))
    alone = pd.read_parquet(single["fit"])
    two = table[table.track == 1].reset_index(drop=True)
    pd.testing.assert_frame_equal(two.drop(columns="track"), alone.drop(columns="track"))


def test_progress_counts_frames_and_not_faces(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "facemake")
    rows = [*rows_of(movie(12)), *rows_of(movie(5, seed=5), 1)]
    run(tmp_path, write_inputs(tmp_path / "in", {"a": rows, "b": rows_of(movie(3))}))
    said = [record.getMessage() for record in caplog.records]
    for stage in ("fit", "expressions", "aus"):
        assert [s for s in said if s.startswith(f"{stage} s: 2 samples, 15 frames in ")], stage


@pytest.mark.parametrize("size", [True, False])
def test_pictures_of_a_folder_stand_alone(tmp_path: Path, size: bool) -> None:
    rows = rows_of(np.concatenate([movie(3), movie(3, seed=2)]))
    out = run(tmp_path, write_inputs(tmp_path / "in", {FOLDER: rows}, size))
    table = pd.read_parquet(out["fit"])
    assert table.status.tolist() == ["ok"] * 6
    people = pd.read_parquet(out["identity"])
    assert people.identity[0] is None and people.n_frames[0] == 6
    units = pd.read_parquet(out["aus"])
    assert units.AU12_r.notna().all()
    alone = run(tmp_path, write_inputs(tmp_path / "in1", {FOLDER: rows[4:5]}, size))
    other = pd.read_parquet(alone["fit"]).drop(columns="frame")
    same = table[4:5].reset_index(drop=True).drop(columns="frame")
    pd.testing.assert_frame_equal(same, other, check_exact=True)
    pd.testing.assert_frame_equal(
        units[4:5].reset_index(drop=True).drop(columns="frame"),
        pd.read_parquet(alone["aus"]).drop(columns="frame"),
        check_exact=True,
    )


def test_pictures_of_several_sizes_have_each_its_camera(tmp_path: Path) -> None:
    """A face that looks along the camera's axis, far from the middle of its picture."""
    points = np.zeros((2, 478, 2))
    shifts = np.array([[60.0, 30.0]] * 2)
    truth = seen(MODEL, np.zeros((2, 3)), np.zeros((2, len(NAMES))), shift=shifts)
    points[:, schemes.MEDIAPIPE478_TO_IBUG68] = truth.points
    inputs = write_inputs(tmp_path / "in", {FOLDER: rows_of(points)}, size=False)
    Image.new("L", (SIZE[1], SIZE[0])).save(tmp_path / "in" / FOLDER / "1.png")
    table = pd.read_parquet(run(tmp_path, inputs)["fit"])
    assert np.rad2deg(np.abs(table.loc[0, ["rx", "ry", "rz"]].astype(float))).max() < 1
    assert np.abs(table.loc[0, ["tx", "ty"]].astype(float) - shifts[0]).max() < 3
    assert abs(table.ry[1]) > 0.02, "the same points in another picture: another camera"
    (tmp_path / "in" / FOLDER / "1.png").unlink()
    with pytest.raises(FacemakeError, match="1 frame and had 2"):
        run(tmp_path, inputs)


def test_the_candidates_of_an_identity_are_few_and_spread() -> None:
    whole, pieces = _Candidates(68), _Candidates(68)
    points = np.arange(100_000.0)[:, None, None] * np.ones((1, 68, 2))
    whole.add(points)
    for start in range(0, 100_000, 777):
        pieces.add(points[start : start + 777])
    held = whole.points()[:, 0, 0]
    assert np.array_equal(held, pieces.points()[:, 0, 0])
    assert 2 * MAX_FRAMES <= len(held) <= 4 * MAX_FRAMES
    assert len(set(np.diff(held).tolist())) == 1 and held[0] == 0 and held[-1] > 98_000
    assert _Candidates(68).points().shape == (0, 68, 2)


def test_the_tables_say_what_made_them(tmp_path: Path) -> None:
    out = run(tmp_path, write_inputs(tmp_path / "in", {"a": rows_of(movie(20))}))
    with TableReader(out["fit"]) as reader:
        assert reader.metadata["units"]["tx"] == "mm, camera axes"
        assert reader.metadata["recipe"]["settings"] == {"model": "builtin", "fov": 30}
    with TableReader(out["aus"]) as reader:
        assert "proxy" in reader.metadata["units"]["AU12_r"]


def test_a_model_that_the_recipe_does_not_name_is_refused(tmp_path: Path) -> None:
    inputs = write_inputs(tmp_path / "in", {"a": rows_of(movie(3))})
    other = {"name": "x", "sha256": "0" * 64, "licence": "MIT"}
    with pytest.raises(ModelError, match="install facemake again"):
        fit(*inputs, tmp_path / "f.parquet", tmp_path / "i.parquet", replace(FIT, models=(other,)))
    right = {**other, "sha256": MODEL.sha256}
    fit(*inputs, tmp_path / "f.parquet", tmp_path / "i.parquet", replace(FIT, models=(right,)))


def test_a_wider_camera_brings_the_head_nearer(tmp_path: Path) -> None:
    inputs = write_inputs(tmp_path / "in", {"a": rows_of(movie(20))})
    near, far = tmp_path / "near.parquet", tmp_path / "far.parquet"
    wide = replace(FIT, settings={"model": "builtin", "fov": 60})
    fit(*inputs, far, tmp_path / "i1.parquet", FIT)
    fit(*inputs, near, tmp_path / "i2.parquet", wide)
    assert pd.read_parquet(near).tz.mean() < 0.6 * pd.read_parquet(far).tz.mean()


def test_a_calibration_takes_the_place_of_the_field_of_view(tmp_path: Path) -> None:
    """Frames of half the calibrated size, through a lens: the same heads as without it."""
    width, height = SIZE
    focal = 2 * CAMERA.focal
    bent = Calibration(
        2 * width, 2 * height, (focal, focal), (width - 0.5, height - 0.5), (-3.0, 0, 0, 0)
    )
    straight, pixels = movie(20), movie(20)
    ours = schemes.MEDIAPIPE478_TO_IBUG68
    pixels[:, ours] = bent.lens(SIZE).distort(straight[:, ours])
    assert np.abs(pixels - straight).max() > 1
    tables = {}
    for name, points, settings in (
        ("plain", straight, FIT.settings),
        ("through", pixels, {"model": "builtin", "calibration": bent.to_dict()}),
    ):
        inputs = write_inputs(tmp_path / name, {"a": rows_of(points)})
        out = tmp_path / f"{name}.parquet"
        fit(*inputs, out, tmp_path / "i.parquet", replace(FIT, settings=settings))
        tables[name] = pd.read_parquet(out)
    assert (tables["through"].status == "ok").all()
    for column in ("tx", "ty", "tz", "rx", "ry", "rz"):
        apart = (tables["through"][column] - tables["plain"][column]).abs().max()
        assert apart < (0.5 if column[0] == "t" else 1e-3), column


@pytest.mark.parametrize("size", [True, False])
def test_what_the_calibrated_camera_cannot_have_taken_is_not_fitted(
    tmp_path: Path, size: bool, caplog: pytest.LogCaptureFixture
) -> None:
    wide = Calibration(1920, 1080, (1500.0, 1500.0), (959.5, 539.5), (0.0,) * 5)
    settings = {"model": "builtin", "calibration": wide.to_dict()}
    rows = [*rows_of(movie(3)), (0, None, "no_face")]
    samples = {FOLDER: rows, "clip": rows} if size else {FOLDER: rows}
    inputs = write_inputs(tmp_path / "in", samples, size)
    out, people = tmp_path / "f.parquet", tmp_path / "i.parquet"
    fit(*inputs, out, people, replace(FIT, settings=settings))
    table = pd.read_parquet(out)
    for _, part in table.groupby("sample"):
        assert part.status.tolist() == ["not_converged"] * 3 + ["no_face"]
    assert table.tx.isna().all() and table.expression.isna().all()
    assert set(pd.read_parquet(people).status) == {"not_converged"}
    for sample in table["sample"].unique():
        assert f"{sample} is not fitted: its frames are stored as 640x480" in caplog.text
