"""What the SLURM plugin says of jobs that failed (version 2.8.0), in our words."""

from __future__ import annotations

from pathlib import Path

import pytest

from facemake.runtime import failures, heartbeat
from facemake.watch.executor import word
from facemake.watch.state import KILLED
from facemake.watch.ticker import Ticker

END = (
    "For further error details see the cluster/cloud log and the log files of the involved rule(s)."
)
REFUSED = (
    "SLURM sbatch failed. The error message was 'sbatch: error: Batch job submission failed: "
    "Invalid feature specification'.\n    sbatch call:\n        sbatch -C nope --wrap=\"'a b'\"\n"
    f"{END}"
)
UNKNOWN = f"Job submission failed with exception: The given account x appears to be invalid.{END}"
LOG = "results/logs/detect/a.log"


def ended(state: str) -> str:
    return (
        f"SLURM-job '43' failed, SLURM status is: '{state}'. Detailed failure reason unavailable "
        f"(status command is not 'sacct').{END}"
    )


def test_what_the_plugin_says_is_said_in_short():
    refused = word(REFUSED)
    assert refused and not refused.started
    assert refused.message == (
        "the cluster does not take the job: sbatch: error: Batch job submission failed: "
        "Invalid feature specification"
    )
    unknown = word(UNKNOWN)
    assert unknown and not unknown.started and unknown.message.endswith("x appears to be invalid.")
    late, failed = word(ended("TIMEOUT")), word(ended("FAILED"))
    assert (
        late
        and late.exact
        and late.message == ("took longer than it asked for (SLURM job 43: TIMEOUT)")
    )
    assert failed and not failed.exact and failed.message == "SLURM job 43: FAILED"
    assert word(END) is None and word(None) is None


@pytest.mark.parametrize(
    "said",
    [
        "slurmstepd: error: StepId=130.0 exceeded memory limit (271 > 250), being killed",
        "slurmstepd: error: Detected 1 oom_kill event in StepId=130.0. Some of the step tasks",
        "srun: error: node: task 0: Out Of Memory",
    ],
)
def test_what_took_too_much_memory_is_known_by_the_clusters_log(tmp_path: Path, said: str):
    """SLURM says FAILED of a job whose step was ended for it."""
    log = tmp_path / "43.log"
    log.write_text("a line of the job\n" * 3000 + f"{said}\nsrun: error: node: task 0: Killed\n")
    known = word(ended("FAILED"), [tmp_path / "none.log", log])
    assert (
        known
        and known.exact
        and known.message == ("took more memory than it asked for (SLURM job 43: FAILED)")
    )
    log.write_text("an exception")
    known = word(ended("FAILED"), [log])
    assert known and not known.exact


@pytest.fixture
def shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """What the run shows of a job that failed."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".facemake").mkdir()

    def show(said: str | None) -> str:
        Ticker("results", quiet=True).failed(LOG, said)
        return capsys.readouterr().err

    return show


def test_a_job_that_the_cluster_refused_is_not_taken_for_killed(shown):
    said = shown(REFUSED)
    assert "detect of a: the cluster does not take the job: sbatch: error" in said
    assert KILLED not in said and "log:" not in said, "it never began one"
    assert failures.read("detect", "a"), "facemake status knows"


def test_what_slurm_knows_better_than_the_job_is_said(shown):
    failures.write(LOG, "ended from outside (SIGTERM): cancelled, or over ...", curable=True)
    assert "took longer than it asked for (SLURM job 43: TIMEOUT)" in shown(ended("TIMEOUT"))
    failures.write(LOG, "no such model", curable=False)
    assert "detect of a: no such model" in shown(ended("FAILED"))
    assert "detect of a: no such model" in shown(ended("CANCELLED"))
    failures.clear(LOG)
    assert f"{KILLED} (SLURM job 43: FAILED)" in shown(ended("FAILED"))


def test_a_note_of_an_attempt_before_is_not_this_ones(shown):
    failures.write(LOG, "the file server does not answer", curable=True)
    with heartbeat.beating(LOG):
        heartbeat.tell(sample="anna")
        path = Path(".facemake/progress/detect.a.json")
        text = ""
        while '"anna"' not in text:  # the first beat may come before that
            heartbeat._write(path)
            text = path.read_text()
        said = shown(ended("OUT_OF_MEMORY"))
    assert "in sample anna: took more memory than it asked for" in said
