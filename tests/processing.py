"""Words for tests of the 3DI processors on stand-in installs."""

from __future__ import annotations

import json
import shutil
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from facemake import FaceProcessor3DI
from facemake.backends.threedi import sidecar

FRAMES = 12
ALL_STEPS = [
    *("detect", "landmarks", "identity", "shape", "fit", "smooth_expression", "smooth_pose"),
    *("canonical", "localized"),
]


def processor(clip: Path, folder: Path, kind: type = FaceProcessor3DI, **options: Any) -> Any:
    made = kind(**{"verbose": False, **options})
    made.io(clip, folder)
    return made


def age(path: Path, **how: float) -> None:
    """Make the word beside a file older."""
    beside = path.with_name(f"{path.name}.json")
    word = json.loads(beside.read_text())
    word["time"] = (datetime.now() - timedelta(**how)).strftime(sidecar.TIME)
    beside.write_text(json.dumps(word))


def as_bitbox(folder: Path, clip: Path, camera: object = 30) -> None:
    """Make the words of a folder what bitbox writes."""
    for path in folder.glob("clip_*.json"):
        word = json.loads(path.read_text())
        del word["runtime_identity"]
        word.pop("normalized", None)
        word.pop("camera_sha256", None)
        word["camera"] = camera
        args = word["cmd"].split()[1:]
        word["cmd"] = f"CUDA_VISIBLE_DEVICES=0 /opt/3DI/x {' '.join(args)} > /dev/null"
        word["input"] = f"/data/{clip.name}"
        path.write_text(json.dumps(word, indent=4))
    shutil.rmtree(folder / ".facemake")
