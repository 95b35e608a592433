"""Fingerprints of code: what changes them and what does not."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from facemake import provenance


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small library of three modules, a -> b, and c alone."""
    monkeypatch.setattr(provenance, "LIBRARY", tmp_path)
    (tmp_path / "__init__.py").write_text("")
    write(tmp_path / "a.py", "def f(x):\n    from facemake import b\n    return b.g(x)\n")
    write(tmp_path / "b.py", '"""Doc."""\n\n\ndef g(x):\n    """Doc."""\n    return x + 1\n')
    write(tmp_path / "c.py", "VALUE = 1\n")
    return tmp_path


def write(path: Path, text: str) -> None:
    path.write_text(textwrap.dedent(text))


def fingerprint() -> str:
    provenance._imports.cache_clear()
    provenance._code_digest.cache_clear()
    return provenance.code_fingerprint("facemake.a")


def test_a_line_of_code_reached_by_a_late_import_changes_it(library: Path):
    before = fingerprint()
    write(library / "b.py", "def g(x):\n    return x + 2\n")
    assert fingerprint() != before


def test_comments_docstrings_and_blank_lines_do_not_change_it(library: Path):
    before = fingerprint()
    write(
        library / "b.py",
        '"""Other."""\n\n# why\n\n\ndef g(x):\n'
        '    """Other\n\n    words."""\n\n    return x + 1  # so\n',
    )
    assert fingerprint() == before


def test_a_hash_sign_inside_a_string_is_code(library: Path):
    write(library / "b.py", "def g(x):\n    return '# one'\n")
    before = fingerprint()
    write(library / "b.py", "def g(x):\n    return '# two'\n")
    assert fingerprint() != before


def test_other_modules_do_not_change_it(library: Path):
    before = fingerprint()
    write(library / "c.py", "VALUE = 2\n")
    assert fingerprint() == before


def test_each_stage_of_the_library_has_its_own_fingerprint():
    provenance._imports.cache_clear()
    provenance._code_digest.cache_clear()
    detect = provenance.code_fingerprint("facemake.stages.detect")
    assert detect != provenance.code_fingerprint("facemake.stages.probe")
    assert "facemake.tracking" in provenance._imports("facemake.stages.detect")


def test_no_file_of_the_library_imports_snakemake():
    for path in Path(provenance.__file__).parent.rglob("*.py"):
        for line in path.read_text(encoding="utf-8").splitlines():
            assert not line.startswith(("import snakemake", "from snakemake")), path
