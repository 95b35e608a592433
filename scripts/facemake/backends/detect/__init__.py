"""Face detectors: the registry, and what each of them gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from facemake.backends import Backend
from facemake.detections import Detections

Picture = NDArray[np.uint8]
"""(H, W, 3) uint8 RGB, C-contiguous."""


class Detector(Protocol):
    """Finds the faces of pictures; what it saw before, or sees beside it, makes no difference.

    Attributes:
        batch_size: how many pictures it wants at once; 1 where more at once are no gain.
    """

    batch_size: int

    def __call__(self, pictures: Sequence[Picture]) -> list[Detections]:
        """Detect in each of any number of pictures, which may differ in size.

        No more than `batch_size` are looked at together.
        """
        ...

    def close(self) -> None:
        """Free the model."""
        ...


AS_EXPECTED = (0.0, 0.0, 1.0)
"""The boxes of BlazeFace, which landmark networks are told of every face."""


@dataclass(frozen=True, kw_only=True)
class DetectorBackend(Backend):
    """A detector's row: a score means something else in each, so its thresholds stand here.

    Its module's `create(model, min_score, device)` makes the detector: from the name of the first
    of its models, detections below `min_score` left out, on a device of `devices`.

    Attributes:
        min_score: a track goes on at this score.
        start_score: a track starts at this score.
        scores: what its score is, in words.
        points: which of the five points it has, in words.
        face_box: from its boxes to those that landmark networks expect: dx, dy, scale.
            See `facemake.detections.landmark_box`.
        eyes: who finds the eyes of its faces where it does not (`facemake.backends.eyes`).
        largest: px of a picture's longer side up to which it is looked at whole; larger ones in
            tiles of that side: what it computes is as large as the picture. None: it is not.
    """

    min_score: float
    start_score: float
    scores: str
    points: str
    face_box: tuple[float, float, float] = AS_EXPECTED
    eyes: str = ""
    largest: int | None = None

    def create(
        self, model: str, min_score: float, device: str, tile: int | None = None
    ) -> Detector:
        """The detector.

        Args:
            model: its first model's name, or a file of the user's where `own_model` allows it.
            min_score: detections below are left out (0-1).
            device: of `devices`.
            tile: px, of tiles that larger pictures are looked at in (`backends.detect.tiles`).

        Raises:
            ModelError: a model or a package is missing or not the registered one, or the device is
                not there.
        """
        with self.needed(device):
            detector: Detector = self.load().create(model, min_score, device)
        sides = [side for side in (tile, self.largest) if side is not None]
        if not sides:
            return detector
        from facemake.backends.detect.tiles import Tiled

        return Tiled(detector, min(sides))


_LARGEST_PYRAMID = 4096
"""Frames of digital cinema and pictures of 12 megapixels are looked at whole. With a square of this
side Haar's cascade takes 0.9 GB, with 12,000 x 8,000 px at once 4.5 GB; MTCNN takes as much."""

# The scores of the two BlazeFaces are measured on recordings with and without faces: full range
# gives false faces up to .69 and true ones down to .30, so only a track that has once been sure may
# go on unsure. A face alone in a good picture can score as little as .74: "sure" lies between.
# Short range keeps the two apart by itself (false up to .61, true from .81).
DETECTORS: dict[str, DetectorBackend] = {
    "mediapipe": DetectorBackend(
        module="facemake.backends.detect.blazeface",
        models=("blazeface_full_range",),
        stack="mediapipe",
        use="the default: faces from close to about five metres from the camera",
        min_score=0.3,
        start_score=0.72,
        scores="sigmoid of the network",
        points="eyes, nose",
    ),
    "mediapipe-short": DetectorBackend(
        module="facemake.backends.detect.blazeface",
        models=("blazeface_short_range",),
        stack="mediapipe",
        use="webcam and selfie recordings: faces within two metres or so; twice as fast",
        min_score=0.5,
        start_score=0.7,
        scores="sigmoid of the network",
        points="eyes, nose",
    ),
    # Measured on 110 pictures and frames of four recordings with 67 faces: the lowest score of a
    # true face and the highest of a false one. SCRFD .70 and .30 (500M .72 and .22), YOLOv8-face
    # .77 and none above .02, Ultra-Light .996 and .48, YuNet .90 and .29: each keeps them apart by
    # itself. Haar .41 and .65 does not; dlib's HOG .40 and .48 hardly; its network .74 and none.
    "scrfd": DetectorBackend(
        module="facemake.backends.detect.scrfd",
        models=("scrfd_2.5g_kps",),
        stack="onnx",
        gpu_stack="onnx-gpu",
        devices=("cpu", "cuda"),
        own_model=True,
        use="small and turned faces, crowds; weights for non-commercial research",
        min_score=0.35,
        start_score=0.5,
        scores="sigmoid of the network",
        points="all five",
        face_box=(0.0, 0.066, 1.03),
    ),
    "scrfd-500m": DetectorBackend(
        module="facemake.backends.detect.scrfd",
        models=("scrfd_500m_kps",),
        stack="onnx",
        gpu_stack="onnx-gpu",
        devices=("cpu", "cuda"),
        own_model=True,
        use="as scrfd, four times as fast, less sure of small faces",
        min_score=0.35,
        start_score=0.5,
        scores="sigmoid of the network",
        points="all five",
        face_box=(0.0, 0.07, 1.04),
    ),
    # not measured: thresholds and boxes of its smaller brother
    "scrfd-10g": DetectorBackend(
        module="facemake.backends.detect.scrfd",
        models=("scrfd_10g_kps",),
        stack="onnx",
        gpu_stack="onnx-gpu",
        devices=("cpu", "cuda"),
        own_model=True,
        use="as scrfd, the one of insightface's large packs; for a GPU",
        min_score=0.35,
        start_score=0.5,
        scores="sigmoid of the network",
        points="all five",
        face_box=(0.0, 0.066, 1.03),
    ),
    "yolov8-face": DetectorBackend(
        module="facemake.backends.detect.yolov8",
        models=("yolov8_lite_t_face",),
        stack="onnx",
        gpu_stack="onnx-gpu",
        devices=("cpu", "cuda"),
        own_model=True,
        use="as good as scrfd and faster; GPL-3.0, or your own YOLOv8-face",
        min_score=0.35,
        start_score=0.5,
        scores="sigmoid of the network",
        points="all five",
        face_box=(0.0, 0.074, 1.035),
    ),
    "ultralight": DetectorBackend(
        module="facemake.backends.detect.ultralight",
        models=("ultralight_rfb_320",),
        stack="onnx",
        gpu_stack="onnx-gpu",
        devices=("cpu", "cuda"),
        own_model=True,
        use="slow machines: 320 x 240 px, so no small faces; no points",
        min_score=0.6,
        start_score=0.8,
        scores="softmax of the network",
        points="none",
        eyes="haar",
        face_box=(0.0, 0.097, 1.05),
    ),
    "yunet": DetectorBackend(
        module="facemake.backends.detect.yunet",
        models=("yunet_n_640_640",),
        stack="opencv",
        own_model=True,
        use="fast, five points, needs OpenCV alone",
        min_score=0.5,
        start_score=0.7,
        scores="root of class score times objectness",
        points="all five",
        face_box=(0.0, 0.063, 1.03),
    ),
    "opencv": DetectorBackend(
        module="facemake.backends.detect.haar",
        models=("haarcascade_frontalface_default",),
        stack="opencv",
        use="frontal faces, for comparison with older work; many false ones",
        min_score=0.4,
        start_score=0.56,
        scores="weight w of the cascade's last stage as w / (w + 4)",
        points="none",
        eyes="haar",
        face_box=(0.0, 0.098, 0.97),
        largest=_LARGEST_PYRAMID,
    ),
    "mtcnn": DetectorBackend(
        module="facemake.backends.detect.mtcnn",
        models=("mtcnn_pnet", "mtcnn_rnet", "mtcnn_onet"),
        stack="facenet",
        devices=("cpu", "cuda"),
        use="as much earlier work on identities; five points; slow on a CPU",
        min_score=0.8,
        start_score=0.9,
        scores="softmax of the last network, from .7 on",
        points="all five",
        face_box=(0.0, 0.072, 1.04),
        largest=_LARGEST_PYRAMID,
    ),
    # not measured, since its weights were not at hand: the threshold is the package's own, the box
    # that of SCRFD, which was trained on the same drawn faces (WIDER FACE)
    "retinaface": DetectorBackend(
        module="facemake.backends.detect.retina",
        models=("retinaface_resnet50",),
        stack="retinaface",
        gpu_stack="retinaface-gpu",
        devices=("cpu", "cuda"),
        own_model=True,
        use="small, turned and covered faces; five points; large: for a GPU",
        min_score=0.5,
        start_score=0.9,
        scores="softmax of the network",
        points="all five",
        face_box=(0.0, 0.066, 1.03),
    ),
    # the customary threshold; nothing of it was measured, since its weights were not at hand
    "ssd": DetectorBackend(
        module="facemake.backends.detect.ssd",
        models=("res10_ssd", "res10_ssd_prototxt"),
        stack="opencv",
        use="for comparison with older work; large faces",
        min_score=0.4,
        start_score=0.5,
        scores="softmax of the network",
        points="none",
        eyes="haar",
    ),
    "dlib": DetectorBackend(
        module="facemake.backends.detect.dlib_faces",
        models=("dlib_5_point_predictor",),
        stack="dlib",
        use="frontal faces from 40 px; HOG, steady boxes, slow",
        min_score=0.45,
        start_score=0.53,
        scores="distance s to the margin as 1 / (1 + exp(-s))",
        points="eyes",
        face_box=(0.0, 0.0, 1.1),
    ),
    "dlib-cnn": DetectorBackend(
        module="facemake.backends.detect.dlib_faces",
        models=("dlib_mmod_human_face_detector", "dlib_5_point_predictor"),
        stack="dlib",
        use="turned faces too; more than a second a frame on a CPU",
        min_score=0.55,
        start_score=0.65,
        scores="distance s to the margin as 1 / (1 + exp(-s))",
        points="eyes",
        face_box=(0.02, 0.11, 1.14),
    ),
}
