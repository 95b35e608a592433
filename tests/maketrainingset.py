"""Small training sets for tests: facemake's layout, consistent in itself, and pyfaceau's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from facemake.data import TrainingDataWriter
from facemake.dataset.crop import global_params_in_crop, landmarks_in_crop
from facemake.dataset.fhog import fhog
from facemake.dataset.layout import AU_NAMES

PDM = "34 modes derived from a test"


def examples(n: int, seed: int = 0) -> dict[str, Any]:
    """The arguments of `add_batch` for n examples: smooth pictures, labels that fit each other."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (n, 7, 7, 3)).astype(np.uint8)
    images = np.ascontiguousarray(coarse.repeat(16, axis=1).repeat(16, axis=2))
    features = np.empty((n, 4464), np.float32)
    fhog(images, features)
    angle, scale = rng.uniform(-0.3, 0.3, n), rng.uniform(0.5, 0.9, n)
    cosine, sine = scale * np.cos(angle), scale * np.sin(angle)
    affine = np.zeros((n, 2, 3), np.float32)
    affine[:, 0, 0], affine[:, 0, 1], affine[:, 1, 0], affine[:, 1, 1] = cosine, -sine, sine, cosine
    points = rng.uniform(30, 90, (n, 68, 2)).astype(np.float32)
    centre = np.einsum("nij,nj->ni", affine[:, :, :2], points.mean(axis=1))
    affine[:, :, 2] = 56 - centre
    pose = np.concatenate(
        [rng.uniform(0.8, 1.2, (n, 1)), rng.uniform(-0.3, 0.3, (n, 3)), points.mean(axis=1)], axis=1
    ).astype(np.float32)
    return {
        "images": images,
        "hog_features": features,
        "landmarks": landmarks_in_crop(affine, points),
        "global_params": global_params_in_crop(affine, pose),
        "local_params": rng.normal(size=(n, 34)).astype(np.float32),
        "au_intensities": (rng.random((n, len(AU_NAMES))) * 3).astype(np.float32),
        "bboxes": np.tile(np.float32([10, 20, 110, 130]), (n, 1)),
        "video_names": ["a.mp4" if i < n // 2 else "b.mp4" for i in range(n)],
        "frame_indices": [i if i < n // 2 else i - n // 2 for i in range(n)],
        "quality_scores": rng.uniform(0.5, 1, n).astype(np.float32),
        "affines": affine,
        "frame_landmarks": points,
        "frame_global_params": pose,
        "times": np.arange(n) / 25,
        "confidences": np.ones(n, np.float32),
        "subjects": ["anna" if i < n // 2 else "bob" for i in range(n)],
        "splits": ["train" if i < n // 2 else "val" for i in range(n)],
    }


def write(path: Path, n: int = 12, seed: int = 0, pdm: str | None = PDM, **changed: Any) -> Path:
    """A file of such examples, some arguments changed."""
    with TrainingDataWriter(path, pdm=pdm) as writer:
        writer.add_batch(**{**examples(n, seed), **changed})
    return path


def write_as_pyfaceau(path: Path, n: int = 12, seed: int = 0) -> Path:
    """The same examples as pyfaceau's writer leaves them: large chunks, gzip, no extras."""
    rows = examples(n, seed)
    fields = {
        "images": rows["images"],
        **{name: rows[name] for name in ("hog_features", "global_params", "local_params")},
        "landmarks": rows["frame_landmarks"] + 300,  # theirs are pixels of the frame
        **{name: rows[name] for name in ("au_intensities", "bboxes")},
    }
    with h5py.File(path, "w") as file:
        for name, values in fields.items():
            dataset = file.create_dataset(
                name,
                (500, *values.shape[1:]),
                values.dtype,
                maxshape=(None, *values.shape[1:]),
                chunks=(250, *values.shape[1:]),
                compression="gzip",
            )
            dataset[:n] = values
            dataset.resize(n, axis=0)
        file["metadata/video_names"] = np.array(rows["video_names"], h5py.string_dtype())
        file["metadata/frame_indices"] = np.array(rows["frame_indices"], np.int32)
        file["metadata/quality_scores"] = rows["quality_scores"]
        file.attrs["au_names"] = list(AU_NAMES)
        file.attrs["image_size"] = (112, 112)
        file.attrs["color_format"] = "RGB"
        file.attrs["num_samples"] = n
    return path
