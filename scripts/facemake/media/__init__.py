"""Recordings and pictures as frames: everything that reads pixels goes through this package.

It belongs to the kernel floor and imports no stage and no backend. A sample is opened with
`open_media` (all its frames, in presentation order) or read with `read_frames` (a few chosen
ones); both give the same `Frame`s with the same pixels. What is wrong with real data is a
`MediaError`, with the status and the reason that the tables carry; a bug still raises.
"""

from facemake.media.files import classify, content_files, natural_key
from facemake.media.frame import Frame, Kind, Media, MediaError, Orientation
from facemake.media.reading import open_media, read_frames
from facemake.media.video import VideoMedia

__all__ = [
    "Frame",
    "Kind",
    "Media",
    "MediaError",
    "Orientation",
    "VideoMedia",
    "classify",
    "content_files",
    "natural_key",
    "open_media",
    "read_frames",
]
