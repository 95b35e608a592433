"""facemake's own engine from Python, with the methods and the kinds of tables of 3DI's processors.

It runs the stages of the workflow on one recording, in a process and a folder of its own
(`.facemake/NAME/facemake` in the output folder), and writes what they give in the text formats of
3DI's files, with the suffix `.fmk`. Where nothing was measured, a row is NaN. Coefficients of
expressions are those of facemake's face model: the word beside a file has their names.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from facemake import recipes as planning
from facemake import settings
from facemake.backends.fit import load
from facemake.backends.fit.normalize import NoiseStatistics, shipped_noise
from facemake.backends.fit.normalize import normalize as in_noise
from facemake.backends.threedi import Engine, rawfiles, sidecar
from facemake.backends.threedi.runtimes.process import last_words, run_child
from facemake.errors import ConfigError, FacemakeError
from facemake.media import Kind as MediaKind
from facemake.media import classify
from facemake.models import models_dir_first
from facemake.processors import dicts, job
from facemake.processors.base import (
    BaseProcessor,
    Files,
    InputError,
    NoFaceError,
    NotReadyError,
    ProcessorError,
    ReturnOutput,
    Tables,
)
from facemake.processors.cache import NORMALIZED
from facemake.processors.citations import native_citation
from facemake.processors.dicts import Table
from facemake.provenance import LIBRARY, digest
from facemake.rows import numbers
from facemake.runtime.atomic import write_text
from facemake.samples import PlanRow, plan_file, samples_digest, shard_text
from facemake.stages.export_3di import BACKEND, Kind, coefficients, kinds, write_rows
from facemake.tables import TableReader

Array = NDArray[np.float64]

SUFFIX = ".fmk"

_UP_TO = {
    "detect_faces": ("probe", "detect"),
    "detect_landmarks": ("probe", "detect", "landmarks"),
    "fit": ("probe", "detect", "landmarks", "fit", "smooth"),
    "localized_expressions": ("probe", "detect", "landmarks", "fit", "smooth", "expressions"),
}
"""Method -> the stages that it needs, in order."""

_DOES = {
    "detect_faces": "find faces",
    "detect_landmarks": "find landmarks",
    "fit": "fit the face model",
    "localized_expressions": "localize expressions",
}


class FaceProcessor(BaseProcessor):
    """facemake's own engine: BlazeFace, FaceMesh and a linear face model, on a CPU.

    Tables are of the main face, track 0, a row a frame.

    Args:
        runtime: of 3DI's processors; there is none to choose here.
        return_output: what methods return: "dict" (tables: see `facemake.processors.dicts`),
            "file" (paths) or None.
        server: run on a server instead: {"host": …, "port": …, "token": …}.
        verbose: print what runs and how long it took.
        debug: also log what the stages say.
        camera_model: field of view along the longer side of the picture in degrees, or the
            camera's calibration file, OpenCV's or 3DI's: points are then undistorted.
        config: what differs from the workflow's default configuration, as in config.yaml:
            {"fit": {"smoothing": 0}}.

    Raises:
        ValueError: an argument is not what it may be. All errors are also
            `facemake.errors.FacemakeError`.
    """

    engine = "facemake"

    def __init__(
        self,
        runtime: None = None,
        return_output: ReturnOutput = "dict",
        server: Mapping[str, Any] | None = None,
        verbose: bool = True,
        debug: bool = False,
        *,
        camera_model: int | float | str | Path = 30,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        if runtime is not None:
            raise ProcessorError(
                f"runtime is {runtime!r}, and facemake's own engine has none: it comes with the "
                "package; FaceProcessor3DI and FaceProcessor3DIlite take one"
            )
        self._camera = _camera(camera_model)
        self._config = _filled(config or {}, self._camera)
        if server is not None and config:
            raise ProcessorError("config is for this machine: a server has its own")
        super().__init__(return_output, server, verbose, debug)
        self._recipes: dict[str, Any] | None = None

    def preprocess(self, undistort: bool = False) -> None:
        """Nothing: with a calibrated camera it is points that are undistorted, by `fit`.

        Args:
            undistort: refused without a calibration file.
        """
        if undistort and not isinstance(self._camera, str):
            raise ProcessorError(
                f"camera_model is {self._camera} degrees: to undistort, give the camera's "
                "calibration file there"
            )

    def detect_faces(self) -> Table | str | None:
        """Find faces in every frame.

        Returns:
            The table of rectangles (x y w h in px), its path, or None.
        """
        with self._at_work():
            self._make("detect_faces", ("rects",))
            return self._give("rects")

    def detect_landmarks(self) -> Table | str | None:
        """Find the landmarks of the face in every frame.

        Returns:
            The table of the 51 landmarks of iBUG-51 (x0 y0 … in px), its path, or None.

        Raises:
            NotReadyError: faces were not detected yet.
        """
        with self._at_work():
            self._must_have("rects", "detect_faces", "detect_landmarks")
            self._make("detect_landmarks", ("landmarks",))
            return self._give("landmarks")

    def fit(self, normalize: bool = False, k: float = 1) -> Tables | Files | None:
        """Fit the face model: who it is, pose and expression, smoothed through time.

        Args:
            normalize: give the expressions in units of their measured noise (tables only): 0 in
                its band. Known of the built-in face model.
            k: how many half-widths of the band count as noise.

        Returns:
            The tables of expressions, pose and canonical landmarks; or the paths of expression,
            pose, expression_smooth, pose_smooth and landmarks_canonicalized (without the two
            smoothed ones where `fit.smoothing` is 0); or None.

        Raises:
            NotReadyError: landmarks were not detected yet.
            NoFaceError: no frame has any.
        """
        with self._at_work():
            noise = self._noise(normalize, k)
            self._must_have("landmarks", "detect_landmarks", "fit")
            if not np.isfinite(self._values("landmarks")).any():
                raise NoFaceError(
                    f"there is no face in any frame of {self._input.path}: there is nothing to fit"
                )
            self._make("fit", self._fitted)
            if self.return_output == "file":
                return tuple(self._file(kind) for kind in self._fitted)
            if self.return_output is None:
                return None
            best = "_smooth" if self._smooths else ""
            expressions = self._table(f"expression{best}")
            if noise is not None:
                values = in_noise(expressions["data"].to_numpy(), noise, k)
                expressions = dicts.with_values(expressions, values)
            return expressions, self._table(f"pose{best}"), self._table("landmarks_canonicalized")

    def localized_expressions(self, normalize: bool = True) -> Table | str | None:
        """Expression coefficients that each move one region, not negative.

        Args:
            normalize: in units of their measured noise, 0 within its band; else in full movements.

        Returns:
            The table, its path, or None.

        Raises:
            NotReadyError: the face model was not fitted yet.
        """
        with self._at_work():
            self._must_have(self._fitted[0], "fit", "localized_expressions")
            self._make("localized_expressions", ("expression_localized",), normalize)
            return self._give("expression_localized")

    def citation(self) -> None:
        """Print what to cite, and how to say what was done."""
        model = load(self._config["fit"]["model"])
        print(native_citation(model.name, model.citation))

    # --- the cache and the stages -----------------------------------------------------------------

    @property
    def _smooths(self) -> bool:
        return bool(self._config["fit"]["smoothing"] > 0)

    @property
    def _fitted(self) -> tuple[str, ...]:
        """Kinds of the files of `fit`, in order."""
        smooth = ("expression_smooth", "pose_smooth") if self._smooths else ()
        return ("expression", "pose", *smooth, "landmarks_canonicalized")

    def _make(self, method: str, made: tuple[str, ...], normalized: bool | None = None) -> None:
        """Write the files of a method, unless they are there."""
        paths = [Path(self._file(kind)) for kind in made]
        if all(self._is_there(path, method, normalized) for path in paths):
            self._say(f"{', '.join(p.name for p in paths)}: already there, not made again")
            return
        for path in paths:
            sidecar.sidecar_of(path).unlink(missing_ok=True)
        if self._server is not None:
            self._fetch(method, paths, normalized)
            return
        with self._running(f"{self.engine} to {_DOES[method]}"):
            if any(path.is_file() for path in paths):  # too old, say: made again in earnest
                job.table(self._folder, self._stages(method)[-1]).unlink(missing_ok=True)
            self._run_stages(method)
            for kind, path in zip(made, paths, strict=True):
                self._write(method, kind, path, normalized)

    def _run_stages(self, method: str) -> None:
        """Have the tables of a method made, in a process of its own."""
        folder = self._folder
        write_text(folder / plan_file(job.SHARD), shard_text([self._row]))
        known = self._all_recipes()
        spec = {
            "recipes": {stage: known[stage] for stage in self._stages(method)},
            "models_dir": self._config["models_dir"],
            "basis": self._config["expressions"]["basis"],
        }
        write_text(folder / "spec.json", json.dumps(spec))
        paths = [str(LIBRARY.parent), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
        # a relative one is of our working directory, not of the child's
        found = [os.path.abspath(path) for path in paths if path]  # noqa: PTH100
        ended = run_child(
            # -P: no module is looked for in its working directory, where others may write
            [sys.executable, "-P", "-m", job.__name__, "spec.json"],
            name=self.engine,
            folder=folder,
            environment={**os.environ, "PYTHONPATH": os.pathsep.join(found)},
            limit=None,
        )
        if ended.code:
            error = folder / job.ERROR
            if error.is_file():
                raise ProcessorError(error.read_text(encoding="utf-8", errors="surrogateescape"))
            raise ProcessorError(
                f"facemake ended with exit code {ended.code}. It said last:\n"
                f"{last_words(ended.said)}"
            )

    def _write(self, method: str, kind: str, path: Path, normalized: bool | None) -> None:
        """Write a file from the table that has it, and the word beside it."""
        one = self._kind(kind, normalized)
        stage = {"detections": "detect"}.get(one.table, one.table)
        with TableReader(job.table(self._folder, stage)) as reader:
            row = self._probed()
            if row["n_frames"] is None or not reader.samples:
                reason = row["reason"] or "it has no frame"
                raise InputError(f"{self._input.path} cannot be used: {reason}")
            count = write_rows(path, one, reader, job.SHARD)
        self._keep(path, self._metadata(method, normalized), kind, count, "facemake")

    def _keep(
        self, path: Path, metadata: Mapping[str, Any], kind: str, count: int, command: str
    ) -> None:
        sidecar.write(
            path,
            {**metadata, **self._words(kind), "frames": count},
            command=command,
            video=str(self._input.path),
            output=str(self._input.folder),
        )

    def _fetch(self, method: str, paths: list[Path], normalized: bool | None) -> None:
        """Have a server make the files of a method."""
        if classify(self._input.path) is not MediaKind.VIDEO:
            raise InputError(f"{self._input.path.name}: a server takes videos, not pictures")
        camera = Path(self._camera) if isinstance(self._camera, str) else None
        arguments = {} if normalized is None else {"normalize": normalized}
        with self._running(f"{method} of {self.engine} on {self._session().url}"):
            got = self._ask_server(method, {"camera_model": self._camera}, arguments, camera)
        said = self._session().provenance
        for path in paths:
            word = said.get(path.name, {})
            if path not in got or not {"columns", "schema", "frames"} <= word.keys():
                raise FacemakeError(f"the server gave no {path.name} that says what is in it")
            metadata = self._metadata(method, normalized)
            identity = {sidecar.IDENTITY: str(word.get(sidecar.IDENTITY, ""))}
            words = {key: word[key] for key in ("columns", "schema", "frames")}
            sidecar.write(
                path,
                {**metadata, **identity, **words},
                command="API call",
                video=str(self._input.path),
                output=str(self._input.folder),
            )

    def _stages(self, method: str) -> list[str]:
        return [s for s in _UP_TO[method] if planning.enabled(s, self._config)]

    def _all_recipes(self) -> dict[str, Any]:
        """Stage -> recipe, as the workflow would have it."""
        if self._recipes is None:
            with models_dir_first(self._config["models_dir"]):
                self._recipes = {
                    stage: planning.recipe(stage, self._config).to_dict()
                    for stage in self._stages("localized_expressions")
                }
        return self._recipes

    @property
    def _row(self) -> PlanRow:
        given = self._input
        path, sha256 = str(given.path), given.sha256
        return PlanRow(job.SHARD, path, job.SHARD, None, None, None, sha256, False, "")

    @property
    def _folder(self) -> Path:
        """Of the stages."""
        return self._private

    def _probed(self) -> dict[str, Any]:
        with TableReader(job.table(self._folder, "probe")) as reader:
            row: dict[str, Any] = reader.read(job.SHARD).to_pylist()[0]
        return row

    def _kind(self, kind: str, normalized: bool | None) -> Kind:
        if kind == "expression_localized":
            names = shipped_noise().names
            return Kind("expressions", names, 6, lambda rows: _localized(rows, bool(normalized)))
        if kind in ("expression", "expression_smooth"):
            table = "smooth" if kind.endswith("smooth") else "fit"
            return Kind(table, ("expression",), 6, coefficients)
        known = kinds(self._smooths, self._config["fit"]["model"])[kind]
        return Kind(known.table, known.columns, known.decimals, known.make)

    def _metadata(self, method: str, normalized: bool | None) -> dict[str, Any]:
        """What must be the same for a file of a method to be the same."""
        metadata: dict[str, Any] = {
            "backend": BACKEND,
            "morphable_model": self._config["fit"]["model"],
            "camera": self._camera,
            "landmark": self._config["landmarks"]["backend"],
            "fast": False,
            "local_bases": "builtin",
            "input_hash": self._input.sha256,
        }
        if self._server is None:
            recipes = self._all_recipes()
            made = [recipes[stage] for stage in self._stages(method)]
            metadata[sidecar.IDENTITY] = digest([samples_digest([self._row]), made])
        if normalized is not None:
            metadata[NORMALIZED] = normalized
        return metadata

    def _is_there(self, path: Path, method: str, normalized: bool | None) -> bool:
        metadata = self._metadata(method, normalized)
        if not self.cache.is_current(path, metadata, None):
            return False
        word = sidecar.read(path) or {}
        try:
            values = _read(path)
        except FacemakeError:
            return False
        return len(values) == word.get("frames") and values.shape[1] == len(word.get("columns", ()))

    def _must_have(self, kind: str, method: str, wanted: str) -> None:
        """Refuse to go on without what another method makes."""
        path = Path(self._file(kind))
        if not self._is_there(path, method, None):
            raise NotReadyError(
                f"{wanted}() builds on {path.name}, which is not there, too old, or of another "
                f"recording or other settings: call {method}() first"
            )

    # --- what is returned -------------------------------------------------------------------------

    def _noise(self, wanted: bool, k: float) -> NoiseStatistics | None:
        """The noise to normalise by, where tables are wanted so."""
        if not k >= 0:
            raise ProcessorError(f"k is {k}; it counts half-widths of noise, 0 or more")
        if not wanted or self.return_output != "dict":
            return None
        name = self._config["fit"]["model"]
        if name != "builtin":
            raise ProcessorError(
                f"normalize=True: the noise of the coefficients of {name} was not measured, that "
                "of the built-in face model was; take them as they are (normalize=False)"
            )
        return shipped_noise()

    def _words(self, kind: str) -> dict[str, Any]:
        """Names of a file's columns, and of their set."""
        if kind == "expression_localized":
            columns = list(shipped_noise().names)
            return {"columns": columns, "schema": f"facemake-L{len(columns)}"}
        if kind in ("expression", "expression_smooth"):
            name = self._config["fit"]["model"]
            columns = list(load(name).expression_names)
            which = "facemake" if name == "builtin" else f"facemake-{name}"
            return {"columns": columns, "schema": f"{which}-G{len(columns)}"}
        columns = {
            "rects": [*dicts.RECTANGLE],
            "landmarks": dicts.points("xy"),
            "landmarks_canonicalized": dicts.points("xyz"),
        }.get(kind) or [*("Tx", "Ty", "Tz", "u0", "u1", "u2", "yaw", "pitch", "roll")]
        return {"columns": columns, "schema": "ibug51" if "landmarks" in kind else None}

    def _file(self, kind: str) -> str:
        return str(self._input.folder / f"{self._input.base}_{kind}{SUFFIX}")

    def _values(self, kind: str) -> Array:
        return _read(Path(self._file(kind)))

    def _give(self, kind: str) -> Table | str | None:
        if self.return_output is None:
            return None
        return self._file(kind) if self.return_output == "file" else self._table(kind)

    def _table(self, kind: str) -> Table:
        values = self._values(kind)
        if kind == "rects":
            return dicts.rectangles(values, BACKEND)
        if kind == "landmarks":
            return dicts.landmarks(values, BACKEND)
        if kind == "landmarks_canonicalized":
            return dicts.canonical_landmarks(values, BACKEND)
        if kind.startswith("pose"):
            return dicts.pose(values[:, [0, 1, 2, 7, 6, 8]], BACKEND)
        word = sidecar.read(Path(self._file(kind))) or {}
        localized = kind == "expression_localized"
        return dicts.expressions(
            values, BACKEND, word["schema"], word["columns"], localized=localized
        )


def _read(path: Path) -> Array:
    """(n, K) numbers of one of our files, whatever K."""
    return rawfiles.read(path, "expression_localized", Engine.FULL)


def _localized(rows: pa.Table, normalized: bool) -> Array:
    noise = shipped_noise()
    values = np.array([numbers(rows, name) for name in noise.names], np.float64).T
    return in_noise(values, noise) if normalized else values


def _camera(value: int | float | str | Path) -> int | float | str:
    """A field of view, or the whole path of a calibration file."""
    if isinstance(value, str | Path):
        return str(Path(value).expanduser().absolute())
    return value


def _filled(config: Mapping[str, Any], camera: int | float | str) -> dict[str, Any]:
    """The configuration, checked; paths in it are whole.

    Raises:
        ProcessorError: it is refused.
    """
    chosen = dict(config)
    if "camera" in chosen and camera != 30:
        raise ProcessorError("give the camera as camera_model or in config, not both")
    if "camera" not in chosen:
        key = "calibration" if isinstance(camera, str) else "fov"
        chosen["camera"] = {key: camera}
    full = settings.filled(chosen)
    try:
        settings.check(full)
    except ConfigError as error:
        raise ProcessorError(str(error)) from None
    if full["engine"] != "native":
        raise ProcessorError(
            f"engine is {full['engine']}: FaceProcessor is the native one; 3DI's are "
            "FaceProcessor3DI and FaceProcessor3DIlite"
        )
    if full["dataset"]["exclude"] is not None:
        raise ProcessorError(
            "dataset.exclude is about samples of a workflow's sheet, which there is none of here: "
            "set it to null, and leave out what you do not want yourself"
        )
    for section, key in ((None, "models_dir"), ("camera", "calibration"), ("expressions", "basis")):
        part = full if section is None else full[section]
        if part[key] is not None:
            part[key] = str(Path(part[key]).expanduser().absolute())
    return full
