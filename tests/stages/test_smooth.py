"""The stage smooth on tables that were written by hand: any length, any tracks, no pixels."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from facemake import orphans
from facemake.backends.fit import builtin
from facemake.backends.fit.smooth import (
    NoiseMeter,
    SmoothSettings,
    TrackRows,
    TrackSmoother,
    smooth_track,
)
from facemake.errors import TableError
from facemake.provenance import Recipe
from facemake.samples import Sample, shard_text
from facemake.stages import smooth as stage
from facemake.stages.expressions import expressions
from facemake.stages.smooth import smooth
from facemake.tables import ROWS_PER_GROUP, SCHEMAS, TableReader, TableWriter, list_array
from makestudy import inside, make_study

MODEL = builtin.load_builtin()
E = len(MODEL.expression)
POSE = ["tx", "ty", "tz", "rx", "ry", "rz"]
LISTS = ["expression", "canonical"]
FOLDER = "pictures"  # its name says that its frames stand alone


def recipe(name: str = "smooth", **settings: Any) -> Recipe:
    known = {"model": "builtin", "smoothing": 1.0, **settings}
    return Recipe(stage=name, backend=None, settings=known, models=(), code="0")


@dataclass(frozen=True)
class Fits:
    """Rows of a fit: all arrays of n rows, float32 as they lie in a table."""

    frame: np.ndarray
    track: np.ndarray
    time: np.ndarray
    pose: np.ndarray
    expression: np.ndarray
    canonical: np.ndarray
    status: np.ndarray

    @property
    def ok(self) -> np.ndarray:
        return self.status == "ok"

    def rows(self, index: np.ndarray) -> Fits:
        return Fits(**{name: getattr(self, name)[index] for name in Fits.__dataclass_fields__})

    def track_rows(self, track: int) -> TrackRows:
        mine = self.rows(np.flatnonzero(self.track == track))
        return TrackRows(
            frame=mine.frame.astype(np.int64),
            time=mine.time,
            ok=mine.ok,
            translation=mine.pose[:, :3].astype(float),
            euler=mine.pose[:, 3:].astype(float),
            expression=mine.expression.astype(float),
        )


def canonical(expression: np.ndarray) -> np.ndarray:
    """(n, 153) mm, y up, by the book."""
    shape = MODEL.mean + np.tensordot(expression.astype(float), MODEL.expression, 1)
    return (shape[:, MODEL.inner] * [1, -1, 1]).reshape(len(expression), 153)


def course(
    n: int, track: int = 0, start: int = 0, bad: Sequence[int] = (), fps: float = 25.0
) -> Fits:
    """A head that moves, of frames from `start`; rows of `bad` did not converge."""
    rng = np.random.default_rng(100 * track + n)
    frame = np.arange(start, start + n)
    t = frame[:, None] / fps
    waves = [np.sin((1 + 0.1 * k) * t + k) for k in range(6)]
    pose = np.concatenate(waves, axis=1) * [30, 30, 30, 0.3, 0.3, 0.3]
    pose[:, 2] += 600 + 100 * track
    pose += rng.normal(size=(n, 6)) * [0.3, 0.3, 4, 0.004, 0.004, 0.004]
    expression = np.clip(np.sin(t * np.linspace(0.5, 3, E)) + rng.normal(size=(n, E)) * 0.03, 0, 1)
    status = np.full(n, "ok", dtype=object)
    status[list(bad)] = "not_converged"
    made = expression.astype(np.float32)
    # A fit computes these before its coefficients are rounded: not the last bit of them is ours.
    shapes = np.nextafter(canonical(made).astype(np.float32), np.float32(np.inf))
    return Fits(
        frame=frame.astype(np.int32),
        track=np.full(n, track, np.int16),
        time=frame / fps,
        pose=pose.astype(np.float32),
        expression=made,
        canonical=shapes,
        status=status,
    )


def together(*parts: Fits) -> Fits:
    """The rows of several tracks, in the order of a table."""
    names = Fits.__dataclass_fields__
    joined = Fits(**{k: np.concatenate([getattr(p, k) for p in parts]) for k in names})
    return joined.rows(np.lexsort([joined.track, joined.frame]))


@dataclass(frozen=True)
class Inputs:
    plan: Path
    probe: Path
    landmarks: Path
    fit: Path

    def run(self, output: Path, **settings: Any) -> pd.DataFrame:
        smooth(
            self.plan, self.probe, self.landmarks, self.fit, output, recipe("smooth", **settings)
        )
        return pd.read_parquet(output)


def write_inputs(
    folder: Path, samples: dict[str, Fits | None], stamps: dict[str, Fits | None] | None = None
) -> Inputs:
    """Plan, probe, landmarks and fit; a sample of None cannot be decoded.

    The landmarks are those of `stamps`, where they are others.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = ("s.tsv", "probe.parquet", "landmarks.parquet", "fit.parquet")
    inputs = Inputs(*(folder / name for name in names))
    inputs.plan.write_text(shard_text(Sample(n, folder / n, n, sha256=n) for n in samples))
    detect = {"settings": {"track": {"image_folders": "pictures"}}}
    about = {"recipe": {"stage": "landmarks"}, "lineage": "x", "upstream": {"detect": detect}}
    fitted = {"recipe": {"stage": "fit"}, "lineage": "y", "upstream": {"detect": detect}}
    with TableWriter(inputs.probe, SCHEMAS["probe"], about) as writer:
        for name, rows in samples.items():
            writer.append(
                sample=name,
                kind="images" if name == FOLDER else "video",
                n_frames=0 if rows is None else len(np.unique(rows.frame)),
                status="unreadable" if rows is None else "ok",
                reason="",
            )
    with TableWriter(inputs.landmarks, SCHEMAS["landmarks"], about) as writer:
        for name, rows in (samples if stamps is None else stamps).items():
            if rows is not None and len(rows.frame):
                keys = {"frame": rows.frame, "track": rows.track, "time": rows.time}
                status = np.where(rows.status == "not_converged", "ok", rows.status)
                writer.append_columns(name, {**keys, "status": status.tolist()})
    with TableWriter(inputs.fit, SCHEMAS["fit"], fitted) as writer:
        for name, rows in samples.items():
            if rows is not None and len(rows.frame):
                ok = rows.ok
                columns = {
                    "frame": rows.frame,
                    "track": rows.track,
                    **{p: pa.array(rows.pose[:, k], mask=~ok) for k, p in enumerate(POSE)},
                    **{column: list_array(getattr(rows, column), ok) for column in LISTS},
                    "status": rows.status.tolist(),
                }
                writer.append_columns(name, columns)
    return inputs


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def stacked(table: pd.DataFrame, column: str) -> np.ndarray:
    return np.stack(table[column].to_list())


def assert_is(table: pd.DataFrame, fits: Fits, strength: float = 1.0) -> None:
    """The table is the fit's rows, each track as `smooth_track` has it, null where not `ok`."""
    assert table.frame.tolist() == fits.frame.tolist()
    assert table.track.tolist() == fits.track.tolist()
    assert table.status.tolist() == fits.status.tolist()
    table = table.reset_index(drop=True)
    nothing = table[~fits.ok]
    assert nothing[[*POSE, *LISTS]].isna().all().all()
    bounds = MODEL.expression_lower, MODEL.expression_upper
    for track in np.unique(fits.track).tolist():
        whole = smooth_track(fits.track_rows(track), SmoothSettings(strength=strength), *bounds)
        mine = table[fits.track == track]
        mine, ok = mine[whole.ok], whole.ok
        pose = np.concatenate([whole.translation, whole.euler], axis=1)[ok].astype(np.float32)
        assert np.array_equal(mine[POSE].to_numpy(np.float32), pose), track
        if not len(mine):
            continue
        found = stacked(mine, "expression")
        assert np.array_equal(found, whole.expression[ok].astype(np.float32)), track
        assert np.abs(stacked(mine, "canonical") - canonical(found)).max() < 1e-3


def test_every_row_of_interleaved_tracks_is_that_of_its_whole_track(tmp_path: Path) -> None:
    """Tracks that begin, pause and end anywhere, over many row groups and the smoother's reach."""
    main = course(6000, bad=[0, 700, 701, 702, 2500, *range(4000, 4600), 5999])
    main.status[100:140] = "no_face"
    main.status[3000] = "low_confidence"
    early = course(30, track=1, start=0)
    along = course(5200, track=2, start=300, bad=[1, 1000])
    late = course(200, track=3, start=5800, bad=range(50))
    brief = course(2, track=4, start=512)
    never = course(40, track=5, start=2000, bad=range(40))
    fits = together(main, early, along, late, brief, never)
    samples = {"a": fits, "b": together(course(800, track=0), course(700, track=1, start=50))}
    inputs = write_inputs(tmp_path / "in", samples)
    out = tmp_path / "smooth.parquet"
    table = inputs.run(out)
    assert table["sample"].drop_duplicates().tolist() == ["a", "b"]
    for name, rows in samples.items():
        assert_is(table[table["sample"] == name], rows)
    smoothed = table.ry[(table["sample"] == "a") & (table.track == 0)][140:700]
    assert np.diff(smoothed, 3).std() < 0.5 * np.diff(main.pose[140:700, 4], 3).std()
    file = pq.ParquetFile(out)
    groups = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
    assert max(groups) == ROWS_PER_GROUP, "readers take pieces of the fit's size"


def test_progress_counts_frames_and_not_faces(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "facemake")
    samples = {"a": together(course(30), course(20, track=1, start=5)), FOLDER: course(7)}
    write_inputs(tmp_path / "in", samples).run(tmp_path / "smooth.parquet")
    said = [record.getMessage() for record in caplog.records]
    assert [s for s in said if s.startswith("smooth s: 2 samples, 37 frames in ")], said


@pytest.mark.parametrize("missing", ["not_converged", "no_face", "lost", "low_confidence"])
def test_nothing_is_smoothed_across_a_missing_frame(tmp_path: Path, missing: str) -> None:
    """Each side is as if the other were not there, but for the noise, that of the whole track."""
    fits = course(200)
    fits.status[99] = missing
    table = write_inputs(tmp_path / "in", {"a": fits}).run(tmp_path / "smooth.parquet")
    meter = NoiseMeter(E, MODEL.expression_lower, MODEL.expression_upper)
    meter.push(fits.track_rows(0))
    for side in (np.arange(99), np.arange(100, 200)):
        bounds = MODEL.expression_lower, MODEL.expression_upper
        smoother = TrackSmoother(meter.noise(), None, *bounds)
        smoother.push(fits.rows(side).track_rows(0))
        alone = smoother.finish()
        pose = np.concatenate([alone.translation, alone.euler], axis=1).astype(np.float32)
        assert np.array_equal(table.loc[side, POSE].to_numpy(np.float32), pose)
        assert np.abs(pose - fits.pose[side]).max() > 0
        found = stacked(table.loc[side], "expression")
        assert np.array_equal(found, alone.expression.astype(np.float32))


def test_pictures_that_stand_alone_keep_the_fit_to_the_bit(tmp_path: Path) -> None:
    pictures = together(course(600, bad=[3]), course(40, track=1, start=7))
    inputs = write_inputs(tmp_path / "in", {FOLDER: pictures, "video": course(40)})
    table = inputs.run(tmp_path / "smooth.parquet")
    fit = pd.read_parquet(inputs.fit)[list(table.columns)]
    alone = table["sample"] == FOLDER
    pd.testing.assert_frame_equal(table[alone], fit[alone], check_exact=True)
    assert not table[~alone].equals(fit[~alone])


def test_at_strength_0_all_of_it_is_the_fit(tmp_path: Path) -> None:
    fits = together(course(600, bad=[5]), course(300, track=1, start=40))
    inputs = write_inputs(tmp_path / "in", {"a": fits})
    table = inputs.run(tmp_path / "smooth.parquet", smoothing=0)
    fit = pd.read_parquet(inputs.fit)[list(table.columns)]
    pd.testing.assert_frame_equal(table, fit, check_exact=True)


def test_the_strength_is_that_of_the_recipe(tmp_path: Path) -> None:
    fits = course(300)
    inputs = write_inputs(tmp_path / "in", {"a": fits})
    rough = {}
    for strength in (0.3, 1.0, 3.0):
        table = inputs.run(tmp_path / f"{strength}.parquet", smoothing=strength)
        assert_is(table, fits, strength)
        rough[strength] = np.diff(table.ry, 3).std()
    assert rough[0.3] > 1.1 * rough[1.0] > 1.2 * rough[3.0]


def test_the_canonical_face_moves_with_the_smoothed_expression_y_up(tmp_path: Path) -> None:
    fits = course(300)
    table = write_inputs(tmp_path / "in", {"a": fits}).run(tmp_path / "smooth.parquet")
    shapes = stacked(table, "canonical").reshape(-1, 51, 3)
    assert np.abs(shapes.reshape(300, -1) - canonical(stacked(table, "expression"))).max() < 1e-3
    brows, chin_side = shapes[:, :10, 1].mean(), shapes[:, 31:, 1].mean()
    assert brows > chin_side, "the brows are above the mouth"
    raw = canonical(fits.expression).reshape(-1, 51, 3)
    assert np.diff(shapes, 3, axis=0).std() < 0.7 * np.diff(raw, 3, axis=0).std()


def test_samples_of_nothing_of_one_frame_and_undecodable_ones(tmp_path: Path) -> None:
    empty = course(0)
    missing = course(3, bad=range(3))
    missing.status[:] = "no_face"
    samples = {
        "broken": None,
        "empty": empty,
        "faceless": missing,
        "one": course(1),
        "two": course(2, bad=[0]),
    }
    inputs = write_inputs(tmp_path / "in", samples)
    table = inputs.run(tmp_path / "smooth.parquet")
    fit = pd.read_parquet(inputs.fit)[list(table.columns)]
    assert table.groupby("sample").size().to_dict() == {"faceless": 3, "one": 1, "two": 2}
    pd.testing.assert_frame_equal(table, fit, check_exact=True)
    only = write_inputs(tmp_path / "in1", {"broken": None})
    assert len(only.run(tmp_path / "none.parquet")) == 0


def test_pictures_without_a_time_that_belong_together(tmp_path: Path) -> None:
    """A folder that is a sequence: no stamps, and smoothed all the same."""
    fits = course(100)
    fits.time[:] = np.nan
    table = write_inputs(tmp_path / "in", {"sequence": fits}).run(tmp_path / "smooth.parquet")
    assert_is(table, fits)
    assert np.diff(table.ry, 3).std() < 0.7 * np.diff(fits.pose[:, 4], 3).std()


def test_what_the_smoother_takes_for_no_head_keeps_the_fits_values(tmp_path: Path) -> None:
    """Absurd, and yet no NaN is written for a row that says `ok`."""
    fits = course(40)
    fits.pose[20, 2] = 2e7
    table = write_inputs(tmp_path / "in", {"a": fits}).run(tmp_path / "smooth.parquet")
    assert table.tz[20] == np.float32(2e7)
    assert table[[*POSE, *LISTS]].notna().all().all()
    assert np.isfinite(stacked(table, "canonical")).all()


def shifted(fits: Fits) -> Fits:
    return replace(fits, frame=fits.frame + 1)


def other_track(fits: Fits) -> Fits:
    track = fits.track.copy()
    track[-1] = 1
    return replace(fits, track=track)


@pytest.mark.parametrize(
    "change",
    [
        shifted,
        other_track,
        lambda fits: fits.rows(np.arange(len(fits.frame) - 1)),
        lambda fits: fits.rows(np.arange(ROWS_PER_GROUP)),  # one row group less
        lambda fits: together(fits, course(10, start=len(fits.frame))),  # one more
        lambda fits: None,
    ],
    ids=["frames", "tracks", "a row less", "a row group less", "a row group more", "none"],
)
@pytest.mark.parametrize("name", ["video", FOLDER])
def test_a_fit_of_other_rows_than_the_landmarks_is_refused(
    tmp_path: Path, change: Any, name: str
) -> None:
    fits = course(2 * ROWS_PER_GROUP)
    stamps = {name: change(fits), "z": course(3)}
    inputs = write_inputs(tmp_path / "in", {name: fits, "z": course(3)}, stamps)
    out = tmp_path / "smooth.parquet"
    with pytest.raises(TableError, match=f"do not have the same rows of {name}: delete") as raised:
        inputs.run(out)
    assert str(inputs.fit) in str(raised.value)
    assert not out.exists()


def test_a_killed_shard_goes_on_to_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = {"a": course(700), "b": together(course(1200), course(600, track=1)), "c": course(9)}
    inputs = write_inputs(tmp_path / "in", samples)
    whole, resumed = tmp_path / "whole.parquet", tmp_path / "resumed.parquet"
    inputs.run(whole)
    write = stage._Writer.write
    written: list[str] = []

    def killed(self: Any, piece: Any, rows: Any) -> None:
        if self._sample == "b" and "b" in written:
            raise KeyboardInterrupt
        written.append(self._sample)
        write(self, piece, rows)

    with monkeypatch.context() as patched:
        patched.setattr(stage._Writer, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            inputs.run(resumed)
    assert not resumed.exists() and written == ["a", "a", "b"]

    def counted(self: Any, piece: Any, rows: Any) -> None:
        written.append(self._sample)
        write(self, piece, rows)

    written.clear()
    monkeypatch.setattr(stage._Writer, "write", counted)
    inputs.run(resumed)
    assert set(written) == {"b", "c"}, "what was done is not done again"
    assert resumed.read_bytes() == whole.read_bytes()


def test_a_sample_does_not_depend_on_its_shard(tmp_path: Path) -> None:
    rows = together(course(900, bad=[4]), course(300, track=1, start=100))
    alone = write_inputs(tmp_path / "1", {"b": rows}).run(tmp_path / "one.parquet")
    both = write_inputs(tmp_path / "2", {"a": course(600), "b": rows})
    table = both.run(tmp_path / "two.parquet")
    mine = table[table["sample"] == "b"].reset_index(drop=True)
    pd.testing.assert_frame_equal(mine, alone, check_exact=True)


def peak_mib(inputs: Inputs, output: Path) -> float:
    """MiB of Python and NumPy memory at the most; Arrow's is a row group's."""
    tracemalloc.start()
    try:
        smooth(inputs.plan, inputs.probe, inputs.landmarks, inputs.fit, output, recipe())
        return tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.slow
def test_memory_does_not_grow_with_the_length(tmp_path: Path) -> None:
    """Nor where another track ended long ago, which all rows beside it could wait for."""
    peaks = []
    for n in (5_000, 15_000):
        fits = together(course(n), course(40, track=1, start=3))
        inputs = write_inputs(tmp_path / str(n), {"a": fits})
        peaks.append(peak_mib(inputs, tmp_path / f"{n}.parquet"))
    assert peaks[1] < 1.2 * peaks[0] + 2


def test_memory_does_not_grow_with_the_tracks_that_are_over(tmp_path: Path) -> None:
    peaks = []
    for n in (20, 200):
        tracks = [course(8, track=k, start=6 * k) for k in range(1, n)]
        fits = together(course(6 * n + 10), *tracks)
        inputs = write_inputs(tmp_path / str(n), {"a": fits})
        peaks.append(peak_mib(inputs, tmp_path / f"{n}.parquet"))
    assert peaks[1] < peaks[0] + 25


def test_the_expressions_say_which_table_they_were_made_from(tmp_path: Path) -> None:
    inputs = write_inputs(tmp_path / "in", {"a": course(60)})
    smoothed = tmp_path / "smooth.parquet"
    inputs.run(smoothed)
    made = {}
    for source in (inputs.fit, smoothed):
        out = tmp_path / f"of_{source.name}"
        expressions(inputs.plan, source, out, recipe("expressions"))
        with TableReader(out) as reader:
            assert ("smooth" in reader.metadata["upstream"]) == (source == smoothed)
            assert "fit" in reader.metadata["upstream"]
        made[source] = pd.read_parquet(out)
    values = made[smoothed][list(MODEL.expression_names)].to_numpy()
    assert np.array_equal(values, stacked(pd.read_parquet(smoothed), "expression"))
    assert not np.array_equal(values, made[inputs.fit][list(MODEL.expression_names)].to_numpy())


@pytest.mark.parametrize(
    "strength",
    [
        1.0,
        0,
    ],
)
def test_a_table_that_is_left_of_a_run_with_smoothing_is_set_aside(
    tmp_path: Path, strength: float, bundled: Path
) -> None:
    sheet = [{"sample": "clip", "path": bundled / "moving_portrait.mp4"}]
    study = make_study(tmp_path, sheet, fit={"smoothing": strength})
    left = study.table("smooth", "clip")
    left.parent.mkdir(parents=True)
    left.write_text("of the run before")
    with inside(tmp_path):
        orphans.set_aside(study.plan)
    assert left.exists() == (strength > 0)
