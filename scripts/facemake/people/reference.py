"""A person by pictures of them, as a vector to compare with those of a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from facemake.backends.detect import DETECTORS
from facemake.backends.embed import EMBEDDERS
from facemake.backends.embed.vectors import unit
from facemake.errors import FacemakeError
from facemake.media import MediaError
from facemake.media.images import read_picture
from facemake.people.looks import Maker
from facemake.provenance import Recipe
from facemake.recognition.recognizer import FoundFace, Recognizer
from facemake.stages.embed import embedder_of

DEFAULT_DETECTOR = "mediapipe"


class Reference(NamedTuple):
    """Who is looked for.

    Attributes:
        vector: (D,) of L2 norm 1, the mean of the faces.
        faces: the face of each picture.
    """

    vector: NDArray[np.float32]
    faces: list[FoundFace]


def recognizer_of(maker: Maker, detector: str | None = None) -> Recognizer:
    """What finds faces, and embeds them as a dataset's were.

    Computes on the CPU, whatever the dataset's device: vectors differ in their last bits alone.

    Args:
        maker: of the dataset's vectors.
        detector: of `DETECTORS`; None: the dataset's own, or `DEFAULT_DETECTOR` where that was 3DI.

    Raises:
        ModelError: a model is not here, or is another one than the dataset's.
        FacemakeError: the embedder is none of this version of facemake.
    """
    if maker.embedder not in EMBEDDERS:
        raise FacemakeError(f"this version of facemake has no embedder {maker.embedder}")
    own = maker.detect["backend"]
    name = detector or (own if own in DETECTORS else DEFAULT_DETECTOR)
    row = DETECTORS[name]
    model = maker.detect["models"][0]["name"] if name == own else row.models[0]
    recipe = Recipe.from_dict(maker.recipe)
    settings = {key: value for key, value in recipe.settings.items() if key != "device"}
    embedder = embedder_of(Recipe.from_dict({**maker.recipe, "settings": settings}))
    try:
        finds = row.create(model, row.start_score, "cpu")
    except BaseException:
        embedder.close()
        raise
    return Recognizer(finds, embedder, row.face_box, row.start_score, EMBEDDERS[maker.embedder])


def reference(
    pictures: Sequence[Path], chosen: Sequence[int], recognizer: Recognizer, flip: bool
) -> Reference:
    """The vector of the person of these pictures.

    Args:
        pictures: one or more of the same person.
        chosen: of each picture with several faces, in their order, which it is; from 0, by falling
            score.
        recognizer: finds and embeds.
        flip: as the dataset's vectors were made.

    Raises:
        FacemakeError: a picture cannot be read, shows no face, or shows several and none of them is
            chosen: the message lists them.
    """
    vectors, faces = [], []
    left = list(chosen)
    for path in pictures:
        if not path.is_file():
            said = "is a folder: name the pictures in it" if path.is_dir() else "is not there"
            raise FacemakeError(f"{path} {said}")
        try:
            rgb = read_picture(path)[0]
        except MediaError as error:
            raise FacemakeError(f"{path} is no picture that can be read: {error}") from None
        except OSError as error:
            raise FacemakeError(f"{path} cannot be read: {error.strerror or error}") from None
        (found,) = recognizer.find([rgb])
        face = _chosen(path, found, left)
        try:
            vectors.append(recognizer.embed(rgb, [face.face], flip)[0])
        except ValueError as error:
            raise FacemakeError(f"the face of {path} cannot be embedded: {error}") from None
        faces.append(face)
    if left:
        raise FacemakeError(
            f"--face {left[0]} is one too many: it is said once for each picture with several faces"
        )
    total = np.sum(np.array(vectors, np.float64), axis=0, keepdims=True)
    return Reference(unit(total)[0], faces)


def _chosen(path: Path, found: Sequence[FoundFace], left: list[int]) -> FoundFace:
    if not found:
        raise FacemakeError(
            f"no face is found in {path}: take a picture in which it is larger and seen from the "
            "front, or another detector (--detector)"
        )
    if len(found) == 1:
        return found[0]
    listed = "\n".join(
        f"  --face {number}: {' '.join(f'{v:.0f}' for v in face.bbox)} (x y width height in px), "
        f"score {face.score:.2f}"
        for number, face in enumerate(found)
    )
    if not left:
        raise FacemakeError(f"{path} shows {len(found)} faces; say which one it is:\n{listed}")
    number = left.pop(0)
    if not 0 <= number < len(found):
        raise FacemakeError(f"{path} has no face {number}; there are:\n{listed}")
    return found[number]
