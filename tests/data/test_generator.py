"""TrainingDataGenerator: the examples of the workflow, and pyfaceau's page."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import av
import h5py
import numpy as np
import pytest

import makemedia
from facemake import FaceProcessor
from facemake.data import TrainingDataGenerator, TrainingDataWriter
from facemake.dataset import layout
from facemake.dataset.fhog import fhog
from facemake.errors import FacemakeError
from facemake.processors import job
from facemake.shards import read_metadata
from makestudy import make_study

pytestmark = pytest.mark.xdist_group("generator")

N = 12
BLANK = 3


@pytest.fixture(scope="module")
def clip(bundled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the bundled clip some frames, one of them without a face."""
    with av.open(str(bundled / "moving_portrait.mp4")) as container:
        frames = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)][:N]
    frames[BLANK] = np.full_like(frames[BLANK], 90)
    return makemedia.write_video(tmp_path_factory.mktemp("videos") / "clip.mp4", frames)


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> TrainingDataGenerator:
    """With a folder, so that the stages run once."""
    return TrainingDataGenerator(work_dir=tmp_path_factory.mktemp("work"), verbose=False)


def test_the_page_runs(
    generator: TrainingDataGenerator,
    shared: Path,
    clip: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    """With only names changed, and its `# Create generator` that makes a temporary folder."""
    (page,) = (shared / "seeds").glob("002_*.txt")
    (code,) = re.findall(r"```python\n(from pyfaceau\.data.*?)```", page.read_text("utf-8"), re.S)
    monkeypatch.chdir(tmp_path)
    before = set(Path(os.environ.get("TMPDIR", "/tmp")).glob("facemake-*"))
    exec(code.replace("from pyfaceau.data", "from facemake.data"), {"video_paths": [clip]})
    assert set(Path(os.environ.get("TMPDIR", "/tmp")).glob("facemake-*")) <= before
    generator.process_video(clip, tmp_path / "whole.h5")
    with h5py.File("training_data.h5") as page_file, h5py.File("whole.h5") as file:
        assert layout.length(page_file) == layout.length(file) == N - 1
        for name in ("images", "hog_features", "landmarks", "au_intensities", "bboxes"):
            np.testing.assert_array_equal(page_file[name][:], file[name][:])
        assert set(page_file["metadata/video_names"][:]) == {b"clip.mp4"}
        assert np.isnan(page_file["affine"][:]).all() and np.isfinite(file["affine"][:]).all()


def test_examples_are_those_of_the_workflow(
    generator: TrainingDataGenerator, clip: Path, tmp_path: Path
):
    study = make_study(tmp_path / "study", [{"sample": "clip", "path": clip}])
    study.up_to_aus("clip")
    study.dataset("clip", tmp_path / "study.h5")
    counts = generator.process_video(clip, tmp_path / "ours.h5")
    with h5py.File(tmp_path / "study.h5") as theirs, h5py.File(tmp_path / "ours.h5") as ours:
        for field in layout.NUMBERS:
            np.testing.assert_array_equal(ours[field.name][:], theirs[field.name][:], field.name)
        assert ours.attrs["pdm"] == theirs.attrs["pdm"] == generator.pdm
        assert set(ours["metadata/subjects"][:]) == {b"clip.mp4"}
    assert counts["total_frames"] == N and counts["examples"] == N - 1
    assert counts["processed_frames"] == N - 1
    assert counts["failed_frames"] == 1 and counts["filtered_frames"] == 0
    made = read_metadata(tmp_path / "ours.h5")
    assert {"probe", "detect", "landmarks", "fit", "aus", "dataset"} <= made["upstream"].keys()


def test_an_example_is_what_its_names_say(generator: TrainingDataGenerator, clip: Path):
    found = list(generator.process_video(clip))
    assert [one["frame_idx"] for one in found] == [i for i in range(N) if i != BLANK]
    one: dict[str, Any] = found[5]
    assert one["image"].shape == (112, 112, 3) and one["image"].dtype == np.uint8
    features = np.empty((1, layout.FHOG_LENGTH), np.float32)
    fhog(one["image"][None], features)
    np.testing.assert_array_equal(one["hog"], features[0])
    shapes = {"landmarks": (68, 2), "global_params": (6,), "local_params": (34,)}
    shapes |= {"au_intensities": (17,), "bbox": (4,), "affine": (2, 3)}
    for name, shape in shapes.items():
        assert one[name].shape == shape and np.isfinite(one[name]).all(), name
    x1, y1, x2, y2 = one["bbox"]
    centre = one["frame_landmarks"].mean(axis=0)
    assert x1 < centre[0] < x2 and y1 < centre[1] < y2


def test_a_folder_is_used_again(
    generator: TrainingDataGenerator, clip: Path, monkeypatch: pytest.MonkeyPatch
):
    list(generator.process_video(clip))
    folder = generator._engine._folder
    before = job.table(folder, "dataset").stat().st_mtime_ns
    again = TrainingDataGenerator(work_dir=folder.parents[2], verbose=False)
    assert len(list(again.process_video(clip))) == N - 1
    assert job.table(folder, "dataset").stat().st_mtime_ns == before
    assert not (folder / "faces" / "input.h5").exists()  # crops are kept no longer than needed
    detected = job.table(folder, "detect").stat().st_mtime_ns
    processor = FaceProcessor(verbose=False)  # it has the same folder, and the same tables
    processor.io(clip, folder.parents[2])
    assert len(processor.detect_faces()["data"]) == N
    assert job.table(folder, "detect").stat().st_mtime_ns == detected
    other = TrainingDataGenerator({"dataset": {"frame_step": 5}}, work_dir=folder.parents[2])
    assert [one["frame_idx"] for one in other.process_video(clip)] == [0, 5, 10]
    assert job.table(folder, "dataset").stat().st_mtime_ns != before


def test_several_recordings_in_one_file(
    generator: TrainingDataGenerator,
    clip: Path,
    bundled: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
):
    bad = tmp_path / "bad.mp4"
    bad.write_text("no video")
    blank = makemedia.write_video(tmp_path / "blank.mp4", 6)
    portrait = bundled / "portraits" / "eileen_collins.png"
    found = generator.process_multiple_videos(
        [clip, bad, portrait, blank],
        tmp_path / "all.h5",
        subjects={"clip.mp4": "anna"},
        splits={"clip.mp4": "train"},
    )
    counts = {name: (one["examples"], one["status"]) for name, one in found.items()}
    assert counts == {
        "clip.mp4": (N - 1, "ok"),
        "bad.mp4": (0, "unreadable"),
        "eileen_collins.png": (1, "ok"),
        "blank.mp4": (0, "no_face"),
    }
    assert "bad.mp4 gave no example" in caplog.text and found["blank.mp4"]["reason"]
    with h5py.File(tmp_path / "all.h5") as file:
        assert layout.length(file) == N
        assert file["metadata/subjects"][0] == b"anna" and file["metadata/split"][0] == b"train"
        assert file["metadata/subjects"][N - 1] == b"eileen_collins.png"
        assert file["metadata/split"][N - 1] == b""


def test_what_cannot_be_done_is_said(generator: TrainingDataGenerator, clip: Path, tmp_path: Path):
    with pytest.raises(ValueError, match=r"gone\.mp4 is not there"):
        list(generator.process_video(tmp_path / "gone.mp4"))
    with pytest.raises(ValueError, match=r"gone\.mp4 is not there"):
        generator.process_video(tmp_path / "gone.mp4", tmp_path / "out.h5")
    assert not (tmp_path / "out.h5").exists()
    with pytest.raises(ValueError, match="two recordings are called"):
        generator.process_multiple_videos([clip, clip], tmp_path / "out.h5")
    with pytest.raises(FacemakeError, match="frame_step"):
        TrainingDataGenerator({"dataset": {"frame_step": 0}})
    with (
        TrainingDataWriter(tmp_path / "out.h5", pdm="another") as writer,
        pytest.raises(FacemakeError, match="another PDM"),
    ):
        generator.process_video_to_writer(clip, writer)


def test_exclusions_of_a_sheet_are_refused():
    with pytest.raises(ValueError, match="samples of a workflow's sheet"):
        TrainingDataGenerator({"dataset": {"exclude": "exclude.tsv"}})
