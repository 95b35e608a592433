"""The stages of a run with facemake's own fit, and what of the config each obeys."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from facemake.backends import Backend
from facemake.backends.aus import AU_ESTIMATORS
from facemake.backends.detect import AS_EXPECTED, DETECTORS
from facemake.backends.embed import EMBEDDERS
from facemake.backends.eyes import EYE_FINDERS
from facemake.backends.landmarks import LANDMARKERS
from facemake.calibration.files import load_calibration
from facemake.clones import code_sha256, find_clone
from facemake.engines.stage import Config, Models, Stage
from facemake.extraction.settings import CropSettings
from facemake.facemodels import describe, find
from facemake.models import is_onnx, model
from facemake.nn.options import AUPredictionOptions, LandmarkPoseOptions, Options
from facemake.overlay.options import Options as Overlay
from facemake.pins import verify_pin
from facemake.provenance import LIBRARY, file_sha256
from facemake.references import in_recipe


def _identifies(config: Config) -> bool:
    return bool(config["track"]["identity"] != "off")


def _identity(config: Config) -> tuple[str, Backend] | None:
    name = config["track"]["identity"]
    return (name, EMBEDDERS[name]) if _identifies(config) else None


def _identify_settings(config: Config) -> dict[str, Any]:
    track = config["track"]
    row = DETECTORS[config["detect"]["backend"]]
    return {
        **{name: track[name] for name in ("main", "min_frames")},
        **({"face_box": list(row.face_box)} if row.face_box != AS_EXPECTED else {}),
        **({"reference": in_recipe(config)} if track["reference"] else {}),
    }


def _track_settings(config: Config) -> dict[str, Any]:
    """Of tracks by boxes. Where `identify` joins them, it chooses from them, too."""
    track = dict(config["track"])
    del track["identity"], track["reference"]
    if _identifies(config):
        track["min_frames"] = 1
        if track["main"] == "reference":
            track["main"] = "prominent"
    return track


def _detect_settings(config: Config) -> dict[str, Any]:
    detect = config["detect"]
    row = DETECTORS[detect["backend"]]
    return {
        "min_score": row.min_score if detect["min_score"] is None else detect["min_score"],
        "start_score": row.start_score if detect["start_score"] is None else detect["start_score"],
        "track": _track_settings(config),
        **({"tile": detect["tile"]} if detect["tile"] else {}),
        **_device(config, row),
    }


def _segment_settings(config: Config) -> dict[str, Any]:
    """Of a detector alone: tracks come later."""
    settings = _detect_settings(config)
    del settings["track"], settings["start_score"]
    return settings


def _landmark_settings(config: Config) -> dict[str, Any]:
    """Whose boxes they are makes a difference where they are not as the networks expect them."""
    row = DETECTORS[config["detect"]["backend"]]
    drawn = {} if row.face_box == AS_EXPECTED else {"face_box": list(row.face_box)}
    chosen = LANDMARKERS[config["landmarks"]["backend"]]
    settings = _section("landmarks")(config)
    del settings["model"]  # it is among the models
    return {**settings, **drawn, **_device(config, chosen)}


def _au_settings(config: Config) -> dict[str, Any]:
    return _device(config, AU_ESTIMATORS[config["aus"]["backend"]])


def _embed_settings(config: Config) -> dict[str, Any]:
    """With what the network is shown, so that every table of vectors says it."""
    row = EMBEDDERS.get(config["embed"]["backend"])
    detector = DETECTORS[config["detect"]["backend"]]
    settings = _section("embed")(config)
    repo, own = settings.pop("repo"), settings.pop("model")  # the latter is among the models
    if row is None:
        return settings
    if row.clone and not is_onnx(own):
        settings["repo"] = code_sha256(find_clone(repo))
    # rectangles of 3DI are as expected
    face_box = detector.face_box if config["engine"] == "native" else AS_EXPECTED
    drawn = {} if face_box == AS_EXPECTED else {"face_box": list(face_box)}
    # how long the vectors of a file of the user's are, its tables alone say
    known = {} if own else {"dim": row.dim}
    return {**settings, "chip": row.chip, **known, **drawn, **_device(config, row)}


def _device(config: Config, row: Backend) -> dict[str, Any]:
    """Part of a recipe where there is a choice: a GPU's sums differ in their last bits."""
    return {"device": config["device"]} if len(row.devices) > 1 else {}


def _chosen(
    section: str, rows: Mapping[str, Backend]
) -> Callable[[Config], tuple[str, Backend] | None]:
    """The row that the config names, as it is for its device, with the user's own model; None
    where it says `off`.
    """

    def choose(config: Config) -> tuple[str, Backend] | None:
        name, own = config[section]["backend"], config[section].get("model")
        if name == "off":
            return None
        row = rows[name]
        if row.onnx_stacks and is_onnx(own):
            row = replace(row, stack=row.onnx_stacks[0], gpu_stack=row.onnx_stacks[1])
        if row.gpu_stack and config["device"] != "cpu":
            row = replace(row, stack=row.gpu_stack)
        return name, replace(row, models=(own, *row.models[1:])) if own else row

    return choose


def _section(*names: str) -> Callable[[Config], dict[str, Any]]:
    """Whole sections of the config, without the keys that choose a backend."""

    def settings(config: Config) -> dict[str, Any]:
        return {k: v for name in names for k, v in config[name].items() if k != "backend"}

    return settings


def _fit_settings(config: Config) -> dict[str, Any]:
    """A calibration by its numbers, which take the place of the field of view, not by its path."""
    settings = {**_section("camera")(config), "model": config["fit"]["model"]}
    path = settings.pop("calibration")
    if path is None:
        return settings
    del settings["fov"]
    return {**settings, "calibration": load_calibration(Path(path).expanduser()).to_dict()}


FACE_MODEL = "facemake_face_model_1"
"""The built-in face model's name in the registry; `fit.model` calls it `builtin`."""

EXPRESSION_NOISE = "facemake_expression_noise_1"
"""The measured noise of its expressions in the registry."""

_BASIS = {
    "licence": "of the user's own 3DI install",
    "citation": "Sariyanidi et al., Beyond FACS: Data-driven Facial Expression Dictionaries, with "
    "Application to Predicting Autism, FG (2025), https://doi.org/10.1109/FG61629.2025.11099288",
}
"""What tables say of 3DI's localized basis."""


def _face_model(config: Config) -> Models:
    """The face model of the fit: the registry's, or the file that the user built."""
    name = config["fit"]["model"]
    if name != "builtin":
        return (find(name, config["models_dir"]).provenance,)
    row = model(FACE_MODEL)
    return ({**row.provenance, "pdm": describe(LIBRARY / str(row.file))["pdm"]},)


def noise_settings(config: Config) -> dict[str, Any]:
    """How much counts as noise of expressions, only where that is asked for."""
    wanted = config["expressions"]
    return {"normalize": True, "k": wanted["k"]} if wanted["normalize"] else {}


def _expressions_settings(config: Config) -> dict[str, Any]:
    """The basis is among the models."""
    return {**_section("fit")(config), **noise_settings(config)}


def _localizing_models(config: Config) -> Models:
    """The face model of the fit; where that is another, the built-in one; and what else is used."""
    chosen = _face_model(config)
    basis = model(FACE_MODEL).provenance
    if chosen[0]["name"] != basis["name"]:
        chosen = (*chosen, basis)
    wanted = config["expressions"]
    if wanted["normalize"]:
        chosen = (*chosen, model(EXPRESSION_NOISE).provenance)
    if wanted["basis"]:
        path = Path(wanted["basis"]).expanduser()
        chosen = (
            *chosen,
            {"name": f"3DI localized basis {path.stem}", "sha256": verify_pin(path), **_BASIS},
        )
    return chosen


def crop_settings(config: Config) -> dict[str, Any]:
    """How faces are cut, and whether the landmarks table is needed for it.

    3DI's rectangles have no points: what lies on five points lies on those of its landmarks.
    """
    wanted = config["extract"]
    native = config["engine"] == "native"
    row = DETECTORS[config["detect"]["backend"]]
    needs = CropSettings(**{k: wanted[k] for k in _CROPS}).rule.needs
    marked = needs == "landmarks" or (needs == "eyes" and not native)
    return {
        **wanted,
        "landmarks": marked,
        "face_box": list(row.face_box if native else AS_EXPECTED),
    }


def _dataset_settings(config: Config) -> dict[str, Any]:
    """What decides which examples there are."""
    apart = ("keep_crops", "people", "same_person", "exclude")
    return {k: v for k, v in config["dataset"].items() if k not in apart}


def same_person(config: Config) -> float | None:
    """Cosine similarity from which two faces are one person; None where none is known."""
    wanted: float | None = config["dataset"]["same_person"]
    embed = config["embed"]
    row = EMBEDDERS.get(embed["backend"])
    # what is published is of the registered weights
    return row.same_person if wanted is None and row and not embed["model"] else wanted


def compares_people(config: Config) -> bool:
    """Whether it is looked for people who are in two splits."""
    return (
        config["dataset"]["people"] != "off"
        and config["embed"]["backend"] != "off"
        and same_person(config) is not None
    )


def people_not_compared(config: Config) -> str:
    """Why nobody looks for people who are in two splits, though the config asks for it; or ""."""
    if config["dataset"]["people"] == "off" or compares_people(config):
        return ""
    if config["embed"]["backend"] == "off":
        why = "embed is off"
    else:
        network = config["embed"]["model"] or f"the embedder {config['embed']['backend']}"
        why = (
            f"which similarity is one person with {network}, nobody published; set "
            "dataset.same_person (`facemake identities verify` measures it on people whom you know)"
        )
    return f"people are not compared across splits: {why}"


def _people_settings(config: Config) -> dict[str, Any]:
    return {"same_person": same_person(config), "splits": config["dataset"]["splits"]}


_CROPS = ("template", "padding", "format", "quality")


def _eye_finder(config: Config) -> tuple[str, Backend] | None:
    """Who finds eyes for the crops of a detector that has none."""
    settings = CropSettings(**{k: config["extract"][k] for k in _CROPS})
    name = settings.eyes(DETECTORS[config["detect"]["backend"]])
    return (name, EYE_FINDERS[name]) if name else None


def _trains(kind: type[Options]) -> Callable[[Config], dict[str, Any]]:
    """The options of a network's training that decide what comes of it."""

    def settings(config: Config) -> dict[str, Any]:
        names = (*kind.deciding(), "save_every")
        return {**{k: config["train"][k] for k in names}, "device": config["device"]}

    return settings


def _evaluate_settings(config: Config) -> dict[str, Any]:
    """Labels by their content, not by their path."""
    path = config["evaluate"]["labels"]
    labels = {"labels": file_sha256(Path(path).expanduser())} if path else {}
    return {**labels, "device": config["device"]}


TRAINING: dict[str, Stage] = {
    "train_landmark_pose": Stage(
        stack="train", module="train", settings=_trains(LandmarkPoseOptions)
    ),
    "train_aus": Stage(stack="train", module="train", settings=_trains(AUPredictionOptions)),
    "evaluate": Stage(stack="train", settings=_evaluate_settings),
}
"""What is made of the training set, by name; of every engine."""


def _overlay_settings(config: Config) -> dict[str, Any]:
    return {k: config["overlay"][k] for k in ("draw", "hide")}


def _overlay_models(config: Config) -> Models:
    """The face model of a mesh; that of 3DI is its install's, by the fit's own tables."""
    wanted = Overlay.of(_overlay_settings(config)).needs_mesh and config["engine"] == "native"
    return _face_model(config) if wanted else ()


OVERLAY = Stage(stack="mediapipe", settings=_overlay_settings, models=_overlay_models)
"""Of every engine. Its environment: the triangles of a mesh are MediaPipe's."""


def _exports(form: str) -> Callable[[Config], bool]:
    return lambda config: form in config["export"]["formats"]


def _exported_tables(config: Config) -> dict[str, Any]:
    return {"tables": config["export"]["tables"]}


EXPORTS: dict[str, Stage] = {
    "export_openface": Stage(wanted=_exports("openface")),
    "export_pyfeat": Stage(wanted=_exports("pyfeat")),
    **{
        f"export_{form}": Stage(
            module="export_tables", settings=_exported_tables, wanted=_exports(form)
        )
        for form in ("csv", "parquet")
    },
    "export_bids": Stage(wanted=_exports("bids")),
    "export_rocrate": Stage(module="export_crate", wanted=_exports("rocrate")),
}
"""Formats of other systems, by name; of every engine."""

NATIVE: dict[str, Stage] = {
    "probe": Stage(),
    "detect": Stage(settings=_detect_settings, backend=_chosen("detect", DETECTORS)),
    "detect_segment": Stage(settings=_segment_settings, backend=_chosen("detect", DETECTORS)),
    "landmarks_segment": Stage(
        settings=_landmark_settings, backend=_chosen("landmarks", LANDMARKERS)
    ),
    "identify": Stage(
        stack="dlib", settings=_identify_settings, backend=_identity, wanted=_identifies
    ),
    "landmarks": Stage(settings=_landmark_settings, backend=_chosen("landmarks", LANDMARKERS)),
    "fit": Stage(settings=_fit_settings, models=_face_model),
    "smooth": Stage(
        settings=_section("fit"),
        models=_face_model,
        wanted=lambda config: bool(config["fit"]["smoothing"] > 0),
    ),
    "expressions": Stage(settings=_expressions_settings, models=_localizing_models),
    "aus": Stage(settings=_au_settings, backend=_chosen("aus", AU_ESTIMATORS)),
    "embed": Stage(
        settings=_embed_settings,
        backend=_chosen("embed", EMBEDDERS),
        wanted=lambda config: bool(config["embed"]["backend"] != "off"),
    ),
    "dataset": Stage(settings=_dataset_settings),
    "people": Stage(settings=_people_settings, wanted=compares_people),
    "merge_dataset": Stage(),
    "manifest": Stage(),
    "report": Stage(),
    "export_3di": Stage(models=_face_model, wanted=_exports("3di")),
    **EXPORTS,
    "export_openface": Stage(models=_face_model, wanted=_exports("openface")),
    "extract_crops": Stage(settings=crop_settings, backend=_eye_finder),
    "overlay": OVERLAY,
    **TRAINING,
}
"""By name, in order."""
