"""Tables of embeddings of made-up vectors, with the probes and detections that belong to them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from facemake import tables
from facemake.provenance import Recipe, digest
from facemake.tables import TableWriter

EMBED = Recipe(
    stage="embed",
    backend="dlib",
    settings={"flip": False, "chip": "150 px", "frames_per_track": 8, "min_spacing": 1.0},
    models=({"name": "dlib_face_recognition_resnet_v1", "sha256": "ab" * 32, "licence": "CC0"},),
    code="code",
)
Row = tuple[int, int, np.ndarray, float]
"""Frame, track, vector, quality."""


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def near(vector: np.ndarray, similarity: float, rng: np.random.Generator) -> np.ndarray:
    """A unit vector of that cosine similarity to one."""
    other = rng.normal(size=vector.shape)
    other -= (other @ vector) * vector
    other /= np.linalg.norm(other)
    return (similarity * vector + np.sqrt(1 - similarity**2) * other).astype(np.float32)


def write_looks(
    results: Path,
    samples: Mapping[str, Sequence[Row]],
    shard: str = "one",
    recipe: Recipe = EMBED,
    pictures: Iterable[str] = (),
    seen: Mapping[str, Sequence[tuple[int, int]]] | None = None,
) -> None:
    """A shard's embeddings and probe, and its detections.

    Args:
        results: the results folder.
        samples: sample -> its chosen faces.
        shard: its name.
        recipe: of the stage embed.
        pictures: those of the samples that are folders of pictures.
        seen: sample -> (frame, track) of its detections; None: no detections table.
    """
    detect = Recipe(
        stage="detect",
        backend="mediapipe",
        settings={"track": {"image_folders": "pictures"}},
        models=({"name": "blazeface_full_range", "sha256": "ef" * 32, "licence": "Apache-2.0"},),
        code="code",
    )
    content = [[name, [list(map(str, row)) for row in rows]] for name, rows in samples.items()]
    document = {
        "recipe": recipe.to_dict(),
        "lineage": recipe.lineage([], digest(content)),
        "upstream": {"detect": detect.to_dict()},
    }

    def table(folder: str, made: Any, name: str | None = None) -> TableWriter:
        path = results / folder / f"{shard}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        return TableWriter(path, tables.SCHEMAS[name or folder], made)

    with table("embeddings", document) as writer:
        for name in sorted(samples):
            for frame, track, vector, quality in sorted(samples[name], key=lambda r: r[:2]):
                writer.append(
                    sample=name, frame=frame, track=track, embedding=vector, quality=quality
                )
    with table("probe", document) as writer:
        for name in sorted(samples):
            kind = "images" if name in pictures else "video"
            writer.append(sample=name, kind=kind, n_frames=100, status="ok", reason="")
    if seen is not None:
        with table("detections", document) as writer:
            for name in sorted(samples):
                for frame, track in sorted(seen.get(name, ())):
                    writer.append(sample=name, frame=frame, track=track, status="ok")
