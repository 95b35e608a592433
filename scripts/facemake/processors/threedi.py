"""3DI and 3DI-lite from Python: the methods, arguments and results of bitbox's processors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from facemake.backends.threedi import FACTS, Engine, Options, rawfiles, sidecar
from facemake.backends.threedi.install import Install, check_install, find_install
from facemake.backends.threedi.programs import Program, program
from facemake.backends.threedi.rawfiles import KINDS, RawFileError
from facemake.backends.threedi.run import Recording, run_program
from facemake.backends.threedi.runtimes import Runtime
from facemake.backends.threedi.runtimes import runtime as runtime_of
from facemake.processors import dicts, normalize
from facemake.processors.base import (
    BaseProcessor,
    Files,
    InputError,
    NoFaceError,
    NotReadyError,
    ProcessorError,
    ReturnOutput,
    Tables,
    as_value_errors,
)
from facemake.processors.cache import NORMALIZED
from facemake.processors.citations import citation
from facemake.processors.dicts import Table
from facemake.provenance import file_sha256

_State = tuple[int, int]
"""Time of the last change, and size."""

_WIDEST = 180.0
"""Degrees: a pinhole camera sees less."""


class FaceProcessor3DI(BaseProcessor):
    """3DI: full 3D fit of a face, by the programs of an install (they want an NVIDIA GPU).

    Every result is a file in the output folder, named as bitbox names it, and is used again by
    whoever asks for the same; see `cache`.

    Args:
        runtime: where 3DI is: an install folder, a `.sif`, a sandbox folder or the name of a Docker
            image; None: as BITBOX_DOCKER or BITBOX_3DI (3DI-lite: BITBOX_3DI_LITE) say. A server
            has its own: it is refused together with `server`.
        return_output: what methods return: "dict" (tables: see `facemake.processors.dicts`),
            "file" (paths) or None.
        server: run on a server instead: {"host": …, "port": …, "token": …}.
        verbose: print what runs and how long it took.
        debug: also log what the programs say, and the commands.
        camera_model: field of view across the picture in degrees, or a calibration file as 3DI
            writes it: the video is then undistorted first.
        landmark_model: names the landmark configuration.
        morphable_model: names the face model.
        basis_model: names the localized basis.
        fast: the faster, less steady configuration.
        noise: the table of the coefficients' noise, or its folder, for `normalize=True`; None: see
            `facemake.processors.normalize`.
        time_limit: seconds that one program may take; None: as long as it wants.

    Raises:
        ValueError: the install is not there, or an argument is not what it may be. All errors are
            also `facemake.errors.FacemakeError`.
    """

    engine = FACTS[Engine.FULL].name
    _engine: ClassVar[Engine] = Engine.FULL
    _fitted: ClassVar[tuple[str, ...]] = (
        *("shape_coeff", "texture_coeff", "shape", "texture", "expression", "pose"),
        *("illumination", "expression_smooth", "pose_smooth", "landmarks_canonicalized"),
    )
    """Kinds of the files that `fit` gives, in order."""

    def __init__(
        self,
        runtime: str | Path | None = None,
        return_output: ReturnOutput = "dict",
        server: Mapping[str, Any] | None = None,
        verbose: bool = True,
        debug: bool = False,
        *,
        camera_model: int | float | str | Path = 30,
        landmark_model: str = "global4",
        morphable_model: str = "BFMmm-19830",
        basis_model: str = "0.0.1.F591-cd-K32d",
        fast: bool = False,
        noise: str | Path | None = None,
        time_limit: float | None = None,
    ) -> None:
        if runtime is not None and server is not None:
            raise ProcessorError(
                f"runtime is {runtime!r}, and a server has its own: give runtime= to work here, or "
                "server= to work there"
            )
        super().__init__(return_output, server, verbose, debug)
        self._options = Options(
            engine=self._engine,
            camera=_camera(camera_model),
            landmark_model=landmark_model,
            morphable_model=morphable_model,
            basis=basis_model,
            fast=fast and self._engine is Engine.FULL,
        )
        self._noise_table = noise
        self._time_limit = time_limit
        self._made: dict[str, int] = {}
        self._read: dict[Path, tuple[_State, bool]] = {}
        self._seen_before: tuple[_State, NDArray[np.bool_]] | None = None
        self._runtime: Runtime | None = None
        self._identity: str | None = None
        self._checked = False
        self._install: Install | None = None
        self._camera_hash = _camera_hash(self._options)
        with as_value_errors():
            if self._server is None:
                self._install = find_install(self._engine, runtime)
        if debug:
            print(f"Engine: {self._install or self._session().url}", flush=True)

    def io(self, input_file: str | Path, output_dir: str | Path) -> None:
        """Say what to work on; with a calibrated camera the video is undistorted at once.

        A picture or a folder of pictures is offered to 3DI as a video, whose last frame is there
        twice (3DI leaves out the last one); raw files have a row for it, tables do not.

        Args:
            input_file: a video, a picture or a folder of pictures.
            output_dir: a folder; made where it is not there.

        Raises:
            ValueError: see `BaseProcessor.io`; or the undistortion failed.
        """
        super().io(input_file, output_dir)
        self._made, self._read, self._seen_before = {}, {}, None
        if self._options.undistorts and self._server is None:
            self.preprocess(undistort=True)

    def preprocess(self, undistort: bool = False) -> None:
        """Undistort the video, by the camera's calibration file. `io` does so by itself.

        Args:
            undistort: False: do nothing.

        Raises:
            ValueError: `camera_model` is no calibration file, or the program failed.
        """
        if not undistort:
            return
        with self._at_work():
            if not self._options.undistorts:
                raise ProcessorError(
                    f"camera_model is {self._options.camera} degrees: to undistort a video, give "
                    "the camera's calibration file there"
                )
            self._step("undistort", "preprocess")

    def detect_faces(self) -> Table | str | None:
        """Find the face in every frame; where there is none, its rectangle is 0 0 0 0.

        Returns:
            The table of rectangles (x y w h in px), its path, or None.
        """
        with self._at_work():
            self._step("detect", "detect_faces")
            return self._give("rects")

    def detect_landmarks(self) -> Table | str | None:
        """Find the 51 landmarks of the face in every frame; zeros where there is no face.

        Returns:
            The table of landmarks (x0 y0 … in px), its path, or None.

        Raises:
            NotReadyError: faces were not detected yet.
        """
        with self._at_work():
            self._must_have("rects", "detect_faces", "detect_landmarks")
            self._step("landmarks", "detect_landmarks")
            return self._give("landmarks")

    def fit(self, normalize: bool = False, k: float = 1) -> Tables | Files | None:
        """Fit the face model: who it is, pose and expression, smoothed through time.

        Args:
            normalize: give the expressions in units of their noise (tables only): 0 in its band.
            k: how many half-widths of the band count as noise.

        Returns:
            The tables of expressions, pose and canonical landmarks; or the paths of shape_coeff,
            texture_coeff, shape, texture, expression, pose, illumination, expression_smooth,
            pose_smooth and landmarks_canonicalized (3DI-lite: expression_smooth, shape_coeff,
            texture_coeff, illumination, pose_smooth and landmarks_canonicalized); or None.

        Raises:
            NotReadyError: landmarks were not detected yet.
            NoFaceError: too few frames have any: 3DI needs two, 3DI-lite one.
        """
        with self._at_work():
            noise = self._noise(normalize, k)
            self._must_have("landmarks", "detect_landmarks", "fit")
            seen = int(self._seen().sum())
            # 3DI smooths from one frame to the next: it ends without an answer on a single one.
            needed = 2 if self._engine is Engine.FULL else 1
            if seen < needed:
                found = "in only one frame" if seen else "in no frame"
                raise NoFaceError(
                    f"there is a face {found} of {self._input.path}: the fit needs {needed}"
                )
            for step in _STEPS[self._engine]["fit"]:
                self._step(step, "fit")
            if self.return_output == "file":
                return tuple(self._file(kind) for kind in self._fitted)
            if self.return_output is None:
                return None
            expressions = self._table("expression_smooth")
            if noise is not None:
                values = noise.normalize(expressions["data"].to_numpy(), k)
                expressions = dicts.with_values(expressions, values)
            return expressions, self._table("pose_smooth"), self._table("landmarks_canonicalized")

    def localized_expressions(self, normalize: bool = True) -> Table | str | None:
        """Expression coefficients that each move one region.

        Args:
            normalize: by 3DI's own statistics; no matter of the noise that `fit` normalises by.

        Returns:
            The table, its path, or None.

        Raises:
            NotReadyError: the face model was not fitted yet.
        """
        with self._at_work():
            self._must_have("expression_smooth", "fit", "localized_expressions")
            self._step("localized", "localized_expressions", normalize)
            return self._give("expression_localized")

    def citation(self) -> None:
        """Print what to cite, and how to say what was done."""
        print(citation(self._options))

    # --- the cache and the programs ---------------------------------------------------------------

    def _step(self, step: str, method: str, normalized: bool = True) -> None:
        """Run a program, unless what it writes is there."""
        one = program(self._engine, step)
        options = replace(self._options, normalize=normalized)
        recording = self._recording(step)
        made = [self._place(kind, recording) for kind in one.writes]
        if self._is_there(one, options, recording):
            names = ", ".join(path.name for path in made)
            self._say(f"{names}: already there, not made again")
            return
        if self._server is not None:
            self._fetch(method, options, recording)
            return
        for path in made:  # before the file itself: a file without a word is never used
            sidecar.sidecar_of(path).unlink(missing_ok=True)
        with self._running(f"{self.engine} to {one.does}"):
            command = self._run(one, options, recording)
        identity = self._current_identity()
        for kind, path in zip(one.writes, made, strict=True):
            self._keep(kind, path, one.step, options, identity, command)

    def _keep(
        self,
        kind: str,
        path: Path,
        step: str,
        options: Options,
        identity: str,
        command: Sequence[str] | str,
    ) -> None:
        """Put the word beside a file that was made."""
        self._made[kind] = max(self._made.values(), default=0) + 1
        metadata = self._metadata(step, options)
        sidecar.write(
            path,
            {**metadata, sidecar.IDENTITY: identity} if identity else metadata,
            command=command,
            video=str(self._input.path),
            output=str(self._input.folder),
        )

    def _fetch(self, method: str, options: Options, recording: Recording) -> None:
        """Have a server make all that a method makes, and look at it as if it were made here."""
        steps = [program(self._engine, step) for step in _STEPS[self._engine][method]]
        places = {
            kind: (self._place(kind, recording), one.step) for one in steps for kind in one.writes
        }
        for path, _ in places.values():
            sidecar.sidecar_of(path).unlink(missing_ok=True)
        config = {
            "camera_model": options.camera,
            "landmark_model": options.landmark_model,
            "morphable_model": options.morphable_model,
            "basis_model": options.basis,
            "fast": options.fast,
        }
        arguments: dict[str, Any] = {}
        if method == "localized_expressions":
            if not options.normalize and not self._session().check():
                raise ProcessorError(
                    f"{self._session().url} is a server of bitbox, which normalises localized "
                    "expressions always: take them so (normalize=True)"
                )
            arguments = {"normalize": options.normalize}
        elif method == "preprocess":
            arguments = {"undistort": True}
        camera = Path(options.camera) if isinstance(options.camera, str) else None
        with self._running(f"{method} of {self.engine} on {self._session().url}"):
            got = self._ask_server(method, config, arguments, camera)
            if method == "preprocess" and len(got) == 1:
                got[0].replace(recording.undistorted)
            try:
                for kind, (path, _) in places.items():
                    if kind == "undistorted":
                        if not path.is_file():
                            raise RawFileError(f"the server gave no {path.name}")
                    else:
                        seen = self._seen_for(kind)
                        rawfiles.check(path, kind, options, recording.n_frames, seen)
            except BaseException:
                for path, _ in places.values():
                    path.unlink(missing_ok=True)
                raise
        for kind, (path, step) in places.items():
            said = self._session().provenance.get(path.name, {})
            identity = str(said.get(sidecar.IDENTITY, ""))
            self._keep(kind, path, step, options, identity, "API call")

    def _run(self, one: Program, options: Options, recording: Recording) -> list[str]:
        """Run a program of the install; its command."""
        assert self._install is not None
        if not self._checked:
            check_install(self._install, options)
            self._checked = True
        seen = None if one.step in ("undistort", "detect", "landmarks") else self._seen()
        ended, _ = run_program(
            one, recording, options, self._started(), self._install, self._time_limit, seen
        )
        if self.debug:
            print(f"Command: {' '.join(ended.command)}", flush=True)
        return ended.command

    def _recording(self, step: str) -> Recording:
        """What a program is given: the undistorted video from the detection on."""
        given, offered = self._input, self._offered()
        video = self._prepared if offered.prepared else given.path
        recording = Recording(video, given.base, given.folder, offered.n_frames)
        if self._options.undistorts and step != "undistort":
            return replace(recording, video=recording.undistorted)
        return recording

    def _place(self, kind: str, recording: Recording) -> Path:
        if kind == "undistorted":
            return recording.undistorted
        return recording.file(kind, self._options)

    def _is_there(self, one: Program, options: Options, recording: Recording) -> bool:
        """Whether all that a program writes is there, and nothing that it reads is newer."""
        # the video that a program sees is one of its files where it was undistorted
        reads = (*one.reads, "undistorted") if "video" in one.arguments else one.reads
        newest = max((self._made.get(kind, 0) for kind in reads), default=0)
        if newest > min((self._made.get(kind, 0) for kind in one.writes), default=0):
            return False
        metadata = self._metadata(one.step, options)
        return all(
            self.cache.is_current(path, metadata, self._asked_identity)
            and (kind == "undistorted" or self._is_whole(path, kind))
            for kind, path in ((kind, self._place(kind, recording)) for kind in one.writes)
        )

    def _is_whole(self, path: Path, kind: str) -> bool:
        """Whether a file is what the engine writes of this recording; looked at once."""
        state = _state(path)
        if self._read.get(path, ((0, 0), False))[0] != state:
            self._read[path] = state, self._has_rows(path, kind)
        return self._read[path][1]

    def _has_rows(self, path: Path, kind: str) -> bool:
        n = self._offered().n_frames
        # bitbox takes a row fewer for a whole file of rectangles or landmarks, too
        counts = (n, n - 1) if KINDS[kind].rows == "frames" else (n,)
        for count in counts:
            with suppress(RawFileError):
                rawfiles.check(path, kind, self._options, count, self._seen_for(kind))
                return True
        return False

    def _must_have(self, kind: str, method: str, wanted: str) -> None:
        """Refuse to go on without what another method makes.

        Raises:
            NotReadyError: it is not there, or not of this recording and these settings.
        """
        path = Path(self._file(kind))
        there = self.cache.is_current(path, self._metadata("", self._options), self._asked_identity)
        if not there or not self._is_whole(path, kind):
            raise NotReadyError(
                f"{wanted}() builds on {path.name}, which is not there, too old, or of another "
                f"recording or other settings: call {method}() first"
            )

    def _metadata(self, step: str, options: Options) -> dict[str, Any]:
        """What must be the same for a file of a step to be the same, but the install."""
        metadata = sidecar.base_metadata(options, self._input.sha256)
        if self._camera_hash:
            metadata[sidecar.CAMERA_FILE] = self._camera_hash
        if step == "localized":
            metadata[NORMALIZED] = options.normalize
        return metadata

    @property
    def _asked_identity(self) -> Callable[[], str] | None:
        return self._current_identity if self._server is None else None

    def _current_identity(self) -> str:
        """What names the install's content."""
        if self._identity is None:
            self._identity = self._started().identity()
        return self._identity

    def _started(self) -> Runtime:
        if self._runtime is None:
            assert self._install is not None
            self._runtime = runtime_of(self._install)
        return self._runtime

    def _seen(self) -> NDArray[np.bool_]:
        """(n,) the frames with landmarks.

        Raises:
            RawFileError: there is no file of landmarks, or it is damaged.
        """
        path = Path(self._file("landmarks"))
        state = _state(path)
        if self._seen_before is None or self._seen_before[0] != state:
            seen = rawfiles.seen_in(rawfiles.read(path, "landmarks", self._engine))
            self._seen_before = state, seen
        return self._seen_before[1]

    def _seen_for(self, kind: str) -> NDArray[np.bool_] | None:
        """(n,) the frames with landmarks, where a kind of file is to be judged by them."""
        if kind in ("rects", "landmarks"):
            return None
        with suppress(RawFileError):
            return self._seen()
        return None

    # --- what is returned -------------------------------------------------------------------------

    def _noise(self, wanted: bool, k: float) -> normalize.Noise | None:
        """The noise to normalise by, where tables are wanted so."""
        if not k >= 0:
            raise ProcessorError(f"k is {k}; it counts half-widths of noise, 0 or more")
        if not wanted or self.return_output != "dict":
            return None
        folder = self._install.folder if self._install is not None else None
        return normalize.read_table(normalize.find_table(self._engine, self._noise_table, folder))

    def _file(self, kind: str) -> str:
        return str(self._input.folder / rawfiles.file_name(self._input.base, kind, self._engine))

    def _give(self, kind: str) -> Table | str | None:
        if self.return_output is None:
            return None
        return self._file(kind) if self.return_output == "file" else self._table(kind)

    def _table(self, kind: str) -> Table:
        path, engine = Path(self._file(kind)), self._engine
        if kind == "rects":
            table = dicts.read_rectangles(path, engine)
        elif kind == "landmarks":
            table = dicts.read_landmarks(path, engine)
        elif kind == "pose_smooth":
            table = dicts.read_pose(path, engine, Path(self._file("landmarks")))
        elif kind == "expression_smooth":
            table = dicts.read_expressions(path, engine)
        elif kind == "landmarks_canonicalized":
            table = dicts.read_canonical_landmarks(path, engine)
        else:
            table = dicts.read_localized(path, engine)
        return dicts.first_rows(table, self._n_frames)


class FaceProcessor3DIlite(FaceProcessor3DI):
    """3DI-lite: a network that gives identity, pose and expression in one program.

    Its pose is the turn alone (Rx, Ry, Rz). Arguments, methods and results are otherwise those of
    `FaceProcessor3DI`; `fast` changes nothing, and `camera_model` only where it is a calibration
    file.
    """

    engine = FACTS[Engine.LITE].name
    _engine = Engine.LITE
    _fitted = (
        *("expression_smooth", "shape_coeff", "texture_coeff", "illumination"),
        *("pose_smooth", "landmarks_canonicalized"),
    )

    def __init__(
        self,
        runtime: str | Path | None = None,
        return_output: ReturnOutput = "dict",
        server: Mapping[str, Any] | None = None,
        verbose: bool = True,
        debug: bool = False,
        *,
        morphable_model: str = "BFMmm-23660",
        basis_model: str = "local_basis_FacialBasis1.0",
        **others: Any,
    ) -> None:
        super().__init__(
            runtime,
            return_output,
            server,
            verbose,
            debug,
            morphable_model=morphable_model,
            basis_model=basis_model,
            **others,
        )


_SAME_STEPS = {
    "preprocess": ("undistort",),
    "detect_faces": ("detect",),
    "detect_landmarks": ("landmarks",),
    "localized_expressions": ("localized",),
}
_STEPS: Mapping[Engine, Mapping[str, tuple[str, ...]]] = {
    Engine.FULL: {
        **_SAME_STEPS,
        "fit": ("identity", "shape", "fit", "smooth_expression", "smooth_pose", "canonical"),
    },
    Engine.LITE: {**_SAME_STEPS, "fit": ("fit", "canonical")},
}
"""Method -> the programs that it runs, in order."""


def _state(path: Path) -> _State:
    """What tells that a file is still the one that was looked at; 0 where there is none."""
    try:
        stat = path.stat()
    except OSError:
        return 0, 0
    return stat.st_mtime_ns, stat.st_size


def _camera(value: int | float | str | Path) -> int | float | str:
    """A field of view, or the whole path of a calibration file.

    Raises:
        ProcessorError: it is neither.
    """
    if isinstance(value, str | Path):
        return str(Path(value).expanduser().absolute())
    if isinstance(value, bool) or not 0 < value < _WIDEST:
        raise ProcessorError(
            f"camera_model is {value!r}; it is an angle in degrees, above 0 and below "
            f"{_WIDEST:g}, or the path of a calibration file"
        )
    return value


def _camera_hash(options: Options) -> str:
    if not isinstance(options.camera, str):
        return ""
    with suppress(OSError):
        return file_sha256(Path(options.camera))
    raise InputError(
        f"camera_model is {options.camera}, and there is no such calibration file; a field of view "
        "in degrees is given as a number"
    )
