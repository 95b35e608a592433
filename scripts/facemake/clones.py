"""The user's clone of DINOv3's repository, whose licence lets nobody else hand it on.

Loading the network runs the clone's own Python, with the rights of whoever runs facemake: it is the
user's code as any module that they import. What it was when a table was made stands in the table's
recipe, as the SHA-256 of its Python files.
"""

from __future__ import annotations

import os
from pathlib import Path

from facemake.errors import ModelError
from facemake.provenance import digest, file_sha256

VARIABLE = "FACEMAKE_DINOV3"
"""Names the clone's folder where nobody else does."""

HUBCONF = "hubconf.py"

HOW = (
    "clone https://github.com/facebookresearch/dinov3 and name its folder by embed.repo "
    f"(FaceEmbedder: repo_dir; else {VARIABLE}); ask for the weights at "
    "https://ai.meta.com/resources/models-and-libraries/dinov3-downloads (their licence is Meta's, "
    "and facemake fetches neither), and put dinov3_vitb16_pretrain_lvd1689m-73cec8be.pth into "
    "models_dir or a folder of FACEMAKE_MODELS, or name another file by embed.model "
    "(FaceEmbedder: weights). An ONNX export of the network (a name that ends in .onnx) needs no "
    "clone"
)
"""Where both parts of DINOv3 are got, and how they are named."""


def use_clone(folder: str | None) -> None:
    """Tell this process, and those that it starts, where the clone is; None changes nothing.

    The environment says it and no parameter of a rule: a clone that was moved is the same.
    """
    if folder is not None:
        os.environ[VARIABLE] = str(Path(folder).expanduser().absolute())


def find_clone(folder: str | Path | None = None) -> Path:
    """The clone's folder.

    Args:
        folder: as the user names it; None: by the variable.

    Raises:
        ModelError: none is named, or it is no clone.
    """
    named = folder if folder is not None else os.environ.get(VARIABLE)
    if not named:
        raise ModelError(f"no clone of DINOv3 is named: {HOW}")
    path = Path(named).expanduser().absolute()
    if not path.is_dir():
        raise ModelError(f"the clone of DINOv3 is said to be {path}, and there is no such folder")
    if not (path / HUBCONF).is_file():
        raise ModelError(f"{path} is no clone of DINOv3: it has no {HUBCONF}; {HOW}")
    return path


def code_sha256(clone: Path) -> str:
    """SHA-256 of a clone's Python files and their names, hidden folders left out."""
    found = []
    for folder, below, files in os.walk(clone):
        below[:] = [name for name in below if not name.startswith(".")]
        found += [Path(folder) / name for name in files if name.endswith(".py")]
    names = {path.relative_to(clone).as_posix(): path for path in found if path.is_file()}
    return digest([[name, file_sha256(path)] for name, path in sorted(names.items())])


def verify(sha256: str) -> None:
    """Refuse a clone whose code is not that of the plan.

    Raises:
        ModelError: its Python files changed.
    """
    clone = find_clone()
    if (found := code_sha256(clone)) != sha256:
        raise ModelError(
            f"the Python files of {clone} have the SHA-256 {found}, and had {sha256} when the run "
            "was planned: start it again"
        )
