"""The overlay of a video against decoding and encoding it alone, by CPU time in one process.

Alone is libav's decoder to the same encoder with the same settings, without a way through RGB. Both
have one thread and take turns.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from pathlib import Path
from statistics import median

import av

from benchmarks.measure import cost
from benchmarks.work import count_frames, planned
from facemake.overlay.options import LAYERS, USUAL, Options
from facemake.overlay.run import overlay
from facemake.overlay.sinks import X264
from facemake.overlay.study import find

STAGES = ("probe", "detect", "landmarks", "fit", "smooth", "expressions", "aus")
WAYS = {
    "boxes, ids, landmarks, axes, gaze, AUs": Options(frozenset(USUAL)),
    "all layers, mesh too": Options(frozenset(LAYERS)),
    "faces pixelated": Options(frozenset(), hide="pixelate"),
    "faces as meshes": Options(frozenset(), hide="mesh"),
}


def run(folder: Path, clip: Path, runs: int) -> None:
    """Print the ratios for one clip."""
    frames = count_frames(clip)
    work = folder / "overlay"
    shard = planned(work, clip, 1)
    for stage in STAGES:
        cost("-m", "benchmarks.stage", stage, shard, folder=work)
    before = Path.cwd()
    os.chdir(work)
    try:
        (recorded,) = find(Path(), ["clip000"])
        spent: dict[str, list[float]] = {name: [] for name in ("alone", *WAYS)}
        for _ in range(runs):
            spent["alone"].append(_cpu(partial(_alone, clip, work / "alone.mp4")))
            for name, options in WAYS.items():
                spent[name].append(_cpu(partial(overlay, recorded, options, work / "made")))
    finally:
        os.chdir(before)
    alone = median(spent["alone"])
    print(
        f"decoding and encoding alone: {1e3 * alone / frames:.2f} ms of CPU a frame ({runs} runs)"
    )
    for name in WAYS:
        seconds = median(spent[name])
        print(
            f"overlay, {name}: {1e3 * seconds / frames:.2f} ms, {alone / seconds:.2f} of its speed"
        )


def _cpu(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def _alone(clip: Path, output: Path) -> None:
    with av.open(str(clip)) as source, av.open(str(output), "w") as target:
        stream = source.streams.video[0]
        stream.codec_context.thread_count = 1
        out = target.add_stream("libx264", rate=stream.average_rate, options=dict(X264))
        out.width, out.height, out.pix_fmt = stream.width, stream.height, "yuv420p"
        out.codec_context.thread_count = 1
        base = stream.time_base or Fraction(1, 90000)
        out.codec_context.time_base = base
        for frame in source.decode(stream):
            for packet in out.encode(frame):
                target.mux(packet)
        for packet in out.encode(None):
            target.mux(packet)
