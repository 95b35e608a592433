"""An empty analysis folder, and an odd recording."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from makemedia import noise, write_video
from overlayrun import STAMPS


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "study").mkdir()
    monkeypatch.chdir(tmp_path / "study")
    return tmp_path / "study"


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Odd in height, turned by 90 degrees, of a variable frame rate, with sound."""
    return write_video(
        tmp_path / "recording.mp4",
        [noise(i, 322, 241) for i in range(8)],
        pix_fmt="yuv444p",
        stamps=STAMPS,
        time_base=Fraction(1, 15360),
        rotation=90,
        audio_seconds=0.4,
    )
