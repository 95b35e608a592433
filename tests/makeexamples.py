"""Training sets in miniature: faces of the built-in model, drawn as dots and lines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from facemake import geometry, h5
from facemake.backends.fit import load
from facemake.dataset import layout
from facemake.schemes import IBUG68_GROUPS


def weak_perspective(global_params: np.ndarray, local_params: np.ndarray) -> np.ndarray:
    """(n, 68, 2) px: s R[0:2] (mean + Phi p) + t, with R = Rx Ry Rz, of the built-in model."""
    model = load("builtin")
    change = np.asarray(local_params, float) @ model.pdm.T
    shape = model.mean + change.reshape(-1, 3, 68).transpose(0, 2, 1)
    g = np.asarray(global_params, float)
    turned = geometry.rotate(geometry.rotation_from_euler_xyz(g[:, 1:4]), shape)
    return g[:, :1, None] * turned[..., :2] + g[:, None, 4:]


def faces(n: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Labels of n faces of one look, and their pictures."""
    rng = np.random.default_rng(seed)
    local = rng.normal(size=(n, 34)) * np.linspace(6, 0.5, 34)
    angles = rng.normal(size=(n, 3)) * [0.15, 0.3, 0.05]
    g = np.concatenate([np.full((n, 1), 0.68), angles, np.full((n, 2), 56.0)], axis=1)
    g[:, 4:] += rng.normal(size=(n, 2))
    points = weak_perspective(g, local)
    aus = np.clip(local[:, :17] / 3 + 1, 0, 5)
    images = np.full((n, 112, 112, 3), 40, np.uint8)
    for image, marks in zip(images, points, strict=True):
        for name, where in IBUG68_GROUPS.items():
            colour = (200, 120, 60) if "eye" in name else (230, 230, 90)
            line = np.rint(marks[where] * 8).astype(np.int32)
            cv2.polylines(image, [line], False, colour, 1, cv2.LINE_AA, 3)
        image += rng.integers(0, 12, image.shape, dtype=np.uint8)
    return {
        "images": images,
        "hog_features": np.zeros((n, 4464), np.float32),
        "landmarks": points.astype(np.float32),
        "global_params": g.astype(np.float32),
        "local_params": local.astype(np.float32),
        "au_intensities": aus.astype(np.float32),
    }


def made_by_the_builtin_model() -> dict:
    """What a training set's metadata say of its face model."""
    model = load("builtin")
    row = {"name": model.name, "sha256": model.sha256, "pdm": model.local_params_are}
    return {"upstream": {"fit": {"models": [row]}}}


def training_set(
    path: Path,
    videos: Sequence[str],
    subjects: Sequence[str] | None = None,
    splits: Sequence[str] | None = None,
    **changed: np.ndarray,
) -> Path:
    """Write a training set of one example a name in `videos`, as the workflow does."""
    n = len(videos)
    labels = {**(faces(n) if n else {}), **changed}
    with h5.create(path) as file:
        made = layout.create(file, n)
        for name, values in labels.items():
            made[name][...] = values
        if n:
            made["bboxes"][...] = (0, 0, 112, 112)
            made["affine"][...] = np.eye(2, 3)
            made["frame/landmarks"][...] = labels["landmarks"]
            made["frame/global_params"][...] = labels["global_params"]
            made["metadata/frame_indices"][...] = np.arange(n)
            made["metadata/times"][...] = np.arange(n) / 25
            made["metadata/track"][...] = 0
            made["metadata/quality_scores"][...] = 0.9
            made["metadata/confidence"][...] = 0.99
            made["metadata/video_names"][...] = list(videos)
            made["metadata/subjects"][...] = list(subjects or videos)
            made["metadata/split"][...] = list(splits or ["train"] * n)
        layout.describe(file, n, made_by_the_builtin_model())
    return path
