"""The config and the sheet of a folder, and all that they ask for: models, 3DI, cache, space."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from facemake.doctor.findings import Finding, fault, ok, warning
from facemake.errors import ConfigError, FacemakeError, ModelError
from facemake.estimate import BYTES_A_FRAME

CONFIG = Path("config") / "config.yaml"
_SECONDS_OF_A_PROBE = 60.0
_LEAST_SPACE = 5_000_000_000
_NVIDIA_SMI = "/usr/bin/nvidia-smi"
"""Where the container engines put it."""


def config_here() -> tuple[dict[str, Any], list[Finding]]:
    """The config of this folder, or the defaults; and what is wrong with it."""
    from facemake import settings

    defaults = settings.filled({})
    if not CONFIG.is_file():
        found = warning(
            "config", f"there is no {CONFIG}: defaults", "facemake init FOLDER_OF_VIDEOS"
        )
        return defaults, [found]
    try:
        config = settings.filled(settings.read(CONFIG))
        settings.check(config, [CONFIG])
    except ConfigError as error:
        return defaults, [fault("config", str(error), f"mend {CONFIG}; defaults are taken below")]
    return config, [ok("config", str(CONFIG))]


def folder() -> Iterator[Finding]:
    """Whether a run can keep its state in this folder."""
    here = Path.cwd()
    if os.access(here, os.W_OK | os.X_OK):
        yield ok("folder", str(here))
    else:
        cure = "ask its owner, or make a study in a folder of yours (`facemake init`)"
        yield fault("folder", f"{here} cannot be written to", cure)


def sheet(config: Mapping[str, Any]) -> Iterator[Finding]:
    """Every line of the sheet, and whether its files can be read."""
    from facemake.exclusions import read as read_exclusions
    from facemake.sheet import read_samples

    if not CONFIG.is_file() and not Path(str(config["samples"])).is_file():
        return  # nothing says what the samples are, as was said of the config
    try:
        rows = read_samples(config)
    except ConfigError as error:
        yield fault("samples", str(error), "mend these lines")
        return
    unread = [
        row.sample for row in rows.rows if not row.excluded and not os.access(row.path, os.R_OK)
    ]
    if unread:
        shown = ", ".join(unread[:5]) + (", ..." if len(unread) > 5 else "")
        cure = "chmod u+r, or ask their owner; a run marks them no_permission and goes on"
        yield warning("samples", f"{len(unread)} of {len(rows.rows)} cannot be read: {shown}", cure)
    else:
        yield ok("samples", f"{len(rows.rows)}, all can be read")
    if (table := config["dataset"]["exclude"]) is not None:
        try:
            lines = read_exclusions(Path(table).expanduser(), {row.sample for row in rows.rows})
        except ConfigError as error:
            yield fault("exclusions", str(error), "mend these lines")
        else:
            yield ok("exclusions", f"{len(lines)} in {table}")


def models(config: Mapping[str, Any]) -> Iterator[Finding]:
    """Those that the stages of this config load: there, of the registered SHA-256, with licence."""
    from facemake.engines import stages
    from facemake.models import model, model_path, registry, use_models_dir
    from facemake.recipes import enabled

    use_models_dir(config["models_dir"])
    wanted: dict[str, list[str]] = {}
    refused: dict[str, list[str]] = {}
    for stage, row in stages(config).items():
        if not enabled(stage, config) or stage.startswith("extract"):
            continue
        chosen = row.backend(config)
        for name in chosen[1].models if chosen else ():
            wanted.setdefault(name, []).append(stage)
        try:
            own = row.models(config) if config["engine"] == "native" else ()
        except ModelError as error:
            refused.setdefault(str(error), []).append(stage)
            continue
        for one in own:
            if one["name"] in registry():
                wanted.setdefault(one["name"], []).append(stage)
    for said, needed in refused.items():
        yield fault("model of the user's", said, f"needed by {', '.join(needed)}")
    for name, needed in wanted.items():
        what = f"model {name}"
        try:
            path = model_path(name)
            licence = model(name).licence
        except ModelError as error:
            said, _, cure = str(error).partition(": ")
            yield fault(what, f"{said}, and {', '.join(needed)} need it", cure)
            continue
        known = "" if name in registry() else ", its hash pinned"
        yield ok(what, f"{path} (licence: {licence}{known})")


def threedi(config: Mapping[str, Any]) -> Iterator[Finding]:
    """The install of 3DI, whole; and whether its programs see a GPU where they run."""
    if config["engine"] == "native":
        return
    from facemake.backends.threedi import Engine
    from facemake.backends.threedi.install import check_install, find_install, use_settings
    from facemake.backends.threedi.runtimes import Call, has_nvidia, runtime
    from facemake.engines.threedi import options

    wanted = config["threedi"]
    use_settings(wanted["runtime"], wanted["failures"], wanted["time_limit"])
    cure = "docs/3di.md says where it is looked for and what it must hold"
    try:
        install = find_install(Engine(config["engine"]))
        check_install(install, options(config))
        started = runtime(install)
    except FacemakeError as error:
        yield fault("3DI", str(error), cure)
        return
    yield ok("3DI", str(install))
    if not has_nvidia():
        cure = "jobs of it need a machine with one; a login node may have none"
        yield warning("GPU of 3DI", "this machine has no NVIDIA GPU with its driver", cure)
        return
    program = (shutil.which("nvidia-smi") if install.folder else None) or _NVIDIA_SMI
    with tempfile.TemporaryDirectory() as folder:
        call = Call(
            os.path.relpath(program, install.root), ["-L"], Path(folder), _SECONDS_OF_A_PROBE
        )
        try:
            ended = started.run(call)
        except FacemakeError as error:
            yield fault("GPU of 3DI", str(error), cure)
            return
    seen = [line for line in ended.said if line.startswith("GPU ")]
    if ended.code == 0 and seen:
        yield ok("GPU of 3DI", f"its runtime sees {len(seen)}: {seen[0].partition(' (UUID')[0]}")
    else:
        said = " ".join(ended.said) or f"nvidia-smi ends with {ended.code}"
        cure = "give containers the GPU (NVIDIA container toolkit; Apptainer: --nv)"
        yield fault("GPU of 3DI", f"its runtime sees none: {said}", cure)


def cache(config: Mapping[str, Any]) -> Iterator[Finding]:
    """The private folder, and the room that is left there and for the results."""
    from facemake.store.place import cache_folder

    folder = cache_folder(config)
    if folder is None:
        yield ok("cache", "off (cache_dir: null)")
    elif not folder.exists():
        yield ok("cache", f"{folder}, made by the first run")
    else:
        mode, owner = folder.stat().st_mode & 0o777, folder.stat().st_uid
        if owner != os.getuid():
            yield fault(
                "cache", f"{folder} belongs to another user", "set cache_dir to one of yours"
            )
        elif mode & 0o077:
            yield fault(
                "cache", f"{folder} has mode {mode:04o}: others can look", f"chmod 700 {folder}"
            )
        elif not os.access(folder, os.W_OK):
            yield fault("cache", f"{folder} cannot be written to", "set cache_dir to one that can")
        else:
            yield ok("cache", f"{folder}, mode {mode:04o}")
    for what, place in (("space of the cache", folder), ("space of the results", Path.cwd())):
        if place is None:
            continue
        there = next(up for up in (place, *place.parents) if up.exists())
        free = shutil.disk_usage(there).free
        said = f"{free / 1e9:.0f} GB free, for about {free // BYTES_A_FRAME:,} frames with a face"
        if shutil.which("sbatch"):  # each cluster has a command of its own for it
            said += ", unless your quota there is less"
        if free < _LEAST_SPACE:
            yield warning(what, said, "make room, or `facemake cache prune`")
        else:
            yield ok(what, said)
