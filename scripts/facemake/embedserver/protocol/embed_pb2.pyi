from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DetectRequest(_message.Message):
    __slots__ = ("images", "faces")
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    FACES_FIELD_NUMBER: _ClassVar[int]
    images: _containers.RepeatedScalarFieldContainer[bytes]
    faces: int
    def __init__(self, images: _Optional[_Iterable[bytes]] = ..., faces: _Optional[int] = ...) -> None: ...

class EmbedRequest(_message.Message):
    __slots__ = ("images", "faces", "flip")
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    FACES_FIELD_NUMBER: _ClassVar[int]
    FLIP_FIELD_NUMBER: _ClassVar[int]
    images: _containers.RepeatedCompositeFieldContainer[Image]
    faces: int
    flip: bool
    def __init__(self, images: _Optional[_Iterable[_Union[Image, _Mapping]]] = ..., faces: _Optional[int] = ..., flip: bool = ...) -> None: ...

class Image(_message.Message):
    __slots__ = ("data", "regions")
    DATA_FIELD_NUMBER: _ClassVar[int]
    REGIONS_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    regions: _containers.RepeatedCompositeFieldContainer[Region]
    def __init__(self, data: _Optional[bytes] = ..., regions: _Optional[_Iterable[_Union[Region, _Mapping]]] = ...) -> None: ...

class Region(_message.Message):
    __slots__ = ("box", "points")
    BOX_FIELD_NUMBER: _ClassVar[int]
    POINTS_FIELD_NUMBER: _ClassVar[int]
    box: Box
    points: _containers.RepeatedCompositeFieldContainer[Point]
    def __init__(self, box: _Optional[_Union[Box, _Mapping]] = ..., points: _Optional[_Iterable[_Union[Point, _Mapping]]] = ...) -> None: ...

class Box(_message.Message):
    __slots__ = ("x1", "y1", "x2", "y2")
    X1_FIELD_NUMBER: _ClassVar[int]
    Y1_FIELD_NUMBER: _ClassVar[int]
    X2_FIELD_NUMBER: _ClassVar[int]
    Y2_FIELD_NUMBER: _ClassVar[int]
    x1: float
    y1: float
    x2: float
    y2: float
    def __init__(self, x1: _Optional[float] = ..., y1: _Optional[float] = ..., x2: _Optional[float] = ..., y2: _Optional[float] = ...) -> None: ...

class Point(_message.Message):
    __slots__ = ("x", "y")
    X_FIELD_NUMBER: _ClassVar[int]
    Y_FIELD_NUMBER: _ClassVar[int]
    x: float
    y: float
    def __init__(self, x: _Optional[float] = ..., y: _Optional[float] = ...) -> None: ...

class Reply(_message.Message):
    __slots__ = ("pictures", "model")
    PICTURES_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    pictures: _containers.RepeatedCompositeFieldContainer[Picture]
    model: Model
    def __init__(self, pictures: _Optional[_Iterable[_Union[Picture, _Mapping]]] = ..., model: _Optional[_Union[Model, _Mapping]] = ...) -> None: ...

class Picture(_message.Message):
    __slots__ = ("width", "height", "faces")
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    FACES_FIELD_NUMBER: _ClassVar[int]
    width: int
    height: int
    faces: _containers.RepeatedCompositeFieldContainer[Face]
    def __init__(self, width: _Optional[int] = ..., height: _Optional[int] = ..., faces: _Optional[_Iterable[_Union[Face, _Mapping]]] = ...) -> None: ...

class Face(_message.Message):
    __slots__ = ("box", "score", "points", "vector")
    BOX_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    POINTS_FIELD_NUMBER: _ClassVar[int]
    VECTOR_FIELD_NUMBER: _ClassVar[int]
    box: Box
    score: float
    points: _containers.RepeatedCompositeFieldContainer[Point]
    vector: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, box: _Optional[_Union[Box, _Mapping]] = ..., score: _Optional[float] = ..., points: _Optional[_Iterable[_Union[Point, _Mapping]]] = ..., vector: _Optional[_Iterable[float]] = ...) -> None: ...

class Model(_message.Message):
    __slots__ = ("detector", "detector_models", "embedder", "embedder_models", "chip", "dim", "same_person", "version")
    DETECTOR_FIELD_NUMBER: _ClassVar[int]
    DETECTOR_MODELS_FIELD_NUMBER: _ClassVar[int]
    EMBEDDER_FIELD_NUMBER: _ClassVar[int]
    EMBEDDER_MODELS_FIELD_NUMBER: _ClassVar[int]
    CHIP_FIELD_NUMBER: _ClassVar[int]
    DIM_FIELD_NUMBER: _ClassVar[int]
    SAME_PERSON_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    detector: str
    detector_models: _containers.RepeatedCompositeFieldContainer[File]
    embedder: str
    embedder_models: _containers.RepeatedCompositeFieldContainer[File]
    chip: str
    dim: int
    same_person: float
    version: str
    def __init__(self, detector: _Optional[str] = ..., detector_models: _Optional[_Iterable[_Union[File, _Mapping]]] = ..., embedder: _Optional[str] = ..., embedder_models: _Optional[_Iterable[_Union[File, _Mapping]]] = ..., chip: _Optional[str] = ..., dim: _Optional[int] = ..., same_person: _Optional[float] = ..., version: _Optional[str] = ...) -> None: ...

class File(_message.Message):
    __slots__ = ("name", "sha256", "licence")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    LICENCE_FIELD_NUMBER: _ClassVar[int]
    name: str
    sha256: str
    licence: str
    def __init__(self, name: _Optional[str] = ..., sha256: _Optional[str] = ..., licence: _Optional[str] = ...) -> None: ...
