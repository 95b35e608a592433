"""What `import facemake` offers, and what it costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import facemake
from facemake import fingerprints

NAMES = ("FaceProcessor", "FaceProcessor3DI", "FaceProcessor3DIlite")


def test_the_names_are_there():
    import facemake.processors

    for name in NAMES:
        assert getattr(facemake, name) is getattr(facemake.processors, name)
        assert name in dir(facemake) and name in facemake.__all__
    with pytest.raises(AttributeError, match="no attribute 'FaceProcesser'"):
        facemake.FaceProcesser  # noqa: B018
    with pytest.raises(ImportError):
        from facemake import nothing_of_that_name  # noqa: F401


def test_type_checkers_read_the_same_names():
    text = Path(facemake.__file__).with_suffix(".pyi").read_text()
    stub = {
        alias.asname: node.module
        for node in ast.parse(text).body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert stub.pop("__version__") == "facemake.version"
    assert stub == dict(facemake._OFFERED)


@pytest.mark.parametrize("statement", ["import facemake", "import facemake; dir(facemake)"])
def test_nothing_heavy_is_imported_before_it_is_wanted(statement: str):
    code = f"{statement}; import sys; print(*sorted({{m.split('.')[0] for m in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"numpy", "pandas", "cv2", "av", "requests", "yaml"} & set(done.stdout.split())


def test_3di_wants_no_network_no_images_and_no_tables_before_they_are_used():
    code = "from facemake import FaceProcessor3DI; import sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    late = {"mediapipe", "docker", "spython", "requests", "fastapi", "uvicorn", "pandas"}
    assert not late & loaded


def test_no_stage_hangs_on_what_is_offered():
    """Else a changed word in a processor would make every table of every run again."""
    assert fingerprints.imports("facemake") == ["facemake.lazy", "facemake.version"]
    assert fingerprints.imports("facemake.lazy") == []
