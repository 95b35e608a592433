"""What makers of face models publish, read and written as model files: one module a maker.

Each has `read(source)`, which gives the arrays of a model file, by the keys that
`facemake.backends.fit.modelfile` names. No stage imports anything from here: stages read the files
that were built.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from facemake import facemodels, pins
from facemake.backends.fit import archive, pdm
from facemake.backends.fit.archive import Content
from facemake.backends.fit.model import LinearFaceModel
from facemake.backends.fit.modelfile import load_mesh, load_model, model_of
from facemake.errors import ModelError
from facemake.hashes import private_folder
from facemake.runtime.atomic import replacing

READERS: Mapping[str, str] = MappingProxyType(
    {
        "ict-facekit": "facemake.backends.fit.sources.ict_facekit",
        "bfm2009": "facemake.backends.fit.sources.bfm2009",
        "openface-pdm": "facemake.backends.fit.sources.openface_pdm",
    }
)
"""Name of a model -> the module that reads its maker's files."""


@dataclass(frozen=True)
class Built:
    """A model file that was built.

    Attributes:
        path: of the file.
        sha256: of its bytes, pinned beside it.
        model: at its landmarks.
        n_vertices, n_triangles: of its surface.
    """

    path: Path
    sha256: str
    model: LinearFaceModel
    n_vertices: int
    n_triangles: int


def build(name: str, source: Path, folder: Path | None = None) -> Built:
    """Write the model file of a maker's files, and pin its SHA-256 beside it.

    The same files give the same bytes on the same machine. (The 34 modes come from LAPACK, whose
    last bits hang on the processor; hence a file is built once and then kept.)

    Args:
        name: of READERS.
        source: the maker's folder, or the one file where it is one.
        folder: where the file goes; None takes `facemodels.default_folder()`, private to its user.

    Raises:
        ModelError: what is missing in the source or wrong with it, with the cure.
        OSError: the file cannot be written.
    """
    if not source.exists():
        raise ModelError(f"there is no {source}: wanted is {facemodels.SOURCES[name]}")
    content = complete(import_module(READERS[name]).read(source), str(source))
    if folder is None:
        folder = private_folder(facemodels.default_folder())  # licensed models are for one alone
    path = folder / f"{name}.npz"
    with replacing(path) as beside:
        archive.write(content, beside)
        model, mesh = load_model(beside), load_mesh(beside)
        # a file without a pin is accepted when it is next seen; one with another's pin is not
        pins.pin_of(path).unlink(missing_ok=True)
    sha256 = pins.pin(path)
    return Built(path, sha256, model, len(mesh.mean), len(mesh.triangles))


def complete(content: Content, where: str) -> Content:
    """The content with its 34 modes, which every file carries, and triangles turned outwards.

    Args:
        content: as a `read` gives it.
        where: what it was read from, for messages.

    Raises:
        ModelError: it is not what a face model must be.
    """
    model = model_of(content, where)
    content = dict(content)
    if model.pdm is None:
        content["pdm"] = pdm.derive_pdm(model).astype(np.float32)
    if "triangles" in content:
        content["triangles"] = _outwards(content)
    return content


def _outwards(content: Content) -> NDArray[np.int32]:
    """The triangles, anticlockwise seen from outside: a face looks at its viewer.

    Both `AXES` are right-handed, and in both the image's x runs to the right, so the normal of a
    triangle that looks at the viewer has the sign of the nose tip against the eyes.
    """
    triangles = np.asarray(content["triangles"]).astype(np.int32)
    if not len(triangles):
        return triangles
    corners = content["neutral"].astype(np.float64)[triangles]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    towards = 1.0 if str(content["axes"]) == "x-right y-up z-backward" else -1.0
    return triangles if towards * normals[:, 2].sum() > 0 else triangles[:, ::-1].copy()
