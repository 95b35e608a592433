"""A contact sheet of the worst crops of a training set, with their landmarks."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from facemake.dataset.checks import Checked
from facemake.dataset.files import SetFile
from facemake.template import CROP_SIZE

MOST = 24
_COLUMNS, _ZOOM, _GAP, _TEXT, _TOP = 6, 2, 6, 34, 28
_PAPER, _INK = (255, 255, 255), (20, 20, 20)
# of Okabe and Ito's palette, which colour-blind people tell apart
_POINT, _WRONG = (86, 180, 233), (213, 94, 0)


def contact_sheet(file: SetFile, checked: Checked, most: int = MOST) -> bytes | None:
    """A PNG picture: the examples with most errors, then those of the lowest quality.

    Args:
        file: an open one.
        checked: what was found in it.
        most: pictures on it.

    Returns:
        None where the file has no picture.

    Raises:
        TableError: the file is damaged.
    """
    rows = checked.worst(most)
    if not rows or "images" not in file.fields:
        return None
    keys = file.keys()
    size = CROP_SIZE * _ZOOM
    columns = min(_COLUMNS, len(rows))
    lines = -(-len(rows) // columns)
    width = max(columns * (size + _GAP) + _GAP, 560)
    sheet = Image.new("RGB", (width, _TOP + lines * (size + _TEXT + _GAP)), _PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    title = f"{file.path.name}: the {len(rows)} worst of {len(file)} examples; orange: with errors"
    draw.text((_GAP, 6), title, _INK, font)
    for number, row in enumerate(rows):
        x = _GAP + number % columns * (size + _GAP)
        y = _TOP + number // columns * (size + _TEXT + _GAP)
        reasons = checked.reasons(row)
        wrong = bool(reasons)
        sheet.paste(_cell(file, row, wrong), (x, y))
        quality = checked.quality[row]
        score = "" if np.isnan(quality) else f"quality {quality:.3f}  "
        for line, text in enumerate((keys.words(row), score + ", ".join(dict.fromkeys(reasons)))):
            where = (x, y + size + 1 + 15 * line)
            draw.text(where, _cut(draw, font, text, size), _WRONG if wrong else _INK, font)
    out = BytesIO()
    sheet.save(out, "PNG", optimize=True)
    return out.getvalue()


def _cell(file: SetFile, row: int, wrong: bool) -> Image.Image:
    here = slice(row, row + 1)
    crop = Image.fromarray(file.read("images", here)[0])
    cell = crop.resize((CROP_SIZE * _ZOOM, CROP_SIZE * _ZOOM), Image.Resampling.BILINEAR)
    draw = ImageDraw.Draw(cell)
    if "landmarks" in file.fields:
        for x, y in (file.read("landmarks", here)[0] + 0.5) * _ZOOM:
            if np.isfinite(x + y) and abs(x) < 1e6 and abs(y) < 1e6:
                draw.ellipse((x - 1.5, y - 1.5, x + 1.5, y + 1.5), fill=_POINT)
    if wrong:
        draw.rectangle((0, 0, cell.width - 1, cell.height - 1), outline=_WRONG, width=3)
    return cell


def _cut(
    draw: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    text: str,
    width: int,
) -> str:
    """A text as far as it fits."""
    parts: Sequence[str] = text
    while parts and draw.textlength(text, font) > width:
        parts = parts[:-1]
        text = f"{parts}…"
    return text
