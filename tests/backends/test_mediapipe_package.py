"""MediaPipe is imported in parts, and whole for who asks for it."""

from __future__ import annotations

import subprocess
import sys

STAGES = "import facemake.backends.detect.blazeface, facemake.backends.landmarks.facemesh\n"


def said(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_is_not_used_is_not_imported():
    code = "import sys\nprint([m for m in ('matplotlib', 'mediapipe.tasks') if m in sys.modules])"
    assert said(STAGES + code) == "[]\n"


def test_who_asks_for_the_rest_has_it():
    code = (
        "import mediapipe as mp\n"
        "print(hasattr(mp, '__wrapped__'), mp.__version__)\n"
        "with mp.solutions.face_mesh.FaceMesh(static_image_mode=True) as mesh:\n"
        "    import numpy as np\n"
        "    print(mesh.process(np.zeros((64, 64, 3), np.uint8)).multi_face_landmarks)\n"
        "print(mp.Image.__name__, mp.tasks.__name__)\n"
    )
    assert said(STAGES + code) == "False 0.10.21\nNone\nImage mediapipe.tasks.python\n"


def test_who_has_imported_it_already_keeps_it():
    code = "print(mediapipe.solutions.__name__, type(mediapipe).__name__)"
    assert said("import mediapipe\n" + STAGES + code) == "mediapipe.python.solutions module\n"
