"""Faces that are hidden: where, and what is left of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facemake.media import VideoMedia
from facemake.overlay.hiding import CELLS, Course, hide, widened
from facemake.tables import SCHEMAS, TableReader, TableWriter
from overlayrun import GREY, overlay, write_run


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
