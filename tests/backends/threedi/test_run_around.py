"""What surrounds a program of an install in a folder: variables, its working directory, a pipe."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from facemake.backends.threedi import Engine
from facemake.backends.threedi.install import Form, Install
from facemake.backends.threedi.runtimes import Call, TimeLimitError, runtime

FULL, LITE = Engine.FULL, Engine.LITE


ECHO = """#!/bin/sh
{
  echo "$PATH"
  for name in PYTHONPATH PYTHONHOME PYTHONSAFEPATH VIRTUAL_ENV CONDA_PREFIX \
    CUDA_VISIBLE_DEVICES OF_THE_USER
  do
    eval "echo \\"\\$name=\\${$name-unset}\\""
  done
  pwd
} > "$2"
"""


def told(tmp_path: Path, folder: Path) -> tuple[list[str], dict[str, str], str]:
    """PATH, variables and working directory of a program."""
    program_file = folder / "video_detect_face"
    program_file.write_text(ECHO)
    program_file.chmod(0o755)
    one = runtime(Install(FULL, Form.FOLDER, str(folder), str(folder)))
    out = tmp_path / "told"
    assert one.run(Call("video_detect_face", ["x", str(out)], tmp_path)).code == 0
    path, *variables, where = out.read_text().splitlines()
    return path.split(":"), dict(line.split("=", 1) for line in variables), where


def test_our_own_python_is_not_theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "an install's folder"
    (folder / "env" / "bin").mkdir(parents=True)
    own = str(Path(sys.prefix) / "bin")
    monkeypatch.setenv("PATH", os.pathsep.join([own, "/usr/local/bin", "", "/usr/bin", "/bin"]))
    ours = ("PYTHONPATH", "PYTHONHOME", "PYTHONSAFEPATH", "VIRTUAL_ENV", "CONDA_PREFIX")
    for name in ours:
        monkeypatch.setenv(name, "/ours")
    monkeypatch.setenv("OF_THE_USER", "kept")
    path, variables, where = told(tmp_path, folder)
    theirs = str(folder / "env" / "bin")
    if sys.prefix != sys.base_prefix:
        assert path == [theirs, "/usr/local/bin", "/usr/bin", "/bin"]
    assert path[0] == theirs
    assert {name: variables[name] for name in ours} == dict.fromkeys(ours, "unset")
    assert variables["OF_THE_USER"] == "kept"
    assert where == str(folder)
    (folder / "env" / "bin").rmdir()
    path, _, _ = told(tmp_path, folder)
    assert theirs not in path


@pytest.mark.parametrize("devices", ["0", "2,3", "", None, "GPU-8f6e,GPU-12ab"])
def test_the_schedulers_gpus(
    devices: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if devices is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", devices)
    (tmp_path / "3DI").mkdir()
    _, variables, _ = told(tmp_path, tmp_path / "3DI")
    assert variables["CUDA_VISIBLE_DEVICES"] == ("unset" if devices is None else devices)


def test_a_python_program_that_is_ended_has_said_something(tmp_path: Path) -> None:
    """Python keeps what goes into a pipe until there is more of it, or the program ends."""
    folder = tmp_path / "3DI"
    folder.mkdir()
    script = folder / "process_video.py"
    script.write_text(f"#!{sys.executable}\nimport time\nprint('at frame 7')\ntime.sleep(600)\n")
    script.chmod(0o755)
    one = runtime(Install(LITE, Form.FOLDER, str(folder), str(folder)))
    with pytest.raises(TimeLimitError, match="It said last:\n  at frame 7"):
        one.run(Call("process_video.py", [], tmp_path, limit=1.0))
