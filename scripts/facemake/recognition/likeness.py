"""How alike the faces of pictures are."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facemake.choosing.pictures import Looked
from facemake.recognition.recognizer import Recognizer


@dataclass(frozen=True)
class Likeness:
    """Faces and their similarities.

    Attributes:
        names: of each face: its picture's, with the number of the face where there are several.
        boxes: (n, 4) float32 x, y, w, h px.
        vectors: (n, D) float32 of L2 norm 1.
        similarities: (n, n) float64, cosines.
    """

    names: list[str]
    boxes: NDArray[np.float32]
    vectors: NDArray[np.float32]
    similarities: NDArray[np.float64]


def likeness(
    recognizer: Recognizer,
    pictures: Iterable[Looked],
    say: Callable[[str], None],
    flip: bool = False,
) -> Likeness:
    """Find and embed the faces of pictures, one picture at a time.

    Args:
        recognizer: finds and embeds.
        pictures: any number of them.
        say: is told of pictures without a face, and of faces that have no vector.
        flip: the mean of each face and its mirror image.
    """
    names: list[str] = []
    boxes: list[NDArray[np.float32]] = []
    vectors: list[NDArray[np.float32]] = []
    for picture in pictures:
        (faces,) = recognizer.find([picture.rgb])
        if not faces:
            say(f"{picture.name}: no face")
        for i, face in enumerate(faces):
            name = picture.name if len(faces) == 1 else f"{picture.name}, face {i}"
            try:
                (vector,) = recognizer.embed(picture.rgb, [face.face], flip)
            except ValueError as error:
                say(f"{name}: {error}")
                continue
            names.append(name)
            boxes.append(face.bbox)
            vectors.append(vector)
    if not vectors:
        nothing = np.zeros((0, 0))
        return Likeness([], np.zeros((0, 4), np.float32), nothing.astype(np.float32), nothing)
    wide = np.array(vectors, np.float64)
    return Likeness(names, np.array(boxes), np.array(vectors), wide @ wide.T)
