"""Programs of an install in a folder: what they are given, and that nothing is believed of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest

from facemake.backends.threedi import Engine, rawfiles
from facemake.backends.threedi.programs import Program, program, programs
from facemake.backends.threedi.run import Recording
from facemake.backends.threedi.runtimes import (
    PassingRunError,
    RunError,
    SampleError,
    TimeLimitError,
)
from facemake.runtime.failures import is_curable
from standin3di import programs as standin
from threedibench import CLIP, DARK, Bench, Double

FULL, LITE = Engine.FULL, Engine.LITE
# --- all programs --------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", Engine)
def test_all_programs_run_and_their_files_are_whole(
    ran: dict[Engine, Bench], engine: Engine
) -> None:
    bench = ran[engine]
    suffix = {FULL: "3DI", LITE: "3DIl"}[engine]
    kinds = [kind for one in programs(engine, False) for kind in one.writes]
    assert bench.left() == sorted(f"v_{kind}.{suffix}" for kind in kinds)
    seen = rawfiles.seen_in(bench.numbers("landmarks"))
    assert np.flatnonzero(~seen).tolist() == list(DARK)
    for kind in kinds:
        path = bench.recording.file(kind, bench.options)
        rows = rawfiles.check(path, kind, bench.options, CLIP, seen)
        assert rows == len(bench.numbers(kind)) == rawfiles.count(path)


def test_the_command_is_for_people_to_read(
    ran: dict[Engine, Bench], installs: dict[Engine, Path], tmp_path: Path
) -> None:
    bench = ran[FULL]
    mine = Bench(FULL, installs[FULL], bench.recording.video, tmp_path / "out")
    ended, files = mine.run("detect")
    rects = tmp_path / "out" / "v_rects.3DI"
    assert ended.command == [
        str(installs[FULL] / "video_detect_face"),
        str(bench.recording.video),
        str(rects),
    ]
    assert files == {"rects": rects} and ended.code == 0
    assert ended.said[0].startswith(standin.SAYS) and ended.said[-1] == "Done."
    assert not any(line.startswith("Processing frame") for line in ended.said)


def test_relative_paths(
    installs: dict[Engine, Path], clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Programs have the install folder as their working directory, and others' paths are ours."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a clip.mp4").symlink_to(clip)
    bench = Bench(FULL, installs[FULL], Path("a clip.mp4"), Path("out"))
    bench.run("detect")
    assert bench.left() == ["v_rects.3DI"]


# --- failures ------------------------------------------------------------------------------------

BAD = {
    "exit": r"told to fail",
    "nothing": r"is missing: nothing was written",
    "empty": r"is empty",
    "half": r"are not numbers|numbers, wanted",
    "nan": r"nan is no finite number",
    "inf": r"inf is no finite number",
    "columns": r"has \d+ numbers, wanted \d+",
    "frames": r"has \d+ rows, wanted",
    "noise": r"told to fail loudly",
    "one": r"is missing: nothing was written",
}
STEPS = [(engine, one.step) for engine in Engine for one in programs(engine, False)]


def played(engine: Engine, step: str) -> list[str]:
    """The modes that are failures of this program."""
    one = program(engine, step)
    modes = set(BAD)
    if len(one.writes) == 1:
        modes -= {"one"}
    if "shape_coeff" in one.writes or one.step in ("localized", "shape"):
        modes -= {"columns"}  # of one number, or of any number of columns
    return sorted(modes)


# One program each way, and one way each program.
WAYS = [(FULL, "detect", mode) for mode in played(FULL, "detect")]
WAYS += [(FULL, "fit", mode) for mode in played(FULL, "fit")]
WAYS += [(LITE, "fit", mode) for mode in ("one", "half", "inf", "frames")]
WAYS += [(engine, step, "nothing") for engine, step in STEPS]
WAYS += [(engine, step, "half") for engine, step in STEPS if step in ("identity", "localized")]
WAYS += [(FULL, "identity", "frames"), (FULL, "shape", "frames"), (FULL, "canonical", "frames")]
WAYS += [(LITE, "landmarks", "nan"), (FULL, "smooth_pose", "columns"), (FULL, "localized", "inf")]


@pytest.mark.parametrize(("engine", "step", "mode"), list(dict.fromkeys(WAYS)))
def test_failures(
    bench: Callable[..., Bench],
    playing: Callable[..., None],
    engine: Engine,
    step: str,
    mode: str,
) -> None:
    mine = bench(engine, step)
    before = mine.left()
    one = program(engine, step)
    for kind in one.writes:  # an old file of the same name is not taken for a new one
        old = mine.recording.file(kind, mine.options)
        old.write_text("1 2 3 4\n" * CLIP)
    playing(**{one.executable: mode})
    with pytest.raises(SampleError, match=BAD[mode]) as error:
        mine.run(step)
    said = str(error.value)
    assert said.startswith(f"{one.executable} ended ")
    assert str(mine.install) in said and f"to {one.does}" in said
    assert "It said last:\n" in said
    if mode == "noise":
        assert "ended with exit code 3 " in said and len(said) < 2000
    else:
        assert standin.SAYS in said
    if mode == "exit":
        assert "ended with exit code 1 " in said
    elif mode != "noise":
        how = "with exit code 1, and" if 1 in one.codes else "well, but"
        assert f"ended {how} {mine.recording.folder}/v_" in said
    assert mine.left() == before


def test_the_time_limit_of_a_program(
    bench: Callable[..., Bench], playing: Callable[..., None]
) -> None:
    mine = bench(FULL, "fit")
    before = mine.left()
    mine.recording.file("pose", mine.options).write_text("old")
    playing(video_from_saved_identity="sleep")
    began = time.monotonic()
    with pytest.raises(TimeLimitError, match=r"video_from_saved_identity was ended after 4 s") as e:
        mine.run("fit", limit=4)  # time to say something before
    assert time.monotonic() - began < 60
    assert standin.SAYS in str(e.value)  # what it said before
    assert mine.left() == before
    assert isinstance(e.value, SampleError)


RUN = """
import sys
from pathlib import Path
from facemake.backends.threedi import Engine, Options
from facemake.backends.threedi.install import find_install
from facemake.backends.threedi.programs import program
from facemake.backends.threedi.run import Recording, run_program
from facemake.backends.threedi.runtimes import runtime
folder, video, out = sys.argv[1:]
install = find_install(Engine.FULL, folder)
recording = Recording(Path(video), "v", Path(out), 10)
run_program(program(Engine.FULL, "detect"), recording, Options(engine=Engine.FULL),
            runtime(install), install)
"""


def test_no_program_outlives_a_killed_job(
    installs: dict[Engine, Path], clip: Path, playing: Callable[..., None], tmp_path: Path
) -> None:
    playing(video_detect_face="sleep")
    words = [str(installs[FULL]), str(clip), str(tmp_path)]
    job = subprocess.Popen([sys.executable, "-c", RUN, *words])
    children: list[psutil.Process] = []
    until = time.monotonic() + 120
    while not children and time.monotonic() < until:
        children = [
            c
            for c in psutil.Process(job.pid).children(recursive=True)
            if any("video_detect_face" in word for word in c.cmdline())
        ]
        time.sleep(0.02)
    job.send_signal(signal.SIGKILL)
    job.wait()
    assert children
    gone, alive = psutil.wait_procs(children, timeout=60)
    assert not alive and gone


def test_a_program_that_cannot_be_started(tmp_path: Path, clip: Path) -> None:
    """Not the sample's fault: no other one would do better."""
    folder = tmp_path / "3DI"
    folder.mkdir()
    for name in ("video_learn_identity", "video_detect_face"):
        (folder / name).write_text("#!/bin/sh\n")
    bench = Bench(FULL, folder, clip, tmp_path / "out")
    with pytest.raises(RunError, match=r"video_detect_face cannot be started: Permission") as error:
        bench.run("detect")
    assert not isinstance(error.value, SampleError)
    (folder / "video_detect_face").unlink()
    with pytest.raises(RunError, match=r"cannot be started: No such file"):
        bench.run("detect")


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        ("OSError: ./models/MMs/BFMmm-19830/X0_mean.dat not found.", "01_MorphableModel.mat"),
        ("CUDA error: out of memory", "no memory left"),
        ("no CUDA-capable device is detected", "no usable GPU"),
        ("CUDA driver version is insufficient for CUDA runtime version", "no usable GPU"),
    ],
)
def test_what_a_person_knows_who_has_seen_it_before(
    bench: Callable[..., Bench], said: str, hint: str
) -> None:
    """The machine lacks something, so that no other recording would do better."""
    mine = bench(FULL, "detect")
    mine.runtime = Double(lambda out: 1, said)
    with pytest.raises(RunError, match=hint) as error:
        mine.run("detect")
    assert not isinstance(error.value, SampleError)
    assert said in str(error.value) and "exit code 1" in str(error.value)


@pytest.mark.parametrize(
    ("code", "said"),
    [(-9, ""), (137, ""), (-15, ""), (143, "Terminated"), (1, "CUDA error: out of memory")],
)
def test_what_was_ended_from_outside_or_for_want_of_memory_may_be_tried_again(
    bench: Callable[..., Bench], code: int, said: str
) -> None:
    mine = bench(FULL, "detect")
    mine.runtime = Double(lambda out: code, said)
    with pytest.raises(PassingRunError, match="memory") as error:
        mine.run("detect")
    # no mark on the recording: another attempt, with more memory, may do it
    assert not isinstance(error.value, SampleError) and is_curable(error.value)


def test_a_signal_is_named(bench: Callable[..., Bench]) -> None:
    mine = bench(FULL, "detect")
    mine.runtime = Double(lambda out: -11, "Segmentation fault")
    with pytest.raises(SampleError, match="video_detect_face ended with signal 11"):
        mine.run("detect")


# --- names ---------------------------------------------------------------------------------------

NAMES = [
    "two words.mp4",
    "'single' \"double\".mp4",
    "a;b&c|d.mp4",
    "$(touch x) `touch x` $HOME.mp4",
    "ü 顔 é\u0301.mp4",
    "new\nline.mp4",
    "-leading dash.mp4",
    "--help",
    "a\\b %d #1 *?[x].mp4",
    "http: x.mp4",
    " .mp4",
]


@pytest.mark.parametrize("name", NAMES)
def test_names_that_shells_trip_over(
    installs: dict[Engine, Path], clip: Path, name: str, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    video = tmp_path / "in" / name
    video.write_bytes(clip.read_bytes())
    bench = Bench(LITE, installs[LITE], video, tmp_path / f"out of {Path(name).stem}")
    stem = Path(name).stem
    bench.recording = Recording(video, stem, bench.recording.folder, CLIP)
    bench.run("detect")
    assert bench.left() == [f"{stem}_rects.3DIl"]
    assert [p.name for p in (tmp_path / "in").iterdir()] == [name]
    assert not (installs[LITE] / "x").exists()


def test_a_name_that_is_no_text(installs: dict[Engine, Path], clip: Path, tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.mp4")
    (tmp_path / name).write_bytes(clip.read_bytes())
    bench = Bench(FULL, installs[FULL], tmp_path / name, tmp_path / "out")
    ended, _ = bench.run("detect")
    assert ended.command[1].endswith(name)


def test_the_real_names_of_the_table_are_the_stand_ins(installs: dict[Engine, Path]) -> None:
    for engine in Engine:
        for one in programs(engine, True):
            assert os.access(installs[engine] / one.executable, os.X_OK)
            assert isinstance(one, Program)
    assert json.loads(json.dumps(standin.MODES))
