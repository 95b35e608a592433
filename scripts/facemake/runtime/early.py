"""What a command does first: until it can say how it ended, an interruption ends it by a line.

It imports nothing that takes long, so that there is little before it.
"""

import os
import signal

INTERRUPTED = 130


def end(number: int, frame: object) -> None:
    """End the process, as a handler of signals."""
    try:
        os.write(2, b"facemake: interrupted\n")
    finally:
        os._exit(INTERRUPTED)


def end_at_once() -> None:
    """Have an interruption end this process, until `facemake.runtime.interrupts.listen`."""
    # who starts a process in the background has it ignore the signal
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, end)
