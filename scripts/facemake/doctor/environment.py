"""Python and its packages, held against the lock."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distributions, version
from importlib.util import find_spec
from pathlib import Path

from facemake.doctor.findings import Finding, fault, ok, warning
from facemake.doctor.running import STUCK, output_of
from facemake.provenance import LIBRARY
from facemake.runtime.libraries import public_version

LOCK = LIBRARY.parent.parent / "requirements" / "default.txt"
_PYTHONS = ((3, 11), (3, 12))
_NATIVE = ("cv2", "av", "h5py", "pyarrow", "dlib", "mediapipe", "onnxruntime", "torch")
"""Modules with libraries of the system's beneath them; those that are installed are imported."""
_IMPORT = """
import importlib, json, sys
said = {}
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
        said[name] = ""
    except BaseException as error:
        said[name] = f"{type(error).__name__}: {error}".splitlines()[0]
    print(json.dumps(said), flush=True)
"""
_SHOWN = 8


def python() -> Iterator[Finding]:
    """Its version."""
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] in _PYTHONS:
        yield ok("Python", f"{found} in {sys.prefix}")
    else:
        cure = "make the environment with Python 3.11 or 3.12: delete .venv, then `make demo`"
        yield fault("Python", f"{found} in {sys.prefix}", cure)


def locked(path: Path = LOCK) -> dict[str, str]:
    """Distribution -> version that the lock has for this machine."""
    from packaging.markers import Marker

    found = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if match := re.match(r"([A-Za-z0-9._-]+)==([^ ;\\]+)(?: *; *([^\\]*))?", line):
            name, wanted, marker = match.groups()
            if not marker or Marker(marker.strip()).evaluate():
                found[name] = wanted
    return found


def packages() -> Iterator[Finding]:
    """Versions against the lock; OpenCV once."""
    wanted = locked()
    wrong = []
    for name, pinned in wanted.items():
        try:
            found = version(name)
        except PackageNotFoundError:
            wrong.append(f"{name} {pinned} is missing")
            continue
        if public_version(found) != public_version(pinned):
            wrong.append(f"{name} is {found}, not {pinned}")
    if wrong:
        more = f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        yield fault(
            "packages",
            ", ".join(wrong[:_SHOWN]) + more,
            f"pip install --no-deps --require-hashes -r {LOCK}",
        )
    else:
        yield ok("packages", f"{len(wanted)} as {LOCK.name} has them")
    names = {str(one.metadata["Name"]).lower() for one in distributions() if one.metadata["Name"]}
    several = sorted(name for name in names if name.startswith("opencv-"))
    if len(several) > 1:
        cure = f"pip uninstall -y {' '.join(several)}, then install the lock again ({LOCK})"
        yield fault("OpenCV", f"{' and '.join(several)} overwrite each other's files", cure)
    elif several:
        yield ok("OpenCV", f"once, {several[0]}")


def shared_libraries() -> Iterator[Finding]:
    """Import what has native code, in another process: what the system lacks is said by it."""
    names = [name for name in _NATIVE if find_spec(name)]
    code, said = output_of(sys.executable, "-c", _IMPORT, *names, env={"GLOG_minloglevel": "3"})
    lines = [line for line in said.splitlines() if line.startswith("{")]
    found: dict[str, str] = json.loads(lines[-1]) if lines else {}
    for name, why in found.items():
        if why:
            yield fault(f"import {name}", why, _cure(why))
    if code == STUCK:
        yield warning(
            f"import {names[min(len(found), len(names) - 1)]}",
            said.splitlines()[-1],
            "a slow or busy disk; look again, and import it by hand",
        )
    elif code and len(found) < len(names):
        stuck = names[len(found)]
        yield fault(
            f"import {stuck}", f"ends the process ({code}): {said[-200:]}", "install it again"
        )
    elif not any(found.values()):
        yield ok("native libraries", f"{', '.join(names)} can be imported")


def _cure(why: str) -> str:
    if lacking := re.search(r"(lib[\w.+-]+\.so[\w.]*)", why):
        return (
            f"the system lacks {lacking[1]}: install the package that has it (Debian: `apt-file "
            f"search {lacking[1]}`), or the lock again if another OpenCV was installed"
        )
    return "install the lock again (requirements/; `make help` lists what there is)"


def conflicts() -> Iterator[Finding]:
    """Variables that let another Python in; our own library is there in images."""
    listed = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    others = [path for path in listed if Path(path).resolve() != LIBRARY.parent]
    if others:
        cure = "unset it if modules of another Python are there"
        yield warning("PYTHONPATH", os.pathsep.join(others), cure)
