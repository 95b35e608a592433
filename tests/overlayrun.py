"""A run to draw on: its tables and plan, and a face as a camera sees it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from facemake import schemes
from facemake.backends.fit import builtin
from facemake.cli import main
from facemake.media import VideoMedia, open_media
from facemake.overlay.rows import Face
from facemake.overlay.view import View
from facemake.samples import Sample, shard_text
from facemake.tables import SCHEMAS, TableWriter, coefficient_schema
from makefaces import CAMERA, DISTANCE, SIZE, seen

MODEL = builtin.load_builtin()
VIEW = View(CAMERA)
GREY = np.full((SIZE[1], SIZE[0], 3), 90, np.uint8)


def face(angles: Sequence[float] = (0, 0, 0), **more: Any) -> Face:
    """A face as CAMERA sees it; angles in degrees."""
    truth = seen(MODEL, np.array([angles]), np.zeros((1, len(MODEL.expression))))
    points = truth.points[0]
    low, size = points.min(axis=0), np.ptp(points, axis=0)
    return Face(
        track=0,
        status="ok",
        box=np.array([*low, *size]),
        points=points,
        scheme=schemes.IBUG68,
        pose=np.array([*truth.angles[0], *truth.translation[0]]),
        expression=np.zeros(len(MODEL.expression)),
        **more,
    )


def write_run(
    folder: Path,
    path: Path,
    *,
    start: float | None = None,
    end: float | None = None,
    kind: str = "video",
    unseen: Sequence[int] = (),
    also: Sequence[str] = (),
    unreadable: Sequence[str] = (),
) -> np.ndarray:
    """Tables of a face that stands still in every frame but the unseen ones; its points.

    Of the sample `clip`, of others of the same recording, and of some that cannot be read.
    """
    sample = Sample("clip", path, "anna", start, end)
    with open_media(sample) as media:
        frames = [(f.time, f.width, f.height, f.orientation.degrees) for f in media]
        tick = media.tick if isinstance(media, VideoMedia) else None
    (folder / ".facemake" / "plan").mkdir(parents=True)
    (folder / ".facemake" / "plan.json").write_text(json.dumps({"config": {"outdir": "results"}}))
    names = sorted({"clip", *also, *unreadable})
    members = [replace(sample, sample=name) for name in names]
    (folder / ".facemake" / "plan" / "pack0.tsv").write_text(shard_text(members))
    track = {"image_folders": "pictures"}
    about = {
        "recipe": {
            "stage": "fit",
            "settings": {"model": "builtin", "fov": 30, "track": track},
            "models": [{"name": MODEL.name, "sha256": MODEL.sha256}],
        },
        "upstream": {"detect": {"settings": {"track": track}}},
        "samples": "s",
        "lineage": "0123456789abcdef01",
    }
    width, height = frames[0][1:3]
    one = face()
    scale = min(width / SIZE[0], height / SIZE[1])
    points = (one.points - np.array(SIZE) / 2) * scale + np.array([width, height]) / 2
    low, size = points.min(axis=0), np.ptp(points, axis=0)
    tables = ("probe", "detections", "landmarks", "fit", "identity", "aus")
    schemas = {n: SCHEMAS[n] for n in tables if n in SCHEMAS}
    schemas["aus"] = coefficient_schema(["AU12_r", "AU25_r"], "0-5")
    for name in tables:
        (folder / "results" / name).mkdir(parents=True)
        with TableWriter(
            folder / "results" / name / "pack0.parquet", schemas[name], about
        ) as table:
            for member in names:
                if name == "probe":
                    table.append(
                        sample=member,
                        kind=kind,
                        width=width,
                        height=height,
                        rotation=frames[0][3],
                        n_frames=len(frames),
                        fps=25.0,
                        status="unreadable" if member in unreadable else "ok",
                        reason="it is damaged" if member in unreadable else "",
                    )
                    continue
                if member in unreadable:
                    continue
                if name == "identity":
                    person = np.zeros(len(MODEL.identity), np.float32)
                    table.append(sample=member, track=0, identity=person, n_frames=3, status="ok")
                    continue
                for i, (time, *_) in enumerate(frames):
                    key = {"sample": member, "frame": i, "track": 0}
                    status = "lost" if i in unseen else "ok"
                    row: dict[str, Any] = {}
                    if name in ("detections", "landmarks"):
                        row["time"] = time
                    if name == "detections":
                        row["shot"] = 0
                    if status == "ok" and name == "detections":
                        row |= dict(zip("xywh", (*low, *size), strict=True))
                    if status == "ok" and name == "landmarks":
                        row |= {"scheme": "ibug68", "points": points.astype(np.float32).ravel()}
                    if status == "ok" and name == "fit":
                        row |= dict(
                            zip(("rx", "ry", "rz", "tx", "ty"), (0.1, 0.2, 0, 0, 0), strict=True)
                        )
                        row |= {"tz": DISTANCE, "expression": one.expression.astype(np.float32)}
                        row |= {
                            f"gaze_{e}_{a}": v
                            for e in "01"
                            for a, v in zip("xyz", (0.6, 0, -0.8), strict=True)
                        }
                    if status == "ok" and name == "aus":
                        row = {"AU12_r": 3.0}
                    table.append(**key, **row, status=status)
    assert tick or kind != "video"
    return points


def overlay(*arguments: str) -> int:
    return main(["overlay", "clip", *arguments])


def times(path: Path) -> list[float | None]:
    with VideoMedia(path) as media:
        return [frame.time for frame in media]


STAMPS = [0, 512, 1152, 1664, 2816, 3328, 3840, 4608]  # a variable frame rate
