"""facemake profile: a site's settings, where `snakemake --profile NAME` finds them."""

from __future__ import annotations

import argparse
import filecmp
import shutil
from pathlib import Path
from typing import Any

from facemake.errors import FacemakeError
from facemake.provenance import LIBRARY
from facemake.runtime.atomic import replacing

PROFILES = LIBRARY.parent.parent / "profiles"

_NEXT = {
    "slurm": "edit the partitions and the account at its top; the nodes must see this folder and "
    "the environment that snakemake runs in, which needs the SLURM plugin: make slurm",
    "gpu": "set the number of GPUs",
}
"""What a user does before the first run, in words."""


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "profile", help="list or install profiles (SLURM, a workstation with GPUs)"
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    listed = actions.add_parser(
        "list",
        help="list the profiles, and where they are installed",
        epilog="example: facemake profile list",
    )
    listed.set_defaults(function=_list)
    install = actions.add_parser(
        "install",
        help="copy a profile into your Snakemake configuration",
        description="Copy a profile to where `snakemake --profile NAME` finds it, for you to edit "
        "there. An edited copy is not overwritten.",
        epilog="example: facemake profile install slurm",
    )
    install.add_argument(
        "name", choices=names(), metavar="NAME", help=f"one of {', '.join(names())}"
    )
    install.add_argument(
        "--force",
        action="store_true",
        help="replace an edited copy, which is kept as config.yaml.old",
    )
    install.set_defaults(function=_install)


def names() -> list[str]:
    """The profiles that a user installs; `default` is read by every run and is not one."""
    found = sorted(path.parent.name for path in PROFILES.glob("*/config.yaml"))
    return [name for name in found if name != "default"]


def user_folder() -> Path:
    """Where Snakemake looks for a user's profiles: as it asks itself."""
    from platformdirs import user_config_path

    return user_config_path("snakemake", "snakemake")


def _list(options: argparse.Namespace, rest: list[str]) -> int:
    for name in names():
        path = user_folder() / name / "config.yaml"
        print(f"{name}\t{path if path.is_file() else 'not installed'}")
    return 0


def _install(options: argparse.Namespace, rest: list[str]) -> int:
    ours = PROFILES / options.name / "config.yaml"
    path = user_folder() / options.name / "config.yaml"
    try:
        if path.is_file() and not filecmp.cmp(ours, path, shallow=False):
            if not options.force:
                raise FacemakeError(
                    f"{path} is not the profile that comes with this version: it was edited, or is "
                    f"of another one (diff {path} {ours}); --force replaces it"
                )
            path.replace(path.with_name("config.yaml.old"))
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as beside:
            shutil.copyfile(ours, beside)
    except OSError as error:
        raise FacemakeError(f"the profile cannot be installed: {error}") from None
    print(path)
    print(f"next: {_NEXT[options.name]}")
    print(f"then: snakemake --profile {options.name}")
    print(f"      (in another folder: facemake run -d FOLDER --profile {options.name})")
    return 0
