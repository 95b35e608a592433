from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from facemake import tables
from facemake.backends.embed import EMBEDDERS, Face
from facemake.bestframes import choose_frames
from facemake.media import read_frames
from facemake.models import model_path
from facemake.samples import Sample
from facemake.stages import embed as stage
from facemake.stages.chosen_faces import choose, face_quality
from makestudy import Study, make_study

pytestmark = pytest.mark.xdist_group("dataset")

SHARD = "pack0of1"


@pytest.fixture(scope="session")
def embeddings(portraits: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("embeddings") / f"{SHARD}.parquet"
    portraits.embed(SHARD, path)
    return path


def between(frame: pd.DataFrame, one: str, other: str) -> np.ndarray:
    """Distances of all pairs of vectors of two samples, a sample's own left out."""
    a, b = (np.stack(frame[frame["sample"] == name].embedding) for name in (one, other))
    distances = np.linalg.norm(a[:, None] - b[None], axis=2)
    return distances[np.triu_indices(len(a), 1)] if one == other else distances.ravel()


def test_rows_are_the_chosen_frames_only(embeddings):
    frame = pd.read_parquet(embeddings)
    counts = frame["sample"].value_counts().to_dict()
    assert counts.keys() == {"clip", "collins", "hopper"}
    assert counts["collins"] == counts["hopper"] == 1
    assert 2 <= counts["clip"] <= 3  # a second apart, of three seconds
    assert list(frame.columns) == ["sample", "frame", "track", "embedding", "quality"]
    keys = frame[["sample", "frame", "track"]]
    assert keys.equals(keys.sort_values(["sample", "frame", "track"]))
    vectors = np.stack(frame.embedding)
    assert vectors.shape == (len(frame), 128) and vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert frame.quality.between(0, 1).all()
    with tables.TableReader(embeddings) as reader:
        models = reader.metadata["recipe"]["models"]
    assert {m["name"] for m in models} == {
        "dlib_face_recognition_resnet_v1",
        "dlib_5_point_predictor",
    }


def test_chosen_frames_of_the_clip_are_a_second_apart(portraits, embeddings):
    frame = pd.read_parquet(embeddings)
    found = pd.read_parquet(portraits.table("detections", SHARD))
    clip = found[(found["sample"] == "clip")].set_index("frame")
    times = clip.time[frame[frame["sample"] == "clip"].frame]
    assert (np.diff(times) >= 1 - 1e-6).all()


def test_one_person_is_near_and_two_are_far(embeddings):
    frame = pd.read_parquet(embeddings)
    same = np.concatenate([between(frame, "clip", "clip"), between(frame, "clip", "collins")])
    other = np.concatenate([between(frame, n, "hopper") for n in ("clip", "collins")])
    assert same.max() < 0.35 < 0.45 < other.min()


def test_the_same_bytes_again(portraits, embeddings, tmp_path):
    portraits.embed(SHARD, tmp_path / "again.parquet")
    assert (tmp_path / "again.parquet").read_bytes() == embeddings.read_bytes()


def test_nothing_but_the_chosen_frames_is_asked_of_the_decoder(portraits, tmp_path, monkeypatch):
    asked: dict[str, list[int]] = {}

    def recording(sample: Sample, wanted: list[int], times: list[float] | None) -> object:
        asked[sample.sample] = list(wanted)
        assert (times is None) == (sample.sample != "clip")
        return read_frames(sample, wanted, times)

    monkeypatch.setattr(stage, "read_frames", recording)
    portraits.embed(SHARD, tmp_path / "a.parquet")
    frame = pd.read_parquet(tmp_path / "a.parquet")
    for name, wanted in asked.items():
        assert wanted == frame[frame["sample"] == name].frame.tolist()


def test_the_best_frame_comes_first_then_the_best_that_is_far_enough():
    times = np.arange(10) / 10
    quality = np.array([5, 1, 1, 9, 8, 1, 1, 7, 1, 7], np.float32) / 10
    frames = np.arange(10, dtype=np.int32)
    assert choose_frames(frames, times, quality, 8, 0.4).tolist() == [3, 7]
    assert choose_frames(frames, times, quality, 1, 0.4).tolist() == [3]
    assert choose_frames(frames, times, quality, 3, 0.0).tolist() == [3, 4, 7]
    assert choose_frames(frames, times, quality, 99, 0.0).tolist() == list(range(10))


def test_equal_frames_are_chosen_from_the_start():
    even = np.full(100, 0.5, np.float32)
    chosen = choose_frames(np.arange(100, dtype=np.int32), np.arange(100) / 25, even, 8, 1.0)
    assert chosen.tolist() == [0, 25, 50, 75]


def test_pictures_are_not_held_apart():
    untimed = np.full(5, np.nan)
    quality = np.array([1, 5, 2, 4, 3], np.float32) / 5
    chosen = choose_frames(np.arange(5, dtype=np.int32), untimed, quality, 3, 1.0)
    assert chosen.tolist() == [1, 3, 4]


@pytest.mark.parametrize("seed", range(5))
def test_whatever_is_chosen_is_far_enough_apart(seed):
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.uniform(0.01, 0.1, 500))
    quality = rng.random(500).astype(np.float32)
    chosen = choose_frames(np.arange(500, dtype=np.int32), times, quality, 8, 1.0)
    assert len(chosen) == 8
    assert (np.diff(times[chosen]) >= 1 - 1e-6).all()
    assert quality.argmax() in chosen


def test_quality_falls_with_each_of_its_parts():
    def one(score=1.0, confidence=1.0, angles=(0.0, 0, 0), box=(150.0, 150.0)) -> float:
        arrays = [np.array([v], np.float32) for v in (score, confidence, angles, box)]
        return float(face_quality(*arrays)[0])

    assert one() == one(angles=(0, 0, 1.0)) == one(box=(300, 300)) == 1.0
    assert one(score=0.0625) == pytest.approx(0.5)
    assert one(confidence=0.0625) == pytest.approx(0.5)
    assert one(angles=(np.pi / 3, 0, 0)) == pytest.approx(0.5**0.25)
    assert one(angles=(0, -np.pi / 3, 0)) == pytest.approx(0.5**0.25)
    assert one(box=(75, 75)) == pytest.approx(0.5**0.25)
    assert one(angles=(0, 2.0, 0)) == 0.0
    assert one(angles=(np.nan, 0, 0)) == 0.0
    assert one(score=np.nan, confidence=np.nan) == 1.0  # 3DI gives none


def test_a_frame_that_any_stage_doubts_is_never_chosen(portraits, tmp_path):
    wrong = {"detections": range(25), "landmarks": range(25, 50), "fit": range(50, 74)}
    readers = {}
    for name, frames in wrong.items():
        with tables.TableReader(portraits.table(name, SHARD)) as reader:
            rows = reader.read("clip")
        status = rows["status"].to_pylist()
        for frame in frames:
            status[frame] = "low_confidence"
        place = rows.schema.get_field_index("status")
        rows = rows.set_column(place, rows.schema.field(place), pa.array(status))
        with tables.TableWriter(tmp_path / name, reader.schema, {}) as writer:
            writer.write_table(rows)
        readers[name] = tables.TableReader(tmp_path / name)
    assert [(c.frame, c.track) for c in choose(readers, "clip", 8, 0.0)] == [(74, 0)]


def test_real_people(shared, tmp_path):
    """Same person always nearer than another, in films and pictures that nobody made for it."""
    files = {
        "langer": "WolfgangLanger_Pexels.mp4",
        "film": "single_face.mp4",
        "picture": "single_face.jpg",
        "group": "multi_face.jpg",
        "nobody": "no_face.mp4",
    }
    sheet = [{"sample": n, "path": shared / "data" / f} for n, f in files.items()]
    sheet[0]["end"] = 3  # seconds: the rest shows nothing new
    study = make_study(tmp_path / "study", sheet, shards=1)
    study.up_to_aus(SHARD)
    study.embed(SHARD, tmp_path / "a.parquet")
    frame = pd.read_parquet(tmp_path / "a.parquet")
    counts = frame["sample"].value_counts().to_dict()
    assert counts.keys() == {"langer", "film", "picture", "group"}
    assert 2 <= counts["langer"] <= 3 and 2 <= counts["film"] <= 3
    assert (counts["picture"], counts["group"]) == (1, 5)
    same = [between(frame, a, b) for a, b in [("langer",) * 2, ("film",) * 2, ("film", "picture")]]
    people = ["langer", "film", "group"]
    other = [between(frame, a, b) for a, b in combinations(people, 2)]
    assert np.concatenate(same).max() < np.concatenate(other).min()
    # five people in one picture; the two who are most alike are still not the same
    assert between(frame, "group", "group").min() > 0.3


def test_vectors_are_those_of_dlibs_own_path(bundled):
    """Where the square around the landmarks is the box of dlib's detector, they are equal."""
    import dlib
    from PIL import Image

    rgb = np.asarray(Image.open(bundled / "portraits" / "grace_hopper.jpg").convert("RGB"))
    box = dlib.get_frontal_face_detector()(rgb, 1)[0]
    points = dlib.shape_predictor(str(model_path("dlib_5_point_predictor")))(rgb, box)
    network = dlib.face_recognition_model_v1(str(model_path("dlib_face_recognition_resnet_v1")))
    theirs = np.array(network.compute_face_descriptor(rgb, points))
    theirs /= np.linalg.norm(theirs)
    assert box.width() == box.height()
    corner = np.array([box.left(), box.top()]), np.array([box.right(), box.bottom()])
    embedder = EMBEDDERS["dlib"].create("dlib_face_recognition_resnet_v1", "cpu")
    box = np.array([*corner[0], *(corner[1] - corner[0])], np.float32)
    marks = np.linspace(*corner, 68).astype(np.float32)
    ours = embedder([embedder.chip(rgb, Face(box, marks))])[0]
    np.testing.assert_allclose(ours, theirs, atol=1e-6)
    assert ours.dtype == np.float32
