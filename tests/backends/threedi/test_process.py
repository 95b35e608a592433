"""A child process under watch: what it says, and that nothing of it is left."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from facemake.backends.threedi.runtimes import Ended, RunError, TimeLimitError, process
from facemake.backends.threedi.runtimes.process import LINES_KEPT, Listener, pieces, run_child

MARK = "FACEMAKE_TEST_CHILD"
"""A variable by which what a test has started is known."""


@pytest.fixture
def mark() -> Iterator[str]:
    """A word in the environment of what a test starts; what is left of it in the end is killed."""
    word = f"{os.getpid()}.{time.monotonic_ns()}"
    yield word
    for one in marked(word):
        one.kill()


def marked(word: str) -> list[psutil.Process]:
    """The processes with this mark that have not ended."""
    found = []
    for one in psutil.process_iter():
        try:
            if one.environ().get(MARK) == word and one.status() != psutil.STATUS_ZOMBIE:
                found.append(one)
        except psutil.Error:
            continue
    return found


def gone(word: str, seconds: float = 60.0) -> bool:
    until = time.monotonic() + seconds
    while marked(word):
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def python(
    code: str, mark: str = "", limit: float | None = 20.0, more: dict[str, str] | None = None
) -> Ended:
    """Run a few lines of Python as the child."""
    return run_child(
        [sys.executable, "-S", "-E", "-c", code],
        name="a program",
        folder=Path("/"),
        environment={"PATH": os.environ["PATH"], MARK: mark, **(more or {})},
        limit=limit,
    )


# --- how it ends ---------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [0, 1, 3, 255])
def test_exit_codes(code: int) -> None:
    ended = python(f"print('words'); raise SystemExit({code})")
    assert (ended.code, ended.said) == (code, ["words"])
    assert ended.command[:1] == [sys.executable]


def test_a_signal() -> None:
    assert python("import os; os.kill(os.getpid(), 11)").code == -11


def test_the_environment_is_all_that_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OF_THE_PARENT", "1")
    ended = python("import os; print(sorted(os.environ), os.getcwd())", more={"ONE": "1"})
    (said,) = ended.said
    assert "'ONE'" in said and "OF_THE_PARENT" not in said and said.endswith(" /")


def test_standard_input_is_closed() -> None:
    assert python("import sys; print(repr(sys.stdin.read()))").said == ["''"]


def test_what_cannot_be_started(tmp_path: Path) -> None:
    def start(command: Path, folder: Path = tmp_path) -> str:
        with pytest.raises(RunError) as error:
            run_child([str(command)], name="x", folder=folder, environment={}, limit=None)
        return str(error.value)

    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n")
    assert start(script).startswith(f"{script} cannot be started: Permission denied; is it exec")
    script.chmod(0o755)
    said = start(script, tmp_path / "none")
    assert "cannot be started: No such file or directory" in said
    other = tmp_path / "of another machine"
    # an ELF file of a machine that this is not
    other.write_bytes(b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\x16\x00" + bytes(60))
    other.chmod(0o755)
    assert "Exec format error; is it executable, and made for this machine?" in start(other)
    no_interpreter = tmp_path / "without interpreter"
    no_interpreter.write_text("#!/no/such/python\n")
    no_interpreter.chmod(0o755)
    assert "No such file or directory" in start(no_interpreter)
    assert "No such file or directory" in start(tmp_path / "nothing")
    assert "Permission denied" in start(tmp_path)


# --- what it says --------------------------------------------------------------------------------


def lines(*blocks: bytes) -> list[str]:
    return list(pieces(blocks))


def test_lines_and_what_is_written_over() -> None:
    assert lines(b"one\ntwo\r\nthree\rfour") == ["one\n", "two\n", "three\r", "four"]
    assert lines(b"a\n\nb") == ["a\n", "\n", "b"]
    assert lines(b"a\r\r\nb\r\r") == ["a\n", "b\r\r"]
    assert lines() == [""]


def test_blocks_do_not_matter() -> None:
    text = "eins\r\nzwei\rdrei\n\nvier ä\rfünf".encode()
    whole = lines(text)
    assert whole == ["eins\n", "zwei\r", "drei\n", "\n", "vier ä\r", "fünf"]
    for size in range(1, len(text)):
        assert lines(*(text[i : i + size] for i in range(0, len(text), size))) == whole


def test_a_line_without_end_does_not_grow() -> None:
    found = lines(*[b"x" * 1000] * 1000)
    assert sum(map(len, found)) == 1_000_000
    assert max(map(len, found)) <= 5 * process._LONGEST_LINE


def test_what_is_said_is_in_the_log_and_its_end_is_kept(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO, "facemake"):
        ended = python(f"for i in range({LINES_KEPT + 5}): print('line', i)")
    said = [f"line {i}" for i in range(LINES_KEPT + 5)]
    assert ended.said == said[5:]
    assert [r.getMessage() for r in caplog.records] == [f"a program: {line}" for line in said]


def test_both_streams_are_heard() -> None:
    code = "import sys; print('out', flush=True); print('err', file=sys.stderr)"
    assert python(code).said == ["out", "err"]


def test_a_megabyte_without_an_end() -> None:
    began = time.monotonic()
    ended = python("import sys; sys.stderr.write('x' * (1 << 20)); raise SystemExit(3)")
    assert ended.code == 3 and set("".join(ended.said)) == {"x"}
    assert len(ended.said) <= LINES_KEPT and max(map(len, ended.said)) <= 2000
    assert time.monotonic() - began < 20


def test_megabytes_of_lines_do_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "facemake"):
        ended = python("print('told to be loud\\n' * (1 << 17)); print('the last word')")
    assert ended.said[-1] == "the last word" and len(ended.said) == LINES_KEPT
    assert len(caplog.records) == process._MOST_LOGGED
    assert caplog.records[-1].getMessage() == "a program: says more than the log keeps"


def test_what_is_no_utf8() -> None:
    code = "import sys; sys.stdout.buffer.write(b'caf\\xe9 \\x00\\xff\\n'); print('after')"
    assert python(code).said == ["caf\ufffd \x00\ufffd", "after"]


PROGRESS = {
    "3DI's": "for i in range(900): print(f'Processing frame #{i}/900', end='\\r', flush=True)",
    "3DI-lite's": "for i in range(900): print(f'\\rProcessing frame {i}/900', end='', flush=True)",
    "lines": "for i in range(900): print(f'Processing frame# {i}', flush=True)",
    "bars": "for i in range(900): print(f'{i}%|#  | {i}/900', end='\\r', flush=True)\nprint(' ')",
}


@pytest.mark.parametrize("kind", PROGRESS)
def test_progress_does_not_flood_the_log(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "facemake"):
        ended = python(f"print('before')\n{PROGRESS[kind]}\nprint('\\nafter')")
    assert ended.said == ["before", "after"]
    assert len(caplog.records) == 3  # one of the progress


@pytest.mark.parametrize("end", ["\\r", "", "\\n"])
def test_an_error_in_a_line_of_progress_is_heard(end: str) -> None:
    """Programs write their progress without an end of the line, and then fail."""
    code = f"""
import sys
for i in range(9):
    print(f"\\rProcessing frame #{{i}}/9", end="{end}", flush=True)
sys.stderr.write("terminate called after throwing an instance of 'cv::Exception'\\n")
sys.stderr.write("Processing frame 9: out of memory\\n")
"""
    said = python(code).said
    assert len(said) == 2 and said[1] == "Processing frame 9: out of memory"
    assert "terminate called after throwing an instance of 'cv::Exception'" in said[0]


def test_progress_is_logged_now_and_then(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener = Listener("x")
    monkeypatch.setattr(process, "_SECONDS_BETWEEN_LOOKS", 0.0)
    with caplog.at_level(logging.INFO, "facemake"):
        for i in range(3):
            listener(f"Processing frame #{i}/3\r")
    assert len(caplog.records) == 3 and not listener.last
    assert process.last_words(listener.last) == "  nothing"


# --- the time limit ------------------------------------------------------------------------------

FORKS = """
import os, sys, time
if os.fork() == 0:
    if os.fork() == 0:
        time.sleep(600)
    time.sleep(600)
print("the last word", flush=True)
time.sleep(600)
"""


def test_the_time_limit_ends_the_whole_group(mark: str) -> None:
    began = time.monotonic()
    with pytest.raises(TimeLimitError, match=r"a program was ended after 3 s") as error:
        python(FORKS, mark, limit=3)
    assert time.monotonic() - began < 60
    assert "threedi.time_limit" in str(error.value)
    assert str(error.value).endswith("It said last:\n  the last word")
    assert gone(mark)


def test_what_a_program_leaves_behind_ends_with_it(mark: str) -> None:
    """It would hold the pipe open, and the GPU's memory."""
    code = "import os, time\nif os.fork() == 0: time.sleep(600)\nprint('done')"
    began = time.monotonic()
    ended = python(code, mark)
    assert (ended.code, ended.said) == (0, ["done"])
    assert time.monotonic() - began < 60
    assert gone(mark)


def test_a_daemon_that_holds_the_pipe_does_not_hold_us(
    mark: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    monkeypatch.setattr(process, "_SECONDS_TO_LISTEN", 0.2)
    heard = tmp_path / "heard"
    listen = process.Listener.__call__

    def and_note(listener: process.Listener, piece: str) -> None:
        listen(listener, piece)
        heard.touch()

    monkeypatch.setattr(process.Listener, "__call__", and_note)
    code = f"""
import os, time
print('done', flush=True)
while not os.path.exists({str(heard)!r}):
    time.sleep(0.01)
if os.fork() == 0:
    os.setsid()
    for _ in range(6000):
        time.sleep(0.1)
        print('still here', flush=True)
    os._exit(0)
"""
    began = time.monotonic()
    ended = python(code, mark)
    assert ended.code == 0 and ended.said[0] == "done"
    assert time.monotonic() - began < 60
    time.sleep(0.3)  # the thread that listened finds the pipe closed, and says nothing of it
    assert not [w for w in recwarn if "Thread" in str(w.category)]


def test_an_interrupt_ends_it(mark: str) -> None:
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 0.4)
    try:
        with pytest.raises(KeyboardInterrupt):
            python(FORKS, mark, limit=None)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert gone(mark)


PARENT = """
import os, sys
from pathlib import Path
from facemake.backends.threedi.runtimes.process import run_child
{first}
code = "import time; print('here', flush=True); time.sleep(600)" if {alone} else {forks!r}
run_child([sys.executable, "-S", "-c", code], name="x", folder=Path("/"),
          environment=dict(os.environ), limit=None)
"""


def start_parent(mark: str, alone: bool, first: str = "") -> subprocess.Popen[bytes]:
    """A process that runs a child; both are there."""
    code = PARENT.format(first=first, alone=alone, forks=FORKS)
    parent = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, MARK: mark})
    until = time.monotonic() + 120
    wanted = 2 if alone else 4
    while len(marked(mark)) < wanted:
        assert time.monotonic() < until and parent.poll() is None
        time.sleep(0.02)
    return parent


def test_it_ends_with_a_parent_that_is_killed(mark: str) -> None:
    parent = start_parent(mark, alone=True)
    parent.kill()
    parent.wait()
    assert gone(mark)


def test_all_of_it_ends_with_the_run(mark: str) -> None:
    """A job looks whether its run is still there; its programs' own children go with it."""
    run = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"])
    first = f"""
import psutil
from facemake.runtime import parent
parent._SECONDS_BETWEEN_LOOKS = 0.05
parent._the_run = lambda: psutil.Process({run.pid})
parent.end_with_parent()
"""
    parent = start_parent(mark, alone=False, first=first)
    run.kill()
    run.wait()
    assert parent.wait(120) == 143
    assert gone(mark)


def test_a_parent_that_is_gone_before_the_child_asks(
    mark: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The signal of a parent's death is asked for after the fork: it may be dead by then."""
    monkeypatch.setattr(process.os, "getppid", lambda: 1)
    ended = python("print('never')", mark)
    assert (ended.code, ended.said) == (-signal.SIGKILL, [])
