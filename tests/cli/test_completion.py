"""What the shells complete (docs/command-line.md), asked of the shells."""

from __future__ import annotations

import argparse
import shutil
import subprocess
from pathlib import Path

import pytest

from facemake.cli import main, parser
from facemake.cli.completion import tree

ASK = """
source {script}
while IFS= read -r line; do
  read -r -a COMP_WORDS <<< "$line"
  [[ "$line" == *" " ]] && COMP_WORDS+=("")
  COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
  COMPREPLY=()
  _facemake
  echo "${{COMPREPLY[*]}}"
done
"""


def script(shell: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert main(["completion", shell]) == 0
    path = folder / f"facemake.{shell}"
    path.write_text(capsys.readouterr().out)
    return path


def test_bash_completes_commands_options_and_values(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    wanted = {
        "facemake ini": "init",
        "facemake --v": "--version",
        "facemake models li": "list",
        "facemake models list --m": "--models-dir",
        "facemake extract --format ": "jpg png",
        "facemake extract --format = p": "png",  # as bash breaks --format=p
        "facemake extract --format =": "jpg png",
        "facemake extract --format=p": "--format=png",  # as zsh does not
        "facemake extract pictures --te": "--template",
        "facemake completion ": "bash zsh fish",
        "facemake profile install ": "gpu slurm",
        "facemake init ": "",  # names of files
    }
    code = ASK.format(script=script("bash", tmp_path, capsys))
    done = subprocess.run(
        ["bash", "-c", code],
        input="".join(f"{line}\n" for line in wanted),
        capture_output=True,
        text=True,
        check=True,
    )
    assert dict(zip(wanted, done.stdout.splitlines(), strict=True)) == wanted
    assert done.stderr == ""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_understands_its_script(
    shell: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    path = script(shell, tmp_path, capsys)
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here")
    done = subprocess.run([shell, "-n", str(path)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_fish_completes_with_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = script("fish", tmp_path, capsys)
    text = path.read_text()
    assert "-n '__fish_use_subcommand' -l version" in text
    assert "'__fish_seen_subcommand_from models; and __fish_seen_subcommand_from list'" in text
    if shutil.which("fish") is None:
        pytest.skip("no fish here")
    code = f"source {path}; complete -C 'facemake ini'; complete -C 'facemake extract --format p'"
    done = subprocess.run(["fish", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("init\tmake a new analysis folder") and "\npng" in done.stdout


def epilogs(whole: argparse.ArgumentParser, path: tuple[str, ...]) -> str:
    found = []
    for word in path:
        (below,) = (a for a in whole._actions if isinstance(a, argparse._SubParsersAction))
        whole = below.choices[word]
        found.append(whole.epilog or "")
    return " ".join(found)


def test_each_command_has_an_example_in_its_help():
    """In its own, or in that of the command above it."""
    whole = parser()
    commands = [node for node in tree(whole) if not node.below]
    assert len(commands) > 20
    for node in commands:
        assert f"facemake {' '.join(node.path)}" in epilogs(whole, node.path), node.path
