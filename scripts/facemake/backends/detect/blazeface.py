"""BlazeFace, full or short range (Bazarevsky et al. 2019), through MediaPipe's own graph.

The graph is written out because the library's `min_detection_confidence` has no effect in 0.10.21:
its threshold is fixed inside, and only the graph's own options move it.
"""

from __future__ import annotations

from collections.abc import Sequence

# first: what is imported below then brings no more than itself
import facemake.backends.mediapipe_package  # noqa: F401

# isort: split
import cv2
import mediapipe.framework.formats.detection_pb2
import mediapipe.modules.face_detection.face_detection_pb2  # noqa: F401  (both are registered)
import numpy as np
from mediapipe.python import packet_getter

from facemake.alignment import LONGEST
from facemake.backends.detect import Picture
from facemake.backends.mediapipe_graph import Graph, image_packet
from facemake.detections import Detections
from facemake.models import packaged_model

_SHRUNK = 4096
"""px, of the longer side of a picture that is too long for MediaPipe; its network sees 192."""

_CALCULATORS = {
    "blazeface_full_range": "FaceDetectionFullRangeCpu",
    "blazeface_short_range": "FaceDetectionShortRangeCpu",
}

_GRAPH = """
input_stream: "image"
output_stream: "detections"
num_threads: 1
node {{
  calculator: "{calculator}"
  input_stream: "IMAGE:image"
  output_stream: "DETECTIONS:detections"
  options: {{
    [mediapipe.FaceDetectionOptions.ext] {{ min_score_thresh: {min_score} }}
  }}
}}
"""


class BlazeFace:
    """The detector.

    Its key points are the eyes, the nose tip, the middle of the mouth and the ears: of the five
    points of `Detections` it has three, and NaN for the mouth corners.

    Args:
        model: `blazeface_full_range` or `blazeface_short_range`.
        min_score: detections below it are left out (0-1).
    """

    def __init__(self, model: str, min_score: float) -> None:
        packaged_model(model)
        text = _GRAPH.format(calculator=_CALCULATORS[model], min_score=min_score)
        self._graph = Graph(text, ("detections",))

    batch_size = 1

    def __call__(self, pictures: Sequence[Picture]) -> list[Detections]:
        """Detect in (H, W, 3) uint8 RGB pictures."""
        return [self._detected(rgb) for rgb in pictures]

    def _detected(self, rgb: Picture) -> Detections:
        height, width = rgb.shape[:2]
        if max(height, width) > LONGEST:  # where faces are it says in parts of the picture
            size = [max(1, side * _SHRUNK // max(height, width)) for side in (width, height)]
            rgb = np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)
        packet = self._graph(image=image_packet(rgb)).get("detections")
        found = packet_getter.get_proto_list(packet) if packet is not None else []
        n = len(found)
        bbox = np.empty((n, 4))
        score = np.empty(n)
        points = np.full((n, 5, 2), np.nan)
        for i, face in enumerate(found):
            box = face.location_data.relative_bounding_box
            bbox[i] = box.xmin, box.ymin, box.width, box.height
            score[i] = face.score[0]
            keypoints = face.location_data.relative_keypoints
            points[i, :3] = [(p.x, p.y) for p in keypoints[:3]]
        # relative coordinates count from the corner of the first pixel, ours from its centre
        bbox *= (width, height, width, height)
        bbox[:, :2] -= 0.5
        points = points * (width, height) - 0.5
        order = np.argsort(-score, kind="stable")
        return Detections(
            bbox[order].astype(np.float32),
            score[order].astype(np.float32),
            points[order].astype(np.float32),
        )

    def close(self) -> None:
        """Free the model."""
        self._graph.close()


def create(model: str, min_score: float, device: str) -> BlazeFace:
    """What the registry calls."""
    return BlazeFace(model, min_score)
