"""What both predictors share: which file of a trained network is loaded, and what computes it.

Backends: `coreml` (an .mlpackage, on macOS), `onnx` (ONNX Runtime), `pytorch` (a checkpoint). Where
none is named, they are tried in this order, and one that cannot be had is passed over with a word:

| machine | order |
|---|---|
| Mac of Apple's chips | CoreML, ONNX, PyTorch |
| NVIDIA GPU | ONNX on it, PyTorch on it, ONNX on the CPU, PyTorch on the CPU |
| any other | ONNX, PyTorch |

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
from typing import Any, ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from facemake.errors import DeviceError, FacemakeError, ModelError
from facemake.runtime import gpu
from facemake.template import CROP_SIZE

logger = logging.getLogger(__name__)

BACKENDS = ("coreml", "onnx", "pytorch")

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"

_SUFFIXES = {".mlpackage": "coreml", ".onnx": "onnx", ".pt": "pytorch", ".pth": "pytorch"}
_CHECKPOINTS = ("checkpoint_best.pt", "checkpoint_final.pt", "checkpoint_last.pt")

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


class Predictor:
    """A trained network on aligned faces, by one of `BACKENDS`.

    Attributes:
        path: the file that was loaded.
        backend: of `BACKENDS`.
        place: what it computes on, in the backend's word.

    One thread at a time uses it.
    """

    network: ClassVar[Network]

    def __init__(self, path: Path, backend: str, runner: Runner) -> None:
        self.path = path
        self.backend = backend
        self.place = runner.place
        self._runner = runner

    @classmethod
    def from_onnx(cls, path: str | Path, providers: Sequence[Provider] | None = None) -> Self:
        """Of an ONNX file.

        Args:
            path: of the file.
            providers: of ONNX Runtime, by falling preference, as in its `InferenceSession`; what
                this machine lacks is passed over with a word. None: CUDA where there is an NVIDIA
                GPU and an ONNX Runtime that uses it, else the CPU.

        Raises:
            ModelError: the file, ONNX Runtime or all of the providers are missing, or it is another
                network.
        """
        file = _there(path, cls.network)
        return cls(file, "onnx", _onnx(file, cls.network, providers))

    @classmethod
    def from_coreml(cls, path: str | Path) -> Self:
        """Of a CoreML package, which macOS alone computes.

        Raises:
            ModelError: the package or coremltools is missing, it is another network, or this is no
                Mac.
        """
        file = _there(path, cls.network)
        return cls(file, "coreml", _CoreML(file, cls.network))

    @classmethod
    def _from_checkpoint(
        cls, path: str | Path, device: str | None, width_mult: float, **options: float
    ) -> Self:
        file = _there(path, cls.network)
        return cls(file, "pytorch", _pytorch(file, cls.network, device, width_mult, options))

    @classmethod
    def from_auto(cls, model_dir: str | Path, prefer_coreml: bool = True) -> Self:
        """Of the folder that training wrote, by the best backend that is to be had here.

        Args:
            model_dir: the folder; or one of its files, which is then the one that is loaded.
            prefer_coreml: on a Mac of Apple's chips try CoreML first; False: not at all.

        Raises:
            ModelError: nothing there can be loaded; the message has each reason.
        """
        given = Path(model_dir)
        named = _SUFFIXES.get(given.suffix)
        if named or not given.is_dir():
            return cls._by_name(_there(given, cls.network), named)
        files = {one: _find(given, one, cls.network) for one in BACKENDS}
        if not any(files.values()):
            raise _nothing(given, cls.network)
        order, reasons = _order(prefer_coreml), []
        if (package := files["coreml"]) and ("coreml", "") not in order:
            reasons.append(f"{package} is for CoreML, which is for Macs of Apple's chips")
            logger.warning("passed over: %s", reasons[0])
        for backend, place in order:
            file = files[backend]
            if file is None:
                continue
            try:
                found = cls(file, backend, _runner(file, backend, place, cls.network))
            except DeviceError as error:
                logger.info("%s is not used on %s: %s", file, place, error)
                reasons.append(str(error))
            except FacemakeError as error:
                logger.warning("%s is passed over: %s", file, error)
                reasons.append(str(error))
            else:
                logger.info("%s by %s on %s", file, backend, found.place)
                return found
        raise ModelError(
            f"nothing in {given} can be loaded here: {'; '.join(dict.fromkeys(reasons))}"
        )

    @classmethod
    def load(cls, model_path: str | Path, backend: str | None = None) -> Self:
        """Of a folder that training wrote, or of one of its files.

        Args:
            model_path: the folder or the file.
            backend: of `BACKENDS`; None: the best one that is to be had here, or the file's.

        Raises:
            ValueError: no such backend.
            ModelError: see `from_auto`; of a backend that is named, why it is not to be had.
        """
        if backend is None:
            return cls.from_auto(model_path)
        if backend not in BACKENDS:
            raise ValueError(f"backend is {backend!r}, and is one of {', '.join(BACKENDS)}")
        given = Path(model_path)
        if given.is_dir() and given.suffix not in _SUFFIXES:
            file = _find(given, backend, cls.network)
            if file is None:
                raise _nothing(given, cls.network, backend)
            return cls._by_name(file, backend)
        file = _there(given, cls.network)
        if (own := _SUFFIXES.get(file.suffix)) not in (None, backend):
            raise ModelError(f"{file} is a file of the backend {own}, not of {backend}")
        return cls._by_name(file, backend)

    @classmethod
    def _by_name(cls, file: Path, backend: str | None) -> Self:
        if backend is None:
            raise ModelError(
                f"{file} is no file of a network, by its name: {', '.join(_SUFFIXES)} are"
            )
        return cls(file, backend, _runner(file, backend, None, cls.network))

    def _run(self, faces_bgr: object, one: bool) -> Arrays:
        """The outputs of faces, checked before and after.

        Raises:
            ValueError: they are no such pictures.
            ModelError: the network gives numbers that are none.
        """
        bgr = _one(faces_bgr) if one else _several(faces_bgr)
        if not len(bgr):
            shapes = self.network.outputs.items()
            return {name: np.zeros((0, *shape), np.float32) for name, shape in shapes}
        found = self._runner(np.ascontiguousarray(bgr[..., ::-1]))
        out = {}
        for name, shape in self.network.outputs.items():
            values = np.asarray(found[name], np.float32).reshape(len(bgr), *shape)
            if not np.isfinite(values).all():
                raise ModelError(
                    f"{self.path} gives {name} that are no numbers: its training went wrong, or "
                    "the file is damaged"
                )
            out[name] = values
        return out

    def close(self) -> None:
        """Free the network."""
        self._runner.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _one(face: object) -> NDArray[np.uint8]:
    """(1, 112, 112, 3) of one face."""
    if face is None:
        raise ValueError(
            "the face is None, which is what cv2.imread gives of a file it cannot read"
        )
    return _checked(np.asarray(face)[None], "the face", (CROP_SIZE, CROP_SIZE, 3))


def _several(faces: object) -> NDArray[np.uint8]:
    """(n, 112, 112, 3) of an array or a sequence of faces."""
    if isinstance(faces, np.ndarray):
        return _checked(faces, "faces", ("n", CROP_SIZE, CROP_SIZE, 3))
    if not isinstance(faces, Sequence) or isinstance(faces, str | bytes):
        raise ValueError(f"faces are a {type(faces).__name__}: wanted is an array or a list")
    each = [_one(face) for face in faces]
    return np.concatenate(each) if each else np.zeros((0, CROP_SIZE, CROP_SIZE, 3), np.uint8)


def _checked(faces: NDArray[Any], what: str, wanted: tuple[int | str, ...]) -> NDArray[np.uint8]:
    if faces.ndim != 4 or faces.shape[1:] != (CROP_SIZE, CROP_SIZE, 3):
        found = faces.shape if what == "faces" else faces.shape[1:]
        raise ValueError(
            f"{what} {'have' if what == 'faces' else 'has'} the shape {found}; wanted is "
            f"({', '.join(map(str, wanted))}) BGR, cut by facemake.FaceAligner"
        )
    if faces.dtype != np.uint8:
        bad = faces.dtype.kind == "f" and not np.isfinite(faces).all()
        raise ValueError(
            f"{what} {'are' if what == 'faces' else 'is'} {faces.dtype}"
            f"{', with numbers that are none (NaN)' if bad else ''}; wanted is uint8 BGR of 0 to "
            "255, as OpenCV reads pictures"
        )
    return faces


def _there(path: str | Path, network: Network) -> Path:
    file = Path(path)
    if not file.exists():
        raise ModelError(f"there is no {file}: {_how(network)}")
    return file


def _how(network: Network) -> str:
    return (
        f"networks are trained here, none ships with facemake: python -m "
        f"facemake.nn.train_{network.name} --data training_data.h5 --output models/{network.name}"
    )


def _nothing(folder: Path, network: Network, backend: str | None = None) -> ModelError:
    names = {
        "coreml": f"{network.name}.mlpackage",
        "onnx": f"{network.name}.onnx",
        "pytorch": _CHECKPOINTS[0],
    }
    wanted = names[backend] if backend else " or ".join(names.values())
    return ModelError(f"{folder} has no {wanted}: {_how(network)}")


def _find(folder: Path, backend: str, network: Network) -> Path | None:
    """The file of a backend in a folder; None where there is none."""
    names: tuple[str, ...] = _CHECKPOINTS
    if backend != "pytorch":
        suffix = {kind: suffix for suffix, kind in _SUFFIXES.items()}[backend]
        names = (f"{network.name}{suffix}",)
    for name in names:
        if (folder / name).exists():
            return folder / name
    if backend == "pytorch":  # periodic ones, the last of them
        epochs = folder.glob("checkpoint_epoch_*.pt")
        return max(epochs, key=lambda path: (len(path.name), path.name), default=None)
    return None


def _order(prefer_coreml: bool) -> list[tuple[str, str]]:
    """Backends with their places, by falling preference; the place is "" where it is open."""
    if platform.system() == "Darwin":
        apple = platform.machine() == "arm64" and prefer_coreml
        return [*([("coreml", "")] if apple else []), ("onnx", ""), ("pytorch", "")]
    on = ["cuda", "cpu"] if gpu.devices() else ["cpu"]
    return [(backend, place) for place in on for backend in ("onnx", "pytorch")]


def _runner(file: Path, backend: str, place: str | None, network: Network) -> Runner:
    """A network on `cpu` or `cuda`; where the place is open, on the best one.

    Raises:
        DeviceError: that place is not to be had.
        ModelError: the backend is not to be had, or the file is another network.
    """
    if backend == "coreml":
        return _CoreML(file, network)
    if backend == "onnx":
        if place == "cuda":
            return _Onnx(file, network, "cuda")
        return _onnx(file, network, [CPU] if place else None)
    return _pytorch(file, network, place or None, 1.0, {})


def _onnx(file: Path, network: Network, providers: Sequence[Provider] | None) -> Runner:
    if providers is None:
        if gpu.devices():
            try:
                return _Onnx(file, network, "cuda")
            except DeviceError as error:
                logger.warning("%s computes on the CPU: %s", file.name, error)
        providers = [CPU]
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
        found = self._model(planes(rgb))
        return dict(zip(self._names, found, strict=True))

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


def _pytorch(
    file: Path,
    network: Network,
    device: str | None,
    width_mult: float,
    options: Mapping[str, float],
) -> Runner:
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


class _CoreML:
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
