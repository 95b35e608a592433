"""facemake fetch: all that a run needs of the network, before it runs where there is none."""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from facemake.cli.run import SNAKEFILE
from facemake.errors import FacemakeError
from facemake.models import model, use_models_dir

CONFIG = Path("config") / "config.yaml"


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "fetch",
        help="fetch models, images and environments before a run on nodes without a network",
        description="Fetch everything that this folder's config needs: models and, with --sdm, "
        "the container images that it names by an address and the conda environments. A run then "
        "needs no network. Further arguments are passed on to Snakemake.",
        epilog="example: facemake fetch --sdm apptainer",
    )
    parser.add_argument(
        "-d",
        "--directory",
        type=Path,
        default=Path(),
        help="the folder to run in (default: this one)",
    )
    parser.add_argument(
        "--sdm",
        nargs="+",
        choices=("conda", "apptainer"),
        default=[],
        help="as you will give it to the run",
    )
    parser.add_argument(
        "--apptainer-prefix", type=Path, metavar="DIR", help="as you will give it to the run"
    )
    parser.set_defaults(function=_fetch, passes_on=True)


def _fetch(options: argparse.Namespace, rest: list[str]) -> int:
    try:
        os.chdir(options.directory)  # paths of the config are relative to it
    except OSError as error:
        raise FacemakeError(f"{options.directory}: {error.strerror}") from None
    config = _config()
    _fetch_models(config)
    if "apptainer" in options.sdm:
        _pull(config["containers"], options.apptainer_prefix or Path(".snakemake/singularity"))
    if "conda" in options.sdm:
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(SNAKEFILE)]
        command += ["--cores", "1", "--sdm", *options.sdm]
        if options.apptainer_prefix:
            command += ["--apptainer-prefix", str(options.apptainer_prefix)]
        # all jobs: those whose results are there count too
        command += [*rest, "--conda-create-envs-only", "--forceall"]
        return subprocess.run(command).returncode  # noqa: S603
    return 0


def _config() -> dict[str, Any]:
    from facemake import settings

    config = settings.filled(settings.read(CONFIG) if CONFIG.is_file() else {})
    settings.check(config, [CONFIG] if CONFIG.is_file() else [])
    return config


def _fetch_models(config: Mapping[str, Any]) -> None:
    """Fetch those that no package carries: those come with an environment or an image."""
    from facemake.fetching import fetch
    from facemake.recipes import registered_models

    use_models_dir(config["models_dir"])
    for name in registered_models(config):
        if model(name).package is None:
            print(f"model\t{name}\t{fetch(name, lambda words: print(words, file=sys.stderr))}")


def _pull(containers: Mapping[str, str | None], into: Path) -> None:
    """Pull images to where Snakemake looks for them, under its names.

    Raises:
        FacemakeError: one cannot be pulled, or a local one is not there.
    """
    for stack, image in containers.items():
        if image is None:
            continue
        if not urlsplit(image).scheme or image.startswith("file:"):
            path = Path(image.removeprefix("file://"))
            if not path.exists():
                raise FacemakeError(
                    f"the image of {stack}, {image}, is not there: "
                    f"`make containers STACKS={stack}` builds it"
                )
            print(f"image\t{stack}\t{path}")
            continue
        name = hashlib.md5(image.encode(), usedforsecurity=False).hexdigest()
        target = into / f"{name}.simg"
        if not target.exists():
            program = shutil.which("apptainer") or shutil.which("singularity")
            if program is None:
                raise FacemakeError("images are pulled by Apptainer, which is not on PATH")
            into.mkdir(parents=True, exist_ok=True)
            new = into / f".{name}.{os.getpid()}.part"  # another one may fetch the same
            try:
                done = subprocess.run([program, "pull", str(new), image])  # noqa: S603
                if done.returncode:
                    raise FacemakeError(
                        f"the image of {stack}, {image}, cannot be pulled: see above"
                    )
                new.replace(target)
            finally:
                new.unlink(missing_ok=True)
        print(f"image\t{stack}\t{target}")
