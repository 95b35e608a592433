"""Studies that several tests of the later stages look at; made once a process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from makestudy import Study, make_study


@pytest.fixture(scope="session")
def portraits(bundled: Path, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """The bundled clip and portraits, a picture of nothing and a file of nonsense, in one shard."""
    folder = tmp_path_factory.mktemp("portraits")
    Image.fromarray(np.full((90, 120, 3), 90, np.uint8)).save(folder / "blank.png")
    (folder / "nonsense.mp4").write_text("no video at all")
    people = bundled / "portraits"
    sheet = [
        {"sample": "clip", "path": bundled / "moving_portrait.mp4", "subject": "one"},
        {"sample": "collins", "path": people / "eileen_collins.png", "subject": "one"},
        {"sample": "hopper", "path": people / "grace_hopper.jpg", "split": "test"},
        {"sample": "blank", "path": folder / "blank.png"},
        {"sample": "nonsense", "path": folder / "nonsense.mp4"},
    ]
    study = make_study(folder, sheet, shards=1)
    study.up_to_aus(study.plan.shards[0])
    return study
