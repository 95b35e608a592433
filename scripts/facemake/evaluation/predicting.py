"""What a trained network says of examples of a training set, beside their labels."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from numpy.typing import NDArray

from facemake import h5
from facemake.backends import torch_model
from facemake.errors import FacemakeError
from facemake.nn import checkpoints
from facemake.nn.division import SPLITS
from facemake.nn.loader import TrainingDataset
from facemake.nn.options import AUPredictionOptions, LandmarkPoseOptions
from facemake.nn.tasks import TASKS
from facemake.provenance import file_sha256

logger = logging.getLogger(__name__)

NETWORKS = {
    "landmark_pose": LandmarkPoseOptions,
    "au_prediction": AUPredictionOptions,
}
"""Name of a network -> its options."""

HELD_OUT = ("test", "val")
"""The first of these that a training set has is what a network is judged by."""

_BATCH = 64
_ROWS_AT_ONCE = 65536


@dataclass(frozen=True)
class Examples:
    """Who and what the examples of some rows are.

    Attributes:
        videos, subjects: (n,) names; "" where the file does not say.
        frames: (n,) from 0; -1 where the file does not say.
        tracks: (n,) 0 is the main face; 0 where the file does not say.
    """

    videos: NDArray[Any]
    subjects: NDArray[Any]
    frames: NDArray[np.int64]
    tracks: NDArray[np.int64]


@dataclass(frozen=True)
class Predictions:
    """Of one network, for one split.

    Attributes:
        network: its name.
        split: `train`, `val`, `test`, or `all` where the file was not trained on.
        rows: (n,) of the file, rising.
        found: (n, ...) float32 by the labels' names.
        wanted: the labels, NaN where they are missing.
        examples: whose they are.
    """

    network: str
    split: str
    rows: NDArray[np.int64]
    found: dict[str, NDArray[np.float32]]
    wanted: dict[str, NDArray[np.float32]]
    examples: Examples


class Trained:
    """A network as its folder or checkpoint has it, and the training set to show to it.

    Args:
        model: a folder of a training, whose `checkpoint_best.pt` is taken, or a checkpoint.
        data: the training set.
        network: which one it must be.
        device: of PyTorch.
        sha256: of the training set, where it is known.

    Attributes:
        checkpoint: what the file holds, its weights apart.
        path: of the checkpoint.
        dataset: all examples, divided as for the training.
        trained_on_it: whether the training set is the one that the network was trained with.

    Raises:
        FacemakeError: the model, the data or the device are not what they must be.
    """

    def __init__(
        self,
        model: Path,
        data: Path,
        network: str,
        device: str = "cpu",
        sha256: str | None = None,
    ) -> None:
        torch_model.require(device)
        self.network, self.device = network, device
        self.path = model / checkpoints.BEST if model.is_dir() else model
        found = checkpoints.read(self.path, network)
        config = found.get("config", {})
        options = NETWORKS[network](
            data=data,
            output=self.path.parent,
            **{**_known(config, network), "width_mult": checkpoints.width_of(found)},
        )
        self._task = TASKS[network]()
        self._model = self._task.make(options)
        checkpoints.give_weights(self._model, self.path, found)
        self._model.eval().requires_grad_(False).to(device, memory_format=torch.channels_last)
        self.parameters = sum(p.numel() for p in self._model.parameters())
        self.checkpoint = {k: v for k, v in found.items() if not k.endswith("state_dict")}
        self.checkpoint.pop("training", None)
        self.dataset = TrainingDataset(
            data, labels=self._task.labels, val_split=options.val_split, seed=options.seed
        )
        self.sha256 = sha256 or file_sha256(data)
        self.trained_on_it = self.checkpoint.get("data", {}).get("sha256") == self.sha256
        if not self.trained_on_it:
            logger.warning(
                "%s was trained with another training set than %s%s: whether the people here were "
                "in that one, nothing says",
                *(self.path, data),
                "" if "data" in self.checkpoint else ", as far as it says",
            )

    @property
    def labels(self) -> tuple[str, ...]:
        """Of the training set, that the network predicts."""
        return tuple(self._task.labels)

    def splits(self) -> list[str]:
        """Those that have examples; only `all` of a file that the network was not trained with
        and that has no splits of its own.
        """
        division = self.dataset.division
        there = [name for name in SPLITS if len(getattr(division, name))]
        own = division.by == "the splits of the file" or "test" in there
        return there if self.trained_on_it or own else ["all"]

    def held_out(self) -> str:
        """The split to judge by: see HELD_OUT."""
        there = self.splits()
        return next((name for name in HELD_OUT if name in there), there[0])

    def trained_with(self, split: str) -> list[str]:
        """Subjects, by name, of a split who are among the training examples, too."""
        if not self.trained_on_it:
            return []
        rows = [getattr(self.dataset.division, name) for name in ("train", split)]
        train, mine = (set(examples(self.dataset.path, one).subjects.tolist()) for one in rows)
        return sorted(train & mine)

    def predict(self, split: str, at_most: int | None = None) -> Predictions:
        """What the network says of a split.

        Args:
            split: one of `splits`.
            at_most: so many examples, spread evenly; None: all.

        Raises:
            FacemakeError: there is no example of that split, the file is damaged, or the network
                says what is no number.
        """
        rows = np.arange(self.dataset.total)
        if split != "all":
            rows = getattr(self.dataset.division, split)
        if not len(rows):
            raise FacemakeError(
                f"{self.dataset.path} has no example of split {split}; there are "
                f"{', '.join(self.splits())}"
            )
        if at_most is not None and len(rows) > at_most:
            rows = rows[np.linspace(0, len(rows) - 1, at_most).astype(int)]
        found: dict[str, list[NDArray[np.float32]]] = {name: [] for name in self.labels}
        wanted: dict[str, list[NDArray[np.float32]]] = {name: [] for name in self.labels}
        with torch.inference_mode(), torch_model.exact(self.device):
            for start in range(0, len(rows), _BATCH):
                batch = self.dataset.batch(rows[start : start + _BATCH])
                for name, values in self._outputs(batch["image"]).items():
                    if not np.isfinite(values).all():
                        raise FacemakeError(
                            f"{self.path} says of some examples what is no number ({name}): its "
                            "training went astray; train again with a lower --lr"
                        )
                    found[name].append(values)
                    wanted[name].append(batch[name])
        self.dataset.close()
        return Predictions(
            self.network,
            split,
            rows,
            {name: np.concatenate(parts) for name, parts in found.items()},
            {name: np.concatenate(parts) for name, parts in wanted.items()},
            examples(self.dataset.path, rows),
        )

    def mean_labels(self) -> dict[str, NDArray[np.float32]]:
        """Mean of each label over the training examples: what a network says that sees nothing."""
        return {n: mean.numpy() for n, mean in self.dataset.only("train").moments()[0].items()}

    def _outputs(self, images: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        pictures = torch.from_numpy(images).to(self.device).permute(0, 3, 1, 2).float() / 255
        outputs = self._task.outputs(
            self._model(pictures.contiguous(memory_format=torch.channels_last))
        )
        return {name: outputs[name].float().cpu().numpy() for name in self.labels}


def _known(config: Mapping[str, Any], network: str) -> dict[str, Any]:
    """What of a checkpoint's config decides about the network and how examples were divided."""
    names = ("val_split", "seed", *(("dropout",) if network == "au_prediction" else ()))
    return {name: config[name] for name in names if name in config}


def examples(path: Path, rows: NDArray[np.int64]) -> Examples:
    """Who and what these rows of a training set are.

    Args:
        path: of the training set.
        rows: (n,) rising.
    """
    with h5.opened(path) as file:
        return Examples(
            _texts(file, "metadata/video_names", rows),
            _texts(file, "metadata/subjects", rows),
            _numbers(file, "metadata/frame_indices", rows, -1),
            _numbers(file, "metadata/track", rows, 0),
        )


def _texts(file: h5py.File, name: str, rows: NDArray[np.int64]) -> NDArray[Any]:
    out = np.full(len(rows), "", object)
    known: dict[str, str] = {}  # each text is in memory once, whatever the number of its rows
    if name in file:
        texts = file[name].asstr(errors="replace")
        for at, part in _slices(len(file[name]), rows):
            out[at] = [known.setdefault(t, t) for t in texts[part][rows[at] - part.start]]
    return out


def _numbers(
    file: h5py.File, name: str, rows: NDArray[np.int64], missing: int
) -> NDArray[np.int64]:
    out = np.full(len(rows), missing, np.int64)
    if name in file:
        for at, part in _slices(len(file[name]), rows):
            out[at] = file[name][part][rows[at] - part.start]
    return out


def _slices(total: int, rows: NDArray[np.int64]) -> Iterator[tuple[slice, slice]]:
    """Which of the rising rows lie in which slice of the file: HDF5 is slow with single rows."""
    for start in range(0, total, _ROWS_AT_ONCE):
        stop = min(start + _ROWS_AT_ONCE, total)
        one, other = np.searchsorted(rows, (start, stop))
        if one < other:
            yield slice(int(one), int(other)), slice(start, stop)


def made_by(data: Path) -> dict[str, Any]:
    """What made a training set; empty where it was not facemake."""
    try:
        return h5.read_metadata(data)
    except FacemakeError:
        return {}
