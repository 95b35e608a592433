"""The largest speeds, jitter and errors of a finished run: what `facemake.qc.limits` rests on."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from facemake.qc.frames import moved, read_tracks, shaken_for_a_second, turned
from facemake.tables import TableReader

MEASURES = (
    "box, face widths a second",
    "head, degrees a second",
    "median shake in a second, degrees",
    "reprojection error over the face's width",
    "step over the median step",
)


def run(study: Path) -> None:
    """Print the largest value of each measure by sample, of videos, and of all."""
    largest = np.zeros(len(MEASURES))
    frames = 0
    for path in sorted((study / "results" / "probe").glob("[!.]*.parquet")):
        with TableReader(path) as reader:
            rows = [reader.read(sample).to_pylist()[0] for sample in reader.samples]
        readers = {
            stage: TableReader(study / "results" / stage / path.name)
            for stage in ("detections", "landmarks", "fit")
        }
        for row in rows:
            tracks = read_tracks(readers, row["sample"]) if row["kind"] == "video" else []
            for track in (one for one in tracks if one.seen.any()):
                step = np.diff(track.time)
                values = np.array(
                    [
                        _most(moved(track)),
                        _most(turned(track)),
                        _most(shaken_for_a_second(track)[0]),
                        _most(track.error / track.width),
                        _most(step / np.median(step)),
                    ]
                )
                frames += int(track.seen.sum())
                largest = np.fmax(largest, values)
                print(f"{row['sample']} track {track.number}: {_words(values)}")
    print(f"largest of {frames} frames with a face: {_words(largest)}")


def _most(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.max()) if len(finite) else float("nan")


def _words(values: np.ndarray) -> str:
    return ", ".join(f"{name} {v:.4g}" for name, v in zip(MEASURES, values, strict=True))
