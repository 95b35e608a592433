"""What every command has: how it ends when its user or its surroundings end it."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from facemake import cli
from facemake.provenance import LIBRARY
from facemake.runtime import interrupts


def start(*words: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(LIBRARY.parent)}
    return subprocess.Popen(
        [sys.executable, "-m", "facemake", *words],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_reader_that_goes_is_no_fault():
    """As `| head -1`; the list is shorter than what a pipe holds, so nobody reads at all."""
    process = start("models", "list")
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait() == 0


def test_the_bare_command_says_what_there_is(capsys: pytest.CaptureFixture[str]):
    assert cli.main([]) == 2
    said = capsys.readouterr().err
    assert all(word in said for word in ("init", "run", "status", "example:"))


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (PermissionError(13, "Permission denied", "/data/clip.mp4"), 2, "/data/clip.mp4: Permiss"),
        (OSError(28, "No space left on device"), 2, "No space left on device"),
        (MemoryError(), 2, "out of memory"),
    ],
)
def test_an_end_from_outside_is_a_line(
    error: BaseException,
    code: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    def ended(options: object, rest: object) -> int:
        raise error

    monkeypatch.setattr("facemake.cli.models._list", ended)
    assert cli.main(["models", "list"]) == code
    assert capsys.readouterr().err.startswith(f"facemake: {said}")


def test_an_interruption_is_a_line_also_where_a_library_makes_an_error_of_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """NumPy does, while it is imported."""

    def imported(options: object, rest: object) -> int:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt as error:
            raise ImportError("numpy") from error
        return 0

    def goes_without(options: object, rest: object) -> int:
        try:
            return imported(options, rest)
        except ImportError:
            interrupts.insist()
            return 0

    before = signal.getsignal(signal.SIGINT)
    for command in (imported, goes_without):
        monkeypatch.setattr("facemake.cli.models._list", command)
        assert cli.main(["models", "list"]) == 130
        assert capsys.readouterr().err == "facemake: interrupted\n"
        assert signal.getsignal(signal.SIGINT) is before


def test_an_interruption_before_a_command_can_say_so_is_a_line_too():
    code = "from facemake.runtime import early; early.end_at_once()"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport signal\nsignal.raise_signal(signal.SIGINT)"],
        env={**os.environ, "PYTHONPATH": str(LIBRARY.parent)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (130, "facemake: interrupted\n")


def test_a_bug_is_not_hidden(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("facemake.cli.models._list", lambda options, rest: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        cli.main(["models", "list"])


def test_names_that_cannot_be_encoded_are_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / os.fsdecode(b"\xff.txt")).touch()
    (tmp_path / "in" / "a.mp4").touch()
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, "ascii"))
    assert cli.main(["init", str(tmp_path / "in"), "-d", str(tmp_path / "s")]) == 0
    sys.stdout.flush()
    assert rb"\udcff.txt: no video and no picture" in raw.getvalue()


@pytest.mark.parametrize(
    ("words", "files"),
    [
        (["b", "--drop-repeated"], ["b"]),
        (["--drop-repeated", "b", "c"], ["b", "c"]),
        (["b", "--drop-repeated", "c", "d"], ["b", "c", "d"]),
        (["b", "--json", "c", "--force", "d"], ["b", "c", "d"]),
    ],
)
def test_an_option_may_stand_amid_a_list(words: list[str], files: list[str]):
    options, rest = cli.parser().parse_known_args(["dataset", "merge", "a", *words])
    assert (options.output, options.files, rest) == (Path("a"), list(map(Path, files)), [])


def test_what_no_list_takes_is_still_refused(capsys: pytest.CaptureFixture[str]):
    options, rest = cli.parser().parse_known_args(["qc", "anna", "--force", "berta"])
    assert (options.samples, rest) == (["anna", "berta"], [])
    for words in (["qc", "anna", "--forse", "berta"], ["status", "anna"], ["run", "-d"]):
        with pytest.raises(SystemExit) as ended:
            cli.main(words)
        assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "no such argument: --forse berta" in said and "no such argument: anna" in said


@pytest.mark.parametrize(
    ("words", "samples", "tables"),
    [
        (["--tables", "fit", "anna"], ["anna"], ["fit"]),
        (["anna", "-t", "fit", "aus", "berta", "fit"], ["anna", "berta", "fit"], ["fit", "aus"]),
        (["--tab", "aus", "anna", "-d", ".", "berta"], ["anna", "berta"], ["aus"]),
        (["--tables", "fit", "berta", "--tables", "aus", "anna"], ["berta", "anna"], ["aus"]),
    ],
)
def test_what_is_no_table_is_a_sample(words: list[str], samples: list[str], tables: list[str]):
    options, rest = cli.parser().parse_known_args(["export", "csv", *words])
    assert (options.samples, options.tables, rest) == (samples, tables, [])
    options, _ = cli.parser().parse_known_args(["export", "bids", "--tables", "aus", "fit", "out"])
    assert (options.output, options.tables) == (Path("out"), ["aus", "fit"])


@pytest.mark.parametrize(
    ("words", "meant"),
    [(["runn"], "run"), (["dataset", "merg"], "merge"), (["completion", "bsh"], "bash")],
)
def test_a_word_that_is_mistyped_is_told_the_nearest(
    words: list[str], meant: str, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    assert ended.value.code == 2
    assert capsys.readouterr().err.endswith(f"did you mean {meant}?\n")
