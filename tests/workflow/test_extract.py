"""The target `extract`: crops of the run's own faces, an archive a shard, from the cache again.

And `overlays`, which goes on from the same tables.
"""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from facemake.geometry import apply_affine
from facemake.media import VideoMedia
from facemake.overlay.sinks import comment_of
from runworkflow import Run, bytes_of, run, study

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("run")]


def jobs(done: Run) -> dict[str, int]:
    assert done.code == 0, done.output
    return {n: int(k) for n, k in re.findall(r"^(\w+) +(\d+)$", done.output, re.MULTILINE)}


def crops_of(path: Path) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(path) as archive:
        return {
            name: np.asarray(Image.open(io.BytesIO(archive.read(name))))
            for name in archive.namelist()
            if not name.startswith(".")
        }


def test_extract(bundled: Path, tmp_path: Path):
    samples = [
        ("clip", bundled / "moving_portrait.mp4"),
        ("portraits", bundled / "portraits"),
        ("nothing", tmp_path / "empty.png"),
    ]
    (tmp_path / "empty.png").write_bytes(b"")
    cache = str(tmp_path / "cache")
    extract = {"template": "openface112", "format": "png", "frame_step": 10}
    mine = study(tmp_path / "mine", samples, shards=1, extract=extract, cache_dir=cache)
    done = jobs(run(mine, "extract"))
    assert done["extract_crops"] == 1 and "fit" not in done
    (archive,) = (mine / "results" / "crops").glob("*.zip")
    crops = crops_of(archive)
    table = pd.read_parquet(mine / "results" / "extract")
    assert sorted(crops) == sorted(table["output"])
    assert set(table["status"]) == {"ok"} and set(table["aligned_by"]) == {"landmarks"}
    clip = table[table["sample"] == "clip"]
    assert clip["frame"].tolist() == list(range(0, 75, 10))
    assert clip["output"].iloc[1] == "clip_000010.png"

    # the crops of the training set are the same ones
    (faces,) = (mine / "results" / "faces").glob("*.h5")
    with h5py.File(faces, "r") as file:
        for sample, rows in table.groupby("sample"):
            group = file[sample]
            at = {key: i for i, key in enumerate(zip(group["frame"], group["track"], strict=True))}
            for row in rows.itertuples():
                i = at[row.frame, row.track]
                assert np.array_equal(crops[row.output], group["crops"][i])
                assert np.allclose(np.reshape(row.affine, (2, 3)), group["affine"][i])

    # another folder has them from the cache; what is asked for otherwise is cut again
    other = study(tmp_path / "other", samples, shards=1, extract=extract, cache_dir=cache)
    assert run(other, "extract").code == 0
    assert bytes_of(other / "results") == bytes_of(mine / "results")
    # results from the cache are links to one file
    (linked,) = (other / "results" / "crops").glob("*.zip")
    assert linked.resolve() == archive.resolve()
    drawn = {"draw": ["boxes"], "hide": "fill"}
    more = {"extract": {"frame_step": 50}, "overlay": drawn}
    study(tmp_path / "other", samples, shards=1, cache_dir=cache, **more)
    again = jobs(run(other, "extract", "overlays"))
    asked_for = {"extract": 1, "extract_crops": 1, "overlay": 1, "overlays": 1, "total": 4}
    assert again == asked_for
    overlays = other / "results" / "overlay" / "pack0of1"
    with VideoMedia(overlays / "clip.mp4") as made, VideoMedia(samples[0][1]) as recording:
        times = [frame.time for frame in made]
        assert times == [frame.time for frame in recording]
    assert "drawn: boxes; faces: fill" in comment_of(overlays / "portraits")
    assert len(list((overlays / "portraits").iterdir())) == 2
    assert not list(overlays.glob("nothing*"))
    table = pd.read_parquet(other / "results" / "extract")
    assert table[table["sample"] == "clip"]["frame"].tolist() == [0, 50]
    for row in table.itertuples():  # arcface112 by eyes and nose of BlazeFace
        assert row.aligned_by == "detector"
        eyes = np.reshape(row.keypoints5, (5, 2))[:2]
        on_crop = apply_affine(np.reshape(row.affine, (2, 3)), eyes)
        assert np.abs(on_crop - [(38.3, 51.7), (73.5, 51.5)]).max() < 6


def test_a_padding_that_no_crop_could_have_is_refused(bundled: Path, tmp_path: Path):
    extract = {"template": "arcface112", "padding": 0.3}
    study(tmp_path, [("clip", bundled / "moving_portrait.mp4")], extract=extract)
    done = run(tmp_path, "extract")
    assert done.code != 0
    assert "extract.padding is of no use with the template arcface112" in done.output
