"""A terminal without what libraries in C++ write to it by themselves."""

from __future__ import annotations

import io
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from facemake.errors import FacemakeError


@contextmanager
def quiet_libraries() -> Iterator[TextIO]:
    """Keep what is written to the descriptor 2 from the terminal, unless something breaks.

    Yields:
        Where words of our own go: the standard error as it was.
    """
    sys.stderr.flush()
    before = os.dup(2)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        own = _own(before)
        try:
            yield own
        except (FacemakeError, KeyboardInterrupt):
            raise
        except BaseException:
            said.seek(0)
            os.write(before, said.read())
            raise
        finally:
            own.flush()
            sys.stderr.flush()
            os.dup2(before, 2)
            os.close(before)


def _own(before: int) -> TextIO:
    try:
        if sys.stderr.fileno() == 2:
            encoding = sys.stderr.encoding
            return open(before, "w", 1, encoding, "backslashreplace", closefd=False)
    except (io.UnsupportedOperation, AttributeError):
        pass
    return sys.stderr
