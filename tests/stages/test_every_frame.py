"""One row for every decoded frame, in every frame table, of every real recording there is."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from facemake.media import open_media
from facemake.samples import Sample
from facemake.status import FrameStatus
from facemake.tables import GAZE_COLUMNS
from makestudy import Study, make_study

TABLES = ("detections", "landmarks", "fit", "smooth", "expressions", "aus")
KEY = ["sample", "frame", "track"]
# What a row says whether or not there is a face in it.
ALWAYS = {*KEY, "time", "shot", "scheme", "status"}
# The only NaN of a table: a key point that the detector does not have.
MAY_BE_NAN = {"keypoints5"}
# A closed eye has no gaze.
MAY_BE_NULL = set(GAZE_COLUMNS)

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("every frame")]


def recordings(shared: Path) -> dict[str, Path]:
    """Sample -> file, of each video and picture of the shared folder."""
    files = sorted(p for p in (shared / "data").iterdir() if p.suffix != ".md")
    return {path.name.replace(".", "_"): path for path in files}


@pytest.fixture(scope="module")
def study(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Study:
    sheet = [{"sample": name, "path": path} for name, path in recordings(shared).items()]
    study = make_study(tmp_path_factory.mktemp("every"), sheet, shards=1)
    study.up_to_aus(study.plan.shards[0])
    return study


@pytest.fixture(scope="module")
def decoded(shared: Path) -> dict[str, int]:
    """Sample -> frames that FFmpeg itself puts out, with default options."""
    counts = {}
    for name, path in recordings(shared).items():
        with av.open(str(path)) as container:
            counts[name] = sum(1 for _ in container.decode(video=0))
    return counts


def read(study: Study, table: str) -> pa.Table:
    return pq.read_table(study.table(table, study.plan.shards[0]))


@pytest.mark.parametrize("table", TABLES)
def test_each_decoded_frame_has_one_row_of_the_main_face(
    study: Study, decoded: dict[str, int], table: str
):
    rows = read(study, table).select(KEY).to_pandas()
    main = rows[rows.track == 0]
    got = {name: frames.tolist() for name, frames in main.groupby("sample").frame}
    assert got == {name: list(range(n)) for name, n in decoded.items()}


@pytest.mark.parametrize("table", TABLES)
def test_rows_are_sorted_by_a_key_that_is_unique(study: Study, table: str):
    keys = read(study, table).select(KEY).to_pandas()
    assert not keys.duplicated().any()
    pd.testing.assert_frame_equal(keys, keys.sort_values(KEY, ignore_index=True))


@pytest.mark.parametrize("table", TABLES)
def test_statuses_are_of_the_closed_list(study: Study, table: str):
    said = set(read(study, table)["status"].to_pylist())
    assert said <= {str(status) for status in FrameStatus}
    assert {"ok", "no_face"} <= said


@pytest.mark.parametrize("table", TABLES)
def test_where_there_is_nothing_there_is_null(study: Study, table: str):
    rows = read(study, table)
    status = np.array(rows["status"].to_pylist())
    nothing = np.isin(status, ["no_face", "lost", "decode_error"])
    assert nothing.any()
    for name in rows.column_names:
        if name in ALWAYS:
            continue
        column = rows[name].combine_chunks()
        null = column.is_null().to_numpy(zero_copy_only=False)
        assert null[nothing].all(), f"{name} says something of no face"
        if name not in MAY_BE_NULL:
            assert not null[status == "ok"].any(), f"{name} is null of a face that is there"
        if name not in MAY_BE_NAN:
            if pa.types.is_list(column.type):
                column = column.flatten()
                assert column.null_count == 0, f"{name} has a null inside a list"
            numbers = column.drop_null().to_numpy(zero_copy_only=False)
            assert np.isfinite(numbers).all(), f"{name} has a NaN"


def test_all_tables_have_the_rows_of_the_detections(study: Study):
    first = read(study, "detections").select(KEY)
    for table in TABLES[1:]:
        assert read(study, table).select(KEY).equals(first), table


def test_other_tracks_run_from_their_first_to_their_last_frame(study: Study, shared: Path):
    rows = read(study, "detections").select([*KEY, "status"]).to_pandas()
    for name, path in recordings(shared).items():
        with open_media(Sample(name, path, name)) as media:
            if next(iter(media)).time is None:
                continue  # pictures stand alone
        others = rows[(rows["sample"] == name) & (rows.track > 0)]
        for _, track in others.groupby("track"):
            assert np.all(np.diff(track.frame) == 1)
            assert track.status.iloc[[0, -1]].tolist() == ["ok", "ok"]


def test_the_smoothed_fit_is_there_where_the_fit_is(study: Study):
    """And, over all that was recorded, it trembles less and is nowhere far from it."""
    columns = ["sample", "frame", "track", "rx", "ry", "rz", "tz", "status"]
    fit = read(study, "fit").select(columns).to_pandas()
    smooth = read(study, "smooth").select(columns).to_pandas()
    assert smooth.status.tolist() == fit.status.tolist()
    pose = ["rx", "ry", "rz", "tz"]
    assert smooth[pose].notna().equals(fit[pose].notna())
    apart = (smooth[pose] - fit[pose]).abs()
    assert apart[["rx", "ry", "rz"]].median().max() < np.deg2rad(1)
    trembling = {}
    for name, table in (("fit", fit), ("smooth", smooth)):
        videos = table.groupby(["sample", "track"])[pose]
        trembling[name] = videos.transform(lambda values: values.diff().diff().abs()).median()
    assert (trembling["smooth"] < 0.7 * trembling["fit"]).all()


def test_the_gaze_of_an_eye_is_a_unit_vector_or_null_as_a_whole(study: Study):
    fit = read(study, "fit").select(["status", *GAZE_COLUMNS]).to_pandas()
    found = fit.loc[fit.status == "ok", list(GAZE_COLUMNS)].to_numpy(float)
    eyes = found[:, :6].reshape(-1, 2, 3)
    seen = np.isfinite(eyes).all(axis=2)
    assert np.isnan(eyes[~seen]).all()
    assert np.allclose(np.linalg.norm(eyes[seen], axis=1), 1, atol=1e-6)
    assert np.array_equal(np.isfinite(found[:, 6:]), np.tile(seen.any(axis=1), (2, 1)).T)
    assert seen.any(axis=1).mean() > 0.5, "most people's eyes are open"
