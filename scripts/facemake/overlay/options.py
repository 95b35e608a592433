"""What may be drawn, and how faces may be hidden."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

LAYERS: Mapping[str, str] = MappingProxyType(
    {
        "boxes": "the detector's boxes",
        "ids": "the track's number, and its status where that is not ok",
        "landmarks": "the landmark network's points",
        "mesh": "the fitted surface as lines",
        "axes": "the head's axes: red to its image-right, green down, blue out of the face",
        "gaze": "each eye's direction, where it was measured",
        "aus": "bars of the action units, 0 to 5, of the main face or of up to four chosen tracks",
        "frame": "the frame's number and time",
    }
)
"""Layer -> what it is, in the order in which they are drawn."""

USUAL = ("boxes", "ids", "landmarks", "axes", "gaze", "aus")
"""Drawn where nobody says what; nothing is where faces are hidden."""

HIDINGS: Mapping[str, str] = MappingProxyType(
    {
        "pixelate": "squares, six across the face",
        "blur": "smooth, three colours across the face",
        "fill": "grey: nothing of the face is left",
        "mesh": "grey, and on it the fitted expression on the model's mean face, not their own",
    }
)
"""How faces are hidden -> what is seen in their place."""

POSES = ("fit", "smooth")
"""Tables that pose and expression may be of."""


@dataclass(frozen=True)
class Options:
    """What becomes of the frames of a sample.

    Attributes:
        draw: of `LAYERS`.
        tracks: that are drawn; None: all.
        hide: of `HIDINGS`; None: faces are seen.
        spare: tracks that are not hidden.
        frames: the first and the last that are written; None: all.
        pose: of `POSES`.
        audio: whether the recording's sound goes along, as it is.
        from_zero: whether stamps begin at 0 where the recording's own, or its range, do not.
        threads: of the encoder; with more than one the bytes are those of that number.
    """

    draw: frozenset[str] = frozenset(USUAL)
    tracks: frozenset[int] | None = None
    hide: str | None = None
    spare: frozenset[int] = frozenset()
    frames: tuple[int, int] | None = None
    pose: str = "fit"
    audio: bool = False
    from_zero: bool = False
    threads: int = 1

    @property
    def tables(self) -> tuple[str, ...]:
        """The stages' folders that are needed for it, the detections first."""
        needs = {
            "landmarks": self.hide is not None or bool(self.draw & {"landmarks", "gaze"}),
            "fit": bool(self.draw & {"axes", "mesh", "gaze", "ids"}) or self.hide == "mesh",
            "smooth": self.pose == "smooth",
            "identity": "mesh" in self.draw,
            "aus": "aus" in self.draw,
        }
        return ("detections", *(name for name, needed in needs.items() if needed))

    @property
    def needs_mesh(self) -> bool:
        """Whether the fitted surface is drawn."""
        return "mesh" in self.draw or self.hide == "mesh"

    @property
    def words(self) -> str:
        """What was done, for the file's own comment."""
        drawn = ", ".join(name for name in LAYERS if name in self.draw) or "nothing"
        return f"drawn: {drawn}; faces: {self.hide or 'as they are'}"
