"""facemake overlay: the same frames at the same times."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from facemake.cli import main
from facemake.cli.overlay import _to_do
from facemake.errors import FacemakeError
from facemake.media import VideoMedia
from facemake.overlay import many
from facemake.overlay.drawing import AXES, GAZE
from facemake.overlay.options import Options
from facemake.overlay.study import Recorded, find
from facemake.samples import Sample
from facemake.tables import METADATA_KEY
from makemedia import noise, write_video
from overlayrun import overlay, times, write_run


@pytest.mark.parametrize(("start", "end"), [(None, None), (0.1, 0.25)])
def test_a_video_keeps_its_frames_and_stamps(
    study: Path, recording: Path, start: float | None, end: float | None
):
    points = write_run(study, recording, start=start, end=end)
    assert overlay("--draw", "all") == 0
    made = study / "overlay" / "clip.mp4"
    with VideoMedia(recording, start, end) as media:
        before = [(f.time, f.width, f.height, f.rgb) for f in media]
    with VideoMedia(made) as media:
        after = [(f.time, f.width, f.height, f.rgb) for f in media]
        assert media.codec == "h264"
    assert [a[0] for a in after] == [b[0] for b in before] and len(after) >= 3
    assert (before[0][1:3], after[0][1:3]) == ((241, 322), (242, 322))  # made even
    with av.open(str(made)) as container:
        assert [s.type for s in container.streams] == ["video"]  # no sound unless asked
        assert "drawn: boxes" in container.metadata["comment"]
        assert container.streams.video[0].codec_context.colorspace == 6  # as it was read
    # landmarks are where they should be: white dots on the picture
    x, y = np.round(points[30]).astype(int)
    spot = after[-1][3][y - 1 : y + 2, x - 1 : x + 2].astype(float).mean(axis=-1).max()
    assert spot > before[-1][3][y - 1 : y + 2, x - 1 : x + 2].astype(float).mean(axis=-1).max()
    corner = np.abs(after[-1][3][-40:-20, -20:-1].astype(float) - before[-1][3][-40:-20, -21:-2])
    assert corner.mean() < 20  # where nothing is drawn the picture is as it was


def test_the_same_bytes_each_time_and_never_over_what_is_there(
    study: Path, recording: Path, capsys: pytest.CaptureFixture[str]
):
    write_run(study, recording)
    assert overlay() == 0
    made = study / "overlay" / "clip.mp4"
    first = made.read_bytes()
    assert overlay() == 2
    assert "--force" in capsys.readouterr().err
    assert overlay("--force") == 0 and made.read_bytes() == first
    assert overlay("--force", "--output", str(recording.parent), "--draw", "none") == 0
    assert sorted(p.name for p in made.parent.iterdir()) == ["clip.mp4"]


@pytest.mark.parametrize("other", ["clip.mp4", "clip.mp4/a.png", "."])
def test_no_recording_of_the_run_is_ever_replaced(
    study: Path, recording: Path, capsys: pytest.CaptureFixture[str], other: str
):
    """A sample's name may be that of another one's file where --output is where they all lie."""
    write_run(study, recording)
    theirs = recording.parent / "all" / other
    if other == "clip.mp4":
        theirs.parent.mkdir()
        theirs.write_bytes(recording.read_bytes())
    else:
        (recording.parent / "all" / "clip.mp4").mkdir(parents=True)
    plan = study / ".facemake" / "plan" / "pack0.tsv"
    said = plan.read_text()
    assert str(recording) in said
    plan.with_name("pack1.tsv").write_text(said.replace(str(recording), str(theirs)))
    before = sorted(recording.parent.rglob("*.mp4"))
    assert overlay("--force", "--output", str(recording.parent / "all")) == 2
    assert "is a recording of the run: name another --output" in capsys.readouterr().err
    assert sorted(recording.parent.rglob("*.mp4")) == before


def test_an_exchanged_recording_is_refused_and_leaves_nothing(
    study: Path, recording: Path, capsys: pytest.CaptureFixture[str]
):
    write_run(study, recording)
    write_video(recording, [noise(i, 322, 240) for i in range(8)])  # another one of as many frames
    assert overlay() == 2
    said = capsys.readouterr().err
    assert "was exchanged" in said and "frame 1" in said
    assert not list((study / "overlay").iterdir())
    recording.unlink()
    assert overlay() == 2 and "put the recording back" in capsys.readouterr().err


def test_sound_goes_along_when_asked(study: Path, recording: Path):
    write_run(study, recording, start=0.1, end=0.25)
    assert overlay("--audio", "--from-zero") == 0
    made = study / "overlay" / "clip.mp4"
    assert times(made)[0] == 0

    def sound(path: Path, low: float, high: float) -> list[bytes]:
        with av.open(str(path)) as container:
            packets = [p for p in container.demux(audio=0) if p.size and not p.is_discard]
            return [bytes(p) for p in packets if low <= float(p.pts * p.time_base) < high]

    assert sound(made, -9, 9) == sound(recording, 0.1, 0.25) != []


def test_all_samples_go_on_where_they_were(
    study: Path, recording: Path, capsys: pytest.CaptureFixture[str]
):
    write_run(study, recording)
    assert main(["overlay", "--all", "--draw", "none"]) == 0
    made = study / "overlay" / "clip.mp4"
    before = made.stat().st_mtime_ns
    assert main(["overlay", "--all", "--draw", "none"]) == 0
    assert made.stat().st_mtime_ns == before
    for wrong in (["--all", "clip"], []):
        assert main(["overlay", *wrong]) == 2
    assert main(["overlay", "nobody", "clio"]) == 2
    assert "has no sample nobody, clio" in capsys.readouterr().err
    assert main(["overlay", "clio"]) == 2
    assert "did you mean clip?" in capsys.readouterr().err
    # what is there was made in another way: nobody shall take its faces for hidden
    assert main(["overlay", "--all", "--hide", "fill"]) == 2
    assert "made in another way" in capsys.readouterr().err
    assert made.stat().st_mtime_ns == before
    # or of tables that are no longer those of the run
    detections = study / "results" / "detections" / "pack0.parquet"
    table = pq.read_table(detections)
    word = json.loads(table.schema.metadata[METADATA_KEY])
    key = {METADATA_KEY: json.dumps({**word, "lineage": "another"})}
    pq.write_table(table.replace_schema_metadata(key), detections, row_group_size=8)
    assert main(["overlay", "--all", "--draw", "none"]) == 2
    assert "made in another way" in capsys.readouterr().err


def test_a_sample_that_fails_stops_no_other(
    study: Path, recording: Path, capsys: pytest.CaptureFixture[str]
):
    write_run(study, recording, also=["a", "z"], unreadable=["bad"])
    for named, workers in ((["z", "bad", "clip", "a"], "2"), (["bad", "z"], "1")):
        output = f"made{workers}"
        words = ["--workers", workers, "--output", output, "--draw", "boxes"]
        assert main(["overlay", *named, *words]) == 2
        out, err = capsys.readouterr()
        good = [name for name in named if name != "bad"]
        assert out.split() == [f"{output}/{name}.mp4" for name in good]
        assert "bad has no frames: unreadable, it is damaged" in err
        assert f"1 of {len(named)} samples have no overlay: bad" in err
        assert {path.name for path in Path(output).iterdir()} == {f"{n}.mp4" for n in good}
    a, z, alone = (
        Path(path).read_bytes() for path in ("made2/a.mp4", "made2/z.mp4", "made1/z.mp4")
    )
    assert z == alone and a.replace(b"overlay of a;", b"overlay of z;") == z
    assert main(["overlay", "bad"]) == 2
    assert capsys.readouterr().err == "facemake: bad has no frames: unreadable, it is damaged\n"
    assert main(["overlay", "--all", "--draw", "none", "--frames", "0", "--output", "more"]) == 0
    assert len(list((study / "more").iterdir())) == 3


def test_two_samples_are_not_one_file(study: Path, recording: Path, tmp_path: Path):
    (tmp_path / "folder").mkdir()
    probe = {"kind": "video", "n_frames": 8}
    one = Recorded(Sample("clip", recording, "a"), probe, study, "s")
    folder = Sample("clip.mp4", tmp_path / "folder", "b")
    other = Recorded(folder, {"kind": "images", "n_frames": 2}, study, "s")
    with pytest.raises(FacemakeError, match=r"overlay of clip and of clip\.mp4"):
        list(_to_do([one, other], Options(), study / "overlay", again=False, go_on=False))


def test_a_process_that_is_killed_costs_one_sample(
    study: Path, recording: Path, capsys: pytest.CaptureFixture[str], monkeypatch
):
    write_run(study, recording, also=["a", "b"])
    found = find(Path(), ["a", "b", "clip"])
    started = []
    one = many._Worker

    class Watched(one):
        def __init__(self) -> None:
            super().__init__()
            started.append(self)
            if len(started) == 1:
                self.process.kill()

    monkeypatch.setattr(many, "_Worker", Watched)
    outcomes = list(many.overlays(found, Options(frozenset()), study / "made", workers=2))
    assert [outcome.sample for outcome in outcomes] == ["a", "b", "clip"]
    lost = [outcome for outcome in outcomes if outcome.made is None]
    assert len(lost) == 1 and "SIGKILL" in lost[0].error
    assert len(list((study / "made").iterdir())) == 2
    assert not any(worker.process.is_alive() for worker in started)


def test_some_frames_at_their_own_times(
    study: Path, recording: Path, capsys: pytest.CaptureFixture[str]
):
    write_run(study, recording)
    assert overlay("--frames", "2-5", "--audio", "--draw", "frame") == 0
    made = study / "overlay" / "clip_frames000002-000005.mp4"
    assert times(made) == times(recording)[2:6]
    with VideoMedia(made) as mine, VideoMedia(recording) as theirs:
        pairs = zip(mine, list(theirs)[2:6], strict=True)
        away = [np.abs(a.rgb[:300, :241].astype(float) - b.rgb[:300]).mean() for a, b in pairs]
    assert max(away) < 12  # the right pictures
    assert overlay("--frames", "7-90", "--from-zero") == 0
    assert times(study / "overlay" / "clip_frames000007-000090.mp4") == [0]
    capsys.readouterr()
    assert overlay("--frames", "8-9") == 2 and "has no frame 8" in capsys.readouterr().err


def test_a_run_without_a_plan_and_words_that_are_none(
    study: Path, capsys: pytest.CaptureFixture[str]
):
    assert overlay() == 2 and "-d names the folder" in capsys.readouterr().err
    for wrong in (["--draw", "hats"], ["--tracks", "x"], ["--frames", "5-3"], ["--threads", "0"]):
        with pytest.raises(SystemExit):
            overlay(*wrong)
    assert overlay("--spare", "0") == 2


def test_what_is_not_in_the_run_is_said(
    study: Path, recording: Path, capsys: pytest.CaptureFixture[str]
):
    write_run(study, recording)
    assert overlay("--tracks", "0,7", "--draw", "boxes") == 0
    assert "no frame has track 7" in capsys.readouterr().err
    assert overlay("--pose", "smooth", "--force") == 2
    assert "smooths nothing" in capsys.readouterr().err
    # boxes have no pose
    assert overlay("--pose", "smooth", "--force", "--draw", "boxes") == 0
    for damaged in ("{", '{"config": {}}'):
        (study / ".facemake" / "plan.json").write_text(damaged)
        assert overlay() == 2 and "is damaged" in capsys.readouterr().err


def test_pictures_are_pictures_again(study: Path, tmp_path: Path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, size in (("a.png", (320, 240)), ("b.jpg", (320, 240))):
        Image.new("RGB", size, (90, 90, 90)).save(folder / name)
    write_run(study, folder, kind="images")
    assert overlay() == 0
    made = sorted((study / "overlay" / "clip").iterdir())
    assert [p.name for p in made] == ["000000_a.png", "000001_b.jpg"]
    drawn = np.asarray(Image.open(made[0]))
    for colour in (AXES[0], GAZE):
        assert (np.abs(drawn.astype(int) - colour).sum(axis=-1) < 60).any()
    assert overlay("--force", "--hide", "fill") == 0
    nameless = sorted((study / "overlay" / "clip").iterdir())
    assert [p.name for p in nameless] == ["000000.png", "000001.jpg"]
    with Image.open(nameless[0]) as picture:
        assert (np.asarray(picture)[120, 160] == 128).all()
        assert "faces: fill" in picture.info["Comment"] and "clip" not in picture.info["Comment"]
    assert len(list((study / "overlay").iterdir())) == 1
