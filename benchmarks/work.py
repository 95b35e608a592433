"""Working directories for the measurements: a planned run over copies of a clip."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import av
import numpy as np

from facemake import plan


def planned(folder: Path, clip: Path, copies: int) -> str:
    """Plan a run over `copies` samples of `clip` in one shard; the shard's name."""
    folder.mkdir(parents=True)
    lines = ["sample\tpath"] + [f"clip{i:03d}\t{clip.resolve()}" for i in range(copies)]
    (folder / "samples.tsv").write_text("\n".join(lines) + "\n")
    config = {"samples": "samples.tsv", "shards": 1, "cache_dir": str(folder / "cache")}
    return write_plan(folder, config)[0]


def write_plan(folder: Path, config: Mapping[str, Any]) -> list[str]:
    """Write the plan of `folder`, as a run does when it starts; the shards."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        made = plan.make(config)
        plan.write(made)
        return made.shards
    finally:
        os.chdir(before)


def repeated(clip: Path, times: int, output: Path) -> None:
    """Write the packets of a clip `times` over, one after the other: the same frames, longer."""
    with av.open(str(output), "w") as target:
        copy = None
        shift = 0
        for _ in range(times):
            with av.open(str(clip)) as source:
                stream = source.streams.video[0]
                if copy is None:
                    copy = target.add_stream_from_template(stream)
                last = 0
                for packet in source.demux(stream):
                    if packet.dts is None:
                        continue
                    packet.pts += shift
                    packet.dts += shift
                    last = max(last, packet.pts + packet.duration)
                    packet.stream = copy
                    target.mux(packet)
                shift = last


def shortened(clip: Path, seconds: float, output: Path) -> None:
    """Write the packets of a clip's first seconds."""
    with av.open(str(clip)) as source, av.open(str(output), "w") as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        for packet in source.demux(stream):
            if packet.dts is None or packet.pts * packet.time_base >= seconds:
                continue
            packet.stream = copy
            target.mux(packet)


def write_video(path: Path, frames: Iterable[np.ndarray], rate: int) -> None:
    """Encode RGB frames, (H, W, 3) uint8, with next to no loss: the same bytes each time."""
    with av.open(str(path), "w") as target:
        stream = target.add_stream("libx264", rate=rate)
        # x264 with its mbtree reads memory that nobody has written
        stream.options = {"crf": "12", "threads": "1", "x264-params": "log-level=none:mbtree=0"}
        stream.pix_fmt = "yuv420p"
        for number, rgb in enumerate(frames):
            if not number:
                stream.height, stream.width = rgb.shape[:2]
            target.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        target.mux(stream.encode(None))


def count_frames(clip: Path) -> int:
    """Decoded frames of a clip."""
    with av.open(str(clip)) as container:
        return sum(1 for _ in container.decode(video=0))
