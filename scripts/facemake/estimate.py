"""How many frames, bytes and hours lie ahead, from the headers of a few recordings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import av

from facemake.counting import counted

_RECORDINGS_LOOKED_AT = 20

# Measured on 640 x 360 video with one face a frame: an uncompressed crop, an example in its shard
# and once more in the merged set, the tables; CPU of all stages together.
BYTES_A_FRAME = 38_000 + 2 * 55_000 + 10_000
CPU_SECONDS_A_FRAME = 0.012
CPU_SECONDS_A_JOB = 0.6
"""What a job costs besides its frames: its process, its libraries, its model, Snakemake's part.

Measured as the CPU time (user and system, of the run and all its jobs) of `facemake run --cores 1`
over n samples that are one and the same portrait, without the cache: 23.8 s of 3 samples (35 jobs),
60.4 s of 9 (95 jobs), so 0.61 s a job; the run itself takes another 2.5 s.
"""
CPU_SECONDS_A_RUN = 2.5
_MANY = 50
"""Samples, from which on packs are worth a word: they change what is made of each."""


def estimate(
    recordings: Sequence[Path], jobs: int = 0, cores: int | None = None, packed: bool = True
) -> str:
    """A line on what lies ahead; empty where no recording is a video and no jobs are known.

    A second line where packs of the samples would save most of the time.

    The headers of a few videos, evenly spread over all by size, tell frames a byte.

    Args:
        recordings: paths of the samples.
        jobs: that are to run; 0: not known.
        cores: that the jobs run on; None: not known (on a cluster).
        packed: several samples share a job already.
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
    ahead = frames * total / looked_at if looked_at else 0.0
    words = []
    if ahead:
        words.append(
            f"about {counted(round(ahead), 'frame', form=',')} if all is new: with a face in each "
            f"{_bytes(ahead * BYTES_A_FRAME)} of results"
        )
    if jobs:
        words.append(counted(jobs, "job", form=","))
    if not words:
        return ""
    cpu = ahead * CPU_SECONDS_A_FRAME
    if jobs:
        cpu += CPU_SECONDS_A_RUN + jobs * CPU_SECONDS_A_JOB
    text = f"{', '.join(words)}, {_time(cpu)} of CPU"
    if jobs and cores:
        text += f" (at best {_time(cpu / cores)} on {counted(cores, 'core')})"
    many = not packed and len(recordings) >= _MANY and jobs > 5 * len(recordings)
    if many and jobs * CPU_SECONDS_A_JOB > 2 * ahead * CPU_SECONDS_A_FRAME:
        shards = packs_for(len(recordings))
        text += (
            f"\nmost of that is the start of jobs, not their work: with `shards: {shards}` in the "
            f"config, packs of short recordings share about {jobs * shards // len(recordings)} jobs"
        )
    return text


def packs_for(samples: int) -> int:
    """How many packs so many samples want: about a hundred in each, and eight at least."""
    return max(8, samples // 100)


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
    return f"{count / 1e6:.0f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"


def _time(seconds: float) -> str:
    """Rounded as far as it is known, in the unit that people say it in."""
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            count = seconds / size
            return f"{count:.1f} {unit}" if count < 9.95 else f"{count:,.0f} {unit}"
    return f"{max(1, round(seconds)):.0f} seconds" if seconds >= 1.5 else "1 second"
