"""What a file's suffix tells of it, and where that says nothing, its first bytes."""

from __future__ import annotations

import mimetypes
from pathlib import Path

from facemake.media.files import PICTURE_SUFFIXES, begins_as_video, head
from facemake.media.frame import Kind, MediaError

# What Python's own table of types may lack.
_VIDEO_SUFFIXES = frozenset(
    {".264", ".265", ".3gp", ".asf", ".flv", ".h264", ".h265", ".hevc", ".m2ts", ".m4v", ".mjpeg"}
    | {".mjpg", ".mkv", ".mts", ".mxf", ".ogv", ".ts", ".vob", ".webm", ".wmv"}
)
# In containers that begin as videos do.
_AUDIO_SUFFIXES = frozenset({".m4a", ".m4b", ".oga", ".ogg", ".opus", ".mka", ".wma", ".aac"})


def is_media(suffix: str) -> bool:
    """Whether a suffix, in lower case, is one of pictures or videos."""
    return suffix in PICTURE_SUFFIXES or is_video(suffix)


def is_video(suffix: str) -> bool:
    """Whether a suffix, in lower case, is one of videos."""
    kind, _ = mimetypes.guess_type(f"x{suffix}", strict=False)
    return suffix in _VIDEO_SUFFIXES or (kind or "").startswith("video/")


def taken_for(path: Path) -> Kind | None:
    """What a file among others in a folder is taken for: `IMAGE`, `VIDEO` or neither.

    One whose name says so counts although it may be broken: then that is said of it.
    """
    suffix = path.suffix.lower()
    if suffix in PICTURE_SUFFIXES:
        return Kind.IMAGE
    if is_video(suffix):
        return Kind.VIDEO
    try:
        by_bytes = suffix not in _AUDIO_SUFFIXES and begins_as_video(head(path))
    except (MediaError, OSError):
        return None
    return Kind.VIDEO if by_bytes else None
