"""Every command, piece of Python and piece of config in the documentation works as it stands there.

A page is one session: its blocks run one after the other in one folder, in which lie a copy of a
finished run of the bundled sample and the files that the pages speak of (`desk`).
"""

from __future__ import annotations

import argparse
import fnmatch
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import av
import jsonschema
import pytest
import yaml
from PIL import Image

import makemedia
from conftest import ROOT
from documentation import CODE, OTHER, SHELL, Block, blocks, pages
from facemake import settings
from facemake.cli import main, parser
from runworkflow import Run

pytestmark = pytest.mark.xdist_group("run")  # for the finished run

NOT_RUN = {
    "weights to be downloaded": 1,
    "another machine": 1,
}
"""Why a block cannot run in a test, and how many there are: one more is a change here, too."""

INSTALLING = ("onnx", "facenet", "train", "serve", "slurm", "containers")
"""Targets of make that install: CI makes the ones that it needs, the others are not run."""

ALL = [block for page in pages() for block in blocks(page)]


def test_each_block_says_what_it_is():
    for block in ALL:
        assert block.language in (*CODE, *OTHER), f"{block}: {block.language}"
        assert block.language != "r" or block.by, f"{block}: no test here runs R by itself"
        if block.language in OTHER:
            assert block.runs, f"{block}: a marker above what is no code"
            typed = re.search(r"^(\$ |facemake |snakemake |make |python |pip )", block.code, re.M)
            assert not typed, f"{block}: a command in what is no code, where nothing runs it"


def test_what_is_not_run_has_a_reason_and_is_counted():
    assert Counter(block.why for block in ALL if block.why is not None) == NOT_RUN


@pytest.mark.parametrize("block", [b for b in ALL if b.by], ids=str)
def test_what_another_test_runs_is_known_there(block: Block):
    test = ROOT / block.by
    assert test.is_file(), f"{block}: {block.by}"
    name = block.page.relative_to(ROOT).as_posix()
    assert name in test.read_text("utf-8").replace('" / "', "/"), f"{block.by} names no {name}"


def test_what_a_page_says_to_import_is_there():
    written = re.compile(r"`(from facemake[\w.]* import [\w, ]+)`")
    lines = {line for page in pages() for line in written.findall(page.read_text("utf-8"))}
    assert len(lines) > 10
    for line in lines:
        exec(line, {})


def options_of(parser: argparse.ArgumentParser) -> set[str]:
    """Every option of a parser and of the parsers of its actions."""
    found = {option for action in parser._actions for option in action.option_strings}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found |= {name for sub in action.choices.values() for name in options_of(sub)}
    return found


def commands_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    (action,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    return dict(action.choices)


def test_what_a_page_says_of_a_command_is_there():
    """Of commands that run, that cannot run here, and that stand in a sentence or a table."""
    known, said = commands_of(parser()), set()
    for page in pages():
        text = page.read_text("utf-8")
        said |= {(page.name, words) for words in re.findall(r"`(facemake [a-z][^`]*)`", text)}
        for block in blocks(page):
            if block.language in SHELL:
                lines = (command for command, _ in block.commands())
                said |= {(page.name, line) for line in lines if line.startswith("facemake ")}
            elif block.language == "text":  # of the help, in command-line.md
                shown = re.findall(r"^(?:example: |  )(facemake .*)", block.code, re.M)
                said |= {(page.name, line) for line in shown}
    assert len(said) > 100
    for page, line in sorted(said):
        _, command, *words = re.sub(r"\s#.*", "", line).split()
        assert command in known, (page, line)
        if command == "run":  # the rest is Snakemake's
            continue
        options = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
        assert options <= options_of(known[command]), (page, line)
        actions = [a for a in known[command]._actions if isinstance(a, argparse._SubParsersAction)]
        if actions and words:
            one = set(words[0].split("|"))  # list|fetch|verify
            assert one <= set(actions[0].choices) or words[0].isupper(), (page, line)


def targets() -> set[str]:
    return set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.M))


@pytest.mark.parametrize("block", [b for b in ALL if b.language in SHELL], ids=str)
def test_a_shell_understands_it_and_make_has_its_targets(block: Block):
    for command, _ in block.commands():
        done = subprocess.run(["bash", "-n", "-c", command], capture_output=True, text=True)
        assert done.returncode == 0, (str(block), done.stderr)
        if command.startswith("make "):
            assert shlex.split(command, comments=True)[1] in targets(), str(block)


@pytest.mark.parametrize("block", [b for b in ALL if b.language == "yaml" and b.runs], ids=str)
def test_a_piece_of_config_is_one(block: Block):
    config = yaml.safe_load(block.code)
    assert config.keys() <= settings.schema()["properties"].keys(), str(block)
    jsonschema.validate(settings.filled(config), settings.schema())


def test_the_schema_refuses_what_it_does_not_know():
    """So that the test above can fail."""
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(settings.filled({"track": {"mian": "x"}}), settings.schema())


@pytest.fixture
def desk(finished: Run, bundled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished study with files of its own, and what the pages' examples are called."""
    desk = tmp_path / "study"
    shutil.copytree(finished.folder, desk)  # links into the cache become files
    people = [
        Image.open(bundled / "portraits" / name).convert("RGB")
        for name in ("eileen_collins.png", "grace_hopper.jpg")
    ]
    for folder in ("photos", "party"):
        (desk / folder).mkdir()
    for name, picture in zip(("anna.jpg", "bob.jpg"), people, strict=True):
        for folder in (".", "photos", "party"):
            picture.save(desk / folder / name, quality=95)
    with av.open(str(bundled / "moving_portrait.mp4")) as container:
        frames = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)][:12]
    makemedia.write_video(desk / "clip.mp4", frames)
    (desk / "people.tsv").write_text(
        "sample\tframe\tperson\nportraits\t0\tanna\nportraits\t1\tbob\nmoving portrait\t\tanna\n"
    )
    party = Image.new("RGB", (1200, 600))
    for place, picture in enumerate(people):
        party.paste(picture.resize((500, 600)), (600 * place, 0))
    party.save(desk / "party.jpg", quality=95)
    for folder in ("clips", "videos"):
        (desk / folder).mkdir()
        shutil.copy(desk / "clip.mp4", desk / folder / "anna_01.mp4")
    shutil.copy(desk / "results" / "dataset" / "training_data.h5", desk)
    monkeypatch.chdir(desk)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FACEMAKE_PROGRESS", "off")
    monkeypatch.delenv("FACEMAKE_MODELS", raising=False)
    return desk


def in_this_process(command: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Exit code and output of a command line of facemake or make.

    What make has as targets CI makes, or it installs.
    """
    words = shlex.split(command, comments=True)
    if words[:2] == ["facemake", "run"]:
        return in_a_shell(command)  # snakemake takes the place of its process
    if words[0] == "make":
        ci = (ROOT / ".ci" / "run").read_text("utf-8").splitlines()
        assert words[1] in (*INSTALLING, "demo") or f"make {words[1]}" in ci, command
        return 0, ""
    try:
        code = main(words[1:])
    except SystemExit as end:  # of argparse
        code = int(end.code or 0)
    said = capsys.readouterr()
    return code, said.out + said.err


def in_a_shell(script: str) -> tuple[int, str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        env={**os.environ, "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    return done.returncode, done.stdout


def plain(command: str) -> bool:
    """Whether it is facemake or make and nothing that a shell would do."""
    return command.split()[0] in ("facemake", "make") and not set("|<>$`&;") & set(
        command.split("#")[0]
    )


def assert_alike(said: str, shown: str, where: str) -> None:
    """What a page shows is what was said; `...` stands for anything."""
    pattern = re.sub(r"([\[\]*?])", r"[\1]", shown).replace("...", "*")
    lines = [line.rstrip() for line in said.strip().splitlines()]
    assert fnmatch.fnmatchcase("\n".join(lines), pattern.strip()), f"{where} prints:\n{said}"


def runnable(page: Path) -> list[Block]:
    return [b for b in blocks(page) if b.runs and b.language in (*SHELL, "python")]


@pytest.mark.workflow
@pytest.mark.parametrize(
    "page", [page for page in pages() if runnable(page)], ids=lambda page: page.stem
)
def test_a_page_works(page: Path, desk: Path, capsys: pytest.CaptureFixture[str]):
    names: dict[str, object] = {}
    for block in runnable(page):
        if block.language == "python":
            exec(compile(block.code, str(block), "exec"), names)
            continue
        commands = block.commands()
        if not all(plain(command) for command, _ in commands):
            commands = [("\n".join(command for command, _ in commands), "")]
        for command, shown in commands:
            code, said = in_this_process(command, capsys) if plain(command) else in_a_shell(command)
            assert code == 0, f"{block}: {command} ends with {code}:\n{said}"
            assert "Traceback" not in said, f"{block}: {command}:\n{said}"
            if shown:
                assert_alike(said, shown, f"{block}: {command}")
