from __future__ import annotations

import numpy as np
import pyfhog

from facemake.dataset.fhog import LENGTH, fhog


def features(crop: np.ndarray) -> np.ndarray:
    out = np.full((1, LENGTH), np.nan, np.float32)
    fhog(crop[None], out)
    return out[0]


def test_numbers_are_rows_of_cells_of_31():
    crop = np.full((112, 112, 3), 128, np.uint8)
    crop[20:36, 80:96] = np.random.default_rng(0).integers(0, 255, (16, 16, 3))
    cells = np.abs(features(crop).reshape(12, 12, 31)).sum(axis=2)
    row, column = np.unravel_index(cells.argmax(), cells.shape)
    # the outer ring of the 14 x 14 cells is cut off; the patch is around (row 2.5, column 10)
    assert (row, column) in {(1, 9), (2, 9), (1, 10), (2, 10)}
    assert not cells[6:].any() and not cells[:, :7].any()


def test_colours_are_read_in_the_order_of_openface():
    crop = np.random.default_rng(0).integers(0, 255, (112, 112, 3), np.uint8)
    bgr = np.ascontiguousarray(crop[..., ::-1])
    found = features(crop)
    np.testing.assert_array_equal(found, pyfhog.extract_fhog_features(bgr).astype(np.float32))
    assert (found != pyfhog.extract_fhog_features(crop).astype(np.float32)).any()
