"""A detector and an embedder that work together: what finds the faces of a picture and embeds them.

Of one picture the vectors are those that the workflow would give but for landmarks: an embedder
that goes by landmarks is given the detector's box and points here, for which each backend says how
far off that is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from facemake.backends import Backend
from facemake.backends.detect import DETECTORS, Detector, Picture
from facemake.backends.embed import EMBEDDERS, Embedder, EmbedderBackend, Face
from facemake.backends.embed.vectors import embed_chips
from facemake.detections import landmark_box
from facemake.errors import ConfigError
from facemake.runtime.contexts import Closing


def _check_own(kind: str, name: str, model: str | None, rows: Mapping[str, Backend]) -> None:
    if model is not None and not rows[name].own_model:
        able = ", ".join(other for other, row in rows.items() if row.own_model)
        raise ConfigError(
            f"the {kind} {name} loads its own model alone, and not {model}: leave the file out, or "
            f"take the {kind} it is made for ({able})"
        )


@dataclass(frozen=True)
class FoundFace:
    """A face that a detector is sure of.

    Attributes:
        bbox: (4,) float32 x, y, w, h px.
        score: 0-1, the detector's own.
        keypoints5: (5, 2) float32 px, NaN where the detector has no such point.
        face: what an embedder is told of it.
    """

    bbox: NDArray[np.float32]
    score: float
    keypoints5: NDArray[np.float32]
    face: Face


class Recognizer(Closing):
    """Finds faces and embeds them.

    Not thread-safe: onnxruntime, dlib and MediaPipe each have their own rules, so one thread at a
    time uses it.

    Args:
        detector, embedder: that are there; they are closed with this.
        face_box: of the detector (`facemake.detections.landmark_box`).
        min_score: faces below are not found.
        row: what is known of the embedder.
    """

    def __init__(
        self,
        detector: Detector,
        embedder: Embedder,
        face_box: tuple[float, float, float],
        min_score: float,
        row: EmbedderBackend,
    ) -> None:
        self.detector = detector
        self.embedder = embedder
        self.row = row
        self._face_box = face_box
        self._min_score = min_score

    @classmethod
    def of_backends(
        cls,
        detect: str,
        embed: str,
        device: str = "cpu",
        detect_model: str | None = None,
        embed_model: str | None = None,
    ) -> Self:
        """Of rows of the registries.

        Args:
            detect: of `DETECTORS`.
            embed: of `EMBEDDERS`.
            device: `cpu` or `cuda`; a backend that computes on a CPU alone stays there.
            detect_model: a file of the user's, where the detector takes one.
            embed_model: the same of the embedder.

        Raises:
            ConfigError: a file of the user's is given to a backend that takes none.
            ModelError: a model is missing or not the registered one, or the device is not there.
        """
        finds, embeds = DETECTORS[detect], EMBEDDERS[embed]
        _check_own("detector", detect, detect_model, DETECTORS)
        _check_own("embedder", embed, embed_model, EMBEDDERS)
        place = [device if device in row.devices else "cpu" for row in (finds, embeds)]
        detector = finds.create(detect_model or finds.models[0], finds.start_score, place[0])
        try:
            embedder = embeds.create(embed_model or embeds.models[0], place[1])
        except BaseException:
            detector.close()
            raise
        return cls(detector, embedder, finds.face_box, finds.start_score, embeds)

    def find(self, pictures: Sequence[Picture]) -> list[list[FoundFace]]:
        """The faces of each picture, by falling score.

        Args:
            pictures: (H, W, 3) uint8 RGB each, any number of them.
        """
        return [
            [
                FoundFace(box, float(score), points, self.face_of(box, points))
                for box, score, points in zip(seen.bbox, seen.score, seen.keypoints5, strict=True)
                if score >= self._min_score
            ]
            for seen in self.detector(pictures)
        ]

    def face_of(
        self, bbox: NDArray[np.float32], keypoints5: NDArray[np.float32] | None = None
    ) -> Face:
        """What an embedder is told of a box that is drawn as this detector would.

        Args:
            bbox: (4,) x, y, w, h px.
            keypoints5: (5, 2) px, where they are known.
        """
        box = np.asarray(bbox, np.float32)
        return Face(landmark_box(box, self._face_box), None, box, keypoints5)

    def embed(self, rgb: Picture, faces: Sequence[Face], flip: bool = False) -> NDArray[np.float32]:
        """The vectors of faces of one picture.

        Args:
            rgb: (H, W, 3) uint8.
            faces: in it.
            flip: see `embed_chips`.

        Returns:
            (n, D) float32 of L2 norm 1.

        Raises:
            ValueError: no pixel of a face is in the picture, or its place is not finite.
        """
        chips = [self.embedder.chip(rgb, face) for face in faces]
        vectors = list(embed_chips(self.embedder, chips, flip))
        if not vectors:
            return np.zeros((0, self.row.dim), np.float32)
        return np.array(vectors, np.float32)

    def close(self) -> None:
        """Free the models."""
        self.detector.close()
        self.embedder.close()
