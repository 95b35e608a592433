"""The stages of a run with 3DI or 3DI-lite: its own programs, and what is made of their files.

What the engine does takes the places of detection, landmarks, fit and smoothing; action units,
embeddings, training set and report are those of every run.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

from facemake.backends import Backend
from facemake.backends.landmarks import LANDMARKERS
from facemake.backends.threedi import CITATIONS, FACTS, LICENCE, Engine, Options
from facemake.backends.threedi.install import (
    Form,
    Install,
    check_install,
    find_install,
    use_settings,
)
from facemake.backends.threedi.programs import PROGRAMS, Program
from facemake.backends.threedi.runtimes import runtime
from facemake.calibration.files import load_calibration, load_undistorted
from facemake.engines.native import (
    EXPORTS,
    EXPRESSION_NOISE,
    FACE_MODEL,
    NATIVE,
    OVERLAY,
    TRAINING,
    crop_settings,
    noise_settings,
)
from facemake.engines.stage import Config, Models, Stage
from facemake.hashes import FileState, open_memo, private_folder
from facemake.models import model
from facemake.samples import WORK

STACK = "threedi"


def options(config: Config) -> Options:
    """How the config wants the engine to be run, the camera apart: it is the sample's."""
    wanted = config["threedi"]
    return Options(
        engine=Engine(config["engine"]),
        landmark_model=wanted["landmark_model"],
        morphable_model=wanted["morphable_model"] or "",
        basis=wanted["basis"] or "",
        fast=wanted["fast"],
        normalize=wanted["normalize"],
    )


def models(config: Config) -> Models:
    """The install, as a recipe names a model: by the SHA-256 of its content.

    Raises:
        InstallError: it is not found or lacks something.
        RunError: it cannot be looked at.
    """
    wanted = config["threedi"]
    use_settings(wanted["runtime"], wanted["failures"], wanted["time_limit"])
    engine = Engine(config["engine"])
    install = find_install(engine)
    check_install(install, options(config))
    sha256 = _identity(install, config["cache_dir"])
    name = f"{FACTS[engine].name} {options(config).morphable_model}"
    return ({"name": name, "sha256": sha256, "licence": LICENCE, "citation": CITATIONS[engine]},)


@cache
def _identity(install: Install, cache_dir: str | None) -> str:
    """Of an install, looked at once a process; an image file's hash is remembered for good."""
    started = runtime(install)
    if install.form is not Form.SINGULARITY or install.folder is not None:
        return started.identity()
    path = os.path.realpath(install.location)
    folder = private_folder(Path(cache_dir).expanduser()) if cache_dir else WORK
    with open_memo(folder) as memo:
        known = memo.sha256([path], [FileState.of(Path(path).stat())])[0]
    return known or started.identity()


def _camera(config: Config) -> dict[str, Any]:
    """The field of view, or the calibration by its numbers and those of the undistorted video."""
    path = config["camera"]["calibration"]
    if path is None:
        return {"fov": config["camera"]["fov"]}
    file = Path(path).expanduser()
    return {
        "calibration": load_calibration(file).to_dict(),
        "undistorted": list(load_undistorted(file)),
    }


def _step_settings(one: Program, config: Config) -> dict[str, Any]:
    """What a program obeys, and nothing else: another basis localizes again, and fits nothing."""
    wanted = options(config)
    words = set(one.arguments)
    undistorts = config["camera"]["calibration"] is not None
    settings: dict[str, Any] = {}
    # the camera decides about the video that a program sees, too
    if "camera" in words or ("video" in words and undistorts):
        settings |= _camera(config)
    if "config" in words:
        settings |= {"landmark_model": wanted.landmark_model, "fast": wanted.fast}
    if words & {"config", "model"}:
        settings["morphable_model"] = wanted.morphable_model
    if "basis" in words:
        settings["basis"] = wanted.basis
    if "normalize" in words:
        settings["normalize"] = wanted.normalize
    return settings


_PROGRAMS = Backend(
    module="facemake.backends.threedi", models=(), stack=STACK, use="programs of the user's own"
)


def _row(engine: Engine) -> tuple[str, Backend]:
    return str(engine), _PROGRAMS


def _step(engine: Engine, one: Program) -> Stage:
    return Stage(
        stack=STACK,
        module="threedi_step",
        settings=partial(_step_settings, one),
        backend=lambda config: _row(engine),
        models=models,
        wanted=lambda config: one.step != "undistort" or bool(config["camera"]["calibration"]),
    )


def _as_sequence(config: Config) -> dict[str, Any]:
    """3DI knows one face through a video: pictures of a folder are its frames."""
    return {**_camera(config), "track": {"image_folders": "sequence"}}


@cache
def stages_of(engine: str) -> Mapping[str, Stage]:
    """The stages of a run with this engine, in order."""
    which = Engine(engine)

    def made(module: str, chosen: Callable[[Config], Models] = models, **more: Any) -> Stage:
        return Stage(
            stack=STACK, module=module, backend=lambda config: _row(which), models=chosen, **more
        )

    rows = {
        "probe": NATIVE["probe"],
        "threedi_video": Stage(stack=STACK),
        "threedi_model": made(
            "threedi_model",
            settings=lambda config: {"morphable_model": options(config).morphable_model},
        ),
        **{f"threedi_{one.step}": _step(which, one) for one in PROGRAMS[which]},
        "detect": made("threedi_detections", settings=_as_sequence),
        "landmarks": Stage(
            stack=STACK,
            settings=lambda config: {
                **_camera(config),
                "min_confidence": config["landmarks"]["min_confidence"],
            },
            backend=lambda config: (engine, LANDMARKERS[engine]),
            models=models,
        ),
        "fit": made("threedi_fit", settings=_camera, chosen=_fitting_models),
        "smooth": made("threedi_fit", wanted=lambda config: which is Engine.FULL),
        "expressions": Stage(
            settings=noise_settings,
            backend=lambda config: _row(which),
            models=_localizing_models,
        ),
        **{n: NATIVE[n] for n in ("aus", "embed", "dataset", "people", "merge_dataset")},
        **{n: NATIVE[n] for n in ("manifest", "report")},
        "extract_crops": Stage(settings=crop_settings),
        "overlay": OVERLAY,
        **EXPORTS,
        **TRAINING,
    }
    return rows


def _fitting_models(config: Config) -> Models:
    """The install, and the face model whose modes the training set's `local_params` are along."""
    ours = model(FACE_MODEL).provenance
    (theirs,) = models(config)
    if Engine(config["engine"]) is Engine.LITE:
        return ({**theirs, "pdm": "none: 3DI-lite gives no shape of the person"},)
    return (
        {**theirs, "pdm": f"34 modes of {FACE_MODEL}, fitted to 51 points without the jaw"},
        ours,
    )


def _localizing_models(config: Config) -> Models:
    chosen = (*models(config), model(FACE_MODEL).provenance)
    if config["expressions"]["normalize"]:
        chosen = (*chosen, model(EXPRESSION_NOISE).provenance)
    return chosen
