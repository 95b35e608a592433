"""The line that a person who waits looks at."""

from __future__ import annotations

import io
import sys

import pytest

from facemake.runtime import screen
from facemake.runtime.screen import Line, Screen, duration


class Terminal(io.StringIO):
    """A stream that says it is one."""

    def isatty(self) -> bool:
        return True


def test_a_line_is_written_over_and_what_stays_is_put_before_it():
    stream = io.StringIO()
    screen = Screen(stream, in_place=True)
    screen.show("one")
    screen.show("two")
    screen.say("failed")
    screen.clear()
    screen.clear()
    clear = "\r\x1b[K"
    assert stream.getvalue() == f"one{clear}two{clear}failed\ntwo{clear}"


def test_where_no_terminal_is_there_are_lines():
    stream = io.StringIO()
    screen = Screen(stream, in_place=False)
    screen.show("one")
    screen.say("two")
    screen.clear()
    assert stream.getvalue() == "one\ntwo\n"


def test_a_terminal_that_is_gone_harms_nothing():
    stream = io.StringIO()
    stream.close()
    Screen(stream, in_place=True).say("one")


def test_a_process_without_standard_error_says_nothing_and_goes_on(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(sys, "stderr", None)
    with Line(0.0) as line:
        line.tell(lambda: "one")
        line.say("two")
    with Screen(None, in_place=True) as screen:
        screen.show("three")


def test_a_line_is_cut_to_the_width_of_its_terminal(monkeypatch: pytest.MonkeyPatch):
    """What does not fit would wrap, and only its last row would be written over."""
    stream = Terminal()
    Screen(stream).show("x" * 200)
    assert stream.getvalue() == "x" * 79


def test_an_error_does_not_stand_behind_a_line_that_is_written_over(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(screen, "_SECONDS_IN_PLACE", 0.0)
    stream = Terminal()
    with pytest.raises(ValueError, match="damaged"), Line(stream=stream) as line:
        line.tell(lambda: "3 of 9")
        raise ValueError("damaged")
    assert stream.getvalue() == "3 of 9\r\x1b[K"


def test_a_line_is_made_only_when_it_is_time_for_it():
    stream, made = io.StringIO(), []
    with Line(3600.0, stream) as line:
        line.tell(lambda: made.append("one") or "one")
    with Line(0.0, stream) as line:
        line.tell(lambda: "two")
    assert not made and stream.getvalue() == "two\n"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-1, "1 s"), (3, "3 s"), (600, "10 min"), (15000, "4 h 10 min"), (400000, "4 d 15 h")],
)
def test_durations_are_in_words(seconds: float, words: str):
    assert duration(seconds) == words
