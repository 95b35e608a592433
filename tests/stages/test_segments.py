"""A recording in segments gives the bytes that one pass over the whole gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import pytest

import makemedia
from facemake.media import open_media
from facemake.samples import Sample, read_shard
from facemake.segments import Segment, by_sample, segment
from facemake.stages.detect import detect
from facemake.stages.detect_segment import detect_segment
from facemake.stages.landmarks import landmarks
from facemake.stages.landmarks_segment import landmarks_segment
from facemake.stages.probe import probe
from makestudy import Study, inside, make_study

GOP = {"g": "9", "bf": "2"}
IN_DOUBT = "segments are not certain to give"


@pytest.fixture(scope="module")
def frames(bundled: Path) -> list[makemedia.Pixels]:
    """Thirty frames of a moving face."""
    with open_media(Sample("clip", bundled / "moving_portrait.mp4", "clip")) as media:
        return [frame.rgb for frame in media if frame.index < 30]


class Bench:
    """One recording, detected and landmarked as a whole and in segments."""

    def __init__(self, folder: Path, recording: Path, **row: object) -> None:
        self.study: Study = make_study(folder, [{"sample": "x.1", "path": recording, **row}])
        self.plan = self.study.plan_file("x.1")
        with inside(folder):
            probe(self.plan, self.at("probe"), self.study.recipe("probe"))

    def at(self, stage: str, suffix: str = "parquet", where: str = "whole") -> Path:
        if stage == "probe":
            where = ""
        return self.study.folder / "results" / where / stage / f"x.1.{suffix}"

    def part(self, stage: str, one: Segment, suffix: str = "parquet") -> Path:
        return self.study.folder / "segments" / stage / f"{one.name}.{suffix}"

    def whole(self) -> list[bytes]:
        return self._all("whole", {}, {})

    def cut(self, cuts: Sequence[float]) -> list[bytes]:
        """In segments; landmarks are of the detections that were put together."""
        parts = [segment("x.1", number, cuts) for number in range(len(cuts) + 1)]
        recipe = self.study.recipe
        with inside(self.study.folder):
            for one in parts:
                output = self.part("detections", one)
                detect_segment(self.plan, self.at("probe"), output, recipe("detect_segment"), one)
        found = by_sample(self.part("detections", one) for one in reversed(parts))
        assert list(found) == ["x.1"]
        self._detect("cut", found)
        with inside(self.study.folder):
            for one in parts:
                landmarks_segment(
                    self.plan,
                    self.at("probe"),
                    self.at("detections", where="cut"),
                    self.part("landmarks", one),
                    self.part("faces", one, "h5"),
                    recipe("landmarks_segment"),
                    one,
                )
        pairs = [(self.part("landmarks", one), self.part("faces", one, "h5")) for one in parts]
        return self._all("cut", found, {"x.1": pairs})

    def _detect(self, where: str, found: dict[str, list[Path]]) -> None:
        with inside(self.study.folder):
            output = self.at("detections", where=where)
            detect(self.plan, self.at("probe"), output, self.study.recipe("detect"), found)

    def _all(
        self, where: str, found: dict[str, list[Path]], pairs: dict[str, list[tuple[Path, Path]]]
    ) -> list[bytes]:
        self._detect(where, found)
        outputs = [self.at("landmarks", where=where), self.at("faces", "h5", where)]
        with inside(self.study.folder):
            landmarks(
                self.plan,
                self.at("probe"),
                self.at("detections", where=where),
                *outputs,
                self.study.recipe("landmarks"),
                segments=pairs,
            )
        return [path.read_bytes() for path in (self.at("detections", where=where), *outputs)]


def written(name: str, **options: object) -> Callable[[Path, list[makemedia.Pixels]], Path]:
    def write(folder: Path, frames: list[makemedia.Pixels]) -> Path:
        return makemedia.write_video(folder / name, frames, **options)

    return write


def turned(folder: Path, frames: list[makemedia.Pixels]) -> Path:
    return makemedia.write_video(folder / "turned.mp4", frames, options=GOP, rotation=90)


def uneven(folder: Path, frames: list[makemedia.Pixels]) -> Path:
    stamps = [i * 33 + (i * i) % 17 for i in range(len(frames))]
    clock = makemedia.Fraction(1, 1000)
    return makemedia.write_video(
        folder / "uneven.mkv", frames, options=GOP, stamps=stamps, time_base=clock
    )


SOUND = {
    "mp4": written("a.mp4", options=GOP),
    "open gop": written("a.mkv", options={**GOP, "x264-params": "open-gop=1:threads=1"}),
    "transport stream": written("a.ts", options=GOP),
    "avi": written("a.avi", codec="mpeg4", options={"g": "9"}),
    "turned": turned,
    "uneven stamps": uneven,
}


@pytest.mark.parametrize("kind", SOUND)
def test_sound_recordings(
    kind: str, frames: list[makemedia.Pixels], tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    bench = Bench(tmp_path, SOUND[kind](tmp_path, frames))
    whole = bench.whole()
    rows = pd.read_parquet(bench.at("landmarks"))
    assert (len(rows) == len(frames) and (rows.status == "ok").sum() > 0) or kind == "turned"
    times = pd.read_parquet(bench.at("detections")).time
    # amid two frames, at a frame, between two that follow each other, and after the end
    cuts = [times[5] + 0.01, times[11], times[12], times.max() + 5.0]
    with caplog.at_level("INFO", "facemake"):
        assert bench.cut(cuts) == whole
    assert IN_DOUBT not in caplog.text
    assert [len(pd.read_parquet(path)) for path in sorted(tmp_path.glob("segments/l*/*"))] == [
        *(6, 5, 1, len(frames) - 12, 0)
    ]


def test_cuts_to_another_shot_at_and_beside_the_border_of_segments(
    frames: list[makemedia.Pixels], tmp_path: Path
):
    still = [frames[0]] * 8
    turned_round = [frame[:, ::-1] for frame in still]
    black = [frames[0] * 0]
    shown = still + turned_round + still + black + still
    bench = Bench(tmp_path, makemedia.write_video(tmp_path / "a.mp4", shown, options=GOP))
    whole = bench.whole()
    rows = pd.read_parquet(bench.at("detections"))
    times, first = rows.time, rows.groupby("shot").frame.min()
    assert first.tolist() == [0, 8, 16]  # black comes and goes like a flash
    for cuts in ([times[8]], [times[7], times[9]], [times[16] + 0.01], [times[24], times[25]]):
        assert bench.cut(cuts) == whole


def test_a_range_of_a_recording(
    frames: list[makemedia.Pixels],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    clip = makemedia.write_video(tmp_path / "a.mp4", frames, options=GOP)
    bench = Bench(tmp_path, clip, start=0.2, end=0.9)
    whole = bench.whole()
    assert len(pd.read_parquet(bench.at("landmarks"))) == 18
    monkeypatch.setattr("facemake.runtime.progress._SECONDS_BETWEEN_LINES", 0.0)
    with caplog.at_level("INFO", "facemake"):
        assert bench.cut([0.5]) == whole
    # else nobody knew how far a segment is, nor how long the run still takes
    for part in ("detect_segment x.1.0", "landmarks_segment x.1.0"):
        assert f"{part}: sample 1 of 1, 8/8 frames" in caplog.text
    for part in ("detect_segment x.1.1", "landmarks_segment x.1.1"):
        assert f"{part}: sample 1 of 1, 10/10 frames" in caplog.text


def damaged(folder: Path, frames: list[makemedia.Pixels]) -> Path:
    clip = makemedia.write_video(folder / "a.mp4", frames, options=GOP)
    return makemedia.damage_packets(clip, range(14, 17), b"\xff")


def cut_short(folder: Path, frames: list[makemedia.Pixels]) -> Path:
    return makemedia.truncate(makemedia.write_video(folder / "a.mkv", frames, options=GOP), 0.7)


def stampless(folder: Path, frames: list[makemedia.Pixels]) -> Path:
    return makemedia.write_video(
        folder / "a.mjpeg", frames, codec="mjpeg", pix_fmt="yuvj420p", format="mjpeg"
    )


@pytest.mark.parametrize("make", [damaged, cut_short, stampless])
def test_what_is_in_doubt_is_gone_over_as_a_whole(
    make: Callable[[Path, list[makemedia.Pixels]], Path],
    frames: list[makemedia.Pixels],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
):
    bench = Bench(tmp_path, make(tmp_path, frames))
    whole = bench.whole()
    if make is stampless:  # it has no clock, so no header tells where to cut it
        parts = {"x.1": [bench.part("detections", Segment("x.1", 0, None, None))]}
        with inside(tmp_path):
            detect_segment(
                bench.plan,
                bench.at("probe"),
                parts["x.1"][0],
                bench.study.recipe("detect_segment"),
                Segment("x.1", 0, None, None),
            )
        bench._detect("cut", parts)
        assert bench.at("detections", where="cut").read_bytes() == whole[0]
        return
    with caplog.at_level("INFO", "facemake"):
        assert bench.cut([0.4]) == whole
    assert caplog.text.count(IN_DOUBT) >= 2


def test_a_segment_knows_its_range_and_its_sample(tmp_path: Path):
    study = make_study(tmp_path, [{"sample": "a", "path": _empty(tmp_path / "a.mp4"), "end": 9}])
    samples = read_shard(study.plan_file("a"))
    parts = [segment("a", number, [2.5, 5.0]) for number in range(3)]
    assert [(one.name, one.start, one.end) for one in parts] == [
        ("a.0", None, 2.5),
        ("a.1", 2.5, 5.0),
        ("a.2", 5.0, None),
    ]
    assert [(s.start, s.end) for s in (one.of(samples) for one in parts)] == [
        (None, 2.5),
        (2.5, 5.0),
        (5.0, 9.0),
    ]
    with pytest.raises(KeyError):
        Segment("b", 0, None, None).of(samples)
    probed = {"n_frames": 225, "duration": 9.0}
    assert [one.frames(samples[0], probed) for one in parts] == [62, 62, 100]
    assert parts[0].frames(samples[0], {"n_frames": 9, "duration": None}) == 0


def _empty(path: Path) -> Path:
    path.write_bytes(b"")
    return path
