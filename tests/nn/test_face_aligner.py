"""FaceAligner against the crops of the workflow's own stages."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from facemake import FaceAligner
from facemake.alignment import align
from facemake.backends.detect import DETECTORS
from facemake.backends.landmarks import LANDMARKERS, Face
from facemake.geometry import apply_affine, invert_affine
from facemake.schemes import IBUG51, convert
from facemake.template import crop_affine

GRID = np.array([(x, y) for x in (20.0, 56.0, 92.0) for y in (20.0, 56.0, 92.0)])


@pytest.fixture(scope="module")
def faces(bundled: Path, shared: Path) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """RGB frame, box and points of the workflow's detector."""
    pictures = [np.asarray(Image.open(shared / "data" / "multi_face.jpg").convert("RGB"))]
    for clip in (bundled / "moving_portrait.mp4", shared / "data" / "WolfgangLanger_Pexels.mp4"):
        with av.open(clip) as container:
            frames = list(container.decode(video=0))
        pictures += [f.to_ndarray(format="rgb24") for f in frames[:: len(frames) // 6]]
    row = DETECTORS["mediapipe"]
    detector = row.create(row.models[0], row.start_score, "cpu")
    found = []
    for rgb in pictures:
        (seen,) = detector([rgb])
        found += [(rgb, box, five) for box, five in zip(seen.bbox, seen.keypoints5, strict=True)]
    assert len(found) > 12
    return found


@pytest.fixture(scope="module")
def aligner() -> FaceAligner:
    return FaceAligner()


def off(affine: np.ndarray, wanted: np.ndarray) -> float:
    """px of the crop, root mean square over a grid."""
    there = apply_affine(affine, apply_affine(invert_affine(wanted), GRID))
    return float(np.sqrt(((there - GRID) ** 2).sum(axis=1).mean()))


def test_the_crop_is_the_workflows(aligner: FaceAligner, faces):
    network = LANDMARKERS["mediapipe478"].network()
    for rgb, box, five in faces:
        (found,) = network([Face.of(rgb, box, five)])
        affine = crop_affine(convert(found.points, network.scheme, IBUG51))
        crop = aligner.align(np.ascontiguousarray(rgb[..., ::-1]), box, five)
        assert crop.shape == (112, 112, 3) and crop.dtype == np.uint8
        assert crop[..., ::-1].tobytes() == align(rgb, affine).tobytes()


def test_other_boxes_give_nearly_the_same_crop(aligner: FaceAligner, faces):
    """Within what the module says of them: 95 % of 124 faces were within 2.6 px."""
    sizes = {"same": [], "wide": [], "tight": [], "aside": []}
    for rgb, box, five in faces:
        bgr = np.ascontiguousarray(rgb[..., ::-1])
        _, wanted = aligner.align_with_affine(bgr, box, five)
        x, y, w, h = box.astype(float)
        boxes = {
            "same": (x, y, w, h),
            "wide": (x - 0.1 * w, y - 0.1 * h, 1.2 * w, 1.2 * h),
            "tight": (x + 0.1 * w, y + 0.1 * h, 0.8 * w, 0.8 * h),
            "aside": (x + 0.1 * w, y + 0.1 * h, w, h),
        }
        for name, other in boxes.items():
            _, found = aligner.align_with_affine(bgr, other)
            sizes[name].append(off(found, wanted))
    for name, values in sizes.items():
        assert np.median(values) < 1.3, name
        assert np.percentile(values, 90) < 2.6, name


def test_a_box_of_corners(aligner: FaceAligner, faces):
    rgb, box, five = faces[0]
    bgr = np.ascontiguousarray(rgb[..., ::-1])
    x, y, w, h = box.astype(float)
    crop = aligner.align(bgr, [x, y, w, h, 0.9], five)
    assert aligner.align(bgr, [x, y, x + w, y + h], five, corners=True).tobytes() == crop.tobytes()
    height, width = bgr.shape[:2]
    far = [0.6 * width, 0.5 * height, 0.9 * width, 0.9 * height]
    with pytest.raises(ValueError, match="inside as x1, y1, x2, y2: is it that"):
        aligner.align(bgr, far)


@pytest.mark.parametrize(
    ("box", "says"),
    [
        (None, "the box is None: no face was detected"),
        ([1, 2, 3], "wanted are four finite numbers"),
        ([1, 2, np.nan, 3], "wanted are four finite numbers"),
        ([50, 50, 0, 10], "has no area as x, y, w, h"),
        ([900, 50, 20, 20], "lies outside of the frame of 200 x 100"),
        ([50, 20, 60, 60], r"no landmarks of a face are found in the box \(50, 20, 60, 60\)"),
    ],
)
def test_a_box_without_a_face(aligner: FaceAligner, box, says: str):
    with pytest.raises(ValueError, match=says):
        aligner.align(np.full((100, 200, 3), 127, np.uint8), box)


def test_what_is_no_frame(aligner: FaceAligner):
    with pytest.raises(ValueError, match="the frame is None, which is what OpenCV gives"):
        aligner.align(None, [1, 1, 9, 9])
    with pytest.raises(ValueError, match=r"is float64 of the shape \(9, 9, 3\); wanted"):
        aligner.align(np.zeros((9, 9, 3)), [1, 1, 5, 5])
    with pytest.raises(ValueError, match="and can be by mediapipe478, pfld68, dlib68"):
        FaceAligner("3di")
    with pytest.raises(ValueError, match="no detector is called 'yolo'; there are mediapipe"):
        FaceAligner(detector="yolo")
