"""What computes a trained network: ONNX Runtime, PyTorch, CoreML.

On a CPU pictures go through a network one at a time, so that a result hangs on no batch, and by one
thread (ONNX: OMP_NUM_THREADS): a second one gains little on one small picture, and where other
processes want the cores it costs much.
"""

from __future__ import annotations

import logging
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from facemake.errors import DeviceError, ModelError
from facemake.runtime import gpu
from facemake.template import CROP_SIZE

logger = logging.getLogger(__name__)

_CPU = "CPUExecutionProvider"
_INSTALL_ONNX = "`make onnx`, or pip install 'facemake[onnx]'"

Provider = str | tuple[str, Mapping[str, Any]]
"""Of ONNX Runtime: a name, or a name with options."""

Arrays = dict[str, NDArray[np.float32]]


class Runner(Protocol):
    """A network that is loaded.

    Attributes:
        place: what it computes on, in its library's word.
    """

    place: str

    def __call__(self, rgb: NDArray[np.uint8]) -> Arrays:
        """The outputs of (n, 112, 112, 3) uint8 RGB by their names, n at least 1."""
        ...

    def close(self) -> None:
        """Free it."""
        ...


@dataclass(frozen=True)
class Network:
    """What is known of a network before it is loaded.

    Attributes:
        name: of the files that training writes: `landmark_pose` or `au_prediction`.
        outputs: name -> shape for one face.
        module, kind: where its class is, which needs PyTorch.
        loader: the function that loads it, for messages.
    """

    name: str
    outputs: Mapping[str, tuple[int, ...]]
    module: str
    kind: str
    loader: str

    @property
    def size(self) -> int:
        """Of all outputs, numbers for one face."""
        return sum(int(np.prod(shape)) for shape in self.outputs.values())


def open_runner(file: Path, backend: str, place: str | None, network: Network) -> Runner:
    """A network on `cpu` or `cuda`; where the place is open, on the best one.

    Raises:
        DeviceError: that place is not to be had.
        ModelError: the backend is not to be had, or the file is another network.
    """
    if backend == "coreml":
        return CoreMl(file, network)
    if backend == "onnx":
        if place == "cuda":
            return _Onnx(file, network, "cuda")
        return open_onnx(file, network, [_CPU] if place else None)
    return open_pytorch(file, network, place or None, 1.0, {})


def open_onnx(file: Path, network: Network, providers: Sequence[Provider] | None) -> Runner:
    """A network in an ONNX file; see `open_runner`. None: on a GPU where there is one."""
    if providers is None:
        if gpu.devices():
            try:
                return _Onnx(file, network, "cuda")
            except DeviceError as error:
                logger.warning("%s computes on the CPU: %s", file.name, error)
        providers = [_CPU]
    return _Onnx(file, network, "cpu", providers)


class _Onnx:
    """By ONNX Runtime."""

    def __init__(
        self,
        file: Path,
        network: Network,
        device: str,
        providers: Sequence[Provider] | None = None,
    ) -> None:
        try:
            onnx_model = import_module("facemake.backends.onnx_model")
        except ImportError as error:
            raise ModelError(
                f"{file} needs ONNX Runtime, which cannot be imported ({error}): {_INSTALL_ONNX}"
            ) from None
        self._model = onnx_model.OnnxModel(file, device, providers=providers)
        self._names: list[str] = self._model.output_names
        square = (3, CROP_SIZE, CROP_SIZE)
        shapes = dict(zip(self._names, self._model.output_shapes, strict=True))
        if self._model.input_shape != square or any(
            name not in shapes or not _fits(shapes[name], shape)
            for name, shape in network.outputs.items()
        ):
            self._model.close()
            raise ModelError(
                f"{file} is not the network {network.name}: it takes {self._model.input_shape} and "
                f"gives {shapes}; wanted are {square} and, with the faces before, "
                f"{dict(network.outputs)}"
            )
        self.place: str = self._model.provider

    def __call__(self, rgb: NDArray[np.uint8]) -> Arrays:
        """See `Runner`."""
        found = [self._model(planes(some)) for some in self._model.portions(rgb)]
        return {
            name: np.concatenate(values)
            for name, values in zip(self._names, zip(*found, strict=True), strict=True)
        }

    def close(self) -> None:
        """See `Runner`."""
        self._model.close()


def _fits(given: Sequence[object], wanted: tuple[int, ...]) -> bool:
    """Whether a shape of ONNX Runtime, with words where it is open, can be (n, *wanted)."""
    pairs = zip(given[1:], wanted, strict=False)
    return len(given) == 1 + len(wanted) and all(
        mine == size for mine, size in pairs if isinstance(mine, int)
    )


def planes(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(n, S, S, 3) uint8 RGB as the networks take it: (n, 3, S, S) float32 in [0, 1]."""
    scaled = rgb.transpose(0, 3, 1, 2).astype(np.float32)
    return np.ascontiguousarray(scaled / np.float32(255))


def open_pytorch(
    file: Path,
    network: Network,
    device: str | None,
    width_mult: float,
    options: Mapping[str, float],
) -> Runner:
    """A network in a checkpoint; see `open_runner`. `options`: of its class."""
    torch_model = import_module("facemake.backends.torch_model")  # says what installs PyTorch
    return _Torch(file, network, device or torch_model.best_device(), width_mult, options)


class _Torch:
    """By PyTorch."""

    def __init__(
        self,
        file: Path,
        network: Network,
        device: str,
        width_mult: float,
        options: Mapping[str, float],
    ) -> None:
        import torch

        from facemake.backends import torch_model
        from facemake.nn import checkpoints

        found = checkpoints.read(file, network.name)
        width = checkpoints.width_of(found)
        if width_mult not in (1.0, width):
            raise ModelError(
                f"{file} has a network of width_mult {width:g}, not {width_mult:g}: leave "
                "width_mult out, the file says it"
            )
        make: Callable[..., torch.nn.Module] = getattr(import_module(network.module), network.kind)
        made = make(width_mult=width, **options)
        checkpoints.give_weights(made, file, found)
        self._outputs = network.outputs
        self.place = str(device)
        self._model = torch_model.TorchModel(
            _joined(made, list(network.outputs)),
            lambda pixels: pixels / 255.0,
            str(device),
            convolutions=True,
        )

    def __call__(self, rgb: NDArray[np.uint8]) -> Arrays:
        """See `Runner`."""
        with _one_thread():
            joined = self._model(rgb)
        out, at = {}, 0
        for name, shape in self._outputs.items():
            size = int(np.prod(shape))
            out[name] = joined[:, at : at + size].reshape(-1, *shape)
            at += size
        return out

    def close(self) -> None:
        """See `Runner`."""
        self._model.close()


@contextmanager
def _one_thread() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _joined(network: Any, names: Sequence[str]) -> Any:
    """The network with all of its outputs as one vector: what `TorchModel` takes."""
    import torch

    class Joined(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            found = self.network(image)
            if isinstance(found, torch.Tensor):
                return found
            return torch.cat([found[name].flatten(1) for name in names], dim=1)

    return Joined()


class CoreMl:
    """By CoreML, one face at a time, on what macOS chooses."""

    def __init__(self, file: Path, network: Network) -> None:
        if platform.system() != "Darwin":
            raise ModelError(
                f"{file} is for CoreML, which computes on macOS alone: take {network.name}.onnx or "
                f"a checkpoint ({network.loader}(folder) finds them)"
            )
        try:
            coremltools = import_module("coremltools")
        except ImportError as error:
            raise ModelError(
                f"{file} needs coremltools, which cannot be imported ({error}): pip install "
                "'facemake[coreml]'"
            ) from None
        try:
            self._model = coremltools.models.MLModel(str(file))
            described = self._model.get_spec().description
        except Exception as error:  # of whatever class: of a damaged package, any
            raise ModelError(f"{file} cannot be loaded as a CoreML package: {error}") from None
        given = [one.name for one in described.output]
        if [one.name for one in described.input] != ["image"] or not set(network.outputs) <= set(
            given
        ):
            raise ModelError(
                f"{file} is not the network {network.name}: it gives {', '.join(given)}; wanted "
                f"are the input image and {', '.join(network.outputs)}"
            )
        self._names = list(network.outputs)
        self.place = "CoreML"
        try:  # what an older macOS cannot compile is told by the first prediction
            self(np.zeros((1, CROP_SIZE, CROP_SIZE, 3), np.uint8))
        except Exception as error:  # of whatever class
            raise ModelError(f"{file} cannot be computed by this macOS: {error}") from None

    def __call__(self, rgb: NDArray[np.uint8]) -> Arrays:
        """See `Runner`."""
        found = [self._model.predict({"image": planes(one[None])}) for one in rgb]
        return {
            name: np.concatenate([np.asarray(one[name], np.float32) for one in found])
            for name in self._names
        }

    def close(self) -> None:
        """See `Runner`."""
        del self._model
