"""Installs readers that are not ours, for the tests of the exports.

    python tests/readers/setup.py   # exit code 77 where they cannot be had, and why

The packages of requirements/readers.txt, by their hashes, in an environment of its own: what they
declare does not go with what facemake needs. Everything is in one folder (FACEMAKE_TEST_READERS or
~/.cache/facemake-test-readers).

`state.json` there says where its Python is, for the fixtures.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from debian import Found, Setup, UnavailableError, key_of, once, run  # noqa: E402

VARIABLE = "FACEMAKE_TEST_READERS"
LOCK = HERE.parent.parent / "requirements" / "readers.txt"
BASE = Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"


def set_up(folder: Path) -> Found:
    """Install what is not there; where its Python is, or why there is none."""

    def make(new: Path) -> None:
        run([BASE, "-m", "venv", "--without-pip", new])
        python = new / "bin" / "python"
        pip = [BASE, "-m", "pip", "--python", python, "--disable-pip-version-check", "--no-input"]
        # compiled when they are imported: most of it never is
        run([*pip, "install", "-q", "--no-deps", "--require-hashes", "--no-compile", "-r", LOCK])

    try:
        place = once(folder / "environment", key_of(str(BASE), LOCK.read_text()), make, "readers")
    except UnavailableError as reason:
        return {"readers": {"missing": str(reason)}}
    return {"readers": {"python": str(place / "bin" / "python")}}


SETUP = Setup(VARIABLE, "facemake-test-readers", set_up, lambda folder: None)

if __name__ == "__main__":
    sys.exit(SETUP.command(__doc__))
