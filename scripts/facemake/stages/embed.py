"""Identity embeddings of the best frames of each track."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facemake import clones
from facemake.backends.detect import AS_EXPECTED
from facemake.backends.embed import EMBEDDERS, Embedder
from facemake.backends.embed.vectors import embed_chips
from facemake.media import read_frames
from facemake.models import planned
from facemake.pictures import stand_alone
from facemake.provenance import Recipe
from facemake.samples import Sample
from facemake.shards import ShardRun, decodable_samples
from facemake.stages.ahead import ahead
from facemake.stages.chosen_faces import Choice, FaceTables

logger = logging.getLogger(__name__)


def embed(
    plan: Path,
    probe: Path,
    detections: Path,
    landmarks: Path,
    fit: Path,
    output: Path,
    recipe: Recipe,
) -> None:
    """Write the embeddings table of a shard: rows for the chosen frames of each track only.

    A picture that stands alone is chosen from by itself: each of its good faces has a row.

    Args:
        plan: the shard's plan file.
        probe: its probe table.
        detections: its detections table.
        landmarks: its landmarks table.
        fit: its fit table.
        output: `embeddings/{shard}.parquet`.
        recipe: of the stage `embed`.

    Raises:
        ModelError: a model is missing or not the registered one, or the device is not there.
    """
    with (
        FaceTables(detections, landmarks, fit) as tables,
        closing(embedder_of(recipe)) as embedder,
        ShardRun(recipe, plan, [probe, *tables.paths], {"embeddings": output}) as run,
    ):
        known = decodable_samples(probe)
        run.progress.expect(sum(row["n_frames"] for row in known.values()))
        wanted = [sample for sample in run.unfinished() if sample.sample in known]
        alone = {name: stand_alone(row, run.metadata) for name, row in known.items()}
        found = _embedded(_chips(wanted, alone, tables, embedder, recipe), embedder, recipe)
        for sample, part in run.pending():
            writer = part.table("embeddings")
            if sample.sample not in known:
                continue
            for choice, vector in next(found):
                writer.append(
                    sample=sample.sample,
                    frame=choice.frame,
                    track=choice.track,
                    embedding=vector,
                    quality=choice.quality,
                )
            run.progress.frame(known[sample.sample]["n_frames"])


def embedder_of(recipe: Recipe) -> Embedder:
    """The embedder that a recipe names.

    Raises:
        ModelError: its model or code is missing or not the recipe's, or its device is not there.
    """
    row = EMBEDDERS[str(recipe.backend)]
    name = planned(recipe).name
    if "repo" in recipe.settings:
        clones.verify(recipe.settings["repo"])
    return row.create(name, recipe.settings.get("device", "cpu"))


@dataclass(frozen=True)
class _Chip:
    """A chosen face, cut out."""

    choice: Choice
    pixels: NDArray[np.uint8]


class _End:
    """Of the faces of a sample."""


_Item = _Chip | _End
_Vectors = list[tuple[Choice, NDArray[np.float32]]]


def _chips(
    samples: Iterable[Sample],
    alone: Mapping[str, bool],
    tables: FaceTables,
    embedder: Embedder,
    recipe: Recipe,
) -> Generator[_Item, None, None]:
    """The chosen faces of each sample, cut out, by frame and track."""
    most, spacing = recipe.settings["frames_per_track"], recipe.settings["min_spacing"]
    face_box = recipe.settings.get("face_box", AS_EXPECTED)
    for sample in samples:
        try:
            chosen = tables.choose(sample.sample, None if alone[sample.sample] else most, spacing)
            faces = tables.faces(sample.sample, chosen, face_box) if chosen else {}
            by_frame: dict[int, list[Choice]] = defaultdict(list)
            for choice in chosen:
                by_frame[choice.frame].append(choice)
            stamps = [some[0].time for some in by_frame.values()]
            times = None if np.isnan(stamps).any() else stamps
            for frame in read_frames(sample, list(by_frame), times) if by_frame else ():
                for choice in by_frame[frame.index]:
                    face = faces[choice.frame, choice.track]
                    try:
                        yield _Chip(choice, embedder.chip(frame.rgb, face))
                    except ValueError as error:
                        logger.warning(
                            "%s: track %d gets no embedding of frame %d: %s",
                            *(sample.sample, choice.track, choice.frame, error),
                        )
            yield _End()
        except Exception as error:
            error.add_note(f"in sample {sample.sample} ({sample.path})")
            raise


def _embedded(
    items: Generator[_Item, None, None], embedder: Embedder, recipe: Recipe
) -> Iterator[_Vectors]:
    """The chosen faces of each sample with their vectors; faces of many samples make a batch."""
    size = embedder.batch_size
    with closing(items if size == 1 else ahead(items, 2 * size, _nbytes)) as stream:
        done, waiting = _Vectors(), list[_Item]()
        for item in stream:
            waiting.append(item)
            if size == 1 or sum(isinstance(one, _Chip) for one in waiting) == size:
                done = yield from _emptied(waiting, done, embedder, recipe)
        yield from _emptied(waiting, done, embedder, recipe)


def _emptied(
    waiting: list[_Item], done: _Vectors, embedder: Embedder, recipe: Recipe
) -> Generator[_Vectors, None, _Vectors]:
    """Hand on what waits; returns the sample that goes on."""
    chips = [one.pixels for one in waiting if isinstance(one, _Chip)]
    vectors = iter(embed_chips(embedder, chips, flip=recipe.settings["flip"]))
    for one in waiting:
        if isinstance(one, _Chip):
            done.append((one.choice, next(vectors)))
        else:
            yield done
            done = []
    waiting.clear()
    return done


def _nbytes(item: _Item) -> int:
    return item.pixels.nbytes if isinstance(item, _Chip) else 0
