"""What a run set out to do: `.facemake/run.json`, written when it starts and when it ends."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from facemake.errors import FacemakeError
from facemake.runtime.atomic import write_text
from facemake.samples import WORK

_NAME = "run.json"


class Job(NamedTuple):
    """A job of the run's graph, also one whose results were there already.

    Attributes:
        stage, shard: as in `facemake.runtime.failures.Failure`.
        to_do: it had to run when the run started.
        outputs: its files and folders that stay, relative to the working directory; of a job of
            which none stays, all.
        part_of: the shard whose samples it works on, where its own name is another: a segment's.
        until: stage and shard of the job after which its outputs go; None: they stay.
    """

    stage: str
    shard: str
    to_do: bool
    outputs: list[str]
    part_of: str = ""
    until: list[str] | None = None

    @property
    def samples_of(self) -> str:
        """The shard whose samples it works on."""
        return self.part_of or self.shard


@dataclass(frozen=True)
class Run:
    """The last run in a folder.

    Attributes:
        started: by the clock of the file system, in seconds since the epoch: what is older was
            made before.
        outdir: the results.
        jobs: by stage, in the order of the chain.
    """

    started: float
    outdir: str
    jobs: list[Job]


def write_start(outdir: str, jobs: Iterable[Job], work: Path = WORK) -> None:
    """Write what the run sets out to do."""
    (work / "ended.json").unlink(missing_ok=True)
    # `time` makes it another text each time, so that the file is new
    document = {"time": time.time(), "outdir": outdir, "jobs": list(jobs)}
    write_text(work / _NAME, json.dumps(document, separators=(",", ":")))


def write_end(well: bool, work: Path = WORK) -> None:
    """Note that the run ended by itself."""
    write_text(work / "ended.json", json.dumps({"time": time.time(), "well": well}))


def ended(work: Path = WORK) -> tuple[float, bool] | None:
    """When the last run ended by itself, and whether well; None: it runs, or was killed."""
    try:
        document = json.loads((work / "ended.json").read_text(encoding="utf-8"))
        return float(document["time"]), bool(document["well"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def read(work: Path = WORK) -> Run:
    """The last run.

    Raises:
        FacemakeError: nothing was ever run here, or what it wrote cannot be read.
    """
    path = work / _NAME
    try:
        with path.open(encoding="utf-8") as handle:
            started = os.fstat(handle.fileno()).st_mtime
            document = json.load(handle)
        return Run(started, document["outdir"], [Job(*job) for job in document["jobs"]])
    except FileNotFoundError:
        raise FacemakeError(
            f"no run was started in {work.resolve().parent}: `facemake run` starts one, -d names "
            "another folder"
        ) from None
    except OSError as error:
        raise FacemakeError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise FacemakeError(
            f"{path} is damaged, or of another version of facemake: the next run writes it anew"
        ) from None
