"""Each detector that is installed against its own library in a bare loop, over the same frames.

The loop does what its library needs to give faces, and no more: no score is looked at, nothing is
kept. An ONNX network without a library has a loop of resize, blob and run, which ends where boxes
would be made of its outputs; ours makes them. Both sides take turns in one process with one thread,
frames decoded before.

A detector gets a loop by a row of `LIBRARIES`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

# before the libraries are imported
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import av
import cv2
import numpy as np

from facemake.backends.detect import DETECTORS
from facemake.errors import FacemakeError
from facemake.models import model_path

Look = Callable[[np.ndarray], Any]


def run(clip: Path, runs: int, frames: int = 24) -> None:
    """Print, by detector, the library's CPU time as a part of ours (1: no cost of our own)."""
    cv2.setNumThreads(1)
    with av.open(clip) as container:
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    pictures = pictures[:: max(1, len(pictures) // frames)][:frames]
    for name, row in DETECTORS.items():
        if name not in LIBRARIES:
            print(f"{name}: not measured: no loop of its library's in benchmarks/detectors.py")
            continue
        try:
            detector = row.create(row.models[0], row.min_score, "cpu")
        except (FacemakeError, ImportError) as error:
            print(f"{name}: not measured: {error}")
            continue
        theirs = LIBRARIES[name](row.models[0], row.min_score)
        some = pictures[:4] if name == "dlib-cnn" else pictures
        alone = [[rgb] for rgb in some]
        turns = []
        for turn in range(1 + runs):  # who goes first takes turns, too
            if turn % 2:
                mine = _seconds(detector, alone)
                loop = _seconds(theirs, some)
            else:
                loop = _seconds(theirs, some)
                mine = _seconds(detector, alone)
            turns.append((loop, mine))
        del turns[0]  # what is made once
        detector.close()
        ratios = [loop / mine for loop, mine in turns]
        print(
            f"{name}: {median(ratios):.2f} of its library's speed (from {min(ratios):.2f} to "
            f"{max(ratios):.2f}, {runs} runs), "
            f"{1e3 * median(mine for _, mine in turns) / len(some):.1f} ms of CPU a frame"
        )


def _seconds(look: Callable[[Any], Any], pictures: list[Any]) -> float:
    start = time.process_time()
    for picture in pictures:
        look(picture)
    return time.process_time() - start


def _mediapipe(selection: int) -> Callable[[str, float], Look]:
    def make(model: str, min_score: float) -> Look:
        import mediapipe as mp

        made = mp.solutions.face_detection.FaceDetection(
            model_selection=selection, min_detection_confidence=min_score
        )
        return made.process

    return make


def _onnx(
    size: tuple[int, int], mean: float, scale: float, whole: bool
) -> Callable[[str, float], Look]:
    """Resize (keeping the aspect unless `whole`), blob, run."""

    def make(model: str, min_score: float) -> Look:
        session = _session(model)
        feed = session.get_inputs()[0].name
        width, height = size

        def look(rgb: np.ndarray) -> Any:
            if not whole:
                canvas = np.zeros((height, width, 3), np.uint8)
                ratio = min(width / rgb.shape[1], height / rgb.shape[0])
                small = cv2.resize(rgb, None, fx=ratio, fy=ratio)
                canvas[: small.shape[0], : small.shape[1]] = small
                rgb = canvas
            blob = cv2.dnn.blobFromImage(rgb, scale, size, (mean, mean, mean))
            return session.run(None, {feed: blob})

        return look

    return make


def _session(model: str) -> Any:
    """On one thread: it looks for cores of its own, whatever OMP_NUM_THREADS says."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        str(model_path(model)), options, providers=["CPUExecutionProvider"]
    )


def _yunet(model: str, min_score: float) -> Look:
    made = cv2.FaceDetectorYN.create(str(model_path(model)), "", (640, 640), min_score, 0.3)

    def look(rgb: np.ndarray) -> Any:
        bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
        scale = min(1.0, 640 / max(bgr.shape[:2]))
        if scale < 1:
            bgr = cv2.resize(bgr, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        made.setInputSize(bgr.shape[1::-1])
        return made.detect(bgr)

    return look


def _haar(model: str, min_score: float) -> Look:
    cascade = cv2.CascadeClassifier(str(model_path(model)))
    return lambda rgb: cascade.detectMultiScale3(
        cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), 1.1, 3, minSize=(24, 24), outputRejectLevels=True
    )


def _ssd(model: str, min_score: float) -> Look:
    from facemake.backends.detect.ssd import PROTOTXT

    network = cv2.dnn.readNetFromCaffe(str(model_path(PROTOTXT)), str(model_path(model)))

    def look(rgb: np.ndarray) -> Any:
        small = cv2.resize(rgb, (300, 300))
        network.setInput(cv2.dnn.blobFromImage(small, 1.0, None, (104, 177, 123), swapRB=True))
        return network.forward()

    return look


def _dlib(model: str, min_score: float) -> Look:
    import dlib

    detector = dlib.get_frontal_face_detector()
    return lambda rgb: detector.run(rgb, 1, 0.0)


def _dlib_cnn(model: str, min_score: float) -> Look:
    import dlib

    network = dlib.cnn_face_detection_model_v1(str(model_path(model)))
    return lambda rgb: network(rgb, 0)


def _mtcnn(model: str, min_score: float) -> Look:
    from facenet_pytorch import MTCNN

    made = MTCNN(keep_all=True, select_largest=False)
    return lambda rgb: made.detect(rgb, landmarks=True)


def _retinaface(model: str, min_score: float) -> Look:
    from retinaface import RetinaFace
    from retinaface.model.retinaface_onnx_model import RetinaFace as Network

    network = Network(_session(model))
    return lambda rgb: RetinaFace.detect_faces(rgb[:, :, ::-1], min_score, network)


_SCRFD = _onnx((640, 640), 127.5, 1 / 128, whole=False)
LIBRARIES: dict[str, Callable[[str, float], Look]] = {
    "mediapipe": _mediapipe(1),
    "mediapipe-short": _mediapipe(0),
    "scrfd": _SCRFD,
    "scrfd-500m": _SCRFD,
    "scrfd-10g": _SCRFD,
    "yolov8-face": _onnx((640, 640), 0, 1 / 255, whole=False),
    "ultralight": _onnx((320, 240), 127, 1 / 128, whole=True),
    "yunet": _yunet,
    "opencv": _haar,
    "mtcnn": _mtcnn,
    "retinaface": _retinaface,
    "ssd": _ssd,
    "dlib": _dlib,
    "dlib-cnn": _dlib_cnn,
}
"""Detector -> what makes its library's own look at a picture."""
