"""Faces of a whole dataset as files: `extract_faces`, and `Pife`, which is the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from facemake import recipes
from facemake.backends.detect import DETECTORS, DetectorBackend
from facemake.errors import ConfigError, FacemakeError
from facemake.extraction.inputs import CSV, TABLE, Input, listed
from facemake.extraction.journal import NAME, Journal, Row, state
from facemake.extraction.looking import chunks
from facemake.extraction.pool import Pool
from facemake.extraction.progress import Progress, Say, said_at_the_end
from facemake.extraction.result import Extraction
from facemake.extraction.resuming import prepared, remove_tables
from facemake.extraction.settings import (
    DEFAULT,
    QUALITY,
    SMALLEST_TILE,
    CropSettings,
    check_whole,
)
from facemake.extraction.table import readable, write_csv, write_parquet
from facemake.models import model, model_path
from facemake.provenance import Recipe, digest
from facemake.runtime.locks import ShardLock, wait_for_holders
from facemake.samples import WORK

_LOCK = ".faces.lock"
_WORKERS = ".faces.workers"
_PICTURES, _PICTURES_ON_GPU = 8, 64
"""In a chunk: on a GPU several batches, of which only the last one is not full."""
_SECONDS_BETWEEN_COMMITS = 1.0


def extract_faces(
    paths: str | Path | Iterable[str | Path],
    out: str | Path,
    backend: str = "retinaface",
    workers: int | None = None,
    template: str = DEFAULT,
    *,
    padding: float | None = None,
    format: str = "jpg",
    quality: int = QUALITY,
    frame_step: int = 1,
    min_score: float | None = None,
    model_file: str | None = None,
    landmarks: str = "mediapipe478",
    device: str = "cpu",
    tile: int | None = None,
    csv: bool = False,
    prune: bool = False,
    progress: bool | Say = True,
) -> Extraction:
    """Cut the faces out of pictures and videos, each crop a file, and write a table of them.

    A picture's crop has its path below the folder that all inputs have in common
    (`out/train/x.jpg`), further faces a number (`x_1.jpg`), by falling score; those of a video lie
    in a folder of its name, by frame (`out/clip/000012.jpg`). `out/faces.parquet` has a row a face,
    and at least one of every input, with status and reason. What cannot be read is a row, not an
    error. A run that was ended goes on where it was when it is called again; inputs that are done
    are not done again unless the file or what is asked for has changed. The same inputs and
    settings give the same bytes at any number of workers.

    Args:
        paths: pictures, videos, and folders, of which all pictures and videos at any depth count;
            or one of these by itself.
        out: the folder of the crops, facemake's own; made where it is not there.
        backend: the detector (`facemake.backends.detect.DETECTORS`).
        workers: processes, each with a model of its own; None: as many as cores and memory allow by
            what the first one took (on a GPU 1).
        template: `arcface112` (the default), `openface112`, `dino256` or `raw`.
        padding: of `dino256` and `raw`: share of the box that is added on each side.
        format: `jpg` or `png`.
        quality: of JPEG, 1-100.
        frame_step: of videos every n-th frame is looked at.
        min_score: faces below are left out (0-1); None: what the detector starts a track at.
        model_file: a model file of one's own by its name in a folder of FACEMAKE_MODELS, for a
            backend that takes one.
        landmarks: the network for `openface112` (`facemake.backends.landmarks.LANDMARKERS`).
        device: `cpu` or `cuda`.
        tile: px, 128 or more: larger pictures are looked at in tiles too, for small faces.
        csv: also write `out/faces.csv`.
        prune: remove crops of inputs that are not among the paths; else they are refused.
        progress: whether a line says how far it is, on standard error; or who is told such lines.

    Returns:
        What was found.

    Raises:
        FacemakeError: a path, a backend, a template or a model is not there, or a worker failed;
            the message says what to do.
        KeyboardInterrupt: what is done is kept.
    """
    row = _row(backend, device, model_file)
    crops = CropSettings(template, padding, format, quality, landmarks)
    for name, value, lowest in (
        ("workers", workers, 1),
        ("frame_step", frame_step, 1),
        ("tile", tile, SMALLEST_TILE),
    ):
        if value is not None:
            check_whole(name, value, lowest)
    least = row.start_score if min_score is None else min_score
    if not isinstance(least, float | int) or not 0 <= least <= 1:
        raise ConfigError(f"min_score must be 0 to 1, not {min_score!r}")
    looking = {
        "min_score": float(least),
        "frame_step": frame_step,
        "device": device,
        **({} if tile is None else {"tile": tile}),
    }
    recipe = _recipe(backend, row, crops, looking)
    folder = Path(out).expanduser()
    inputs = listed([paths] if isinstance(paths, str | Path) else paths, folder, format)
    _check_folder(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _WORKERS).touch()
    except OSError as error:
        raise FacemakeError(
            f"crops cannot be written to {folder} ({error.strerror}): give another folder"
        ) from None
    say = progress if callable(progress) else None
    alike = len({one.video for one in inputs.inputs}) == 1
    shown = Progress(len(inputs.inputs), say, quiet=progress is False, alike=alike)
    with (
        ShardLock(folder / _LOCK, f"the crops in {folder}", WORK),
        Journal(folder) as journal,
    ):
        wait_for_holders(folder / _WORKERS)
        settings = digest(recipe.to_dict())
        states = [state(one.path, settings, one.output, one.taken) for one in inputs.inputs]
        todo, going_on = prepared(folder, journal, inputs.inputs, states, prune=prune)
        done_before = len(inputs.inputs) - len(todo)
        shown.begin(done_before)
        whole = (folder / TABLE).is_file() and (folder / CSV).is_file() == csv
        if not whole:
            remove_tables(folder)
        pool = None
        if todo:
            for index, (_, frame) in going_on.items():
                inputs.inputs[index] = replace(inputs.inputs[index], start=frame)
            some = [inputs.inputs[index] for index in todo]
            pictures = _PICTURES if device == "cpu" else _PICTURES_ON_GPU
            asked = [[todo[i] for i in chunk] for chunk in chunks(some, pictures)]
            told = {
                "lock": str((folder / _WORKERS).absolute()),
                "backend": backend,
                "model": row.models[0] if row.models else "",
                **looking,
                "crops": {
                    "template": template,
                    "padding": padding,
                    "format": format,
                    "quality": quality,
                    "landmarks": landmarks,
                },
                "out": str(folder.absolute()),
            }
            wanted = 1 if workers is None and device != "cpu" else workers
            pool = Pool(told, inputs.inputs, wanted, len(asked))
            rows_before = Counter({index: rows for index, (rows, _) in going_on.items()})
            _work(pool, journal, inputs.inputs, states, asked, shown, rows_before)
        tally = _Tally()
        metadata = {"recipe": recipe.to_dict(), "upstream": {}}
        about = {
            "template": template,
            "model": row.models[0] if row.models else backend,
            "model_sha256": recipe.models[0]["sha256"] if recipe.models else "",
        }
        if not whole:
            rows = _rows(journal, inputs.inputs, about)
            if csv:
                write_csv(folder / CSV, rows)
            write_parquet(folder / TABLE, tally.of(_rows(journal, inputs.inputs, about)), metadata)
        else:
            for _ in tally.of(_rows(journal, inputs.inputs, about)):
                pass
    result = Extraction(
        table=folder / TABLE,
        root=inputs.root,
        inputs=len(inputs.inputs),
        done_before=done_before,
        crops=tally.crops,
        statuses=dict(sorted(tally.statuses.items())),
        failed=tally.failed,
        workers=pool.count if pool else 0,
        peak_memory=pool.peak if pool else 0,
    )
    shown.end(said_at_the_end(result, inputs))
    return result


class Pife:
    """`extract_faces` under the name and in the order of arguments of pife.

    Args:
        backend: the detector.
        workers: processes; None: see `extract_faces`.
        **settings: other arguments of `extract_faces`.
    """

    def __init__(
        self, backend: str = "retinaface", workers: int | None = None, **settings: Any
    ) -> None:
        self.backend = backend
        self.workers = workers
        self.settings = settings

    def extract(
        self, paths: str | Path | Iterable[str | Path], output_dir: str | Path
    ) -> Extraction:
        """See `extract_faces`."""
        return extract_faces(paths, output_dir, self.backend, self.workers, **self.settings)


def _row(backend: str, device: str, model_file: str | None) -> DetectorBackend:
    """The detector's row, with the user's own model, whose models are all here."""
    if backend not in DETECTORS:
        raise ConfigError(f"there is no backend {backend}; there are {', '.join(DETECTORS)}")
    row = DETECTORS[backend]
    if device not in row.devices:
        raise ConfigError(f"{backend} computes on {', '.join(row.devices)} alone, not on {device}")
    if model_file is not None:
        if not row.own_model:
            raise ConfigError(f"{backend} loads its own model alone: leave model_file out")
        row = replace(row, models=(model_file, *row.models[1:]))
    return row


def _recipe(
    backend: str, row: DetectorBackend, crops: CropSettings, settings: dict[str, Any]
) -> Recipe:
    """What decides the bytes of the crops and the table.

    Raises:
        ModelError: a model is not on this machine.
    """
    backends = [row, *crops.backends(backend)]
    names = [name for one in backends for name in one.models]
    for name in names:
        model_path(name)
    on_gpu = settings["device"] != "cpu"
    stacks = [one.gpu_stack if one.gpu_stack and on_gpu else one.stack for one in backends]
    return Recipe(
        stage="extract_faces",
        backend=backend,
        settings={
            "template": crops.template,
            "padding": crops.rule.padding,
            "format": crops.format,
            "quality": crops.quality,
            **({"landmarks": crops.landmarks} if crops.rule.needs == "landmarks" else {}),
            **settings,
        },
        models=tuple(model(name).provenance for name in names),
        libraries={k: v for stack in stacks for k, v in recipes.libraries(stack).items()},
        code=recipes.code_of("facemake.extraction.looking", backends),
    )


def _check_folder(folder: Path) -> None:
    """Refuse a folder with files of somebody else."""
    if folder.exists() and not folder.is_dir():
        raise FacemakeError(f"{folder} is a file: give a folder for the crops")
    if not folder.is_dir() or (folder / NAME).exists():
        return
    others = [path.name for path in folder.iterdir() if not path.name.startswith(".")]
    if others:
        raise FacemakeError(
            f"{folder} has files that facemake did not write ({sorted(others)[0]}, say), which "
            "crops could take the place of: give a new folder"
        )


def _work(
    pool: Pool,
    journal: Journal,
    inputs: Sequence[Input],
    states: Sequence[str],
    asked: Iterable[list[int]],
    shown: Progress,
    counts: Counter[int],
) -> None:
    def begin(chunk: Sequence[int]) -> None:
        for index in chunk:
            one = inputs[index]
            journal.begin(one.name, one.output, one.video, states[index])
        journal.commit()

    with shown.working(), pool:
        for given in pool.run(iter(asked), begin, _SECONDS_BETWEEN_COMMITS):
            if given is not None:
                name = inputs[given.index].name
                journal.add(name, counts[given.index], given.rows)
                counts[given.index] += len(given.rows)
                if given.done:
                    journal.finish(name, states[given.index], counts.pop(given.index))
                shown.rows(given.rows, done=given.done)
            if given is None or shown.due():
                journal.commit()
                shown.show()


def _rows(journal: Journal, inputs: Sequence[Input], about: Row) -> Iterator[Row]:
    for one in inputs:
        for row in journal.rows(one.name):
            output = row["output"]
            yield {
                **row,
                **about,
                "input": readable(one.name),
                "output": None if output is None else readable(output),
            }


class _Tally:
    """Counts rows on their way."""

    def __init__(self) -> None:
        self.crops = 0
        self.statuses: Counter[str] = Counter()
        self.failed: dict[str, str] = {}

    def of(self, rows: Iterable[Row]) -> Iterator[Row]:
        for row in rows:
            self.crops += row["output"] is not None
            self.statuses[row["status"]] += 1
            if row.get("frame") is None:
                self.failed[row["input"]] = f"{row['status']}: {row['reason']}"
            yield row
