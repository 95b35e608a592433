"""The contact sheet: a row a picture, a column a detector, what each found and what it missed."""

from __future__ import annotations

from collections import Counter
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from facemake.choosing.consensus import AGREEING, Face
from facemake.choosing.run import Comparison, Picture

# of Okabe and Ito's palette, which colour-blind people tell apart; the strokes differ as well
AGREED, ALONE, MISSED = (86, 180, 233), (230, 159, 0), (213, 94, 0)
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

_PAPER, _INK = (255, 255, 255), (20, 20, 20)
_CELL, _LABEL, _TOP, _GAP = 200, 150, 54, 4
_LEGEND = (
    (AGREED, "found, and by another"),
    (ALONE, "found by this one alone"),
    (MISSED, "missed: at least three others found it"),
)


def contact_sheet(result: Comparison, most: int = 24) -> bytes:
    """A PNG picture of what the detectors found.

    Args:
        result: of `facemake.choosing.run.compare`.
        most: pictures on it; those that the detectors agree on least come first.
    """
    names = result.detectors
    pictures = _chosen(result)[:most]
    heights = [_height(picture) + _GAP for picture in pictures]
    width = _LABEL + len(names) * (_CELL + _GAP)
    sheet = Image.new("RGB", (max(width, 760), _TOP + sum(heights)), _PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(13)
    x = 6
    for colour, words in _LEGEND:
        draw.rectangle((x, 8, x + 16, 20), outline=colour, width=3)
        draw.text((x + 22, 6), words, _INK, font)
        x += 34 + int(draw.textlength(words, font))
    for column, name in enumerate(names):
        draw.text((_LABEL + column * (_CELL + _GAP), 32), name, _INK, font)
    y = _TOP
    for picture, height in zip(pictures, heights, strict=True):
        _label(draw, font, picture.name, y)
        for column, name in enumerate(names):
            where = (_LABEL + column * (_CELL + _GAP), y)
            sheet.paste(_cell(picture, name, len(names)), where)
        y += height
    out = BytesIO()
    sheet.save(out, "PNG", optimize=True)
    return out.getvalue()


def _chosen(result: Comparison) -> list[Picture]:
    """Those that the detectors agree on least, then the first of each recording, the second, …."""
    order: Counter[str] = Counter()
    keys = []
    for picture in result.pictures:
        recording = picture.name.split(" #")[0]
        keys.append((-_disagreement(picture, len(result.detectors)), order[recording]))
        order[recording] += 1
    return [result.pictures[i] for i in sorted(range(len(keys)), key=keys.__getitem__)]


def _disagreement(picture: Picture, n: int) -> float:
    """How many looks speak against the majority."""
    return sum(min(len(face.found), n - len(face.found)) for face in picture.faces)


def _height(picture: Picture) -> int:
    h, w = picture.thumbnail.shape[:2]
    return max(1, round(h * _scale(w, h)))


def _scale(width: int, height: int) -> float:
    return min(_CELL / width, 1.5 * _CELL / height)


def _label(draw: ImageDraw.ImageDraw, font: Font, name: str, y: int) -> None:
    line = ""
    for letter in name:
        if draw.textlength(line + letter, font) > _LABEL - 10:
            draw.text((4, y), line, _INK, font)
            line, y = "", y + 16
        line += letter
    draw.text((4, y), line, _INK, font)


def _cell(picture: Picture, name: str, n: int) -> Image.Image:
    h, w = picture.thumbnail.shape[:2]
    scale = _scale(w, h)
    size = (max(1, round(w * scale)), max(1, round(h * scale)))
    cell = Image.fromarray(picture.thumbnail).resize(size, Image.Resampling.BILINEAR)
    draw = ImageDraw.Draw(cell)
    zoom = size[0] / picture.size[0]
    for face in picture.faces:
        if name in face.found:
            box = picture.found[name].bbox[face.found[name]]
            colour = ALONE if len(face.found) == 1 else AGREED
            draw.rectangle(_corners(box, zoom), outline=colour, width=3)
        elif _is_missed(face, n):
            _dashed(draw, _corners(face.bbox, zoom))
    return cell


def _is_missed(face: Face, n: int) -> bool:
    return len(face.found) >= min(AGREEING, n - 1) > 0


def _corners(box: NDArray[np.float32], zoom: float) -> tuple[float, float, float, float]:
    x, y, w, h = (float(v) * zoom for v in box)
    return x, y, x + max(w, 1), y + max(h, 1)


def _dashed(draw: ImageDraw.ImageDraw, box: tuple[float, float, float, float]) -> None:
    x1, y1, x2, y2 = box
    dash = 6.0
    for a, b, across in ((x1, x2, True), (y1, y2, False)):
        at = a
        while at < b:
            end = min(at + dash, b)
            for side in (y1, y2) if across else (x1, x2):
                line = (at, side, end, side) if across else (side, at, side, end)
                draw.line(line, MISSED, 3)
            at += 2 * dash
