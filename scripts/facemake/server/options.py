"""The options of a processor, as they are sent to a server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def for_wire(processor_class: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """A constructor's options, as they are sent: what is for this side only stays here."""
    names = ("camera_model", "landmark_model", "morphable_model", "basis_model", "fast")
    sent = {key: config[key] for key in names if config.get(key) is not None}
    if isinstance(sent.get("camera_model"), str):
        sent["camera_model"] = "camera"  # the file that was sent
    if processor_class == "FaceProcessor3DIlite":
        for key in ("morphable_model", "basis_model"):
            if key in sent:
                sent[f"lite_{key}"] = sent.pop(key)
    return sent


def as_of_old(processor_class: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """The same for a server of 3DI's wrapper: the locals of its client's constructor.

    They are those of 3DI's constructor for 3DI-lite too, so with 3DI's models.
    """
    sent: dict[str, Any] = {
        "camera_model": 30,
        "landmark_model": "global4",
        "morphable_model": "BFMmm-19830",
        "basis_model": "0.0.1.F591-cd-K32d",
        "fast": False,
        "args": [],
        "kwargs": {},
    }
    lite = processor_class == "FaceProcessor3DIlite"
    for key in sent.keys() & config.keys():
        if config[key] is not None and not (lite and key in ("morphable_model", "basis_model")):
            sent[key] = config[key]
    return sent
