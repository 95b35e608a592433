"""What a job in a container must see of this machine besides its working directory.

Apptainer mounts the working directory, which is the job's home then, and as a rule /tmp. Recordings
lie anywhere, results are links into the artifact cache, and models are in folders of their own.
"""

from __future__ import annotations

import contextlib
import csv
import io
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from facemake import facemodels
from facemake.errors import ConfigError
from facemake.models import fetched_folder
from facemake.provenance import LIBRARY
from facemake.runtime.libraries import MOUNTED

MOST = 32
"""So many mounts a job at most: folders beyond are mounted by what they lie in."""

_BESIDE = ("config", "envs", "rules", "Snakefile", "LICENSE", "CITATION.cff")

VARIABLES = ("APPTAINER_MOUNT", "SINGULARITY_MOUNT")

_CLOSED = frozenset(
    f"/{name}"
    for name in ("bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "proc", "run", "sbin")
) | {"/sys", "/usr"}
"""Of the image: nothing in them is mounted that does not have to be."""
_OPEN = frozenset(f"/{name}" for name in ("media", "mnt", "opt", "root", "srv", "tmp", "var"))
"""Of the image and of people: not mounted whole."""


def folders(config: Mapping[str, Any], recordings: Iterable[str]) -> list[str]:
    """The folders that jobs under `config` must see, none inside another or the working directory.

    Args:
        config: filled with its defaults.
        recordings: absolute paths of videos, pictures and folders of pictures.
    """
    found = _of_recordings(recordings)
    found.add(os.path.realpath(config["outdir"]))
    for value in (
        config["camera"]["calibration"],
        config["track"]["reference"],
        config["expressions"]["basis"],
        config["threedi"]["runtime"],
        config["embed"]["repo"],
        os.environ.get("FACEMAKE_DINOV3"),
        os.environ.get("BITBOX_3DI"),
        os.environ.get("BITBOX_3DI_LITE"),
    ):
        if value and os.path.exists(path := os.path.expanduser(value)):  # noqa: PTH110, PTH111
            real = os.path.realpath(path)
            found.add(real if os.path.isdir(real) else os.path.dirname(real))  # noqa: PTH112, PTH120
    return _few(found - {"/"}, os.path.realpath("."))


def check_images(containers: Mapping[str, str | None], stacks: Iterable[str]) -> None:
    """Refuse a run in containers before its first job where the image of a stack is no file.

    A stack without one runs in the environment of the run; what has an address is Apptainer's.

    Raises:
        ConfigError: all that are not there.
    """
    missing = {
        stack: image
        for stack in sorted(set(stacks))
        if (image := containers[stack]) and not urlsplit(image).scheme and not os.path.exists(image)  # noqa: PTH110
    }
    if missing:
        listed = "\n".join(
            f"  containers.{stack} is {image}, and there is no such file"
            for stack, image in missing.items()
        )
        build = f"make containers STACKS='{' '.join(missing)}'"
        raise ConfigError(f"images are missing; `{build}` builds them:\n{listed}")


def use(listed: Sequence[str]) -> None:
    """Let Apptainer mount `listed`, the artifact cache and the models, in jobs of this process.

    What the user has set for it stays. HOME is another one in there, so the folders of models are
    named.
    """
    known = [*facemodels.folders(), fetched_folder()]
    models = [str(folder.absolute()) for folder in known if folder.is_dir()]
    os.environ["FACEMAKE_MODELS"] = os.pathsep.join(models)
    places = [*listed, *map(os.path.realpath, models), *models]
    for name in ("SNAKEMAKE_OUTPUT_CACHE", "TMPDIR"):
        if value := os.environ.get(name):
            places += [os.path.abspath(value), os.path.realpath(value)]  # noqa: PTH100
    # a folder that is not there stops the container
    rows = [_row(place, place) for place in dict.fromkeys(places) if os.path.isdir(place)]  # noqa: PTH112
    # Snakemake mounts scripts/ alone, and the library reads what is beside it
    rows += [_row(str(LIBRARY.parents[1] / name), f"{MOUNTED}{name}") for name in _BESIDE]
    for variable in VARIABLES:
        theirs = [line for line in os.environ.get(variable, "").split("\n") if line]
        os.environ[variable] = "\n".join(dict.fromkeys([*theirs, *rows]))
    # the user's own modules would come before the image's
    os.environ["APPTAINERENV_PYTHONPATH"] = os.environ["SINGULARITYENV_PYTHONPATH"] = ""


def _of_recordings(paths: Iterable[str]) -> set[str]:
    found: set[str] = set()
    for path in paths:
        found.add(os.path.dirname(path))  # noqa: PTH120
        if os.path.islink(path):  # noqa: PTH114
            found.add(os.path.dirname(os.path.realpath(path)))  # noqa: PTH120
        # a video, or a folder that may not be listed: a status of its sample
        with contextlib.suppress(OSError), os.scandir(path) as entries:
            links = [entry.path for entry in entries if entry.is_symlink()]
            found |= {os.path.dirname(os.path.realpath(link)) for link in links}  # noqa: PTH120
    return found | {os.path.realpath(folder) for folder in found}


def _few(found: set[str], here: str) -> list[str]:
    """At most MOST of them, where that can be: some are replaced by a folder that they lie in."""
    found = _outermost(found, here)
    while len(found) > MOST:
        holds = Counter(above for folder in found for above in _above(folder))
        wide = [(above.count("/"), count, above) for above, count in holds.items() if count > 1]
        if not wide:
            break
        found = _outermost(found | {max(wide)[2]}, here)
    return sorted(found)


def _above(folder: str) -> list[str]:
    """The folders that it lies in and that may be mounted whole."""
    parts = folder.split("/")
    paths = ["/".join(parts[:n]) for n in range(2, len(parts))]
    return [] if paths and paths[0] in _CLOSED else [path for path in paths if path not in _OPEN]


def _outermost(found: set[str], here: str) -> set[str]:
    kept: set[str] = set()
    for folder in sorted(found):
        parts = folder.split("/")
        above = {"/".join(parts[:n]) for n in range(2, len(parts) + 1)}
        if not above & (kept | {here}):
            kept.add(folder)
    return kept


def _row(source: str, target: str) -> str:
    """A mount: a row of CSV, so that any path can be said."""
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(
        ["type=bind", f"source={source}", f"destination={target}"]
    )
    return text.getvalue()
