"""The word beside a raw file: its keys, when a file is good enough, periods in words."""

from __future__ import annotations

import json
import os
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from facemake.backends.threedi import Engine, Options, sidecar
from facemake.backends.threedi.sidecar import before, is_current
from facemake.errors import FacemakeError

NOW = datetime(2026, 3, 14, 15, 9, 26)
HASH = "ab" * 32
METADATA = sidecar.base_metadata(Options(engine=Engine.FULL), HASH, "cd" * 32)
# As FileCache of bitbox writes it.
BITBOX = {
    "input_hash": HASH,
    "backend": "3DI",
    "morphable_model": "BFMmm-19830",
    "camera": 30,
    "landmark": "global4",
    "fast": False,
    "local_bases": "0.0.1.F591-cd-K32d",
    "cmd": "CUDA_VISIBLE_DEVICES=0 /3DI/video_detect_face /in/v.mp4 /out/v_rects.3DI > /dev/null",
    "input": "/data/v.mp4",
    "output": "/out",
    "time": "2026-03-01 00:00:00",
}


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    path = tmp_path / "v_rects.3DI"
    path.write_text("1 2 3 4\n")
    return path


def beside(path: Path, document: object) -> None:
    path.with_name(f"{path.name}.json").write_text(json.dumps(document))


def current(path: Path, metadata: dict[str, Any] = METADATA, retention: str = "6 months") -> bool:
    return is_current(path, metadata, retention, NOW)


# --- what is written -----------------------------------------------------------------------------


def test_keys_are_bitboxs(raw: Path) -> None:
    sidecar.write(
        raw,
        METADATA,
        command=["/opt/3DI/video_detect_face", "/data/a b.mp4", "/out/v_rects.3DI"],
        video="/data/a b.mp4",
        output="/out",
        now=NOW,
    )
    text = raw.with_name("v_rects.3DI.json").read_text()
    assert json.loads(text) == {
        "backend": "3DI",
        "morphable_model": "BFMmm-19830",
        "camera": 30,
        "landmark": "global4",
        "fast": False,
        "local_bases": "0.0.1.F591-cd-K32d",
        "input_hash": HASH,
        "runtime_identity": "cd" * 32,
        "cmd": "/opt/3DI/video_detect_face '/data/a b.mp4' /out/v_rects.3DI",
        "input": "/data/a b.mp4",
        "output": "/out",
        "time": "2026-03-14 15:09:26",
    }
    assert set(json.loads(text)) == {*BITBOX, "runtime_identity"}
    assert sidecar.read(raw) == json.loads(text)
    assert current(raw)


def test_lite_and_a_calibrated_camera() -> None:
    options = Options(engine=Engine.LITE, camera="/cal/camera.txt", fast=True)
    found = sidecar.base_metadata(options, HASH)
    assert found == {
        "backend": "3DI-lite",
        "morphable_model": "BFMmm-23660",
        "camera": "/cal/camera.txt",
        "landmark": "global4",
        "fast": True,
        "local_bases": "local_basis_FacialBasis1.0",
        "input_hash": HASH,
    }


def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    video = os.fsdecode(b"/data/\xff.mp4")
    raw = tmp_path / "v_rects.3DI"
    raw.touch()
    sidecar.write(raw, METADATA, command=["x", video], video=video, output="/out", now=NOW)
    found = sidecar.read(raw)
    assert found is not None and found["input"] == video


def test_the_time_is_now_where_none_is_said(raw: Path) -> None:
    sidecar.write(raw, METADATA, command="API call", video="v", output="o")
    found = sidecar.read(raw)
    assert found is not None and found["cmd"] == "API call"
    assert (
        abs((datetime.strptime(found["time"], sidecar.TIME) - datetime.now()).total_seconds()) < 9
    )
    assert is_current(raw, METADATA, "1 minute")


# --- whether a file is good enough ---------------------------------------------------------------


def test_what_bitbox_made_is_used(raw: Path) -> None:
    beside(raw, BITBOX)
    assert current(raw)
    assert current(raw, sidecar.base_metadata(Options(engine=Engine.FULL, camera=30.0), HASH))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("input_hash", "ef" * 32),
        ("backend", "3DI-lite"),
        ("morphable_model", "BFMmm-23660"),
        ("camera", 31),
        ("camera", "30"),
        ("landmark", "global5"),
        ("fast", True),
        ("local_bases", "0.0.1.4"),
        ("runtime_identity", "ee" * 32),
    ],
)
def test_what_was_made_otherwise_is_not(raw: Path, key: str, value: object) -> None:
    beside(raw, {**BITBOX, key: value})
    assert not current(raw)


def test_keys_that_only_one_has_are_not_compared(raw: Path) -> None:
    """The rule of bitbox, so that folders of its older versions are used, too."""
    more = {key: value for key, value in BITBOX.items() if key != "local_bases"}
    beside(raw, {**more, "a_key_of_another_version": 1})
    assert current(raw)


def test_without_the_file_or_the_word(raw: Path) -> None:
    assert not current(raw)
    assert sidecar.read(raw) is None
    beside(raw, BITBOX)
    raw.unlink()
    assert not current(raw)
    raw.mkdir()
    assert not current(raw)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "null",
        "[]",
        '["time", "2026-03-01 00:00:00"]',
        '"2026-03-01 00:00:00"',
        "[" * 100_000,
        '{"a":' * 100_000,
        "\x00\x01",
        "not json",
    ],
)
def test_a_word_that_cannot_be_read(raw: Path, text: str) -> None:
    raw.with_name(f"{raw.name}.json").write_text(text)
    assert sidecar.read(raw) is None
    assert not current(raw)


def test_a_word_that_is_no_text(raw: Path) -> None:
    raw.with_name(f"{raw.name}.json").write_bytes(b'{"time": "\xff"}')
    assert sidecar.read(raw) is None and not current(raw)
    raw.with_name(f"{raw.name}.json").unlink()
    raw.with_name(f"{raw.name}.json").mkdir()
    assert sidecar.read(raw) is None and not current(raw)


@pytest.mark.parametrize(
    "time", ["", "2026-03-01", "01/03/2026 00:00:00", None, 1772323200, {}, "2026-02-30 00:00:00"]
)
def test_a_time_that_is_none(raw: Path, time: object) -> None:
    beside(raw, {**BITBOX, "time": time})
    assert not current(raw)
    beside(raw, {key: value for key, value in BITBOX.items() if key != "time"})
    assert not current(raw)


def test_too_long_ago(raw: Path) -> None:
    beside(raw, {**BITBOX, "time": "2025-09-14 15:09:26"})
    assert current(raw)
    beside(raw, {**BITBOX, "time": "2025-09-14 15:09:25"})
    assert not current(raw)
    assert current(raw, retention="6 months 1 second")
    # another machine's clock may be ahead
    beside(raw, {**BITBOX, "time": "2026-03-15 00:00:00"})
    assert current(raw, retention="1 second")


# --- periods in words ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("period", "wanted"),
    [
        ("6 months", (2025, 9, 14, 15, 9, 26)),
        ("1 year", (2025, 3, 14, 15, 9, 26)),
        ("90 minutes", (2026, 3, 14, 13, 39, 26)),
        ("1 year 2 weeks", (2025, 2, 28, 15, 9, 26)),
        ("1 year, 2 weeks", (2025, 2, 28, 15, 9, 26)),
        ("2 weeks 1 year", (2025, 2, 28, 15, 9, 26)),
        ("1 Month", (2026, 2, 14, 15, 9, 26)),
        ("3 months", (2025, 12, 14, 15, 9, 26)),
        ("27 months", (2023, 12, 14, 15, 9, 26)),
        ("1day", (2026, 3, 13, 15, 9, 26)),
        ("  7   days ", (2026, 3, 7, 15, 9, 26)),
        ("2 hours 30 seconds", (2026, 3, 14, 13, 8, 56)),
        ("1 week 1 week", (2026, 2, 28, 15, 9, 26)),
        ("0 days", (2026, 3, 14, 15, 9, 26)),
    ],
)
def test_periods(period: str, wanted: tuple[int, ...]) -> None:
    assert before(NOW, period) == datetime(*wanted)


@pytest.mark.parametrize(
    ("moment", "period", "wanted"),
    [
        ((2026, 3, 31), "1 month", (2026, 2, 28)),
        ((2024, 3, 31), "1 month", (2024, 2, 29)),
        ((2024, 2, 29), "1 year", (2023, 2, 28)),
        ((2024, 2, 29), "4 years", (2020, 2, 29)),
        ((2000, 3, 30), "1 month", (2000, 2, 29)),
        ((2100, 3, 30), "1 month", (2100, 2, 28)),
        ((2026, 7, 31), "1 month", (2026, 6, 30)),
        ((2026, 8, 31), "1 month", (2026, 7, 31)),
        ((2026, 1, 31), "1 month", (2025, 12, 31)),
        ((2026, 12, 31), "1 month", (2026, 11, 30)),
        ((2026, 3, 31), "1 month 1 day", (2026, 2, 27)),
    ],
)
def test_ends_of_months(
    moment: tuple[int, int, int], period: str, wanted: tuple[int, int, int]
) -> None:
    assert before(datetime(*moment), period) == datetime(*wanted)


@pytest.mark.parametrize(
    "period",
    [
        "2026 years",
        "5000 years",
        "99999999999 years",
        "99999999999 months",
        "99999999999 days",
        "999999999999999999999 weeks",
        f"{'9' * 5000} days",
        f"{'9' * 5000} months",
        "2025 years 30 weeks",
    ],
)
def test_for_ever(period: str, raw: Path) -> None:
    assert before(NOW, period) == datetime.min
    beside(raw, {**BITBOX, "time": "0001-01-01 00:00:00"})
    assert current(raw, retention=period)


@pytest.mark.parametrize(
    "period",
    [
        *("", " ", "months", "6", "six months", "6 fortnights", "-6 months", "1.5 years"),
        *("6 months ago", "6 monthss", "1 s", "6 m", "1 year and 2 weeks", "6 months;", "1 jiffy"),
    ],
)
def test_words_that_are_no_period(period: str) -> None:
    with pytest.raises(FacemakeError, match="is no period; write numbers with seconds, min"):
        before(NOW, period)
