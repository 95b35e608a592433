"""The reference: decode, BlazeFace, FaceMesh in one process by their own classes; nothing kept."""

from __future__ import annotations

import sys

import av
import mediapipe as mp


def main(paths: list[str]) -> None:
    """Run the loop over each video in turn."""
    detector = mp.solutions.face_detection.FaceDetection(
        model_selection=1, min_detection_confidence=0.5
    )
    for path in paths:
        mesh = mp.solutions.face_mesh.FaceMesh(refine_landmarks=True, max_num_faces=1)
        with av.open(path) as container:
            stream = container.streams.video[0]
            stream.thread_count = 1
            for frame in container.decode(stream):
                rgb = frame.reformat(format="rgb24", threads=1).to_ndarray()
                detector.process(rgb)
                mesh.process(rgb)
        mesh.close()
    detector.close()


if __name__ == "__main__":
    main(sys.argv[1:])
