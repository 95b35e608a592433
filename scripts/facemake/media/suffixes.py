"""What a file's suffix tells of it, before anybody opens it."""

from __future__ import annotations

import mimetypes

from facemake.media.files import PICTURE_SUFFIXES

# What Python's own table of types may lack.
_VIDEO_SUFFIXES = frozenset(
    {".3gp", ".asf", ".flv", ".m2ts", ".m4v", ".mjpeg", ".mjpg", ".mkv", ".mts", ".mxf", ".ogv"}
    | {".ts", ".vob", ".webm", ".wmv"}
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


def is_audio(suffix: str) -> bool:
    """Whether a suffix, in lower case, is one of sound, in a container that begins as videos do."""
    return suffix in _AUDIO_SUFFIXES
