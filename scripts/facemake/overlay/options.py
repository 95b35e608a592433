"""What may be drawn, and how faces may be hidden."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Self

LAYERS: Mapping[str, str] = MappingProxyType(
    {
        "boxes": "the detector's boxes",
        "ids": "the track's number, and its status if that is not ok",
        "landmarks": "the landmark network's points",
        "mesh": "the fitted surface as lines",
        "axes": "the head's axes: red to the picture's right, green down, blue out of the face",
        "gaze": "each eye's direction, where it was measured",
        "aus": "bars of the action units, 0 to 5, of the main face or up to four chosen tracks",
        "frame": "the frame's number and time",
    }
)
"""Layer -> what it is, in the order in which they are drawn."""

USUAL = ("boxes", "ids", "landmarks", "axes", "gaze", "aus")
"""Drawn where nobody says what; nothing is where faces are hidden."""

HIDINGS: Mapping[str, str] = MappingProxyType(
    {
        "pixelate": "squares, six across the face",
        "blur": "a smooth blur, three colours across the face",
        "fill": "plain grey: nothing of the face is left",
        "mesh": "grey, with the fitted expression drawn on the model's mean face, not on their own",
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

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Self:
        """Of a config's section `overlay`: `draw` (null: the usual, or nothing) and `hide`."""
        draw, hide = settings["draw"], settings["hide"]
        if draw is None:
            draw = USUAL if hide is None else ()
        return cls(draw=frozenset(draw), hide=hide)

    @property
    def tables(self) -> tuple[str, ...]:
        """The stages' folders that are needed for it, the detections first."""
        posed = self.needs_mesh or bool(self.draw & {"axes", "gaze"})
        needs = {
            # 3DI-lite's heads are where their landmarks are
            "landmarks": posed or self.hide is not None or "landmarks" in self.draw,
            "fit": posed or "ids" in self.draw,
            "smooth": posed and self.pose == "smooth",
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
        """What was done, for the file's own comment; all that decides the pictures is in it."""
        drawn = ", ".join(name for name in LAYERS if name in self.draw) or "nothing"
        if self.draw and self.tracks is not None:
            drawn += f" of {_numbers(self.tracks)}"
        faces = self.hide or "as they are"
        if self.hide is not None and self.spare:
            faces += f", but {_numbers(self.spare)}"
        parts = [f"drawn: {drawn}", f"faces: {faces}"]
        if "smooth" in self.tables:
            parts.append("pose: smooth")
        if self.from_zero:
            parts.append("from 0 s")
        if self.audio:
            parts.append("with sound")
        return "; ".join(parts)


def _numbers(tracks: frozenset[int]) -> str:
    return f"track{'s' * (len(tracks) != 1)} {', '.join(map(str, sorted(tracks)))}"
