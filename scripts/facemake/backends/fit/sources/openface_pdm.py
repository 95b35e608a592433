"""OpenFace's point distribution model: `In-the-wild_aligned_PDM_68.txt`, under academic licence.

The text has three matrices, comments (#) before each: mean (204 x 1), principal components
(204 x 34), eigenvalues (1 x 34). A matrix is its rows, its columns, OpenCV's code of its type, then
its numbers. Rows are all x, all y, all z of the 68 points; x right, y down, z away from the camera
(the nose tip has the smallest z), as `x2d = s * R[0:2] @ (mean + Phi p) + t` needs them.

Its unit is near the millimetre: 91 between the outer eye corners. A file whose eyes are not those
of an adult in mm is scaled to 89 mm, and its `pdm_name` says by how much: OpenFace's local
parameters are then ours over that factor, and its scale is ours times it.

One set of 34 modes is identity and expression in one. Here both bases are these modes: identity
with the standard deviation of the file, expression with half of it (a face changes less than faces
differ), bounded by three of the file's. What the fit says is their sum: `local_params` are
OpenFace's p.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facemake import facemodels, schemes
from facemake.backends.fit.archive import Content
from facemake.backends.fit.model import EYE_CORNERS_MM
from facemake.errors import ModelError

Array = NDArray[np.float64]

NAME = "openface-pdm"
FILE = "In-the-wild_aligned_PDM_68.txt"
LICENCE = (
    "OpenFace licence (academic or non-profit research), "
    "https://github.com/TadasBaltrusaitis/OpenFace"
)
CITATION = (
    "Baltrusaitis et al., OpenFace 2.0: Facial Behavior Analysis Toolkit, IEEE FG (2018); "
    "Baltrusaitis et al., Constrained Local Neural Fields, ICCV Workshops (2013)"
)
N_MODES = 34
_ROWS = 3 * schemes.N_POINTS[schemes.IBUG68]
_SHAPES = {
    "mean": (_ROWS, 1),
    "principal components": (_ROWS, N_MODES),
    "eigenvalues": (1, N_MODES),
}
_OPENCV_TYPES = (5, 6)  # float32 and float64, one channel
_MILLIMETRES = (75.0, 105.0)
"""Eye distances that are taken for millimetres as they stand."""
_EXPRESSION_SHARE = 0.5
_BOUND = 3.0


def read(source: Path) -> Content:
    """The model file's content from OpenFace's file or a folder that has it somewhere.

    Raises:
        ModelError: there is no such file, it is cut off, or it has other matrices.
    """
    path = source
    if source.is_dir():
        found = sorted(source.rglob(FILE))
        if not found:
            raise ModelError(f"{source} has no {FILE}: wanted is {facemodels.SOURCES[NAME]}")
        path = found[0]
    mean, modes, eigenvalues = _matrices(path)
    if not np.allclose(modes.T @ modes, np.eye(N_MODES), atol=1e-3):
        raise ModelError(
            f"{path}: its principal components are not orthonormal, so that no local parameters "
            f"follow from a shape; it is not OpenFace's {FILE}"
        )
    if (eigenvalues <= 0).any():
        raise ModelError(f"{path}: an eigenvalue is not above 0")
    shape = mean.reshape(3, -1).T
    left, right = schemes.EYE_CORNERS_IBUG68
    eyes = float(np.linalg.norm(shape[right] - shape[left]))
    if not eyes > 0:
        raise ModelError(f"{path}: the eyes of its mean are in one place")
    factor = 1.0 if _MILLIMETRES[0] < eyes < _MILLIMETRES[1] else EYE_CORNERS_MM / eyes
    basis = modes.T.reshape(N_MODES, 3, -1).transpose(0, 2, 1)
    # along modes of unit length, in mm
    sd = factor * np.sqrt(eigenvalues.ravel())
    names = np.array([f"p{i}" for i in range(N_MODES)])
    own = f"OpenFace's own {N_MODES} modes ({FILE}"
    own += ")" if factor == 1.0 else f", its unit is {factor:.6g} mm)"
    return {
        "neutral": factor * shape,
        "identity": basis,
        "expression": basis,
        "identity_names": names,
        "expr_names": names,
        "expression_regions": np.array([""] * N_MODES),
        "identity_sd": sd,
        "expression_sd": _EXPRESSION_SHARE * sd,
        "expression_lower": -_BOUND * sd,
        "expression_upper": _BOUND * sd,
        "name": np.array(NAME),
        "unit": np.array("mm"),
        "axes": np.array("x-right y-down z-forward"),
        "licence": np.array(LICENCE),
        "citation": np.array(CITATION),
        "pdm": modes,
        "pdm_name": np.array(own),
    }


def _matrices(path: Path) -> list[Array]:
    """The three matrices, in the order of `_SHAPES`.

    Raises:
        ModelError: the text ends too early, goes on too long or has other matrices.
    """
    try:
        text = path.read_text(encoding="ascii")
    except UnicodeDecodeError:
        raise ModelError(f"{path} is not a text file: wanted is OpenFace's {FILE}") from None
    lines = (line.strip() for line in text.splitlines())
    words = [word for line in lines if line and line[0] != "#" for word in line.split()]
    found, start = [], 0
    for what, shape in _SHAPES.items():
        try:
            rows, columns, kind = (int(word) for word in words[start : start + 3])
        except ValueError:
            raise ModelError(
                f"{path}: the {what} should begin with rows, columns and OpenCV's type; there is "
                f"{' '.join(words[start : start + 3]) or 'nothing'}. It is cut off or not "
                f"OpenFace's {FILE}"
            ) from None
        if (rows, columns) != shape or kind not in _OPENCV_TYPES:
            raise ModelError(
                f"{path}: the {what} has shape {(rows, columns)} and OpenCV type {kind}, wanted "
                f"{shape} and {_OPENCV_TYPES[0]} or {_OPENCV_TYPES[1]}: it is not OpenFace's {FILE}"
            )
        start += 3
        numbers = words[start : start + rows * columns]
        start += rows * columns
        try:
            matrix = np.array([float(word) for word in numbers])
        except ValueError as error:
            raise ModelError(f"{path}: the {what} has what is no number: {error}") from None
        if len(matrix) != rows * columns or not np.isfinite(matrix).all():
            raise ModelError(
                f"{path}: the {what} has {len(matrix)} numbers, wanted {rows * columns} finite "
                "ones: it is cut off; get it again"
            )
        found.append(matrix.reshape(shape))
    if start != len(words):
        raise ModelError(f"{path}: {len(words) - start} words follow the eigenvalues")
    return found
