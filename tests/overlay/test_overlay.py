"""facemake overlay: the same frames at the same times, drawn where things are; faces hidden."""

from __future__ import annotations

import json
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from facemake import schemes
from facemake.backends.fit import builtin
from facemake.cli import main
from facemake.media import VideoMedia, open_media
from facemake.overlay.drawing import AXES, GAZE, Pen, View, axes, gaze
from facemake.overlay.hiding import CELLS, Course, hide, widened
from facemake.overlay.rows import Face
from facemake.samples import Sample, shard_text
from facemake.tables import SCHEMAS, TableReader, TableWriter
from makefaces import CAMERA, DISTANCE, SIZE, seen
from makemedia import noise, write_video

MODEL = builtin.load_builtin()
VIEW = View(CAMERA)
GREY = np.full((SIZE[1], SIZE[0], 3), 90, np.uint8)


def face(angles: Sequence[float] = (0, 0, 0), **more: Any) -> Face:
    """A face as CAMERA sees it; angles in degrees."""
    truth = seen(MODEL, np.array([angles]), np.zeros((1, len(MODEL.expression))))
    points = truth.points[0]
    low, size = points.min(axis=0), np.ptp(points, axis=0)
    return Face(
        track=0,
        status="ok",
        box=np.array([*low, *size]),
        points=points,
        scheme=schemes.IBUG68,
        pose=np.array([*truth.angles[0], *truth.translation[0]]),
        expression=np.zeros(len(MODEL.expression)),
        **more,
    )


# -- signs


@pytest.mark.parametrize("turn", [(20, 0, 0), (-20, 0, 0), (0, 25, 0), (0, -25, 0), (10, 20, 0)])
def test_the_drawn_nose_axis_points_as_the_known_head_does(turn: tuple[float, float, float]):
    moved = face(turn)
    origin, *ends = axes(moved, VIEW)
    # where the tip of the nose is to the bridge, in the points of the turned head and the straight
    straight = face()
    tip = (moved.points[30] - moved.points[27]) - (straight.points[30] - straight.points[27])
    drawn = ends[2] - origin
    assert np.dot(drawn, tip) > 0.9 * np.linalg.norm(drawn) * np.linalg.norm(tip)


def test_each_axis_in_words():
    pitched, yawed, rolled = (axes(face(a), VIEW) for a in ((20, 0, 0), (0, 20, 0), (0, 0, 20)))
    assert pitched[3, 1] > pitched[0, 1] + 5  # pitch > 0: the nose points down
    assert yawed[3, 0] < yawed[0, 0] - 5  # yaw > 0: to the image's left
    assert rolled[1, 0] > rolled[0, 0] and rolled[1, 1] > rolled[0, 1] + 5  # clockwise
    assert rolled[2, 1] > rolled[0, 1]  # y is down


def test_a_gaze_begins_in_its_eye_and_goes_where_it_looks():
    looking = face(gaze=np.array([[0.6, 0.0, -0.8], [0.0, 0.6, -0.8]]))
    (left, right_end), (right, down_end) = gaze(looking, VIEW)
    points = looking.points
    assert points[36, 0] < left[0] < points[39, 0] and points[42, 0] < right[0] < points[45, 0]
    assert right_end[0] > left[0] + 10  # x > 0 is the image's right
    assert down_end[1] > right[1] + 10  # y > 0 is down
    one_eye = face(gaze=np.array([[np.nan] * 3, [0.0, 0.0, -1.0]]))
    assert len(gaze(one_eye, VIEW)) == 1


@pytest.mark.parametrize(("middle", "left"), [(150, False), (500, True)])
def test_bars_are_as_long_as_what_they_say_and_not_on_the_face(middle: float, left: bool):
    box = np.array([middle - 60.0, 100.0, 120.0, 120.0])
    rgb = GREY.copy()
    faces = [Face(0, "ok", box=box, aus=np.array([5.0, 2.5, 0.0, np.nan])), Face(1, "ok", box=box)]
    Pen(frozenset({"aus"}), ["AU01_r", "AU02_r", "AU04_r", "AU05_r"]).draw(rgb, faces, VIEW)
    yellow = (rgb[..., 0].astype(int) - rgb[..., 2]) > 60
    rows = yellow.sum(axis=1)
    lengths = sorted({int(n) for n in rows if n > 5})
    assert len(lengths) == 2 and abs(lengths[1] - 2 * lengths[0]) <= 1
    changed = np.flatnonzero((rgb != GREY).any(axis=(0, 2)))
    assert changed.min() == 0 if left else changed.max() == SIZE[0] - 1
    assert np.ptp(changed) < SIZE[0] / 4 + 2


def test_without_a_camera_the_weak_perspective_draws():
    lite = Face(
        0, "ok", pose=np.array([0, 0.3, 0, *[np.nan] * 3]), weak=np.array([2.0] * 4 + [9, 8])
    )
    ends = axes(lite, View(None))
    assert ends[0].tolist() == [9, 8] and ends[3, 0] < 9


# -- a run


def write_run(
    folder: Path,
    path: Path,
    *,
    start: float | None = None,
    end: float | None = None,
    kind: str = "video",
    unseen: Sequence[int] = (),
) -> np.ndarray:
    """Tables of a face that stands still in every frame but the unseen ones; its points."""
    sample = Sample("clip", path, "anna", start, end)
    with open_media(sample) as media:
        frames = [(f.time, f.width, f.height, f.orientation.degrees) for f in media]
        tick = media.tick if isinstance(media, VideoMedia) else None
    (folder / ".facemake" / "plan").mkdir(parents=True)
    (folder / ".facemake" / "plan.json").write_text(json.dumps({"config": {"outdir": "results"}}))
    (folder / ".facemake" / "plan" / "pack0.tsv").write_text(shard_text([sample]))
    track = {"image_folders": "pictures"}
    about = {
        "recipe": {
            "stage": "fit",
            "settings": {"model": "builtin", "fov": 30, "track": track},
            "models": [{"name": MODEL.name, "sha256": MODEL.sha256}],
        },
        "upstream": {"detect": {"settings": {"track": track}}},
        "samples": "s",
        "lineage": "0123456789abcdef01",
    }
    width, height = frames[0][1:3]
    one = face()
    scale = min(width / SIZE[0], height / SIZE[1])
    points = (one.points - np.array(SIZE) / 2) * scale + np.array([width, height]) / 2
    low, size = points.min(axis=0), np.ptp(points, axis=0)
    names = ("probe", "detections", "landmarks", "fit", "identity", "aus")
    schemas = {n: SCHEMAS[n] for n in names if n in SCHEMAS}
    from facemake.tables import coefficient_schema

    schemas["aus"] = coefficient_schema(["AU12_r", "AU25_r"], "0-5")
    for name in names:
        (folder / "results" / name).mkdir(parents=True)
        with TableWriter(
            folder / "results" / name / "pack0.parquet", schemas[name], about
        ) as table:
            if name == "probe":
                table.append(
                    sample="clip",
                    kind=kind,
                    width=width,
                    height=height,
                    rotation=frames[0][3],
                    n_frames=len(frames),
                    fps=25.0,
                    status="ok",
                    reason="",
                )
                continue
            if name == "identity":
                person = np.zeros(len(MODEL.identity), np.float32)
                table.append(sample="clip", track=0, identity=person, n_frames=3, status="ok")
                continue
            for i, (time, *_) in enumerate(frames):
                key = {"sample": "clip", "frame": i, "track": 0}
                status = "lost" if i in unseen else "ok"
                row: dict[str, Any] = {}
                if name in ("detections", "landmarks"):
                    row["time"] = time
                if name == "detections":
                    row["shot"] = 0
                if status == "ok" and name == "detections":
                    row |= dict(zip("xywh", (*low, *size), strict=True))
                if status == "ok" and name == "landmarks":
                    row |= {"scheme": "ibug68", "points": points.astype(np.float32).ravel()}
                if status == "ok" and name == "fit":
                    row |= dict(
                        zip(("rx", "ry", "rz", "tx", "ty"), (0.1, 0.2, 0, 0, 0), strict=True)
                    )
                    row |= {"tz": DISTANCE, "expression": one.expression.astype(np.float32)}
                    row |= {
                        f"gaze_{e}_{a}": v
                        for e in "01"
                        for a, v in zip("xyz", (0.6, 0, -0.8), strict=True)
                    }
                if status == "ok" and name == "aus":
                    row = {"AU12_r": 3.0}
                table.append(**key, **row, status=status)
    assert tick or kind != "video"
    return points


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "study").mkdir()
    monkeypatch.chdir(tmp_path / "study")
    return tmp_path / "study"


def overlay(*arguments: str) -> int:
    return main(["overlay", "clip", *arguments])


def times(path: Path) -> list[float | None]:
    with VideoMedia(path) as media:
        return [frame.time for frame in media]


STAMPS = [0, 512, 1152, 1664, 2816, 3328, 3840, 4608]  # a variable frame rate


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Odd in height, turned by 90 degrees, of a variable frame rate, with sound."""
    return write_video(
        tmp_path / "recording.mp4",
        [noise(i, 322, 241) for i in range(8)],
        pix_fmt="yuv444p",
        stamps=STAMPS,
        time_base=Fraction(1, 15360),
        rotation=90,
        audio_seconds=0.4,
    )


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
    assert main(["overlay", "nobody"]) == 2
    assert "has no sample nobody" in capsys.readouterr().err


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


# -- hiding


def test_a_face_stays_hidden_while_it_is_lost(
    study: Path, recording: Path, capsys: pytest.CaptureFixture[str]
):
    points = write_run(study, recording, unseen=[3, 4])
    assert overlay("--hide", "fill") == 0
    x, y = np.round(points.mean(axis=0)).astype(int)
    with VideoMedia(study / "overlay" / "clip.mp4") as media:
        for frame in media:
            middle = frame.rgb[y - 20 : y + 20, x - 20 : x + 20].astype(float)
            assert abs(middle.mean() - 128) < 4 and middle.std() < 4, frame.index
    assert "no face" not in capsys.readouterr().err
    assert overlay("--hide", "fill", "--spare", "0", "--force") == 0
    assert "in 8 of 8 frames no face was found" in capsys.readouterr().err


def course(tmp_path: Path, boxes: dict[int, float], n: int, cuts: Sequence[int] = ()) -> Course:
    """A track at x = boxes[frame], in n frames."""
    path = tmp_path / "detections.parquet"
    with TableWriter(path, SCHEMAS["detections"], {}) as table:
        for frame in range(n):
            shot = sum(frame >= cut for cut in cuts)
            row: dict[str, Any] = {"status": "no_face"}
            if frame in boxes:
                row = {"x": boxes[frame], "y": 50.0, "w": 40.0, "h": 40.0, "status": "ok"}
            table.append(sample="clip", frame=frame, track=0, shot=shot, **row)
    with TableReader(path) as reader:
        return Course(reader, "clip", in_time=True, around=3, spare=frozenset())


def middles(track: Course, n: int) -> list[float | None]:
    found = [list(track.regions(frame, ())) for frame in range(n)]
    return [float(r[0][0] + r[0][2] / 2) if r else None for r in found]


def test_where_a_lost_face_is_hidden(tmp_path: Path):
    between = middles(course(tmp_path, {5: 100.0, 9: 140.0}, 20), 20)
    assert between[5:10] == [120, 130, 140, 150, 160]  # from where it was to where it comes back
    assert between[2:5] == [120] * 3 and between[10:13] == [160] * 3  # and half a second around
    assert between[:2] == [None] * 2 and between[13:] == [None] * 7


def test_a_cut_ends_where_a_face_was(tmp_path: Path):
    apart = middles(course(tmp_path, {5: 100.0, 15: 200.0}, 20, cuts=[8]), 20)
    assert apart[5:8] == [120] * 3 and apart[8:16] == [220] * 8  # nothing wanders over a cut
    assert middles(course(tmp_path, {5: 100.0}, 20, cuts=[6, 7]), 20)[6:] == [None] * 14


@pytest.mark.parametrize("how", ["pixelate", "blur", "fill", "mesh"])
def test_what_is_left_of_a_hidden_face(how: str):
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 256, (240, 320, 3), np.uint8)
    before, region = rgb.copy(), widened(np.array([100.0, 80.0, 60.0, 60.0]), None)
    hide(rgb, region, how)
    x, y, w, h = region
    inside = np.zeros(rgb.shape[:2], bool)
    inside[int(y) : int(np.ceil(y + h)) + 1, int(x) : int(np.ceil(x + w)) + 1] = True
    assert (rgb[~inside] == before[~inside]).all()
    assert x < 100 - 10 and y < 80 - 20 and x + w > 170 and y + h > 150  # wider than the face
    colours = len(np.unique(rgb[inside], axis=0))
    most = {"pixelate": (1.5 * CELLS["pixelate"] + 1) * (1.6 * CELLS["pixelate"] + 1)}
    if how == "blur":  # no more than as many grey hills
        assert rgb[inside].astype(float).std() < 0.2 * before.astype(float).std()
    else:
        assert colours <= most.get(how, 1)


def test_a_face_at_the_rim_and_outside():
    rgb = GREY.copy()
    for box in ([-50.0, -40.0, 100.0, 100.0], [630.0, 470.0, 50.0, 50.0], [900.0, 0.0, 9.0, 9.0]):
        for how in ("pixelate", "blur", "fill"):
            hide(rgb, widened(np.array(box), None), how)
    assert rgb.shape == GREY.shape and (rgb[0, 0] == 128).all() and (rgb[240, 320] == 90).all()
