"""How many workers there are, and how memory is counted."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from facemake.extraction import extract_faces
from facemake.extraction.journal import Journal
from facemake.runtime import memory
from makemedia import write_video


@pytest.fixture
def pictures(tmp_path: Path, bundled: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    face = Image.open(bundled / "portraits" / "eileen_collins.png").convert("RGB")
    face.save(folder / "00.jpg")
    for number in range(1, 40):
        shutil.copy(folder / "00.jpg", folder / f"{number:02d}.jpg")
    return folder


@pytest.mark.parametrize(
    ("cores", "free", "workers"),
    [
        (3, 10**12, 3),  # as many as cores
        (64, 10**12, 5),  # never more than there are chunks of eight pictures
        (64, 0, 1),  # one works always
        # room for one more, whose peak is between a tenth and ten gigabytes
        (64, 10**8, 1),
    ],
)
def test_as_many_workers_as_cores_and_memory_allow(
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    cores: int,
    free: int,
    workers: int,
):
    monkeypatch.setattr(memory, "cores", lambda: cores)
    monkeypatch.setattr(memory, "available", lambda: free)
    done = extract_faces([pictures], tmp_path / "out", "mediapipe", progress=False)
    assert done.crops == 40 and done.workers == workers
    assert 50e6 < done.peak_memory < 5e9


def test_a_video_waits_for_a_worker_with_nothing_else_to_do(
    tmp_path: Path, bundled: Path, monkeypatch: pytest.MonkeyPatch
):
    clips = tmp_path / "clips"
    clips.mkdir()
    for name in "abc":
        shutil.copy(bundled / "moving_portrait.mp4", clips / f"{name}.mp4")
    told: list[str] = []
    begin, finish = Journal.begin, Journal.finish
    monkeypatch.setattr(
        Journal, "begin", lambda self, name, *rest: (told.append(name), begin(self, name, *rest))
    )
    monkeypatch.setattr(
        Journal, "finish", lambda self, *what: (told.append("done"), finish(self, *what))
    )
    done = extract_faces([clips], tmp_path / "two", "mediapipe", 2, frame_step=5, progress=False)
    assert done.workers == 2
    assert told[:3] == ["a.mp4", "b.mp4", "done"]

    # how many there can be is known before the first one, which may take hours, is done
    monkeypatch.setattr(memory, "cores", lambda: 2)
    monkeypatch.setattr(memory, "available", lambda: 10**12)
    told.clear()
    write_video(clips / "a.mp4", 600)
    done = extract_faces([clips], tmp_path / "many", "mediapipe", progress=False)
    assert done.workers == 2
    assert told[:2] == ["a.mp4", "b.mp4"]


def test_the_peak_is_that_of_the_process():
    code = "import sys; x = bytearray(300_000_000); del x; print('there', flush=True); input()"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None and process.stdout.readline() == b"there\n"
    peak = memory.peak(process.pid)
    process.communicate(b"\n")
    assert 300e6 < peak < 600e6


def test_a_limit_of_the_cgroup_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    machine = memory.available()
    monkeypatch.setattr(memory, "_limits", lambda: [(10**18, 0), (5_000_000, 2_000_000)])
    assert memory.available() == min(machine, 3_000_000)
    monkeypatch.setattr(memory, "_limits", lambda: [(5, 9)])
    assert memory.available() == 0


@pytest.mark.parametrize(
    ("own", "group", "names"),
    [
        ("0::/job/step\n", "job", ("memory.max", "memory.current", "inactive_file")),
        (
            "9:cpu,cpuacct:/\n4:memory:/slurm/job\n0::/\n",
            "memory/slurm",
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ),
    ],
)
def test_the_files_of_both_versions_of_cgroups_are_read(
    own: str,
    group: str,
    names: tuple[str, str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    """A limit of a group above this process's own."""
    (tmp_path / "own").write_text(own)
    folder = tmp_path / "groups" / group
    folder.mkdir(parents=True)
    for name, value in zip(names[:2], (7_000_000, 4_000_000), strict=True):
        (folder / name).write_text(f"{value}\n")
    (folder / "memory.stat").write_text(f"cache 5\n{names[2]} 1000000\n")
    monkeypatch.setattr(memory, "_OWN", tmp_path / "own")
    monkeypatch.setattr(memory, "_CGROUP", tmp_path / "groups")
    assert memory.available() == 4_000_000


def test_cores_are_those_that_this_process_may_use():
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
        "from facemake.runtime import memory; print(memory.cores())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"
