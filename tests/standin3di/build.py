"""Makes a stand-in install of 3DI or 3DI-lite: programs (`programs.py`), configurations, models.

    python tests/standin3di/build.py FOLDER     # FOLDER/3DI and FOLDER/3DI_lite

It has the layout of a real install and nothing of its content.
"""

from __future__ import annotations

import sys
from pathlib import Path

SOURCE = Path(__file__).with_name("programs.py")
NOTE = "Stand-in for 3DI: no face model is here, and nothing in this folder measures anything.\n"

_VIDEO = ("video_undistort", "video_detect_face", "video_detect_landmarks")
PROGRAMS = {
    "3di": (
        *_VIDEO,
        "video_learn_identity",
        "video_from_saved_identity",
        "scripts/save_identity_and_shape.py",
        "scripts/total_variance_rec.py",
        "scripts/total_variance_rec_pose.py",
        "scripts/produce_canonicalized_3Dlandmarks.py",
        "scripts/compute_local_exp_coefficients.py",
    ),
    "3dilite": (
        *_VIDEO,
        "process_video.py",
        "produce_canonicalized_3Dlandmarks.py",
        "compute_local_exp_coefficients.py",
    ),
}
"""Executables of each engine, relative to its install folder."""
MODEL = {"3di": "BFMmm-19830", "3dilite": "BFMmm-23660"}
OWN_NAME = {"3di": "standin-19830", "3dilite": "standin-23660"}
"""The same model by an honest name, for runs that people look at (`threedi.morphable_model`)."""
FOLDER = {"3di": "3DI", "3dilite": "3DI_lite"}
"""What the install folder of each engine is called in an image."""


def build(folder: Path, engine: str, python: str = sys.executable) -> Path:
    """Make an install folder; what is there already of an older one is replaced.

    Args:
        folder: of the install.
        engine: "3di" or "3dilite".
        python: that its programs run in; it needs PyAV.

    Returns:
        The folder.
    """
    if not set(python).isdisjoint("'\"\\$`\n"):
        raise ValueError(f"a path that a shell script cannot hold: {python}")
    # A first line takes no spaces and few characters: sh starts the Python, for which this is text.
    start = f"#!/bin/sh\n''':'\nexec '{python}' \"$0\" \"$@\"\n'''\n"
    text = start + SOURCE.read_text(encoding="utf-8")
    for name in PROGRAMS[engine]:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755)
    configs = folder / "configs"
    configs.mkdir(exist_ok=True)
    models = (MODEL[engine], OWN_NAME[engine])
    for model in models:
        for number in (1, 2):
            (configs / f"{model}.cfg{number}.global4.txt").write_text(NOTE)
    for name in (*(f"models/MMs/{model}" for model in models), "models/raw"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "STANDIN.txt").write_text(NOTE)
    return folder


def main() -> int:
    """The command."""
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    for engine, name in FOLDER.items():
        print(f"stand-in for {name}: {build(Path(sys.argv[1]) / name, engine)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
