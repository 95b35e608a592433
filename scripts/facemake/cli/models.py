"""facemake models: what models there are, where their files are, and those that a user builds."""

from __future__ import annotations

import argparse
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from facemake import facemodels
from facemake.cli.arguments import add_models_dir
from facemake.errors import FacemakeError, ModelError
from facemake.models import model, model_path, registry, use_models_dir

_NAMES = "a model that `list` shows"


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "models", help="list, fetch and verify models, print a path, build a face model"
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    listed = actions.add_parser(
        "list",
        help="list all registered models and the face models you have built",
        epilog="example: facemake models list",
    )
    listed.set_defaults(function=_list)
    verify = actions.add_parser(
        "verify",
        help="check the files of all models, or of the named ones, against their SHA-256",
        epilog="example: facemake models verify dlib_68_point_predictor",
    )
    verify.add_argument("names", nargs="*", metavar="NAME", help=_NAMES)
    verify.set_defaults(function=_verify)
    fetched = actions.add_parser(
        "fetch",
        help="download the named models, or all that have an address",
        epilog="example: facemake models fetch yunet_n_640_640",
    )
    fetched.add_argument("names", nargs="*", metavar="NAME", help=_NAMES)
    fetched.set_defaults(function=_fetch)
    path = actions.add_parser(
        "path",
        help="print the path of a model's verified file",
        epilog="example: facemake models path blazeface_full_range",
    )
    path.add_argument("name", metavar="NAME", help=_NAMES)
    path.set_defaults(function=_path)
    for action in (listed, verify, fetched, path):
        add_models_dir(action)
    build = actions.add_parser(
        "build",
        help="build a face model's file from what its maker publishes",
        epilog="example: facemake models build ict-facekit ICT-FaceKit/FaceXModel",
    )
    build.add_argument("name", choices=list(facemodels.SOURCES), metavar="NAME", help=_names())
    build.add_argument(
        "source",
        type=Path,
        metavar="FOLDER",
        help="the folder of the maker's files, or a single file",
    )
    build.add_argument(
        "--models-dir",
        type=Path,
        metavar="DIR",
        help="where to write it (default: a private folder)",
    )
    build.set_defaults(function=_build)


def _names() -> str:
    return "; ".join(f"{name}: {files}" for name, files in facemodels.SOURCES.items())


def _list(options: argparse.Namespace, rest: list[str]) -> int:
    use_models_dir(options.models_dir)
    for row in registry().values():
        known = f"{row.bytes} bytes\t{row.sha256}"
        if row.sha256 is None:
            known = "size not known\tno SHA-256 registered: pinned when first used"
        print(f"{row.name}\t{row.task}\t{row.licence}\t{known}")
    for name in facemodels.present():
        try:
            built = facemodels.find(name)
        except ModelError as error:
            print(f"{name}\tlinear face model\t{error}")
            continue
        size = built.path.stat().st_size
        print(f"{name}\tlinear face model\t{built.licence}\t{size} bytes\t{built.sha256}")
    return 0


def _fetch(options: argparse.Namespace, rest: list[str]) -> int:
    from facemake.fetching import fetch

    use_models_dir(options.models_dir)
    failed = []
    for name in options.names or _with_address():
        try:
            print(f"ok\t{name}\t{fetch(name, _say)}", flush=True)
        except FacemakeError as error:  # the others can be had all the same
            failed.append(str(error))
    if failed:
        raise ModelError("\n".join(failed))
    return 0


def _with_address() -> list[str]:
    """Models that can be fetched; the others that have an address are said."""
    names = []
    for row in registry().values():
        if row.url and row.sha256:
            names.append(row.name)
        elif row.url:
            _say(f"{row.name} is left out, since nobody registered its SHA-256: {row.url} has it")
    return names


def _say(words: str) -> None:
    print(words, file=sys.stderr)


def _verify(options: argparse.Namespace, rest: list[str]) -> int:
    """A model that is not here is a fault where it was named, or its package is installed."""
    use_models_dir(options.models_dir)
    rows = registry().values()
    wanted = set(options.names) or {r.name for r in rows if r.package and find_spec(r.package)}
    missing = 0
    for name in options.names or (*registry(), *facemodels.present()):
        try:
            print(f"ok\t{name}\t{_file(name)}")
        except ModelError as error:
            bad = name in wanted or name in facemodels.SOURCES
            missing += bad
            print(f"{'no' if bad else 'absent'}\t{name}\t{error}")
    return 1 if missing else 0


def _path(options: argparse.Namespace, rest: list[str]) -> int:
    use_models_dir(options.models_dir)
    print(_file(options.name))
    return 0


def _file(name: str) -> Path:
    """The verified file of a registered or a built model."""
    if name in facemodels.SOURCES:
        return facemodels.find(name).path
    return model_path(model(name).name)


def _build(options: argparse.Namespace, rest: list[str]) -> int:
    from facemake.backends.fit import sources

    try:
        built = sources.build(options.name, options.source, options.models_dir)
    except OSError as error:
        raise FacemakeError(f"the model {options.name} cannot be built: {error}") from None
    found = built.model
    print(
        f"{built.path}\n"
        f"{built.n_vertices} vertices, {built.n_triangles} triangles, {found.n_points} landmarks "
        f"({found.scheme}), {len(found.identity)} identities, {len(found.expression)} expressions\n"
        f"local parameters: {found.local_params_are}\n"
        f"licence: {found.licence}\n"
        f"SHA-256: {built.sha256}, pinned beside it"
    )
    print("to use it, in config.yaml: " + _use(options.name, options.models_dir))
    return 0


def _use(name: str, folder: Path | None) -> str:
    use = f"fit: {{model: {name}}}"
    return use if folder is None else f"{use} and models_dir: {folder}"
