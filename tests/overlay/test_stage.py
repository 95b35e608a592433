"""Overlays by the workflow: a shard goes on, and odd stamps cost a sample at most."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from facemake.cli import main
from facemake.overlay.sinks import VideoSink, comment_of
from facemake.provenance import Recipe
from facemake.stages.overlay import overlays
from makemedia import noise, write_video
from overlayrun import overlay, times, write_run


def stage(study: Path, **settings: Any) -> Path:
    work = study / ".facemake"
    recipe = Recipe("overlay", None, {"draw": None, "hide": None, **settings}, (), "c0de")
    output = study / "results" / "overlay" / "pack0"
    probe = study / "results" / "probe" / "pack0.parquet"
    overlays(work / "plan" / "pack0.tsv", probe, output, recipe, work)
    return output


def test_a_shard_goes_on_at_the_sample_where_it_stopped(
    study: Path, recording: Path, monkeypatch: pytest.MonkeyPatch
):
    write_run(study, recording, also=["a", "z"], unreadable=["bad"])
    begun = []
    write = VideoSink.write

    def stop(self: VideoSink, *frame: Any) -> None:
        begun.append(frame)
        if len(begun) == 12:  # amid the second sample
            raise KeyboardInterrupt
        write(self, *frame)

    monkeypatch.setattr(VideoSink, "write", stop)
    with pytest.raises(KeyboardInterrupt):
        stage(study)
    folder = study / "results" / "overlay"
    assert [path.name for path in folder.iterdir()] == [".pack0.part"]
    begun.clear()
    begun.extend([()] * 12)
    made = stage(study)
    assert len(begun) == 12 + 16  # two samples of eight frames
    assert [path.name for path in sorted(folder.glob("**/*"))] == [
        *("pack0", "a.mp4", "clip.mp4", "z.mp4")
    ]
    assert main(["overlay", "--all"]) == 0  # by hand it is the same
    for path in made.iterdir():
        assert (study / "overlay" / path.name).read_bytes() == path.read_bytes()
    stage(study, hide="fill")  # drawn is nothing then
    assert comment_of(made / "a.mp4").split("; ")[1:3] == ["drawn: nothing", "faces: fill"]


def test_stamps_that_no_mp4_can_hold_cost_one_sample(study: Path, tmp_path: Path):
    # faster than the clock of a Matroska file ticks
    twice = write_video(
        tmp_path / "twice.mkv",
        [noise(i, 64, 48) for i in range(4)],
        codec="mjpeg",
        pix_fmt="yuvj420p",
        stamps=[0, 400, 402, 800],
        time_base=Fraction(1, 10000),
    )
    assert times(twice) == [0, 0.04, 0.04, 0.08]
    write_run(study, twice)
    made = stage(study, draw=["boxes"])
    (word,) = made.iterdir()
    assert word.name == "clip.txt" and "not later than the one before" in word.read_text()
    assert overlay() == 2


def test_the_log_names_the_frames_in_which_nothing_is_hidden(
    study: Path, recording: Path, caplog: pytest.LogCaptureFixture
):
    write_run(study, recording, unseen=range(8))
    made = stage(study, hide="fill")
    assert "clip: in 8 of 8 frames nothing is hidden" in caplog.text
    # a job that was killed before its end; the next one begins its log anew
    made.rename(made.with_name(f".{made.name}.part"))
    caplog.clear()
    stage(study, hide="fill")
    assert "clip was made by an earlier try" in caplog.text


def test_stamps_before_zero_are_said_and_moved_when_asked(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    early = write_video(
        tmp_path / "early.mkv",
        [noise(i, 64, 48) for i in range(4)],
        codec="mjpeg",
        pix_fmt="yuvj420p",
        stamps=[-80, -40, 0, 40],
        time_base=Fraction(1, 1000),
        container_options={"avoid_negative_ts": "disabled"},
    )
    assert times(early) == [-0.08, -0.04, 0, 0.04]
    write_run(study, early)
    assert overlay("--draw", "boxes") == 2
    assert "frame 0 is at -0.08 s, before 0" in capsys.readouterr().err
    assert overlay("--draw", "boxes", "--from-zero") == 0
    assert times(study / "overlay" / "clip.mp4") == [0, 0.04, 0.08, 0.12]


def test_a_clock_finer_than_an_mp4_needs(study: Path, tmp_path: Path):
    fine = write_video(
        tmp_path / "fine.mp4",
        [noise(i, 64, 48) for i in range(4)],
        stamps=[0, 40_000_000, 90_000_000, 120_000_000],
        time_base=Fraction(1, 10**9),
    )
    write_run(study, fine)
    assert overlay("--draw", "boxes") == 0
    assert times(study / "overlay" / "clip.mp4") == times(fine) == [0, 0.04, 0.09, 0.12]
