"""facemake init (docs/command-line.md): what it finds, names and never overwrites."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import yaml

from facemake import discovery, plan, settings, sheet
from facemake.cli import main
from facemake.errors import FacemakeError
from makestudy import inside

MP4 = b"\x00\x00\x00\x18ftypisom" + bytes(64)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Recordings as people keep them."""
    top = tmp_path / "recordings"
    for name in (
        *("clip (1).mp4", "clip [1].mp4", "no_suffix", "anna_02.MOV", "10.mp4", "9.mp4"),
        *("bo/1.mp4", "cy/1.mp4", "bo/é..x.mkv", ".hidden.mp4", ".git/x.mp4", "sound.m4a"),
    ):
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_bytes(MP4)
    for name in ("faces/a.png", "faces/b.jpg", "faces/deep/c.png", "bo/thumb.jpg", "one.jpg"):
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_bytes(b"no picture, as the probe will say")
    (top / "notes.txt").write_text("not a recording")
    (top / "a_link.mp4").symlink_to("no_suffix")
    (top / "dead.mp4").symlink_to("nowhere")
    (top / "bo" / "loop").symlink_to(top)
    os.mkfifo(top / "pipe.mp4")
    return top


def rows(study: Path) -> dict[str, tuple[str, str]]:
    lines = (study / "config" / "samples.tsv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "sample\tpath\tsubject"
    cells = [line.split("\t") for line in lines[1:]]
    return {name: (path, subject) for name, path, subject in cells}


def test_a_folder_becomes_a_study_that_can_be_run(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch
):
    monkeypatch.setattr(sys, "argv", ["/opt/facemake/bin/facemake"])
    study = tmp_path / "my study"
    assert main(["init", str(folder), "-d", str(study)]) == 0
    found = rows(study)
    assert list(found) == [
        *("9", "10", "anna_02", "bo_1", "bo_thumb", "bo_é.x", "clip _1_", "clip _1_-2", "cy_1"),
        *("faces", "faces_deep", "no_suffix", "one"),
    ]
    assert found["faces"] == (str(folder / "faces"), "") and found["no_suffix"][0].endswith("x")
    said = capsys.readouterr().out
    assert "13 samples (9 videos, 2 folders of pictures, 2 pictures); 3 names changed" in said
    for words in ("a link to nothing", "neither a file nor a folder", "no video and no picture"):
        assert words in said
    assert "nobody is guessed" in said and f"same file as {folder / 'no_suffix'}" in said
    assert said.splitlines()[-2] == f"  /opt/facemake/bin/facemake run -d '{study}'"
    assert said.splitlines()[-1].endswith("results/report/index.html'") or "in a browser" in said
    with inside(study):
        config = settings.filled(yaml.safe_load(Path("config/config.yaml").read_text()))
        settings.check(config)
        assert [row.sample for row in sheet.read_samples(config).rows] == list(found)


def test_nothing_is_overwritten(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    sheet = tmp_path / "study" / "config" / "samples.tsv"
    sheet.parent.mkdir(parents=True)
    sheet.symlink_to("elsewhere")
    assert main(["init", str(folder), "-d", str(tmp_path / "study")]) == 2
    assert "samples.tsv is there already" in capsys.readouterr().err
    assert sheet.is_symlink() and [*sheet.parent.iterdir()] == [sheet]
    sheet.unlink()
    (sheet.parent / "config.yaml").write_text("mine")
    assert main(["init", "-d", str(tmp_path / "study")]) == 2
    assert (sheet.parent / "config.yaml").read_text() == "mine" and not sheet.exists()


@pytest.mark.parametrize(
    ("rule", "subjects"),
    [
        ("folder", {"bo_1": "bo", "cy_1": "cy", "faces": "faces", "anna_02": "", "9": ""}),
        ("prefix", {"anna_02": "anna", "no_suffix": "no", "bo_1": "", "faces": "", "NA_1": ""}),
        ("bids", {"anna_02": "", "sub-07_ses-1_sub-07_face": "sub-07"}),
    ],
)
def test_subjects_are_guessed_by_the_rule_that_is_asked_for(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], rule: str, subjects
):
    bids = folder / "sub-07" / "ses-1" / "sub-07_face.mp4"
    bids.parent.mkdir(parents=True)
    bids.write_bytes(MP4)
    (folder / "NA_1.mp4").write_bytes(MP4)
    assert main(["init", str(folder), "-d", str(tmp_path / "s"), "--subjects", rule]) == 0
    found = rows(tmp_path / "s")
    assert {name: found[name][1] for name in subjects} == subjects
    said = capsys.readouterr().out
    assert f"by the rule {rule}: {discovery.SUBJECT_RULES[rule][1]}" in said
    assert "each count as a separate person" in said


def test_a_rule_that_finds_nobody_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "anna.mp4").write_bytes(MP4)
    command = ["init", str(tmp_path / "in"), "-d", str(tmp_path / "s"), "--subjects", "bids"]
    assert main(command) == 0
    assert "  no subject is found by it\n" in capsys.readouterr().out


def test_a_study_among_its_recordings_can_be_moved(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(folder)
    (folder / "results" / "report").mkdir(parents=True)
    (folder / "results" / "report" / "x.png").write_bytes(b"x")
    assert main(["init", "."]) == 0
    found = rows(folder)
    assert found["9"][0] == "../9.mp4" and not any("results" in name for name in found)


def test_many_samples_are_packed(tmp_path: Path):
    (tmp_path / "in").mkdir()
    for number in range(plan.LARGEST_UNPACKED + 1):
        (tmp_path / "in" / f"{number}.mp4").touch()
    assert main(["init", str(tmp_path / "in"), "-d", str(tmp_path / "s")]) == 0
    config = yaml.safe_load((tmp_path / "s" / "config" / "config.yaml").read_text())
    assert config == {"samples": "config/samples.tsv", "shards": 8}


def test_what_no_sheet_can_hold_is_refused_before_anything_is_written(tmp_path: Path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a\tb.mp4").touch()
    (tmp_path / "in" / os.fsdecode(b"\xff.mp4")).touch()
    with pytest.raises(FacemakeError, match=r"rename '.*a\\tb\.mp4', '.*udcff\.mp4'"):
        discovery.find(tmp_path / "in", "none", tmp_path / "s")
    assert main(["init", str(tmp_path / "in"), "-d", str(tmp_path / "s")]) == 2
    assert not (tmp_path / "s").exists()


def test_folders_that_give_nothing_say_why(folder: Path, tmp_path: Path):
    def refused(path: Path) -> str:
        with pytest.raises(FacemakeError) as error:
            discovery.find(path, "none", tmp_path / "s")
        return str(error.value)

    (tmp_path / "empty").mkdir()
    assert "has no video, picture or folder of pictures" in refused(tmp_path / "empty")
    (tmp_path / "empty" / "notes.txt").touch()
    assert "notes.txt is no video and no picture" in refused(tmp_path / "empty")
    assert "there is no folder" in refused(tmp_path / "nowhere")
    assert "name the folder that it lies in" in refused(folder / "one.jpg")


def test_without_recordings_the_sheet_is_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    assert main(["init"]) == 0
    assert rows(tmp_path) == {}
    assert "list your recordings" in capsys.readouterr().out


def added(folder: Path, study: Path, *words: str) -> int:
    return main(["init", str(folder), "-d", str(study), "--add", *words])


def test_recordings_are_added_to_a_sheet_that_somebody_edited(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    study = tmp_path / "study"
    assert main(["init", str(folder), "-d", str(study)]) == 0
    sheet = study / "config" / "samples.tsv"
    here = "../../recordings"
    old = (
        "\ufeffexclude\tsubject\tsample\tpath\r\n"
        f"\tanna\tfirst\t{here}/10.mp4\r\nyes\tbo\tbo_1\t{here}/bo/1.mp4\r\n"
        "\t\tcy_1\tgone.mp4"  # another recording has its name
    ).encode()
    sheet.write_bytes(old)
    sheet.chmod(0o640)
    config = (study / "config" / "config.yaml").read_bytes()
    capsys.readouterr()
    assert added(folder, study, "--subjects", "folder") == 0
    said = capsys.readouterr().out
    assert "11 samples (7 videos" in said and "; 2 were listed already" in said
    assert "9, anna_02, " in said and "facemake run -d" in said
    assert sheet.read_bytes().startswith(old + b"\r\n") and sheet.stat().st_mode & 0o777 == 0o640
    new = sheet.read_bytes()[len(old) :].decode().strip().split("\r\n")
    assert f"\tcy\tcy_1-2\t{folder}/cy/1.mp4" in new and len(new) == 11
    assert (study / "config" / "config.yaml").read_bytes() == config
    capsys.readouterr()
    whole = sheet.read_bytes()
    assert added(folder, study, "--subjects", "folder") == 0
    assert "lists all 13 samples" in capsys.readouterr().out and sheet.read_bytes() == whole


@pytest.mark.parametrize(
    ("config", "sheet", "cure"),
    [
        ("", None, "samples.tsv to add to"),
        ("input_dir: clips", None, "put them there"),
        ("", "sample\tpath\n", "has no column subject"),
        ("", "sample,path\n", "parted by tabs"),
        ("samples: other.tsv", "sample\tpath\tsubject\n", "other.tsv to add to"),
    ],
)
def test_where_nothing_can_be_added_the_message_says_why(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], config: str, sheet, cure: str
):
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "config.yaml").write_text(config)
    path = tmp_path / "config" / "samples.tsv"
    if sheet is not None:
        path.write_text(sheet)
    assert added(folder, tmp_path, "--subjects", "folder") == 2
    assert cure in capsys.readouterr().err
    assert (path.read_text() if path.exists() else None) == sheet
