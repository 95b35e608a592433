"""What both predictors share: which file of a trained network is loaded, and what computes it.

Backends: `coreml` (an .mlpackage, on macOS), `onnx` (ONNX Runtime), `pytorch` (a checkpoint). Where
none is named, they are tried in this order, and one that cannot be had is passed over with a word:

| machine | order |
|---|---|
| Mac of Apple's chips | CoreML, ONNX, PyTorch |
| NVIDIA GPU | ONNX on it, PyTorch on it, ONNX on the CPU, PyTorch on the CPU |
| any other | ONNX, PyTorch |
"""

from __future__ import annotations

import logging
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from facemake.backends.outputs import finite
from facemake.errors import DeviceError, FacemakeError, ModelError
from facemake.nn.runners import (
    Arrays,
    CoreMl,
    Network,
    Provider,
    Runner,
    open_onnx,
    open_pytorch,
    open_runner,
)
from facemake.runtime import gpu
from facemake.runtime.contexts import Closing
from facemake.template import CROP_SIZE

logger = logging.getLogger(__name__)

BACKENDS = ("coreml", "onnx", "pytorch")

_SUFFIXES = {".mlpackage": "coreml", ".onnx": "onnx", ".pt": "pytorch", ".pth": "pytorch"}
_CHECKPOINTS = ("checkpoint_best.pt", "checkpoint_final.pt", "checkpoint_last.pt")


class Predictor(Closing):
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
        return cls(file, "onnx", open_onnx(file, cls.network, providers))

    @classmethod
    def from_coreml(cls, path: str | Path) -> Self:
        """Of a CoreML package, which macOS alone computes.

        Raises:
            ModelError: the package or coremltools is missing, it is another network, or this is no
                Mac.
        """
        file = _there(path, cls.network)
        return cls(file, "coreml", CoreMl(file, cls.network))

    @classmethod
    def _from_checkpoint(
        cls, path: str | Path, device: str | None, width_mult: float, **options: float
    ) -> Self:
        file = _there(path, cls.network)
        return cls(file, "pytorch", open_pytorch(file, cls.network, device, width_mult, options))

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
                found = cls(file, backend, open_runner(file, backend, place, cls.network))
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
        return cls(file, backend, open_runner(file, backend, None, cls.network))

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
            out[name] = finite(values, self.path, name)
        return out

    def close(self) -> None:
        """Free the network."""
        self._runner.close()


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
