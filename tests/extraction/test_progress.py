"""What is said while an extraction goes on."""

from __future__ import annotations

import pytest

from facemake.extraction import progress


@pytest.mark.parametrize("alike", [True, False])
def test_how_long_it_takes_is_said_of_inputs_of_a_kind(
    monkeypatch: pytest.MonkeyPatch, alike: bool
):
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LINES", 0.0)
    said: list[str] = []
    shown = progress.Progress(10, said.append, quiet=False, alike=alike)
    row = {"output": "x.jpg", "status": "ok"}
    for _ in range(4):
        shown.rows([row, {"output": None, "status": "unreadable"}], done=True)
    shown.show()
    (line,) = said
    assert line.startswith("4 of 10 inputs, 4 faces, 4 not read") and "inputs/s" in line
    assert line.endswith(" left") == alike
