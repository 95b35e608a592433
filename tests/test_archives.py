"""Archives of a shard's files: written the same every time, and nothing believed of them."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from facemake import archives, shards
from facemake.archives import MEMBER, Archive
from facemake.errors import FacemakeError, TableError
from facemake.provenance import Recipe
from facemake.samples import Sample, shard_text
from facemake.shards import ShardRun
from facemake.zips import ZipError

WORD = {"recipe": {"stage": "threedi_detect"}, "lineage": "ab", "upstream": {}}
TEXT = "".join(f"{i} {i / 7:.9f}\n" for i in range(5000)).encode()
"""Compresses, and not to nothing."""


def write(path: Path, **files: bytes) -> Path:
    archives.write(path, {name.replace("_dot_", "."): data for name, data in files.items()}, WORD)
    return path


# --- writing and reading -------------------------------------------------------------------------


def test_what_is_written_is_read(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(TEXT)
    path = tmp_path / "a.zip"
    archives.write(path, {"v_rects.3DI": source, "-a b ü.json": b"{}", "empty": b""}, WORD)
    with Archive(path) as archive:
        assert archive.metadata == WORD == archives.read_metadata(path)
        assert archive.names == ["-a b ü.json", "empty", "v_rects.3DI"]
        assert "v_rects.3DI" in archive and "v_pose.3DI" not in archive
        assert archive.read("v_rects.3DI") == TEXT and archive.read("empty") == b""
        assert archive.sha256("v_rects.3DI") == hashlib.sha256(TEXT).hexdigest()
        lines = list(archive.lines("v_rects.3DI"))
        assert len(lines) == 5000 and "".join(lines).encode() == TEXT
        assert list(archive.lines("empty")) == []


def test_the_same_bytes_in_any_order(tmp_path: Path) -> None:
    for name, order in (("a", ["x", "y"]), ("b", ["y", "x"])):
        archives.write(tmp_path / f"{name}.zip", dict.fromkeys(order, TEXT), dict(WORD))
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_videos_are_stored(tmp_path: Path) -> None:
    archives.write(tmp_path / "a.zip", {"x.mp4": TEXT}, WORD, stored=True)
    archives.write(tmp_path / "b.zip", {"x.mp4": TEXT}, WORD)
    assert (tmp_path / "a.zip").stat().st_size > len(TEXT) > (tmp_path / "b.zip").stat().st_size
    with Archive(tmp_path / "a.zip") as archive:
        assert archive.read("x.mp4") == TEXT


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip", x=b"old")
    for files, error in (
        ({"x": tmp_path / "none"}, OSError),
        ({"a/b": b""}, ZipError),
        ({"..": b""}, ZipError),
        ({"A": b"", "a": b""}, ZipError),
    ):
        with pytest.raises(error):
            archives.write(path, files, WORD)
        assert [p.name for p in tmp_path.iterdir()] == ["a.zip"]
    with Archive(path) as archive:
        assert archive.read("x") == b"old"


def test_files_are_taken_out_under_their_names(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip", a=TEXT, b=b"2", c=b"3")
    folder = tmp_path / "out"
    folder.mkdir()
    with Archive(path) as archive:
        made = archive.extract(["c", "a"], folder)
    assert made == [folder / "c", folder / "a"]
    assert (folder / "a").read_bytes() == TEXT and sorted(p.name for p in folder.iterdir()) == [
        "a",
        "c",
    ]


@pytest.mark.parametrize("sample", ["facemake", "a", "x.facemake"])
def test_no_file_of_a_sample_is_taken_for_the_word_of_what_made_it(
    tmp_path: Path, sample: str
) -> None:
    """What a sample is offered is `SAMPLE.json`, and a sample may have any name."""
    path = tmp_path / "a.zip"
    archives.write(path, {f"{sample}.json": b'{"of the": "sample"}'}, WORD)
    with Archive(path) as archive:
        assert archive.metadata == WORD
        assert archive.read(f"{sample}.json") == b'{"of the": "sample"}'
        assert archive.names == [f"{sample}.json"]
    with pytest.raises(ZipError, match="would be taken for what says who made it"):
        archives.write(path, {MEMBER: b"{}"}, WORD)


# --- archives of somebody else, and damaged ones -------------------------------------------------


def refused(path: Path, words: str | None = None) -> str:
    with pytest.raises(TableError, match=words) as error:
        Archive(path)
    assert str(path) in str(error.value)
    assert path.name not in {p.name for p in open_files()}
    return str(error.value)


def open_files() -> list[Path]:
    return [p.resolve() for p in Path("/proc/self/fd").iterdir() if p.exists()]


def test_archives_of_somebody_else(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x", b"1")
    refused(path, "was not written by facemake")
    for content in (b"", b"{", b"[]", b'"word"', b"null", b"\xff\xfe", b"[" * 100_000):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(MEMBER, content)
        refused(path)


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x05\x06" + bytes(10), TEXT])
def test_what_is_no_archive(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(content)
    said = refused(path, "cannot be read as an archive")
    assert f"delete {path} and run again" in said
    refused(tmp_path / "none.zip", "cannot be read as an archive")
    refused(tmp_path, "cannot be read as an archive")


USES: dict[str, Callable[[Archive, Path], object]] = {
    "read": lambda archive, out: archive.read("x"),
    "lines": lambda archive, out: list(archive.lines("x")),
    "extract": lambda archive, out: archive.extract(["x"], out),
    "copy": lambda archive, out: archive.copy("x", out / "x"),
    "sha256": lambda archive, out: archive.sha256("x"),
}


@pytest.mark.parametrize("use", USES)
def test_what_is_missing_is_named(tmp_path: Path, use: str) -> None:
    path = write(tmp_path / "a.zip", y=b"1")
    with Archive(path) as archive, pytest.raises(TableError, match=r"x in .*a\.zip cannot be read"):
        USES[use](archive, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["a.zip"]


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("stored", [False, True])
def test_damage_anywhere_is_seen(tmp_path: Path, use: str, stored: bool) -> None:
    """A flipped byte, in the data or in what the archive says of them."""
    path = tmp_path / "a.zip"
    archives.write(path, {"x": TEXT, "y": b"2"}, WORD, stored=stored)
    whole = path.read_bytes()
    silent = 0
    for at in range(30, len(whole), len(whole) // 150):
        data = bytearray(whole)
        data[at] ^= 0x5A
        path.write_bytes(data)
        out = tmp_path / f"{at}"
        out.mkdir()
        try:
            with Archive(path) as archive:
                USES[use](archive, out)
                silent += archive.read("x") != TEXT
        except FacemakeError as error:
            assert str(path) in str(error)
            assert not list(out.iterdir())
    assert silent == 0


@pytest.mark.parametrize("use", USES)
def test_a_file_that_is_cut(tmp_path: Path, use: str) -> None:
    path = write(tmp_path / "a.zip", x=TEXT)
    whole = path.read_bytes()
    for keep in (1, 30, len(whole) // 2, len(whole) - 30, len(whole) - 1):
        path.write_bytes(whole[:keep])
        refused(path)
    # the end is there, and something in the middle is not
    path.write_bytes(whole[:200] + whole[400:])
    with pytest.raises(TableError, match=r"a\.zip"), Archive(path) as archive:
        USES[use](archive, tmp_path)


@pytest.mark.parametrize("name", ["../x", "/x", "a/b", "..", "."])
def test_names_that_lead_elsewhere(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(MEMBER, json.dumps(WORD))
        archive.writestr(name, b"1")
    refused(path, "which is no plain file name")


def test_a_name_that_is_there_twice(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr(MEMBER, json.dumps(WORD))
        archive.writestr("x", b"1")
        archive.writestr("x", b"2")
    refused(path, "holds 'x' twice")


# --- putting together ----------------------------------------------------------------------------


def test_merging(tmp_path: Path) -> None:
    parts = [
        write(tmp_path / "1.zip", b_rects=b"1", b_dot_json=b"{}"),
        write(tmp_path / "2.zip", a_rects=TEXT),
        write(tmp_path / "3.zip"),
    ]
    archives.merge(parts, tmp_path / "out.zip", tmp_path / "scratch")
    with Archive(tmp_path / "out.zip") as archive:
        assert archive.metadata == WORD
        assert archive.names == ["a_rects", "b.json", "b_rects"]
        assert archive.read("a_rects") == TEXT
    assert not (tmp_path / "scratch").exists()
    # the same whichever comes first
    archives.merge(parts[::-1], tmp_path / "again.zip", tmp_path / "scratch")
    assert (tmp_path / "again.zip").read_bytes() == (tmp_path / "out.zip").read_bytes()


def test_what_an_earlier_try_left_is_no_part(tmp_path: Path) -> None:
    (tmp_path / "scratch" / "0").mkdir(parents=True)
    (tmp_path / "scratch" / "0" / "stale").write_text("1")
    parts = [write(tmp_path / "1.zip", x=b"1"), write(tmp_path / "2.zip", y=b"2")]
    archives.merge(parts, tmp_path / "out.zip", tmp_path / "scratch")
    with Archive(tmp_path / "out.zip") as archive:
        assert archive.names == ["x", "y"]


def test_parts_that_do_not_fit(tmp_path: Path) -> None:
    one, same = write(tmp_path / "1.zip", x=b"1"), write(tmp_path / "2.zip", x=b"2")
    with pytest.raises(ZipError, match=r"x is in two parts of .*out\.zip"):
        archives.merge([one, same], tmp_path / "out.zip", tmp_path / "scratch")
    other = tmp_path / "3.zip"
    archives.write(other, {"y": b"1"}, {**WORD, "lineage": "cd"})
    with pytest.raises(TableError, match=r"3\.zip was made by something else than .*1\.zip"):
        archives.merge([one, other], tmp_path / "out.zip", tmp_path / "scratch")
    damaged = tmp_path / "4.zip"
    damaged.write_bytes(b"")
    with pytest.raises(TableError, match=r"4\.zip cannot be read"):
        archives.merge([one, damaged], tmp_path / "out.zip", tmp_path / "scratch")
    assert not (tmp_path / "out.zip").exists()


# --- as a stage's output -------------------------------------------------------------------------


def shard(folder: Path, *names: str) -> Path:
    """A plan of these samples."""
    samples = [Sample(name, folder / f"{name}.mp4", name, sha256=name[:1] * 64) for name in names]
    plan = folder / "all.tsv"
    plan.write_text(shard_text(samples))
    return plan


def recipe(**settings: object) -> Recipe:
    return Recipe(
        stage="threedi_detect",
        backend="3di",
        settings=dict(settings),
        models=(),
        code="0" * 64,
    )


def run_shard(
    plan: Path, output: Path, of: Recipe, stop_at: str = "", stored: bool = False
) -> list[str]:
    """The samples that are worked on; stops as if killed before one."""
    done = []
    kinds = frozenset({"raw"}) if stored else frozenset[str]()
    with ShardRun(of, plan, [], {"raw": output}, stored=kinds, work=plan.parent / "w") as run:
        for sample, part in run.pending():
            if sample.sample == stop_at:
                raise KeyboardInterrupt
            done.append(sample.sample)
            files = {} if sample.sample == "none" else {f"{sample.sample}_rects.3DI": TEXT}
            part.archive("raw", files)
    return done


NAMES = ("b", "a", "none", "a_pose", "facemake")


def test_a_shard_of_several_samples(tmp_path: Path) -> None:
    plan, out = shard(tmp_path, *NAMES), tmp_path / "out" / "all.zip"
    assert run_shard(plan, out, recipe()) == list(NAMES)
    with Archive(out) as archive:
        assert sorted(archive.names) == sorted(f"{n}_rects.3DI" for n in NAMES if n != "none")
    assert shards.read_metadata(out)["recipe"]["stage"] == "threedi_detect"
    assert [p.name for p in out.parent.iterdir()] == ["all.zip"]
    # the shard's metadata is that of its only sample, too
    one = shard(tmp_path, "b")
    run_shard(one, tmp_path / "one.zip", recipe())
    with Archive(tmp_path / "one.zip") as archive:
        assert archive.names == ["b_rects.3DI"]


def test_a_killed_shard_goes_on_where_it_stopped(tmp_path: Path) -> None:
    plan, out = shard(tmp_path, *NAMES), tmp_path / "all.zip"
    whole = tmp_path / "whole.zip"
    run_shard(plan, whole, recipe())
    with pytest.raises(KeyboardInterrupt):
        run_shard(plan, out, recipe(), stop_at="none")
    assert not out.exists()
    assert run_shard(plan, out, recipe()) == list(NAMES[2:])
    assert out.read_bytes() == whole.read_bytes()
    # parts of another recipe are of no use
    with pytest.raises(KeyboardInterrupt):
        run_shard(plan, out, recipe(), stop_at="none")
    assert run_shard(plan, out, recipe(camera=40)) == list(NAMES)


def test_a_part_that_was_damaged_since(tmp_path: Path) -> None:
    plan, out = shard(tmp_path, "a", "b"), tmp_path / "all.zip"
    with pytest.raises(KeyboardInterrupt):
        run_shard(plan, out, recipe(), stop_at="b")
    (part,) = (tmp_path / "w" / "parts").rglob("a.*.zip")
    part.write_bytes(part.read_bytes()[:100])
    with pytest.raises(TableError, match="cannot be read as an archive"):
        run_shard(plan, out, recipe())
    assert not out.exists()
