"""Small files in the formats in which makers of face models publish them, with a known face."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facemake import schemes
from facemake.backends.fit import builtin
from facemake.backends.fit.sources import ict_facekit

MODEL = builtin.load_builtin()
TOWARDS_VIEWER = np.array([1.0, -1.0, -1.0])
"""Takes our axes to x right, y up, z towards the viewer, and back."""


# ------------------------------------------------------------------------------- ICT-FaceKit


def ict_folder(folder: Path, extra: int = 60, identities: int = 3) -> Path:
    """FaceXModel with the built-in model's face at the kit's landmarks; in cm, y up.

    Four expressions; `extra` vertices beyond the face; quads and triangles.
    """
    rng = np.random.default_rng(1)
    count = ict_facekit.FACE_VERTICES + extra
    where = np.array(ict_facekit.LANDMARKS)

    def shape(points: np.ndarray, rest: np.ndarray) -> np.ndarray:
        out = rest.copy()
        out[where] = points / 10 * TOWARDS_VIEWER
        return out

    rest = rng.normal(size=(count, 3)) * 5
    neutral = shape(MODEL.mean, rest)
    folder.mkdir(parents=True, exist_ok=True)
    faces = ["f 1/1/1 2/2/2 3/3/3 4/4/4", "f 5 6 7", "f -1 -2 -3", f"f 1 2 {count}"]
    obj(folder / "generic_neutral_mesh.obj", neutral, faces)
    for i in range(identities):
        obj(folder / f"identity{i:03d}.obj", shape(MODEL.mean + MODEL.identity[i], rest), faces)
    for i, name in enumerate(("browDown_L", "jawOpen", "mouthSmile_L", "mouthSmile_R")):
        obj(folder / f"{name}.obj", shape(MODEL.mean + MODEL.expression[i], rest), faces)
    indices = {"expressions": ["jawOpen"], "idx_to_landmark_verts": where.tolist()}
    (folder / "vertex_indices.json").write_text(json.dumps(indices))
    return folder


def obj(path: Path, vertices: np.ndarray, faces: list[str]) -> None:
    lines = ["# a mesh", "mtllib some.mtl", *(f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in vertices)]
    path.write_text("\n".join([*lines, "vn 0 0 1", "vt 0 0", "usemtl skin", *faces]) + "\n")


# ------------------------------------------------------------------------------------ BFM 2009


@dataclass(frozen=True)
class Bfm:
    """A small Basel Face Model in the frame of its own files (y up), micrometres."""

    mean: np.ndarray  # (900, 3)
    identity: np.ndarray  # (199, 900, 3) of unit length
    identity_sd: np.ndarray  # (199,)
    triangles: np.ndarray  # (T, 3) from 0
    ids: np.ndarray  # (800,) vertices that the expressions have
    expression: np.ndarray  # (79, 800, 3) of unit length
    expression_sd: np.ndarray  # (79,)
    kept: np.ndarray  # (500,) of the 800
    landmarks: tuple[int, ...]  # of the 500

    @property
    def whole(self) -> np.ndarray:
        """(500,) the kept vertices among the 900."""
        return self.ids[self.kept]


def bfm() -> Bfm:
    """A face whose identity0 is a taller head and whose GE0 drops the lower lip."""
    rng = np.random.default_rng(2)
    inner = MODEL.mean[schemes.IBUG68_TO_IBUG51] * TOWARDS_VIEWER * 1000
    ids = np.sort(rng.permutation(900)[:800])
    kept = np.sort(rng.permutation(800)[:500])
    landmarks = rng.permutation(500)[:51]
    mean = rng.normal(size=(900, 3)) * [45e3, 55e3, 30e3] + [1e3, 2e3, 3e3]
    mean[ids[kept[landmarks]]] = inner + np.array([1e3, 2e3, 3e3])
    identity = rng.normal(size=(199, 900, 3))
    identity[0] = mean * [0, 1, 0]
    expression = rng.normal(size=(79, 800, 3))
    expression[0] = 0
    expression[0, kept[landmarks[40]], 1] = -1  # the lower lip, down
    # a grid of triangles whose normals look at the viewer or away, as they come
    triangles = rng.permutation(900)[: 3 * 200].reshape(-1, 3)
    return Bfm(
        mean=mean.astype(np.float32),
        identity=unit(identity),
        identity_sd=np.linspace(9e5, 1e3, 199),
        triangles=triangles,
        ids=ids,
        expression=unit(expression),
        expression_sd=np.linspace(4e5, 1e3, 79),
        kept=kept,
        landmarks=tuple(landmarks.tolist()),
    )


def unit(modes: np.ndarray) -> np.ndarray:
    return (modes / np.sqrt((modes**2).sum(axis=(1, 2), keepdims=True))).astype(np.float32)


def mat(model: Bfm) -> dict[str, np.ndarray]:
    """The arrays of 01_MorphableModel.mat."""
    return {
        "shapeMU": model.mean.reshape(-1, 1),
        "shapePC": model.identity.reshape(199, -1).T.copy(),
        "shapeEV": model.identity_sd.reshape(-1, 1).astype(np.float32),
        "tl": (model.triangles + 1).astype(np.float64),
    }


def bfm_raw(folder: Path, model: Bfm) -> Path:
    """The raw folder; its .mat file is empty (writing one takes SciPy)."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "01_MorphableModel.mat").write_bytes(b"")
    head = np.array([79], "<i4").tobytes()
    mean = np.full(3 * len(model.ids), 7, "<f4").tobytes()
    (folder / "Exp_Pca.bin").write_bytes(head + mean + model.expression.astype("<f4").tobytes())
    np.savetxt(folder / "std_exp.txt", model.expression_sd[None], fmt="%.9f")
    np.savetxt(folder / "ids_53215.dat", model.ids, fmt="%d")
    np.savetxt(folder / "w.dat", (3 * model.kept[:, None] + [1, 2, 3]).ravel(), fmt="%d")
    return folder


def bfm_prepared(folder: Path, model: Bfm) -> Path:
    """The folder that 3DI's preparation writes: the mean turned, the bases as they are."""
    (folder / "E").mkdir(parents=True, exist_ok=True)
    mean = model.mean[model.whole].astype(float)
    mean -= mean.mean(axis=0)
    spread = mean.std()
    mean = mean / spread * [1, -1, -1]
    left, right = model.landmarks[19], model.landmarks[28]
    scale = 89 / abs(mean[right, 0] - mean[left, 0])
    for i, axis in enumerate("XYZ"):
        np.savetxt(folder / f"{axis}0_mean.dat", scale * mean[:, i] + [-0.1, 2.0, 13.2][i])
        np.savetxt(folder / f"I{axis}.dat", model.identity[:, model.whole, i].T)
        np.savetxt(folder / "E" / f"E{axis}_79.dat", model.expression[:, model.kept, i].T)
    np.savetxt(folder / "sigma_alphas.dat", scale * 2 * model.identity_sd / spread)
    sigma = scale * model.expression_sd / 26000
    np.savetxt(folder / "E" / "sigma_epsilons_79_upperv2.dat", sigma)
    np.savetxt(folder / "E" / "sigma_epsilons_79_lowerv2.dat", -sigma)
    np.savetxt(folder / "li.dat", model.landmarks, fmt="%d")
    new = {old: i for i, old in enumerate(model.whole.tolist())}
    triangles = [
        [new[i] + 1 for i in t] for t in model.triangles.tolist() if all(i in new for i in t)
    ]
    np.savetxt(folder / "tl.dat", triangles, fmt="%d")
    return folder


# ----------------------------------------------------------------------------------- OpenFace


def openface(path: Path, scale: float = 1.0) -> Path:
    """A PDM text with the built-in model's mean face and modes, in mm over `scale`."""
    assert MODEL.pdm is not None
    modes, _ = np.linalg.qr(MODEL.pdm)
    eigenvalues = np.linspace(900, 4, 34)[None] / scale**2
    mean = (MODEL.mean + np.array([0.5, -3, 20])).T.reshape(-1, 1) / scale
    parts = (
        ("# The mean values of the components (in mm)", mean),
        ("# The principal components (eigenvectors)\n# of identity and expression", modes),
        ("# The eigenvalues (variances) corresponding to the bases", eigenvalues),
    )
    text = ""
    for comment, matrix in parts:
        rows = [" ".join(f"{v:.12g}" for v in row) for row in matrix]
        text += "\n".join([comment, *map(str, (*matrix.shape, 6)), *rows]) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path
