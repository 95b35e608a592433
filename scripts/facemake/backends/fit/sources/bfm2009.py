"""Basel Face Model 2009 with the expressions of Exp_Pca.bin: the model that 3DI fits.

Both come under a licence, are never fetched and must not be passed on; what is built from them
neither. Read from either of two folders of the user's own:

* **raw**: `01_MorphableModel.mat` (MATLAB 5; needs SciPy, the extra `bfm`), `Exp_Pca.bin`,
  `std_exp.txt`, and the two lists of vertices that come with 3DI, `ids_53215.dat` (from 0, of the
  53490 vertices of the model) and `w.dat` (from 1, coordinates of those 53215 vertices). The result
  has the 23660 vertices of w.dat.
* **prepared**: what 3DI's installation makes of them (`BFMmm-19830`, `BFMmm-23660`), text files.

199 identities, 79 expressions GE0 to GE78, the 51 landmarks of 3DI. Coefficients are in 3DI's
scaling: mm along modes of unit length, with 89 mm between the outer eye corners (along x).

* `identity_sd` is the model's own standard deviation; 3DI's `sigma_alphas` is twice that.
* `expression_sd` is 3DI's `sigma_epsilons`, standard deviation of std_exp.txt over 26000 in units
  of the mean shape's own spread; expressions are bounded, as 3DI bounds them, to 2.5 of it.

**Axes.** In the raw files mean, identity and expression share one frame: x right, y up, z towards
the viewer; the model is their sum, so one turn takes all three to our axes: (x, y, z) to
(x, -y, -z), half a turn of the head about x. 3DI's preparation (`prepare_BFM.py`) writes the *mean*
so turned and the bases as they are in the raw files. Hence here: a prepared mean is taken as it is,
and y and z of prepared bases change their sign; a test writes both kinds of folder from one model
and gets the same model from both. 3DI's own programs (`save_identity_and_shape.py`, `renderer.cu`,
`morphable_model.py`) add the unturned bases to the turned mean: the vectors and units of GE0 to
GE78 are the same here, but a coefficient that 3DI estimated moves x as here and y and z the other
way, so numbers of the two are not to be compared one by one.

Sources: Paysan et al., AVSS 2009; sariyanidi/FacialBasis `prepare_BFM.py` for the arithmetic.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facemake import facemodels
from facemake.backends.fit.archive import Content
from facemake.backends.fit.model import EYE_CORNERS_MM
from facemake.errors import ModelError

Array = NDArray[np.float64]

NAME = "bfm2009"
LICENCE = (
    "Basel Face Model licence (research use by the licensee; not to be distributed), "
    "https://faces.dmi.unibas.ch/bfm/"
)
CITATION = (
    "Paysan et al., A 3D Face Model for Pose and Illumination Invariant Face Recognition, AVSS "
    "(2009); expressions: Guo et al., CNN-based Real-time Dense Face Reconstruction, IEEE TPAMI 41 "
    "(2019)"
)

N_IDENTITY, N_EXPRESSION = 199, 79
EXPRESSION_VERTICES = 53215
"""Vertices of Exp_Pca.bin."""

LANDMARKS = (
    *(19106, 19413, 19656, 19814, 19981, 20671, 20837, 20995, 21256, 21516),  # brows
    *(8161, 8175, 8184, 8190, 6758, 7602, 8201, 8802, 9641),  # nose
    *(1831, 3759, 5049, 6086, 4545, 3515, 10455, 11482, 12643, 14583, 12915, 11881),  # eyes
    *(5522, 6154, 7375, 8215, 9295, 10523, 10923, 9917, 9075, 8235, 7395, 6548),  # outer lip
    *(5908, 7264, 8224, 9184, 10665, 8948, 8228, 7508),  # inner lip
)
"""The vertex of each iBUG-51 landmark in the mesh of 23660 vertices, as 3DI has them."""

_EYE_L, _EYE_R = 19, 28  # outer eye corners of iBUG-51
_PLAUSIBLE_MICRONS = (65e3, 120e3)
_EXPRESSION_SCALE = 26000.0
"""3DI's sigma_epsilons is std_exp.txt over this, before the scaling to mm."""
_BOUND = 2.5
"""3DI's bound of an expression coefficient in units of sigma_epsilons."""
_BASEL = "https://faces.dmi.unibas.ch/bfm/ (licence of your own)"
_GUO = "https://github.com/Juyong/3DFace"
_3DI = "the folder raw of 3DI's or FacialBasis's installation"
_RAW = {
    "01_MorphableModel.mat": _BASEL,
    "Exp_Pca.bin": _GUO,
    "std_exp.txt": _GUO,
    "ids_53215.dat": _3DI,
    "w.dat": _3DI,
}
_PREPARED = (
    *(f"{axis}0_mean.dat" for axis in "XYZ"),
    *(f"I{axis}.dat" for axis in "XYZ"),
    *(f"E/E{axis}_{N_EXPRESSION}.dat" for axis in "XYZ"),
    "sigma_alphas.dat",
    f"E/sigma_epsilons_{N_EXPRESSION}_upperv2.dat",
    f"E/sigma_epsilons_{N_EXPRESSION}_lowerv2.dat",
    "tl.dat",
)


def read(
    source: Path,
    expression_vertices: int = EXPRESSION_VERTICES,
    landmarks: tuple[int, ...] = LANDMARKS,
) -> Content:
    """The model file's content from a raw or a prepared folder.

    Args:
        source: the folder, or 01_MorphableModel.mat in it.
        expression_vertices: vertices of Exp_Pca.bin.
        landmarks: the 51 vertices of the landmarks, where the folder has no `li.dat`.

    Raises:
        ModelError: files are missing (each is named with where to get it), are cut off or have
            other shapes or units than they should.
    """
    folder = source.parent if source.is_file() else source
    if (folder / "X0_mean.dat").exists():
        return _from_prepared(folder, landmarks)
    for inside in (folder, folder / "raw", folder / "data" / "raw"):
        if any((inside / name).exists() for name in _RAW):
            return _from_raw(inside, expression_vertices, landmarks)
    raise ModelError(
        f"{folder} holds neither the raw files ({', '.join(_RAW)}) nor a prepared folder of 3DI "
        f"(X0_mean.dat and others): wanted is {facemodels.SOURCES[NAME]}"
    )


def _content(
    mean: Array,
    identity: NDArray[np.float32],
    expression: NDArray[np.float32],
    identity_sd: Array,
    expression_sd: Array,
    bounds: tuple[Array, Array],
    landmarks: NDArray[np.int64],
    triangles: NDArray[np.int64],
) -> Content:
    """Shapes in mm, in the frame of the raw files, with a common origin near the head."""
    if len(triangles) and (triangles.min() < 0 or triangles.max() >= len(mean)):
        raise ModelError(f"tl.dat names triangles of vertices beyond the {len(mean)} that are")
    return {
        "neutral": (mean - mean[landmarks].mean(axis=0)).astype(np.float32),
        # modes of unit length: half precision rounds a face by a thousandth of a millimetre
        "identity": identity.astype(np.float16),
        "expression": expression.astype(np.float16),
        "identity_names": np.array([f"identity{i:03d}" for i in range(len(identity))]),
        "expr_names": np.array([f"GE{i}" for i in range(len(expression))]),
        "expression_regions": np.array([""] * len(expression)),
        "identity_sd": identity_sd.astype(np.float32),
        "expression_sd": expression_sd.astype(np.float32),
        "expression_lower": bounds[0].astype(np.float32),
        "expression_upper": bounds[1].astype(np.float32),
        "name": np.array(NAME),
        "unit": np.array("mm"),
        "axes": np.array("x-right y-up z-backward"),
        "licence": np.array(LICENCE),
        "citation": np.array(CITATION),
        "landmarks_ibug51": landmarks.astype(np.int32),
        "triangles": triangles.astype(np.int32),
    }


# ------------------------------------------------------------------------------- the raw files


def _from_raw(folder: Path, expression_vertices: int, landmarks: tuple[int, ...]) -> Content:
    missing = [f"{n} (from {where})" for n, where in _RAW.items() if not (folder / n).is_file()]
    if missing:
        raise ModelError(f"{folder} lacks {'; '.join(missing)}")
    ids = _whole(folder / "ids_53215.dat")
    if ids.shape != (expression_vertices,):
        raise ModelError(
            f"{folder / 'ids_53215.dat'} has {ids.size} numbers, wanted {expression_vertices}"
        )
    kept = _vertices_of(folder / "w.dat", expression_vertices)
    if max(landmarks) >= len(kept):
        raise ModelError(
            f"{folder / 'w.dat'} has {len(kept)} vertices, and landmarks are vertices up to "
            f"{max(landmarks)}: it is not 3DI's list"
        )
    mat = _read_mat(folder / "01_MorphableModel.mat")
    count = mat["shapeMU"].size // 3
    if ids.min() < 0 or ids.max() >= count:
        raise ModelError(
            f"{folder / 'ids_53215.dat'} names vertices up to {ids.max()}, and 01_MorphableModel"
            f".mat has 0 to {count - 1}: the two files are not of one model"
        )
    modes = _read_expressions(folder / "Exp_Pca.bin", expression_vertices)
    deviations = _numbers(folder / "std_exp.txt", (N_EXPRESSION,))
    mean = mat["shapeMU"].reshape(-1, 3).astype(np.float64)[ids[kept]]
    eyes = float(abs(mean[landmarks[_EYE_R], 0] - mean[landmarks[_EYE_L], 0]))
    if not _PLAUSIBLE_MICRONS[0] < eyes < _PLAUSIBLE_MICRONS[1]:
        raise ModelError(
            f"{folder / '01_MorphableModel.mat'}: {eyes:.3g} between the outer eye corners; the "
            "model is in micrometres, where an adult has about 89000"
        )
    millimetres = EYE_CORNERS_MM / eyes
    spread = float((mean - mean.mean(axis=0)).std())
    identity = mat["shapePC"].reshape(count, 3, N_IDENTITY)[ids[kept]]
    expression_sd = millimetres * spread / _EXPRESSION_SCALE * deviations
    return _content(
        mean=millimetres * mean,
        identity=np.asarray(identity.transpose(2, 0, 1), np.float32),
        expression=modes[:, kept],
        identity_sd=millimetres * mat["shapeEV"].ravel().astype(np.float64),
        expression_sd=expression_sd,
        bounds=(-_BOUND * expression_sd, _BOUND * expression_sd),
        landmarks=np.array(landmarks),
        triangles=_among(mat["tl"].astype(np.int64) - 1, ids[kept], count),
    )


def _read_mat(path: Path) -> dict[str, NDArray[Any]]:
    """The shapes of 01_MorphableModel.mat, in micrometres, and its triangles from 1.

    Returns:
        shapeMU (3V, 1) and shapePC (3V, 199), x y z of a vertex in turn, shapeEV (199, 1) standard
        deviations, tl (T, 3).

    Raises:
        ModelError: SciPy is not installed, the file is no MATLAB 5 file, or its shapes are others.
    """
    try:
        from scipy.io import loadmat
        from scipy.io.matlab import MatReadError
    except ImportError:
        raise ModelError(
            f"reading {path.name} needs SciPy, which is in the extra bfm: pip install "
            "'facemake[bfm]' (or scipy==1.17.1 into this environment)"
        ) from None
    wanted = ("shapeMU", "shapePC", "shapeEV", "tl")
    try:
        found = loadmat(path, variable_names=wanted)
    except (MatReadError, ValueError, TypeError, OSError, EOFError, NotImplementedError) as error:
        raise ModelError(
            f"{path} is not a MATLAB 5 file: {error}; get it again from {_BASEL}"
        ) from None
    missing = [name for name in wanted if name not in found]
    if missing:
        raise ModelError(f"{path} lacks {', '.join(missing)}: it is not the Basel Face Model 2009")
    mat = {name: np.asarray(found[name]) for name in wanted}
    length = mat["shapeMU"].size
    shapes = {
        "shapeMU": (length, 1),
        "shapePC": (length, N_IDENTITY),
        "shapeEV": (N_IDENTITY, 1),
        "tl": (len(mat["tl"]), 3),
    }
    for name, shape in shapes.items():
        if mat[name].shape != shape or length % 3 or mat[name].dtype.kind not in "fiu":
            raise ModelError(
                f"{path}: {name} has shape {mat[name].shape}, wanted {shape} of numbers (the "
                "length of shapeMU is three times the vertices)"
            )
    return mat


def _read_expressions(path: Path, vertices: int) -> NDArray[np.float32]:
    """(79, V, 3) modes of Exp_Pca.bin.

    The file is an int32, the number of modes; a mean of 3V float32, which 3DI leaves out and so is
    left out here; then each mode's 3V float32.

    Raises:
        ModelError: the file is cut off or has another number of modes.
    """
    with path.open("rb") as handle:
        head = np.fromfile(handle, "<i4", 1)
        if head.size and head[0] != N_EXPRESSION:
            raise ModelError(f"{path} has {head[0]} modes, wanted {N_EXPRESSION}: get it at {_GUO}")
        wanted = 4 + 4 * 3 * vertices * (1 + N_EXPRESSION)
        size = path.stat().st_size
        if size != wanted:
            raise ModelError(
                f"{path} has {size} bytes, wanted {wanted} ({N_EXPRESSION} modes of {vertices} "
                f"vertices and their mean): it is cut off or another file; get it at {_GUO}"
            )
        handle.seek(4 * 3 * vertices, 1)
        modes = np.fromfile(handle, "<f4")
    return modes.reshape(N_EXPRESSION, vertices, 3)


def _vertices_of(path: Path, vertices: int) -> NDArray[np.int64]:
    """The vertices (from 0) of a list of coordinates (from 1): x, y and z of each in turn.

    Raises:
        ModelError: the list is not of that kind.
    """
    w = _whole(path)
    x = w[0::3] - 1
    sound = w.size % 3 == 0 and w.size > 0 and bool((x % 3 == 0).all())
    if sound:
        sound = bool((w[1::3] == w[0::3] + 1).all() and (w[2::3] == w[0::3] + 2).all())
    if not sound or x.min() < 0 or x.max() >= 3 * vertices:
        raise ModelError(
            f"{path} is not a list of coordinates, x, y and z of a vertex in turn, numbered from 1 "
            f"to {3 * vertices}; it comes with 3DI"
        )
    return x // 3


def _among(triangles: NDArray[np.int64], kept: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """The triangles (T, 3) of whole vertices 0 to count-1 that have only kept ones, renumbered."""
    new = np.full(count, -1, np.int64)
    new[kept] = np.arange(len(kept))
    if len(triangles) and (triangles.min() < 0 or triangles.max() >= count):
        raise ModelError(f"the triangles (tl) name vertices beyond the {count} that are there")
    renumbered = new[triangles]
    return np.asarray(renumbered[(renumbered >= 0).all(axis=1)])


# -------------------------------------------------------------------------- the prepared folder


def _from_prepared(folder: Path, landmarks: tuple[int, ...]) -> Content:
    missing = [name for name in _PREPARED if not (folder / name).is_file()]
    if missing:
        raise ModelError(
            f"{folder} lacks {', '.join(missing)}: it is not a folder that 3DI's preparation of "
            "the Basel Face Model wrote whole; run that again"
        )
    count = len(_numbers(folder / "X0_mean.dat", (-1,)))
    mean = np.stack([_numbers(folder / f"{a}0_mean.dat", (count,)) for a in "XYZ"], axis=-1)
    turned = np.array([1.0, -1.0, -1.0])

    def basis(pattern: str, modes: int) -> NDArray[np.float32]:
        return np.stack(
            [
                _numbers(folder / pattern.format(a), (count, modes)).astype(np.float32).T
                for a in "XYZ"
            ],
            axis=-1,
        )

    upper = _numbers(folder / _PREPARED[-3], (N_EXPRESSION,))
    lower = _numbers(folder / _PREPARED[-2], (N_EXPRESSION,))
    triangles = _whole(folder / "tl.dat")
    if triangles.size % 3:
        raise ModelError(f"{folder / 'tl.dat'} has {triangles.size} numbers, wanted three a line")
    return _content(
        # back to the frame of the raw files, in which the bases are
        mean=mean * turned,
        identity=basis("I{}.dat", N_IDENTITY),
        expression=basis(f"E/E{{}}_{N_EXPRESSION}.dat", N_EXPRESSION),
        identity_sd=_numbers(folder / "sigma_alphas.dat", (N_IDENTITY,)) / 2,
        expression_sd=upper,
        bounds=(_BOUND * lower, _BOUND * upper),
        landmarks=_landmarks_of(folder, landmarks, count),
        triangles=triangles.reshape(-1, 3) - 1,
    )


def _landmarks_of(folder: Path, landmarks: tuple[int, ...], count: int) -> NDArray[np.int64]:
    """The 51 vertices of li.dat; of the mesh of 23660 vertices where there is no such file."""
    path = folder / "li.dat"
    if path.is_file():
        found = _whole(path)
        if found.shape != (51,) or found.min() < 0 or found.max() >= count:
            raise ModelError(
                f"{path} has {found.size} numbers from {found.min()} to {found.max()}, wanted 51, "
                f"each a vertex from 0 to {count - 1}"
            )
        return found
    if count > max(landmarks):  # the mesh of 23660 vertices
        return np.array(landmarks)
    raise ModelError(
        f"{folder} lacks li.dat, the vertices of the 51 landmarks: run 3DI's preparation again, "
        "which writes it in newer versions"
    )


def _numbers(path: Path, shape: tuple[int, ...]) -> Array:
    """Numbers of a text file, -1 for any length.

    Raises:
        ModelError: it is no text of numbers, has another shape, or a value that is not finite.
    """
    try:
        found: Array = np.loadtxt(path, ndmin=2 if len(shape) == 2 else 1)
    except (ValueError, UnicodeDecodeError) as error:
        raise ModelError(f"{path} is not a text file of numbers: {error}") from None
    if len(shape) == 1:
        found = found.ravel()
    if found.ndim != len(shape) or any(
        want not in (-1, have) for want, have in zip(shape, found.shape, strict=True)
    ):
        raise ModelError(f"{path} has shape {found.shape}, wanted {shape}")
    if not np.isfinite(found).all() or not found.size:
        raise ModelError(f"{path} has values that are not finite, or none")
    return found


def _whole(path: Path) -> NDArray[np.int64]:
    """All whole numbers of a text file, in a row; raises as `_numbers`."""
    found = _numbers(path, (-1,))
    if (found != np.rint(found)).any():
        raise ModelError(f"{path} has numbers that are not whole")
    return found.astype(np.int64)
