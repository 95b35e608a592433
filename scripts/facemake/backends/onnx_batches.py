"""ONNX networks that were exported for one picture, made to take any number of them.

Most detectors that go about are: their input says (1, 3, H, W), and the shapes within them say 1
too. On a GPU that is a picture at a time, most of which is waiting. The graph is the same for any
number but for those sizes, so they are freed in a copy in memory, and the copy is taken only if it
gives for two pictures what the network as it is gives for each of them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

logger = logging.getLogger(__name__)

_OPEN_SIDE = 128  # px, where the network leaves its size open: any that its strides divide
_TOLERANCE = 1e-3
"""Of the largest number of an output. A GPU has another algorithm for two pictures than for one,
which rounds elsewhere (1e-5 or so); pictures or rows in another order are off by the whole."""


def session_of_any_batch(path: Path, given: Any, opened: Callable[[bytes], Any]) -> Any | None:
    """A session of the network that takes any number of pictures.

    Args:
        path: its file.
        given: a session of it as it is, of one input of one picture.
        opened: makes a session of an ONNX model's bytes, as `given` was made.

    Returns:
        None, with a word in the log, where it cannot be had: the network goes one by one.
    """
    try:
        session = opened(of_any_batch(path))
        if _agree(given, session):
            return session
        reason = "gives something else for several pictures than for each"
    except ImportError as error:
        reason = f"cannot be changed without the package {error.name} (pip install onnx)"
    except Exception as error:  # of a graph that takes no other number: anything
        reason = f"cannot be computed for several pictures: {str(error).strip()[:300]}"
    logger.warning("%s was made for one picture at a time, and %s", path.name, reason)
    return None


def of_any_batch(path: Path) -> bytes:
    """The ONNX model with the first axis of its input and outputs freed, where that says 1.

    Raises:
        ImportError: the package `onnx` is not installed.
    """
    import onnx

    model = onnx.load(path)
    graph = model.graph
    constants = {value.name: value for value in graph.initializer}
    constants |= {
        node.output[0]: attribute.t
        for node in graph.node
        if node.op_type == "Constant"
        for attribute in node.attribute
        if attribute.name == "value"
    }
    # older files list their weights among the inputs
    for value in (*(one for one in graph.input if one.name not in constants), *graph.output):
        sides = value.type.tensor_type.shape.dim
        if sides and sides[0].dim_value == 1:
            sides[0].dim_param = "n"
    del graph.value_info[:]  # sizes of what is in between, which onnxruntime finds itself
    for node in graph.node:
        if node.op_type == "Transpose" and node.input[0] not in constants:
            _pictures_first(node)
        if node.op_type == "Reshape" and node.input[1] in constants:
            shape = constants[node.input[1]]
            sizes = onnx.numpy_helper.to_array(shape).copy()
            if sizes.size and sizes[0] == 1:
                sizes[0] = 0  # as many as there were (ONNX's operator Reshape)
                shape.CopyFrom(onnx.numpy_helper.from_array(sizes, shape.name))
    made: bytes = model.SerializeToString()
    return made


def _pictures_first(node: Any) -> None:
    """Let a transposition leave the pictures' axis in front: of one picture, numbers lie the same.

    insightface's detectors put it behind rows and columns, and make a list of rows of that, in
    which several pictures would lie between each other.
    """
    for attribute in node.attribute:
        if attribute.name == "perm" and attribute.ints[:1] != [0]:
            order = [0, *(axis for axis in attribute.ints if axis)]
            del attribute.ints[:]
            attribute.ints.extend(order)


def _agree(given: Any, session: Any) -> bool:
    """Whether two pictures together give what each gives alone."""
    feed = given.get_inputs()[0]
    dtype = np.float16 if feed.type == "tensor(float16)" else np.float32
    shape = [size if isinstance(size, int) else _OPEN_SIDE for size in feed.shape[1:]]
    two = np.random.default_rng(0).random((2, *shape)).astype(dtype)
    alone = [given.run(None, {feed.name: two[i : i + 1]}) for i in range(2)]
    for together, *each in zip(session.run(None, {feed.name: two}), *alone, strict=True):
        wanted = np.concatenate(each)
        most = _TOLERANCE * np.abs(wanted).max(initial=0)
        if together.size != wanted.size or not np.allclose(
            together.reshape(wanted.shape), wanted, rtol=0, atol=most, equal_nan=True
        ):
            return False
    return True
