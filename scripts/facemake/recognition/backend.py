"""`create_backend`: a pack's networks on pictures in memory, as lumen-face offers them.

Faces are where their boxes are, `(x1, y1, x2, y2)` px, counted from the corner of the first pixel.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facemake.backends.detect import DETECTORS, Detector
from facemake.backends.embed import EMBEDDERS, Embedder, EmbedderBackend, Face, Pixels
from facemake.backends.embed.vectors import embed_chips
from facemake.backends.rknn_model import Board, side
from facemake.detections import Detections
from facemake.errors import DeviceError, ModelError
from facemake.recognition.arrays import as_rgb
from facemake.recognition.config import BackendInfo, Config, RuntimeKind
from facemake.recognition.packs import DETECTION, RECOGNITION, Artifact, Pack
from facemake.recognition.recognizer import Recognizer
from facemake.runtime.contexts import Closing
from facemake.runtime.memory import cores, threads_said

logger = logging.getLogger(__name__)

Box = tuple[float, float, float, float]
Vector = NDArray[np.float32]

DETECTOR = DETECTORS["scrfd-10g"]
"""What is known of a pack's detector, whose file is the user's own."""

_SAME_FACE = 0.3
"""Intersection over union from which a box is that of a face that the detector finds."""
_CUT = "boxes are cut and resized as they are, whole pictures too"


class PackEmbedder(Embedder, Protocol):
    """A pack's recognition network.

    Attributes:
        size: width and height of its chips, px.
        dim: length of its vectors; None: its file leaves that open.
        provider: what computes it, in its runtime's word.
    """

    size: tuple[int, int]
    dim: int | None
    provider: str


class FaceBackend(Closing):
    """Finds and embeds faces with the networks of a pack. Threads take turns.

    Args:
        pack: its files.
        strict: an error where the device is not to be had, instead of a warning and the CPU.
        threads: of a CPU; None: OMP_NUM_THREADS, else all cores that this process may use.

    Raises:
        ModelError: a file is missing, changed or no such network.
        DeviceError: there is no NPU, or with `strict` no GPU.
    """

    def __init__(self, pack: Pack, *, strict: bool = False, threads: int | None = None) -> None:
        self.config = pack.config
        self._pack = pack
        self._threads = threads or threads_said() or cores()
        self._lock = threading.Lock()
        self._recogniser: Artifact = pack.artifact(RECOGNITION)
        self._device = self.config.device or "cpu"
        try:
            self._embedder: PackEmbedder | None = self._opened_embedder()
        except DeviceError as error:
            if strict or not self._device.startswith("cuda"):
                raise
            logger.warning("%s; it computes on the CPU", error)
            self._device = "cpu"
            self._embedder = self._opened_embedder()
        self._dim, self._provider = self._embedder.dim, self._embedder.provider
        self._detector: Detector | None = None

    @property
    def info(self) -> BackendInfo:
        """What it is and what computes it."""
        largest = self._embedder.batch_size if self._embedder else 1
        return BackendInfo(
            runtime=str(self.config.runtime),
            device=self.config.device,
            pack_name=self.config.model_name,
            face_embedding_dim=self._dim,
            precisions=(self.config.precision,),
            max_batch_size=self.config.max_batch_size,
            supports_image_batch=largest > 1,
            extra=self.config.extra,
            provider=self._provider,
            model=str(self._recogniser.path),
            model_sha256=self._recogniser.sha256,
            chip=f"{self._row.chip}; {_CUT}",
        )

    def embed(
        self,
        image: Pixels | Image.Image,
        boxes: Iterable[Sequence[float]] | NDArray[Any] | None = None,
        *,
        align: bool = False,
        flip: bool = False,
    ) -> list[Vector]:
        """The vectors of faces of a picture.

        Args:
            image: (H, W, 3) uint8 RGB, or a picture of Pillow's.
            boxes: (x1, y1, x2, y2) px each; what lies outside of the picture does not count. None:
                the whole picture is one face.
            align: what the networks were trained on: the five points that the pack's detector finds
                in each box are put on ArcFace's template. Else the box is cut and resized.
            flip: the mean of each face and its mirror image.

        Returns:
            (D,) float32 of L2 norm 1, one a box.

        Raises:
            ValueError: the picture or a box is none, or `align` finds no face in a box.
            ModelError: the pack has no detector.
        """
        rgb = as_rgb(image)
        with self._lock:
            embedder = self._open()
            if boxes is None:
                if align:
                    raise ValueError("align wants boxes: those that detect(image) gives")
                chips = [_resized(rgb, embedder.size)]
            else:
                places = _places(boxes, rgb)
                if align and places:
                    faces = _faces(self._found(rgb), places)
                    chips = [embedder.chip(rgb, face) for face in faces]
                else:
                    chips = [_resized(_cut(rgb, box), embedder.size) for box in places]
            vectors = list(embed_chips(embedder, chips, flip))
        if vectors:
            self._dim = len(vectors[0])
        return vectors

    def detect(self, image: Pixels | Image.Image, min_score: float | None = None) -> list[Box]:
        """Find faces, by the pack's SCRFD.

        Args:
            image: as `embed` takes it.
            min_score: faces below are left out (0-1); None: 0.5. None are below 0.35.

        Returns:
            (x1, y1, x2, y2) px of each, by falling score; parts may lie outside of the picture.

        Raises:
            ValueError: the picture is none.
            ModelError: the pack has no detector.
        """
        found = self.find(image, min_score)
        return [tuple(box) for box in _corners(found.bbox).tolist()]

    def find(self, image: Pixels | Image.Image, min_score: float | None = None) -> Detections:
        """As `detect`, with scores and five points; x, y, w, h and points from a pixel's middle."""
        rgb = as_rgb(image)
        least = DETECTOR.start_score if min_score is None else min_score
        with self._lock:
            self._open()
            found = self._found(rgb)
        sure = found.score >= least
        return Detections(found.bbox[sure], found.score[sure], found.keypoints5[sure])

    def close(self) -> None:
        """Free the networks; it can be called twice."""
        with self._lock:
            for network in (self._embedder, self._detector):
                if network is not None:
                    network.close()
            self._embedder = self._detector = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.config.model_name}, {self._provider}>"

    @property
    def _row(self) -> EmbedderBackend:
        return EMBEDDERS["onnx" if self.config.runtime is RuntimeKind.ONNXRT else "rknn"]

    def _open(self) -> PackEmbedder:
        if self._embedder is None:
            raise ValueError("the backend is closed; create_backend() makes another")
        return self._embedder

    def _opened_embedder(self) -> PackEmbedder:
        return opened_embedder(self.config, self._recogniser, self._device, self._threads)

    def _found(self, rgb: Pixels) -> Detections:
        if self._detector is None:
            detection = self._pack.artifact(DETECTION)
            self._detector = opened_detector(self.config, detection, self._device, self._threads)
        (found,) = self._detector([rgb])
        return found


def create_backend(
    runtime: RuntimeKind | str | None = None,
    device_preference: str | None = None,
    pack_name: str | None = None,
    precision: str | None = None,
    max_batch_size: int | None = None,
    *,
    strict: bool = False,
    threads: int | None = None,
    **kwargs: Any,
) -> FaceBackend:
    """The networks of a pack, by arguments, else the environment, else `Config`'s defaults.

    Args:
        runtime: `onnxrt` or `rknn`.
        device_preference: `cpu`, `cuda`, `cuda:N`, `rknpuN`.
        pack_name: the pack's name.
        precision: of its files: `fp16`, `int8`, `fp32`.
        max_batch_size: so many faces at once at most.
        strict: see `FaceBackend`.
        threads: see `FaceBackend`.
        kwargs: other fields of `Config`.

    Raises:
        ConfigError: an argument or a variable is no value of its field.
        ModelError: a file is missing, changed or no such network; the runtime is not installed.
        TypeError: `Config` has no such field.
    """
    config = Config.from_env(
        runtime=runtime,
        device=device_preference,
        model_name=pack_name,
        precision=precision,
        max_batch_size=max_batch_size,
        **kwargs,
    )
    return FaceBackend(Pack(config), strict=strict, threads=threads)


def recognizer_of_pack(config: Config, threads: int | None = None) -> Recognizer:
    """A pack's detector and recognition network, which align what they embed.

    Args:
        config: says which; its device is not exchanged for another.
        threads: see `FaceBackend`.

    Raises:
        ModelError: a file is missing, changed or no such network; the device is not there.
    """
    pack, device = Pack(config), config.device or "cpu"
    threads = threads or threads_said() or cores()
    detector = opened_detector(config, pack.artifact(DETECTION), device, threads)
    recogniser = pack.artifact(RECOGNITION)
    try:
        embedder = opened_embedder(config, recogniser, device, threads)
    except BaseException:
        detector.close()
        raise
    row = EMBEDDERS["onnx" if config.runtime is RuntimeKind.ONNXRT else "rknn"]
    known = replace(row, dim=embedder.dim or row.dim, same_person=None)
    return Recognizer(detector, embedder, DETECTOR.face_box, DETECTOR.start_score, known)


def opened_embedder(config: Config, file: Artifact, device: str, threads: int) -> PackEmbedder:
    """A pack's recognition network.

    Raises:
        DeviceError: the device is not there.
        ModelError: the file is no such network, or the runtime is not installed.
    """
    if config.runtime is RuntimeKind.RKNN:
        from facemake.backends.embed.rknn import RknnArcFace

        width, height = (side(config.extra, f"rec_input_{axis}", 112) for axis in "wh")
        return RknnArcFace(file.path, Board.of(config.extra, config.device), (width, height))
    _wants_onnxruntime()
    from facemake.backends.embed.arcface import ArcFace

    gpu = device if device.startswith("cuda") else "cpu"
    return ArcFace(file.path, gpu, config.largest_batch, threads)


def opened_detector(config: Config, file: Artifact, device: str, threads: int) -> Detector:
    """A pack's detector; raises what `opened_embedder` does."""
    if config.runtime is RuntimeKind.RKNN:
        from facemake.backends.detect.scrfd_rknn import RknnScrfd

        height, width = (side(config.extra, f"det_input_{axis}", 640) for axis in "hw")
        board = Board.of(config.extra, config.device)
        return RknnScrfd(file.path, board, (height, width), DETECTOR.min_score)
    _wants_onnxruntime()
    from facemake.backends.detect.scrfd import Scrfd, open_scrfd

    gpu = device if device.startswith("cuda") else "cpu"
    return Scrfd(open_scrfd(file.path, gpu, threads), DETECTOR.min_score)


def _wants_onnxruntime() -> None:
    try:
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise ModelError(
            f"runtime onnxrt needs the package onnxruntime ({error}): `make onnx`, or "
            "pip install 'facemake[onnx]'; on an NVIDIA GPU 'facemake[onnx-gpu]' in its place"
        ) from None


def _places(boxes: Iterable[Sequence[float]] | NDArray[Any], rgb: Pixels) -> list[Box]:
    """Boxes that are some, each with a pixel in the picture."""
    height, width = rgb.shape[:2]
    places = []
    for i, box in enumerate(boxes):
        try:
            x1, y1, x2, y2 = (float(v) for v in box)
        except (TypeError, ValueError):
            raise ValueError(f"box {i} is {box!r}, not four numbers (x1, y1, x2, y2)") from None
        said = f"box {i} is (x1, y1, x2, y2) = {(x1, y1, x2, y2)}"
        if not np.isfinite((x1, y1, x2, y2)).all():
            raise ValueError(f"{said}: four finite numbers are wanted")
        if x2 <= x1 or y2 <= y1:
            raise ValueError(
                f"{said}, which has no area: the last two are its right and lower edge, not its "
                "width and height"
            )
        if x2 <= 0 or y2 <= 0 or x1 >= width or y1 >= height:
            raise ValueError(
                f"{said}, which lies outside of the picture of {width} x {height} px; pixels are "
                "wanted, not shares of it"
            )
        places.append((x1, y1, x2, y2))
    return places


def _cut(rgb: Pixels, box: Box) -> Pixels:
    """The pixels that a box touches."""
    height, width = rgb.shape[:2]
    # whole numbers of any size, which NumPy's are not
    left, top = (max(0, math.floor(v)) for v in box[:2])
    right, bottom = (
        min(most, math.ceil(v)) for v, most in zip(box[2:], (width, height), strict=True)
    )
    return rgb[top:bottom, left:right]


def _resized(rgb: Pixels, size: tuple[int, int]) -> Pixels:
    """Squashed to a size: Pillow's bilinear, whose support grows where it shrinks."""
    small = Image.fromarray(np.ascontiguousarray(rgb)).resize(size, Image.Resampling.BILINEAR)
    return np.asarray(small)


def _corners(bbox: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, 4) x, y, w, h from a pixel's middle to x1, y1, x2, y2 from its corner."""
    return np.concatenate([bbox[:, :2] + 0.5, bbox[:, :2] + bbox[:, 2:] + 0.5], axis=1)


def _faces(found: Detections, boxes: Sequence[Box]) -> list[Face]:
    """The face of each box, among those that were found."""
    theirs = _corners(found.bbox).astype(np.float64)
    faces = []
    for i, box in enumerate(boxes):
        mine = np.array(box)
        low, high = np.maximum(mine[:2], theirs[:, :2]), np.minimum(mine[2:], theirs[:, 2:])
        common = np.prod(np.maximum(high - low, 0), axis=1)
        areas = np.prod(theirs[:, 2:] - theirs[:, :2], axis=1) + np.prod(mine[2:] - mine[:2])
        overlap = common / (areas - common)
        if not len(overlap) or overlap.max() < _SAME_FACE:
            raise ValueError(
                f"box {i} is {box}, where the pack's detector finds no face: take a box of "
                "detect(image), or align=False"
            )
        best = int(overlap.argmax())
        faces.append(Face(found.bbox[best], None, found.bbox[best], found.keypoints5[best]))
    return faces
