"""What an engine of 3DI is given of each sample: the recording itself, or a video made of it."""

from __future__ import annotations

import shutil
from pathlib import Path

from facemake.backends.threedi.offer import SUFFIX, offer
from facemake.provenance import Recipe
from facemake.samples import WORK
from facemake.shards import ShardRun, decodable_samples


def threedi_video(plan: Path, probe: Path, output: Path, recipe: Recipe) -> None:
    """Write the videos of a shard: an archive of `SAMPLE.json`, and `SAMPLE.mp4` where one is made.

    Args:
        plan: the shard's plan file.
        probe: its probe table; a sample that cannot be decoded has nothing in the archive.
        output: `3di/.steps/video/{shard}.zip`.
        recipe: of the stage `threedi_video`.
    """
    with ShardRun(recipe, plan, [probe], {"videos": output}, stored=frozenset({"videos"})) as run:
        known = decodable_samples(probe)
        run.progress.expect(sum(row["n_frames"] for row in known.values()))
        folder = WORK / "3di" / f"video.{run.shard}"
        folder.mkdir(parents=True, exist_ok=True)
        for sample, part in run.pending():
            row = known.get(sample.sample)
            if row is None:
                part.archive("videos", {})
                continue
            video = folder / f"{sample.sample}{SUFFIX}"
            offered = offer(sample, row, video)
            files: dict[str, Path | bytes] = {f"{sample.sample}.json": offered.to_json()}
            if offered.prepared:
                files[video.name] = video
            part.archive("videos", files)
            video.unlink(missing_ok=True)
            run.progress.frame(row["n_frames"])
        shutil.rmtree(folder, ignore_errors=True)
