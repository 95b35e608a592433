"""AUPredictionNet in ONNX: intensities of action units from the aligned crop of each frame alone.

What it gives is what it was trained to give: where its labels were this workflow's, it agrees with
the proxy (`facemake.backends.aus.proxy`) as far as its evaluation says, and is no more the work of
a FACS coder. It knows no neutral of the person: the proxy's is in its labels, and a crop does not
show it. An action unit occurs from intensity 1 on, as the proxy has it. AU28, and what one side
of the face does, no network here gives: those columns stay empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facemake.backends.aus import AU_COLUMNS, INTENSITY_AUS, INTENSITY_COLUMNS, OCCURS_FROM
from facemake.backends.detect.boxes import network_input
from facemake.backends.onnx_model import open_network
from facemake.backends.outputs import finite
from facemake.template import CROP_SIZE

_OUTPUT = "au_intensities"
_HIGHEST = 5.0


def _unit(column: str) -> str:
    if column in INTENSITY_COLUMNS:
        return "network: intensity 0-5"
    if column.endswith("_c") and int(column[2:4]) in INTENSITY_AUS:
        return f"network: 0 or 1, from intensity {OCCURS_FROM:g} on"
    return "empty: the network does not give it"


UNITS = tuple(_unit(column) for column in AU_COLUMNS)
"""Of each column of the table."""


class AuNetwork:
    """The network on crops.

    Args:
        model: in the registry, or a file of the user's, or the path of one.
        device: `cpu` or `cuda`.

    Raises:
        ModelError: its file is missing or another network, or the device is not to be had.
    """

    def __init__(self, model: str | Path, device: str) -> None:
        wanted = (3, CROP_SIZE, CROP_SIZE)
        n = len(INTENSITY_COLUMNS)
        self._network = open_network(
            model,
            device,
            "AUPredictionNet (facemake.nn.export_au_to_onnx writes one)",
            f"are pictures {wanted} and an output {_OUTPUT} (n, {n})",
            lambda it: (
                it.input_shape == wanted
                and _OUTPUT in it.output_names
                and it.output_shapes[it.output_names.index(_OUTPUT)][1:] == (n,)
            ),
        )
        self._at = self._network.output_names.index(_OUTPUT)
        self._name = str(model)
        self.batch_size = self._network.batch_size

    def __call__(self, crops: Sequence[NDArray[np.uint8]]) -> NDArray[np.float64]:
        """(n, 61) values of AU_COLUMNS of crops, (112, 112, 3) uint8 RGB each; n at least 1."""
        found = np.concatenate(
            [
                self._network(network_input(some, mean=0, std=255))[self._at]
                for some in self._network.portions(crops)
            ]
        )
        finite(found, self._name, "intensities")
        intensity = np.clip(found.astype(np.float64), 0.0, _HIGHEST)
        out = np.full((len(crops), len(AU_COLUMNS)), np.nan)
        for k, number in enumerate(INTENSITY_AUS):
            out[:, AU_COLUMNS.index(f"AU{number:02d}_r")] = intensity[:, k]
            out[:, AU_COLUMNS.index(f"AU{number:02d}_c")] = intensity[:, k] >= OCCURS_FROM
        return out

    def close(self) -> None:
        """Free the network."""
        self._network.close()


def create(model: str | Path, device: str) -> AuNetwork:
    """What the registry calls."""
    return AuNetwork(model, device)
