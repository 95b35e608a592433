"""Where the artifact cache is."""

from __future__ import annotations

from pathlib import Path

import pytest

from facemake.store import place


def test_a_relative_cache_folder_is_made_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert place.cache_folder({"cache_dir": "cache"}) == tmp_path / "cache"
    assert place.cache_folder({"cache_dir": None}) is None
