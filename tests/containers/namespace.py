"""Runs a command in a user namespace with all of this machine's users, as root does: needs root.

    python namespace.py COMMAND ...

Root in there has every capability over what the namespace owns, whatever root outside lacks.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

# it waits until it has its users
SCRIPT = 'echo; read -r go; exec "$@" 0</dev/null'

if __name__ == "__main__":
    with subprocess.Popen(
        ["unshare", "--user", "sh", "-c", SCRIPT, "sh", *sys.argv[1:]],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as started:
        assert started.stdin and started.stdout
        started.stdout.readline()
        for kind in ("uid", "gid"):
            own = Path(f"/proc/self/{kind}_map").read_text().split()
            Path(f"/proc/{started.pid}/{kind}_map").write_text(f"0 0 {min(int(own[2]), 65536)}")
        started.stdin.write("go\n")
        started.stdin.close()
        sys.stdout.write(started.stdout.read())
    sys.exit(started.returncode)
