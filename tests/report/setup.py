"""Fetches a browser for the tests of the report, where the machine has none.

    python tests/report/setup.py   # exit code 77 where it cannot be had, and why

Chromium of the Debian archive that apt reaches, with what it needs and the machine lacks, unpacked
into one folder (360 MB): FACEMAKE_TEST_BROWSER or ~/.cache/facemake-test-browser. Nothing is
installed on the machine.

`state.json` there says where the browser is, for the fixtures.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import browser  # noqa: E402
from debian import (  # noqa: E402
    Found,
    Setup,
    UnavailableError,
    archive_of,
    key_of,
    once,
    run,
    want_root,
)

VARIABLE = "FACEMAKE_TEST_BROWSER"
PACKAGES = ("chromium", "fonts-dejavu-core")
STARTER = """\
#!/bin/sh
here=$(dirname "$0")
there=$here/usr/lib/x86_64-linux-gnu
export LD_LIBRARY_PATH="$there:$here/lib/x86_64-linux-gnu:$there/pulseaudio"
export FONTCONFIG_FILE="$here/fonts.conf"
exec "$here/usr/lib/chromium/chromium" "$@"
"""
FONTS = """\
<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "urn:fontconfig:fonts.dtd">
<fontconfig>
  <dir prefix="relative">usr/share/fonts</dir>
  <dir>/usr/share/fonts</dir>
  <cachedir prefix="xdg">fontconfig</cachedir>
</fontconfig>
"""


def set_up(folder: Path) -> Found:
    """Unpack what is not there; where the browser is, or why there is none."""
    if installed := browser.find():
        return {"Chromium": {"program": installed}}
    try:
        want_root("apt")
        archive = archive_of(folder)

        def make(new: Path) -> None:
            archive.unpack_with_missing(PACKAGES, new)
            (new / "fonts.conf").write_text(FONTS)
            starter = new / "chromium"
            starter.write_text(STARTER)
            starter.chmod(0o755)

        key = key_of(archive.codename, *PACKAGES, STARTER, FONTS)
        program = once(folder / "root", key, make, "Chromium") / "chromium"
        run([program, "--version"], env={**os.environ, "HOME": str(folder)})
    except UnavailableError as reason:
        return {"Chromium": {"missing": str(reason)}}
    return {"Chromium": {"program": str(program)}}


SETUP = Setup(VARIABLE, "facemake-test-browser", set_up, lambda folder: None)

if __name__ == "__main__":
    sys.exit(SETUP.command(__doc__))
