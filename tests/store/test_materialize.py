"""Links into the store that become files."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from facemake.cli import main
from facemake.runtime.runs import write_owner
from facemake.store import users
from facemake.watch import run as runs

KEY = "0" * 63


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with two results that are links, made 200 s after what they lead to."""
    store = tmp_path / "store"
    store.mkdir()
    aus = tmp_path / "study" / "results" / "aus"
    aus.mkdir(parents=True)
    for i in range(2):
        target = store / f"{KEY}{i}.parquet"
        target.write_text(f"table {i}")
        os.utime(target, (1_000_000, 1_000_000))
        link = aus / f"clip{i}.parquet"
        link.symlink_to(target)
        os.utime(link, (1_000_200, 1_000_200), follow_symlinks=False)
    (aus / "own.parquet").symlink_to("clip0.parquet")
    users.note_links(store, tmp_path / "study", Path("results"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "study"


def test_files_have_the_content_and_the_time_of_their_links(folder: Path, capsys):
    assert main(["materialize", "-d", str(folder), "--dry-run"]) == 0
    assert (folder / "results/aus/clip0.parquet").is_symlink()
    assert main(["materialize", "-d", str(folder)]) == 0
    for i in range(2):
        file = folder / "results" / "aus" / f"clip{i}.parquet"
        assert not file.is_symlink() and file.read_text() == f"table {i}"
        assert file.stat().st_mtime == 1_000_200
    assert (folder / "results/aus/own.parquet").is_symlink()
    assert not list(folder.rglob(".*.part"))
    assert [r.links for r in users.records(folder.parent / "store").values()] == [[]]
    assert main(["materialize", "-d", str(folder)]) == 0
    assert "no result" in capsys.readouterr().out


def test_a_link_to_nothing_is_said_before_anything_is_done(folder: Path, capsys):
    (folder.parent / "store" / f"{KEY}1.parquet").unlink()
    assert main(["materialize", "-d", str(folder)]) == 2
    assert "clip1.parquet" in capsys.readouterr().err
    assert (folder / "results/aus/clip0.parquet").is_symlink()


def test_a_full_disk_is_seen_first(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    assert main(["materialize", "-d", str(folder)]) == 2
    assert "make room" in capsys.readouterr().err
    assert (folder / "results/aus/clip0.parquet").is_symlink()


def test_a_run_that_goes_on_is_not_disturbed(folder: Path, capsys):
    (folder / ".snakemake" / "locks").mkdir(parents=True)
    (folder / ".snakemake" / "locks" / "0.output.lock").write_text("x")
    write_owner(folder / ".facemake")
    assert main(["materialize", "-d", str(folder)]) == 2
    assert "runs the workflow" in capsys.readouterr().err


@pytest.mark.parametrize("linked", [True, False])
def test_results_that_lie_elsewhere_are_found_by_the_last_run(folder: Path, linked: bool):
    place = folder.parent / "disk of the lab" / "results"
    place.parent.mkdir()
    (folder / "results").rename(place)
    if linked:
        (folder / "results").symlink_to(place)
    (folder / ".facemake").mkdir()
    runs.write_start("results" if linked else str(place), [], folder / ".facemake")
    assert main(["materialize", "-d", str(folder)]) == 0
    assert (place / "aus" / "clip0.parquet").read_text() == "table 0"
    assert not (place / "aus" / "clip0.parquet").is_symlink()
