from __future__ import annotations

import logging
import pickle

import h5py
import numpy as np
import pandas as pd
import pytest

from makeexamples import faces, training_set

torch = pytest.importorskip("torch")

from facemake.data import AU_NAMES  # noqa: E402
from facemake.errors import FacemakeError, TableError  # noqa: E402
from facemake.nn import TrainingDataset  # noqa: E402
from facemake.nn.augment import Augmentation  # noqa: E402
from facemake.nn.batches import Order, make_loader, usable_workers  # noqa: E402
from facemake.nn.loader import LABELS, augmentation_for  # noqa: E402

SIX = [f"v{i // 4}" for i in range(24)]


def as_pyfaceau_writes(path, n=10, room=16, chunk=4, landmarks=None):
    """Its names alone; gzip, chunks of many, and room for more than there are."""
    made = faces(n)
    with h5py.File(path, "w") as file:
        for name, values in made.items():
            data = file.create_dataset(
                name,
                (room, *values.shape[1:]),
                values.dtype,
                chunks=(chunk, *values.shape[1:]),
                maxshape=(None, *values.shape[1:]),
                compression="gzip",
            )
            data[:n] = landmarks if name == "landmarks" and landmarks is not None else values
        file["metadata/video_names"] = ["a"] * 6 + ["b"] * (n - 6)
        file["metadata/frame_indices"] = np.arange(n, dtype=np.int32)
        file.attrs["num_samples"] = n
    return path


def test_an_example_is_what_the_networks_take(tmp_path):
    path = training_set(tmp_path / "t.h5", SIX)
    data, made = TrainingDataset(path), faces(24)
    assert len(data) == 24
    one = data[5]
    assert set(one) == {"image", *LABELS}
    assert one["image"].shape == (3, 112, 112) and one["image"].dtype == torch.float32
    assert np.allclose(one["image"].numpy().transpose(1, 2, 0) * 255, made["images"][5], atol=1e-4)
    assert all((one[name].numpy() == made[name][5]).all() for name in LABELS)
    many = next(iter(torch.utils.data.DataLoader(data, batch_size=24)))
    assert (many["landmarks"].numpy() == made["landmarks"]).all()
    with pytest.raises(IndexError):
        data[24]


@pytest.mark.parametrize("kind", ["ours", "pyfaceau", "one chunk an example, compressed"])
def test_rows_in_any_order_and_more_than_once(tmp_path, kind):
    if kind == "ours":
        path = training_set(tmp_path / "t.h5", ["a"] * 6 + ["b"] * 4)
    else:
        path = as_pyfaceau_writes(tmp_path / "t.h5", chunk=4 if kind == "pyfaceau" else 1)
    rows = np.array([7, 0, 9, 7, 3])
    batch, made = TrainingDataset(path).batch(rows), faces(10)
    assert (batch["image"] == made["images"][rows]).all()
    assert all((batch[name] == made[name][rows]).all() for name in LABELS)


def test_each_process_opens_the_file_for_itself(tmp_path):
    path = training_set(tmp_path / "t.h5", SIX)
    data = TrainingDataset(path)
    assert data._handle is None
    assert pickle.loads(pickle.dumps(data))[3]["image"].equal(data[3]["image"])
    data[0]
    assert data.__getstate__()["_handle"] is None
    path.rename(tmp_path / "elsewhere.h5")  # an open handle still reads, one that is opened fails
    data[1]
    copied = pickle.loads(pickle.dumps(data))
    with pytest.raises(TableError, match="there is no training set"):
        copied[1]


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_the_same_whatever_the_number_of_workers(tmp_path, workers):
    path = training_set(tmp_path / "t.h5", SIX)
    data = TrainingDataset(path, augmentation=Augmentation(1))
    order = Order(data.rows, 10, seed=1)
    loader = make_loader(data, order, workers, pin=False)
    seen = []
    for epoch in (0, 1):
        order.epoch = epoch
        batches = list(loader)
        assert [len(batch["image"]) for batch in batches] == [8, 8, 8]
        seen.append(torch.cat([batch["landmarks"] for batch in batches]))
    wanted = []
    for epoch in (0, 1):
        rows = np.random.default_rng([1, epoch]).permutation(24)
        wanted.append(torch.from_numpy(data.batch(rows, epoch)["landmarks"]))
    assert all(a.equal(b) for a, b in zip(seen, wanted, strict=True))


def test_the_files_own_splits(tmp_path):
    splits = ["train"] * 12 + ["validation"] * 4 + ["test"] * 8
    path = training_set(tmp_path / "t.h5", SIX, splits=splits)
    parts = {name: TrainingDataset(path, name).rows.tolist() for name in ("train", "val", "test")}
    assert parts == {
        "train": [*range(12)],
        "val": [12, 13, 14, 15],
        "test": [*range(16, 24)],
    }


def test_nobody_and_no_video_is_on_both_sides(tmp_path):
    # p is in v0 and v1, another face of v1 is q: both videos and both people belong together
    subjects = ["p"] * 6 + ["q"] * 2 + [f"s{i // 4}" for i in range(16)]
    path = training_set(tmp_path / "t.h5", SIX, subjects, splits=["train"] * 23 + ["test"])
    sides = set()
    for seed in range(8):
        division = TrainingDataset(path, val_split=0.2, seed=seed).division
        assert division.by == "subject" and not division.loud
        assert division.test.tolist() == [23]
        held = division.val.tolist()
        assert not {subjects[i] for i in held} & {subjects[i] for i in division.train}
        assert not {SIX[i] for i in held} & {SIX[i] for i in division.train}
        assert sorted([*held, *division.train.tolist()]) == [*range(23)]
        assert 3 <= len(held) <= 8
        sides.add(tuple(held))
    assert len(sides) > 1


def test_one_subject_is_divided_by_video_and_one_video_by_time(tmp_path):
    by_video = TrainingDataset(training_set(tmp_path / "v.h5", SIX, ["p"] * 24)).division
    assert by_video.by.startswith("video") and by_video.loud
    assert {SIX[i] for i in by_video.val} and len(by_video.val) == 4
    by_time = TrainingDataset(training_set(tmp_path / "t.h5", ["v"] * 40), val_split=0.25).division
    assert by_time.by.startswith("time") and by_time.loud
    assert by_time.val.tolist() == [*range(30, 40)]
    assert by_time.train.tolist() == [*range(28)]


def test_what_is_no_training_set_is_refused_in_words(tmp_path):
    whole = training_set(tmp_path / "t.h5", SIX)
    with pytest.raises(TableError, match="there is no training set"):
        TrainingDataset(tmp_path / "none.h5")
    (tmp_path / "cut.h5").write_bytes(whole.read_bytes()[:500_000])
    with pytest.raises(TableError, match=r"cut\.h5 cannot be read as HDF5"):
        TrainingDataset(tmp_path / "cut.h5")
    (tmp_path / "text.h5").write_text("image,landmarks")
    with pytest.raises(TableError, match="no HDF5 file"):
        TrainingDataset(tmp_path / "text.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["images"] = np.zeros((4, 96, 96, 3), np.uint8)
    with pytest.raises(TableError, match=r"images of type uint8 and shape \(4, 96, 96, 3\)"):
        TrainingDataset(tmp_path / "other.h5")
    with h5py.File(tmp_path / "names.h5", "w") as file, h5py.File(whole) as good:
        for name in ("images", *LABELS):
            good.copy(name, file)
        file.attrs["au_names"] = [f"AU{i}" for i in range(17)]
    with pytest.raises(TableError, match="other action units"):
        TrainingDataset(tmp_path / "names.h5")
    with h5py.File(tmp_path / "names.h5", "r+") as file:
        del file["landmarks"]
    with pytest.raises(TableError, match=r"has no landmarks: .* or is no training set"):
        TrainingDataset(tmp_path / "names.h5")
    with pytest.raises(FacemakeError, match="has no example"):
        TrainingDataset(training_set(tmp_path / "empty.h5", []))
    with pytest.raises(FacemakeError, match="no example of split test"):
        TrainingDataset(whole, "test")
    with pytest.raises(FacemakeError, match="too few to hold some back"):
        TrainingDataset(training_set(tmp_path / "one.h5", ["v"]), "train")
    with pytest.raises(FacemakeError, match="val_split is 1"):
        TrainingDataset(whole, "train", val_split=1)


def test_words_of_other_writers_may_be_bytes(tmp_path):
    path = training_set(tmp_path / "t.h5", SIX)
    with h5py.File(path, "r+") as file:
        file.attrs["au_names"] = np.array(AU_NAMES, "S")
        file.attrs["color_format"] = np.bytes_("RGB")
    assert len(TrainingDataset(path)) == 24


def test_a_file_that_is_cut_short_meanwhile_is_words_in_workers_too(tmp_path):
    path = training_set(tmp_path / "t.h5", SIX)
    data = TrainingDataset(path)
    loader = make_loader(data, Order(data.rows, 24, None), 1, pin=False)
    with path.open("r+b") as file:
        file.truncate(600_000)
    (found,) = list(loader)
    assert isinstance(found, str) and "t.h5" in found and "Traceback" not in found


def test_pyfaceaus_files_are_taken_as_they_are_and_said_to_be(tmp_path, caplog):
    far = faces(10)["landmarks"] * 4 + 300
    path = as_pyfaceau_writes(tmp_path / "t.h5", landmarks=far)
    data = TrainingDataset(path)
    assert len(data) == 10 and not data.in_crop and data.metadata == {}
    assert (data.batch(np.arange(10))["landmarks"] == far).all()
    with caplog.at_level(logging.WARNING):
        augment = augmentation_for(data, 0)
    assert not augment.geometry and "taken as they are" in caplog.text
    assert {*TrainingDataset(path, "val").rows} <= {*range(6, 10)} | {*range(6)}
    near = TrainingDataset(as_pyfaceau_writes(tmp_path / "near.h5"))
    caplog.clear()
    assert near.in_crop and augmentation_for(near, 0).geometry
    assert "does not say of which face model" in caplog.text


def test_moments_are_those_of_the_labels_that_are_there(tmp_path):
    aus = faces(24)["au_intensities"]
    aus[::5, 2], aus[:, 3], aus[:, 4] = np.nan, np.nan, 2.5
    splits = ["train"] * 12 + ["val"] * 12
    path = training_set(tmp_path / "t.h5", SIX, splits=splits, au_intensities=aus)
    means, spreads = TrainingDataset(path, "train").moments()
    made = {**faces(24), "au_intensities": aus}
    for name in LABELS:
        with np.errstate(all="ignore"):
            part = pd.DataFrame(made[name][:12].reshape(12, -1).astype(float))
        wanted = part.mean().to_numpy(), part.std(ddof=0).to_numpy()
        for found, value in zip((means[name], spreads[name]), wanted, strict=True):
            flat = found.numpy().reshape(-1)
            np.testing.assert_allclose(flat, value, rtol=1e-5, atol=1e-6)
    assert np.isnan(means["au_intensities"][3]) and spreads["au_intensities"][4] == 0


def test_no_more_workers_than_cores():
    assert usable_workers(0) == 0 and 1 <= usable_workers(10_000) < 10_000
