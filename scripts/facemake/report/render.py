"""Pages from templates: one Jinja2 environment, autoescape on, everything inline."""

from __future__ import annotations

import math
from base64 import b64encode
from functools import cache
from hashlib import sha256
from typing import Any
from urllib.parse import quote

import jinja2
from markupsafe import Markup

from facemake.report.looks import FOLDER


@cache
def environment() -> jinja2.Environment:
    """The templates with the filters that they use."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(number=number, percent=percent, seconds=seconds, count=count)
    made.globals.update(inline=inline, policy=policy)
    return made


def page(template: str, **context: Any) -> str:
    """A whole page as text."""
    return environment().get_template(template).render(**context)


def inline(name: str) -> Markup:
    """The text of a style or script of ours, as it is."""
    return Markup((FOLDER / name).read_text(encoding="utf-8"))  # noqa: S704 (our own file)


@cache
def policy(*, beside: bool = False) -> str:
    """What a browser may do for a page: run our scripts, show what stands in it, and no more.

    Whatever a name or a reason of somebody else holds, nothing is fetched and nothing is sent.

    Args:
        beside: it may show pictures and videos of the place that it comes from, too.
    """
    shown = "data: 'self' file:" if beside else "data:"
    scripts = (sha256(inline(path.name).encode()).digest() for path in FOLDER.glob("*.js"))
    hashes = " ".join(sorted(f"'sha256-{b64encode(one).decode()}'" for one in scripts))
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; "
        f"img-src {shown}; media-src {shown}; "
        "form-action 'none'; base-uri 'none'"
    )


def link(*parts: str) -> str:
    """A relative link from path parts; each is percent-encoded, "." and ".." are not."""
    return "/".join(quote(part, safe="") for part in parts)


def number(value: float | None, decimals: int = 1) -> str:
    """With a true minus sign; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return "–"
    text = f"{value:,.{decimals}f}"
    if not any(c in text for c in "123456789"):
        text = text.lstrip("-")
    return text.replace(",", "\u202f").replace("-", "−")


def count(value: float | None) -> str:
    """A whole number, thousands set apart."""
    return number(value, 0)


def percent(part: float | None, whole: float | None = 1) -> str:
    """`part` of `whole`; never rounded up to 100 % or down to 0 %."""
    if part is None or not whole:
        return "–"
    share = 100 * part / whole
    if 0 < share < 0.1:
        return "<\u202f0.1\u202f%"
    if 99.9 < share < 100:
        return ">\u202f99.9\u202f%"
    return f"{share:.1f}".removesuffix(".0") + "\u202f%"


def seconds(value: float | None) -> str:
    """A duration: `18.9 s`, `3 min 05 s`, `1 h 02 min`."""
    if value is None:
        return "–"
    if round(value, 1) < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
