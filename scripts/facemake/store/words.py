"""Sizes in words."""

from __future__ import annotations


def size_text(count: int) -> str:
    """Bytes for a person to read, in units of 1000: `12.3 GB`."""
    amount, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if amount < 999.5:
            break
        amount, unit = amount / 1000, larger
    return f"{amount:.0f} {unit}" if unit == "B" or amount >= 99.5 else f"{amount:.1f} {unit}"
