"""Checks side by side, each in a thread of its own that nobody waits for longer than its limit."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from facemake.doctor.findings import Finding, fault, warning
from facemake.errors import FacemakeError

STUCK = 124
"""What `output_of` gives for the exit code of a program that did not end in time."""

SECONDS = 45.0
_SECONDS_OF_A_PROGRAM = 20.0


@dataclass
class Check:
    """One thing to look at.

    Attributes:
        what: its name.
        look: gives findings.
        limit: seconds that it may take.
    """

    what: str
    look: Callable[[], Iterable[Finding]]
    limit: float = SECONDS
    found: list[Finding] = field(default_factory=list)

    def run(self) -> None:
        """Look, whatever comes of it."""
        try:
            for finding in self.look():
                self.found.append(finding)
        except FacemakeError as error:
            self.found.append(fault(self.what, str(error), "see there"))
        except OSError as error:
            self.found.append(warning(self.what, f"cannot be looked at: {error}"))
        except Exception as error:
            self.found.append(
                fault(self.what, f"the check itself failed: {error!r}", "report this, as a bug")
            )


def all_of(checks: Sequence[Check]) -> Iterator[Finding]:
    """The findings of all checks in their order; a check that takes too long is given up."""
    began = time.monotonic()
    threads = [threading.Thread(target=check.run, daemon=True) for check in checks]
    for thread in threads:
        thread.start()
    for check, thread in zip(checks, threads, strict=True):
        thread.join(max(0.0, began + check.limit - time.monotonic()))
        late = thread.is_alive()
        yield from list(check.found)
        if late:
            yield warning(
                check.what,
                f"gave no answer in {check.limit:.0f} s",
                "a disk, a network or a program that it asks is slow or stuck: look at it by hand",
            )


def output_of(*command: str, env: dict[str, str] | None = None) -> tuple[int, str]:
    """Exit code and what a program said, both streams; 127 where it is not there.

    Of one that is stuck it is `STUCK`, and the last line says so.
    """
    try:
        done = subprocess.run(  # noqa: S603
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=_SECONDS_OF_A_PROGRAM,
            env={**os.environ, **(env or {})},
        )
    except subprocess.TimeoutExpired as error:
        said = (error.stdout or b"").decode("utf-8", "replace")  # bytes, whatever was asked for
        return STUCK, f"{said.strip()}\nno answer in {_SECONDS_OF_A_PROGRAM:.0f} s".strip()
    except OSError as error:
        return 127, error.strerror or str(error)
    return done.returncode, done.stdout.strip()
