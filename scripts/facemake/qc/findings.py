"""A finding: what, where, how much, beyond which limit, and why it matters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

KINDS: Mapping[str, tuple[int, str]] = MappingProxyType(
    {
        "identity": (3, "two faces of one track do not look like the same person"),
        "duplicate": (3, "the recording is the same as another sample's"),
        "time": (3, "timestamps do not increase: speeds and smoothing are wrong there"),
        "impossible": (3, "the head is turned further than a camera sees a face"),
        "unusable": (3, "the sample cannot be read or shows no face"),
        "gap": (2, "frames are missing between two timestamps"),
        "truncated": (2, "the recording breaks off: what came after is missing"),
        "damaged": (2, "frames cannot be decoded, and those after them may show damage"),
        "sound": (2, "sound and picture do not start or end together"),
        "jump": (2, "the face moves or turns faster than in any good recording"),
        "jitter": (2, "the head's angles jitter from frame to frame"),
        "error": (2, "the face model does not lie on the landmarks"),
        "confidence": (2, "the landmark network is not sure, or the fit did not converge"),
        "absent": (2, "the main face is visible in less than half of the frames"),
        "unlike": (2, "the sample is far from the rest of the set"),
        "pose": (1, "the head is turned so far that landmarks are guessed"),
    }
)
"""Kind -> severity and why. 3: numbers are wrong or of somebody else; 2: they are doubtful; 1: know
that it is there."""


@dataclass(frozen=True)
class Finding:
    """Something to look at.

    Attributes:
        kind: of `KINDS`.
        sample: its name.
        measure: what was measured, with its unit.
        value: the worst of it.
        limit: from where on it is a finding; NaN where nothing is compared.
        why: in words, about this one.
        track: which face; None: it is about the sample.
        first, last: frames; None: the whole sample.
        start, end: s of these frames; None: they have no time.
        times: how far beyond the limit, 1 at the limit.
    """

    kind: str
    sample: str
    measure: str
    value: float
    limit: float
    why: str
    track: int | None = None
    first: int | None = None
    last: int | None = None
    start: float | None = None
    end: float | None = None
    times: float = 1.0

    @property
    def severity(self) -> int:
        """3, 2 or 1."""
        return KINDS[self.kind][0]

    @property
    def order(self) -> tuple[int, float, str, int, int]:
        """The worst first."""
        return -self.severity, -self.times, self.sample, self.track or 0, self.first or 0
