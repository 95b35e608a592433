"""Every code block of lumen-face's page runs, with only names of packages and places changed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import ROOT
from makenetworks import write_recogniser

pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.usefixtures("no_variables")


def blocks(shared: Path) -> dict[str, str]:
    """Name of the file that the page gives a block -> its code."""
    (page,) = (shared / "seeds").glob("001_*.txt")
    found = re.findall(r"```/dev/null/(\S+)#\S+\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    return dict(found)


def renamed(code: str) -> str:
    """Package names, and nothing else."""
    assert "from face_recognition import" in code
    return code.replace("from face_recognition import", "from facemake import")


def test_the_page_has_four_blocks(shared: Path):
    assert list(blocks(shared)) == [
        "example.py",
        "example_specific_backend.py",
        "env_example_onxxrt.sh",
        "env_example_rknn.sh",
    ]


@pytest.fixture
def desk(
    shared: Path,
    make_pack: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """A folder with the picture that the page speaks of, and a pack that a variable names."""
    desk = tmp_path / "desk"
    desk.mkdir()
    Image.open(shared / "data" / "single_face.jpg").convert("RGB").save(desk / "face.jpg")
    monkeypatch.chdir(desk)
    monkeypatch.setenv("LUMEN_FACE_LOCAL_DIR", str(make_pack(tmp_path / "models")))
    return desk


def test_the_example(shared: Path, desk: Path, capsys: pytest.CaptureFixture[str]):
    names: dict[str, object] = {}
    exec(renamed(blocks(shared)["example.py"]), names)
    said = capsys.readouterr().out.splitlines()
    assert said == [
        "Generated 1 embedding(s). D = 512",
        "Face 0: norm = 1.0000 (should be ~1.0)",
    ]


def test_the_specific_backend(shared: Path, desk: Path):
    code = renamed(blocks(shared)["example_specific_backend.py"])
    assert "# ... use backend.embed(...)" in code
    code = code.replace("# ... use backend.embed(...)", "vectors = backend.embed(picture)")
    picture = np.asarray(Image.open("face.jpg"))
    names: dict[str, object] = {"picture": picture}
    exec(code, names)
    assert names["vectors"][0].shape == (512,)


def in_a_shell(script: str, folder: Path, code: str, *modules: Path) -> str:
    """What Python says after a script of the page, in a shell."""
    paths = (ROOT / "scripts", *modules)
    done = subprocess.run(
        ["bash", "-euc", f'{script}\nexec "$0" -c "$1"', sys.executable, code],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_environment_for_local_models(shared: Path, desk: Path, tmp_path: Path):
    script = blocks(shared)["env_example_onxxrt.sh"]
    script = script.replace("/opt/models", str(tmp_path / "models"))
    script = script.replace("/var/cache/lumen_face", str(tmp_path / "cache"))
    said = in_a_shell(script, desk, renamed(blocks(shared)["example.py"]))
    assert "Generated 1 embedding(s). D = 512" in said
    assert not (tmp_path / "cache").exists()  # nothing was downloaded


def test_the_environment_for_rknn(
    shared: Path, desk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """On a stand-in for Rockchip's package (tests/standin_rknn)."""
    script = blocks(shared)["env_example_rknn.sh"].replace("/opt/models", str(tmp_path / "models"))
    pack = tmp_path / "models" / "scrfd_10g_iresnet50" / "rknn" / "int8"
    write_recogniser(pack / "recognition.rknn")
    code = renamed(blocks(shared)["example.py"]).replace("backend.close()", "print(backend.info)")
    said = in_a_shell(script, desk, code, ROOT / "tests" / "standin_rknn")
    assert "Generated 1 embedding(s). D = 512" in said
    for words in ("runtime='rknn'", "'int8'", "'rknn_target': 'rk3588'", "'rknnlite NPU'"):
        assert words in said


def test_the_documentation_has_every_variable_and_its_code_runs(shared: Path, desk: Path):
    from facemake.recognition import config

    section = (ROOT / "docs" / "packs.md").read_text("utf-8")
    table = section[section.index("| `LUMEN_FACE_…` |") :].split("\n\n")[0]
    said = set(re.findall(r"`([A-Z_]+)`", "\n".join(table.splitlines()[2:])))
    known = {name for names in config._VARIABLES.values() for name in names}
    assert said == known - {"PACK_NAME"}
    default = config.Config()
    for value in (default.model_name, default.precision, default.repo_base, "~/.cache/lumen_face"):
        assert f"| `{value}` |" in table
    (code,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    names: dict[str, object] = {"image": np.asarray(Image.open("face.jpg"))}
    exec(code, names)
    assert len(names["boxes"]) == len(names["vectors"]) == len(names["whole"]) == 1
    (_, example), *_ = re.findall(r"```sh\n(# onnxrt.*?)\n(export.*?)```", section, re.DOTALL)
    show = "from facemake import Config; print(Config.from_env())"
    assert "'rec_input_w': '112'" in in_a_shell(example, desk, show)
