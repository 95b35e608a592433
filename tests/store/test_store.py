"""The artifact cache's store: who uses what, what may go, damage, and locks."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conftest import ROOT
from facemake.cli import main
from facemake.errors import FacemakeError
from facemake.hashes import private_folder
from facemake.store import lock, survey, users

DAY = 86400


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = private_folder(tmp_path / "cache" / "store")
    monkeypatch.setenv("SNAKEMAKE_OUTPUT_CACHE", str(folder))
    monkeypatch.chdir(tmp_path)
    return folder


def entry(store: Path, number: int, stage: str = "aus", days: float = 0, rows: int = 1) -> Path:
    """A table in the store, last written so many days ago."""
    path = store / f"{number:064x}.parquet"
    word = json.dumps({"recipe": {"stage": stage}, "lineage": "", "upstream": {}})
    table = pa.table({"sample": ["a"] * rows, "value": [float(i) for i in range(rows)]})
    pq.write_table(table.replace_schema_metadata({"facemake": word}), path)
    os.utime(path, (time.time() - days * DAY,) * 2)
    return path


def study(folder: Path, store: Path, *targets: Path) -> Path:
    """A working directory whose last run linked to these entries."""
    results = folder / "results" / "aus"
    results.mkdir(parents=True, exist_ok=True)
    (folder / "results" / "probe").mkdir(exist_ok=True)
    for target in targets:
        (results / target.name).symlink_to(target)
    users.note_links(store, folder, Path("results"))
    return folder


def test_a_pack_of_exported_files_is_a_use(store: Path, tmp_path: Path):
    target = entry(store, 3, "export_openface")
    packs = tmp_path / "a" / "results" / "export" / "openface" / ".packs"
    packs.mkdir(parents=True)
    (packs / "s.zip").symlink_to(target)
    study(tmp_path / "a", store)
    assert survey.survey(store).unused == []


def keys(found: survey.Survey) -> set[int]:
    return {int(key, 16) for key in found.entries}


def test_what_is_there_and_who_uses_it(store: Path, tmp_path: Path, capsys):
    one, two = entry(store, 1, "aus"), entry(store, 2, "fit", days=400)
    study(tmp_path / "a", store, one)
    found = survey.survey(store)
    assert {e.stage for e in found.entries.values()} == {"aus", "fit"}
    assert [e.stage for e in found.unused] == ["fit"]
    (directory,) = found.directories
    assert directory.directory == tmp_path / "a" and directory.bytes == one.stat().st_size
    assert main(["cache", "info"]) == 0
    said = capsys.readouterr().out
    assert f"{tmp_path / 'a'}" in said and "2 entries" in said
    assert main(["cache", "info", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert {e["key"]: e["linked"] for e in document["entries"]} == {
        f"{1:064x}": True,
        f"{2:064x}": False,
    }
    assert document["bytes"] == one.stat().st_size + two.stat().st_size


def test_prune_spares_what_results_link_to(store: Path, tmp_path: Path, capsys):
    linked, renamed, idle = (entry(store, n) for n in (1, 2, 3))
    study(tmp_path / "a", store, linked)
    study(tmp_path / "b", store, renamed)
    (tmp_path / "b" / "results").rename(tmp_path / "b" / "results of May")
    assert main(["cache", "prune", "--unused", "--dry-run"]) == 0
    assert "would remove 1 entry" in capsys.readouterr().out and idle.exists()
    for options in (["--unused"], ["--older-than", "0d"], ["--keep", "0B"]):
        assert main(["cache", "prune", *options]) == 0
        assert linked.exists() and renamed.exists() and not idle.exists()
    assert "linked to" in capsys.readouterr().out
    assert main(["cache", "prune", "--unused", "--force"]) == 0
    assert linked.exists()
    assert main(["cache", "prune", "--keep", "0B", "--force"]) == 0
    assert not linked.exists() and "makes them again" in capsys.readouterr().out


def test_the_longest_unused_goes_first_and_no_more_than_asked_for(store: Path, tmp_path: Path):
    old, used, young = entry(store, 1, days=300), entry(store, 2, days=300), entry(store, 3)
    # results that have been replaced since: it was used, and no link says so
    study(tmp_path / "a", store, used)
    (tmp_path / "a" / "results" / "aus" / used.name).unlink()
    study(tmp_path / "a", store)
    size = young.stat().st_size
    assert main(["cache", "prune", "--older-than", "90d", "--keep", f"{3 * size}B"]) == 0
    assert old.exists()
    assert main(["cache", "prune", "--keep", f"{2 * size}B"]) == 0
    assert not old.exists() and used.exists() and young.exists()
    assert main(["cache", "prune", "--older-than", "90d"]) == 0
    assert used.exists()


def test_a_stage_goes_alone(store: Path, tmp_path: Path):
    vectors, linked, aus = entry(store, 1, "embed"), entry(store, 2, "embed"), entry(store, 3)
    study(tmp_path / "a", store, linked)
    assert main(["cache", "prune", "--stage", "embed"]) == 0
    assert not vectors.exists() and linked.exists() and aus.exists()


def test_what_a_folder_out_of_reach_linked_to_is_spared_until_it_is_forgotten(
    store: Path, tmp_path: Path, capsys
):
    away, gone = entry(store, 1), entry(store, 2)
    study(tmp_path / "away", store, away)
    study(tmp_path / "gone", store, gone)
    for name in ("away", "gone"):
        shutil.rmtree(tmp_path / name)
    (path,) = (p for p, r in users.records(store).items() if r.directory.endswith("away"))
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "mount": str(tmp_path / "not mounted")}))
    states = {d.directory.name: d.state for d in survey.survey(store).directories}
    assert states == {"away": users.State.ELSEWHERE, "gone": users.State.GONE}
    assert main(["cache", "prune", "--unused"]) == 0
    assert away.exists() and not gone.exists()
    assert "--forget" in capsys.readouterr().out
    assert [d.directory.name for d in survey.survey(store).directories] == ["away"]
    assert main(["cache", "prune", "--unused", "--forget", str(tmp_path / "away")]) == 0
    assert not away.exists() and not survey.survey(store).directories
    study(tmp_path / "here", store)
    assert main(["cache", "prune", "--forget", str(tmp_path / "here")]) == 2
    assert "is there" in capsys.readouterr().err


def test_damage_is_named_with_its_cure(store: Path, tmp_path: Path, capsys):
    whole, cut, flipped = entry(store, 1), entry(store, 2), entry(store, 3, rows=5000)
    cut.write_bytes(cut.read_bytes()[:100])
    data = bytearray(flipped.read_bytes())
    data[60:400] = bytes(340)
    flipped.write_bytes(data)
    study(tmp_path / "a", store, cut)
    assert main(["cache", "info"]) == 0
    said = capsys.readouterr().out
    assert f"{cut.name} is damaged" in said and "facemake cache check --remove" in said
    assert main(["cache", "check"]) == 1
    said = capsys.readouterr().out
    assert cut.name in said and flipped.name in said and whole.name not in said
    assert main(["cache", "check", "--remove"]) == 0
    assert whole.exists() and not cut.exists() and not flipped.exists()
    assert main(["cache", "check"]) == 0


def test_what_was_stored_while_all_was_read_is_spared(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    mended, cut = entry(store, 1), entry(store, 2)
    whole = mended.read_bytes()
    for path in (mended, cut):
        path.write_bytes(whole[:100])

    @contextlib.contextmanager
    def alone(folder: Path) -> Iterator[None]:
        # a run that ended before entries may be removed
        mended.write_bytes(whole)
        study(tmp_path / "a", store, mended, entry(store, 3))
        yield

    monkeypatch.setattr(lock, "alone", alone)
    assert main(["cache", "check", "--remove"]) == 0
    assert mended.exists() and not cut.exists()
    (record,) = users.records(store).values()
    assert {int(key, 16) for key in record.links} == {1, 3}
    assert {int(key, 16) for key in record.used} == {1, 3}


def test_what_may_not_be_read_is_not_damaged_and_spares_what_it_links_to(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    linked = entry(store, 1)
    study(tmp_path / "a", store, linked)

    def refuse(path: Path, *rest: object, **how: object) -> object:
        if path == tmp_path / "a":
            raise PermissionError(13, "Permission denied")
        return stat(path, *rest, **how)

    stat = Path.stat
    with monkeypatch.context() as patch:
        patch.setattr(Path, "stat", refuse)
        (directory,) = survey.survey(store).directories
        assert directory.state is users.State.ELSEWHERE and len(directory.links) == 1
    with monkeypatch.context() as patch:
        patch.setattr(os, "access", lambda path, mode: False)
        (directory,) = survey.survey(store).directories
        assert directory.state is users.State.ELSEWHERE and len(directory.links) == 1
    with monkeypatch.context() as patch:
        patch.setattr(survey, "_read_through", lambda path: os.listdir("/proc/1/nothing"))
        assert survey.survey(store, thorough=True).entries[f"{1:064x}"].fault is None


def test_who_may_only_read_a_store_holds_its_lock_too(store: Path, monkeypatch: pytest.MonkeyPatch):
    (store / ".lock").touch()

    def read_only(path: Path, mode: str = "r", *rest: object, **how: object) -> object:
        if mode == "ab":
            raise PermissionError(13, "Permission denied")
        return open_(path, mode, *rest, **how)

    open_ = Path.open
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", read_only)
        lock.hold(store)
    with pytest.raises(FacemakeError, match="a run uses"), lock.alone(store):
        pass
    lock._held.pop(store).close()


def test_what_other_workflows_keep_there_is_left_alone(store: Path):
    other = store / f"{1:064x}.txt"
    other.write_text("x")
    table = store / f"{2:064x}.parquet"
    pq.write_table(pa.table({"sample": ["a"]}), table)
    (store / "tmpabcd1234").mkdir()
    (store / "tmpabcd1234" / "half.parquet").write_text("x")
    assert main(["cache", "prune", "--keep", "0B", "--force"]) == 0
    assert other.exists() and table.exists() and not (store / "tmpabcd1234").exists()


@pytest.fixture
def holder(store: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that may link to entries, as a run is."""
    code = (
        "import sys, time; from pathlib import Path; from facemake.store.lock import hold;"
        "hold(Path(sys.argv[1])); print('held', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(store)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "scripts")},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.wait()


def test_nothing_goes_while_a_run_goes_on_and_a_dead_one_hinders_nobody(
    store: Path, holder: subprocess.Popen[str], capsys
):
    idle = entry(store, 1)
    assert main(["cache", "prune", "--unused", "--force"]) == 2
    assert "a run uses" in capsys.readouterr().err and idle.exists()
    assert main(["cache", "prune", "--unused", "--dry-run"]) == 0
    lock.hold(store)  # runs do not hinder each other
    lock._held.pop(store).close()
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    assert main(["cache", "prune", "--unused"]) == 0
    assert not idle.exists()


def test_what_may_go_has_to_be_said(store: Path, capsys):
    assert main(["cache", "prune"]) == 2
    assert "--unused" in capsys.readouterr().err
    shutil.rmtree(store)
    assert main(["cache", "info"]) == 2
    assert "there is no cache in" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "size"),
    [("50GB", 50e9), ("1.5TB", 1.5e12), ("10kB", 1e4), ("7", 7), ("2GiB", 2 << 30)],
)
def test_sizes(words: str, size: float):
    from facemake.cli.cache import _bytes

    assert _bytes(words) == size


def test_a_damaged_record_stops_a_prune(store: Path, tmp_path: Path):
    linked = entry(store, 1)
    study(tmp_path / "a", store, linked)
    (record,) = users.records(store)
    record.write_text("{")
    with pytest.raises(FacemakeError, match="is damaged, and says which results"):
        survey.survey(store)
    users.register(store, tmp_path / "a", Path("results"))
    assert len(users.records(store)) == 1


def test_the_folder_is_private_whatever_the_umask_and_the_acl_of_its_parent(tmp_path: Path):
    parent = tmp_path / "parent"
    parent.mkdir()
    if shutil.which("setfacl"):
        subprocess.run(["setfacl", "-d", "-m", "u:nobody:rwx,g::rwx", str(parent)], check=True)
    before = os.umask(0)
    try:
        made = private_folder(private_folder(parent / "cache") / "store")
        known = parent / "known"
        known.mkdir(mode=0o755)
        private_folder(known)
    finally:
        os.umask(before)
    for folder in (parent / "cache", made, known):
        # the group's bits are the mask of an ACL: without them no named user gets in
        assert folder.stat().st_mode & 0o777 == 0o700
