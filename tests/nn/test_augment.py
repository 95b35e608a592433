from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from facemake.backends.fit import load
from facemake.nn.augment import Augmentation, ShapeMirror, shape_mirror
from facemake.schemes import MIRROR_IBUG68
from makeexamples import faces, made_by_the_builtin_model, weak_perspective

ROWS = np.arange(12)
NO_PIXELS = {"colour": 0, "grey": 0, "blur": 0, "occlusion": 0}


def labels_of(n: int = 12) -> tuple[np.ndarray, dict]:
    made = faces(n)
    names = ("landmarks", "global_params", "local_params", "au_intensities")
    return made["images"], {name: made[name] for name in names}


@pytest.fixture(scope="module")
def mirror() -> ShapeMirror:
    found = shape_mirror(made_by_the_builtin_model())
    assert found is not None
    return found


@pytest.mark.parametrize(("flip", "affine"), [(1, 0), (0, 1), (1, 1)])
def test_the_model_by_its_changed_parameters_lies_on_the_changed_landmarks(mirror, flip, affine):
    images, labels = labels_of()
    augment = Augmentation(3, mirror=mirror, flip=flip, affine=affine, **NO_PIXELS)
    _, changed = augment(images, labels, 0, ROWS)
    drawn = weak_perspective(changed["global_params"], changed["local_params"])
    assert np.abs(drawn - changed["landmarks"]).max() < 2e-3
    assert np.abs(changed["landmarks"] - labels["landmarks"]).max() > 3
    assert (changed["global_params"][:, 0] > 0).all()
    assert (changed["au_intensities"] == labels["au_intensities"]).all()


def test_a_mirrored_face_is_the_picture_mirrored(mirror):
    images, labels = labels_of()
    augment = Augmentation(3, mirror=mirror, flip=1, affine=0, **NO_PIXELS)
    flipped, changed = augment(images, labels, 0, ROWS)
    assert (flipped == images[:, :, ::-1]).all()
    points = labels["landmarks"][:, MIRROR_IBUG68]
    assert np.allclose(changed["landmarks"], [111, 0] + points * [1, 1] * [-1, 1])
    twice = augment(flipped, changed, 0, ROWS)[1]
    for name, values in labels.items():
        assert np.allclose(twice[name], values, atol=1e-4), name


def test_pixels_move_with_the_landmarks():
    _, labels = labels_of()
    at = labels["landmarks"][:, 30]  # the nose tip
    y, x = np.mgrid[:112, :112]
    away = (x - at[:, :1, None]) ** 2 + (y - at[:, 1:, None]) ** 2
    images = np.rint(255 * np.exp(-away / 18))[..., None].repeat(3, axis=3).astype(np.uint8)
    moved, changed = Augmentation(5, **NO_PIXELS)(images, labels, 1, ROWS)
    light = moved[..., 0].astype(float)
    total = light.sum(axis=(1, 2))
    middle = np.stack([(light * x).sum((1, 2)) / total, (light * y).sum((1, 2)) / total], axis=1)
    assert np.abs(middle - changed["landmarks"][:, 30]).max() < 0.05
    assert np.abs(changed["landmarks"][:, 30] - at).max() > 2


def test_it_hangs_on_seed_epoch_and_row_alone(mirror):
    images, labels = labels_of()
    augment = Augmentation(7, mirror=mirror)
    together = augment(images, labels, 4, ROWS)
    for i in (0, 7, 11):
        some = {name: values[i : i + 1] for name, values in labels.items()}
        picture, alone = augment(images[i : i + 1], some, 4, ROWS[i : i + 1])
        assert (picture[0] == together[0][i]).all()
        assert all((alone[name][0] == together[1][name][i]).all() for name in labels)
    for other in (augment(images, labels, 5, ROWS), Augmentation(8)(images, labels, 4, ROWS)):
        assert (other[0] != together[0]).mean() > 0.5


def test_pixels_alone_change_where_labels_are_of_something_else():
    images, labels = labels_of()
    changed, same = Augmentation(1, geometry=False, colour=1)(images, labels, 0, ROWS)
    assert all((same[name] == labels[name]).all() for name in labels)
    assert (changed != images).any(axis=(1, 2, 3)).all()


def test_each_change_of_pixels_does_something_and_pictures_stay_pictures():
    images, labels = labels_of()
    still = {"geometry": False, **NO_PIXELS}
    for name in NO_PIXELS:
        changed, _ = Augmentation(2, **{**still, name: 1})(images, labels, 0, ROWS)
        assert changed.dtype == np.uint8 and changed.shape == images.shape
        share = (changed != images).any(axis=-1).mean(axis=(1, 2))
        assert (share > 0.01).all(), name
        if name == "occlusion":
            assert (share < 0.36**2).all()
    assert (Augmentation(2, **still)(images, labels, 0, ROWS)[0] == images).all()


def test_local_parameters_of_an_unknown_model_are_missing_in_mirrored_examples():
    images, labels = labels_of()
    assert shape_mirror({}) is None
    other = made_by_the_builtin_model()
    other["upstream"]["fit"]["models"][0]["sha256"] = "0" * 64
    assert shape_mirror(other) is None
    _, changed = Augmentation(3, flip=1, affine=0)(images, labels, 0, ROWS)
    assert np.isnan(changed["local_params"]).all()
    assert np.isfinite(changed["landmarks"]).all()


def test_a_mirror_of_modes_that_are_neither_even_nor_odd_and_a_mean_that_is_lopsided():
    model = load("builtin")
    rng = np.random.default_rng(0)
    turn, _ = np.linalg.qr(rng.normal(size=(34, 34)))
    modes = model.pdm @ turn
    bent = (modes @ rng.normal(size=34)).reshape(3, 68).T
    other = replace(model, pdm=modes, mean=model.mean + bent, pdm_origin=np.array([0.0, 3, 5]))
    mirror = ShapeMirror.of(other)
    p = rng.normal(size=(5, 34)).astype(np.float32)
    shape = (other.mean - other.pdm_origin) + (p @ modes.T).reshape(5, 3, 68).transpose(0, 2, 1)
    wanted = shape[:, MIRROR_IBUG68] * [-1, 1, 1]
    found = (other.mean - other.pdm_origin) + (mirror(p) @ modes.T).reshape(5, 3, 68).transpose(
        0, 2, 1
    )
    assert np.abs(found - wanted).max() < 1e-3
    assert np.abs(mirror.matrix - np.diag(np.diag(mirror.matrix))).max() > 0.1
