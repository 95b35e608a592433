"""A folder of recordings that are planned and never decoded."""

from __future__ import annotations

from pathlib import Path

from facemake import plan


def make_clips(folder: Path) -> None:
    """Forty clips whose bytes are their numbers."""
    (folder / "clips").mkdir()
    for i in range(40):
        (folder / "clips" / f"clip{i:02d}.mp4").write_bytes(b"%d" % i)


def config(**more: object) -> dict:
    """What is planned of the clips in the working directory."""
    return {"input_dir": "clips", "cache_dir": "cache", **more}


def made(document: dict) -> plan.Plan:
    """Planned and written, as a run does."""
    planned = plan.make(document)
    plan.write(planned)
    return planned
