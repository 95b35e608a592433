"""Whole datasets: odd pictures, any number of workers, kills, and what changed in between."""

from __future__ import annotations

import hashlib
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pyarrow.parquet as pq
import pytest
from PIL import Image

from facemake.errors import BusyError, ConfigError, FacemakeError, ModelError
from facemake.extraction import extract_faces
from facemake.extraction.journal import Journal
from facemake.geometry import apply_affine
from facemake.provenance import LIBRARY

DEADLINE = 240.0


def bytes_of(out: Path) -> dict[str, str]:
    """Name -> SHA-256 of all that is no note of the run."""
    return {
        path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("*"))
        if path.is_file() and not path.name.startswith(".faces.")
    }


def until(condition: object, process: subprocess.Popen[str] | None = None) -> None:
    """Wait for a state."""
    end = time.monotonic() + DEADLINE
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, "the state never came"
        assert process is None or process.poll() is None, process.stderr.read()
        time.sleep(0.01)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, bundled: Path) -> Path:
    """Pictures of every kind, and a clip."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "train").mkdir()
    (folder / "test").mkdir()
    eileen = Image.open(bundled / "portraits" / "eileen_collins.png").convert("RGB")
    eileen.save(folder / "train" / "x.jpg", quality=95)
    eileen.save(folder / "train" / "x.png")
    both = Image.new("RGB", (eileen.width * 2, eileen.height))
    both.paste(eileen, (0, 0))
    both.paste(eileen.resize((400, 400)), (eileen.width, 50))
    both.save(folder / "train" / "two.png")
    eileen.save(folder / "train" / "two_1.png")
    alpha = eileen.copy()
    alpha.putalpha(255)
    alpha.save(folder / "test" / "alpha.png")
    eileen.convert("L").save(folder / "test" / "grey.png")
    wide = np.asarray(eileen.convert("L")).astype(np.uint16) * 257
    Image.fromarray(wide).save(folder / "test" / "sixteen.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # turned a quarter clockwise to be upright
    eileen.rotate(90, expand=True).save(folder / "test" / "turned.jpg", exif=exif, quality=95)
    whole = (folder / "train" / "x.jpg").read_bytes()
    (folder / "test" / "cut.jpg").write_bytes(whole[: len(whole) // 3])
    (folder / "test" / "text.jpg").write_text("no picture")
    (folder / "test" / "empty.png").write_bytes(b"")
    Image.new("RGB", (64, 48), (90, 120, 60)).save(folder / "test" / "grass.png")
    Image.new("RGB", (1, 300)).save(folder / "test" / "line.png")
    (folder / "clip.mp4").write_bytes((bundled / "moving_portrait.mp4").read_bytes())
    return folder


@pytest.fixture(scope="module")
def once(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one worker makes of it."""
    out = tmp_path_factory.mktemp("once") / "crops"
    extract_faces([data], out, "mediapipe", 1, frame_step=25, csv=True, progress=False)
    return out


def test_the_table_says_what_became_of_every_input(data: Path, once: Path):
    table = pd.read_parquet(once / "faces.parquet")
    assert set(table["input"]) == {
        path.relative_to(data).as_posix() for path in data.rglob("*") if path.is_file()
    }
    status = dict(zip(table["input"], table["status"], strict=True))
    for name in ("alpha", "grey", "sixteen"):
        assert status[f"test/{name}.png"] == "ok"
    assert status["test/turned.jpg"] == "ok"
    assert status["test/grass.png"] == status["test/line.png"] == "no_face"
    for name in ("cut.jpg", "text.jpg", "empty.png"):
        assert status[f"test/{name}"] == "unreadable"
    reasons = dict(zip(table["input"], table["reason"], strict=True))
    assert "is empty (0 bytes)" in reasons["test/empty.png"]
    assert table["frame"][table["input"] == "clip.mp4"].tolist() == [0, 25, 50]

    outputs = table.groupby("input")["output"].apply(list).to_dict()
    assert outputs["train/two.png"] == ["train/two.jpg", "train/two_2.jpg"]
    assert outputs["train/two_1.png"] == ["train/two_1.jpg"]
    assert outputs["train/x.jpg"] == ["train/x.jpg"]
    assert outputs["train/x.png"] == ["train/x.png.jpg"]
    assert outputs["clip.mp4"] == [f"clip/{frame:06d}.jpg" for frame in (0, 25, 50)]
    assert sorted(table["output"].dropna()) == sorted(
        name for name in bytes_of(once) if not name.startswith("faces.")
    )
    made_of = pq.read_schema(once / "faces.parquet").metadata[b"facemake"]
    assert b"blazeface_full_range" in made_of and str(once).encode() not in made_of


def test_a_crop_is_where_the_table_says(data: Path, once: Path):
    table = pd.read_parquet(once / "faces.parquet").set_index("input")
    for name in ("train/x.png", "test/turned.jpg"):
        row = table.loc[name]
        crop = np.asarray(Image.open(once / row["output"])).astype(float)
        assert crop.shape == (112, 112, 3)
        upright = np.asarray(Image.open(data / "train" / "x.png")).astype(float)
        eyes = np.asarray(row["keypoints5"]).reshape(5, 2)[:2]
        on_crop = apply_affine(np.asarray(row["affine"], float).reshape(2, 3), eyes)
        assert np.abs(on_crop - [(38.3, 51.7), (73.5, 51.5)]).max() < 6
        for seen, there in zip(on_crop.round().astype(int), eyes.round().astype(int), strict=True):
            ours = crop[seen[1] - 3 : seen[1] + 4, seen[0] - 3 : seen[0] + 4].mean()
            theirs = upright[there[1] - 4 : there[1] + 5, there[0] - 4 : there[0] + 5].mean()
            assert abs(ours - theirs) < 25


def test_the_csv_has_the_same_rows(once: Path):
    table, text = pd.read_parquet(once / "faces.parquet"), pd.read_csv(once / "faces.csv")
    assert len(table) == len(text)
    for name in ("input", "status", "output"):
        assert text[name].fillna("").tolist() == table[name].fillna("").tolist()
    assert np.allclose(text["affine_02"].dropna(), [a[2] for a in table["affine"].dropna()])


def test_more_workers_give_the_same_bytes(data: Path, once: Path, tmp_path: Path):
    out = tmp_path / "crops"
    # in another order, one of them twice
    paths = [*sorted(data.rglob("*.*"), reverse=True), data / "clip.mp4", data]
    done = extract_faces(paths, out, "mediapipe", 2, frame_step=25, csv=True, progress=False)
    assert done.workers == 2 and done.peak_memory > 10e6
    assert bytes_of(out) == bytes_of(once)


def test_what_is_done_is_not_done_again(data: Path, once: Path):
    before = {path: path.stat().st_mtime_ns for path in once.rglob("*.*") if path.is_file()}
    said: list[str] = []
    again = extract_faces(
        [data], once, "mediapipe", 1, frame_step=25, csv=True, progress=said.append
    )
    assert again.done_before == again.inputs and again.workers == 0
    for path, time_ns in before.items():
        assert path.name.startswith(".") or path.stat().st_mtime_ns == time_ns
    assert again.failed["test/empty.png"].startswith("unreadable: empty.png is empty")
    text = "\n".join(said)
    assert "3 inputs could not be read" in text and "test/cut.jpg" in text
    assert "(no_face)" in text


@pytest.fixture
def small(tmp_path: Path, data: Path) -> Path:
    folder = tmp_path / "small"
    folder.mkdir()
    for name in ("two.png", "x.png"):
        (folder / name).write_bytes((data / "train" / name).read_bytes())
    return folder


def run(small: Path, out: Path, **settings: object):
    return extract_faces([small], out, "mediapipe", 1, progress=False, **settings)


def test_what_changed_is_done_again(small: Path, tmp_path: Path):
    out = tmp_path / "crops"
    run(small, out)
    first = bytes_of(out)
    assert {"two.jpg", "two_1.jpg", "x.jpg"} < set(first)

    (small / "two.png").write_bytes((small / "x.png").read_bytes())  # one face now
    assert run(small, out).done_before == 1
    assert "two_1.jpg" not in bytes_of(out)

    (out / "x.jpg").write_bytes(b"")  # as a power cut may leave it
    assert run(small, out).done_before == 1
    assert bytes_of(out)["x.jpg"] == first["x.jpg"]

    # another input takes the name of a further crop
    assert run(small, out, template="raw").done_before == 0
    assert Image.open(out / "x.jpg").size != (112, 112)
    assert pd.read_parquet(out / "faces.parquet")["template"].unique().tolist() == ["raw"]


def test_a_new_input_takes_a_name_of_its_own(small: Path, tmp_path: Path):
    out, fresh = tmp_path / "crops", tmp_path / "fresh"
    run(small, out)
    (small / "two_1.png").write_bytes((small / "x.png").read_bytes())
    assert run(small, out).done_before == 1  # two.png is done again: its second crop moves
    run(small, fresh)
    assert bytes_of(out) == bytes_of(fresh)
    assert {"two.jpg", "two_1.jpg", "two_2.jpg", "x.jpg"} < set(bytes_of(out))


def test_inputs_that_are_gone(small: Path, tmp_path: Path):
    out = tmp_path / "crops"
    run(small, out)
    (small / "two.png").unlink()
    with pytest.raises(FacemakeError, match=r"crops of 1 input not among .*two\.png"):
        run(small, out)
    assert "two.jpg" in bytes_of(out)
    run(small, out, prune=True)
    assert set(bytes_of(out)) == {"faces.parquet", "x.jpg"}
    assert pd.read_parquet(out / "faces.parquet")["input"].unique().tolist() == ["x.png"]


def test_names_that_are_odd(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path / "odd"
    folder.mkdir()
    two = (data / "train" / "two.png").read_bytes()
    names = ["~two.png", "x" * 251 + ".png", "y" * 250 + ".png", "é" * 125 + ".png"]
    for name in names:
        (folder / name).write_bytes(two)
    monkeypatch.chdir(folder)  # a name by itself that begins as the home of somebody does
    run(folder, tmp_path / "out")
    done = extract_faces(names, tmp_path / "out", "mediapipe", 1, progress=False)
    assert done.done_before == done.inputs == len(names)
    table = pd.read_parquet(tmp_path / "out" / "faces.parquet")
    assert table["status"].tolist() == ["ok"] * 2 * len(names)
    assert {*table["output"], "faces.parquet"} == set(bytes_of(tmp_path / "out"))


def test_files_of_others_are_left_alone(small: Path, tmp_path: Path):
    out = tmp_path / "mine"
    out.mkdir()
    (out / "x.jpg").write_bytes(b"mine")
    with pytest.raises(FacemakeError, match=r"did not write \(x\.jpg, say\)"):
        run(small, out)
    with pytest.raises(FacemakeError, match="lies in the output folder"):
        run(small, small)
    assert (out / "x.jpg").read_bytes() == b"mine"


def test_a_folder_that_cannot_be_is_named(small: Path, tmp_path: Path):
    (tmp_path / "file").write_bytes(b"")
    for out in ("file", "file/crops"):
        with pytest.raises(FacemakeError, match=r"is a file|cannot be written to"):
            run(small, tmp_path / out)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"backend": "nothing"}, "there is no backend nothing; there are mediapipe, "),
        ({"workers": 0}, "workers must be a whole number, 1 or more, not 0"),
        ({"frame_step": 0}, "frame_step must be a whole number, 1 or more"),
        ({"min_score": 2.0}, "min_score must be 0 to 1"),
        ({"min_score": "0.5"}, "min_score must be 0 to 1, not '0.5'"),
        ({"workers": "2"}, "workers must be a whole number, 1 or more, not '2'"),
        ({"frame_step": 2.5}, "frame_step must be a whole number, 1 or more, not 2.5"),
        ({"quality": "high"}, "quality of JPEG must be a whole number, 1 to 100, not 'high'"),
        ({"tile": 64}, "tile must be a whole number, 128 or more, not 64"),
        ({"template": "raw", "padding": "much"}, "0 to 10, not 'much'"),
        ({"device": "cuda"}, "mediapipe computes on cpu alone"),
        ({"model_file": "mine.onnx"}, "loads its own model alone"),
        ({"template": "arcface"}, "there is no template arcface"),
    ],
)
def test_what_makes_no_sense_is_refused(
    settings: dict[str, object], words: str, small: Path, tmp_path: Path
):
    with pytest.raises(ConfigError, match=words):
        extract_faces([small], tmp_path / "out", **{"backend": "mediapipe", **settings})
    assert not (tmp_path / "out").exists()


def test_one_path_by_itself_is_no_list_of_letters(small: Path, tmp_path: Path):
    by_itself = [
        extract_faces(paths, tmp_path / "out", "mediapipe", 1, progress=False)
        for paths in (str(small), small, [small])
    ]
    assert [done.inputs for done in by_itself] == [2, 2, 2]
    assert [done.done_before for done in by_itself] == [0, 2, 2]


def test_small_faces_in_tiles(small: Path, tmp_path: Path):
    large = Image.new("RGB", (2000, 1500), (120, 120, 120))
    face = Image.open(small / "x.png").convert("RGB")
    face.thumbnail((120, 120))
    large.paste(face, (700, 500))
    (tmp_path / "large").mkdir()
    large.save(tmp_path / "large" / "large.png", compress_level=1)
    out = tmp_path / "out"
    assert run(tmp_path / "large", out).crops == 0
    done = run(tmp_path / "large", out, tile=640)
    assert done.done_before == 0 and done.crops == 1
    (row,) = pd.read_parquet(out / "faces.parquet").to_dict("records")
    assert row["status"] == "ok" and 680 < row["x"] < 800 and 20 < row["w"] < 140


def test_a_model_that_is_not_here_is_named(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("FACEMAKE_MODELS", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ModelError, match=r"scrfd_2\.5g_kps is not on this machine: .*fetch"):
        extract_faces([small], tmp_path / "out", "scrfd")


def test_a_broken_model_of_ones_own_is_named(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    models = tmp_path / "models"
    models.mkdir()
    (models / "mine.onnx").write_bytes(b"not a network")
    monkeypatch.setenv("FACEMAKE_MODELS", str(models))
    with pytest.raises(FacemakeError, match=r"mine\.onnx"):
        extract_faces([small], tmp_path / "out", "scrfd", 1, model_file="mine.onnx", progress=False)


def test_a_video_goes_on_in_its_midst(
    bundled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    clips, whole = tmp_path / "clips", tmp_path / "whole"
    clips.mkdir()
    (clips / "clip.mp4").write_bytes((bundled / "moving_portrait.mp4").read_bytes())
    add, heard = Journal.add, []

    def noted(self: Journal, name: str, first: int, rows: list[dict[str, object]]) -> None:
        heard.append((first, len(rows)))
        add(self, name, first, rows)

    def stopped(self: Journal, *rest: object) -> None:
        noted(self, *rest)
        self.commit()
        unheard = self.path.parent / "clip" / "000070.jpg"
        unheard.write_bytes(b"what the journal does not know")
        raise KeyboardInterrupt

    monkeypatch.setattr(Journal, "add", noted)
    run(clips, whole)
    assert heard == [(0, 64), (64, 11)] and len(bytes_of(whole)) > 70
    for damaged in (False, True):
        out = tmp_path / f"out{damaged}"
        monkeypatch.setattr(Journal, "add", stopped)
        with pytest.raises(KeyboardInterrupt):
            run(clips, out)
        assert not (out / "faces.parquet").exists()
        if damaged:
            (out / "clip" / "000003.jpg").write_bytes(b"")  # as a power cut may leave it
        heard.clear()
        monkeypatch.setattr(Journal, "add", noted)
        run(clips, out)
        assert heard == ([(0, 64), (64, 11)] if damaged else [(64, 11)])
        assert bytes_of(out) == bytes_of(whole)


# --- processes that end in other ways


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    """More than workers have in hand at once: the same two pictures under many names."""
    folder = tmp_path_factory.mktemp("many")
    for number in range(64):
        name = ("two.png", "x.png")[number % 2]
        os.link(data / "train" / name, folder / f"{number:03d}.png")
    return folder


@pytest.fixture(scope="module")
def whole(many: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What an undisturbed run gives."""
    out = tmp_path_factory.mktemp("whole") / "crops"
    extract_faces([many], out, "mediapipe", 1, progress=False)
    return bytes_of(out)


@pytest.fixture
def started(many: Path, whole: dict[str, str], tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """The command in the midst of it, held: its workers get no more until it goes on."""
    out = tmp_path / "out"
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "facemake", "extract", str(many), "--out", str(out)),
            *("--backend", "mediapipe", "--workers", "2"),
        ],
        env={**os.environ, "PYTHONPATH": str(LIBRARY.parent)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # a shell's background job hears no SIGINT, and neither would what it starts
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    until(lambda: any(out.glob("*.jpg")), process)
    process.send_signal(signal.SIGSTOP)
    yield process
    process.kill()
    process.communicate()


@pytest.mark.slow
def test_a_killed_run_goes_on(
    many: Path, tmp_path: Path, started: subprocess.Popen[str], whole: dict[str, str]
):
    out = tmp_path / "out"
    workers = psutil.Process(started.pid).children()
    started.send_signal(signal.SIGKILL)
    assert started.wait(DEADLINE) == -signal.SIGKILL
    assert not (out / "faces.parquet").exists()
    # no orphan: workers end with who started them
    until(lambda: not any(one.is_running() and one.status() != "zombie" for one in workers))
    for path in out.glob("[!.]*.jpg"):
        Image.open(path).load()  # none is half-written
    left = len(list(out.glob("[!.]*.jpg")))

    done = extract_faces([many], out, "mediapipe", 2, progress=False)
    assert 0 < left < done.crops == 96
    assert bytes_of(out) == whole
    assert not list(out.glob(".*.part"))


@pytest.mark.slow
def test_interrupt_ends_cleanly(
    many: Path, tmp_path: Path, started: subprocess.Popen[str], whole: dict[str, str]
):
    started.send_signal(signal.SIGINT)
    started.send_signal(signal.SIGCONT)
    _, said = started.communicate(timeout=DEADLINE)
    assert started.returncode == 130
    assert "stopped: " in said and "Traceback" not in said
    extract_faces([many], tmp_path / "out", "mediapipe", 2, progress=False)
    assert bytes_of(tmp_path / "out") == whole


@pytest.mark.slow
def test_a_worker_that_is_killed_is_told_in_words(
    many: Path, tmp_path: Path, started: subprocess.Popen[str]
):
    psutil.Process(started.pid).children()[0].kill()
    started.send_signal(signal.SIGCONT)
    _, said = started.communicate(timeout=DEADLINE)
    assert started.returncode == 2
    assert f"at work on {many}" in said and "memory ran out" in said
    assert "use fewer workers than 2" in said and "Traceback" not in said


@pytest.mark.slow
def test_two_runs_of_one_folder(many: Path, tmp_path: Path, started: subprocess.Popen[str]):
    with pytest.raises(BusyError, match="another process is at work on the crops in"):
        extract_faces([many], tmp_path / "out", "mediapipe", 1, progress=False)
    assert started.poll() is None


@pytest.mark.slow
def test_a_disk_that_is_full_is_said(many: Path, whole: dict[str, str], tmp_path: Path):
    """A limit on the size of a file stands for it: crops fit, the note of what is done does not."""
    out, most = tmp_path / "out", 50_000
    done = subprocess.run(
        [
            *(sys.executable, "-m", "facemake", "extract", str(many), "--out", str(out)),
            *("--backend", "mediapipe", "--workers", "1"),
        ],
        env={**os.environ, "PYTHONPATH": str(LIBRARY.parent)},
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most, most)),
    )
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "which says what is done, cannot be" in done.stderr and "make room" in done.stderr
    extract_faces([many], out, "mediapipe", 1, progress=False)
    assert bytes_of(out) == whole
