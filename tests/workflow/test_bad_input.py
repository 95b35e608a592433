"""Bad input in a real run: a status with a reason, and the rest of the dataset is built."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from makemedia import truncate, write_audio, write_video
from runworkflow import Run, run, study

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("bad input")]


@pytest.fixture(scope="module")
def finished(bundled: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One run over every kind of bad file and a few good ones."""
    folder = tmp_path_factory.mktemp("bad input")
    clips = folder / "clips; rm -rf $HOME '\"`ls`"  # a path may hold what it likes
    clips.mkdir()
    portraits = bundled / "portraits"
    (clips / "empty.mp4").write_bytes(b"")
    (clips / "text.mp4").write_text("this is no video\n" * 50)
    truncate(write_video(clips / "cut.mp4", 60), 0.5)
    # the index first, as cameras and streaming services write it: what is there can be read
    whole = write_video(clips / "half.mp4", 60, container_options={"movflags": "faststart"})
    truncate(whole, 0.6)
    write_audio(clips / "sound.m4a")
    write_video(clips / "one frame.mp4", 1)
    (clips / "nothing").mkdir()
    (clips / "nothing" / "notes.txt").write_text("no image")
    mixed = clips / "mixed"
    mixed.mkdir()
    face = Image.open(portraits / "eileen_collins.png").convert("RGB")
    face.save(mixed / "img1.jpg")
    face.crop((60, 0, 400, 300)).save(mixed / "img2.png")
    face.convert("L").save(mixed / "img3.png")
    deep = face.convert("L").point(lambda v: v * 257, "I").convert("I;16")
    deep.save(mixed / "img4.png")
    (mixed / "img10.jpg").write_bytes((mixed / "img1.jpg").read_bytes()[:9000])
    samples = [
        ("empty", clips / "empty.mp4"),
        ("text", clips / "text.mp4"),
        ("cut", clips / "cut.mp4"),
        ("half", clips / "half.mp4"),
        ("sound", clips / "sound.m4a"),
        ("one frame", clips / "one frame.mp4"),
        ("nothing", clips / "nothing"),
        ("mixed", mixed),
        ("gut und schön", portraits / "grace_hopper.jpg"),
    ]
    study(folder, samples, embed="off", shards=2)
    done = run(folder)
    assert done.code == 0, done.output
    return done


def manifest(finished: Run) -> pd.DataFrame:
    return pd.read_parquet(finished.results / "dataset" / "manifest.parquet").set_index("sample")


def test_each_sample_has_its_status_with_a_reason(finished: Run):
    rows = manifest(finished)
    assert rows.status.to_dict() == {
        "empty": "unreadable",
        "text": "unreadable",
        "cut": "unreadable",
        "half": "truncated",
        "sound": "no_video_stream",
        "one frame": "no_face",
        "nothing": "no_images",
        "mixed": "ok",
        "gut und schön": "ok",
    }
    bad = rows[rows.status != "ok"]
    assert (bad.reason.str.len() > 10).all()


def test_the_end_of_the_run_names_them(finished: Run):
    for name in ("empty", "text", "cut", "half", "sound", "one frame", "nothing"):
        assert re.search(rf"^  {name}: \w+, ", finished.output, re.MULTILINE), finished.output
    assert "Traceback" not in finished.output


def test_a_run_with_nothing_to_do_names_them_too(finished: Run):
    again = run(finished.folder)
    assert again.code == 0 and "Nothing to be done" in again.output
    assert "9 samples: " in again.output and "2 ok" in again.output
    assert "  sound: no_video_stream, " in again.output
    dry = run(finished.folder, "--dry-run")
    assert "Nothing to be done" in dry.output and "9 samples" not in dry.output


def test_the_files_of_all_are_not_its_message(finished: Run):
    assert "all results are there" in finished.output
    assert "    input: results/" not in finished.output


def test_the_good_ones_are_built(finished: Run):
    rows = manifest(finished)
    assert rows.n_kept["gut und schön"] == 1
    landmarks = pd.read_parquet(finished.results / "landmarks")
    mixed = landmarks[(landmarks["sample"] == "mixed") & (landmarks.track == 0)]
    # natural order: the broken img10 comes last
    assert mixed.status.tolist() == ["ok", "ok", "ok", "ok", "decode_error"]
    first, grey, deep = mixed.points.iloc[[0, 2, 3]]
    assert abs(first - grey).max() < 5
    assert abs(grey - deep).max() < 1.5


def test_what_was_cut_off_keeps_the_frames_that_are_there(finished: Run):
    detections = pd.read_parquet(finished.results / "detections")
    half = detections[detections["sample"] == "half"]
    assert 5 <= len(half) < 60
    assert half.frame.tolist() == list(range(len(half)))


def test_mistakes_are_refused_before_any_job(tmp_path: Path):
    study(tmp_path, [("a", "nowhere.mp4"), ("../b", "x.mp4")], tracck={"max_gap": 3}, shards="ten")
    done = run(tmp_path)
    assert done.code == 2
    assert "tracck is no key; did you mean track?" in done.output
    assert "config.yaml:2: shards is 'ten'" in done.output
    assert "samples.tsv:2: there is no file" in done.output
    assert "samples.tsv:3: sample name '../b' is not safe" in done.output
    assert "Traceback" not in done.output
    assert "WorkflowError" not in done.output and ".smk" not in done.output
    for way in ("--dry-run", "--lint"):
        again = run(tmp_path, way)
        assert again.code == 2 and "tracck is no key" in again.output, way
    assert not (tmp_path / "results").exists()


def test_a_failing_fraction_of_samples_fails_the_run(tmp_path: Path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.mp4").write_text("no video")
    samples = [(name, tmp_path / f"{name}.mp4") for name in ("a", "b")]
    study(tmp_path, samples, embed="off", max_failed_fraction=0.5)
    done = run(tmp_path)
    assert done.code == 1
    assert (tmp_path / "results" / "dataset" / "manifest.parquet").exists()
    assert "max_failed_fraction" in done.output


def test_all_missing_models_are_said_before_the_first_job(
    bundled: Path, tmp_path: Path, monkeypatch
):
    monkeypatch.delenv("FACEMAKE_MODELS", raising=False)
    folder = study(
        tmp_path,
        [("hopper", bundled / "portraits" / "grace_hopper.jpg")],
        detect={"backend": "yunet"},
        landmarks={"backend": "pfld68"},
    )
    done = run(folder, cores=1)
    assert done.code == 2
    assert "nothing was started:" in done.output
    for model, stage in (("pfld", "landmarks"), ("yunet_n_640_640", "detect")):
        assert re.search(rf"the model {model} is not .* fetch {model}.*by {stage}\)", done.output)
    assert not (folder / "results").exists() and not [*folder.glob(".snakemake/locks/*")]
    # what is not in the run is not asked for
    done = run(folder, "-n", "results/probe/hopper.parquet", cores=1)
    assert done.code == 0 and "pfld" not in done.output
