"""Small tables as text: for files, and for people."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any


def as_csv(rows: Sequence[Mapping[str, Any]], separator: str = ",") -> str:
    """A header and the rows, which have the same columns; nothing where there are none."""
    out = io.StringIO()
    if rows:
        writer = csv.DictWriter(out, list(rows[0]), delimiter=separator, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return out.getvalue()


def aligned(rows: Sequence[Sequence[str]], *, right: bool = False) -> str:
    """Rows as columns, one row a line.

    Args:
        rows: cells, the same number in each; at least one row.
        right: put all but the first column to the right, as numbers are.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *more in rows:
        cells = [first.ljust(widths[0])]
        for cell, width in zip(more, widths[1:], strict=True):
            cells.append(cell.rjust(width) if right else cell.ljust(width))
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
