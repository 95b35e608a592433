"""What names the content of an install."""

from __future__ import annotations

from pathlib import Path

from facemake.backends.threedi import Engine
from facemake.backends.threedi.programs import PROGRAMS
from facemake.provenance import digest, file_sha256

# Text tables of a face model are hundreds of megabytes: these are known by name and size.
_HASHED = 16 << 20
_FOLDERS = ("configs", "models", "scripts", "checkpoints", "utils")


def folder_identity(root: Path, engine: Engine) -> str:
    """SHA-256 over the names and hashes of an install's programs, configurations and models.

    Files above 16 MiB count by name and size. Compiled Python and what lies elsewhere in the
    folder does not count.
    """
    files = {root / p.executable for p in PROGRAMS[engine]} | set(root.glob("*.py"))
    for name in _FOLDERS:
        files |= set((root / name).rglob("*"))
    listed = []
    for path in sorted(files):
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".mat":
            size = path.stat().st_size
            word = file_sha256(path) if size <= _HASHED else f"{size} bytes"
            listed.append([path.relative_to(root).as_posix(), word])
    return digest(listed)
