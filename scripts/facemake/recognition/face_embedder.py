"""FaceEmbedder: DINOv3's class token of a face's picture, from Python.

The picture is what `crop_face_from_frame` cuts. The vectors are those of the workflow's backend
`dinov3` for the same crop.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facemake.backends import torch_model
from facemake.backends.embed import Pixels
from facemake.backends.embed.dinov3 import CHIP, DIM, WEIGHTS, Dinov3, open_network
from facemake.backends.embed.vectors import embed_chips
from facemake.clones import HOW, find_clone
from facemake.crops import crop_face_from_frame, squashed
from facemake.errors import ModelError
from facemake.models import is_onnx, model, model_path
from facemake.pins import verify_pin
from facemake.recognition.arrays import as_rgb
from facemake.runtime.contexts import Closing

# after torch_model, which says in words that it is missing
import torch  # isort: skip


@dataclass(frozen=True)
class _Key:
    """What makes an embedder: the files and the device."""

    weights: Path
    sha256: str
    clone: Path | None
    device: str


class FaceEmbedder(Closing):
    """DINOv3's ViT-B/16 on pictures of faces; threads may share one.

    Making it runs the Python code of the clone, as `torch.hub.load(..., source="local")` does.

    Args:
        repo_dir: the folder of the user's clone of DINOv3; None: the one that FACEMAKE_DINOV3
            names. Not needed where `weights` is an ONNX network.
        weights: the .pth file of weights or an .onnx export, whose SHA-256 is pinned beside it;
            None: the registered file in a folder of FACEMAKE_MODELS.
        device: `mps`, `cuda` or `cpu`; None: the first of them that is there (an ONNX network
            computes on `cuda` or `cpu`).
        batch_size: at most so many faces at once on a GPU, which bounds its memory; on a CPU it is
            one at a time, so results hang on no batch.

    Attributes:
        device: where it computes, a `torch.device`.

    Raises:
        ModelError: clone, weights or device are missing or not what they should be; the message
            names all that is needed and where it is got.
    """

    def __init__(
        self,
        repo_dir: str | Path | None = None,
        weights: str | Path | None = None,
        device: str | torch.device | None = None,
        batch_size: int = torch_model.BATCH_ON_GPU,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}, and must be at least 1")
        key = _key(repo_dir, weights, device)
        self.device = torch.device(key.device)
        self._embedder = Dinov3(
            open_network(key.weights, key.sha256, key.device, key.clone, batch_size)
        )
        self._lock = threading.Lock()

    @staticmethod
    def crop_face_from_frame(
        frame_bgr: Pixels, bbox_xyxy: NDArray[np.float32] | list[float], padding: float = 0.2
    ) -> Image.Image:
        """The box of a face with some of what is around it; see `facemake.crop_face_from_frame`."""
        return crop_face_from_frame(frame_bgr, bbox_xyxy, padding)

    def get_embedding(self, face: Image.Image | Pixels) -> torch.Tensor:
        """The vector of a face.

        Args:
            face: its picture, Pillow's of 8 bits a colour or (H, W, 3) uint8 RGB.

        Returns:
            (768,) float32 of L2 norm 1, on the CPU.

        Raises:
            ValueError: it is no such picture.
            PassingError: the GPU's memory does not suffice.
        """
        return self.get_embeddings_batch([face])[0]

    def get_embeddings_batch(self, faces: Sequence[Image.Image | Pixels]) -> torch.Tensor:
        """The vectors of any number of faces.

        Args:
            faces: as `get_embedding` takes them.

        Returns:
            (n, 768) float32 of L2 norm 1, on the CPU.

        Raises:
            ValueError: one is no such picture.
            PassingError: the GPU's memory does not suffice.
        """
        chips = [squashed(as_rgb(face), CHIP) for face in faces]
        with self._lock:
            vectors = list(embed_chips(self._embedder, chips))
        return torch.from_numpy(np.array(vectors, np.float32).reshape(len(chips), DIM))

    def close(self) -> None:
        """Free the network; one of `get_embedder` is made again when it is next asked for."""
        with _shared_lock:
            for key in [key for key, one in _shared.items() if one is self]:
                del _shared[key]
        with self._lock:
            self._embedder.close()


def get_device() -> torch.device:
    """MPS, CUDA or the CPU: the first that this machine has."""
    return torch.device(torch_model.best_device())


def get_embedder(
    repo_dir: str | Path | None = None,
    weights: str | Path | None = None,
    device: str | torch.device | None = None,
) -> FaceEmbedder:
    """The one embedder of this process for a network and a device, made when first asked for.

    Args:
        repo_dir: see `FaceEmbedder`.
        weights: likewise.
        device: likewise.

    Raises:
        ModelError: see `FaceEmbedder`.
    """
    key = _key(repo_dir, weights, device)
    with _shared_lock:
        if key not in _shared:
            _shared[key] = FaceEmbedder(repo_dir, weights, device)
        return _shared[key]


_shared: dict[_Key, FaceEmbedder] = {}
_shared_lock = threading.RLock()


def _key(
    repo_dir: str | Path | None, weights: str | Path | None, device: str | torch.device | None
) -> _Key:
    if weights is None:
        sha256 = model(WEIGHTS).sha256
        if sha256 is None:
            raise ModelError(f"the weights of DINOv3 are not on this machine: {HOW}")
        path = model_path(WEIGHTS)
    else:
        path = Path(weights).expanduser().absolute()
        if not path.is_file():
            raise ModelError(f"there is no file {path}: {HOW}")
        sha256 = verify_pin(path)
    onnx = is_onnx(path)
    clone = None if onnx else find_clone(repo_dir)
    return _Key(path, sha256, clone, str(device) if device is not None else _default_device(onnx))


def _default_device(onnx: bool) -> str:
    """Of an ONNX network: whether onnxruntime is the build for a GPU, which is another package."""
    if not onnx:
        return torch_model.best_device()
    import onnxruntime

    able = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    return "cuda" if able and torch.cuda.is_available() else "cpu"
