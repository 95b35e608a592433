"""The page "The training set": its Python and its commands run, its table is the layout's."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import av
import pytest

import makemedia
from conftest import ROOT
from documentation import block
from facemake.cli import main
from facemake.dataset.layout import FIELDS


def section() -> str:
    return (ROOT / "docs" / "training-set.md").read_text(encoding="utf-8")


def test_the_section_runs(bundled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with av.open(str(bundled / "moving_portrait.mp4")) as container:
        frames = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)][:12]
    makemedia.write_video(tmp_path / "anna_01.mp4", frames)
    shutil.copy(tmp_path / "anna_01.mp4", tmp_path / "anna_02.mp4")
    monkeypatch.chdir(tmp_path)
    code = block("training-set", "python", "from facemake.data import")
    names: dict[str, object] = {}
    exec(code, names)
    assert names["counts"]["examples"] == 3  # frames 0, 5 and 10
    (commands,) = re.findall(r"```sh\n(.*?)```", section(), re.DOTALL)
    codes = []
    for line in commands.splitlines():
        program, *arguments = shlex.split(line, comments=True)
        assert program == "facemake"
        codes.append(main(arguments))
    assert codes == [0, 0, 0, 1]  # the last one says that there are more examples now
    assert Path("both_worst.png").is_file()


def test_the_table_has_every_field():
    rows = re.findall(r"^\| (`.*?) \| (.*?) \|", section(), re.MULTILINE)
    shapes = {name: shape for cell, shape in rows for name in re.findall(r"`([^`]+)`", cell)}
    metadata = section().split("`metadata/…`")[1].splitlines()[0]
    for field in FIELDS:
        folder, _, name = field.name.rpartition("/")
        if folder == "metadata":
            assert f"`{name}`" in metadata
        else:
            assert shapes[field.name] == ", ".join(map(str, field.shape)), field.name
