"""Fit the face model to the landmarks: who each track is, then pose and expression per frame."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from facemake import geometry, schemes
from facemake.backends.fit import load_as_planned
from facemake.backends.fit.fitter import Fitter, FrameFits
from facemake.backends.fit.gaze import estimate_gaze
from facemake.backends.fit.identity import MAX_FRAMES, Identity
from facemake.backends.fit.model import LinearFaceModel
from facemake.calibration.lens import Calibration, MisfitError
from facemake.counting import counted
from facemake.errors import FacemakeError
from facemake.geometry import Camera
from facemake.media import open_media
from facemake.pictures import stand_alone
from facemake.provenance import Recipe
from facemake.runtime.progress import Progress
from facemake.samples import Sample
from facemake.shards import Part, ShardRun, decodable_samples
from facemake.status import FrameStatus
from facemake.tables import GAZE_COLUMNS, TableReader, list_array

Array = NDArray[np.float64]

logger = logging.getLogger(__name__)


def fit(
    plan: Path, probe: Path, landmarks: Path, output: Path, identity: Path, recipe: Recipe
) -> None:
    """Write the fit and the identity table of a shard.

    The fit has the rows of the landmarks. A row whose landmarks are not `ok` keeps its status; one
    that cannot be fitted plausibly gets `not_converged`; both are null otherwise. Pictures of a
    folder that stand alone are fitted each on its own, and their rows in the identity table have no
    coefficients; so are the frames of a sample whose frames differ in size, for an identity is that
    of one camera. Frames that cannot be the calibrated camera's are `not_converged`, and the log
    says which sample's they are.

    Args:
        plan: the shard's plan file.
        probe: its probe table.
        landmarks: its landmarks table.
        output: `fit/{shard}.parquet`.
        identity: `identity/{shard}.parquet`, a row a track.
        recipe: of the stage `fit`.
    """
    model = load_as_planned(recipe.settings["model"], recipe.models)
    outputs = {"fit": output, "identity": identity}
    with ShardRun(recipe, plan, [landmarks], outputs) as run, TableReader(landmarks) as reader:
        known = decodable_samples(probe)
        run.progress.expect(sum(row["n_frames"] for row in known.values()))
        for sample, part in run.pending():
            row = known.get(sample.sample)
            if row is None:
                part.table("fit")
                part.table("identity")
                continue
            alone = stand_alone(row, run.metadata)
            fitting = _Fitting(model, recipe.settings, row, alone)
            _fit_sample(sample, part, reader, fitting, run.progress)


@dataclass(frozen=True)
class _Fitting:
    """How the faces of one sample are fitted."""

    model: LinearFaceModel
    settings: Mapping[str, Any]
    """Of the recipe: `fov` in degrees, or `calibration`."""
    probe: dict[str, Any]
    alone: bool
    """Whether each frame is a picture of its own."""

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height, px; None where frames differ in it."""
        width, height = self.probe["width"], self.probe["height"]
        return (int(width), int(height)) if width and height else None

    def fitter(self, size: tuple[int, int]) -> Fitter | None:
        """For frames of this width and height, px; None where the calibration is not theirs."""
        known = self.settings.get("calibration")
        if known is None:
            return Fitter(self.model, Camera.from_fov(*size, self.settings["fov"]), size=size)
        try:
            lens = Calibration.from_dict(known).lens(size, self.probe["rotation"])
        except MisfitError as error:
            logger.warning("%s is not fitted: %s", self.probe["sample"], error)
            return None
        return Fitter(self.model, lens.camera, size=size, lens=lens)


def _fit_sample(
    sample: Sample, part: Part, reader: TableReader, fitting: _Fitting, progress: Progress
) -> None:
    table, identities = part.table("fit"), part.table("identity")
    seen: dict[int, int] = {}  # track -> rows with landmarks
    people: dict[int, Identity] = {}
    errors: dict[int, list[float]] = {}
    fitter = fitting.fitter(fitting.size) if fitting.size is not None else None
    sizes = _sizes(sample, fitting)
    if fitter is not None and not fitting.alone:
        candidates: dict[int, _Candidates] = {}
        for rows in _chunks(reader, sample.sample, fitting.model):
            for track in np.unique(rows.track).tolist():
                one = candidates.setdefault(track, _Candidates(fitting.model.n_points))
                one.add(rows.points[rows.usable & (rows.track == track)])
        people = {track: fitter.fit_identity(c.points()) for track, c in candidates.items()}
    for rows in _chunks(reader, sample.sample, fitting.model):
        fits = FrameFits.empty(len(rows.frame), len(fitting.model.expression))
        for track in np.unique(rows.track).tolist():
            where = np.flatnonzero(rows.usable & (rows.track == track))
            seen[track] = seen.get(track, 0) + len(where)
            if not len(where):
                continue
            points = rows.points[where]
            if fitting.size is None:
                found = _fit_by_size(points, sizes[rows.frame[where]], fitting)
            elif fitter is None:
                continue
            elif fitting.alone:
                found = fitter.fit_pictures(points)
            else:
                found = fitter.fit_frames(points, people[track])
            _place(fits, where, found)
            if track not in people:
                errors.setdefault(track, []).extend(found.error_px[found.ok].tolist())
        _write(table, sample.sample, rows, fits, _gaze(rows, fits, fitting, people, sizes))
        progress.rows(rows.track)
    for track in sorted(seen):
        row = _identity_row(people.get(track), errors.get(track, []))
        if not seen[track]:
            row["status"] = str(FrameStatus.NO_FACE)
        identities.append(sample=sample.sample, track=track, **row)


def _identity_row(person: Identity | None, errors: list[float]) -> dict[str, Any]:
    """A row of the identity table: a person, or the errors of pictures that stand alone."""
    if person is None:
        error = float(np.sqrt(np.mean(np.square(errors)))) if errors else None
        row: dict[str, Any] = {"n_frames": len(errors), "error_px": error}
    else:
        known = person.n_frames > 0
        row = {
            "identity": person.coefficients.astype(np.float32) if known else None,
            "neutral": person.shape.astype(np.float32).ravel() if known else None,
            "noise": person.noise if known else None,
            "n_frames": person.n_frames,
            "error_px": person.error_px if known else None,
        }
    status = FrameStatus.OK if row["n_frames"] else FrameStatus.NOT_CONVERGED
    return {**row, "status": str(status)}


@dataclass(frozen=True)
class _Rows:
    """Some rows of the landmarks table, as arrays."""

    frame: NDArray[np.int32]
    track: NDArray[np.int16]
    status: list[str]
    points: Array
    """(n, L, 2) px, the face model's landmarks; NaN where there are none."""
    mesh: Array | None
    """(n, 478, 2) px, FaceMesh with irises; None where the landmarks are of another scheme."""

    @property
    def usable(self) -> NDArray[np.bool_]:
        """(n,) rows whose landmarks are ok."""
        return np.array([s == FrameStatus.OK for s in self.status])


def _chunks(reader: TableReader, sample: str, model: LinearFaceModel) -> Iterator[_Rows]:
    """The rows of a sample, a row group at a time."""
    columns = ["frame", "track", "status", "scheme", "points"]
    for table in reader.groups(sample, columns):
        n = table.num_rows
        column = table.column("points").combine_chunks()
        points = np.full((n, model.n_points, 2), np.nan)
        mesh = None
        there = np.flatnonzero(~column.is_null().to_numpy(zero_copy_only=False))
        if len(there):
            scheme = table.column("scheme")[int(there[0])].as_py()
            flat = column.flatten().to_numpy(zero_copy_only=False)
            found = flat.reshape(len(there), schemes.N_POINTS[scheme], 2)
            ours = schemes.convert(found, scheme, model.scheme)
            points[there] = ours if model.points is None else ours[:, model.points]
            if scheme == schemes.MEDIAPIPE478:
                mesh = np.full((n, *found.shape[1:]), np.nan)
                mesh[there] = found
        yield _Rows(
            frame=table.column("frame").to_numpy(),
            track=table.column("track").to_numpy(),
            status=table.column("status").to_pylist(),
            points=points,
            mesh=mesh,
        )


@dataclass
class _Candidates:
    """Frames of a track for its identity: evenly spread, few, the same however they arrive.

    Every `step`-th frame is kept; when too many are held, every other is let go and the step
    doubles.
    """

    n_points: int
    step: int = 1
    count: int = 0
    held: list[Array] = field(default_factory=list)

    def add(self, points: Array) -> None:
        """See (n, L, 2) points of the track's next frames."""
        for one in points:
            if self.count % self.step == 0:
                self.held.append(one)
                if len(self.held) >= 4 * MAX_FRAMES:
                    self.held = self.held[::2]
                    self.step *= 2
            self.count += 1

    def points(self) -> Array:
        """(m, L, 2), m below 4 * MAX_FRAMES."""
        return np.stack(self.held) if self.held else np.empty((0, self.n_points, 2))


def _sizes(sample: Sample, fitting: _Fitting) -> NDArray[np.int32]:
    """(n_frames, 2) width and height of each frame, px; none where all have one size."""
    if fitting.size is not None:
        return np.empty((0, 2), np.int32)
    with open_media(sample) as media:
        sizes = np.array(list(media.sizes()), np.int32)
    if len(sizes) != fitting.probe["n_frames"]:
        raise FacemakeError(
            f"{sample.path} has {counted(len(sizes), 'frame')} and had "
            f"{fitting.probe['n_frames']} when the run began: leave recordings as they are "
            "while they are worked on, and run again"
        )
    return sizes


def _fit_by_size(points: Array, sizes: NDArray[np.int32], fitting: _Fitting) -> FrameFits:
    """Each frame on its own, (n, L, 2) points, by the camera of its size, (n, 2) px."""
    fits = FrameFits.empty(len(points), len(fitting.model.expression))
    for size in np.unique(sizes, axis=0):
        where = np.flatnonzero((sizes == size).all(axis=1))
        fitter = fitting.fitter((int(size[0]), int(size[1])))
        if fitter is not None:
            _place(fits, where, fitter.fit_pictures(points[where]))
    return fits


def _place(fits: FrameFits, where: NDArray[np.intp], found: FrameFits) -> None:
    for name in FrameFits.__dataclass_fields__:
        getattr(fits, name)[where] = getattr(found, name)


def _gaze(
    rows: _Rows,
    fits: FrameFits,
    fitting: _Fitting,
    people: Mapping[int, Identity],
    sizes: NDArray[np.int32],
) -> dict[str, Array]:
    """Column -> (n,) of the gaze; NaN where it is not known, no columns without irises."""
    if rows.mesh is None:
        return {}
    out = {name: np.full(len(rows.frame), np.nan) for name in GAZE_COLUMNS}
    rotation = geometry.rotation_from_euler(fits.euler)
    for track in np.unique(rows.track[fits.ok]).tolist():
        # A picture of its own has no identity that is kept: the mean face's eyes are near enough,
        # since in the picture the eye corners are where they are seen.
        shape = people[track].shape if track in people else fitting.model.mean
        face = np.full((schemes.N_POINTS[schemes.IBUG68], 3), np.nan)
        face[schemes.IBUG68_TO_IBUG51] = shape[fitting.model.inner]
        mine = fits.ok & (rows.track == track)
        of_size = (
            [(fitting.size, mine)]
            if fitting.size is not None
            else [
                ((int(w), int(h)), mine & (sizes[rows.frame] == (w, h)).all(axis=1))
                for w, h in np.unique(sizes[rows.frame[mine]], axis=0).tolist()
            ]
        )
        for size, where in of_size:
            fitter = fitting.fitter(size)
            if fitter is None or not where.any():
                continue
            points = rows.mesh[where]
            if fitter.lens is not None:
                points = fitter.lens.undistort(points)
            gaze = estimate_gaze(
                points, rotation[where], fits.translation[where], face, fitter.camera
            )
            values = np.concatenate(
                [gaze.gaze_0, gaze.gaze_1, gaze.angle_x[:, None], gaze.angle_y[:, None]], axis=1
            )
            for name, column in zip(GAZE_COLUMNS, values.T, strict=True):
                out[name][where] = column
    return out


def _write(
    table: Any, sample: str, rows: _Rows, fits: FrameFits, gaze: Mapping[str, Array]
) -> None:
    failed = rows.usable & ~fits.ok
    status = [
        str(FrameStatus.NOT_CONVERGED) if bad else word
        for bad, word in zip(failed.tolist(), rows.status, strict=True)
    ]
    numbers = {
        **dict(zip(("tx", "ty", "tz"), fits.translation.T, strict=True)),
        **dict(zip(("rx", "ry", "rz"), fits.euler.T, strict=True)),
        "error_px": fits.error_px,
        "inliers": fits.inliers,
        **gaze,
    }
    lists = ("expression", "global_params", "local_params", "canonical")
    table.append_columns(
        sample,
        {
            "frame": rows.frame,
            "track": rows.track,
            **{
                name: pa.array(values.astype(np.float32), mask=np.isnan(values))
                for name, values in numbers.items()
            },
            "converged": pa.array(fits.ok, mask=~rows.usable),
            **{name: list_array(getattr(fits, name), fits.ok) for name in lists},
            "status": status,
        },
    )
