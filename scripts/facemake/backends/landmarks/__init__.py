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


@dataclass(frozen=True, slots=True)
class Face:
    """A face to find the landmarks of.

    Attributes:
        frame: that it is in.
        bbox: (4,) float32 x, y, w, h px, as BlazeFace draws it (`detections.landmark_box`).
        keypoints5: (5, 2) float32 px, the detector's; NaN where it has no such point.
    """

    frame: Frame
    bbox: NDArray[np.float32]
    keypoints5: NDArray[np.float32]

    @classmethod
    def of(
        cls,
        rgb: NDArray[np.uint8],
        bbox: NDArray[np.float32],
        keypoints5: NDArray[np.float32] | None = None,
    ) -> Face:
        """A face in an (H, W, 3) uint8 RGB picture that is no frame of a sample."""
        points = np.full((5, 2), np.nan, np.float32) if keypoints5 is None else keypoints5
        height, width = rgb.shape[:2]
        return cls(Frame(0, lambda: rgb, width=width, height=height), bbox, points)


class Landmarker(Protocol):
    """Finds the landmarks of faces; what it saw before, or sees beside it, makes no difference.

    Attributes:
        scheme: of its points (`facemake.schemes`).
        batch_size: how many faces it wants at once; 1 where more at once are no gain.
    """

    scheme: str
    batch_size: int

    def __call__(self, faces: Sequence[Face]) -> list[Landmarks | None]:
        """Landmarks of any number of faces; None where the network gives nothing.

        No more than `batch_size` are looked at together.
        """
        ...

    def close(self) -> None:
        """Free the model."""
        ...


class Finder(Protocol):
    """Gives the landmarks of a sample's faces, in the order of its frames."""

    def __call__(self, faces: Sequence[Face]) -> list[Landmarks | FrameStatus]:
        """Landmarks of faces; where there are none, what to say of it."""
        ...


class LandmarkSource(Protocol):
    """Where the landmarks of whole samples come from: a network, or what an engine has found.

    Attributes:
        scheme, batch_size: see `Landmarker`.
    """

    scheme: str
    batch_size: int

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
        self.batch_size = network.batch_size
        self._network = network

    def sample(self, probe: Mapping[str, Any], settings: Mapping[str, Any]) -> Finder:
        """See `LandmarkSource`."""

        def find(faces: Sequence[Face]) -> list[Landmarks | FrameStatus]:
            return [
                FrameStatus.LOW_CONFIDENCE if found is None else found
                for found in self._network(faces)
            ]

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

    def source(
        self, given: Sequence[Path], device: str = "cpu", model: str | None = None
    ) -> LandmarkSource:
        """Where landmarks come from.

        Args:
            given: the files that an engine wrote.
            device: of `devices`.
            model: see `network`.

        Raises:
            ModelError: see `network`.
        """
        if self.given:
            source: LandmarkSource = self.load().create(*given)
            return source
        return PerFrame(self.network(device, model))

    def network(self, device: str = "cpu", model: str | None = None) -> Landmarker:
        """The network, of a backend that is one.

        Args:
            device: of `devices`; what is none of them means the CPU.
            model: a file of the user's, where `own_model` allows it; None: the registered one.

        Raises:
            ModelError: a model or a package is missing or not the registered one, or the device is
                not there.
        """
        on = device if device in self.devices else "cpu"
        with self.needed(on):
            own = (model or self.models[0],) if self.own_model else ()
            network: Landmarker = self.load().create(on, *own)
        return network


LANDMARKERS: dict[str, LandmarkBackend] = {
    "mediapipe478": LandmarkBackend(
        module="facemake.backends.landmarks.facemesh",
        models=("facemesh_attention",),
        stack="mediapipe",
        use="the default: 468 points of the face and 10 of the irises, on a CPU",
        scheme="mediapipe478",
    ),
    "pfld68": LandmarkBackend(
        module="facemake.backends.landmarks.pfld",
        models=("pfld",),
        stack="onnx",
        gpu_stack="onnx-gpu",
        use="68 points, also of turned heads; coarser than mediapipe478, and no irises",
        devices=("cpu", "cuda"),
        scheme="ibug68",
    ),
    "dlib68": LandmarkBackend(
        module="facemake.backends.landmarks.dlib_trees",
        models=("dlib_68_point_predictor",),
        stack="dlib",
        use="68 points as much earlier work has them; near frontal faces; research only, no irises",
        scheme="ibug68",
    ),
    "unified68": LandmarkBackend(
        module="facemake.backends.landmarks.unified",
        models=("landmark_pose",),
        stack="onnx",
        gpu_stack="onnx-gpu",
        devices=("cpu", "cuda"),
        own_model=True,
        use="68 points by a UnifiedLandmarkPoseNet that you trained, in two looks; no irises",
        scheme="ibug68",
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
