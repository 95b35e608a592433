"""DINOv3's ViT-B/16 (Simeoni et al. 2025): the class token, 768-d.

It is a network for pictures of anything and was taught no identities: faces of one person are near
each other in it as pictures that look alike are, by pose, light and hair as much as by who it is.

Code and weights are Meta's, under a licence that each user accepts for themselves: the network is
made by the user's clone (`facemake.clones`), or it is an ONNX export of the user's. Its chip is the
detector's box with 20 % on each side, squashed to 256 px, as `facemake.crops` cuts it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from facemake.backends.embed import Face, Pixels
from facemake.backends.embed.chips import check_box, check_picture, outside
from facemake.backends.embed.vectors import unit_or_refused
from facemake.clones import find_clone
from facemake.crops import cut_box
from facemake.errors import ModelError
from facemake.models import is_onnx, model_path
from facemake.models import model as registered

if TYPE_CHECKING:
    import torch

FUNCTION = "dinov3_vitb16"
"""Of the clone's hubconf.py."""
WEIGHTS = "dinov3_vitb16"
"""Of the model registry."""
DIM = 768
CHIP = 256
PADDING = 0.2
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
"""ImageNet's, of colours of 0 to 1."""


class Network(Protocol):
    """From (n, 256, 256, 3) uint8 RGB to (n, 768) float32."""

    batch_size: int

    def __call__(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The class tokens of any number of pictures."""
        ...

    def close(self) -> None:
        """Free it."""
        ...


class Dinov3:
    """The network on chips of faces.

    Args:
        network: from chips to class tokens.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        self.batch_size = network.batch_size

    def chip(self, rgb: Pixels, face: Face) -> Pixels:
        """Cut the detector's box with padding; see `Embedder`."""
        check_picture(rgb)
        box = face.square if face.bbox is None else face.bbox
        check_box(box.tolist())
        crop = cut_box(rgb, box, PADDING, CHIP)
        if crop is None:
            raise outside(box.tolist(), rgb.shape)
        return crop.pixels

    def __call__(self, chips: Sequence[Pixels]) -> NDArray[np.float32]:
        """Embed chips; see `Embedder`."""
        return unit_or_refused(self._network(np.stack(chips)), FUNCTION)

    def close(self) -> None:
        """Free the network."""
        self._network.close()


class OnnxNetwork:
    """An ONNX export: (N, 3, 256, 256) float32 by ImageNet's mean and deviation to class tokens.

    Its class tokens are its output (N, 768) or, where it has none such, the first of the tokens in
    its output (N, tokens, 768).

    Args:
        path: its file.
        device: `cpu` or `cuda`.
        batch_size: at most so many faces at once on a GPU; None: the usual number.

    Raises:
        DeviceError: the device is not there.
        ModelError: it is no such network.
    """

    def __init__(self, path: Path, device: str, batch_size: int | None = None) -> None:
        try:
            from facemake.backends.onnx_model import OnnxModel
        except ModuleNotFoundError as error:
            raise ModelError(
                f"{path} needs the package {error.name}, which is not installed: `make onnx`, or "
                "pip install 'facemake[onnx]'"
            ) from None

        self._model = OnnxModel(path, device, batch_size)
        wanted = (3, CHIP, CHIP)
        shape = self._model.input_shape
        ranks = [_rank(output) for output in self._model.output_shapes]
        if any(size not in (None, want) for size, want in zip(shape, wanted, strict=True)) or not (
            {2, 3} & set(ranks)
        ):
            raise ModelError(
                f"{path} is no export of DINOv3's ViT-B/16: it takes (N, {shape}) and gives "
                f"{self._model.output_shapes}; wanted is (N, 3, {CHIP}, {CHIP}) float32 to "
                f"(N, {DIM}) or (N, tokens, {DIM})"
            )
        self._output = ranks.index(2) if 2 in ranks else ranks.index(3)
        self._path = path
        self.batch_size = self._model.batch_size

    def __call__(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See `Network`."""
        found = np.concatenate([self._tokens(some) for some in self._model.portions(pictures)])
        return checked(found, str(self._path))

    def _tokens(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        given = normalized(pictures.transpose(0, 3, 1, 2).astype(np.float32), *_constants())
        found = self._model(np.ascontiguousarray(given))[self._output]
        return found if found.ndim == 2 else found[:, 0]

    def close(self) -> None:
        """Free it."""
        self._model.close()


def _rank(shape: tuple[int | str | None, ...]) -> int:
    """Of an output that may be tokens; 0 of another."""
    return len(shape) if shape and (not isinstance(shape[-1], int) or shape[-1] == DIM) else 0


class CloneNetwork:
    """The clone's network with weights of a file.

    Args:
        weights: the file, hashed before.
        sha256: of it.
        clone: the clone's folder; its code is run.
        device: `cpu`, `cuda` or `mps`.
        batch_size: at most so many faces at once on a GPU; None: the usual number.

    Raises:
        ModelError: PyTorch or the device is not there, the clone's function is not or fails, or
            the weights are not its own.
    """

    def __init__(
        self, weights: Path, sha256: str, clone: Path, device: str, batch_size: int | None = None
    ) -> None:
        from facemake.backends import torch_model

        published = re.search(r"-([0-9a-f]{8})\.pth$", weights.name)
        if published and not sha256.startswith(published[1]):
            raise ModelError(
                f"{weights} has the SHA-256 {sha256}, and by its name it starts with "
                f"{published[1]}: it is cut short or was changed; get it again"
            )
        torch_model.require(device)
        network = network_of(clone)
        torch_model.load_weights(network, weights, torch_model.read_weights(weights))
        import torch

        mean, std = (torch.tensor(c, device=device).view(3, 1, 1) for c in (MEAN, STD))
        self._model = torch_model.TorchModel(
            network,
            lambda pixels: normalized(pixels, mean, std),
            device,
            batch_size or torch_model.BATCH_ON_GPU,
        )
        self._clone = clone
        self.batch_size = self._model.batch_size

    def __call__(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See `Network`."""
        return checked(self._model(pictures), f"{FUNCTION} of {self._clone}")

    def close(self) -> None:
        """Free it."""
        self._model.close()


def normalized(pixels: Any, mean: Any, std: Any) -> Any:
    """(n, 3, H, W) float32 of 0 to 255, array or tensor, as torchvision's transforms have it.

    Args:
        pixels: RGB.
        mean: (3, 1, 1) float32, of colours of 0 to 1.
        std: likewise.
    """
    return (pixels / 255 - mean) / std


def _constants() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    mean, std = (np.array(values, np.float32).reshape(3, 1, 1) for values in (MEAN, STD))
    return mean, std


def checked(vectors: NDArray[np.float32], whose: str) -> NDArray[np.float32]:
    """Class tokens as they should be.

    Raises:
        ModelError: they have another length, or are not finite.
    """
    if vectors.ndim != 2 or vectors.shape[1] != DIM:
        raise ModelError(f"{whose} gives {vectors.shape[1:]} a face, and not {DIM} numbers")
    if not np.isfinite(vectors).all():
        raise ModelError(f"{whose} gives numbers that are not finite: its weights are damaged")
    return vectors


def network_of(clone: Path) -> torch.nn.Module:
    """The clone's ViT-B/16 with no weights yet: its function is called with `pretrained=False`.

    By hubconf.py. That imports networks of detection and segmentation, too, with packages that
    the backbone does not need: where one of them is missing or does not work (a torchvision of
    another build), by dinov3/hub/backbones.py, from which hubconf.py has the function.

    Raises:
        ModelError: it has no such function, or that fails; in words.
    """
    import torch

    loaded = getattr(sys.modules.get("dinov3"), "__path__", None)
    if loaded is not None and clone.resolve() not in {Path(p).resolve().parent for p in loaded}:
        raise ModelError(
            f"another clone of DINOv3 is loaded already ({next(iter(loaded))}): one process has one"
        )
    backbones = clone / "dinov3" / "hub" / "backbones.py"
    try:
        try:
            network = torch.hub.load(str(clone), FUNCTION, source="local", pretrained=False)
        except Exception:  # whatever those packages may raise
            if not backbones.is_file():
                raise
            network = _of_backbones(clone)
    except ModuleNotFoundError as error:
        raise ModelError(
            f"the clone {clone} needs the module {error.name}, which is not installed: install it "
            "in this environment, or use an ONNX export of the network"
        ) from None
    except Exception as error:  # whatever the user's code may raise
        raise ModelError(
            f"the clone {clone} gives no {FUNCTION}(pretrained=False) "
            f"({type(error).__name__}: {str(error).strip()[:300]}): is it whole and unchanged?"
        ) from error
    if not isinstance(network, torch.nn.Module):
        raise ModelError(
            f"{FUNCTION} of the clone {clone} gives a {type(network).__name__}, no network"
        )
    return network


def _of_backbones(clone: Path) -> Any:
    from importlib import import_module

    sys.path.insert(0, str(clone))
    try:
        return getattr(import_module("dinov3.hub.backbones"), FUNCTION)(pretrained=False)
    finally:
        sys.path.remove(str(clone))


def open_network(
    weights: Path, sha256: str, device: str, clone: Path | None, batch_size: int | None = None
) -> Network:
    """The network of a file: an ONNX export, or weights for the clone's.

    Args:
        weights: the file, hashed before.
        sha256: of it.
        device: `cpu`, `cuda` or, of a clone, `mps`.
        clone: its folder; None: by the environment.
        batch_size: see `CloneNetwork`.

    Raises:
        ModelError: see `OnnxNetwork` and `CloneNetwork`.
    """
    if is_onnx(weights):
        return OnnxNetwork(weights, device, batch_size)
    return CloneNetwork(weights, sha256, clone or find_clone(), device, batch_size)


def create(model: str, device: str) -> Dinov3:
    """What the registry calls."""
    path, row = model_path(model), registered(model)
    return Dinov3(open_network(path, str(row.sha256), device, None))
