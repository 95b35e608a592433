"""One program of 3DI or 3DI-lite over a shard: from raw files of the steps before to its own."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facemake.archives import Archive
from facemake.backends.threedi import Engine, Options, rawfiles, sidecar
from facemake.backends.threedi.convert import View, across
from facemake.backends.threedi.install import (
    Form,
    Install,
    failures_are_marked,
    find_install,
    time_limit,
)
from facemake.backends.threedi.offer import SUFFIX, Offer
from facemake.backends.threedi.programs import Program, program
from facemake.backends.threedi.run import Recording, run_program
from facemake.backends.threedi.runtimes import Runtime, SampleError, runtime
from facemake.calibration.lens import MisfitError
from facemake.errors import FacemakeError
from facemake.provenance import Recipe, file_sha256
from facemake.samples import WORK, Sample
from facemake.shards import ShardRun, decodable_samples
from facemake.status import FAILED

logger = logging.getLogger(__name__)


def threedi_step(
    plan: Path,
    probe: Path,
    video: Path,
    before: Sequence[Path],
    output: Path,
    recipe: Recipe,
    results: Path,
    calibration: Path | None = None,
) -> None:
    """Write the raw files of one step for a shard: an archive of them, each with its sidecar.

    A sample in which no frame has landmarks has no files from the fit on; one that an undistortion
    cannot be made of has none at all.

    Args:
        plan: the shard's plan file.
        probe: its probe table.
        video: what the engine is given (`facemake.stages.threedi_video`).
        before: archives of the steps that this one reads from.
        output: `3di/.steps/{step}/{shard}.zip`.
        recipe: of the stage `threedi_{step}`.
        results: the folder where `threedi_files` will put the raw files, for the sidecars.
        calibration: the camera's calibration file; None: the field of view of the recipe.

    Where failures are marked (`install.failures_are_marked`), a sample that the program fails on
    has `SAMPLE_failed_STEP.txt` in the place of its files: what failed, in a line that names no
    path, and what it said.

    Raises:
        RunError: the program failed, or did not write what it should.
        InstallError: there is no install, or not the one that was planned with.
    """
    engine = Engine(str(recipe.backend))
    one = program(engine, recipe.stage.removeprefix("threedi_"))
    install = find_install(engine)
    started = runtime(install)
    _check_planned(install, started, recipe)
    stored = frozenset({"raw"}) if one.step == "undistort" else frozenset[str]()
    inputs = [probe, video, *before]
    with (
        ShardRun(recipe, plan, inputs, {"raw": output}, stored=stored) as run,
        ExitStack() as open_,
    ):
        known = decodable_samples(probe)
        run.progress.expect(sum(row["n_frames"] for row in known.values()))
        videos = open_.enter_context(Archive(video))
        archives = [open_.enter_context(Archive(path)) for path in before]
        folder = WORK / "3di" / f"{one.step}.{run.shard}"
        n_local: int | None = None
        for sample, part in run.pending():
            row = known.get(sample.sample)
            files: dict[str, Path | bytes] = {}
            shutil.rmtree(folder, ignore_errors=True)
            if row is not None:
                folder.mkdir(parents=True)
                step = _Step(one, recipe, install, started, calibration)
                try:
                    files = step.run(sample, row, videos, archives, folder, results / sample.sample)
                except SampleError as error:
                    if not failures_are_marked():
                        raise
                    logger.error("%s is marked and passed over: %s", sample.sample, error)
                    said = f"{one.executable} could not {one.does}\n{error}\n"
                    files = {f"{sample.sample}_{FAILED}{one.step}.txt": said.encode()}
                run.progress.frame(row["n_frames"])
            if not files and one.step == "localized" and recipe.settings.get("basis"):
                if n_local is None:
                    folder.mkdir(parents=True, exist_ok=True)
                    n_local = _Step(one, recipe, install, started, calibration).columns(folder)
                files = {f"{sample.sample}{rawfiles.COLUMNS}": str(n_local).encode()}
            part.archive("raw", files)
        shutil.rmtree(folder, ignore_errors=True)


class _Step:
    """How a program is run on one sample."""

    def __init__(
        self,
        one: Program,
        recipe: Recipe,
        install: Install,
        started: Runtime,
        calibration: Path | None,
    ) -> None:
        self._program, self._recipe = one, recipe
        self._install, self._runtime, self._limit = install, started, time_limit()
        self._calibration = calibration
        # 3DI compares neighbouring frames: of a single one it makes nothing
        self._least = 2 if Engine(str(recipe.backend)) is Engine.FULL else 1

    def run(
        self,
        sample: Sample,
        probe: dict[str, Any],
        videos: Archive,
        archives: Sequence[Archive],
        folder: Path,
        final: Path,
    ) -> dict[str, Path | bytes]:
        """Run it; name -> file of what there is to keep."""
        offered = Offer.read(videos, sample.sample)
        try:
            options = self._options(probe, offered)
        except MisfitError as error:
            logger.warning("%s is not given to 3DI: %s", sample.sample, error)
            return {}
        recording = self._recording(sample, offered, videos, archives, folder)
        for kind in self._program.reads:
            if not _extract(recording.file(kind, options).name, archives, folder):
                return {}
        seen = self._seen(recording, options, archives, folder)
        if seen is not None and seen.sum() < self._least:
            logger.info("%s has too few frames with a face: it is passed over", sample.sample)
            return {}
        ended, made = run_program(
            self._program, recording, options, self._runtime, self._install, self._limit, seen
        )
        metadata = sidecar.base_metadata(
            options, sample.sha256 or "", self._recipe.models[0]["sha256"]
        )
        if isinstance(options.camera, str):
            metadata[sidecar.CAMERA_FILE] = file_sha256(Path(options.camera))
        files: dict[str, Path | bytes] = {}
        for path in made.values():
            sidecar.write(
                path,
                metadata,
                command=ended.command,
                video=str(sample.path),
                output=str(final.absolute()),
            )
            files[path.name] = path
            files[sidecar.sidecar_of(path).name] = sidecar.sidecar_of(path)
        return files

    def columns(self, folder: Path) -> int:
        """How many localized coefficients there are, by asking the program about a face at rest."""
        asked = Recording(folder / "none.mp4", "ask", folder, 2)
        options = options_of(self._recipe.settings, str(self._recipe.backend), 30.0)
        at_rest = np.zeros((2, rawfiles.N_EXPRESSIONS))
        rawfiles.write(asked.file("expression_smooth", options), at_rest)
        _, made = run_program(
            self._program, asked, options, self._runtime, self._install, self._limit
        )
        (answer,) = made.values()
        return rawfiles.read(answer, "expression_localized", options.engine).shape[1]

    def _options(self, probe: Mapping[str, Any], offered: Offer) -> Options:
        settings = self._recipe.settings
        camera: float | str = 30.0
        if "fov" in settings:
            camera = round(across(float(settings["fov"]), offered.width, offered.height), 6)
        elif "calibration" in settings and self._calibration is not None:
            View.of(settings, probe, offered)  # whether it is this camera's
            camera = str(self._calibration)
        return options_of(settings, str(self._recipe.backend), camera)

    def _recording(
        self,
        sample: Sample,
        offered: Offer,
        videos: Archive,
        archives: Sequence[Archive],
        folder: Path,
    ) -> Recording:
        path = sample.path
        if offered.prepared:
            given = folder / "input"
            given.mkdir()
            (path,) = videos.extract([f"{sample.sample}{SUFFIX}"], given)
        out = folder / "output"
        out.mkdir()
        recording = Recording(path, sample.sample, out, offered.n_frames)
        undistorted = recording.undistorted
        if self._program.step != "undistort" and _extract(undistorted.name, archives, folder):
            return replace(recording, video=undistorted)
        return recording

    def _seen(
        self, recording: Recording, options: Options, archives: Sequence[Archive], folder: Path
    ) -> NDArray[np.bool_] | None:
        """(n_frames,) frames with landmarks; None before they are looked for."""
        path = recording.file("landmarks", options)
        if not path.exists() and not _extract(path.name, archives, folder):
            return None
        return rawfiles.seen(path, options.engine)


def options_of(settings: Mapping[str, Any], engine: str, camera: float | str) -> Options:
    """The engine's options of a step's settings, which has those alone that the step obeys."""
    known = ("landmark_model", "morphable_model", "basis", "fast", "normalize")
    return Options(
        engine=Engine(engine), camera=camera, **{k: settings[k] for k in known if k in settings}
    )


def _extract(name: str, archives: Sequence[Archive], folder: Path) -> bool:
    """Put a file of the steps before into the output folder; whether there is one."""
    for archive in archives:
        if name in archive:
            archive.extract([name], folder / "output")
            return True
    return False


def _check_planned(install: Install, started: Runtime, recipe: Recipe) -> None:
    """Refuse an install that is another one than when the run was planned.

    An image file is not hashed again for each job: it is gigabytes, and nobody writes into one.

    Raises:
        FacemakeError: its content is not the planned one's.
    """
    if install.form is Form.SINGULARITY and install.folder is None:
        return
    found = started.identity()
    planned = recipe.models[0]["sha256"]
    if found != planned:
        raise FacemakeError(
            f"{install} is not the install that this run was planned with ({found[:12]}…, planned "
            f"{planned[:12]}…): leave it as it is while a run goes on, and start the run again"
        )
