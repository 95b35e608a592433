"""Fingerprints of code: what changes them and what does not."""

from __future__ import annotations

import ast
import io
import textwrap
import tokenize
from dataclasses import replace
from pathlib import Path

import pytest

from facemake import fingerprints, hashes, provenance, recipes, settings
from facemake.backends.aus import AU_ESTIMATORS
from facemake.backends.detect import DETECTORS
from facemake.backends.embed import EMBEDDERS
from facemake.backends.eyes import EYE_FINDERS
from facemake.backends.landmarks import LANDMARKERS


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small library of three modules, a -> b, and c alone."""
    monkeypatch.setattr(fingerprints, "LIBRARY", tmp_path)
    (tmp_path / "__init__.py").write_text("")
    write(tmp_path / "a.py", "def f(x):\n    from facemake import b\n    return b.g(x)\n")
    write(tmp_path / "b.py", '"""Doc."""\n\n\ndef g(x):\n    """Doc."""\n    return x + 1\n')
    write(tmp_path / "c.py", "VALUE = 1\n")
    return tmp_path


def write(path: Path, text: str) -> None:
    path.write_text(textwrap.dedent(text))


def fingerprint() -> str:
    fingerprints.forget()
    return fingerprints.code_fingerprint("facemake.a")


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


@pytest.mark.parametrize(
    "line",
    [
        "x = '''one # two''' # three",
        'x = r"\\" # one',
        "x = '\\'# one' # two",
        'x = \'"\' # one "two"',
        "x = f'''{y}\n'# one\n\"# two\n''' # three",
        "x = '' '# one' \"\" # two",
        'x = """ \\""" # one """ # two',
        "x = (  # one\n    '# two'  # three\n)",
    ],
)
def test_a_comment_is_what_python_takes_for_one(line: str):
    kept = line.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(line).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            kept[row - 1] = kept[row - 1][:column]
    assert kept != line.splitlines()
    without = fingerprints._WORDS.sub(fingerprints._without_comment, line)
    assert without.splitlines() == kept


EVERY_KIND = """
class A:
    def f(self):
        if self:
            pass
        elif 1:
            import facemake.n0
        else:
            import facemake.n1
        for i in ():
            import facemake.n2
        else:
            import facemake.n3
        while self:
            import facemake.n4
        else:
            import facemake.n5
        try:
            import facemake.n6
        except ValueError:
            import facemake.n7
        else:
            import facemake.n8
        finally:
            import facemake.n9
        match self:
            case 1:
                import facemake.n10

async def g():
    async with a:
        async for b in c:
            with d:
                import facemake.n11
"""
"""Of statement that has others in it."""


def test_what_is_imported_anywhere_is_found(library: Path):
    write(library / "a.py", EVERY_KIND)
    names = [f"n{number}" for number in range(12)]
    for name in names:
        write(library / f"{name}.py", "")
    fingerprints.forget()
    found = fingerprints.imports("facemake.a")
    assert found == sorted(f"facemake.{name}" for name in names)


def test_other_modules_do_not_change_it(library: Path):
    before = fingerprint()
    write(library / "c.py", "VALUE = 2\n")
    assert fingerprint() == before


def test_each_stage_of_the_library_has_its_own_fingerprint():
    fingerprints.forget()
    detect = fingerprints.code_fingerprint("facemake.stages.detect")
    assert detect != fingerprints.code_fingerprint("facemake.stages.probe")
    assert "facemake.tracking" in fingerprints.reached("facemake.stages.detect")


def test_of_the_runtime_only_what_writes_whole_files_counts():
    stages = provenance.LIBRARY.glob("stages/*.py")
    reached = fingerprints.reached(*(f"facemake.stages.{path.stem}" for path in stages))
    runtime = {name for name in reached if name.startswith("facemake.runtime")}
    assert runtime == {"facemake.runtime.atomic"}


def test_what_plans_a_run_decides_no_result():
    stages = provenance.LIBRARY.glob("stages/*.py")
    reached = fingerprints.reached(*(f"facemake.stages.{path.stem}" for path in stages))
    assert not reached & {"facemake.plan", "facemake.sheet", "facemake.names", "facemake.discovery"}


def remembered(folder: Path) -> str:
    fingerprints.forget()
    with hashes.open_memo(folder) as memo:
        return fingerprints.code_fingerprint("facemake.a", memo=memo)


def test_a_module_is_read_once_until_it_changes(
    library: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
):
    folder = tmp_path_factory.mktemp("cache")
    read: list[str] = []
    real = fingerprints._looked_at
    monkeypatch.setattr(
        fingerprints, "_looked_at", lambda path: (read.append(path.name), real(path))[1]
    )
    before = fingerprint()
    read.clear()
    monkeypatch.setattr(hashes, "_SECONDS_TO_SETTLE", 1e6)
    assert remembered(folder) == before
    assert remembered(folder) == before
    assert sorted(read) == ["a.py", "a.py", "b.py", "b.py"]  # they may be written to right now
    read.clear()
    monkeypatch.setattr(hashes, "_SECONDS_TO_SETTLE", -1e6)
    assert remembered(folder) == before
    assert remembered(folder) == before
    assert sorted(read) == ["a.py", "b.py"]
    read.clear()
    write(library / "b.py", "def g(x):\n    return x + 2\n")
    assert remembered(folder) == fingerprint() != before
    assert read[0] == "b.py"


def test_what_another_reader_found_is_not_taken(
    library: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
):
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setattr(hashes, "_SECONDS_TO_SETTLE", -1e6)
    before = remembered(folder)
    monkeypatch.setattr(fingerprints, "_reader", lambda: "another")
    monkeypatch.setattr(fingerprints, "_looked_at", lambda path: '["x", []]')
    assert remembered(folder) != before


def test_a_new_module_that_an_old_one_imports_is_seen(
    library: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
):
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setattr(hashes, "_SECONDS_TO_SETTLE", -1e6)
    (library / "b").mkdir()
    (library / "b.py").rename(library / "b" / "__init__.py")
    write(library / "a.py", "from facemake.b import g\n")
    before = remembered(folder)
    write(library / "b" / "g.py", "x = 1\n")
    assert remembered(folder) != before


def test_no_file_of_the_library_imports_snakemake():
    for path in Path(provenance.__file__).parent.rglob("*.py"):
        for line in path.read_text(encoding="utf-8").splitlines():
            assert not line.startswith(("import snakemake", "from snakemake")), path


def test_what_was_found_keeps_nobody_else_from_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The install of an engine is hashed by a memo of its own while recipes are made."""
    monkeypatch.setattr(hashes, "_SECONDS_TO_SETTLE", -60)  # what was written just now counts
    source = tmp_path / "source.py"
    source.write_text("x = 1\n")
    looks = []

    def look(path: Path) -> str:
        looks.append(path)
        return "found"

    with hashes.open_memo(tmp_path / "cache") as memo:
        assert memo.found_in(source, "reader", look) == "found"
        with hashes.open_memo(tmp_path / "cache") as other:
            other._db.execute("PRAGMA busy_timeout = 0")
            assert other.sha256([str(source)], [hashes.FileState.of(source.stat())])[0]
        assert memo.found_in(source, "reader", look) == "found"
    with hashes.open_memo(tmp_path / "cache") as memo:
        assert memo.found_in(source, "reader", look) == "found"
    assert looks == [source]


REGISTRIES = {
    "aus": AU_ESTIMATORS,
    "detect": DETECTORS,
    "embed": EMBEDDERS,
    "eyes": EYE_FINDERS,
    "landmarks": LANDMARKERS,
}


@pytest.mark.parametrize("folder", REGISTRIES)
def test_rows_of_a_registry_are_no_code_and_what_stands_around_them_is(folder: str):
    text = (provenance.LIBRARY / "backends" / folder / "__init__.py").read_text()

    def read(text: str) -> str:
        return fingerprints._code_digest(text, ast.parse(text))

    last = text.rindex("\n}\n")  # of the registry, its last line
    assert text[:last].count("Backend(\n        module=") == len(REGISTRIES[folder])
    assert read(text[:last] + '\n    "new": None,' + text[last:]) == read(text)
    assert read(text + "NEW = 1\n") != read(text)


def recipe(stage: str, backend: str = "scrfd-500m") -> provenance.Recipe:
    config = settings.filled({"detect": {"backend": backend}, "embed": "off"})
    return recipes.recipe(stage, config)


@pytest.fixture
def with_models(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEMAKE_MODELS", str(shared / "models"))


@pytest.mark.parametrize(
    ("changed", "stages"),
    [
        ({"min_score": 0.123}, {"detect"}),
        ({"start_score": 0.923}, {"detect"}),
        ({"face_box": (0.1, 0.2, 1.3)}, {"landmarks"}),
        ({"module": "facemake.backends.detect.ultralight"}, {"detect"}),
        ({"models": ("pfld",)}, {"detect"}),
        ({"stack": "opencv"}, {"detect"}),
        ({"use": "never", "scores": "none", "points": "none"}, set()),
    ],
)
def test_a_recipe_has_its_own_row_and_no_other(
    with_models: None, monkeypatch: pytest.MonkeyPatch, changed: dict, stages: set[str]
):
    before = {stage: recipe(stage) for stage in ("detect", "landmarks", "fit")}
    for name in ("yunet", "scrfd", "mediapipe"):
        monkeypatch.setitem(DETECTORS, name, replace(DETECTORS[name], **changed))
    monkeypatch.setitem(DETECTORS, "another", DETECTORS["scrfd"])
    assert {stage: recipe(stage) for stage in before} == before
    mine = replace(DETECTORS["scrfd-500m"], **changed)
    monkeypatch.setitem(DETECTORS, "scrfd-500m", mine)
    other = {stage for stage, one in before.items() if recipe(stage) != one}
    assert stages <= other <= {"detect", "landmarks"} and bool(other) == bool(stages)
