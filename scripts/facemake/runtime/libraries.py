"""That a job runs on the libraries and the code which its results will name."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from facemake.errors import FacemakeError

MOUNTED = "/mnt/snakemake_searchpaths/"
"""Where Snakemake mounts the main process's module folders in a container, behind its own."""


def public_version(text: str) -> str:
    """A version without its local label (PEP 440): 2.13.0+cpu is another build of 2.13.0."""
    return text.partition("+")[0]


def faults(libraries: Mapping[str, str], contained: bool = False) -> list[str]:
    """What is wrong with the libraries of this environment, or image, a few words each.

    Args:
        libraries: name of a distribution -> version, as a recipe has them.
        contained: whether this process is in an image.
    """
    wrong = []
    for name, wanted in libraries.items():
        try:
            found = distribution(name)
        except PackageNotFoundError:
            wrong.append(f"{name} {wanted} is missing")
            continue
        if contained and str(found.locate_file("")).startswith(MOUNTED):
            wrong.append(f"{name} {wanted} is missing in the image")
        elif public_version(found.version) != wanted:
            wrong.append(f"{name} is {found.version}, not {wanted}")
    return wrong


def check(libraries: Mapping[str, str]) -> None:
    """Refuse an environment or image that is not the one that the recipe is of.

    In a container Snakemake adds the module folders of the main process behind those of the image,
    so a library that the image lacks would come from there without a word; and a facemake in the
    image would hide the workflow's own.

    Args:
        libraries: name of a distribution -> version, as a recipe has them.

    Raises:
        FacemakeError: a library is missing, of another version, or not the image's own; or
            facemake is the image's.
    """
    contained = any(path.startswith(MOUNTED) for path in sys.path)
    wrong = faults(libraries, contained)
    where = "the image" if contained else f"the environment {sys.prefix}"
    if wrong:
        raise FacemakeError(
            f"{where} is not of this version of facemake: {'; '.join(wrong)}. Build it again "
            "(`make containers` for images; envs/ and requirements/ have the pins), or add what is "
            "missing: `make help` lists what there is to add"
        )
    if contained and not str(Path(__file__)).startswith(MOUNTED):
        raise FacemakeError(
            f"the image has a facemake of its own in {Path(__file__).parents[2]}, which hides the "
            "workflow's: a stage's image has libraries alone (`make containers` builds such)"
        )
