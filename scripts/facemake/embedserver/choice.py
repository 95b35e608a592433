"""Which detector and embedder a server has, and what its answers say of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from facemake.backends.detect import DETECTORS
from facemake.backends.embed import EMBEDDERS
from facemake.models import model
from facemake.recognition.recognizer import Recognizer


@dataclass(frozen=True)
class Choice:
    """By their rows in the registries.

    Attributes:
        detector, embedder: names of rows.
        device: `cpu` or `cuda`; a backend that computes on a CPU alone stays there.
        detector_model, embedder_model: files of the user's in their models' place, by name.
    """

    detector: str = "mediapipe"
    embedder: str = "dlib"
    device: str = "cpu"
    detector_model: str | None = None
    embedder_model: str | None = None

    def make(self) -> Recognizer:
        """The models.

        Raises:
            ModelError: one is missing or not the registered one, or the device is not there.
        """
        return Recognizer.of_backends(
            self.detector, self.embedder, self.device, self.detector_model, self.embedder_model
        )

    def about(self) -> dict[str, Any]:
        """What answers say.

        Raises:
            ModelError: a model is missing.
        """
        embedder = EMBEDDERS[self.embedder]
        return {
            "detector": self.detector,
            "detector_models": _files(DETECTORS[self.detector].models, self.detector_model),
            "embedder": self.embedder,
            "embedder_models": _files(embedder.models, self.embedder_model),
            "chip": embedder.chip,
            "same_person": embedder.same_person if self.embedder_model is None else None,
        }


def _files(names: tuple[str, ...], own: str | None) -> list[dict[str, str]]:
    return [model(name).provenance for name in ((own, *names[1:]) if own else names)]
