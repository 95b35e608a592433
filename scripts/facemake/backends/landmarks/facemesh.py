"""FaceMesh with attention (Grishchenko et al. 2020): 468 points and 10 of the irises.

The library's own classes follow a face from frame to frame, so what they give depends on where a
video starts. This graph takes the region from the detection and nothing from the frame before.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import atan2, isfinite

# first: what is imported below then brings no more than itself
import facemake.backends.mediapipe_package  # noqa: F401

# isort: split
import mediapipe.calculators.core.constant_side_packet_calculator_pb2
import mediapipe.calculators.core.split_vector_calculator_pb2
import mediapipe.calculators.tensor.image_to_tensor_calculator_pb2
import mediapipe.calculators.tensor.inference_calculator_pb2
import mediapipe.calculators.tensor.tensors_to_floats_calculator_pb2
import mediapipe.framework.formats.landmark_pb2  # noqa: F401  (the messages are registered)
import numpy as np
from mediapipe.framework.formats import rect_pb2
from mediapipe.python import packet_creator, packet_getter
from numpy.typing import NDArray

from facemake.alignment import around
from facemake.backends.landmarks import Face, Landmarks
from facemake.backends.mediapipe_graph import Graph, image_packet, landmarks_of
from facemake.models import packaged_model

# The network was trained on squares 1.5 times the detection's longer side, turned so that the eyes
# are level (MediaPipe's face_detection_front_detection_to_roi).
_REGION_SCALE = 1.5
_INPUT = 192

_GRAPH = f"""
input_stream: "image"
input_stream: "region"
output_stream: "landmarks"
output_stream: "presence"
num_threads: 1
node {{
  calculator: "ConstantSidePacketCalculator"
  output_side_packet: "PACKET:with_attention"
  options: {{
    [mediapipe.ConstantSidePacketCalculatorOptions.ext] {{ packet {{ bool_value: true }} }}
  }}
}}
node {{
  calculator: "FaceLandmarksModelLoader"
  input_side_packet: "WITH_ATTENTION:with_attention"
  output_side_packet: "MODEL:model"
}}
node {{
  calculator: "TfLiteCustomOpResolverCalculator"
  output_side_packet: "OP_RESOLVER:op_resolver"
}}
node {{
  calculator: "ImageToTensorCalculator"
  input_stream: "IMAGE:image"
  input_stream: "NORM_RECT:region"
  output_stream: "TENSORS:input_tensors"
  options: {{
    [mediapipe.ImageToTensorCalculatorOptions.ext] {{
      output_tensor_width: {_INPUT}
      output_tensor_height: {_INPUT}
      output_tensor_float_range {{ min: 0.0 max: 1.0 }}
    }}
  }}
}}
node {{
  calculator: "InferenceCalculator"
  input_stream: "TENSORS:input_tensors"
  input_side_packet: "MODEL:model"
  input_side_packet: "OP_RESOLVER:op_resolver"
  output_stream: "TENSORS:output_tensors"
  options: {{
    [mediapipe.InferenceCalculatorOptions.ext] {{ delegate {{ xnnpack {{ num_threads: 1 }} }} }}
  }}
}}
node {{
  calculator: "SplitTensorVectorCalculator"
  input_stream: "output_tensors"
  output_stream: "mesh_tensors"
  output_stream: "presence_tensors"
  options: {{
    [mediapipe.SplitVectorCalculatorOptions.ext] {{
      ranges: {{ begin: 0 end: 6 }}
      ranges: {{ begin: 6 end: 7 }}
    }}
  }}
}}
node {{
  calculator: "TensorsToFaceLandmarksWithAttention"
  input_stream: "TENSORS:mesh_tensors"
  output_stream: "LANDMARKS:region_landmarks"
}}
node {{
  calculator: "TensorsToFloatsCalculator"
  input_stream: "TENSORS:presence_tensors"
  output_stream: "FLOAT:presence"
  options: {{ [mediapipe.TensorsToFloatsCalculatorOptions.ext] {{ activation: SIGMOID }} }}
}}
node {{
  calculator: "LandmarkProjectionCalculator"
  input_stream: "NORM_LANDMARKS:region_landmarks"
  input_stream: "NORM_RECT:region"
  output_stream: "NORM_LANDMARKS:landmarks"
}}
"""


class FaceMesh:
    """The landmark network. Its confidence is its face presence, close to 1 on many false faces."""

    scheme = "mediapipe478"

    def __init__(self) -> None:
        packaged_model("facemesh_attention")
        self._graph = Graph(_GRAPH, ("landmarks", "presence"))

    batch_size = 1

    def __call__(self, faces: Sequence[Face]) -> list[Landmarks | None]:
        """Landmarks of faces, each turned by the line of its two eyes."""
        return [self._found(face.frame.rgb, face.bbox, face.keypoints5) for face in faces]

    def _found(
        self,
        rgb: NDArray[np.uint8],
        bbox: NDArray[np.float32],
        keypoints5: NDArray[np.float32],
    ) -> Landmarks | None:
        x, y, w, h = (float(v) for v in bbox)
        rgb, corner = around(rgb, (x + w / 2, y + h / 2), 1.5 * _REGION_SCALE * max(w, h))
        bbox = bbox - np.array([*corner, 0, 0], np.float32)
        height, width = rgb.shape[:2]
        out = self._graph(
            image=image_packet(rgb),
            region=packet_creator.create_proto(_region(bbox, keypoints5, width, height)),
        )
        if "landmarks" not in out or "presence" not in out:
            return None
        xyz = landmarks_of(out["landmarks"])
        if not np.isfinite(xyz).all():  # its file is the registered one: it is the region's doing
            return None
        # normalised by width, height and again width; counted from the corner of the first pixel
        points = xyz[:, :2] * (width, height) - 0.5 + corner
        return Landmarks(
            points.astype(np.float32),
            (xyz[:, 2] * width).astype(np.float32),
            float(packet_getter.get_float(out["presence"])),
        )

    def close(self) -> None:
        """Free the model."""
        self._graph.close()


def _region(
    bbox: NDArray[np.float32], keypoints5: NDArray[np.float32], width: int, height: int
) -> rect_pb2.NormalizedRect:
    x, y, w, h = (float(v) for v in bbox)
    dx, dy = (float(v) for v in keypoints5[1] - keypoints5[0])
    side = _REGION_SCALE * max(w, h)
    return rect_pb2.NormalizedRect(
        x_center=(x + 0.5 + w / 2) / width,
        y_center=(y + 0.5 + h / 2) / height,
        width=side / width,
        height=side / height,
        rotation=atan2(dy, dx) if isfinite(dx + dy) else 0.0,
    )


def create(device: str) -> FaceMesh:
    """What the registry calls."""
    return FaceMesh()
