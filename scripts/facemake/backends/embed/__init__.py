"""Identity embeddings: the registry, and what each of them gives."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from facemake.backends import Backend


class Embedder(Protocol):
    """Turns one face of one picture into a vector; each has the chip that it was trained on."""

    def __call__(self, rgb: NDArray[np.uint8], ibug: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embed the face with these landmarks.

        Args:
            rgb: (H, W, 3) uint8 frame, C-contiguous.
            ibug: (68, 2) pixels of the frame, or (51, 2) where the jaw is not known.

        Returns:
            (D,) float32 of L2 norm 1.
        """
        ...

    def of_square(self, rgb: NDArray[np.uint8], square: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embed a face of which no landmarks are known yet.

        Args:
            rgb: (H, W, 3) uint8 frame, C-contiguous.
            square: (4,) x, y, w, h px, as BlazeFace draws it (`facemake.detections.landmark_box`).

        Returns:
            (D,) float32 of L2 norm 1.
        """
        ...

    def of_only_face(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Find the face of a picture, with the network's own detector, and embed it.

        Args:
            rgb: (H, W, 3) uint8, C-contiguous.

        Returns:
            (D,) float32 of L2 norm 1.

        Raises:
            ValueError: not one face is found there, but so many.
        """
        ...


EMBEDDERS: dict[str, Backend] = {
    "dlib": Backend(
        module="facemake.backends.embed.dlib_resnet",
        models=("dlib_face_recognition_resnet_v1", "dlib_5_point_predictor"),
        stack="dlib",
        use="the default: 128-d, 60 ms a face on one core",
    ),
}
