"""Identity embeddings: the registry, and what each of them gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from facemake.backends import Backend

Pixels = NDArray[np.uint8]
"""(H, W, 3) uint8 RGB, C-contiguous."""


@dataclass(frozen=True)
class Face:
    """Where a face is in its picture: as much of it as is known; each backend takes what it needs.

    Attributes:
        square: (4,) float32 x, y, w, h px, as BlazeFace draws it (`detections.landmark_box`).
        ibug: (68, 2) float32 px, or (51, 2) where the jaw is not known; None: no landmarks are.
        bbox: (4,) float32 x, y, w, h px, the detector's own box; None: `square` stands for it.
        keypoints5: (5, 2) float32 px, the detector's own, NaN where it has no such point; None: it
            has none. Landmarks, where they are known, are the better ones.
    """

    square: NDArray[np.float32]
    ibug: NDArray[np.float32] | None = None
    bbox: NDArray[np.float32] | None = None
    keypoints5: NDArray[np.float32] | None = None


class Embedder(Protocol):
    """Turns faces into vectors; what it saw before, or sees beside it, makes no difference.

    Two steps, so that frames need not wait in memory for a batch: a chip is cut of each face, as
    the network was trained on it, then chips of any pictures go through the network together.

    Attributes:
        batch_size: how many chips it wants at once; 1 where more at once are no gain.
    """

    batch_size: int

    def chip(self, rgb: Pixels, face: Face) -> Pixels:
        """Cut the face out, aligned or not, as this network wants it.

        Args:
            rgb: (H, W, 3) uint8 frame, C-contiguous.
            face: where it is; parts of it may lie outside of the frame.

        Returns:
            (S, S, 3) uint8 RGB, C-contiguous.

        Raises:
            ValueError: no pixel of the face is in the frame, or its place is not finite.
        """
        ...

    def __call__(self, chips: Sequence[Pixels]) -> NDArray[np.float32]:
        """Embed chips, at least one, no more than `batch_size` of them together.

        Returns:
            (n, D) float32, each of L2 norm 1.
        """
        ...

    def close(self) -> None:
        """Free the network."""
        ...


class OnlyFace(Protocol):
    """What an embedder needs besides for `track.identity`: a detector of its own."""

    def chip_of_only_face(self, rgb: Pixels) -> Pixels:
        """Find the face of a picture and cut it out.

        Args:
            rgb: (H, W, 3) uint8, C-contiguous.

        Returns:
            (S, S, 3) uint8 RGB.

        Raises:
            ValueError: not one face is found there, but so many.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class EmbedderBackend(Backend):
    """An embedder's row.

    Its module's `create(model, device)` makes it: from the name of the first of its models, on a
    device of `devices`.

    Attributes:
        dim: length of a vector; a file of the user's may give another.
        chip: what the network is shown, in words: size, alignment, colours, normalisation. It
            stands in the metadata of every table of its vectors.
        same_person: cosine similarity from which two vectors are taken for one person, with the
            first of its models; None where none is known, and the user has to say it.
        clone: whether its network is code of the user's own (`embed.repo`, `facemake.clones`), but
            where the model file is an ONNX network.
    """

    dim: int
    chip: str
    same_person: float | None
    clone: bool = False

    def create(self, model: str, device: str) -> Embedder:
        """The embedder.

        Args:
            model: its first model's name, or a file of the user's where `own_model` allows it.
            device: of `devices`.

        Raises:
            ModelError: a model is missing or not the registered one, or the device is not there.
        """
        with self.needed(device):
            embedder: Embedder = self.load().create(model, device)
        return embedder


_FACENET_CHIP = (
    "160 x 160 px, RGB as (x - 127.5) / 128; the box that MTCNN draws, squashed, not turned upright"
)

EMBEDDERS: dict[str, EmbedderBackend] = {
    "dlib": EmbedderBackend(
        module="facemake.backends.embed.dlib_resnet",
        models=("dlib_face_recognition_resnet_v1", "dlib_5_point_predictor"),
        stack="dlib",
        use="the default: 128-d, 60 ms a face on one core",
        dim=128,
        chip="150 x 150 px, RGB 0-255 as they are; upright by the corners of the eyes and the base "
        "of the nose, as dlib's 5-point predictor finds them",
        # dlib's own 0.6 between vectors of norm 1.47 (facemake.identities): 1 - (0.6 / 1.47)^2 / 2
        same_person=0.917,
    ),
    "onnx": EmbedderBackend(
        module="facemake.backends.embed.arcface",
        models=("w600k_r50",),
        stack="onnx",
        gpu_stack="onnx-gpu",
        devices=("cpu", "cuda"),
        own_model=True,
        use="insightface's ArcFace networks, or your own in ONNX: 512-d; weights for "
        "non-commercial research",
        dim=512,
        chip="112 x 112 px or the network's own size, RGB as (x - 127.5) / 127.5, or 0-255 where "
        "the network's first layers do that; upright on ArcFace's template by the eyes, the tip of "
        "the nose and the corners of the mouth",
        # of w600k_r50, from insightface's web-demos/src_recognition/main.py (commit f8aa2c1):
        # below 0.2 another person, up to 0.28 likely the same one
        same_person=0.28,
    ),
    "rknn": EmbedderBackend(
        module="facemake.backends.embed.rknn",
        models=("arcface_rknn",),
        stack="opencv",
        own_model=True,
        use="ArcFace networks on the NPU of a Rockchip board, one face at a time",
        dim=512,
        chip="112 x 112 px, RGB 0-255, as (x - 127.5) / 127.5 in the network; upright on ArcFace's "
        "template by the eyes, the tip of the nose and the corners of the mouth",
        same_person=None,
    ),
    # No threshold is published for these weights on these chips. Schroff et al. (2015) had a
    # squared L2 distance of 1.242 on LFW, which is a similarity of .379, with a network of their
    # own; deepface takes a cosine distance of .30 for such weights on other chips.
    "facenet": EmbedderBackend(
        module="facemake.backends.embed.facenet",
        models=("facenet_vggface2",),
        stack="facenet",
        devices=("cpu", "cuda"),
        own_model=True,
        use="as much earlier work on identities (FaceNet, VGGFace2): 512-d",
        dim=512,
        chip=_FACENET_CHIP,
        same_person=None,
    ),
    "facenet-casia": EmbedderBackend(
        module="facemake.backends.embed.facenet",
        models=("facenet_casia_webface",),
        stack="facenet",
        devices=("cpu", "cuda"),
        own_model=True,
        use="as facenet, with the weights of CASIA-WebFace: for comparison with older work",
        dim=512,
        chip=_FACENET_CHIP,
        same_person=None,
    ),
    "dinov3": EmbedderBackend(
        module="facemake.backends.embed.dinov3",
        models=("dinov3_vitb16",),
        stack="facenet",
        devices=("cpu", "cuda"),
        own_model=True,
        onnx_stacks=("onnx", "onnx-gpu"),
        clone=True,
        use="how a face looks, not whose it is: ViT-B/16 is no network of face recognition; 768-d",
        dim=768,
        chip="256 x 256 px, RGB 0-1 by ImageNet's mean and deviation; the detector's box with 20 % "
        "on each side, squashed, not turned upright; class token",
        same_person=None,
    ),
}
