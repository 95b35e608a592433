"""The fit of 3DI and 3DI-lite as the tables of every backend: a row a frame, none left out.

Frames that the engine gave nothing for have their status: that of their landmarks, or
`not_converged` where there are landmarks and no fit; the last frame, which an engine may leave out,
is one of these.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from facemake import geometry, rows, schemes
from facemake.archives import Archive
from facemake.backends.fit import load, pdm
from facemake.backends.threedi import Engine, convert
from facemake.backends.threedi.convert import PdmOf51, Poses, View, view_of
from facemake.backends.threedi.model import InstallModel
from facemake.backends.threedi.model import load as load_install_model
from facemake.backends.threedi.streams import Stream
from facemake.provenance import Recipe
from facemake.shards import Part, ShardRun, decodable_samples
from facemake.status import FrameStatus
from facemake.tables import TableReader, TableWriter, list_array

Array = NDArray[np.float64]

_INNER = 2 * schemes.N_POINTS[schemes.IBUG51]


@dataclass(frozen=True, eq=False)
class _Fitted:
    """Some rows of an engine's fit, as it gave them."""

    expression: Array
    poses: Poses
    canonical: Array

    @property
    def there(self) -> NDArray[np.bool_]:
        """(n,) the frames of which all is known; that 3DI-lite gives no place is known of it."""
        known = [np.isfinite(v).all(axis=1) for v in (self.expression, self.canonical)]
        return np.asarray(known[0] & known[1] & np.isfinite(self.poses.euler).all(axis=1))


def threedi_fit(
    plan: Path,
    probe: Path,
    video: Path,
    landmarks: Path,
    raw: Sequence[Path],
    model: Path,
    outputs: Mapping[str, Path],
    recipe: Recipe,
) -> None:
    """Write the fit and the identity table of a shard, and of 3DI the smoothed one.

    3DI-lite gives one pose and one expression a frame, without smoothing: they are the fit.

    Args:
        plan: the shard's plan file.
        probe: its probe table.
        video: what the engine was given.
        landmarks: its landmarks table.
        raw: archives of all steps that have what is wanted.
        model: the install's mean face and expressions.
        outputs: `fit` and `identity`, and `smooth` of 3DI.
        recipe: of the stage `fit`.
    """
    engine = Engine(str(recipe.backend))
    faces = load_install_model(model)
    inputs = [probe, video, landmarks, *raw]
    with ExitStack() as stack:
        run = stack.enter_context(ShardRun(recipe, plan, inputs, outputs))
        videos = stack.enter_context(Archive(video))
        archives = [stack.enter_context(Archive(path)) for path in raw]
        reader = stack.enter_context(TableReader(landmarks))
        known = decodable_samples(probe)
        run.progress.expect(sum(row["n_frames"] for row in known.values()))
        for sample, part in run.pending():
            row = known.get(sample.sample)
            if row is None:
                for name in outputs:
                    part.table(name)
                continue
            view = view_of(recipe.settings, row, videos, sample.sample)
            one = _SampleFit(sample.sample, engine, archives, faces, view)
            one.write(part, reader, smooth="smooth" in outputs)
            run.progress.frame(row["n_frames"])


@dataclass
class _Tally:
    """What is known of a sample once all its rows were seen."""

    seen: int = 0
    fitted: int = 0
    squares: float = 0.0

    def add(self, seen: NDArray[np.bool_], ok: NDArray[np.bool_], error: Array | None) -> None:
        self.seen += int(seen.sum())
        self.fitted += int(ok.sum())
        if error is not None:
            self.squares += float((error[ok] ** 2).sum())


class _SampleFit:
    """The fit of one sample, read beside its landmarks a piece at a time."""

    def __init__(
        self,
        sample: str,
        engine: Engine,
        archives: Sequence[Archive],
        faces: InstallModel,
        view: View | None,
    ) -> None:
        self._sample, self._engine, self._archives = sample, engine, archives
        self._faces, self._view = faces, view
        self._neutral: Array | None = None
        shape = self._stream("shape")
        if shape.there and len(faces.vertices):
            self._neutral = shape.all()[faces.vertices]
            self._pdm = PdmOf51(load("builtin"))

    def _stream(self, kind: str) -> Stream:
        """A raw file, in whichever archive; one without rows where there is none."""
        streams = (Stream(a, self._sample, kind, self._engine) for a in self._archives)
        empty = None
        for stream in streams:
            if stream.there:
                return stream
            empty = stream
        assert empty is not None
        return empty

    def write(self, part: Part, reader: TableReader, smooth: bool) -> None:
        """Write all rows of the sample."""
        fit, identities = part.table("fit"), part.table("identity")
        smoothed = part.table("smooth") if smooth else None
        lite = self._engine is Engine.LITE
        kinds = ("expression_smooth", "pose_smooth") if lite else ("expression", "pose")
        expression, pose = (self._stream(kind) for kind in kinds)
        late_expression = self._stream("expression_smooth") if smooth else None
        late_pose = self._stream("pose_smooth") if smooth else None
        canonical, landmarks = self._stream("landmarks_canonicalized"), self._stream("landmarks")
        by_vector = smooth and self._vectors_are_turns()
        tally = _Tally()
        for table in reader.groups(self._sample, ["frame", "track", "status", "points"]):
            n = table.num_rows
            points = rows.lists(table, "points", _INNER).astype(np.float64).reshape(n, -1, 2)
            seen = rows.equals(table, "status", FrameStatus.OK)
            marks, theirs = landmarks.take(n), canonical.take(n)
            e, p = expression.take(n), pose.take(n)
            found = _Fitted(
                e,
                convert.poses(p, marks, self._engine),
                theirs if lite else self._faces.canonical(e),
            )
            ok = seen & found.there
            status = np.array(table.column("status").to_pylist(), object)
            status[seen & ~ok] = str(FrameStatus.NOT_CONVERGED)
            key = {"frame": table.column("frame"), "track": table.column("track")}
            shaped, error = self._shaped(found, points, ok)
            tally.add(seen, ok, error)
            more = {"converged": pa.array(ok, mask=~seen), "status": status.tolist()}
            fit.append_columns(self._sample, {**key, **_columns(found, ok), **shaped, **more})
            if smoothed is not None and late_expression is not None and late_pose is not None:
                late = _Fitted(
                    late_expression.take(n),
                    convert.smoothed_poses(late_pose.take(n), self._engine, marks, by_vector),
                    theirs,
                )
                held = ok & late.there
                status[ok & ~held] = str(FrameStatus.NOT_CONVERGED)
                columns = {**key, **_columns(late, held), "status": status.tolist()}
                smoothed.append_columns(self._sample, columns)
        self._write_identity(identities, tally)

    def _vectors_are_turns(self) -> bool:
        """Whether rotation vectors and angles say the same, of all frames: see `smoothed_poses`."""
        stream = self._stream("pose")
        while len(some := stream.some()):
            if not convert.vectors_are_turns(some):
                return False
        return stream.there

    def _shaped(
        self, found: _Fitted, points: Array, ok: NDArray[np.bool_]
    ) -> tuple[dict[str, Any], Array | None]:
        """What hangs on the person's shape, which 3DI alone gives; and the error, (n,) px."""
        n = len(ok)
        if self._neutral is None or self._view is None or not ok.any():
            return {}, None
        error, local = np.full(n, np.nan), np.full((n, pdm.N_MODES), np.nan)
        overall = np.full((n, 6), np.nan)
        where = Poses(found.poses.translation[ok], found.poses.euler[ok])
        shapes = self._faces.shapes(found.expression[ok], self._neutral)
        error[ok] = convert.reprojection(shapes, where, points[ok], self._view)
        local[ok] = self._pdm.local_params(shapes)
        rotation = geometry.rotation_from_euler(where.euler)
        overall[ok] = pdm.global_params(
            rotation, where.translation, shapes, self._view.camera, self._view.lens
        )
        return {
            "error_px": pa.array(error.astype(np.float32), mask=~ok),
            "local_params": list_array(local, ok),
            "global_params": list_array(overall, ok),
        }, error

    def _write_identity(self, table: TableWriter, tally: _Tally) -> None:
        person = self._stream("shape_coeff")
        status = FrameStatus.OK if tally.fitted else FrameStatus.NOT_CONVERGED
        if not tally.seen and self._stream("landmarks").there:
            status = FrameStatus.NO_FACE
        row: dict[str, Any] = {"status": str(status)}
        coefficients = person.all().ravel().astype(np.float32)
        # 3DI-lite's are none where the first frame has no face
        if tally.fitted and len(coefficients) and np.isfinite(coefficients).all():
            row["identity"] = coefficients
        if tally.fitted and self._neutral is not None:
            row["neutral"] = self._neutral.ravel().astype(np.float32)
            row["error_px"] = float(np.sqrt(tally.squares / tally.fitted))
        table.append(sample=self._sample, track=0, **row)


def _columns(found: _Fitted, ok: NDArray[np.bool_]) -> dict[str, Any]:
    """Pose, expression and canonical landmarks; null where a frame was not fitted."""
    pose = np.concatenate([found.poses.translation, found.poses.euler], axis=1).astype(np.float32)
    names = ("tx", "ty", "tz", "rx", "ry", "rz")
    return {
        **{
            name: pa.array(pose[:, k], mask=~ok | np.isnan(pose[:, k]))
            for k, name in enumerate(names)
        },
        "expression": list_array(found.expression, ok),
        "canonical": list_array(found.canonical, ok),
    }
