from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from facemake import alignment, h5
from facemake.dataset import layout
from facemake.errors import TableError

PDM = "34 modes derived from a test"
META = {
    "recipe": {"stage": "dataset"},
    "lineage": "",
    "upstream": {"fit": {"stage": "fit", "models": [{"name": "test", "pdm": PDM}]}},
}


def write(path: Path, n: int, seed: int = 0) -> Path:
    """n examples of noise in the layout."""
    rng = np.random.default_rng(seed)
    with h5.create(path) as file:
        made = layout.create(file, n)
        for field in layout.FIELDS:
            if field.kind == "text":
                made[field.name][:] = np.array([f"{field.name} {i}" for i in range(n)], object)
            else:
                noise = rng.integers(0, 256, (n, *field.shape))
                made[field.name][:] = noise.astype(field.kind)
        layout.describe(file, n, META)
    return path


def test_names_types_and_shapes_are_those_of_the_field(tmp_path):
    expected = {
        "images": ("uint8", (5, 112, 112, 3)),
        "hog_features": ("float32", (5, 4464)),
        "landmarks": ("float32", (5, 68, 2)),
        "global_params": ("float32", (5, 6)),
        "local_params": ("float32", (5, 34)),
        "au_intensities": ("float32", (5, 17)),
        "bboxes": ("float32", (5, 4)),
        "metadata/frame_indices": ("int32", (5,)),
        "metadata/quality_scores": ("float32", (5,)),
        "affine": ("float32", (5, 2, 3)),
        "frame/landmarks": ("float32", (5, 68, 2)),
        "frame/global_params": ("float32", (5, 6)),
    }
    with h5py.File(write(tmp_path / "a.h5", 5)) as file:
        for name, (kind, shape) in expected.items():
            assert (file[name].dtype.name, file[name].shape) == (kind, shape)
        text = h5py.check_string_dtype(file["metadata/video_names"].dtype)
        assert text.encoding == "utf-8" and text.length is None
        assert file.attrs["num_samples"] == 5
        assert list(file.attrs["au_names"])[::8] == ["AU01_r", "AU12_r", "AU45_r"]
        assert file.attrs["image_size"].tolist() == [112, 112]
        assert file.attrs["color_format"] == "RGB"
        assert file.attrs["pdm"] == PDM
        assert PDM in file["local_params"].attrs["description"]
        assert file["images"].chunks == (1, 112, 112, 3)
        # one after the other, so that a run of examples is one read
        where = [file["images"].id.get_chunk_info(i).byte_offset for i in range(5)]
        assert set(np.diff(where)) == {112 * 112 * 3}


def test_crops_are_of_the_size_of_the_alignment():
    assert layout.CROP_SIZE == alignment.CROP_SIZE


@pytest.mark.parametrize("lengths", [(3, 0, 150, 1), (0, 0), (0, 2), ()])
def test_parts_are_joined_in_order(tmp_path, lengths):
    parts = [write(tmp_path / f"{i}.h5", n, seed=i) for i, n in enumerate(lengths)]
    total = layout.concatenate(parts, tmp_path / "all.h5", META)
    assert total == sum(lengths)
    with h5py.File(tmp_path / "all.h5") as joined:
        assert layout.length(joined) == total == joined.attrs["num_samples"]
        start = 0
        for path, n in zip(parts, lengths, strict=True):
            with h5py.File(path) as part:
                for field in layout.FIELDS:
                    found = joined[field.name][start : start + n]
                    np.testing.assert_array_equal(found, part[field.name][:])
            start += n
    layout.concatenate(parts, tmp_path / "again.h5", META)
    assert (tmp_path / "all.h5").read_bytes() == (tmp_path / "again.h5").read_bytes()


def test_pieces_cover_a_field_and_stay_small():
    for field in layout.FIELDS:
        covered = [i for piece in layout.pieces(1001, field) for i in range(1001)[piece]]
        assert covered == list(range(1001))
        rows = max(piece.stop - piece.start for piece in layout.pieces(10**6, field))
        assert rows * np.prod(field.shape, dtype=int) * 4 <= 4 * (4 << 20)


def spoil_type(file: h5py.File) -> None:
    del file["bboxes"]
    file["bboxes"] = np.zeros((4, 4))


def spoil_length(file: h5py.File) -> None:
    del file["bboxes"]
    file["bboxes"] = np.zeros((3, 4), np.float32)


def spoil_name(file: h5py.File) -> None:
    del file["bboxes"]


@pytest.mark.parametrize("spoil", [spoil_type, spoil_length, spoil_name])
def test_another_layout_is_refused_by_name(tmp_path, spoil):
    good, bad = write(tmp_path / "good.h5", 4), write(tmp_path / "bad.h5", 4)
    with h5py.File(bad, "a") as file:
        spoil(file)
    with pytest.raises(TableError, match=r"bad\.h5.*bboxes"):
        layout.concatenate([good, bad], tmp_path / "all.h5", META)


def test_a_damaged_part_is_refused_by_name(tmp_path):
    path = tmp_path / "torn.h5"
    path.write_bytes(write(tmp_path / "good.h5", 4).read_bytes()[:5000])
    with pytest.raises(TableError, match=r"torn\.h5"):
        layout.concatenate([path], tmp_path / "all.h5", META)


@pytest.mark.parametrize("said", ["no JSON", 7])
def test_a_file_whose_making_cannot_be_read_is_refused_by_name(tmp_path, said):
    path = write(tmp_path / "odd.h5", 1)
    with h5py.File(path, "a") as file:
        file.attrs[h5.METADATA_ATTRIBUTE] = said
    with pytest.raises(TableError, match=r"odd\.h5 is damaged: what made it"):
        h5.read_metadata(path)
