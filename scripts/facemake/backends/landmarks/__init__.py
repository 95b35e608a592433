"""Landmark networks: the registry, and what each of them gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from facemake.backends import Backend
from facemake.media import Frame
from facemake.status import FrameStatus


@dataclass(frozen=True, slots=True)
class Landmarks:
    """The landmarks of one face.

    Attributes:
        points: (K, 2) float32 pixels of the frame.
        depth: (K,) float32 pixels of the frame, away from the camera; None where there is none.
        confidence: 0-1, the network's belief that there is a face; None where it says nothing.
    """

    points: NDArray[np.float32]
    depth: NDArray[np.float32] | None
    confidence: float | None


class Landmarker(Protocol):
    """Finds the landmarks of one face in one picture; what it saw before makes no difference."""

    scheme: str

    def __call__(
        self,
        rgb: NDArray[np.uint8],
        bbox: NDArray[np.float32],
        keypoints5: NDArray[np.float32],
    ) -> Landmarks | None:
        """Landmarks of the face at `bbox` (x, y, w, h px) with the detector's five points.

        None where the network gives nothing.
        """
        ...

    def close(self) -> None:
        """Free the model."""
        ...


class Finder(Protocol):
    """Gives the landmarks of a sample's faces, in the order of its frames."""

    def __call__(
        self, frame: Frame, bbox: NDArray[np.float32], keypoints5: NDArray[np.float32]
    ) -> Landmarks | FrameStatus:
        """Landmarks of the face at `bbox` in a frame; where there are none, what to say of it."""
        ...


class LandmarkSource(Protocol):
    """Where the landmarks of whole samples come from: a network, or what an engine has found."""

    scheme: str

    def sample(self, probe: Mapping[str, Any], settings: Mapping[str, Any]) -> Finder:
        """For a sample with this row of the probe table, under the recipe's settings."""
        ...

    def close(self) -> None:
        """Free the model."""
        ...


class PerFrame:
    """A network as the source of landmarks: it looks at each frame by itself."""

    def __init__(self, network: Landmarker) -> None:
        self.scheme = network.scheme
        self._network = network

    def sample(self, probe: Mapping[str, Any], settings: Mapping[str, Any]) -> Finder:
        """See `LandmarkSource`."""

        def find(
            frame: Frame, bbox: NDArray[np.float32], keypoints5: NDArray[np.float32]
        ) -> Landmarks | FrameStatus:
            found = self._network(frame.rgb, bbox, keypoints5)
            return FrameStatus.LOW_CONFIDENCE if found is None else found

        return find

    def close(self) -> None:
        """Free the model."""
        self._network.close()


@dataclass(frozen=True, kw_only=True)
class LandmarkBackend(Backend):
    """A landmark backend's row.

    Attributes:
        scheme: the scheme of its points (`facemake.schemes`).
        given: whether its module makes a `LandmarkSource` of files that an engine wrote; else a
            `Landmarker`, from nothing.
    """

    scheme: str
    given: bool = False

    def source(self, given: Sequence[Path]) -> LandmarkSource:
        """Where landmarks come from.

        Args:
            given: the files that an engine wrote.
        """
        made = self.load().create(*given)
        source: LandmarkSource = made if self.given else PerFrame(made)
        return source


LANDMARKERS: dict[str, LandmarkBackend] = {
    "mediapipe478": LandmarkBackend(
        module="facemake.backends.landmarks.facemesh",
        models=("facemesh_attention",),
        stack="mediapipe",
        use="the default: 468 points of the face and 10 of the irises, on a CPU",
        scheme="mediapipe478",
    ),
    "3di": LandmarkBackend(
        module="facemake.backends.threedi.landmarks",
        models=(),
        stack="threedi",
        use="the landmarks of 3DI, with engine: 3di",
        scheme="ibug51",
        given=True,
    ),
    "3dilite": LandmarkBackend(
        module="facemake.backends.threedi.landmarks",
        models=(),
        stack="threedi",
        use="the landmarks of 3DI-lite, with engine: 3dilite",
        scheme="ibug51",
        given=True,
    ),
}
