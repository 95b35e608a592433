"""The sample sheet: what is refused, and in which words."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from facemake import settings
from facemake.errors import ConfigError
from facemake.sheet import read_samples


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "clip.mp4").write_bytes(b"x")
    (tmp_path / "other clip.mp4").write_bytes(b"y")
    (tmp_path / "pictures").mkdir()
    return tmp_path


def sheet(folder: Path, text: str) -> dict:
    (folder / "samples.tsv").write_text(text, encoding="utf-8")
    return settings.filled({"samples": str(folder / "samples.tsv")})


def refusal(folder: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read_samples(sheet(folder, text))
    return str(caught.value)


def test_a_good_sheet_is_read_with_its_defaults(folder: Path):
    rows = read_samples(
        sheet(
            folder,
            "\ufeffsample\tpath\tsubject\tstart\tend\tsplit\texclude\treason\n"
            "a\tclip.mp4\tanna\t1.5\t3\ttrain\t\t\n"
            "\t\t\t\t\t\t\t\n"
            "Ünïcode näme 1\tother clip.mp4\t\t\t\t\tyes\tblurred\n"
            "p\tpictures\t\t\t\t\t\t\n",
        )
    )
    a, unicode_name, pictures = rows.rows
    assert (a.subject, a.start, a.end, a.split, a.excluded) == ("anna", 1.5, 3.0, "train", False)
    assert a.path == str(folder / "clip.mp4")
    assert (unicode_name.excluded, unicode_name.reason) == (True, "blurred")
    assert unicode_name.subject == "Ünïcode näme 1"
    assert [rows.rows[i] for i in rows.folders] == [pictures]


def test_all_bad_lines_are_told_at_once_with_line_and_cure(folder: Path):
    text = refusal(
        folder,
        "sample\tpath\tstart\tend\texclude\n"
        "a\tclip.mp4\t\t\t\n"
        "A\tclip.mp4\t\t\t\n"
        "../b\tclip.mp4\t\t\t\n"
        'c"d\tclip.mp4\t\t\t\n'
        "e\tnowhere.mp4\t\t\t\n"
        "f\tclip.mp4\tsoon\t\t\n"
        "g\tclip.mp4\t5\t2\t\n"
        "h\tclip.mp4\t\t\tperhaps\n"
        "i\tpictures\t1\t\t\n"
        "manifest\tclip.mp4\t\t\t\n"
        "\tclip.mp4\t\t\t\n",
    )
    lines = text.splitlines()[1:]
    expected = {
        3: "'A' stands in line 2 already",
        4: "'../b' is not safe as a file name",
        5: "is not safe as a file name",
        6: f"there is no file {folder / 'nowhere.mp4'}",
        7: "start is 'soon'; give seconds",
        8: "end 2 is not after start 5",
        9: "exclude is 'perhaps'; write yes",
        10: "an image folder has no time range",
        11: "is reserved",
        12: "is empty",
    }
    assert len(lines) == len(expected)
    for (number, words), line in zip(expected.items(), lines, strict=True):
        assert f"samples.tsv:{number}: " in line
        assert words in line


def test_a_folder_that_is_gone_is_said_once(folder: Path):
    rows = [f"s{n}\t/mnt/no such disk/visit {n}/clip.mp4\n" for n in range(3000)]
    lines = refusal(folder, "sample\tpath\nx\tgone.mp4\n" + "".join(rows)).splitlines()[1:]
    assert len(lines) == 2 and f"there is no file {folder / 'gone.mp4'}" in lines[0]
    assert "samples.tsv:3: there is no folder /mnt/no such disk, where" in lines[1]
    assert "this row and 2999 more rows should be" in lines[1] and "if it was moved" in lines[1]


@pytest.mark.parametrize(
    "name",
    [
        "a/b",
        "a\\b",
        ".hidden",
        "-dash",
        "a$b",
        "a;b",
        "a\nb",
        "a'b",
        "a..b",
        "a ",
        "x" * 151,
        "я" * 80,
        "v" + "0" * 20,
    ],
)
def test_unsafe_names_are_refused(folder: Path, name: str):
    quoted = '"' + name.replace('"', '""') + '"'
    assert "sample name" in refusal(folder, f"sample\tpath\n{quoted}\tclip.mp4\n")


def test_a_misspelt_column_is_told_with_its_neighbour(folder: Path):
    text = refusal(folder, "sample\tpaht\na\tclip.mp4\n")
    assert "paht is no column; did you mean path?" in text
    assert "the column path is missing" in text


@pytest.mark.parametrize("word", ["NA", "nan", "n/a"])
def test_what_other_programs_write_for_nothing_is_nobody(folder: Path, word: str):
    rows = "".join(f"{name}\tclip.mp4\t{word}\t{word}\n" for name in "ab")
    text = refusal(folder, f"sample\tpath\tsubject\tstart\n{rows}")
    for line in (2, 3):
        assert f"samples.tsv:{line}: subject is '{word}', as other programs write" in text
        assert f"samples.tsv:{line}: start is '{word}'; give seconds" in text


def test_cells_beyond_the_columns_are_refused_and_those_left_out_are_empty(folder: Path):
    text = refusal(
        folder,
        "sample\tpath\tsubject\na\tclip.mp4\nb\tclip.mp4\t\t\nc\tclip.mp4\tC\tx\n../d\tclip.mp4\n",
    )
    cells, name = text.splitlines()[1:]
    assert cells.endswith("samples.tsv:4: has 4 cells for 3 columns; is a tab wrong?")
    assert "samples.tsv:5: sample name '../d' is not safe" in name


def test_lines_may_end_as_on_other_systems(folder: Path):
    for end in ("\r\n", "\r"):
        (folder / "s.tsv").write_bytes(f"sample\tpath{end}{end}a\tclip.mp4".encode())
        rows = read_samples(settings.filled({"samples": str(folder / "s.tsv")})).rows
        assert [(row.sample, row.path) for row in rows] == [("a", str(folder / "clip.mp4"))]


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("sample\tpath\tpath", ":1: the column path stands there twice; delete one"),
        ("sample\tpath\t", ":1: column 3 has no name; there are sample, path"),
        ("", ":1: the column sample is missing (are the columns parted by tabs?)"),
        ("sample,path", ":1: sample,path is no column; did you mean sample?"),
        ('"sample"\t"path"', ':1: "path" is no column; cells have no quotation marks'),
    ],
)
def test_a_wrong_header_is_refused(folder: Path, header: str, words: str):
    assert words in refusal(folder, f"{header}\na\tclip.mp4\tx\n")


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("./clip.mp4", "clip.mp4"),
        ("pictures/../clip.mp4", "clip.mp4"),
        ("pictures//..//clip.mp4", "clip.mp4"),
        ("pictures/", "pictures"),
        (".", ""),
        (".pictures.d/a.b.mp4", ".pictures.d/a.b.mp4"),
    ],
)
def test_paths_are_made_straight(folder: Path, given: str, found: str):
    (folder / ".pictures.d").mkdir()
    (folder / ".pictures.d" / "a.b.mp4").write_bytes(b"x")
    for path in (given, f"{folder}/{given}"):
        (row,) = read_samples(sheet(folder, f"sample\tpath\na\t{path}\n")).rows
        assert Path(row.path) == folder / found


def test_a_subject_in_two_splits_is_refused(folder: Path):
    text = refusal(
        folder,
        "sample\tpath\tsubject\tsplit\na\tclip.mp4\tanna\ttrain\nb\tclip.mp4\tanna\ttest\n",
    )
    assert "subject 'anna' is in split test here and in train in line 2" in text


def test_an_unknown_split_is_refused(folder: Path):
    assert "none of the config's: train, val, test" in refusal(
        folder, "sample\tpath\tsplit\na\tclip.mp4\tdev\n"
    )


def test_empty_and_missing_sheets_are_refused(folder: Path):
    assert "has no samples" in refusal(folder, "sample\tpath\n")
    with pytest.raises(ConfigError, match="no such sample sheet"):
        read_samples(settings.filled({"samples": str(folder / "none.tsv")}))


def test_a_folder_gives_safe_unique_names(tmp_path: Path):
    for name in ("a.mp4", "a.mov", "it's; $HOME.mp4", ".hidden.mp4", "manifest.mp4", "notes.txt"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "pictures").mkdir()
    rows = read_samples(settings.filled({"input_dir": str(tmp_path)}))
    got = {Path(s.path).name: s.sample for s in rows.rows}
    assert got == {
        "a.mov": "a",
        "a.mp4": "a-2",
        "it's; $HOME.mp4": "it_s_ _HOME",
        "manifest.mp4": "manifest-2",
        "pictures": "pictures",
    }


def test_a_quote_is_a_letter_like_any_other(folder: Path):
    rows = read_samples(
        sheet(
            folder,
            'sample\tpath\tsubject\na\tclip.mp4\t"Anna\nb\tclip.mp4\tBob\nc\tclip.mp4\tC "x"\n',
        )
    ).rows
    assert [(r.sample, r.subject) for r in rows] == [("a", '"Anna'), ("b", "Bob"), ("c", 'C "x"')]


def test_another_encoding_is_named_with_its_cure(folder: Path):
    (folder / "samples.tsv").write_bytes("sample\tpath\nä\tclip.mp4\n".encode("latin-1"))
    with pytest.raises(ConfigError, match="save it as tab-separated text in UTF-8"):
        read_samples(settings.filled({"samples": str(folder / "samples.tsv")}))


def test_what_is_no_file_is_refused_without_opening_it(folder: Path):
    os.mkfifo(folder / "pipe.mp4")
    assert "is neither a file nor a folder" in refusal(
        folder, "sample\tpath\na\tpipe.mp4\nb\t/dev/zero\n"
    )


def test_a_folder_passes_over_what_is_no_recording(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    (tmp_path / "a.mp4").write_bytes(b"x")
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "dead.mp4").symlink_to("nowhere.mp4")
    os.mkfifo(tmp_path / "pipe.mp4")
    rows = read_samples(settings.filled({"input_dir": str(tmp_path)})).rows
    assert [row.sample for row in rows] == ["a"]
    assert "passed over 3 files" in caplog.text
    assert "dead.mp4, notes.txt, pipe.mp4" in caplog.text
