"""`RKNNLite` by its contract: codes and None instead of exceptions, pictures as NHWC uint8."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime

CALLS: list[tuple[str, dict[str, object]]] = []
"""What was asked for, for tests to read."""


class RKNNLite:
    NPU_CORE_AUTO = 0
    NPU_CORE_0 = 1
    NPU_CORE_1 = 2
    NPU_CORE_2 = 4
    NPU_CORE_0_1 = 3
    NPU_CORE_0_1_2 = 7
    NPU_CORE_ALL = 0xFFFF

    def __init__(self, verbose: bool = False, verbose_file: str | None = None) -> None:
        self.rknn_data: bytes | None = None
        self.session: onnxruntime.InferenceSession | None = None

    def load_rknn(self, path: str, key_path: str | None = None) -> int:
        CALLS.append(("load_rknn", {"path": path}))
        if not Path(path).exists():
            return -1
        self.rknn_data = Path(path).read_bytes()  # what is in it, init_runtime looks at
        return 0

    def init_runtime(
        self,
        target: str | None = None,
        device_id: str | None = None,
        async_mode: bool = False,
        core_mask: int = NPU_CORE_AUTO,
    ) -> int:
        said = {"target": target, "device_id": device_id, "core_mask": core_mask}
        CALLS.append(("init_runtime", said))
        if self.rknn_data is None or target is not None:  # no board is connected
            return -1
        try:
            self.session = onnxruntime.InferenceSession(
                self.rknn_data, providers=["CPUExecutionProvider"]
            )
        except Exception:
            return -1
        return 0

    def inference(
        self,
        inputs: list[np.ndarray],
        data_type: object = None,
        data_format: object = None,
        inputs_pass_through: object = None,
        get_frame_id: bool = False,
        reuse_outputs: bool = False,
    ) -> list[np.ndarray] | None:
        if self.session is None:
            return None
        (nhwc,) = inputs
        wanted = self.session.get_inputs()[0]
        if nhwc.dtype != np.uint8 or nhwc.shape != (1, *wanted.shape[2:], 3):
            return None
        # SCRFD and ArcFace are compiled with one mean and two scales
        scale = 128.0 if len(self.session.get_outputs()) == 9 else 127.5
        planes = ((nhwc.astype(np.float32) - 127.5) / scale).transpose(0, 3, 1, 2)
        return self.session.run(None, {wanted.name: planes})

    def release(self) -> None:
        CALLS.append(("release", {}))
        self.session = None
