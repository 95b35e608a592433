"""Landmarks and crops: stateless, with the rows of the detections."""

from __future__ import annotations

from pathlib import Path

import cv2
import h5py
import numpy as np
import pandas as pd
import pytest

from facemake.backends.landmarks import Face
from facemake.backends.landmarks.facemesh import FaceMesh
from facemake.geometry import apply_affine
from facemake.media import open_media
from facemake.provenance import Recipe
from facemake.samples import Sample
from facemake.schemes import IBUG68, MEDIAPIPE478, convert
from facemake.stages.crops import CONTACT_SIDE
from facemake.stages.landmarks import CONTACT_FRAMES, contact_frames, landmarks
from facemake.template import CROP_SIZE
from makestudy import Study, inside


@pytest.fixture(scope="module")
def found(portraits: Study) -> pd.DataFrame:
    return pd.read_parquet(portraits.table("landmarks", portraits.plan.shards[0]))


def test_rows_and_statuses_are_those_of_the_detections(portraits: Study, found: pd.DataFrame):
    detections = pd.read_parquet(portraits.table("detections", portraits.plan.shards[0]))
    key = ["sample", "frame", "track", "status"]
    assert (found[key] == detections[key]).all(axis=None)
    assert set(found["sample"]) == {"clip", "collins", "hopper", "blank"}
    blank = found[found["sample"] == "blank"]
    assert blank[["points", "depth", "confidence"]].isna().all(axis=None)
    assert blank.status.tolist() == ["no_face"]


def test_a_frame_gives_the_same_points_whatever_was_seen_before(bundled: Path):
    with open_media(Sample("c", bundled / "moving_portrait.mp4", "c")) as media:
        frames = [frame.rgb for frame in media if frame.index in (0, 20, 40)]
    boxes = [np.array([170, 90, 140, 140], np.float32)] * 3
    faces = [Face.of(f, b) for f, b in zip(frames, boxes, strict=True)]
    mesh, fresh = FaceMesh(), FaceMesh()
    forwards = mesh(faces)
    backwards = mesh(faces[::-1])[::-1]
    (alone,) = fresh(faces[2:])
    for a, b in zip(forwards, backwards, strict=True):
        assert a is not None and b is not None
        assert a.points.tobytes() == b.points.tobytes()
    assert alone is not None and forwards[2] is not None
    assert alone.points.tobytes() == forwards[2].points.tobytes()
    mesh.close()
    fresh.close()


def test_points_lie_on_the_face_in_pixels_of_the_frame(found: pd.DataFrame):
    collins = found[found["sample"] == "collins"].iloc[0]
    points = convert(collins.points.reshape(478, 2), MEDIAPIPE478, IBUG68)
    # where a person sees them in the portrait: the middles of the eyes, the tip of the nose
    eyes = [points[36:42].mean(axis=0), points[42:48].mean(axis=0)]
    assert np.allclose(eyes, [(202.5, 100.5), (247, 103.5)], atol=2.5)
    assert np.allclose(points[30], (224, 127), atol=4)
    assert collins.confidence > 0.9
    assert len(collins.depth) == 478
    # the nose is nearer to the camera than the cheeks' edge
    assert collins.depth[1] < collins.depth[[234, 454]].min()


def test_crops_are_what_their_affine_says(portraits: Study, found: pd.DataFrame, bundled: Path):
    with h5py.File(portraits.table("faces", portraits.plan.shards[0], "h5")) as file:
        group = file["hopper"]
        assert group["crops"].shape == (1, CROP_SIZE, CROP_SIZE, 3)
        affine, crop = group["affine"][0].astype(float), group["crops"][0]
        assert file["clip/frame"][:].tolist() == found[found["sample"] == "clip"].frame.tolist()
        assert file["blank/crops"].shape[0] == 0
    with open_media(Sample("h", bundled / "portraits" / "grace_hopper.jpg", "h")) as media:
        rgb = next(iter(media)).rgb
    # every second crop pixel, looked up in a picture that is blurred to the crop's scale
    sigma = 0.35 / np.hypot(affine[0, 0], affine[1, 0])
    smooth = cv2.GaussianBlur(rgb, (0, 0), sigma)
    xs, ys = np.meshgrid(np.arange(4, 108, 2), np.arange(4, 108, 2))
    inverse = np.linalg.inv(np.vstack([affine, [0, 0, 1]]))[:2]
    where = apply_affine(inverse, np.stack([xs, ys], axis=-1).reshape(-1, 2)).astype(np.float32)
    looked_up = cv2.remap(smooth, where[None, :, 0], where[None, :, 1], cv2.INTER_LINEAR)[0]
    difference = np.abs(looked_up.astype(float) - crop[ys, xs].reshape(-1, 3))
    assert np.median(difference) < 4
    shifted = np.abs(looked_up.astype(float) - crop[ys, xs + 2].reshape(-1, 3))
    assert difference.mean() < 0.6 * shifted.mean()


def test_contact_frames_are_small_and_few(portraits: Study):
    with h5py.File(portraits.table("faces", portraits.plan.shards[0], "h5")) as file:
        contact = file["clip/contact"]
        assert len(contact) == CONTACT_FRAMES
        picture = cv2.imdecode(contact["00000003"][:], cv2.IMREAD_COLOR)
        assert max(picture.shape[:2]) == CONTACT_SIDE
        assert contact["00000003"].attrs["scale"] == pytest.approx(CONTACT_SIDE / 480)


@pytest.mark.parametrize("n", [0, 1, 5, 12, 13, 1000])
def test_contact_frames_are_spread(n: int):
    frames = sorted(contact_frames(n))
    assert len(frames) == min(n, CONTACT_FRAMES)
    assert all(0 <= f < n for f in frames)
    steps = np.diff(frames)
    assert len(steps) == 0 or steps.max() - steps.min() <= 1


def test_a_threshold_above_the_confidence_marks_and_keeps_the_points(
    portraits: Study, tmp_path: Path
):
    shard = portraits.plan.shards[0]
    strict = portraits.recipe("landmarks").to_dict()
    strict["settings"] = {"min_confidence": 1.01}  # no confidence is that high
    with inside(portraits.folder):
        landmarks(
            portraits.plan_file(shard),
            portraits.table("probe", shard),
            portraits.table("detections", shard),
            tmp_path / "strict.parquet",
            tmp_path / "strict.h5",
            Recipe.from_dict(strict),
        )
    found = pd.read_parquet(tmp_path / "strict.parquet")
    assert set(found.status) == {"low_confidence", "no_face"}
    assert found.points.notna().sum() == (found.status == "low_confidence").sum()


def test_a_second_run_gives_the_same_bytes(portraits: Study, tmp_path: Path):
    shard = portraits.plan.shards[0]
    with inside(portraits.folder):
        landmarks(
            portraits.plan_file(shard),
            portraits.table("probe", shard),
            portraits.table("detections", shard),
            tmp_path / "again.parquet",
            tmp_path / "again.h5",
            portraits.recipe("landmarks"),
        )
    for new, old in (
        ("again.parquet", portraits.table("landmarks", shard)),
        ("again.h5", portraits.table("faces", shard, "h5")),
    ):
        assert (tmp_path / new).read_bytes() == old.read_bytes()


@pytest.mark.parametrize("visibility", [False, True])
def test_points_are_read_as_protobuf_reads_them(visibility: bool):
    from mediapipe.framework.formats import landmark_pb2
    from mediapipe.python import packet_creator

    from facemake.backends.mediapipe_graph import landmarks_of

    rng = np.random.default_rng(5)
    wanted = rng.normal(size=(478, 3)).astype(np.float32)
    wanted[0] = 0  # what is zero is written out all the same
    message = landmark_pb2.NormalizedLandmarkList()
    for x, y, z in wanted.tolist():
        point = message.landmark.add(x=x, y=y, z=z)
        if visibility:
            point.visibility = 0.5
    found = landmarks_of(packet_creator.create_proto(message))
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, wanted)
    empty = packet_creator.create_proto(landmark_pb2.NormalizedLandmarkList())
    assert landmarks_of(empty).shape == (0, 3)
