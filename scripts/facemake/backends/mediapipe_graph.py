"""MediaPipe graphs run statelessly: one picture in, its packets out, one thread."""

from __future__ import annotations

from pathlib import Path
from typing import Any

# first: what is imported below then brings no more than itself
import facemake.backends.mediapipe_package  # noqa: F401
from facemake.runtime.contexts import Closing

# isort: split
import mediapipe as mp
import numpy as np
from google.protobuf import text_format
from mediapipe.framework import calculator_pb2
from mediapipe.python import packet_creator, packet_getter
from mediapipe.python._framework_bindings import (
    _packet_getter,
    calculator_graph,
    image_frame,
    resource_util,
)
from numpy.typing import NDArray


class Graph(Closing):
    """A calculator graph in MediaPipe's text format, kept open between calls.

    Args:
        text: the graph; its calculators' options must have been imported (their `_pb2` modules
            register the extensions that the text names).
        outputs: the output streams to read.
    """

    def __init__(self, text: str, outputs: tuple[str, ...]) -> None:
        # the graphs name their models relative to the folder that holds the package
        resource_util.set_resource_dir(str(Path(mp.__file__).parent.parent))
        config = text_format.Parse(text, calculator_pb2.CalculatorGraphConfig())
        self._graph = calculator_graph.CalculatorGraph(graph_config=config)
        self._out: dict[str, Any] = {}
        for name in outputs:
            self._graph.observe_output_stream(name, self._out.__setitem__, True)
        self._graph.start_run()
        self._time = 0

    def __call__(self, **packets: Any) -> dict[str, Any]:
        """Feed one packet a stream, wait, and give the packets that came out (no empty ones)."""
        self._time += 1
        self._out.clear()
        for stream, packet in packets.items():
            self._graph.add_packet_to_input_stream(stream=stream, packet=packet.at(self._time))
        self._graph.wait_until_idle()
        return {name: packet for name, packet in self._out.items() if not packet.is_empty()}

    def close(self) -> None:
        """End the graph."""
        self._graph.close_all_packet_sources()
        self._graph.wait_until_done()


def image_packet(rgb: NDArray[np.uint8]) -> Any:
    """An (H, W, 3) uint8 RGB array as MediaPipe's image frame."""
    return packet_creator.create_image_frame(
        image_format=image_frame.ImageFormat.SRGB, data=np.ascontiguousarray(rgb)
    )


# A landmark in a serialised list, 17 bytes: the list's field and how much follows, then a tag and
# four bytes of a float for each of x, y and z.
_TAGS = {0: 0x0A, 1: 0x0F, 2: 0x0D, 7: 0x15, 12: 0x1D}
_FLOATS = [at for at in range(17) if at not in _TAGS]


def landmarks_of(packet: Any) -> NDArray[np.float64]:
    """The points of a packet with a `NormalizedLandmarkList`: (K, 3) as MediaPipe gives them.

    They are read out of the serialised list: one by one, as objects of Python, they take a tenth
    of the time that the network needs to find them.
    """
    data = np.frombuffer(_packet_getter._get_serialized_proto(packet), np.uint8)
    if data.size % 17 == 0:
        rows = data.reshape(-1, 17)
        if (rows[:, list(_TAGS)] == list(_TAGS.values())).all():
            return np.ascontiguousarray(rows[:, _FLOATS]).view("<f4").astype(np.float64)
    # with visibility or presence
    found = packet_getter.get_proto(packet).landmark
    return np.array([(p.x, p.y, p.z) for p in found], np.float64).reshape(-1, 3)
