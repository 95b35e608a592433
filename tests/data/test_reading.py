"""TrainingDataset, as facemake.data offers it, on files of each kind."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from facemake import data
from facemake.dataset import layout
from maketrainingset import examples, write, write_as_pyfaceau

torch = pytest.importorskip("torch")
N = 80


def test_what_is_offered_is_there():
    for name in data.__all__:
        assert getattr(data, name).__class__ is not None, name
    assert data.NUM_AUS == 17


@pytest.mark.parametrize("kind", ["writer", "workflow", "pyfaceau"])
def test_rows_are_those_of_the_file(tmp_path: Path, kind: str):
    path = tmp_path / "set.h5"
    if kind == "pyfaceau":
        write_as_pyfaceau(path, N)
    else:
        write(path, N)
    if kind == "workflow":  # of a fixed size, one chunk after the other
        layout.concatenate([path], tmp_path / "fixed.h5", {"upstream": {}})
        path = tmp_path / "fixed.h5"
    rows = np.array([79, 0, 64, 0, 33])
    found = data.TrainingDataset(path)
    batch = found.batch(rows)
    np.testing.assert_array_equal(batch["image"], examples(N)["images"][rows])
    with h5py.File(path) as file:
        for name in ("landmarks", "local_params", "au_intensities"):
            np.testing.assert_array_equal(batch[name], file[name][:][rows])
    assert len(found) == N and found[3]["image"].shape == (3, 112, 112)
    found.close()


def test_nobody_said_who_it_is(tmp_path: Path):
    """An empty subject is nobody: recordings are kept together, and that is said."""
    path = write(tmp_path / "set.h5", N, subjects=[""] * N, splits=[""] * N)
    found = data.TrainingDataset(path, "val", val_split=0.3).division
    assert found.by == "video, since nobody said who is in which"
    with h5py.File(path) as file:
        videos = file["metadata/video_names"][:]
    assert not set(videos[found.train]) & set(videos[found.val])
