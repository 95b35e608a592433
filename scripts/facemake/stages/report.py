"""The index of a run: what went in, what came of it, what made it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from facemake.counting import listed, plural
from facemake.dataset.splits import lacking
from facemake.facemodels import SOURCES
from facemake.models import registry
from facemake.people.splits import Found, found_in
from facemake.provenance import Recipe
from facemake.report import alike, overall, pipeline, render, summaries, usage, words
from facemake.report.counts import Counts, read_counts
from facemake.report.pages import page_file
from facemake.report.people import Person, read_people
from facemake.runtime.atomic import write_text
from facemake.shards import read_metadata
from facemake.stages.report_pages import PAGES, page_folders
from facemake.status import DECODABLE, FrameStatus, SampleStatus
from facemake.tables import TableReader

FIRST_ROWS = 100
"""Rows of the table that stand in the page itself; its script draws them all, page by page."""

MOST_COPIES = 200
"""Groups of copies that are listed; their number is said."""

MOST_NAMED = 12
"""Samples or tracks that a line names."""

_BUILT = "linear face model, built by the user from its maker's files"

_COLUMNS = (
    ("Sample", False),
    ("Status", False),
    ("Subject", False),
    ("Split", False),
    ("Frames", True),
    ("Main face", True),
    ("Measured", True),
    ("Examples", True),
    ("Duration", True),
)


@dataclass(frozen=True)
class Row:
    """A sample in the index; numbers are None where nothing says."""

    sample: str
    status: str
    reason: str
    subject: str
    split: str
    frames: int | None
    with_face: int | None
    measured: int | None
    kept: int | None
    duration: float | None
    folder: str | None

    @property
    def href(self) -> str | None:
        """Link to its page; None where there is none."""
        return render.link(PAGES, self.folder, page_file(self.sample)) if self.folder else None


def report(
    manifest: Path,
    probe: Iterable[Path],
    pages: Iterable[Path],
    made: Sequence[Path],
    output: Path,
    recipe: Recipe,
    networks: bool = False,
    people: Path | None = None,
    logs: Path | None = None,
) -> None:
    """Write the index page.

    Besides the manifest it reads what the pages of each shard left (`report.summaries`), one at a
    time, so that its memory hangs on the number of samples alone: some kilobytes each.

    Args:
        manifest: `dataset/manifest.parquet`, a row a sample.
        probe: the probe tables, for durations.
        pages: the folders of sample pages; a sample with a page in them gets a link.
        made: files whose recipes, with those of all that came before, are shown.
        output: `report/index.html`; the folders lie in `report/samples/`.
        recipe: of the stage `report`.
        networks: whether there is a page of trained networks beside it.
        people: `dataset/people.parquet`; None where people were not compared.
        logs: folder of the logs, for time and memory; None: nothing is said of them.
    """
    counts = read_counts(manifest)
    durations = _durations(probe)
    shards = list(pages)
    folders = page_folders(shards)
    together = overall.Overall()
    for one in summaries.read(shards):
        if one.sample in counts:
            together.add(one)
    rows = [
        _row(c, durations.get(c.sample), folders.get(c.sample), together.well.get(c.sample))
        for c in counts.values()
    ]
    recipes = _recipes(made)
    known = {*counts, *(path.name for path in shards)}
    write_text(
        output,
        render.page(
            "index.html",
            version=recipe.version,
            networks=networks,
            **_samples(rows, counts.values()),
            **_dataset(together, counts, folders),
            empty_splits=_empty_splits(recipes, counts.values()),
            **_people(people, rows),
            **_made(recipes, usage.usage(logs, words.LOGS, known) if logs else []),
        ),
    )


def _durations(tables: Iterable[Path]) -> dict[str, float]:
    found: dict[str, float] = {}
    for path in tables:
        with TableReader(path) as reader:
            table = reader.whole(["sample", "duration"])
        pairs = zip(*(table.column(c).to_pylist() for c in ("sample", "duration")), strict=True)
        found.update((name, value) for name, value in pairs if value is not None)
    return found


def _row(counts: Counts, duration: float | None, folder: str | None, measured: int | None) -> Row:
    return Row(
        sample=counts.sample,
        status=counts.status,
        reason=counts.reason,
        subject=counts.subject,
        split=counts.split,
        frames=counts.frames,
        with_face=counts.with_face,
        measured=measured,
        kept=counts.kept,
        duration=duration,
        folder=folder,
    )


def _recipes(made: Sequence[Path]) -> list[Recipe]:
    """The recipes of these files and of what they were made from, in the order of the chain."""
    found: dict[str, Recipe] = {}
    for path in made:
        document = read_metadata(path)
        recipes = {**document["upstream"], document["recipe"]["stage"]: document["recipe"]}
        found.update((stage, Recipe.from_dict(row)) for stage, row in recipes.items())
    return [found[stage] for stage in words.STAGES if stage in found]


def _samples(rows: Sequence[Row], counts: Collection[Counts]) -> dict[str, Any]:
    """Totals, the table of samples, and what became of the frames."""
    totals = {
        name: sum(getattr(c, name) for c in counts)
        for name in ("frames", "with_face", "considered", "kept")
    }
    rejected: Counter[str] = Counter()
    for one in counts:
        rejected.update(one.rejected)
    tally = Counter(row.status for row in rows)
    statuses = {str(s): tally[s] for s in SampleStatus if tally[s]}
    splits = Counter(row.split for row in rows if row.split)
    return {
        "lead": _lead(rows, statuses, totals),
        "rows": rows,
        "first_rows": FIRST_ROWS,
        "columns": _COLUMNS,
        "usable": sum(n for s, n in statuses.items() if s in DECODABLE),
        "totals": totals,
        "duration": sum(row.duration or 0.0 for row in rows),
        "subjects": len({row.subject for row in rows if row.subject}),
        "splits": dict(sorted(splits.items())),
        "statuses": statuses,
        "sample_words": {str(s): words.plain(s) for s in SampleStatus},
        "left_out": totals["considered"] - totals["kept"],
        "face_bars": [
            ("kept as examples", totals["kept"], "s-ok"),
            *((words.rejection(k), n, "s-lost") for k, n in rejected.most_common()),
        ],
        "pages": PAGES,
        "data": _data(rows),
    }


def _empty_splits(recipes: Sequence[Recipe], counts: Iterable[Counts]) -> str:
    """Which splits of the training set are empty, in words; "" where none is."""
    shares: Mapping[str, float] = next(
        (one.settings.get("splits", {}) for one in recipes if one.stage == "dataset"), {}
    )
    return lacking(((one.split, one.subject) for one in counts if one.kept), shares)


def _dataset(
    together: overall.Overall, counts: Mapping[str, Counts], folders: Mapping[str, str]
) -> dict[str, Any]:
    """The data set as a whole."""
    tally, units = together.statuses, together.action_units()
    found = alike.find(together.looks)
    return {
        "summed": together.frames,
        "frame_statuses": {str(s): tally[s] for s in FrameStatus if tally[s]},
        "frame_words": words.FRAME_STATUS,
        "missing": together.missing(),
        "pose": together.pose(),
        "action_units": units,
        "most": {
            one.key: (one.most[0], _page_of(one.most[0], folders)) for one in units if one.most
        },
        "quality": together.quality(),
        "copies": [_copies(one, counts, folders) for one in found[:MOST_COPIES]],
        "n_copies": len(found),
        "likeness": {
            "scene": alike.SAME_SCENE,
            "movement": alike.SAME_MOVEMENT,
            "picture": alike.SAME_PICTURE,
            "side": alike.SIDE,
        },
        "balance": overall.balance(counts.values()),
    }


def _copies(
    one: alike.Alike, counts: Mapping[str, Counts], folders: Mapping[str, str]
) -> dict[str, Any]:
    splits, subjects = overall.across(one.samples, counts)
    shown = one.samples[:MOST_NAMED]
    return {
        "how": words.ALIKE[one.how],
        "likeness": one.likeness if one.how == "looks" else None,
        "samples": [(name, _page_of(name, folders)) for name in shown],
        "more": len(one.samples) - len(shown),
        "splits": splits,
        "subjects": subjects,
    }


def _page_of(sample: str, folders: Mapping[str, str]) -> str | None:
    folder = folders.get(sample)
    return render.link(PAGES, folder, page_file(sample)) if folder else None


def _people(table: Path | None, rows: Sequence[Row]) -> dict[str, Any]:
    """Who is who, and who is in two splits."""
    if table is None:
        return {"people": None, "people_found": None, "people_data": [], "same_person": None}
    found: Found = found_in(table)
    people: list[Person] = read_people(table)
    index = {row.sample: i for i, row in enumerate(rows)}
    href = {row.sample: row.href for row in rows}
    return {
        "people": [
            {
                "person": one.person,
                "faces": one.faces,
                "tracks": [(f"{s} {t}", href.get(s)) for s, t in one.tracks[:MOST_NAMED]],
                "more": one.faces - len(one.tracks[:MOST_NAMED]),
                "subjects": one.subjects,
                "splits": one.splits,
                "similarity": one.similarity,
            }
            for one in people[:FIRST_ROWS]
        ],
        "people_found": found,
        "people_data": [
            [
                one.person,
                one.faces,
                [x for s, t in one.tracks for x in (index.get(s, -1), t)],
                one.subjects,
                one.splits,
                round(one.similarity, 3),
            ]
            for one in people
        ],
        "same_person": read_metadata(table)["recipe"]["settings"].get("same_person"),
    }


def _made(recipes: Sequence[Recipe], used: Sequence[usage.Use]) -> dict[str, Any]:
    """What made it: stages as a picture and in words, models, time and memory."""
    stages = [_stage(r) for r in recipes]
    took = {one.stage: render.seconds(one.cpu) + " CPU" for one in used}
    drawings = [
        pipeline.drawing(
            [r.stage for r in recipes],
            {r.stage: words.STAGES[r.stage][0] for r in recipes},
            {r.stage: r.backend or "" for r in recipes},
            took,
            down=down,
        )
        for down in (False, True)
    ]
    return {
        "stages": stages,
        "drawings": drawings,
        "models": _models(recipes),
        "embeddings": any(r.stage == "embed" for r in recipes),
        "used": [(words.LOGS[one.stage], one) for one in used],
        "cpu": sum(one.cpu for one in used),
    }


def _lead(rows: Sequence[Row], statuses: Mapping[str, int], totals: Mapping[str, int]) -> str:
    """What ran, in a sentence or two."""
    if not rows:
        return "The manifest names no sample."
    good = statuses.get(SampleStatus.OK, 0) + statuses.get(SampleStatus.TRUNCATED, 0)
    none = statuses.get(SampleStatus.NO_FACE, 0)
    left = statuses.get(SampleStatus.EXCLUDED, 0)
    failed = len(rows) - good - none - left
    n_rows = render.count(len(rows))
    parts = [f"{render.count(good)} of {n_rows} {plural(len(rows), 'sample')} gave measurements"]
    if none:
        parts.append(f"{render.count(none)} {'has' if none == 1 else 'have'} no face in any frame")
    if failed:
        parts.append(f"{render.count(failed)} could not be read")
    if left:
        parts.append(f"{render.count(left)} {'was' if left == 1 else 'were'} left out by a person")
    share = render.percent(totals["with_face"], totals["frames"])
    return (
        f"{listed(parts)}. The main face was seen in {share} of "
        f"{render.count(totals['frames'])} {plural(totals['frames'], 'frame')}; "
        f"{render.count(totals['kept'])} {plural(totals['kept'], 'example')} went "
        "into the training set."
    )


def _stage(recipe: Recipe) -> dict[str, Any]:
    title, does = words.STAGES[recipe.stage]
    if recipe.backend in ("3di", "3dilite"):
        does = words.OF_3DI.get(recipe.stage, does)
    return {
        "stage": recipe.stage,
        "title": title,
        "does": does,
        "backend": recipe.backend,
        "settings": list(_flat(recipe.settings)),
        "models": [model["name"] for model in recipe.models],
        "version": recipe.version,
        "code": recipe.code,
    }


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    for key, value in settings.items():
        name = f"{prefix}{words.setting_name(key)}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name}: ")
        else:
            yield name, words.setting(key, value)


def _models(recipes: Sequence[Recipe]) -> list[dict[str, str]]:
    """Each model once, with its licence as the tables say.

    Its citation is the registry's; of a file that is not registered, the one that the tables give.
    """
    known = registry()
    found: dict[str, dict[str, Any]] = {}
    for recipe in recipes:
        for model in recipe.models:
            row = found.setdefault(model["sha256"], {**model, "stages": []})
            row["stages"].append(words.STAGES[recipe.stage][0])
    result = []
    for row in found.values():
        entry = known.get(row["name"])
        ours = asdict(entry) if entry is not None and entry.sha256 == row["sha256"] else {}
        result.append(
            {
                "name": row["name"],
                "sha256": row["sha256"],
                "licence": row["licence"],
                "used_by": ", ".join(row["stages"]),
                "task": ours.get("task", _BUILT if row["name"] in SOURCES else ""),
                "citation": ours.get("citation", row.get("citation", "")),
            }
        )
    return result


def _data(rows: Sequence[Row]) -> dict[str, Any]:
    """The table for the page's script, without names of its columns: it may be long."""
    folders = {name: i for i, name in enumerate(dict.fromkeys(r.folder for r in rows if r.folder))}
    return {
        "pages": PAGES,
        "folders": list(folders),
        "rows": [
            [
                r.sample,
                r.status,
                r.reason,
                r.subject,
                r.split,
                r.frames,
                r.with_face,
                r.measured,
                r.kept,
                None if r.duration is None else round(r.duration, 2),
                folders[r.folder] if r.folder else -1,
            ]
            for r in rows
        ],
    }
