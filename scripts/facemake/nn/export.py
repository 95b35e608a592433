"""Trained networks as ONNX and CoreML, each looked at once more against PyTorch when it is made."""

from __future__ import annotations

import copy
import logging
import os
import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from facemake.errors import FacemakeError, ModelError
from facemake.nn import au_prediction_net, landmark_pose_net
from facemake.runtime.atomic import replacing
from facemake.template import CROP_SIZE

logger = logging.getLogger(__name__)

INPUT = "image"
"""(n, 3, 112, 112) float32 RGB in [0, 1]; n is any number in ONNX, 1 in CoreML."""

OPSET = 20
"""PyTorch's own default, and the highest that its exporter knows in full."""
LOWEST_OPSET = 7
"""ONNX Runtime promises to run what is of this one and later."""

PARITY = 1e-4
"""Of each output, how far at most it may be from PyTorch's: px, rad, mm, units of an intensity."""

_CHECKED_BATCHES = (1, 3)


class _Outputs(torch.nn.Module):
    """A network whose outputs are a tuple: what exporters give names to."""

    def __init__(self, network: torch.nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.network = network
        self._names = tuple(names)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """(n, 3, S, S) to one tensor a name."""
        found = self.network(image)
        if isinstance(found, torch.Tensor):
            return (found,)
        return tuple(found[name] for name in self._names)


def export_to_onnx(model: torch.nn.Module, path: str | Path, opset_version: int = OPSET) -> Path:
    """Write a `UnifiedLandmarkPoseNet` as ONNX.

    Input `image`; outputs `landmarks` (n, 68, 2), `global_params` (n, 6), `local_params` (n, 34).

    Args:
        model: as trained; left as it is, in training or not, on whatever device.
        path: of the file.
        opset_version: of ONNX, 7 to 20.

    Returns:
        The path.

    Raises:
        ValueError: an opset that cannot be written; the message names those that can.
        ModelError: what ONNX Runtime computes with the file is not what PyTorch computes.
    """
    return _to_onnx(model, Path(path), landmark_pose_net.OUTPUTS, opset_version)


def export_au_to_onnx(model: torch.nn.Module, path: str | Path, opset_version: int = OPSET) -> Path:
    """Write an `AUPredictionNet` as ONNX, output `au_intensities` (n, 17): see `export_to_onnx`."""
    return _to_onnx(model, Path(path), au_prediction_net.OUTPUTS, opset_version)


def export_to_coreml(model: torch.nn.Module, path: str | Path) -> Path:
    """Write a `UnifiedLandmarkPoseNet` as a CoreML package, of one face at a time.

    Names and shapes are those of `export_to_onnx`. A package can be made on Linux, and run on
    macOS alone: only there it is compared with PyTorch.

    Args:
        model: as trained.
        path: of the folder, `.mlpackage`.

    Returns:
        The path.

    Raises:
        FacemakeError: coremltools is not there or cannot convert it.
        ModelError: on macOS, it gives something else than PyTorch.
    """
    return _to_coreml(model, Path(path), landmark_pose_net.OUTPUTS)


def export_au_to_coreml(model: torch.nn.Module, path: str | Path) -> Path:
    """Write an `AUPredictionNet` as a CoreML package; see `export_to_coreml`."""
    return _to_coreml(model, Path(path), au_prediction_net.OUTPUTS)


def _to_onnx(model: torch.nn.Module, path: Path, names: Sequence[str], opset: int) -> Path:
    if not LOWEST_OPSET <= opset <= OPSET:
        raise ValueError(
            f"opset_version is {opset}: the lowest that can be written is {LOWEST_OPSET}, the "
            f"highest {OPSET}"
        )
    wrapped = _wrapped(model, names)
    with replacing(path) as beside, warnings.catch_warnings():
        # PyTorch's newer exporter writes opset 18 at the lowest, and needs a package more
        warnings.simplefilter("ignore")
        torch.onnx.export(
            wrapped,
            (torch.zeros(1, 3, CROP_SIZE, CROP_SIZE),),
            str(beside),
            input_names=[INPUT],
            output_names=list(names),
            dynamic_axes={name: {0: "n"} for name in (INPUT, *names)},
            opset_version=opset,
            dynamo=False,
        )
        _check_onnx(wrapped, beside, path, names)
    return path


def _wrapped(model: torch.nn.Module, names: Sequence[str]) -> _Outputs:
    """A copy on the CPU, for prediction: the model itself stays as it is."""
    wrapped = _Outputs(copy.deepcopy(model).to("cpu"), names)
    wrapped.eval().requires_grad_(False)
    return wrapped


def _check_onnx(wrapped: _Outputs, beside: Path, path: Path, names: Sequence[str]) -> None:
    try:
        import onnxruntime
    except ImportError:
        logger.warning(
            "%s was not compared with PyTorch: onnxruntime is not installed (pip install "
            "'facemake[onnx]')",
            path,
        )
        return
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        beside.read_bytes(), options, providers=["CPUExecutionProvider"]
    )
    for batch in _CHECKED_BATCHES:
        pictures = _pictures(batch)
        found = session.run(list(names), {INPUT: pictures})
        _compare(wrapped, pictures, dict(zip(names, found, strict=True)), path)


def _pictures(batch: int) -> NDArray[np.float32]:
    """(batch, 3, 112, 112) of noise that has all spatial frequencies, in [0, 1]."""
    generator = np.random.default_rng(0)
    out = np.zeros((batch, 3, CROP_SIZE, CROP_SIZE))
    for cells in (4, 14, 56, 112):
        coarse = generator.random((batch, 3, cells, cells))
        out += coarse.repeat(CROP_SIZE // cells, axis=2).repeat(CROP_SIZE // cells, axis=3)
    return (out / 4).astype(np.float32)


def _compare(
    wrapped: _Outputs, pictures: NDArray[np.float32], found: dict[str, Any], path: Path
) -> None:
    """Refuse a file that gives something else than PyTorch.

    Raises:
        ModelError: an output is further away than PARITY, relative to its size where that is
            above 1.
    """
    with torch.no_grad():
        wanted = [output.numpy() for output in wrapped(torch.from_numpy(pictures))]
    for (name, values), truth in zip(found.items(), wanted, strict=True):
        off = np.abs(np.asarray(values).reshape(truth.shape) - truth)
        worst = float((off / np.maximum(1.0, np.abs(truth))).max())
        if not worst <= PARITY:
            raise ModelError(
                f"{path} was not written: its {name} differ from PyTorch's by up to "
                f"{float(off.max()):.2g}"
            )


def _to_coreml(model: torch.nn.Module, path: Path, names: Sequence[str]) -> Path:
    os.environ.setdefault("TQDM_DISABLE", "1")  # its bars, and its words on what Linux cannot run
    logging.getLogger("coremltools").setLevel(logging.CRITICAL)
    try:
        import coremltools
    except ImportError as error:
        raise FacemakeError(
            f"{path} was not written: coremltools cannot be imported ({error}); pip install "
            "'facemake[coreml]'"
        ) from None
    wrapped = _wrapped(model, names)
    beside = path.with_name(f".{path.stem}.part.mlpackage")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            traced = torch.jit.trace(wrapped, torch.from_numpy(_pictures(1)))
            package = coremltools.convert(
                traced,
                inputs=[coremltools.TensorType(name=INPUT, shape=(1, 3, CROP_SIZE, CROP_SIZE))],
                outputs=[coremltools.TensorType(name=name) for name in names],
                convert_to="mlprogram",
                compute_precision=coremltools.precision.FLOAT32,
                minimum_deployment_target=coremltools.target.macOS13,
            )
            package.save(str(beside))
            if package.__proxy__ is not None:  # only where CoreML itself is there
                pictures = _pictures(1)
                _compare(wrapped, pictures, package.predict({INPUT: pictures}), path)
        shutil.rmtree(path, ignore_errors=True)
        beside.rename(path)
    except FacemakeError:
        raise
    except Exception as error:  # coremltools raises what its converters raise
        said = str(error).strip().split("\n")[0]
        raise FacemakeError(f"{path} was not written: coremltools says: {said[:300]}") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return path
