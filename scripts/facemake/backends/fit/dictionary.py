"""3DI's localized expressions, from the basis file of the user's own 3DI or 3DI-lite install.

3DI keeps a dictionary a region of the face (Sariyanidi et al., "Beyond FACS: Data-driven Facial
Expression Dictionaries", FG 2025): rows of unit length, learnt from displacements of the region's
landmarks. A frame's coefficients are the sparse code of its displacement x by the dictionary D,

    c = argmin |x - c D|^2 / 2 + alpha |c|_1,    c >= 0 where the file says so,

which is what scikit-learn's `DictionaryLearning.transform` gives with `lasso_cd` or `lasso_lars`
(its `sparse_encode` divides alpha by the number of features, and its Lasso the squares likewise).

**What is known, and from where.** That the files are such objects, which attributes they have and
how they are applied is in public code: `compute_local_exp_coefficients.py` of compsygroup/3DI and
sariyanidi/FacialBasis, and the script that learns them (`lasso_cd`, alpha 0.4, no constraint on
signs). The files themselves are not public in a form that is looked into here, so nothing of that
is taken for granted: algorithm, alpha and sign are read from the user's file, and what is not
described above is refused. A displacement is all x, then all y, then all z of the region's points,
in mm; in the axes of `model` (x image-right, y down, z forward), because that is how 3DI's programs
add its expressions to the mean face (`sources.bfm2009`). 3DI's smoothing comes before; ours is that
of the fit. Its `stats` (median, quartiles) and the normalisation by them are not done here.

**The file.** 3DI's .npy files are pickled scikit-learn objects, and nothing is unpickled from a
file that someone else made. The user turns it into plain arrays, once, in the environment of their
3DI, with `EXPORT`; what is read is an .npz file of

| key | what |
|---|---|
| `use_abs` | True: the dictionaries are of displacements, not of their changes in time |
| `regions` | names of `REGIONS`, in order |
| `REGION` | (K, 3P) a row a coefficient, for the P points of the region |
| `REGION_params` | JSON: `transform_algorithm`, `transform_alpha`, `positive_code`, `split_sign` |

Columns are named as 3DI's are: lb0, lb1, ... by region and number; left and right are the image's.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from facemake import schemes
from facemake.backends.fit import archive, linalg, solver
from facemake.backends.fit.model import LinearFaceModel
from facemake.errors import ModelError

Array = NDArray[np.float64]

_GROUPS = schemes.IBUG51_GROUPS
REGIONS: Mapping[str, schemes.Indices] = MappingProxyType(
    {**_GROUPS, "mo": np.concatenate([_GROUPS["ul"], _GROUPS["ll"]])}
)
"""Region -> its points of iBUG-51, in 3DI's order: brows, nose, eyes, upper and lower lip, mouth.

The mouth of 3DI-lite has the points of the upper lip first.
"""

ALGORITHMS = ("lasso_cd", "lasso_lars")
"""Two ways to the same minimum."""

UNIT = "3DI's localized basis {name}: weight of a movement of unit length, mm; image sides"

SWEEPS = 300
"""Passes of the coordinate descent: past the tolerance that scikit-learn stops at (1e-4)."""

EXPORT = (
    'python -c "import json, sys, numpy as np; '
    "b = np.load(sys.argv[1], allow_pickle=True).item(); "
    "f = list(b.get('chosen_feats', [k for k in 'lb rb no le re ul ll mo'.split() if k in b])); "
    "p = 'transform_algorithm transform_alpha positive_code split_sign'.split(); "
    "np.savez(sys.argv[2], use_abs=b['use_abs'], regions=f, "
    "**{k: b[k].components_ for k in f}, "
    "**{k + '_params': json.dumps({a: getattr(b[k], a) for a in p}) for k in f})\" "
)
"""What turns 3DI's file into one of ours, in the user's own environment; two paths follow it."""


@dataclass(frozen=True, eq=False)
class Dictionary:
    """The dictionary of one region."""

    region: str
    rows: Array
    """(K, 3P): what each coefficient does at 1 to the P points, all x, all y, all z, mm."""
    alpha: float
    """Weight of the L1 norm, mm."""
    positive: bool
    """Whether coefficients may not be negative."""

    def __call__(self, displacement: Array) -> Array:
        """(n, K) coefficients of displacements (n, P, 3) mm; n a multiple of PAD."""
        n, k = len(displacement), len(self.rows)
        x = np.ascontiguousarray(displacement.transpose(0, 2, 1)).reshape(n, 1, -1)
        # a coefficient of either sign is the difference of two that are not negative
        rows = self.rows if self.positive else np.concatenate([self.rows, -self.rows])
        gram = (rows[:, None, :] * rows[None, :, :]).sum(axis=-1)
        gradient = linalg.weighted_gram(x, np.broadcast_to(rows, (n, *rows.shape)))[:, 0]
        gradient = gradient - self.alpha
        found = linalg.box_quadratic(
            np.broadcast_to(gram, (n, *gram.shape)),
            gradient,
            np.zeros_like(gradient),
            np.full_like(gradient, np.inf),
            SWEEPS,
        )
        return found if self.positive else found[:, :k] - found[:, k:]


@dataclass(frozen=True, eq=False)
class LocalBasis:
    """A localized basis of 3DI."""

    name: str
    """Of the file, without its ending."""
    sha256: str
    """Of the file."""
    dictionaries: tuple[Dictionary, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The coefficients, by region and number."""
        return tuple(f"{d.region}{i}" for d in self.dictionaries for i in range(len(d.rows)))

    @property
    def unit(self) -> str:
        """What a coefficient is."""
        return UNIT.format(name=self.name)

    def localize(self, expression: ArrayLike, model: LinearFaceModel) -> Array:
        """(n, E) coefficients of a model to (n, K) of this basis; rows of NaN stay NaN.

        The basis was learnt on BFM 2009. It sees displacements of landmarks alone, so that any
        model will do; only with BFM 2009 do they come from the expressions that it was learnt on.

        Args:
            expression: (n, E).
            model: whose coefficients they are.
        """
        e = np.asarray(expression, dtype=np.float64)
        n = len(e)
        known = np.isfinite(e).all(axis=1)
        padded = np.zeros((n + (-n % solver.PAD), e.shape[1]))
        padded[:n] = np.where(known[:, None], e, 0.0)
        moved = linalg.combine(padded, np.ascontiguousarray(model.expression[:, model.inner]))
        codes = [d(moved[:, REGIONS[d.region]]) for d in self.dictionaries]
        found = np.concatenate(codes, axis=1)[:n]
        found[~known] = np.nan
        return found


def load_basis(path: Path) -> LocalBasis:
    """The localized basis in a file of plain arrays.

    Raises:
        ModelError: it is not such a file (a file of 3DI's as it is, most of all: the message has
            the command that turns it into one), or holds what this module does not know.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"the localized basis {path} cannot be read: {error.strerror}") from None
    if path.suffix == ".npy" or not data.startswith(b"PK"):
        raise ModelError(
            f"{path} is no .npz file of plain arrays. A basis of 3DI's is a pickled object, which "
            "facemake does not open; turn it into plain arrays in the environment of your 3DI: "
            f"{EXPORT}{path} {path.with_suffix('.npz')}"
        )
    where = f"the localized basis {path}"
    try:
        content = archive.read(data, str(path))
    except ModelError as error:
        raise ModelError(
            f"{where} cannot be read as plain arrays ({error.__cause__}); make it again with: "
            f"{EXPORT}BASIS.npy BASIS.npz"
        ) from None
    if not bool(_required(content, "use_abs", where)):
        raise ModelError(
            f"{where} is of changes from frame to frame (use_abs is False); 3DI's own program does "
            "not take such a basis either"
        )
    regions = [str(r) for r in np.atleast_1d(_required(content, "regions", where))]
    unknown = [r for r in regions if r not in REGIONS]
    if unknown or len(set(regions)) != len(regions) or not regions:
        raise ModelError(
            f"{where} has the regions {', '.join(regions)}; there are {', '.join(REGIONS)}, each "
            "at most once"
        )
    found = tuple(_dictionary(content, region, where) for region in regions)
    return LocalBasis(path.stem, hashlib.sha256(data).hexdigest(), found)


def _required(content: archive.Content, key: str, where: str) -> NDArray[Any]:
    if key not in content:
        raise ModelError(f"{where} has no {key}; make it again with: {EXPORT}BASIS.npy BASIS.npz")
    return content[key]


def _dictionary(content: archive.Content, region: str, where: str) -> Dictionary:
    rows = _required(content, region, where)
    width = 3 * len(REGIONS[region])
    if rows.ndim != 2 or rows.shape[1] != width or not len(rows) or rows.dtype.kind != "f":
        raise ModelError(
            f"{where}: {region} has shape {rows.shape} and type {rows.dtype}, wanted floating "
            f"point (count, {width}): x, y and z of {width // 3} points"
        )
    if not np.isfinite(rows).all() or not (rows != 0).any(axis=1).all():
        raise ModelError(f"{where}: {region} holds values that are not finite, or a row of zeros")
    try:
        params = dict(json.loads(str(_required(content, f"{region}_params", where))))
    except (TypeError, ValueError):
        raise ModelError(f"{where}: {region}_params is not a JSON object") from None
    wanted = {"transform_algorithm", "transform_alpha", "positive_code", "split_sign"}
    if wanted - params.keys():
        raise ModelError(
            f"{where}: {region}_params lacks {', '.join(sorted(wanted - params.keys()))}; without "
            "it what 3DI does with the dictionary is not known"
        )
    alpha, algorithm = params["transform_alpha"], params["transform_algorithm"]
    if algorithm not in ALGORITHMS:
        raise ModelError(
            f"{where}: {region} is coded by {algorithm!r}; this is done for {', '.join(ALGORITHMS)}"
        )
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not 0 <= alpha < np.inf:
        raise ModelError(
            f"{where}: transform_alpha of {region} is {alpha!r}, wanted a weight in mm"
        )
    if params["split_sign"] is not False or not isinstance(params["positive_code"], bool):
        raise ModelError(
            f"{where}: {region} has split_sign {params['split_sign']!r} and positive_code "
            f"{params['positive_code']!r}; done are false, and either"
        )
    return Dictionary(region, rows.astype(np.float64), float(alpha), params["positive_code"])
