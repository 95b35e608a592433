"""Archives: the same bytes every time, and nothing of an unsafe one."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from facemake import zips
from facemake.zips import ZipError


def archive(*entries: tuple[str | zipfile.ZipInfo, bytes], method: int = 8) -> bytes:
    """An archive as anybody may make one."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file:
        for name, data in entries:
            file.writestr(name, data)
    return buffer.getvalue()


def unpack(source: Path | bytes, folder: Path, **limits: float) -> list[Path]:
    return zips.read_zip(source, folder, **{"max_files": 10, "max_bytes": 10**6, **limits})


def refused(
    source: Path | bytes, tmp_path: Path, words: str | None = None, **limits: float
) -> None:
    """It is refused and leaves nothing, neither in a new folder nor in one with a file."""
    with pytest.raises(ZipError, match=words):
        unpack(source, tmp_path / "new", **limits)
    assert not (tmp_path / "new").exists()
    old = tmp_path / "old"
    old.mkdir(exist_ok=True)
    (old / "a").write_text("mine")
    with pytest.raises(ZipError):
        unpack(source, old, **limits)
    assert [path.name for path in old.iterdir()] == ["a"]
    assert (old / "a").read_text() == "mine"


def test_what_was_written_is_read(tmp_path: Path):
    (tmp_path / "source").write_bytes(b"x" * 3_000_000)
    path = tmp_path / "a.zip"
    zips.write_zip(path, {"naïve name.3DI": tmp_path / "source", "b": b"", "-a": b"1 2\n"})
    assert zips.members(path) == {"-a": 4, "b": 0, "naïve name.3DI": 3_000_000}
    found = unpack(path, tmp_path / "new", max_bytes=3_000_004, max_ratio=1100)
    assert [file.name for file in found] == ["-a", "b", "naïve name.3DI"]
    assert found[0].read_bytes() == b"1 2\n" and found[2].read_bytes() == b"x" * 3_000_000
    assert sorted((tmp_path / "new").iterdir()) == sorted(found)


@pytest.mark.parametrize("stored", [False, True])
def test_the_same_files_give_the_same_bytes(tmp_path: Path, stored: bool):
    files = {name: tmp_path / f"f{name}" for name in "ba"}
    written = []
    for i, order in enumerate(("ba", "ab")):
        for name in order:
            files[name].write_text(name * 100)
            files[name].chmod(0o755 if i else 0o400)
        zips.write_zip(tmp_path / "x.zip", {n: files[n] for n in order}, stored=stored)
        written.append((tmp_path / "x.zip").read_bytes())
        for file in files.values():
            file.unlink()
    assert written[0] == written[1]
    with zipfile.ZipFile(io.BytesIO(written[0])) as file:
        for entry in file.infolist():
            assert entry.external_attr >> 16 == stat.S_IFREG | 0o600
            assert entry.date_time == (1980, 1, 1, 0, 0, 0)
            assert entry.compress_type == (0 if stored else 8)


def test_a_file_that_is_missing_leaves_no_archive(tmp_path: Path):
    with pytest.raises(OSError):
        zips.write_zip(tmp_path / "x.zip", {"a": b"1", "b": tmp_path / "none"})
    assert not list(tmp_path.iterdir())


UNSAFE = (
    *(
        "../a",
        "/a",
        "..",
        ".",
        "",
        "a/b",
        "a/../b",
        "a/",
        "..\\a",
        "a\\b",
        "C:a",
        "C:\\a",
        "\\\\h\\a",
    ),
    *("a\nb", "a\x1b[0m", "a\x7f", "a\u202eb", "a\u2028b", "x" * 256, "é" * 128),
)


@pytest.mark.parametrize("name", UNSAFE)
def test_an_unsafe_name_is_neither_written_nor_read(tmp_path: Path, name: str):
    with pytest.raises(ZipError):
        zips.write_zip(tmp_path / "a.zip", {name: b""})
    entry = zipfile.ZipInfo("placeholder")
    entry.filename = name  # as it stands
    refused(archive(("good", b"1"), (entry, b"2")), tmp_path)


def test_what_stands_behind_a_nul_byte_is_seen(tmp_path: Path):
    data = archive(("good_evil", b"1")).replace(b"good_evil", b"good\0evil")
    refused(data, tmp_path, "plain name")


@pytest.mark.parametrize(("a", "b"), [("a", "A"), ("é", "e\u0301"), ("straße", "STRASSE")])
def test_names_that_are_one_file_somewhere_are_refused(tmp_path: Path, a: str, b: str):
    with pytest.raises(ZipError, match="twice"):
        zips.write_zip(tmp_path / "a.zip", {a: b"", b: b""})
    refused(archive((a, b"1"), (b, b"2")), tmp_path, "twice")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_stands_twice_is_refused(tmp_path: Path):
    refused(archive(("a", b"1"), ("a", b"2")), tmp_path, "twice")
    (tmp_path / "a.zip").write_bytes(archive(("a", b"1"), ("a", b"2")))
    with pytest.raises(ZipError, match="twice"):
        zips.members(tmp_path / "a.zip")


@pytest.mark.parametrize(
    "mode", [stat.S_IFLNK, stat.S_IFDIR, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK]
)
def test_links_folders_and_devices_are_refused(tmp_path: Path, mode: int):
    entry = zipfile.ZipInfo("link")
    entry.external_attr = (mode | 0o777) << 16
    refused(archive(("good", b"1"), (entry, b"/etc/passwd")), tmp_path, "no file but")


def test_a_folder_of_dos_is_refused(tmp_path: Path):
    entry = zipfile.ZipInfo("folder")
    entry.external_attr = 0x10
    refused(archive((entry, b"")), tmp_path, "no file but")


def patched(data: bytes, at_local: int, at_directory: int, value: bytes) -> bytes:
    """Change a header field of the first member, in both places that have it."""
    changed = bytearray(data)
    directory = data.index(b"PK\1\2")
    changed[at_local : at_local + len(value)] = value
    changed[directory + at_directory : directory + at_directory + len(value)] = value
    return bytes(changed)


@pytest.mark.parametrize("flag", [0x1, 0x41, 0x2000])
def test_encrypted_members_are_refused(tmp_path: Path, flag: int):
    data = patched(archive(("a", b"1")), 6, 8, struct.pack("<H", flag))
    refused(data, tmp_path, "encrypted|no whole")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compression_is_refused(tmp_path: Path, method: int):
    refused(archive(("a", b"1"), method=method), tmp_path, "compressed in a way")


def test_too_many_files(tmp_path: Path):
    data = archive(*((f"f{i}", b"") for i in range(11)))
    refused(data, tmp_path, "more than the 10 files")
    assert len(unpack(data, tmp_path / "y", max_files=11)) == 11


def test_a_directory_that_would_fill_the_memory_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    data = archive(*((f"f{i:06}", b"") for i in range(3000)))
    monkeypatch.setattr(zipfile, "ZipFile", None)
    refused(data, tmp_path, "more than the 10 files")


def test_too_many_bytes(tmp_path: Path):
    data = archive(("a", bytes(600_000)), ("b", bytes(400_001)))
    refused(data, tmp_path, "more than the 1000000 bytes")
    assert unpack(data, tmp_path / "y", max_bytes=1_000_001, max_ratio=1100)


def test_a_ratio_that_only_bombs_have(tmp_path: Path):
    data = archive(("a", bytes(20_000_000)))
    refused(data, tmp_path, "200 times", max_bytes=10**9)
    assert unpack(data, tmp_path / "y", max_bytes=10**9, max_ratio=1100)
    # a table of zeros, small: compresses as well and is no bomb
    assert unpack(archive(("a", b"0 0 0 0\n" * 100_000)), tmp_path / "z")


def test_members_that_share_their_data_are_refused(tmp_path: Path):
    """Many directory entries over one member: larger than deflate can be."""
    data = archive(("a", bytes(900_000)))
    at = data.index(b"PK\1\2")
    entry = data[at : len(data) - 22]
    twins = [entry[:46] + bytes([97 + i]) + entry[47:] for i in range(10)]
    local = data[:at]
    directory = b"".join(twins)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 10, 10, len(directory), len(local), 0)
    refused(local + directory + end, tmp_path, max_bytes=10**8)


@pytest.mark.parametrize("size", [10, 10**6])
def test_the_headers_word_about_a_size_is_not_taken(tmp_path: Path, size: int):
    data = patched(archive(("a", bytes(500_000))), 22, 24, struct.pack("<L", size))
    refused(data, tmp_path, "damaged", max_bytes=10**7)


def test_every_damage_is_refused(tmp_path: Path):
    data = archive(("a", bytes(range(256)) * 4))
    for stop in range(len(data)):
        refused(data[:stop], tmp_path)
    whole = {b"a": bytes(range(256)) * 4}
    for at in range(len(data)):  # a changed byte is refused or does not matter
        changed = bytearray(data)
        changed[at] ^= 0x55
        try:
            found = unpack(bytes(changed), tmp_path / "x")
        except ZipError:
            assert not (tmp_path / "x").exists()
        else:
            assert [file.read_bytes() for file in found] == list(whole.values())
            found[0].unlink()
            (tmp_path / "x").rmdir()


@pytest.mark.parametrize("change", [lambda d: d + b"x", lambda d: b"x" + d, lambda d: b""])
def test_an_archive_within_other_data_is_refused(tmp_path: Path, change: Callable[[bytes], bytes]):
    refused(change(archive(("a", b"1"))), tmp_path, "no whole ZIP")


def test_a_comment_that_hides_a_second_archive_is_refused(tmp_path: Path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("a", b"1")
        file.comment = archive(("b", b"2"))
    refused(buffer.getvalue(), tmp_path)


def test_large_archives_are_read(tmp_path: Path):
    """With the records for more than 65,535 members, or 4 GB."""
    data = archive(("a", b"1"))
    end = struct.unpack("<4s4H2LH", data[-22:])
    record = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, end[5], end[6])
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, len(data) - 22, 1)
    last = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 2**32 - 1, 2**32 - 1, 0)
    large = data[:-22] + record + locator + last
    assert unpack(large, tmp_path / "x")[0].read_bytes() == b"1"
    lying = large.replace(record, record[:-8] + struct.pack("<Q", 0))
    refused(lying, tmp_path, "no whole")


def test_names_are_changed_and_checked_again(tmp_path: Path):
    data = archive(("input_file_rects.3DI", b"1"))

    def read(folder: str, names: Callable[[str], str | None]) -> list[Path]:
        return zips.read_zip(data, tmp_path / folder, max_files=1, max_bytes=1, names=names)

    assert read("x", lambda name: name.replace("input_file", "-clip"))[0].name == "-clip_rects.3DI"
    for names in (lambda name: None, lambda name: f"../{name}", lambda name: ""):
        with pytest.raises(ZipError):
            read("y", names)
        assert not (tmp_path / "y").exists()


def test_a_file_of_the_same_name_is_replaced_and_others_stay(tmp_path: Path):
    (tmp_path / "a").write_text("old")
    (tmp_path / "b").write_text("other")
    unpack(archive(("a", b"new")), tmp_path)
    assert (tmp_path / "a").read_text() == "new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_members_of_an_archive_of_too_many_are_not_listed(tmp_path: Path):
    path = tmp_path / "x.zip"
    path.write_bytes(archive(("a", bytes(5000)), ("b", b"2")))
    with pytest.raises(ZipError, match="1 files"):
        zips.members(path, max_files=1)


def test_deflates_limit_is_what_the_text_says():
    """1032 bytes for one, at most: what the documentation of `max_ratio` rests on."""
    assert 1020 < 10**8 / len(zlib.compress(bytes(10**8), 9)) < 1032
