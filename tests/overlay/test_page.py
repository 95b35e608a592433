"""docs/overlay.md says what there is, and its commands are commands."""

from __future__ import annotations

import re
import shlex

import pytest

from conftest import ROOT
from facemake.cli import main, overlay
from facemake.overlay.options import HIDINGS, LAYERS, USUAL
from facemake.overlay.run import Made

PAGE = (ROOT / "docs" / "overlay.md").read_text("utf-8")
COMMANDS = [
    line for block in re.findall(r"```console\n(.*?)```", PAGE, re.S) for line in block.splitlines()
]


def test_the_tables_have_every_layer_and_every_way_to_hide():
    rows = re.findall(r"^\| `(\w+)` \|", PAGE, re.M)
    assert rows == [*LAYERS, *HIDINGS]
    assert set(LAYERS) - set(USUAL) == {"mesh", "frame"}  # as the page says


@pytest.mark.parametrize("command", COMMANDS)
def test_its_commands_are_taken(command: str, monkeypatch: pytest.MonkeyPatch):
    taken = []
    monkeypatch.setattr("facemake.overlay.study.find", lambda *a: taken.append(a) or _Found())
    monkeypatch.setattr("facemake.overlay.run.target", lambda recorded, folder: folder / "none")
    monkeypatch.setattr("facemake.overlay.run.overlay", lambda *a: Made(overlay.Path("none")))
    assert main(shlex.split(command)[1:]) == 0 and taken


class _Found:
    class sample:  # noqa: N801
        sample = "clip"
        path = overlay.Path("recording.mp4")

    probe = {"n_frames": 1}  # noqa: RUF012
