"""The contact sheet: small frames as they are, and what was found in them as lines over each.

The overlay is SVG in frame pixels, so that the picture is not encoded twice and a reader can switch
its layers on and off. A pixel's centre is at whole numbers: the picture spans from -0.5.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
from PIL import Image

from facemake.calibration.lens import Lens
from facemake.geometry import Camera, rotation_from_euler
from facemake.schemes import convert, ibug
from facemake.tables import TableReader

AXIS_MM = 70.0
"""Length of a drawn head axis: about half a head."""

_WIDEST_DOT = 2.2
_COLUMNS = {
    "detections": ("x", "y", "w", "h", "score"),
    "landmarks": ("scheme", "points"),
    "fit": ("tx", "ty", "tz", "rx", "ry", "rz", "global_params"),
}


@dataclass(frozen=True)
class Axis:
    """A head axis as a line in frame pixels."""

    name: str
    x1: float
    y1: float
    x2: float
    y2: float


@dataclass(frozen=True)
class Face:
    """What is drawn of a face, in frame pixels.

    Attributes:
        track: its number.
        status: the frame's status for that track.
        box: x, y, w, h; None where no face was found.
        dots: SVG path, a line of no length a landmark.
        dot: their diameter on the screen, px.
        axes: x (image-right of the head), y (down), z (out of the face).
    """

    track: int
    status: str
    box: tuple[float, float, float, float] | None
    dots: str
    dot: float
    axes: tuple[Axis, ...]


@dataclass(frozen=True)
class Tile:
    """A picture of the contact sheet.

    Attributes:
        frame: its index.
        width, height: of the whole frame, px.
        picture: `data:` address of the JPEG.
        faces: by track.
    """

    frame: int
    width: float
    height: float
    picture: str
    faces: tuple[Face, ...]


def tiles(
    sample: str,
    pictures: Mapping[int, tuple[bytes, float]],
    tables: Mapping[str, TableReader],
    view: Camera | Lens | None,
    size: tuple[int, int] | None,
) -> list[Tile]:
    """The contact sheet of a sample; empty where it has no pictures.

    Args:
        sample: its name.
        pictures: its `small_frames`.
        tables: `detections`, `landmarks` and `fit`, as far as there are; others are not read.
        view: what the fit projected with: the camera that its field of view makes, or the lens of
            its calibration; None where the frames share none: axes are then drawn by the fit's
            scaled-orthographic parameters.
        size: width and height of every frame; None where they differ.
    """
    rows: dict[tuple[int, int], dict[str, Any]] = {}
    for stage, columns in _COLUMNS.items():
        if stage not in tables:
            continue
        wanted = ["frame", "track", "status", *columns]
        for row in tables[stage].frames(sample, list(pictures), wanted).to_pylist():
            rows.setdefault((row["frame"], row["track"]), {}).update(row)
    result = []
    for frame, (jpeg, scale) in sorted(pictures.items()):
        with Image.open(io.BytesIO(jpeg)) as image:
            small = image.size
        width, height = size or (round(small[0] / scale), round(small[1] / scale))
        found = sorted(key for key in rows if key[0] == frame)
        result.append(
            Tile(
                frame=frame,
                width=width,
                height=height,
                picture="data:image/jpeg;base64," + base64.b64encode(jpeg).decode(),
                faces=tuple(_face(rows[key], key[1], view, small[0] / width) for key in found),
            )
        )
    return result


def small_frames(faces: h5py.File, sample: str) -> dict[int, tuple[bytes, float]]:
    """Frame -> its JPEG and scale (pixels of it a frame pixel); none without a contact sheet."""
    contact = faces.get(f"{sample}/contact", {})
    return {
        int(name): (one[()].tobytes(), float(one.attrs["scale"])) for name, one in contact.items()
    }


def _face(row: Mapping[str, Any], track: int, view: Camera | Lens | None, scale: float) -> Face:
    box = None
    if row.get("x") is not None:
        box = (row["x"], row["y"], row["w"], row["h"])
    dots = ""
    if row.get("points") is not None:
        points = np.array(row["points"], np.float64).reshape(-1, 2)
        dots = "".join(
            f"M{x:.1f} {y:.1f}h0"
            for x, y in convert(points, row["scheme"], ibug(row["scheme"])).tolist()
        )
    width = box[2] * scale if box else 0.0
    return Face(
        track=track,
        status=row["status"],
        box=box,
        dots=dots,
        dot=round(min(max(width * 0.022, 0.7), _WIDEST_DOT), 2),
        axes=_axes(row, view) if row.get("rx") is not None else (),
    )


def _axes(row: Mapping[str, Any], view: Camera | Lens | None) -> tuple[Axis, ...]:
    """The head's axes from the model's origin; z is drawn backwards, as the nose points."""
    rotation = rotation_from_euler([row["rx"], row["ry"], row["rz"]])
    ends = AXIS_MM * (rotation * np.array([1.0, 1.0, -1.0])).T
    points = np.vstack([np.zeros(3), ends])
    if view is not None:
        if row["tx"] is None:  # 3DI-lite says how a head is turned, and not where it is
            return ()
        points += [row["tx"], row["ty"], row["tz"]]
        if isinstance(view, Lens):
            pixels = view.distort(view.camera.project(points))
        else:
            pixels = view.project(points)
    else:
        scale, _, _, _, tx, ty = row.get("global_params") or [np.nan] * 6
        pixels = scale * points[:, :2] + np.array([tx, ty])
    if not np.isfinite(pixels).all():
        return ()
    (x1, y1), *tips = np.round(pixels, 1).tolist()
    return tuple(Axis(name, x1, y1, x2, y2) for name, (x2, y2) in zip("xyz", tips, strict=True))
