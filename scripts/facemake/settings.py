"""The configuration: checked against its schema, filled with its defaults.

The schema (config/config.schema.yaml) is the one place where a key, its type and its default
stand; config/config.yaml repeats the defaults for people to edit, and a test holds the two
together.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from facemake.backends import Backend
from facemake.calibration.files import load_calibration
from facemake.errors import ConfigError, ModelError
from facemake.provenance import LIBRARY

SCHEMA = LIBRARY.parent.parent / "config" / "config.schema.yaml"


@cache
def schema() -> dict[str, Any]:
    """The JSON schema of the configuration."""
    document: dict[str, Any] = yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))
    return document


def read(path: Path) -> dict[str, Any]:
    """What a config file says, without defaults and unchecked.

    Raises:
        ConfigError: it cannot be read, is no YAML, or has no keys.
    """
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise ConfigError(
            f"{where}: is no YAML: {error.problem or error.context}; a line is `key: value`, a "
            "section `detect: {backend: dlib}`"
        ) from None
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None
    if not isinstance(found or {}, dict):
        raise ConfigError(
            f"{path} has no keys: a line of it is `key: value`, such as `outdir: results`"
        )
    return found or {}


def filled(config: Mapping[str, Any]) -> dict[str, Any]:
    """`config` with the default of every key that it leaves out, and each `off` spelled out."""
    config = dict(config)
    if config.get("embed") in (False, "off"):  # YAML reads a bare off as false
        config["embed"] = {"backend": "off"}
    elif isinstance(config.get("embed"), dict) and config["embed"].get("backend") is False:
        config["embed"] = {**config["embed"], "backend": "off"}
    dataset = config.get("dataset")
    if isinstance(dataset, Mapping) and dataset.get("people") is False:
        config["dataset"] = {**dataset, "people": "off"}
    track = config.get("track")
    if isinstance(track, Mapping) and track.get("identity") is False:
        config["track"] = {**track, "identity": "off"}
    return _filled(config, schema())


def readable(config: Mapping[str, Any]) -> bool:
    """Whether a refused configuration still says where the samples are."""
    return (
        isinstance(config.get("samples"), str | None)
        and isinstance(config.get("input_dir"), str | None)
        and isinstance(config.get("dataset"), Mapping)
        and isinstance(config["dataset"].get("splits"), Mapping)
    )


def _filled(config: Mapping[str, Any], node: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(config)
    for key, child in node["properties"].items():
        if "properties" in child:
            value = result.get(key, {})
            result[key] = _filled(value, child) if isinstance(value, Mapping) else value
        elif key not in result:
            result[key] = child["default"]
        elif isinstance(result[key], str):
            result[key] = _typed(result[key], child)
        elif isinstance(result[key], Mapping) and "additionalProperties" in child:
            each = child["additionalProperties"]
            result[key] = {
                name: _typed(value, each) if isinstance(value, str) else value
                for name, value in result[key].items()
            }
    return result


def without_words(
    config: Mapping[str, Any], node: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The configuration without free texts, which are paths and names: for others to see.

    Args:
        config: filled with its defaults; or a section of it.
        node: the part of the schema that a section obeys.
    """
    node = node or schema()
    kept: dict[str, Any] = {}
    for key, child in node["properties"].items():
        value = config.get(key)
        if "properties" in child:
            if isinstance(value, Mapping):
                kept[key] = without_words(value, child)
        elif _is_choice(value, child) or not _words_in(value):
            kept[key] = value
    return kept


def _is_choice(value: Any, node: Mapping[str, Any]) -> bool:
    if isinstance(value, list):
        return all(_is_choice(one, node.get("items", {})) for one in value)
    return "enum" in node


def _words_in(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_words_in, value.values()))
    if isinstance(value, list):
        return any(map(_words_in, value))
    return isinstance(value, str)


_KINDS = {"number": (int, float), "integer": (int,), "boolean": (bool,), "null": (type(None),)}


def _typed(text: str, node: Mapping[str, Any]) -> Any:
    """A scalar of a section given by `--config`, of which Snakemake makes a text: as YAML reads it.

    Only where the text itself would be refused, and what YAML makes of it would not; but for
    `null`, which is null where that may be.
    """
    kinds = node.get("type", "string")
    kinds = kinds if isinstance(kinds, list) else [kinds]
    if "string" in kinds and not ("null" in kinds and text == "null"):
        return text
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    allowed = tuple(kind for name in kinds for kind in _KINDS.get(name, ()))
    fits = isinstance(value, allowed) and (not isinstance(value, bool) or bool in allowed)
    return value if fits else text


def check(config: Mapping[str, Any], files: Sequence[Path] = ()) -> None:
    """Refuse a configuration that the schema does not allow.

    Args:
        config: as `filled` gives it.
        files: the YAML files that it came from, to name the line.

    Raises:
        ConfigError: all that is wrong, a line each with its file, line and cure.
    """
    import jsonschema  # the main process alone checks: a cluster job spares the import

    validator = jsonschema.Draft202012Validator(schema())
    lines = _line_numbers(files)
    problems = []
    for error in sorted(validator.iter_errors(config), key=lambda e: [str(p) for p in e.path]):
        where = tuple(str(part) for part in error.path)
        if error.validator == "additionalProperties" and isinstance(error.schema, Mapping):
            known = list(error.schema.get("properties", ()))
            for key in sorted(set(error.instance) - set(known), key=str):
                near = difflib.get_close_matches(str(key), known, 1)
                cure = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
                problems.append(_problem(lines, (*where, str(key)), f"is no key; {cure}"))
        else:
            problems.append(_problem(lines, where, _in_words(error)))
    camera = config["camera"]
    if isinstance(camera, Mapping) and isinstance(camera.get("calibration"), str):
        try:
            load_calibration(Path(camera["calibration"]).expanduser())
        except ConfigError as error:
            problems.append(_problem(lines, ("camera", "calibration"), f"is refused: {error}"))
    if not problems:
        problems += [_problem(lines, *one) for one in _misfits(config)]
    wanted = config["expressions"]
    if isinstance(wanted, Mapping) and isinstance(wanted.get("basis"), str):
        from facemake.backends.fit.dictionary import load_basis  # few runs have one

        try:
            load_basis(Path(wanted["basis"]).expanduser())
        except ModelError as error:
            problems.append(_problem(lines, ("expressions", "basis"), f"is refused: {error}"))
    if isinstance(wanted, Mapping) and wanted.get("basis") and config["engine"] != "native":
        problems.append(
            _problem(
                lines,
                ("expressions", "basis"),
                f"is of no use with engine {config['engine']}, which localizes by its own basis "
                "(threedi.basis); set it to null",
            )
        )
    if not problems:
        total = sum(config["dataset"]["splits"].values())
        if abs(total - 1) > 1e-6:
            problems.append(
                _problem(lines, ("dataset", "splits"), f"has shares that sum to {total:g}, not 1")
            )
    if problems:
        raise ConfigError("the configuration is refused:\n" + "\n".join(problems))


def _misfits(config: Mapping[str, Any]) -> list[tuple[tuple[str, ...], str]]:
    """Keys that are good by themselves and do not go together: where, and what is wrong."""
    from facemake.backends.aus import AU_ESTIMATORS
    from facemake.backends.detect import DETECTORS
    from facemake.backends.embed import EMBEDDERS
    from facemake.backends.landmarks import LANDMARKERS
    from facemake.extraction.settings import TEMPLATES

    found = [
        *_misfits_of_identity(config),
        *_misfits_of_people(config),
        *_misfits_of_exports(config),
    ]
    crops = config["extract"]
    if crops["padding"] is not None and TEMPLATES[crops["template"]].padding is None:
        found.append(
            (
                ("extract", "padding"),
                f"is of no use with the template {crops['template']}, which fixes how large a face "
                "is; set it to null",
            )
        )
    found += _misfits_of_clone(config)
    if config["engine"] != "native":
        return found
    chosen: dict[str, tuple[str, Mapping[str, Backend]]] = {
        "detect.backend": (config["detect"]["backend"], DETECTORS),
        "landmarks.backend": (config["landmarks"]["backend"], LANDMARKERS),
        "aus.backend": (config["aus"]["backend"], AU_ESTIMATORS),
        "embed.backend": (config["embed"]["backend"], EMBEDDERS),
    }
    device = config["device"]
    if not any(name in rows and device in rows[name].devices for name, rows in chosen.values()):
        able = [
            f"{key} {', '.join(names)}"
            for key, (_, rows) in chosen.items()
            if (names := [name for name, row in rows.items() if device in row.devices])
        ]
        found.append(
            (
                ("device",),
                f"is {device}, and no backend of this config computes on it; set it to cpu, or "
                f"choose {'; '.join(able)}",
            )
        )
    own: dict[str, Mapping[str, Backend]] = {
        "detect": DETECTORS,
        "landmarks": LANDMARKERS,
        "aus": AU_ESTIMATORS,
        "embed": EMBEDDERS,
    }
    for section, rows in own.items():
        wanted = config[section]
        if wanted.get("model") is None or wanted["backend"] == "off":
            continue
        if not rows[wanted["backend"]].own_model:
            able = [name for name, row in rows.items() if row.own_model]
            choice = f", or choose the backend {', '.join(able)}" if able else ""
            found.append(
                (
                    (section, "model"),
                    f"is of no use with the backend {wanted['backend']}, which loads its own file "
                    f"alone; set it to null{choice}",
                )
            )
    return found


def _misfits_of_clone(config: Mapping[str, Any]) -> list[tuple[tuple[str, ...], str]]:
    """Of `embed.repo`, the folder of the user's clone of a network's code."""
    from facemake.backends.embed import EMBEDDERS
    from facemake.clones import find_clone
    from facemake.models import is_onnx

    wanted = config["embed"]
    row = EMBEDDERS.get(wanted["backend"])
    where = ("embed", "repo")
    if row is None:
        return []
    if row.clone and not is_onnx(wanted["model"]):
        try:
            find_clone(wanted["repo"])
        except ModelError as error:
            return [(where, f"is {wanted['repo'] or 'not set'}: {error}")]
    elif wanted["repo"] is not None:
        why = "a model that is an ONNX network" if row.clone else f"the backend {wanted['backend']}"
        return [(where, f"is of no use with {why}, which needs no clone; set it to null")]
    return []


def _misfits_of_people(config: Mapping[str, Any]) -> list[tuple[tuple[str, ...], str]]:
    from facemake.engines.native import people_not_compared

    if config["dataset"]["people"] != "refuse" or not (why := people_not_compared(config)):
        return []
    cure = "choose embed.backend" if config["embed"]["backend"] == "off" else "say it"
    return [(("dataset", "people"), f"is refuse, and {why}: {cure}, or set it to warn")]


def _misfits_of_exports(config: Mapping[str, Any]) -> list[tuple[tuple[str, ...], str]]:
    from facemake.engines import stages
    from facemake.exports import PACKED, TABLES

    wanted = config["export"]
    if not any(not PACKED.get(form, form) for form in wanted["formats"]):
        return []
    rows = stages(config)
    absent = [t for t in wanted["tables"] if not rows[TABLES[t]].wanted(config)]
    if not absent:
        return []
    return [(("export", "tables"), f"has {', '.join(absent)}, which this config does not make")]


def _misfits_of_identity(config: Mapping[str, Any]) -> list[tuple[tuple[str, ...], str]]:
    track, engine = config["track"], config["engine"]
    found: list[tuple[tuple[str, ...], str]] = []
    if track["identity"] != "off" and engine != "native":
        return [
            (
                ("track", "identity"),
                f"is of no use with engine {engine}, which follows one face by itself; set it to "
                "off",
            )
        ]
    by_picture, path = track["main"] == "reference", track["reference"]
    if by_picture and track["identity"] == "off":
        found.append((("track", "main"), "is reference, which needs track.identity: dlib"))
    if by_picture and path is None:
        found.append((("track", "main"), "is reference: name a picture by track.reference"))
    if path is not None and not by_picture:
        found.append(
            (("track", "reference"), "is of no use without track.main: reference; set it to null")
        )
    if path is not None and not Path(path).expanduser().exists():
        found.append((("track", "reference"), f"is {path}, and there is no such file or folder"))
    return found


def _in_words(error: Any) -> str:
    if error.validator == "enum":
        allowed = ", ".join("null" if v is None else str(v) for v in error.validator_value)
        return f"is {error.instance!r}; it may be {allowed}"
    if error.validator == "type" and error.validator_value == "object":
        inner = next(iter(error.schema.get("properties", ())), "key")
        return f"is {error.instance!r}, and has keys of its own: {{{inner}: ...}}"
    if error.validator == "type":
        kinds = error.validator_value
        kinds = " or ".join(kinds) if isinstance(kinds, list) else kinds
        return f"is {error.instance!r}; it must be of type {kinds}"
    return f"is {error.instance!r}; {error.message}"


def _problem(lines: Mapping[tuple[str, ...], str], path: tuple[str, ...], text: str) -> str:
    return f"  {lines.get(path, 'command line')}: {'.'.join(path) or 'the whole'} {text}"


def _line_numbers(files: Sequence[Path]) -> dict[tuple[str, ...], str]:
    """Key path -> `file:line` where it stands; a later file wins."""
    found: dict[tuple[str, ...], str] = {}

    def walk(node: yaml.Node, path: tuple[str, ...], file: Path) -> None:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                here = (*path, str(key.value))
                found[here] = f"{file}:{key.start_mark.line + 1}"
                walk(value, here, file)
        elif isinstance(node, yaml.SequenceNode):
            for number, value in enumerate(node.value):
                found[*path, str(number)] = f"{file}:{value.start_mark.line + 1}"
                walk(value, (*path, str(number)), file)

    for file in files:
        root = yaml.compose(file.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
        if root is not None:
            walk(root, (), file)
    return found
