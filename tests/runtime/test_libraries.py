"""A job refuses libraries and code that are not those of its recipe."""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from facemake.errors import FacemakeError
from facemake.runtime import libraries


def test_what_the_recipe_names_is_fine():
    libraries.check({"numpy": version("numpy"), "pillow": version("pillow")})


def test_another_version_or_none_is_refused():
    with pytest.raises(FacemakeError, match=r"numpy is .*, not 0\.1; nothing-of-it 1 is missing"):
        libraries.check({"numpy": "0.1", "nothing-of-it": "1"})


def test_in_a_container_libraries_of_the_host_do_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    mounted = tmp_path / "mounted"
    info = mounted / "hosts_own-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: hosts-own\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(mounted)
    libraries.check({"hosts-own": "1.0"})
    monkeypatch.setattr(libraries, "MOUNTED", f"{mounted}")
    with pytest.raises(FacemakeError, match=r"the image is not .*hosts-own 1\.0 is missing in the"):
        libraries.check({"hosts-own": "1.0"})
    with pytest.raises(FacemakeError, match="the image has a facemake of its own"):
        libraries.check({"numpy": version("numpy")})
    assert str(mounted) in sys.path
