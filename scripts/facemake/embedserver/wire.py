"""Requests and answers over HTTP: pictures as a form, as JSON or bare; answers as JSON."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field
from starlette.requests import ClientDisconnect, Request

from facemake.counting import counted
from facemake.embedserver.service import Answer, Asked, Part, Region
from facemake.embedserver.settings import Limits
from facemake.server.forms import Form, Sink, read_form
from facemake.server.refusal import RefusedError

Vectors = Literal["list", "base64"]

_LONGEST_FIELD = 65_536  # bytes of a list of boxes
_POINTS = 5
_MOST_VALUES = 100_000
"""Of a body of JSON, or 64 a face: two bytes of it can become an object of 64 in memory."""

Box = Annotated[
    list[float],
    Field(
        min_length=4,
        max_length=4,
        description="x1, y1, x2, y2 in pixels of the upright picture, whose first one has its "
        "middle at 0, 0",
    ),
]
Points = Annotated[
    list[Annotated[list[float], Field(min_length=2, max_length=2)] | None],
    Field(
        min_length=_POINTS,
        max_length=_POINTS,
        description="x, y of the eye at the picture's left, the other eye, the nose, the corners "
        "of the mouth from the picture's left; null: not known",
    ),
]


class ModelFile(BaseModel):
    """A file of a network."""

    name: str
    sha256: str
    licence: str


class Models(BaseModel):
    """What found the faces, and what the vectors are of."""

    detector: str
    detector_models: list[ModelFile]
    embedder: str
    embedder_models: list[ModelFile]
    chip: str = Field(description="what the embedder is shown of a face")
    dim: int = Field(description="length of a vector")
    same_person: float | None = Field(
        description="cosine similarity from which two vectors are taken for one person; null: none "
        "is known"
    )
    version: str = Field(description="of facemake")


class Detected(BaseModel):
    """A face."""

    box: Box
    score: float | None = Field(description="0-1, the detector's own; null: the box was given")
    points: Points


class Embedded(Detected):
    """A face with its vector."""

    vector: list[float] | str = Field(
        description="of L2 norm 1; with vectors=base64 its float32, little-endian, in base64"
    )


class DetectedPicture(BaseModel):
    """The faces of a picture, by falling score."""

    width: int
    height: int
    faces: list[Detected]


class EmbeddedPicture(BaseModel):
    """The faces of a picture: by falling score, or as the boxes were given."""

    width: int
    height: int
    faces: list[Embedded]


class Detection(BaseModel):
    """The answer of /v1/detect."""

    model: Models
    pictures: list[DetectedPicture]


class Embedding(BaseModel):
    """The answer of /v1/embed."""

    model: Models
    pictures: list[EmbeddedPicture]


class Comparison(BaseModel):
    """The answer of /v1/compare."""

    model: Models
    pictures: list[DetectedPicture]
    similarity: list[list[float]] = Field(
        description="cosine of each face of the first picture (rows) with each of the second"
    )
    same_person: list[list[bool]] | None = Field(
        description="where that is at least the model's same_person; null: none is known"
    )


class Sent(BaseModel, extra="forbid"):
    """A picture in JSON."""

    data: str = Field(description="the file in base64")
    boxes: list[Box] | None = Field(None, description="faces that are known; none are looked for")
    points: list[Points | None] | None = Field(None, description="of each of the boxes")


def body(pictures: int | None = None) -> dict[str, Any]:
    """The description of a request's body.

    Args:
        pictures: how many it has; None: any number.
    """
    many: dict[str, Any] = {"type": "array", "minItems": pictures or 1}
    if pictures is not None:
        many["maxItems"] = pictures
    words = {"type": "array", "items": {"type": "string"}, "description": "JSON, one a picture"}
    contents: dict[str, Any] = {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["image"],
                "additionalProperties": False,
                "properties": {
                    "image": {**many, "items": {"type": "string", "format": "binary"}},
                    "boxes": words,
                    "points": words,
                },
            }
        },
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["images"],
                "properties": {"images": {**many, "items": Sent.model_json_schema()}},
            }
        },
    }
    if pictures is None:
        bare = {"schema": {"type": "string", "format": "binary"}}
        contents |= {"application/octet-stream": bare, "image/jpeg": bare, "image/png": bare}
    return {"requestBody": {"required": True, "content": contents}}


async def read(request: Request, limits: Limits, part: Part) -> list[Asked]:
    """The pictures of a request.

    Args:
        request: whose body is read.
        limits: see there.
        part: what it holds; takes the body.

    Raises:
        RefusedError: it is none of the three kinds, too large, cut off, or has no picture.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        form = _Form(limits, part)
        async for _ in read_form(form, request.headers["content-type"], request.stream()):
            pass
        asked = form.asked()
    elif kind == "application/json":
        asked = await asyncio.to_thread(_of_json, await _whole(request, part), limits)
    elif kind.startswith("image/") or kind == "application/octet-stream":
        query = request.query_params
        data = bytes(await _whole(request, part))
        asked = [Asked(data, _regions(query.get("boxes"), query.get("points"), "boxes"))]
    else:
        raise RefusedError(
            415,
            "send pictures as multipart/form-data (field image), as application/json, or one as it "
            "is with its own type, such as image/jpeg",
        )
    if not asked:
        raise RefusedError(422, "there is no picture in the request (field image)")
    return asked


async def _whole(request: Request, part: Part) -> bytearray:
    data = bytearray()
    try:
        async for piece in request.stream():
            part.take(len(piece))
            data += piece
    except ClientDisconnect:
        raise RefusedError(400, "the request was cut off") from None
    return data


class _Form(Form):
    """Pictures, and what is known of each."""

    def __init__(self, limits: Limits, part: Part) -> None:
        super().__init__(3 * limits.pictures)
        self._limits = limits
        self._part = part
        self._images: list[bytearray] = []
        self._words: dict[str, list[bytearray]] = {"boxes": [], "points": []}

    def part(self, name: str, file_name: str | None) -> Sink:
        """A field begins; see `Form`."""
        if name == "image":
            if len(self._images) == self._limits.pictures:
                raise _too_many(self._limits)
            self._images.append(bytearray())
            return self._add(self._images[-1], self._limits.picture_bytes, "a picture", 413)
        if name in self._words:
            self._words[name].append(bytearray())
            return self._add(self._words[name][-1], _LONGEST_FIELD, name, 422)
        raise RefusedError(422, "the form's fields are image, boxes and points")

    def _add(self, to: bytearray, limit: int, what: str, status: int) -> Sink:
        def add(data: bytes) -> None:
            if len(to) + len(data) > limit:
                raise RefusedError(status, f"{what} has at most {limit} bytes")
            self._part.take(len(data))
            to.extend(data)

        return add

    def asked(self) -> list[Asked]:
        """The pictures of a whole form."""
        count = len(self._images)
        words: dict[str, list[str | None]] = {}
        for name, given in self._words.items():
            if given and len(given) != count:
                raise RefusedError(
                    422,
                    f"the form has {counted(count, 'picture')} and {len(given)} times {name}: give "
                    "one for each picture, in their order; null where nothing is known",
                )
            words[name] = [one.decode("utf-8", "replace") for one in given] or [None] * count
        asked = []
        for number, image in enumerate(self._images):
            boxes, points = words["boxes"][number], words["points"][number]
            asked.append(Asked(bytes(image), _regions(boxes, points, f"boxes {number + 1}")))
            image.clear()
        return asked


def _too_many(limits: Limits) -> RefusedError:
    return RefusedError(413, f"a request has at most {limits.pictures} pictures")


def _of_json(data: bytearray, limits: Limits) -> list[Asked]:
    # of a picture's base64 none is any of these
    values = sum(map(data.count, (b",", b"[", b"{")))
    if values > max(_MOST_VALUES, 64 * limits.pictures * limits.faces):
        raise RefusedError(413, f"the body has {values} values, which no pictures need")
    document = _parsed(data, "the body")
    images = document.get("images") if isinstance(document, dict) else None
    if not isinstance(images, list):
        raise RefusedError(422, 'the body is {"images": [{"data": "...", "boxes": [...]}, ...]}')
    if len(images) > limits.pictures:
        raise _too_many(limits)
    asked = []
    for number, one in enumerate(images, 1):
        where = f"images, {number}"
        if not isinstance(one, dict) or not isinstance(one.get("data"), str):
            raise RefusedError(422, f"{where}: wanted is an object with data, the file in base64")
        if unknown := sorted(one.keys() - {"data", "boxes", "points"}):
            raise RefusedError(422, f"{where}: no {unknown[0]:.50}; there are data, boxes, points")
        try:
            file = base64.b64decode(one["data"], validate=True)
        except (binascii.Error, ValueError):
            raise RefusedError(422, f"{where}: data is no base64") from None
        asked.append(Asked(file, _of_lists(one.get("boxes"), one.get("points"), where)))
    return asked


def _parsed(text: str | bytearray, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise RefusedError(422, f"{where}: this is no JSON") from None


def _regions(boxes: str | None, points: str | None, where: str) -> list[Region] | None:
    """Of JSON in a field."""
    return _of_lists(
        None if boxes is None else _parsed(boxes, where),
        None if points is None else _parsed(points, where),
        where,
    )


def _of_lists(boxes: Any, points: Any, where: str) -> list[Region] | None:
    if boxes is None:
        if points is not None:
            raise RefusedError(422, f"{where}: there are points and no boxes")
        return None
    if not isinstance(boxes, list):
        raise RefusedError(422, f"{where}: wanted is a list of boxes, [[x1, y1, x2, y2], ...]")
    if points is None:
        points = [None] * len(boxes)
    if not isinstance(points, list) or len(points) != len(boxes):
        raise RefusedError(422, f"{where}: wanted are points for each of {len(boxes)} boxes")
    return [
        (
            np.array(_numbers(box, 4, f"{where}: a box is x1, y1, x2, y2"), np.float64),
            None if five is None else _five(five, where),
        )
        for box, five in zip(boxes, points, strict=True)
    ]


def _five(points: Any, where: str) -> NDArray[np.float32]:
    says = f"{where}: points of a face are five times x, y, or null"
    if not isinstance(points, list) or len(points) != _POINTS:
        raise RefusedError(422, says)
    return np.array(
        [[np.nan] * 2 if one is None else _numbers(one, 2, says) for one in points], np.float32
    )


def _numbers(given: Any, count: int, says: str) -> list[float]:
    fits = isinstance(given, list) and len(given) == count
    if not fits or not all(isinstance(v, int | float) and not isinstance(v, bool) for v in given):
        raise RefusedError(422, says)
    try:
        numbers = [float(v) for v in given]
    except OverflowError:
        numbers = [math.inf]
    if not all(abs(v) < 1e9 for v in numbers):  # also NaN
        raise RefusedError(422, f"{says}; finite, in pixels")
    return numbers


def picture(answer: Answer, vectors: Vectors | None) -> dict[str, Any]:
    """What is said of a picture.

    Args:
        answer: of the service.
        vectors: how they are written; None: not at all.
    """
    faces = []
    for number, face in enumerate(answer.seen.faces):
        # in double precision, so that a box that comes back is the same to the last bit
        x, y, w, h = face.bbox.astype(np.float64).tolist()
        said: dict[str, Any] = {
            "box": [x, y, x + w, y + h],
            "score": None if math.isnan(face.score) else face.score,
            "points": [
                None if math.isnan(px) or math.isnan(py) else [px, py]
                for px, py in face.keypoints5.tolist()
            ],
        }
        if vectors is not None and answer.seen.vectors is not None:
            said["vector"] = written(answer.seen.vectors[number], vectors)
        faces.append(said)
    return {"width": answer.width, "height": answer.height, "faces": faces}


def written(vector: NDArray[np.float32], how: Vectors) -> list[float] | str:
    """A vector as it is sent."""
    if how == "base64":
        return base64.b64encode(vector.astype("<f4").tobytes()).decode("ascii")
    numbers: list[float] = vector.tolist()
    return numbers


def similarity(answers: Sequence[Answer]) -> NDArray[np.float64]:
    """Cosines of the faces of two pictures, (n, m)."""
    first, second = (answer.seen.vectors for answer in answers)
    assert first is not None and second is not None
    cosines: NDArray[np.float64] = np.clip(
        first.astype(np.float64) @ second.astype(np.float64).T, -1.0, 1.0
    )
    return cosines
