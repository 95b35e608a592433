"""The colours of statuses are told apart by people who see fewer of them."""

from __future__ import annotations

import math
import re
from itertools import combinations

import pytest

from facemake.report.looks import FOLDER
from facemake.status import FrameStatus

# Machado, Oliveira and Fernandes 2009, severity 1: what reaches whoever lacks one kind of cone
SEEN = {
    "all cones": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protanopia": (
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    "deuteranopia": (
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.011820, 0.042940, 0.968881),
    ),
    "tritanopia": (
        (1.255528, -0.076749, -0.178779),
        (-0.078411, 0.930809, 0.147602),
        (0.004733, 0.691367, 0.303900),
    ),
}
TO_XYZ = ((0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505))
WHITE = (0.95047, 1.0, 1.08883)
APART = 20.0
"""CIE 1976: about ten steps that one just sees."""


def schemes() -> dict[str, dict[str, str]]:
    css = (FOLDER / "style.css").read_text(encoding="utf-8")
    light, dark = re.findall(r":root \{(.*?)\}", css, re.DOTALL)[:2]
    return {
        name: dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", text))
        for name, text in {"light": light, "dark": dark}.items()
    }


def times(matrix: tuple[tuple[float, ...], ...], vector: list[float]) -> list[float]:
    return [sum(a * b for a, b in zip(row, vector, strict=True)) for row in matrix]


def lab(colour: str, seen: tuple[tuple[float, ...], ...]) -> tuple[float, float, float]:
    """CIE L*a*b* of a colour, as somebody sees it."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in parts]
    xyz = times(TO_XYZ, [min(1.0, max(0.0, v)) for v in times(seen, linear)])
    x, y, z = (
        t ** (1 / 3) if t > 0.008856 else 7.787 * t + 16 / 116
        for t in (v / w for v, w in zip(xyz, WHITE, strict=True))
    )
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("eyes", list(SEEN))
def test_statuses_are_told_apart(scheme: str, eyes: str):
    colours = schemes()[scheme]
    there = {name: lab(colours[name], SEEN[eyes]) for name in (*map(str, FrameStatus), "plot")}
    close = [
        (a, b, round(distance))
        for a, b in combinations(there, 2)
        if (distance := math.dist(there[a], there[b])) < APART
    ]
    assert not close
