"""PyTorch networks: on which device they compute, in what batches, and how weights are read.

A network sees a fixed number of pictures at once on a GPU, the last ones filled up with black, and
one at a time on a CPU: so a result hangs on no batch, and memory on the device has a bound. (On a
CPU, batches of eight would be a quarter faster with FaceNet; but which faces stand together hangs
on where a job went on, and a result must not.)
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facemake.errors import DeviceError, ModelError, PassingError
from facemake.pins import again

try:
    import torch
except ImportError as error:
    raise ModelError(
        f"PyTorch cannot be imported ({error}): `make facenet` installs it, or pip install -r "
        "requirements/torch.txt"
    ) from None

logger = logging.getLogger(__name__)

BATCH_ON_GPU = 32
"""Pictures at once on a GPU: 13 MB of 256 x 256 px as numbers of 4 bytes."""


_DEVICES = ("cpu", "cuda", "mps")


def best_device() -> str:
    """`mps`, `cuda` or `cpu`: the first that this machine has."""
    if torch.backends.mps.is_available():
        return "mps"
    return "cuda" if torch.cuda.is_available() else "cpu"


def require(device: str) -> None:
    """Refuse a device that is not there.

    Raises:
        DeviceError: with the cure.
    """
    try:
        wanted = torch.device(device)
    except RuntimeError:
        wanted = None
    if wanted is None or wanted.type not in _DEVICES:
        raise DeviceError(
            f"device is {device!r}: it is one of {', '.join(_DEVICES)}, or cuda:1 ..."
        )
    kind = wanted.type
    if kind == "cuda" and not torch.cuda.is_available():
        raise DeviceError(
            f"device is {device}, and PyTorch {torch.__version__} finds no GPU that it can use: is "
            "it a build with CUDA, is there a driver (nvidia-smi)? Or set device: cpu"
        )
    if kind == "cuda" and (wanted.index or 0) >= torch.cuda.device_count():
        raise DeviceError(
            f"device is {device}, and PyTorch finds {torch.cuda.device_count()} GPUs here, which "
            "are counted from 0"
        )
    if kind == "mps" and not torch.backends.mps.is_available():
        raise DeviceError(
            f"device is {device}, and this PyTorch {torch.__version__} finds no Apple GPU: set "
            "device: cpu"
        )


def synchronize(device: str) -> None:
    """Wait until a GPU has done what it was given: before a clock is read."""
    kind = torch.device(device).type
    if kind == "cuda":
        torch.cuda.synchronize(device)
    elif kind == "mps":
        torch.mps.synchronize()


@contextmanager
def exact(device: str) -> Iterator[None]:
    """While convolutions on a GPU are of float32 and the same again.

    By default cuDNN rounds their numbers to 10 bits (TF32). Its settings are the process's, so
    threads take turns.
    """
    if torch.device(device).type != "cuda":
        yield
        return
    flags = torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=True, allow_tf32=False
    )
    with _settings, flags:
        yield


_settings = threading.Lock()


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a file that `torch.save` wrote, and nothing else: no code of it is run.

    Raises:
        ModelError: it holds anything but tensors by their names.
    """
    try:
        found: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of a damaged file, anything
        said = str(error).strip().split("\n")[0]
        raise ModelError(
            f"{path} is no file of weights (a state dict that torch.save wrote); if it is cut "
            f"short, {again(path)}: {said[:300]}"
        ) from None
    if not isinstance(found, Mapping) or not all(
        isinstance(value, torch.Tensor) for value in found.values()
    ):
        raise ModelError(
            f"{path} holds something else than the tensors of a state dict: write one by "
            "torch.save(model.state_dict(), FILE)"
        )
    return dict(found)


def load_weights(network: torch.nn.Module, path: Path, weights: Mapping[str, Any]) -> None:
    """Give a network its weights, all of them.

    Raises:
        ModelError: they are of another network.
    """
    try:
        network.load_state_dict(dict(weights), strict=True)
    except RuntimeError as error:
        said = " ".join(str(error).split())
        raise ModelError(f"{path} has the weights of another network: {said[:300]} ...") from None


class TorchModel:
    """A network from pictures to vectors.

    Args:
        network: (n, 3, S, S) float32 to (n, D).
        prepare: from (n, 3, S, S) float32 of 0 to 255, RGB, on the device, to what it takes.
        device: `cpu`, `cuda` (the GPU that the job has leased) or `mps`.
        batch_size: at most so many pictures at once on a GPU.
        convolutions: whether it is made of them; on a CPU the colours of a pixel then lie side by
            side, which is a quarter faster.

    Attributes:
        batch_size: how many pictures it wants at once.

    Raises:
        DeviceError: the device is not there.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        prepare: Callable[[torch.Tensor], torch.Tensor],
        device: str,
        batch_size: int = BATCH_ON_GPU,
        convolutions: bool = False,
    ) -> None:
        require(device)
        self._device = device
        self._prepare = prepare
        on_cpu = torch.device(device).type == "cpu"
        self.batch_size = 1 if on_cpu else batch_size
        self._format = torch.channels_last if convolutions and on_cpu else torch.contiguous_format
        with self._memory_in_words():
            self._network = network.eval().requires_grad_(False).to(device)
            if convolutions:
                self._network = self._network.to(memory_format=self._format)

    def __call__(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The vectors of any number of pictures.

        Args:
            pictures: (n, S, S, 3) uint8 RGB.

        Returns:
            (n, D) float32, as the network gives them.

        Raises:
            PassingError: the GPU's memory does not suffice.
        """
        n, size = len(pictures), self.batch_size
        parts = []
        for start in range(0, n, size):
            some = pictures[start : start + size]
            count = len(some)
            if count < size:
                some = np.concatenate([some, np.zeros((size - count, *some.shape[1:]), np.uint8)])
            parts.append(self._run(some)[:count])
        return np.concatenate(parts)

    def _run(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        with self._memory_in_words(), torch.inference_mode(), exact(self._device):
            pixels = torch.from_numpy(np.ascontiguousarray(pictures)).to(self._device)
            planes = pixels.permute(0, 3, 1, 2).float()
            given = self._prepare(planes.contiguous(memory_format=self._format))
            vectors: NDArray[np.float32] = self._network(given).float().cpu().numpy()
        return vectors

    def close(self) -> None:
        """Free the network, and its memory on a GPU."""
        del self._network
        if torch.device(self._device).type == "cuda":
            torch.cuda.empty_cache()

    def _memory_in_words(self) -> _MemoryInWords:
        return _MemoryInWords(self._device, self.batch_size)


class _MemoryInWords:
    """Turns what PyTorch says of a full GPU into words with a cure."""

    def __init__(self, device: str, batch_size: int) -> None:
        self._device = device
        self._batch_size = batch_size

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, torch.OutOfMemoryError) or (
            isinstance(error, RuntimeError) and "out of memory" in str(error)
        ):
            said = str(error).strip().split("\n")[0]
            raise PassingError(
                f"the memory of {self._device} does not suffice for the network and "
                f"{self._batch_size} faces at once: end what else computes there (nvidia-smi), let "
                "fewer jobs share it (jobs_per_gpu: 1), give FaceEmbedder a smaller batch_size, or "
                f"set device: cpu. PyTorch says: {said[:300]}"
            ) from None
