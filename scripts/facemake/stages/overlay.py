"""A shard's recordings with what was measured drawn on them: files to look at."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import cv2

from facemake.errors import FacemakeError
from facemake.overlay.options import Options
from facemake.overlay.run import is_made, overlay, target
from facemake.overlay.sinks import StampsError
from facemake.overlay.study import Recorded
from facemake.provenance import Recipe
from facemake.runtime.atomic import write_text
from facemake.runtime.locks import ShardLock, hand_over
from facemake.runtime.progress import Progress
from facemake.samples import WORK, Sample, read_shard
from facemake.tables import TableReader

logger = logging.getLogger(__name__)


def overlays(plan: Path, probe: Path, output: Path, recipe: Recipe, work: Path = WORK) -> None:
    """Write the overlay of each sample of a shard that has frames.

    `SAMPLE.mp4` of a video, `SAMPLE.jpg` or `SAMPLE.png` of a picture, a folder `SAMPLE` of a
    folder of pictures. A killed job goes on at the sample where it stopped. A recording whose
    stamps no MP4 can hold has `SAMPLE.txt` instead, which says so.

    Args:
        plan: the shard's plan file.
        probe: its probe table, in the folder of the results; beside it are the other tables.
        output: a folder; what was in it is replaced.
        recipe: of the stage `overlay`.
        work: folder of locks.

    Raises:
        FacemakeError: a table is of another run, or a recording was exchanged.
    """
    cv2.setNumThreads(1)
    options = Options.of(recipe.settings)
    samples = read_shard(plan)
    what = f"overlay of shard {plan.stem}"
    progress = Progress("overlay", plan.stem, len(samples))
    beside = output.with_name(f".{output.name}.part")
    with ShardLock(work / "locks" / f"overlay.{plan.stem}", what, work), TableReader(probe) as rows:
        found = [_recorded(sample, rows, probe) for sample in samples]
        progress.expect(sum(one.probe["n_frames"] for one in found if one.has_frames))
        beside.mkdir(parents=True, exist_ok=True)
        kept: set[Path] = set()
        for recorded in found:
            hand_over(what, work)
            progress.begin(recorded.sample.sample)
            if recorded.has_frames:
                if target(recorded, options, beside) in kept:
                    raise FacemakeError(
                        f"{target(recorded, options, output)} would be the overlay of two samples, "
                        f"one of them {recorded.sample.sample}: give it another name in the sheet"
                    )
                kept.add(_made(recorded, options, beside, progress))
            progress.sample()
        for path in set(beside.iterdir()) - kept:  # what an earlier try, of another plan, has left
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        if output.exists():
            shutil.rmtree(output)
        beside.rename(output)
    progress.end()


def _recorded(sample: Sample, rows: TableReader, probe: Path) -> Recorded:
    row: dict[str, Any] = rows.read(sample.sample).to_pylist()[0]
    return Recorded(sample, row, probe.parent.parent, probe.stem)


def _made(recorded: Recorded, options: Options, folder: Path, progress: Progress) -> Path:
    """The overlay of a sample; or the text that says why it has none."""
    sample = recorded.sample
    path = target(recorded, options, folder)
    if is_made(recorded, options, folder):
        if options.hide is not None:
            logger.warning(
                "%s was made by an earlier try, whose log is gone: look at all of it for frames in "
                "which nothing is hidden",
                sample.sample,
            )
        progress.frame(recorded.probe["n_frames"])
        return path
    try:
        made = overlay(recorded, options, folder, lambda _: progress.frame())
    except StampsError as error:
        logger.warning("%s has no overlay: %s", sample.sample, error)
        path = folder / f"{sample.sample}.txt"
        write_text(path, f"{error}\n")
    except Exception as error:
        error.add_note(f"in sample {sample.sample} ({sample.path})")
        raise
    else:
        level = logging.INFO if options.hide is None else logging.WARNING
        for words in made.remarks():
            logger.log(level, "%s: %s", sample.sample, words)
    return path
