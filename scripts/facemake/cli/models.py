"""facemake models: what models there are, and where their files are."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from facemake.errors import ModelError
from facemake.models import model, model_path, registry, use_models_dir


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "models", help="list models, verify their files, print a path, with licence and citation"
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    listed = actions.add_parser("list", help="every registered model")
    listed.set_defaults(function=_list)
    verify = actions.add_parser("verify", help="hash the files of all models, or of the named ones")
    verify.add_argument("names", nargs="*", metavar="NAME")
    verify.set_defaults(function=_verify)
    path = actions.add_parser("path", help="where a model's verified file is")
    path.add_argument("name", metavar="NAME")
    path.set_defaults(function=_path)
    for action in (verify, path):
        action.add_argument(
            "--models-dir", type=Path, metavar="DIR", help="a folder to look through before others"
        )


def _list(options: argparse.Namespace, rest: list[str]) -> int:
    for row in registry().values():
        print(f"{row.name}\t{row.task}\t{row.licence}\t{row.bytes} bytes\t{row.sha256}")
    return 0


def _verify(options: argparse.Namespace, rest: list[str]) -> int:
    use_models_dir(options.models_dir)
    missing = 0
    for name in options.names or registry():
        try:
            print(f"ok\t{name}\t{model_path(model(name).name)}")
        except ModelError as error:
            missing += 1
            print(f"no\t{name}\t{error}")
    return 1 if missing else 0


def _path(options: argparse.Namespace, rest: list[str]) -> int:
    use_models_dir(options.models_dir)
    print(model_path(options.name))
    return 0
