"""What goes wrong on a cluster: nothing is lost, nothing is computed twice without need."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from runworkflow import bytes_of, run, study

pytestmark = [pytest.mark.slurm, pytest.mark.workflow]

PACKS = 2
SAMPLES = 16


@pytest.fixture(scope="module")
def samples(bundled: Path, shared: Path) -> list[tuple[str, Path]]:
    """Short clips for two packs, one of them a real one."""
    clips = [bundled / "moving_portrait.mp4"] * (SAMPLES - 1)
    clips.append(shared / "data" / "single_face.mp4")
    return [(f"clip{i:02}", clip) for i, clip in enumerate(clips)]


def frames_of(folder: Path, stage: str, shard: str) -> int:
    """How many frames the last job of a stage on a shard worked on, as its log says."""
    log = (folder / "results" / "logs" / stage / f"{shard}.log").read_text()
    found = re.findall(r": \d+ samples, (\d+) frames in ", log)
    assert found, log
    return int(found[-1])


def all_frames(folder: Path, shard: str) -> int:
    """How many frames a shard has."""
    table = pq.read_table(folder / "results" / "probe" / f"{shard}.parquet")
    return sum(table["n_frames"].to_pylist())


def beat(folder: Path, stage: str, shard: str) -> dict[str, Any]:
    """How far a running job is, {} where none runs."""
    try:
        text = (folder / ".facemake" / "progress" / f"{stage}.{shard}.json").read_text()
        return dict(json.loads(text))
    except (OSError, ValueError):
        return {}


def holder(folder: Path, stage: str, shard: str) -> str | None:
    """The SLURM job that is at work on a stage of a shard, as its lock says."""
    try:
        said = (folder / ".facemake" / "locks" / f"{stage}.{shard}").read_text()
    except OSError:
        return None
    found = re.search(r"SLURM job (\d+)", said)
    return found.group(1) if found else None


def parts(folder: Path, stage: str, shard: str) -> int:
    """How many samples of a running shard are whole."""
    return len(list((folder / ".facemake" / "parts" / stage).glob(f"{shard}.*/[!.]*")))


def out_of_memory(folder: Path, stage: str, shard: str) -> list[str]:
    """The SLURM jobs of a stage of a shard that were ended for their memory."""
    logs = (folder / ".snakemake" / "slurm_logs" / f"rule_{stage}" / shard).glob("*.log")
    return [log.stem for log in logs if "exceeded memory limit" in log.read_text()]


def is_second_try(folder: Path, stage: str, shard: str) -> bool:
    """Whether a job is half-way, after one that was ended for its memory (which may come late)."""
    ended = out_of_memory(folder, stage, shard)
    running = holder(folder, stage, shard)
    half_way = parts(folder, stage, shard) >= 2
    return bool(ended) and running is not None and running not in ended and half_way


def test_cancelled_out_of_memory_without_a_node_and_without_a_main_process(
    cluster: Any, site: Any, samples: list[tuple[str, Path]], tmp_path: Path, waited: Any
):
    expected = run(
        study(tmp_path / "local", samples, shards=PACKS), "--until", "landmarks", cores=2
    )
    assert expected.code == 0, expected.output
    shards = sorted(path.stem for path in (expected.results / "landmarks").glob("*.parquet"))
    assert len(shards) == PACKS

    folder = study(tmp_path / "study", samples, shards=PACKS)
    command = ["facemake", "run", "-d", str(folder), "--profile", "slurm", "--until", "landmarks"]
    # enough for Snakemake's own processes, too little for the stage
    command += ["--set-resources", "detect:mem_mb=220 if attempt == 1 else 1000"]
    main = site.start(tmp_path, *command)

    def said() -> str:
        return site.said(tmp_path)[-6000:]

    # a job is cancelled half-way
    first, second = shards
    assert waited(lambda: is_second_try(folder, "detect", first), 120), said()
    cancelled = holder(folder, "detect", first)
    assert cancelled is not None
    cluster.call("scancel", cancelled)
    for shard in shards:
        assert waited(lambda s=shard: out_of_memory(folder, "detect", s), 60), said()
        assert cancelled not in out_of_memory(folder, "detect", shard), said()

    # the node's daemon dies under the other one, and comes back
    assert waited(lambda: beat(folder, "detect", second) or done(folder, "detect", second), 60)
    cluster.kill("slurmd")
    assert cluster.pid("slurmd") is None
    cluster.start_node()

    # the main process dies under jobs, is started again, and they hand over
    assert waited(lambda: any(parts(folder, "landmarks", s) >= 2 for s in shards), 120), said()
    os.killpg(main.pid, signal.SIGKILL)
    main.wait()
    running = {s: holder(folder, "landmarks", s) for s in shards if parts(folder, "landmarks", s)}
    assert running
    site.run(tmp_path, *command)
    assert bytes_of(folder / "results") == bytes_of(expected.results)
    assert not list((folder / ".facemake" / "parts").glob("*/*"))
    assert not list((folder / ".facemake" / "failed").glob("*.json"))
    assert frames_of(folder, "detect", first) < all_frames(folder, first), "it went on"
    for shard, job in running.items():
        after = holder(folder, "landmarks", shard)
        if after != job:  # else it was done before the new run's first job began
            assert frames_of(folder, "landmarks", shard) < all_frames(folder, shard), shard
    assert not cluster.call("squeue", "-h").strip()
    run_log = (folder / "results" / "run.log").read_text()
    assert "was cancelled (SLURM job " in run_log
    assert "took more memory than it asked for (SLURM job " in run_log


def done(folder: Path, stage: str, shard: str) -> bool:
    """Whether a stage of a shard has its log's last line."""
    log = folder / "results" / "logs" / stage / f"{shard}.log"
    return log.is_file() and "s of CPU" in log.read_text()


def test_a_job_that_wants_a_gpu_is_given_one(
    cluster: Any, site: Any, jobs_of: Any, bundled: Path, tmp_path: Path
):
    from standin3di import build

    where = build.build(tmp_path / "install", "3di", os.sys.executable)
    folder = study(
        tmp_path / "study",
        [("clip", bundled / "moving_portrait.mp4")],
        engine="3di",
        threedi={"runtime": str(where)},
    )
    command = ["facemake", "run", "-d", str(folder), "--profile", "slurm", "--until"]
    site.run(tmp_path, *command, "threedi_detect")
    known = {job["Comment"]: job for job in jobs_of(folder)}
    wanted = known["rule_threedi_detect_wildcards_clip"]
    assert wanted["Partition"] == "gpu" and wanted["TresPerJob"] == "gres:gpu:1"
    others = [job for name, job in known.items() if not name.startswith("rule_threedi_detect")]
    assert others and {job["Partition"] for job in others} == {"cpu"}
    assert not any("gpu" in job.get("TresPerJob", "") for job in others)
