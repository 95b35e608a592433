"""What an ONNX file says of itself, read without the package `onnx`: its messages, field by field.

The numbers of fields are those of ONNX's onnx.proto3 (ModelProto, GraphProto, TensorProto).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

GRAPH = 7
"""Of ModelProto."""
NODE, INITIALIZER = 1, 5
"""Of GraphProto."""
NAME = 3
"""Of NodeProto."""
_EXTERNAL_DATA = 13
"""Of TensorProto: where its numbers are, if not here."""
_KEY, _VALUE = 1, 2
"""Of StringStringEntryProto."""


def message(path: Path) -> memoryview:
    """The file as one message, mapped into memory; empty where it is."""
    return np.memmap(path, np.uint8, "r").data if path.stat().st_size else memoryview(b"")


def fields(view: memoryview) -> Iterator[tuple[int, memoryview]]:
    """The fields of a Protocol Buffers message that have a length, with their numbers.

    Raises:
        IndexError: it is no such message.
    """
    at = 0
    while at < len(view):
        key, at = _varint(view, at)
        field, kind = key >> 3, key & 7
        if kind == 2:
            length, at = _varint(view, at)
            yield field, view[at : at + length]
            at += length
        elif kind == 0:
            _, at = _varint(view, at)
        else:
            at += 8 if kind == 1 else 4


def weights_elsewhere(path: Path) -> str | None:
    """The name of another file that a network's weights are in; None where they are in its own."""
    try:
        for field, graph in fields(message(path)):
            for inner, tensor in fields(graph) if field == GRAPH else ():
                for part, entry in fields(tensor) if inner == INITIALIZER else ():
                    if part == _EXTERNAL_DATA:
                        said = {f: bytes(v).decode(errors="replace") for f, v in fields(entry)}
                        if said.get(_KEY) == "location":
                            return said.get(_VALUE, "?")
    except IndexError:
        return None  # no network: onnxruntime says so
    return None


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    """A number, and where it ends."""
    value = shift = 0
    while True:
        byte = view[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
        if shift > 63:
            raise IndexError("a number of more than 64 bits")
