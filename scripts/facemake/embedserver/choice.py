"""Which detector and embedder a server has, and what its answers say of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from facemake.backends.detect import DETECTORS
from facemake.backends.embed import EMBEDDERS
from facemake.errors import ModelError
from facemake.models import model
from facemake.recognition.config import Config, RuntimeKind
from facemake.recognition.packs import DETECTION, RECOGNITION, Pack
from facemake.recognition.recognizer import Recognizer

_OWN = "the user's own file"


class Choice(Protocol):
    """What a server computes with."""

    def make(self) -> Recognizer:
        """The models.

        Raises:
            ModelError: one is missing or not the registered one, or the device is not there.
        """
        ...

    def about(self) -> dict[str, Any]:
        """What answers say.

        Raises:
            ModelError: a model is missing.
        """
        ...


@dataclass(frozen=True)
class Backends:
    """Rows of the registries.

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
        """See `Choice`."""
        return Recognizer.of_backends(
            self.detector, self.embedder, self.device, self.detector_model, self.embedder_model
        )

    def about(self) -> dict[str, Any]:
        """See `Choice`."""
        embedder = EMBEDDERS[self.embedder]
        return {
            "detector": self.detector,
            "detector_models": _files(DETECTORS[self.detector].models, self.detector_model),
            "embedder": self.embedder,
            "embedder_models": _files(embedder.models, self.embedder_model),
            "chip": embedder.chip,
            # that of the row's own network
            "same_person": embedder.same_person if self.embedder_model is None else None,
        }


@dataclass(frozen=True)
class PackOfNetworks:
    """A pack, as `create_backend` takes it.

    Attributes:
        config: says which.
    """

    config: Config

    def make(self) -> Recognizer:
        """See `Choice`."""
        from facemake.recognition.backend import recognizer_of_pack

        return recognizer_of_pack(self.config)

    def about(self) -> dict[str, Any]:
        """See `Choice`."""
        pack, config = Pack(self.config), self.config
        if absent := pack.absent():
            raise ModelError(absent)
        row = EMBEDDERS["onnx" if config.runtime is RuntimeKind.ONNXRT else "rknn"]
        files = {
            part: {"name": f"{part}.{config.precision}", "sha256": pack.artifact(part).sha256}
            for part in (DETECTION, RECOGNITION)
        }
        return {
            "detector": config.model_name,
            "detector_models": [{**files[DETECTION], "licence": _OWN}],
            "embedder": config.model_name,
            "embedder_models": [{**files[RECOGNITION], "licence": _OWN}],
            "chip": row.chip,
            "same_person": None,
        }


def _files(names: tuple[str, ...], own: str | None) -> list[dict[str, str]]:
    return [model(name).provenance for name in ((own, *names[1:]) if own else names)]
