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


class CropStatus(StrEnum):
    """What a row of a table of crops says, besides the words of `SampleStatus` for an input."""

    OK = "ok"
    NO_EYES = "no_eyes"
    """A face whose eyes were not found: its crop is the square around its box."""
    NO_LANDMARKS = "no_landmarks"
    """A face without the landmarks that its template lies on: likewise."""
    OUTSIDE = "outside"
    """No pixel of the face's box is in the picture: it has no crop."""
    NO_FACE = "no_face"
    DECODE_ERROR = "decode_error"


ENGINE_FAILED = "3DI failed"
"""What the reason of a sample begins with that 3DI could not do (`threedi.failures: mark`)."""

FAILED = "failed_"
"""What follows a sample's name, and a `_`, in the name of the file that says why."""

DECODABLE = frozenset({SampleStatus.OK, SampleStatus.NO_FACE, SampleStatus.TRUNCATED})
"""A sample of one of these statuses has frames: the later stages decode it."""
