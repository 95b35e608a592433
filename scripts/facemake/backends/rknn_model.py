"""Networks compiled for the NPU of a Rockchip board, through Rockchip's own package.

On the board that is `rknnlite` (distribution rknn-toolkit-lite2, Linux on AArch64), on a PC that a
board is connected to `rknn` (rknn-toolkit2). The calls are those of their version 2.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from facemake.errors import ConfigError, DeviceError, ModelError

logger = logging.getLogger(__name__)

_TRUE = ("1", "true", "yes", "on")


@dataclass(frozen=True)
class Board:
    """On what a network runs; what is None is left to Rockchip's package.

    Attributes:
        target: the chip, of a board that is connected to this machine: `rk3588`, ...
        device_id: of several connected boards.
        perf_debug: measure each layer (rknn-toolkit2 alone).
        core: number of the NPU's core.
    """

    target: str | None = None
    device_id: str | None = None
    perf_debug: bool = False
    core: int | None = None

    @classmethod
    def of(cls, extra: Mapping[str, str], device: str | None) -> Self:
        """By the words of lumen-face.

        Args:
            extra: rknn_target, rknn_device_id, rknn_perf_debug.
            device: `rknpuN`; another one says nothing of the core.
        """
        number = (device or "").removeprefix("rknpu")
        return cls(
            target=extra.get("rknn_target"),
            device_id=extra.get("rknn_device_id"),
            perf_debug=extra.get("rknn_perf_debug", "").lower() in _TRUE,
            core=int(number) if number.isdigit() and number != device else None,
        )


class RknnModel:
    """A network of one picture, (1, H, W, 3) uint8 RGB; its normalisation is compiled in.

    Args:
        path: of the .rknn file.
        board: on which it runs.

    Attributes:
        provider: what computes it.

    Raises:
        DeviceError: neither package is installed, or there is no such NPU.
        ModelError: the file is no such network.
    """

    def __init__(self, path: Path, board: Board) -> None:
        self._path = path
        package, make = _package()
        self.provider = f"{package} NPU" + ("" if board.core is None else f" core {board.core}")
        self._network = make()
        if self._network.load_rknn(str(path)) != 0:
            self._network.release()
            raise ModelError(
                f"{path} cannot be loaded by {package} (see the lines above): it must be a file "
                "that rknn-toolkit2 has converted for this chip"
            )
        if self._started(board, package) != 0:
            self._network.release()
            raise DeviceError(
                f"{package} could not start {path} on an NPU with {board} (see the lines above): "
                "the file must be converted for this chip, and the driver (librknnrt.so) not be "
                "older than the package; rknn_target is for a board that is connected to a PC"
            )

    def _started(self, board: Board, package: str) -> int:
        words: dict[str, Any] = {}
        if board.target is not None:
            words["target"] = board.target
        if board.device_id is not None:
            words["device_id"] = board.device_id
        if board.core is not None:
            words["core_mask"] = 1 << board.core
        if board.perf_debug:
            if package == "rknnlite":
                logger.warning("rknn_perf_debug is of rknn-toolkit2 alone: it is left out")
            else:
                words["perf_debug"] = True
        code = int(self._network.init_runtime(**words))
        if code != 0 and package == "rknnlite" and "target" in words:
            # a board that is told its own name looks for another one on its USB
            logger.warning("no board %s is connected: on the NPU of this one", board.target)
            code = int(self._network.init_runtime(**{k: v for k, v in words.items() if k in _OWN}))
        return code

    def __call__(self, rgb: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        """The outputs of a picture.

        Args:
            rgb: (H, W, 3) uint8, of the network's size.

        Raises:
            ModelError: the NPU gives none, as of a picture of another size.
        """
        outputs = self._network.inference(inputs=[np.ascontiguousarray(rgb[None])])
        if not outputs:
            height, width = rgb.shape[:2]
            raise ModelError(
                f"{self._path} gives nothing for a picture of {width} x {height} px (see the lines "
                "above): is that its size (rec_input_w, rec_input_h in LUMEN_FACE_EXTRA)?"
            )
        return [np.asarray(output, np.float32) for output in outputs]

    def close(self) -> None:
        """Free the network."""
        self._network.release()


_OWN = ("core_mask",)
"""Words of `init_runtime` that a board's own NPU takes."""


def side(extra: Mapping[str, str], name: str, default: int) -> int:
    """A size among the words of lumen-face.

    Raises:
        ConfigError: it is no number of pixels.
    """
    said = extra.get(name, str(default))
    if not said.isdigit() or not 0 < int(said) <= 4096:
        raise ConfigError(
            f"{name} in LUMEN_FACE_EXTRA is {said!r}; it may be a number of pixels, as 112"
        )
    return int(said)


def _package() -> tuple[str, Any]:
    """Its name, and what makes a network."""
    try:
        from rknnlite.api import RKNNLite
    except ImportError:
        pass
    else:
        return "rknnlite", RKNNLite
    try:
        from rknn.api import RKNN
    except ImportError:
        raise DeviceError(
            "networks for Rockchip's NPU need its package: `pip install rknn-toolkit-lite2` on the "
            "board (Linux on AArch64), rknn-toolkit2 on a PC that a board is connected to; "
            "elsewhere take the ONNX file (embed.backend: onnx; LUMEN_FACE_RUNTIME=onnxrt)"
        ) from None
    return "rknn", RKNN
