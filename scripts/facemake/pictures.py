"""Which samples are pictures that stand alone, and which are frames that follow each other.

A picture that stands alone is measured as if it were the only one: its faces are numbered like
tracks, but face 0 of two pictures need not be one person, so nothing is learnt from one picture for
another and what is so many "a track" is so many a picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def stand_alone(probe: Mapping[str, Any], metadata: Mapping[str, Any]) -> bool:
    """Whether each frame of a sample stands alone.

    A single picture always does, the frames of a video never; of a folder of pictures the config
    says it (`track.image_folders`).

    Args:
        probe: the sample's row of the probe table.
        metadata: of the detections or of what was made from them (`facemake.shards.metadata`): it
            has the settings that the detections were made with.
    """
    if probe["kind"] != "images":
        return bool(probe["kind"] == "image")
    recipe = metadata["recipe"]
    detect = recipe if recipe["stage"] == "detect" else metadata["upstream"]["detect"]
    return bool(detect["settings"]["track"]["image_folders"] == "pictures")
