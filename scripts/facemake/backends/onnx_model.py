"""ONNX networks: on which device they compute, and in what batches."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from facemake.backends.onnx_batches import session_of_any_batch
from facemake.backends.onnx_file import weights_elsewhere
from facemake.errors import DeviceError, FacemakeError, ModelError, PassingError
from facemake.models import model_path
from facemake.pins import again
from facemake.runtime.memory import threads_said

logger = logging.getLogger(__name__)


class _Items(Protocol):
    """Of which some that follow each other can be taken: a sequence or an array."""

    def __len__(self) -> int: ...
    def __getitem__(self, some: slice, /) -> Self: ...


Items = TypeVar("Items", bound=_Items)

_ERRORS_ONLY = 3
"""onnxruntime's severity: its warnings are a page about a network that works."""

BATCH_ON_GPU = 16
"""Pictures at once on a GPU. On a CPU they go one at a time: the same to the last bit whatever
stands beside a picture (a matrix product of one row is another kernel than that of several), and
as fast or faster: on one thread, batches of 2, 4, 8 and 16 had .94 to 1.01, .80 to 1.00, .75 to .97
and .72 to .93 of that speed with SCRFD, YOLOv8-face, Ultra-Light and PFLD (`python -m benchmarks
batches`; activations of several pictures leave the cache). Only a network as wide as ArcFace's
IResNet-50 gains by them, 1.05 at most."""

_CPU = "CPUExecutionProvider"
_CUDA = "CUDAExecutionProvider"
_SAME_AGAIN = {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}
"""Of a GPU: convolutions of float32, whose numbers are not rounded to 10 bits (TF32, its default),
by an algorithm that cuDNN knows for a size, and not by the one that was fastest in a trial (its
default), which is another one at another time and rounds elsewhere."""

_TYPES: dict[str, str] = {"tensor(float)": "float32", "tensor(float16)": "float16"}
"""onnxruntime's word -> NumPy's."""


_NO_MEMORY = ("allocate memory", "out of memory", "out_of_memory", "bad_alloc")
"""Of onnxruntime's and CUDA's words, without capitals."""


class OnnxModel:
    """A network of one input, (n, C, H, W) float32 or float16.

    Args:
        path: its file.
        device: `cpu`, `cuda` (the GPU that the job has leased) or `cuda:N` (that of the process).
        largest: so many inputs at once at most, where the network leaves it open.
        threads: of a CPU; None: OMP_NUM_THREADS, else one.
        providers: of onnxruntime, by falling preference, in place of the device's; what is not
            there is passed over with a word.

    Attributes:
        path: its file.
        batch_size: how many inputs pay off at once.
        fixed_batch: how many inputs the network takes; None: any number. On a GPU one that was
            made for one picture takes any number where that can be (`backends.onnx_batches`).
        input_shape: (C, H, W), None where the network leaves a size open.
        output_names: of its outputs, in order.
        output_shapes: with the axis of inputs; numbers, or words where a size is open.

    Raises:
        DeviceError: `cuda` is asked for and not to be had, or none of the providers.
        ModelError: the file is no ONNX network with one input, or its weights are in another file.
    """

    def __init__(
        self,
        path: Path,
        device: str = "cpu",
        largest: int | None = None,
        threads: int | None = None,
        providers: Sequence[str | tuple[str, Mapping[str, Any]]] | None = None,
    ) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or threads_said() or 1
        options.inter_op_num_threads = 1
        options.log_severity_level = _ERRORS_ONLY
        options.use_deterministic_compute = device != "cpu"
        self.path = path
        able = _providers(path, device, providers)
        self._session = _session(path, options, device, able)
        inputs = self._session.get_inputs()
        if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].type not in _TYPES:
            raise ModelError(
                f"{path} is a network of another kind: it takes "
                f"{[(i.name, i.shape, i.type) for i in inputs]}, wanted is one picture as "
                "(N, C, H, W) float32 or float16"
            )
        self._input = inputs[0].name
        self._dtype = _TYPES[inputs[0].type]
        batch, *shape = (size if isinstance(size, int) else None for size in inputs[0].shape)
        self.input_shape = tuple(shape)
        self.output_names = [output.name for output in self._session.get_outputs()]
        self.output_shapes = [tuple(output.shape) for output in self._session.get_outputs()]
        on_gpu = min(BATCH_ON_GPU, largest or BATCH_ON_GPU)
        if batch == 1 < on_gpu and self.provider == _CUDA:
            freed = session_of_any_batch(
                path,
                self._session,
                lambda model: onnxruntime.InferenceSession(model, options, providers=able),
            )
            if freed is not None:
                self._session, batch = freed, None
        self.fixed_batch = batch
        self.batch_size = batch or (1 if self.provider == _CPU else on_gpu)
        logger.info("%s on %s", path.name, self.provider)
        if providers and self.provider != (first := _name(providers[0])):
            logger.warning("%s computes on %s, not on %s", path.name, self.provider, first)

    @property
    def provider(self) -> str:
        """What computes it, in onnxruntime's word."""
        return str(self._session.get_providers()[0])

    def __call__(self, pictures: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """The outputs of n pictures, (n, C, H, W) float32, whose rows follow each other by picture.

        What a network gives in float16 becomes float32.

        Their first axis is n, or n times the rows of a picture where the network has no other axis
        for them.

        A network that takes a fixed number gets so many at a time, the last ones filled up with
        black; so does one on a GPU, whose results then hang on no batch's length.

        Raises:
            ModelError: the network cannot be computed, as one that was made for one picture and
                says any number.
            PassingError: memory does not suffice.
        """
        n, size = len(pictures), self.batch_size
        parts: list[Sequence[NDArray[np.float32]]] = []
        for some in self.portions(pictures):
            if len(some) < size:
                missing = np.zeros((size - len(some), *some.shape[1:]), np.float32)
                some = np.concatenate([some, missing])
            # a float32 array is handed on as it is
            fed = {self._input: some.astype(self._dtype, copy=False)}
            try:
                outputs = self._session.run(None, fed)
            except Exception as error:  # its errors have no common class but this
                raise self._failed(len(some), error) from None
            parts.append([_wide(output) for output in outputs])
        if len(parts) == 1 and n == size:
            return list(parts[0])
        total = len(parts) * size
        joined = [np.concatenate(outputs) for outputs in zip(*parts, strict=True)]
        return [output[: len(output) * n // total] for output in joined]

    def portions(self, items: Items) -> Iterator[Items]:
        """Items of any number, as many at once as pay off, in their order.

        A backend makes its inputs of a portion, and reads its outputs, before it makes those of the
        next one: they are still in the processor's cache, and memory hangs on no number of items.
        """
        for start in range(0, len(items), self.batch_size):
            yield items[start : start + self.batch_size]

    def _failed(self, size: int, error: Exception) -> FacemakeError:
        reason = str(error)
        if any(words in reason.lower() for words in _NO_MEMORY):
            return PassingError(
                f"the memory of {self.provider} does not suffice for {size} pictures of "
                f"{self.path.name} at once: let less run on it (jobs_per_gpu in the config; fewer "
                f"at once by LUMEN_FACE_MAX_BATCH_SIZE), or set device: cpu ({reason})"
            )
        return ModelError(
            f"{self.path} cannot be computed for {size} pictures at once: {reason}"
            + ("" if size == 1 else "; was it made for one? (LUMEN_FACE_MAX_BATCH_SIZE=1)")
        )

    def close(self) -> None:
        """Free the network."""
        del self._session


def _wide(output: NDArray[Any]) -> NDArray[Any]:
    return output.astype(np.float32) if output.dtype == np.float16 else output


def open_network(
    model: str | Path,
    device: str,
    kind: str,
    wanted: str,
    fits: Callable[[OnnxModel], bool],
    threads: int | None = None,
    largest: int | None = None,
) -> OnnxModel:
    """A backend's network.

    Args:
        model: in the registry, or a file of the user's, or the path of one.
        device: see `OnnxModel`.
        kind: what it should be, in words.
        wanted: the inputs and outputs of that kind, in words.
        fits: whether it has these.
        threads: see `OnnxModel`.
        largest: see `OnnxModel`.

    Raises:
        DeviceError: the device is not to be had.
        ModelError: the file is missing or another network.
    """
    path = model if isinstance(model, Path) else model_path(model)
    network = OnnxModel(path, device, largest, threads)
    if not fits(network):
        raise ModelError(
            f"{path} is no {kind}: it takes {network.input_shape} and gives "
            f"{network.output_shapes}, wanted {wanted}; name another file, or the backend that "
            "this one is made for"
        )
    return network


def _there(
    wanted: Sequence[str | tuple[str, Mapping[str, Any]]], path: Path
) -> list[str | tuple[str, dict[str, Any]]]:
    """Of the providers that somebody names, those that are there."""
    able = onnxruntime.get_available_providers()
    known = onnxruntime.get_all_providers()
    if unknown := [_name(one) for one in wanted if _name(one) not in known]:
        raise DeviceError(
            f"onnxruntime knows no provider {', '.join(unknown)}; there are {', '.join(known)}"
        )
    if not (found := [one for one in wanted if _name(one) in able]):
        raise DeviceError(
            f"onnxruntime here computes on {', '.join(able)} alone, not on "
            f"{', '.join(map(_name, wanted)) or 'nothing'}: name one of those, or install another "
            "onnxruntime"
        )
    return [one if isinstance(one, str) else (one[0], dict(one[1])) for one in found]


def _name(provider: str | tuple[str, Mapping[str, Any]]) -> str:
    return provider if isinstance(provider, str) else provider[0]


def _providers(
    path: Path, device: str, wanted: Sequence[str | tuple[str, Mapping[str, Any]]] | None
) -> list[Any]:
    providers: list[Any] = [_CPU] if wanted is None else _there(wanted, path)
    if device != "cpu":
        if _CUDA not in onnxruntime.get_available_providers():
            raise DeviceError(
                f"device is {device}, and onnxruntime here computes on "
                f"{', '.join(onnxruntime.get_available_providers())} alone: install "
                "onnxruntime-gpu in its place (extra onnx-gpu, image of STACKS=cuda), or set "
                "device: cpu"
            )
        number = device.partition(":")[2] or "0"
        providers = [(_CUDA, {"device_id": number, **_SAME_AGAIN}), *providers]
    return providers


def _session(path: Path, options: Any, device: str, providers: Sequence[Any]) -> Any:
    if other := weights_elsewhere(path):
        raise ModelError(
            f"{path} has its weights in another file, {other}, which no hash covers: make one file "
            f"of them by onnx.save(onnx.load('{path.name}'), 'NAME.onnx')"
        )
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # its errors have no common class but this
        raise ModelError(
            f"{path} cannot be loaded as an ONNX network; if it is cut off, {again(path)}: {error}"
        ) from None
    if device != "cpu" and session.get_providers()[0] != _CUDA:
        raise DeviceError(
            f"device is {device}, and onnxruntime could not use a GPU (see the lines above): is "
            "there one, with a driver for this CUDA (nvidia-smi)? Or set device: cpu"
        )
    return session
