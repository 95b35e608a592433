"""facemake overlay: the same frames at the same times, drawn where things are; faces hidden."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow.parquet as pq
import pytest
from av.video.reformatter import Colorspace
from PIL import Image

from facemake import schemes
from facemake.backends.fit import builtin
from facemake.backends.fit.interpolated import interpolated_mesh
from facemake.backends.threedi.model import InstallModel
from facemake.cli import main
from facemake.cli.overlay import _to_do
from facemake.errors import FacemakeError
from facemake.geometry import rotate, rotation_from_euler
from facemake.media import VideoMedia, open_media
from facemake.overlay import many
from facemake.overlay.drawing import AXES, GAZE, Pen, axes, gaze
from facemake.overlay.hiding import CELLS, Course, hide, widened
from facemake.overlay.options import Options
from facemake.overlay.rows import Face, frames_of
from facemake.overlay.sinks import Stream, VideoSink, comment_of
from facemake.overlay.study import Recorded, find
from facemake.overlay.surface import Surface, _lines
from facemake.overlay.view import View
from facemake.provenance import Recipe
from facemake.samples import Sample, shard_text
from facemake.stages.overlay import overlays
from facemake.tables import METADATA_KEY, SCHEMAS, TableReader, TableWriter, coefficient_schema
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


# -- the mesh


def test_a_mesh_has_no_diagonals_and_each_line_knows_its_triangles():
    square = np.array([[0, 0, 0], [10, 0, 0], [10, 10, 0], [0, 10, 0], [20, 5, 0]], np.float32)
    mesh = replace(
        interpolated_mesh(MODEL),
        mean=square,
        triangles=np.array([[0, 1, 2], [0, 2, 3], [1, 4, 2]], np.int32),
    )
    edges, beside = _lines(mesh)
    assert edges.tolist() == [[0, 1], [0, 3], [1, 2], [1, 4], [2, 3], [2, 4]]
    assert [sorted(set(pair)) for pair in beside.T.tolist()] == [[0], [1], [0, 2], [2], [1], [2]]


@pytest.mark.parametrize(("matrix", "written"), [(1, 1), (2, 6), (5, 5), (6, 6), (0, 1), (9, 1)])
def test_a_matrix_of_old_is_kept(matrix: int, written: int):
    number, word = Stream(None, matrix=matrix).coding
    assert number == written and (word == Colorspace.ITU709) == (number == 1)


# -- 3DI's faces


def install_faces(path: Path) -> InstallModel:
    """What an install says: the inner face of the built-in model, about another origin."""
    inner = MODEL.inner
    away = np.array([0.5, -3.0, 2.0])
    faces = InstallModel(
        MODEL.mean[inner] + away, MODEL.expression[:, inner], np.zeros(0, np.int64)
    )
    faces.save(path)
    return faces


def of_3di(backend: str, path: Path) -> Surface:
    return Surface.of({"stage": "fit", "backend": backend, "settings": {"fov": 30}}, path)


def test_the_mesh_of_3di_is_the_persons_at_the_landmarks(tmp_path: Path):
    faces = install_faces(tmp_path / "model.npz")
    person = faces.mean * 1.1 + np.random.default_rng(0).normal(0, 2, (51, 3))
    with TableWriter(tmp_path / "identity.parquet", SCHEMAS["identity"], {}) as table:
        table.append(sample="clip", track=0, status="ok", neutral=person.ravel())
    surface = of_3di("3di", tmp_path / "model.npz")
    assert not surface.knows(0)
    with TableReader(tmp_path / "identity.parquet") as reader:
        surface.know(reader, "clip")
    assert surface.knows(0) and not surface.knows(1)
    expression = np.abs(np.random.default_rng(1).normal(0, 0.3, len(faces.expression)))
    pose = np.array([0.1, -0.2, 0.3, 20.0, -10.0, DISTANCE])
    one = Face(0, "ok", pose=pose, expression=expression)
    _, pixels = surface._placed(one, VIEW, surface._people[0])
    shape = faces.shapes(expression[None], person)[0]
    wanted = CAMERA.project(rotate(rotation_from_euler(pose[:3]), shape) + pose[3:])
    vertices = surface._mesh.landmarks[schemes.IBUG51]
    assert np.abs(pixels[vertices] - wanted).max() < 0.01
    rgb = GREY.copy()
    surface.lines(rgb, one, VIEW, (255, 255, 255))
    ys, xs = np.nonzero((rgb != GREY).any(axis=-1))
    low, high = pixels.min(axis=0), pixels.max(axis=0)
    drawn = [xs.min(), ys.min(), xs.max(), ys.max()]
    assert np.abs(np.array(drawn) - [*low, *high]).max() < 3


def test_a_head_of_3di_lite_is_where_its_landmarks_are(tmp_path: Path):
    faces = install_faces(tmp_path / "model.npz")
    angles, expression = np.array([0.1, -0.3, 0.2]), np.zeros(len(faces.expression))
    flat = rotate(rotation_from_euler(angles), faces.mean)[:, :2]
    points = 1.7 * flat + [300, 200]
    about = {"recipe": {"stage": "fit", "backend": "3dilite", "settings": {"fov": 30}}}
    rows = {
        "detections": {"status": "ok", "time": 0.0, "x": 9.0, "y": 9.0, "w": 9.0, "h": 9.0},
        "landmarks": {"status": "ok", "scheme": "ibug51", "points": points.ravel()},
        "fit": {
            "status": "ok",
            "expression": expression,
            "canonical": faces.canonical(expression[None])[0],
            **dict(zip(("rx", "ry", "rz"), angles, strict=True)),
        },
    }
    readers = {}
    for name, row in rows.items():
        with TableWriter(tmp_path / f"{name}.parquet", SCHEMAS[name], about) as table:
            table.append(sample="clip", frame=0, track=0, **row)
            table.append(sample="clip", frame=1, track=0, status="lost")
        readers[name] = TableReader(tmp_path / f"{name}.parquet")
    seen, lost = frames_of(readers, "clip", "fit", len(expression))
    (one,) = seen.faces
    assert np.allclose(one.weak, [1.7, *angles, 300, 200], atol=1e-3)
    assert lost.faces[0].weak is None and axes(one, VIEW)[0] == pytest.approx([300, 200], abs=0.01)
    surface = of_3di("3dilite", tmp_path / "model.npz")
    assert surface.knows(0)  # whoever it is has the mean face
    _, pixels = surface._placed(one, VIEW, None)
    assert np.abs(pixels[surface._mesh.landmarks[schemes.IBUG51]] - points).max() < 0.01
    for reader in readers.values():
        reader.close()
    with pytest.raises(FacemakeError, match="finish the run first"):
        of_3di("3di", tmp_path / "nothing.npz")


# -- a run


def write_run(
    folder: Path,
    path: Path,
    *,
    start: float | None = None,
    end: float | None = None,
    kind: str = "video",
    unseen: Sequence[int] = (),
    also: Sequence[str] = (),
    unreadable: Sequence[str] = (),
) -> np.ndarray:
    """Tables of a face that stands still in every frame but the unseen ones; its points.

    Of the sample `clip`, of others of the same recording, and of some that cannot be read.
    """
    sample = Sample("clip", path, "anna", start, end)
    with open_media(sample) as media:
        frames = [(f.time, f.width, f.height, f.orientation.degrees) for f in media]
        tick = media.tick if isinstance(media, VideoMedia) else None
    (folder / ".facemake" / "plan").mkdir(parents=True)
    (folder / ".facemake" / "plan.json").write_text(json.dumps({"config": {"outdir": "results"}}))
    names = sorted({"clip", *also, *unreadable})
    members = [replace(sample, sample=name) for name in names]
    (folder / ".facemake" / "plan" / "pack0.tsv").write_text(shard_text(members))
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
    tables = ("probe", "detections", "landmarks", "fit", "identity", "aus")
    schemas = {n: SCHEMAS[n] for n in tables if n in SCHEMAS}
    schemas["aus"] = coefficient_schema(["AU12_r", "AU25_r"], "0-5")
    for name in tables:
        (folder / "results" / name).mkdir(parents=True)
        with TableWriter(
            folder / "results" / name / "pack0.parquet", schemas[name], about
        ) as table:
            for member in names:
                if name == "probe":
                    table.append(
                        sample=member,
                        kind=kind,
                        width=width,
                        height=height,
                        rotation=frames[0][3],
                        n_frames=len(frames),
                        fps=25.0,
                        status="unreadable" if member in unreadable else "ok",
                        reason="it is damaged" if member in unreadable else "",
                    )
                    continue
                if member in unreadable:
                    continue
                if name == "identity":
                    person = np.zeros(len(MODEL.identity), np.float32)
                    table.append(sample=member, track=0, identity=person, n_frames=3, status="ok")
                    continue
                for i, (time, *_) in enumerate(frames):
                    key = {"sample": member, "frame": i, "track": 0}
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


# -- the workflow's stage


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
    assert "in 8 of 8 frames nothing is hidden" in capsys.readouterr().err


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
