"""The closed lists of statuses. Every table and the manifest use these words and no others."""

from enum import StrEnum


class FrameStatus(StrEnum):
    """What a row of a frame table says about its frame and track."""

    OK = "ok"
    NO_FACE = "no_face"
    LOST = "lost"
    """Inside a track, not seen in this frame."""
    LOW_CONFIDENCE = "low_confidence"
    NOT_CONVERGED = "not_converged"
    DECODE_ERROR = "decode_error"


class SampleStatus(StrEnum):
    """What the probe table and the manifest say about a sample; always with a reason in words."""

    OK = "ok"
    NO_FACE = "no_face"
    UNREADABLE = "unreadable"
    TRUNCATED = "truncated"
    NO_VIDEO_STREAM = "no_video_stream"
    NO_IMAGES = "no_images"
    NO_PERMISSION = "no_permission"
    EXCLUDED = "excluded"


ENGINE_FAILED = "3DI failed"
"""What the reason of a sample begins with that 3DI could not do (`threedi.failures: mark`)."""

FAILED = "failed_"
"""What follows a sample's name, and a `_`, in the name of the file that says why."""

DECODABLE = frozenset({SampleStatus.OK, SampleStatus.NO_FACE, SampleStatus.TRUNCATED})
"""A sample of one of these statuses has frames: the later stages decode it."""
