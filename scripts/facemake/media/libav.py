"""What libav says where something goes wrong, and whose fault it is."""

from __future__ import annotations

import av.logging
from av.error import FFmpegError

from facemake.media.files import begins_as_video

if av.logging.get_level() is None:
    # PyAV throws libav's messages away; at this level none is printed, but an exception carries
    # the last error that was said, which is the only useful word ("moov atom not found").
    av.logging.set_level(av.logging.PANIC)


def error_count() -> int:
    """How many errors libav has spoken of so far, in this process."""
    return av.logging.get_last_error()[0]


def last_error() -> str:
    """The latest of them; "" where there was none."""
    last = av.logging.get_last_error()[1]
    return last[2] if last else ""


def raise_if_ours(error: FFmpegError) -> None:
    """Raises where the machine is to blame and not the data.

    libav says "cannot allocate memory" of many a damaged size too: what decides is whether there
    is memory indeed (asked for, not touched).
    """
    if isinstance(error, MemoryError):
        bytearray(256 * 2**20)


def said(error: FFmpegError) -> str:
    """What libav said last, or the name of the error."""
    log: tuple[object, ...] | None = error.log  # (level, who, message): PyAV's stub errs
    return str(log[-1] if log else error.strerror or "").strip().rstrip(".")


def cannot_open(error: FFmpegError, start: bytes) -> str:
    """Why a file cannot be opened, and the cure, by its first bytes."""
    words = said(error)
    if not begins_as_video(start):
        return f"is not a video, whatever its name says ({words})"
    if "moov atom not found" in words:
        return (
            "is an MP4 or MOV without its table of contents (moov): the copy or the recording "
            "was cut short. Copy it again; of an original, a repair tool may save it"
        )
    return f"cannot be read ({words}): copy it again from where it came"
