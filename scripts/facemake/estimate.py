"""How many frames, bytes and hours lie ahead, from the headers of a few recordings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import av

_RECORDINGS_LOOKED_AT = 20

# Measured on 640 x 360 video with one face a frame: an uncompressed crop, an example in its shard
# and once more in the merged set, the tables; CPU of all stages together.
BYTES_A_FRAME = 38_000 + 2 * 55_000 + 10_000
CPU_SECONDS_A_FRAME = 0.012


def estimate(recordings: Sequence[Path]) -> str:
    """A line on what lies ahead; empty where no recording is a video.

    The headers of a few videos, evenly spread over all by size, tell frames a byte.
    """
    sized = [(size, path) for path in recordings if (size := _size(path))]
    total = sum(size for size, _ in sized)
    sized.sort(key=lambda pair: (pair[0], str(pair[1])))
    step = max(1, len(sized) // _RECORDINGS_LOOKED_AT)
    frames = looked_at = 0.0
    for size, path in sized[step // 2 :: step]:
        count = _frames(path)
        if count:
            frames += count
            looked_at += size
    if not looked_at:
        return ""
    ahead = frames * total / looked_at
    return (
        f"about {ahead:,.0f} frames if all is new: with a face in each "
        f"{_bytes(ahead * BYTES_A_FRAME)} of results, {_hours(ahead * CPU_SECONDS_A_FRAME)} of CPU"
    )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size if path.is_file() else 0
    except OSError:
        return 0


def _frames(path: Path) -> float:
    """Frames that the header promises; 0 where it says nothing."""
    try:
        options = {"protocol_whitelist": "file"}
        with av.open(str(path), options=options, metadata_errors="replace") as container:
            stream = container.streams.video[0]
            if stream.frames:
                return float(stream.frames)
            seconds = (container.duration or 0) / av.time_base
            return seconds * float(stream.average_rate or 0)
    except (av.FFmpegError, OSError, IndexError, ValueError):
        return 0.0


def _bytes(count: float) -> str:
    for unit, size in (("TB", 1e12), ("GB", 1e9)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count / 1e6:.0f} MB"


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f} hours" if seconds >= 3600 else f"{seconds / 60:.1f} minutes"
