"""From where on something is worth a look, and where each limit comes from.

Speeds, jitter and errors are held against three times the largest value on three recordings of two
people, 616 frames with a face of 24 to 30 frames a second, among them one who grimaces, turns and
covers her face with a hand: what is beyond has not been seen in a sound recording here. Three times
is a choice; the values are measured (`benchmarks/quality.py` prints them for other recordings).
"""

from __future__ import annotations

from facemake.dataset.quality import MAX_ANGLE_DEGREES

BEYOND = 3.0
"""Times the largest value that was measured."""

STEP = BEYOND * 1.37
"""Face widths a second that the box's middle moves from one frame to the next."""

TURN = BEYOND * 170.0
"""Degrees a second that an angle of the head changes from one frame to the next."""

JITTER = BEYOND * 1.83
"""Degrees: the median over a second of half the second difference of an angle of the head, the
largest of the three angles. Half a second difference is how far a frame lies from the middle of its
neighbours; of steady movements little is left, so it is what shakes."""

ERROR = BEYOND * 0.0177
"""Reprojection error of the fit over the width of the face's box."""

STEEP = MAX_ANGLE_DEGREES
"""Degrees: the training set takes no face that is turned further."""

IMPOSSIBLE = 90.0
"""Degrees: further than that a camera sees no face."""

GAP = 1.9
"""Times the median step between frames: at least one frame is missing (twice, but for rounding)."""

SOUND_EARLY = 0.090
SOUND_LATE = 0.185
"""Seconds that sound may be before or behind its picture until viewers do not accept it any more
(ITU-R BT.1359-1, 1998); shorter ones are also what encoders of sound put before and after it."""

SEEN = 0.5
"""Share of the frames with the main face: half."""

ROBUST_Z = 3.5
"""Of the modified z-score 0.6745 (x - median) / MAD (Iglewicz and Hoaglin, How to Detect and
Handle Outliers, 1993, who recommend it)."""

LEAST_RATIO = 1.1
"""Of numbers whose ratio counts: what is nearer to the median than a tenth of it is not far from
the rest, however alike the rest is. A choice, as `LEAST_AWAY` is."""

LEAST_AWAY = {"seen": 0.05, "confidence": 0.05, "pitch": 5.0, "yaw": 5.0, "roll": 5.0}
"""The same of numbers whose difference counts."""

LEAST_SAMPLES = 10
"""With fewer there is no rest of the set to be far from."""

APART = 5
"""Frames: findings of a kind that are no further apart are one."""
