"""People told apart, within the whole workflow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from crates import check_actions
from facemake.media import open_media
from facemake.samples import Sample
from makemedia import write_video
from runworkflow import run, study

pytestmark = pytest.mark.workflow


@pytest.fixture
def clips(bundled: Path, tmp_path: Path) -> dict[str, Path]:
    """One with cuts: person a, person b for longer, a again; and one of b alone."""
    with open_media(Sample("a", bundled / "moving_portrait.mp4", "a")) as media:
        a = [frame.rgb for frame in media if frame.index < 30]
    height, width = a[0].shape[:2]
    hopper = Image.open(bundled / "portraits" / "grace_hopper.jpg").convert("RGB")
    # as wide a part as the clip's, at its size
    part = round(hopper.width * height / width)
    hopper = hopper.crop((0, 0, hopper.width, part)).resize((width, height))
    b = [np.asarray(hopper)] * 40
    return {
        "cut": write_video(tmp_path / "cut.mp4", [*a[:15], *b, *a[15:]]),
        "b": write_video(tmp_path / "b.mp4", b[:10]),
    }


def test_the_person_of_a_picture_through_cuts(bundled: Path, clips, tmp_path: Path):
    reference = bundled / "portraits" / "eileen_collins.png"
    track = {"identity": "dlib", "main": "reference", "reference": str(reference)}
    cached = {"cache_dir": str(tmp_path / "cache"), "shards": 1}
    folder = study(tmp_path / "study", list(clips.items()), track=track, **cached)
    done = run(folder)
    assert done.code == 0, done.output
    found = pd.read_parquet(done.results / "detections")
    main = found[found.track == 0]
    seen = main[main.status == "ok"].groupby("sample").frame.agg(list)
    assert list(seen.index) == ["cut"]
    assert set(seen["cut"]) <= {*range(15), *range(55, 70)}
    assert len(seen["cut"]) > 25
    assert main.groupby("sample").size().to_dict() == {"b": 10, "cut": 70}
    others = found[(found.track > 0) & (found.status == "ok")]
    assert others.groupby("sample").track.nunique().to_dict() == {"b": 1, "cut": 1}
    for table in ("landmarks", "fit", "smooth", "expressions", "aus"):
        rows = pd.read_parquet(done.results / table)
        pd.testing.assert_frame_equal(
            rows[["sample", "frame", "track"]], found[["sample", "frame", "track"]]
        )
    manifest = pd.read_parquet(done.results / "dataset" / "manifest.parquet").set_index("sample")
    assert manifest.status.to_dict() == {"b": "no_face", "cut": "ok"}
    assert "nobody looks like track.reference" in manifest.reason["b"]
    assert (
        str(tmp_path).encode()
        not in next((done.results / "detections").glob("*.parquet")).read_bytes()
    )
    tracklets = list((done.results / "detections" / ".tracklets").glob("*.parquet"))
    assert len(tracklets) == 1
    assert check_actions(folder, tmp_path / "crate") >= {"detect", "identify", "landmarks"}

    other = bundled / "portraits" / "grace_hopper.jpg"
    folder = study(
        tmp_path / "study", list(clips.items()), track={**track, "reference": str(other)}, **cached
    )
    again = run(folder, "--until", "identify")
    assert again.code == 0, again.output
    # tracks by boxes do not hang on it
    assert "tell people apart in" in again.output
    assert "detect faces in" not in again.output
    found = pd.read_parquet(again.results / "detections")
    main = found[(found.track == 0) & (found.status == "ok")]
    assert main.groupby("sample").frame.min().to_dict() == {"b": 0, "cut": 15}

    folder = study(tmp_path / "study", list(clips.items()), **cached)
    by_boxes = run(folder, "--until", "detect")
    assert by_boxes.code == 0, by_boxes.output
    found = pd.read_parquet(by_boxes.results / "detections")
    ok = found[found.status == "ok"].groupby(["sample", "track"]).frame.agg(["min", "max"])
    assert sorted(ok.loc["cut"].to_numpy().tolist()) == [[0, 14], [15, 54], [55, 69]]
    assert not list((by_boxes.results / "detections" / ".tracklets").glob("*.parquet"))
