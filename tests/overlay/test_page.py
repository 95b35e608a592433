"""docs/overlay.md says what there is; tests/docs runs its commands."""

from __future__ import annotations

import re

from documentation import text
from facemake.overlay.options import HIDINGS, LAYERS, USUAL


def test_the_tables_have_every_layer_and_every_way_to_hide():
    rows = re.findall(r"^\| `(\w+)` \|", text("overlay"), re.M)
    assert rows == [*LAYERS, *HIDINGS]
    assert set(LAYERS) - set(USUAL) == {"mesh", "frame"}  # as the page says
