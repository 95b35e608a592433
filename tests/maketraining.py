"""A small training set whose pictures show their labels, and networks trained with it for real."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from facemake import h5
from facemake.dataset import layout
from facemake.template import CROP_SIZE

META = {
    "recipe": {"stage": "merge_dataset", "models": []},
    "lineage": "of-a-test",
    "upstream": {
        "fit": {
            "stage": "fit",
            "models": [{"name": "a model", "sha256": "ab" * 32, "licence": "MIT", "pdm": "a test"}],
        },
        "aus": {"stage": "aus", "backend": "proxy", "models": []},
    },
}


def mean_face() -> np.ndarray:
    """(68, 2) px of the crop: points on circles, the eye corners 40 px apart."""
    angles = np.linspace(0, 2 * np.pi, 68, endpoint=False)
    points = 56 + 30 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    points[36], points[45] = (36, 45), (76, 45)
    return points


def make_training_set(path: Path, videos: dict[str, tuple[str, str, int]], seed: int = 0) -> Path:
    """Write a training set: a bright disc, whose place and colour are what the labels are of.

    Args:
        path: of the file.
        videos: name -> subject, split, number of examples.
        seed: of what is random.
    """
    rng = np.random.default_rng(seed)
    n = sum(count for *_, count in videos.values())
    shift = rng.uniform(-12, 12, (n, 2))
    smile = rng.uniform(0, 5, n)
    y, x = np.mgrid[:CROP_SIZE, :CROP_SIZE]
    disc = (x - 56 - shift[:, :1, None]) ** 2 + (y - 56 - shift[:, 1:, None]) ** 2 < 400
    images = np.where(disc[..., None], (30 + 40 * smile)[:, None, None, None], 20)
    global_params = np.zeros((n, 6))
    global_params[:, 0] = 0.5
    global_params[:, 1:4] = rng.normal(0, 0.2, (n, 3))
    global_params[:, 4:] = 56 + shift
    intensities = np.zeros((n, 17))
    intensities[:, 8] = smile  # AU12
    intensities[:, 14] = np.clip(5 - smile, 0, 5)  # AU25
    values = {
        "images": np.clip(images + rng.integers(0, 8, (n, CROP_SIZE, CROP_SIZE, 3)), 0, 255),
        "landmarks": mean_face() + shift[:, None],
        "global_params": global_params,
        "local_params": rng.normal(0, 1, (n, 34)),
        "au_intensities": intensities,
        "affine": np.tile(np.eye(2, 3), (n, 1, 1)),
        "metadata/frame_indices": np.concatenate([np.arange(c) for *_, c in videos.values()]),
        "metadata/quality_scores": np.ones(n),
        "metadata/confidence": np.ones(n),
    }
    texts = {
        "metadata/video_names": [v for v, (*_, c) in videos.items() for _ in range(c)],
        "metadata/subjects": [s for s, _, c in videos.values() for _ in range(c)],
        "metadata/split": [s for _, s, c in videos.values() for _ in range(c)],
    }
    with h5.create(path) as file:
        made = layout.create(file, n)
        for field in layout.FIELDS:
            if field.kind == "text":
                made[field.name][:] = np.array(texts[field.name], object)
            else:
                given = values.get(field.name, np.zeros((n, *field.shape)))
                made[field.name][:] = given.astype(field.kind)
        layout.describe(file, n, META)
    return path


VIDEOS = {
    "ann_1": ("ann", "train", 20),
    "bob_1": ("bob", "train", 12),
    "cem_1": ("cem", "val", 16),
    "dua_1": ("dua", "test", 14),
    "dua_2": ("dua", "test", 10),
}


def train(network: str, data: Path, output: Path, *more: str) -> Path:
    """Train a small network by its command line; returns its folder."""
    from importlib import import_module

    import torch

    torch.set_num_threads(1)  # threads that wait for each other on busy cores take minutes
    main = import_module(f"facemake.nn.train_{network}").main
    options = ["--width-mult", "0.125", "--epochs", "2", "--batch-size", "16", "--num-workers", "0"]
    code = main(["--data", str(data), "--output", str(output), "--device", "cpu", *options, *more])
    assert code == 0
    return output
