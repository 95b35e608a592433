"""A page a sample: what it is, what was found in it, what became of it.

Beside the pages of a shard lies what the index needs of them (`facemake.report.summaries`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from facemake import h5
from facemake.backends.landmarks import LANDMARKERS
from facemake.calibration.lens import Calibration, Lens, MisfitError
from facemake.geometry import Camera
from facemake.media.files import pictures
from facemake.media.frame import MediaError
from facemake.pictures import stand_alone
from facemake.provenance import Recipe
from facemake.report import charts, contact, render, strips, summaries, words
from facemake.report.charts import Histogram
from facemake.report.counts import Counts, read_counts
from facemake.report.pages import page_file, sample_of
from facemake.report.timecourse import SPREADS, TimeCourse, time_course
from facemake.runtime.atomic import replacing_folder
from facemake.runtime.progress import Progress
from facemake.samples import Sample, read_shard
from facemake.schemes import IBUG68, ibug
from facemake.shards import read_metadata
from facemake.status import DECODABLE, FrameStatus, SampleStatus
from facemake.tables import TableReader

PAGES = "samples"
"""The folder of the pages beside the index; in it a folder a shard, in that a page a sample."""

_QUALITY_TOGETHER = 4
"""Bins of the quality of examples that a bar of a page shows."""
_NAMES_AT_ONCE = 65536
_MISFITS = (
    "The frames differ in size. Those that the calibrated camera cannot have taken were not "
    "fitted; the log of the fit names their sizes."
)
_TABLED_FACES = 12
_TABLED_PICTURES = 40
"""Pictures that stand alone, no more than this and with no more faces, get a table of numbers."""


@dataclass(frozen=True)
class Sources:
    """The files of a shard that its pages are made from.

    Attributes:
        probe: its probe table.
        detections, landmarks, fit, aus: its frame tables; None: the stage did not run.
        faces: its crops file, with the small frames.
        examples: its part of the training set.
        counts: a row a sample, as the manifest has it.
        smooth: its table of the smoothed fit.
        overlay: the folder with its overlays.
    """

    probe: Path
    detections: Path | None = None
    landmarks: Path | None = None
    faces: Path | None = None
    fit: Path | None = None
    aus: Path | None = None
    examples: Path | None = None
    counts: Path | None = None
    smooth: Path | None = None
    overlay: Path | None = None

    @property
    def frame_tables(self) -> dict[str, Path]:
        """Stage -> path of what there is, with one row a frame and track."""
        every = {
            "detections": self.detections,
            "landmarks": self.landmarks,
            "fit": self.fit,
            "smooth": self.smooth,
            "aus": self.aus,
        }
        return {name: path for name, path in every.items() if path is not None}


def report_pages(plan: Path, sources: Sources, output: Path, recipe: Recipe) -> None:
    """Write `output/SAMPLE.html` for each sample of a shard.

    Args:
        plan: the shard's plan file.
        sources: the shard's files.
        output: a folder; what was in it is replaced.
        recipe: of the stage `report`.
    """
    samples = read_shard(plan)
    progress = Progress("report_pages", plan.stem, len(samples))
    with ExitStack() as stack:
        beside = stack.enter_context(replacing_folder(output))
        probe = stack.enter_context(TableReader(sources.probe))
        tables = {
            name: stack.enter_context(TableReader(path))
            for name, path in sources.frame_tables.items()
        }
        faces = stack.enter_context(h5.opened(sources.faces)) if sources.faces else None
        counts = read_counts(sources.counts) if sources.counts else {}
        quality = _quality(sources.examples) if sources.examples else None
        settings = _settings(sources.examples) if sources.examples else {}
        about = []
        for sample in samples:
            row = probe.read(sample.sample).to_pylist()[0]
            course = _course(sample, row, tables)
            small = contact.small_frames(faces, sample.sample) if faces and course else None
            text = _page(
                sample,
                row,
                tables,
                course,
                small,
                counts.get(sample.sample),
                quality,
                settings.get("min_quality"),
                _overlay(sample.sample, sources.overlay) if sources.overlay else None,
                recipe,
            )
            (beside / page_file(sample.sample)).write_text(text, encoding="utf-8")
            jpegs = (jpeg for _, (jpeg, _) in sorted((small or {}).items()))
            scores = (quality or {}).get(sample.sample)
            about.append(summaries.summary(sample, row, course, scores, jpegs))
            progress.frame(row["n_frames"] or 0)
            progress.sample()
        summaries.write(beside, about)
    progress.end()


def page_folders(folders: Iterable[Path]) -> dict[str, str]:
    """Sample -> name of the folder that holds its page."""
    return {sample_of(path): folder.name for folder in folders for path in folder.glob("*.html")}


def _course(
    sample: Sample, probe: Mapping[str, Any], tables: Mapping[str, TableReader]
) -> TimeCourse | None:
    """The curves of a sample; None where it was not decoded."""
    if probe["status"] not in DECODABLE or "detections" not in tables:
        return None
    alone = stand_alone(probe, tables["detections"].metadata)
    course = time_course(sample.sample, tables, alone=alone)
    return course if course.axis.n_frames else None


def _page(
    sample: Sample,
    probe: Mapping[str, Any],
    tables: Mapping[str, TableReader],
    course: TimeCourse | None,
    small: Mapping[int, tuple[bytes, float]] | None,
    counts: Counts | None,
    quality: Mapping[str, Histogram] | None,
    min_quality: float | None,
    overlay: tuple[str, str] | None,
    recipe: Recipe,
) -> str:
    status, reason = _verdict(probe, counts, course)
    scores = quality.get(sample.sample) if quality is not None else None
    return render.page(
        "page.html",
        sample=sample,
        probe=probe,
        status=status,
        status_words=words.SAMPLE_STATUS[status],
        reason=reason,
        index=render.link("..", "..", "index.html"),
        facts=_facts(sample, probe),
        counts=counts,
        example_rows=_example_rows(counts),
        min_quality=min_quality,
        histogram=scores.bars(_QUALITY_TOGETHER) if scores else None,
        has_dataset=quality is not None,
        overlay=overlay,
        version=recipe.version,
        **(_drawn(sample, probe, tables, course, small) if course else {"course": None}),
    )


def _overlay(sample: str, folder: Path) -> tuple[str, str] | None:
    """A sample's overlay as seen from its page, and what it is; None where it has none.

    `video`, `picture`, `folder`, or `text`: why it could not be made.
    """
    kinds = {".mp4": "video", ".jpg": "picture", ".png": "picture", "": "folder", ".txt": "text"}
    for suffix, kind in kinds.items():
        path = folder / f"{sample}{suffix}"
        if path.exists():
            return render.link("..", "..", "..", folder.parent.name, folder.name, path.name), kind
    return None


def _example_rows(counts: Counts | None) -> list[tuple[str, int, str]]:
    """Name, number and colour of each bar: kept, then left out, the largest first."""
    if counts is None or not counts.considered:
        return []
    rejected = sorted(counts.rejected.items(), key=lambda item: (-item[1], item[0]))
    return [
        ("kept", counts.kept, "s-ok"),
        *((words.rejection(reason), n, "s-lost") for reason, n in rejected),
    ]


def _settings(path: Path) -> dict[str, Any]:
    """The settings of the stage that wrote a file."""
    settings: dict[str, Any] = read_metadata(path).get("recipe", {}).get("settings", {})
    return settings


def _verdict(
    probe: Mapping[str, Any], counts: Counts | None, course: TimeCourse | None
) -> tuple[str, str]:
    """The manifest's status where there is one, else the probe's; both with their reason."""
    if counts is not None:
        return counts.status, counts.reason
    status, reason = probe["status"], probe["reason"]
    if course and status == SampleStatus.OK and not any(t.seen for t in course.tracks.values()):
        return SampleStatus.NO_FACE, reason
    return status, reason


def _facts(sample: Sample, probe: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What is known of the recording, in words."""
    video = probe["kind"] == "video"
    facts: list[tuple[str, str | None]] = [
        ("Subject", sample.subject),
        ("Kind", words.MEDIA_KIND.get(probe["kind"], probe["kind"])),
        ("Codec" if video else "Format", probe["codec"]),
        (
            "Size",
            f"{probe['width']} × {probe['height']} px"
            if probe["width"]
            else "differs from picture to picture"
            if probe["n_frames"]
            else None,
        ),
        ("Rotation", f"{probe['rotation']}°, turned upright" if probe["rotation"] else None),
        ("Frames" if video else "Pictures", render.count(probe["n_frames"])),
        ("Duration", render.seconds(probe["duration"]) if probe["duration"] is not None else None),
        (
            "Frame rate",
            f"{probe['fps']:.2f} /s" + (", variable" if probe["vfr"] else ", constant")
            if probe["fps"]
            else None,
        ),
        ("From", f"{round(sample.start, 6)} s" if sample.start is not None else None),
        ("To", f"{round(sample.end, 6)} s" if sample.end is not None else None),
        ("Split asked for", sample.split),
    ]
    return [(name, value) for name, value in facts if value and value != "–"]


def _drawn(
    sample: Sample,
    probe: Mapping[str, Any],
    tables: Mapping[str, TableReader],
    course: TimeCourse,
    small: Mapping[int, tuple[bytes, float]] | None,
) -> dict[str, Any]:
    axis = course.axis
    settings = tables["fit"].metadata["recipe"]["settings"] if "fit" in tables else {}
    size = (probe["width"], probe["height"]) if probe["width"] else None
    view, not_fitted = _view(settings, probe, course)
    tiles = None if small is None else contact.tiles(sample.sample, small, tables, view, size)
    thing = "frame" if probe["kind"] == "video" else "picture"
    names = _file_names(sample, probe)
    main = course.main
    single = axis.n_frames == 1
    faces = _faces(sample.sample, tables, course) if axis.alone or single else None
    groups = [] if faces is not None else strips.groups(course, _rest_on(settings))
    shown = sorted(t for t in course.tracks if course.tracks[t].states is not None)
    return {
        "course": course,
        "axis": axis,
        "single": single,
        "tabled": faces is not None,
        "tiles": tiles,
        "small": [tile.frame for tile in tiles or ()],
        "jaw": _has_jaw(tables),
        "camera": "" if not_fitted or not settings else _camera_words(settings),
        "not_fitted": not_fitted,
        "main": main,
        "totals": main.counts if main else {},
        "ribbon": charts.ribbon(axis, main.states) if main and main.states else {},
        "ribbons": {
            t: charts.ribbon(axis, s) for t in shown if (s := course.tracks[t].states) is not None
        },
        "status_words_of": words.FRAME_STATUS,
        "ticks": charts.time_ticks(axis),
        "thing": thing,
        "groups": groups,
        "faces": faces,
        "au_names": [
            (code, words.AU_NAMES.get(code, ""))
            for code in sorted({name[:-2] for name in (*course.series, *course.occurrence)})
            if code.startswith("AU")
        ],
        "names": names,
        "cursor": {
            **_cursor(course, groups, thing),
            "names": names if (axis.fine or axis).exact else [],
        },
    }


def _file_names(sample: Sample, probe: Mapping[str, Any]) -> list[str]:
    """Of the pictures of a folder; none where it is gone or is not what it was."""
    if probe["kind"] != "images":
        return []
    try:
        names = [path.name for path in pictures(sample.path)]
    except (MediaError, OSError):
        return []
    return names if len(names) == probe["n_frames"] else []


def _has_jaw(tables: Mapping[str, TableReader]) -> bool:
    """Whether the landmarks are of a scheme with the points of the jaw."""
    if "landmarks" not in tables:
        return True
    row = LANDMARKERS.get(tables["landmarks"].metadata["recipe"]["backend"])
    return row is None or ibug(row.scheme) == IBUG68


def _view(
    settings: Mapping[str, Any], probe: Mapping[str, Any], course: TimeCourse
) -> tuple[Camera | Lens | None, str]:
    """What the fit projected with, and why it did not fit; None where frames share no camera."""
    size = (probe["width"], probe["height"]) if probe["width"] else None
    calibration = settings.get("calibration")
    if calibration is None:
        fov = settings.get("fov")
        return (Camera.from_fov(*size, fov) if fov and size else None), ""
    if size is None:
        failed = any(FrameStatus.NOT_CONVERGED in t.counts for t in course.tracks.values())
        return None, _MISFITS if failed else ""
    try:
        return Calibration.from_dict(calibration).lens(size, probe["rotation"]), ""
    except MisfitError as error:
        return None, f"No face was fitted here, since the calibration cannot be used: {error}."


def _rest_on(settings: Mapping[str, Any]) -> str:
    """What the millimetres rest on."""
    calibrated = settings.get("calibration") is not None
    return "the camera’s calibration" if calibrated else "the assumed field of view"


def _camera_words(settings: Mapping[str, Any]) -> str:
    """What head axes are projected with."""
    if settings.get("calibration") is not None:
        return "the camera’s calibration, distortion included"
    return f"the fit’s field of view of {settings['fov']:g}°" if settings.get("fov") else ""


def _cursor(course: TimeCourse, groups: list[strips.Group], thing: str) -> dict[str, Any]:
    """What the page's script needs to read the strips under the cursor."""
    axis = course.axis.fine or course.axis
    states = course.main.states if course.main else None
    states = states.fine or states if states else None
    common = (
        np.where(states.counts.any(axis=0), states.counts.argmax(axis=0), -1).tolist()
        if states
        else []
    )
    return {
        "edges": [round(100 * axis.share(e), 3) for e in axis.edges.tolist()],
        "start": round(axis.start, 3),
        "span": round(axis.end - axis.start, 3),
        "times": [round(t, 3) for t in axis.edges[:-1].tolist()] if axis.in_time else None,
        "frames": axis.first.tolist(),
        "count": axis.n_frames,
        "status": common,
        "words": [words.FRAME_STATUS[s] for s in states.names] if states else [],
        "thing": thing,
        "alone": axis.alone,
        "exact": axis.exact,
        "mixed": strips.bits((states.counts > 0).sum(axis=0) > 1) if states else "",
        "sure": strips.bits(strips.sure(states)) if states else "",
        "breaks": np.flatnonzero(axis.breaks).tolist() if course.axis.fine else [],
        "values": {strip.key: strip.values for group in groups for strip in group.strips},
        "units": {
            strip.key: [strip.unit, strip.decimals] for group in groups for strip in group.strips
        },
        "there": {strip.key: strip.there for group in groups for strip in group.strips},
        "present": {s.key: s.on for group in groups for s in group.strips if s.on is not None},
    }


def _faces(
    sample: str, tables: Mapping[str, TableReader], course: TimeCourse
) -> list[dict[str, Any]] | None:
    """Every face of a few pictures with its numbers; None where there are too many for a table."""
    seen = sum(track.seen for track in course.tracks.values())
    if seen > _TABLED_FACES or course.axis.n_frames > _TABLED_PICTURES:
        return None
    wanted = {
        "detections": ["x", "y", "w", "h", "score"],
        "landmarks": ["confidence"],
        "fit": ["rx", "ry", "rz", "error_px"],
        "aus": [n for n in tables["aus"].schema.names if n[:2] == "AU"] if "aus" in tables else [],
    }
    rows: dict[tuple[int, int], dict[str, Any]] = {}
    for stage, names in wanted.items():
        if stage not in tables:
            continue
        columns = ["frame", "track", "status", *names]
        for table in tables[stage].groups(sample, columns):
            for row in table.to_pylist():
                rows.setdefault((row["frame"], row["track"]), {}).update(row)
    return [row for _, row in sorted(rows.items()) if row.get("x") is not None]


def _quality(examples: Path) -> dict[str, Histogram]:
    """Sample -> histogram of its examples' quality scores, read a piece at a time."""
    counts: dict[str, Any] = {}
    _, _, n = SPREADS["quality"]
    with h5.opened(examples) as file:
        if "metadata/video_names" not in file or "metadata/quality_scores" not in file:
            return {}
        names, scores = file["metadata/video_names"], file["metadata/quality_scores"]
        for start in range(0, len(names), _NAMES_AT_ONCE):
            piece = slice(start, start + _NAMES_AT_ONCE)
            who, which = np.unique(names[piece].astype(object), return_inverse=True)
            bins = np.clip((scores[piece] * n).astype(int), 0, n - 1)
            found = np.zeros((len(who), n), int)
            np.add.at(found, (which, bins), 1)
            for name, row in zip(who.tolist(), found, strict=True):
                name = name.decode("utf-8", "replace")
                counts[name] = counts.get(name, 0) + row
    return {name: Histogram(0.0, 1.0, tuple(row.tolist())) for name, row in counts.items()}
