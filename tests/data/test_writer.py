"""TrainingDataWriter: the layout of the workflow's training set, whole or not at all."""

from __future__ import annotations

import json
import logging
import shutil
import signal
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from facemake.data import TrainingDataWriter
from facemake.dataset import layout
from facemake.errors import BusyError, FacemakeError, TableError
from facemake.provenance import LIBRARY


def sample(seed: int = 0) -> dict[str, Any]:
    """The arguments that the page of pyfaceau gives, of noise."""
    rng = np.random.default_rng(seed)
    return {
        "image": rng.integers(0, 256, (112, 112, 3)).astype(np.uint8),
        "hog_features": rng.random(4464).astype(np.float32),
        "landmarks": (112 * rng.random((68, 2))).astype(np.float32),
        "global_params": rng.random(6).astype(np.float32),
        "local_params": rng.random(34).astype(np.float32),
        "au_intensities": (5 * rng.random(17)).astype(np.float32),
        "bbox": np.float32([1, 2, 30, 40]),
        "video_name": "übung.mp4",
        "frame_index": seed,
    }


EXTRAS: dict[str, Any] = {
    "affine": np.arange(6.0).reshape(2, 3),
    "frame_landmarks": np.ones((68, 2)),
    "frame_global_params": np.arange(6),
    "time": 0.5,
    "track": 2,
    "confidence": 0.75,
    "subject": "anna",
    "split": "val",
    "quality_score": 0.25,
}


def write(path: Path, n: int, start: int = 0, **options: Any) -> Path:
    with TrainingDataWriter(path, **options) as writer:
        for i in range(start, start + n):
            writer.add_sample(**sample(i))
    return path


def test_the_file_has_the_layout_of_the_workflows(tmp_path: Path):
    with TrainingDataWriter(tmp_path / "a.h5", expected_samples=3) as writer:
        for i in range(150):  # more than expected, more than are held in memory
            writer.add_sample(**sample(i), **(EXTRAS if i == 70 else {}))
        assert len(writer) == 150
        assert not (tmp_path / "a.h5").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5"]
    with h5py.File(tmp_path / "a.h5") as file:
        assert layout.length(file) == 150 == file.attrs["num_samples"]
        assert file["images"].chunks == (1, 112, 112, 3)
        where = [file["images"].id.get_chunk_info(i).byte_offset for i in range(150)]
        assert (np.diff(where) > 0).all()
        for i in (0, 63, 64, 70, 149):
            expected = sample(i)
            for name, field in (("image", "images"), ("bbox", "bboxes")):
                np.testing.assert_array_equal(file[field][i], expected[name])
            for name in ("hog_features", "landmarks", "local_params", "au_intensities"):
                np.testing.assert_array_equal(file[name][i], expected[name])
        assert file["metadata/video_names"][0].decode() == "übung.mp4"
        assert file["metadata/frame_indices"][:].tolist() == list(range(150))
        # what is not said is missing, not zero
        assert np.isnan(file["affine"][0]).all() and np.isnan(file["frame/landmarks"][0]).all()
        assert np.isnan(file["metadata/times"][0]) and np.isnan(file["metadata/confidence"][0])
        assert file["metadata/subjects"][0] == file["metadata/split"][0] == b""
        assert file["metadata/quality_scores"][0] == 1 and file["metadata/track"][0] == 0
        np.testing.assert_array_equal(file["affine"][70], EXTRAS["affine"])
        np.testing.assert_array_equal(file["frame/global_params"][70], np.arange(6))
        assert file["metadata/subjects"][70] == b"anna" and file["metadata/track"][70] == 2
        assert file["metadata/times"][70] == 0.5 and file["metadata/quality_scores"][70] == 0.25
        assert list(file.attrs["au_names"]) == list(layout.AU_NAMES)
        assert file.attrs["color_format"] == "RGB"
        assert json.loads(file.attrs["facemake"])["recipe"]["stage"] == "training_data_writer"


def test_batches_and_samples_give_the_same_bytes(tmp_path: Path):
    one = write(tmp_path / "one.h5", 100)
    rows = [sample(i) for i in range(100)]
    many = {name: np.stack([row[name] for row in rows]) for name in list(rows[0])[:7]}
    many = {{"image": "images", "bbox": "bboxes"}.get(k, k): v for k, v in many.items()}
    with TrainingDataWriter(tmp_path / "many.h5") as writer:
        for a, b in ((0, 10), (10, 10), (10, 90), (90, 100)):
            writer.add_batch(
                **{name: values[a:b] for name, values in many.items()},
                video_names=["übung.mp4"] * (b - a),
                frame_indices=range(a, b),
            )
    assert one.read_bytes() == (tmp_path / "many.h5").read_bytes()


def test_other_content_has_another_lineage(tmp_path: Path):
    def lineage(path: Path) -> str:
        with h5py.File(path) as file:
            return str(json.loads(file.attrs["facemake"])["lineage"])

    found = {lineage(write(tmp_path / f"{i}.h5", 1, start=i)) for i in (0, 1)}
    assert len(found) == 2


def test_an_empty_set_is_a_file(tmp_path: Path):
    with h5py.File(write(tmp_path / "a.h5", 0)) as file:
        assert layout.length(file) == 0


BAD = [
    ("image", np.zeros((112, 112), np.uint8), "image has the shape"),
    ("image", np.zeros((112, 112, 3)), "image is of type float64"),
    ("hog_features", np.zeros(4463), "hog_features has the shape"),
    ("landmarks", np.zeros((51, 2)), "landmarks has the shape"),
    ("landmarks", np.full((68, 2), np.inf), "landmarks has an infinite value"),
    ("global_params", np.zeros(5), "global_params has the shape"),
    ("local_params", ["a"] * 34, "local_params is of type"),
    ("au_intensities", np.zeros(18), "au_intensities has the shape"),
    ("bbox", np.zeros((1, 4)), "bbox has the shape"),
    ("frame_index", -1, "frame_index is -1"),
    ("frame_index", 1.5, "frame_index is of type float64"),
    ("frame_index", 2**31, "frame_index is 2147483648"),
    ("video_name", b"x", "video_name is bytes"),
    ("video_name", "a\0b", "video_name holds a zero"),
    ("quality_score", 1.5, "quality_score is 1.5"),
    ("track", 40_000, "track is 40000"),
]


@pytest.mark.parametrize(("name", "value", "said"), BAD)
def test_what_an_example_cannot_be_is_named_and_not_added(
    tmp_path: Path, name: str, value: Any, said: str
):
    with TrainingDataWriter(tmp_path / "a.h5") as writer:
        writer.add_sample(**sample(0))
        with pytest.raises((TypeError, ValueError), match=said):
            writer.add_sample(**{**sample(1), name: value})
        writer.add_sample(**sample(2))
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["metadata/frame_indices"][:].tolist() == [0, 2]


def test_a_batch_of_another_length_is_refused(tmp_path: Path):
    rows = {k: v[None] for k, v in sample().items() if isinstance(v, np.ndarray)}
    rows["images"], rows["bboxes"] = rows.pop("image"), rows.pop("bbox")
    with TrainingDataWriter(tmp_path / "a.h5") as writer:
        with pytest.raises(ValueError, match="landmarks has the shape"):
            writer.add_batch(**{**rows, "landmarks": np.zeros((2, 68, 2))})
        with pytest.raises(ValueError, match="video_names has 2 rows"):
            writer.add_batch(**rows, video_names=["a", "b"])
        assert len(writer) == 0


def test_an_error_in_the_block_leaves_what_was_there(tmp_path: Path):
    path = write(tmp_path / "a.h5", 1)
    before = path.read_bytes()
    with pytest.raises(KeyError), TrainingDataWriter(path) as writer:
        writer.add_sample(**sample(1))
        raise KeyError
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5"]


KILLED = """
import os, signal, sys
sys.path[:0] = [{library!r}, {tests!r}]
from test_writer import TrainingDataWriter, sample
writer = TrainingDataWriter({path!r})
for i in range(200):
    writer.add_sample(**sample(i))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_writer_leaves_nothing_under_the_name(tmp_path: Path):
    path = tmp_path / "a.h5"
    tests = str(Path(__file__).parent)
    script = KILLED.format(library=str(LIBRARY.parent), tests=tests, path=str(path))
    ended = subprocess.run([sys.executable, "-c", script])
    assert ended.returncode == -signal.SIGKILL
    assert not path.exists() and len(list(tmp_path.iterdir())) == 2
    write(path, 3)  # what the killed one left is no hindrance, and is gone
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5"]
    with h5py.File(path) as file:
        assert layout.length(file) == 3


FULL = """
import sys
sys.path[:0] = [{library!r}, {tests!r}]
from facemake.cli import main
from test_writer import TrainingDataWriter, sample
try:
    with TrainingDataWriter({path!r}) as writer:
        for i in range(200):
            writer.add_sample(**sample(i))
except Exception as error:
    print(type(error).__name__, error)
print(main(["dataset", "merge", "--force", {path!r}, {whole!r}]))
"""


@pytest.mark.parametrize("size", [2_000_000, 11_000_000, 11_350_000, 11_370_000])
def test_a_full_disk_leaves_what_was_there(tmp_path: Path, size: int):
    """While pictures are written, and at the end; on a disk of its own, in memory."""
    whole, disk = write(tmp_path / "whole.h5", 200), tmp_path / "disk"
    disk.mkdir()
    path = str(disk / "a.h5")
    tests = str(Path(__file__).parent)
    script = FULL.format(library=str(LIBRARY.parent), tests=tests, path=path, whole=str(whole))
    mount = f"mount -t tmpfs -o size={size} none {disk} && echo old > {path}"
    inside = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
    if (
        not shutil.which("unshare")
        or subprocess.run([*inside, mount], capture_output=True).returncode
    ):
        pytest.skip("no mount of one's own here")
    look = f"ls -A {disk}; cat {path}"
    command = f'{mount} && "$0" -c "$1" && {look}'
    ended = subprocess.run(
        [*inside, command, sys.executable, script], capture_output=True, text=True
    )
    assert ended.returncode == 0 and "Traceback" not in ended.stderr, ended.stderr
    said, *rest = ended.stdout.splitlines()
    assert said.startswith("FacemakeError") and "No space left" in said
    assert rest == ["2", "a.h5", "old"] and "No space left" in ended.stderr


def test_two_writers_of_one_file_are_kept_apart(tmp_path: Path):
    with TrainingDataWriter(tmp_path / "a.h5") as first:
        first.add_sample(**sample())
        with pytest.raises(BusyError, match=r"at work on a\.h5"):
            TrainingDataWriter(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5") as file:
        assert layout.length(file) == 1


def test_appended_examples_follow_those_that_are_there(tmp_path: Path):
    path = write(tmp_path / "a.h5", 70)
    write(path, 30, start=70, append=True)
    whole = write(tmp_path / "b.h5", 100)
    with h5py.File(path) as a, h5py.File(whole) as b:
        for field in layout.FIELDS:
            np.testing.assert_array_equal(a[field.name][:], b[field.name][:])
    write(tmp_path / "new.h5", 1, append=True)
    # a file of the workflow's, whose data sets cannot grow
    layout.concatenate([path], tmp_path / "fixed.h5", {"upstream": {}})
    write(tmp_path / "fixed.h5", 1, append=True)
    with h5py.File(tmp_path / "fixed.h5") as file:
        assert layout.length(file) == 101


def test_what_cannot_be_appended_to_is_refused_and_stays(tmp_path: Path):
    path = write(tmp_path / "a.h5", 1, pdm="one")
    with pytest.raises(TableError, match="another PDM"):
        TrainingDataWriter(path, append=True, pdm="two")
    torn = tmp_path / "torn.h5"
    torn.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(TableError, match="cannot be read as HDF5"):
        TrainingDataWriter(torn, append=True)
    assert torn.stat().st_size == 3000
    lacking = Path(shutil.copy(path, tmp_path / "lacking.h5"))
    with h5py.File(lacking, "a") as file:
        del file["affine"]
    with pytest.raises(TableError, match="has no affine"):
        TrainingDataWriter(lacking, append=True)
    names = {p.name for p in tmp_path.iterdir()}
    assert names == {"a.h5", "torn.h5", "lacking.h5"}


def test_a_finished_writer_takes_no_more(tmp_path: Path):
    writer = TrainingDataWriter(tmp_path / "a.h5")
    assert writer.close() == tmp_path / "a.h5" == writer.close()
    with pytest.raises(FacemakeError, match="is finished"):
        writer.add_sample(**sample())


def test_places_that_cannot_be_written_to(tmp_path: Path):
    with pytest.raises(FacemakeError, match="is a folder"):
        TrainingDataWriter(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(FacemakeError, match="cannot be written"):
        TrainingDataWriter(tmp_path / "file" / "a.h5")
    with pytest.raises(ValueError, match="expected_samples"):
        TrainingDataWriter(tmp_path / "a.h5", expected_samples=-1)


def test_a_disk_without_room_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING):
        write(tmp_path / "a.h5", 0, expected_samples=10**12)
    assert "GB left" in caplog.text


def test_memory_does_not_grow_with_the_set(tmp_path: Path):
    row = sample()

    def peak(n: int) -> int:
        with TrainingDataWriter(tmp_path / "a.h5") as writer:
            tracemalloc.start()
            for i in range(n):
                writer.add_sample(**{**row, "frame_index": i})
            found = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        return found

    assert peak(1500) < peak(150) + 200_000
