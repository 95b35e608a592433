"""What a server says of what happened inside."""

from __future__ import annotations

from pathlib import Path

import pytest

from facemake.server import words


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("/srv/x/input_file_rects.3DI is empty", "input_file_rects.3DI is empty"),
        ("no file '/opt/3DI/configs/a.txt': see /var/log/x", "no file 'a.txt': see x"),
        ("--in=/a/b -I/usr/include", "--in=b -Iinclude"),
        (
            "see https://faces.dmi.unibas.ch/bfm/ for it",
            "see https://faces.dmi.unibas.ch/bfm/ for it",
        ),
        ("30/120 frames, mm/px, and/or", "30/120 frames, mm/px, and/or"),
        ("in /my data/sessions/ab/input_file.mp4", "in input_file.mp4"),
        ("the folder /my data, x", "the folder my data, x"),
        ("a\x1b[31mred\x00", "a [31mred"),
    ],
)
def test_paths_become_names(text: str, said: str):
    assert words.without_paths(text, ["/my data"]) == said


def test_the_end_is_what_is_said():
    said = words.without_paths("x" * 5000 + " the end")
    assert said.startswith("… x") and said.endswith(" the end") and len(said) < 2010


def test_the_last_line_of_a_log(tmp_path: Path):
    path = tmp_path / "log"
    assert words.log_end(path) == ""
    path.write_bytes(b"x" * 100_000 + b"\nfirst\n 10%\r 20%\n\n \xff\n  \n")
    assert len(words.log_end(path)) < 20_000
    assert words.last_line(words.log_end(path)) == "\ufffd"
    assert words.last_line("a\n 10%\r 20%\n\n") == "20%"
    assert words.last_line("") == ""


@pytest.mark.parametrize(
    ("line", "done"),
    [
        ("fit x: 30/120 frames, 3 frames/s", 0.25),
        ("9/0 frames", None),
        ("Processing frame #3/12", 0.25),
        ("12/10 frames", 1.0),
        ("", None),
    ],
)
def test_how_much_is_done(line: str, done: float | None):
    assert words.fraction(line) == done
