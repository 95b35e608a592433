"""facemake qc: what a careful person would look at first, and what to leave out."""

from __future__ import annotations

import argparse
import csv
import io
import json
import math
import os
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from facemake.counting import counted, plural
from facemake.errors import FacemakeError
from facemake.exclusions import COLUMNS as EXCLUDE_COLUMNS
from facemake.exclusions import Exclusions
from facemake.qc.findings import KINDS, Finding
from facemake.runtime.atomic import write_text
from facemake.runtime.screen import Line
from facemake.samples import WORK

if TYPE_CHECKING:
    from facemake.qc.run import Looked

_COLUMNS = (
    *("severity", "kind", "sample", "track", "first", "last", "start", "end"),
    *("measure", "value", "limit", "why", "page"),
)
_SHOWN = 15


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "qc",
        help="list what a careful person would look at first, and what to leave out",
        description="Read the tables of a finished run and write two files. review.tsv lists "
        "findings, worst first, each with its sample, frames, measure, limit and reason. "
        "exclude.tsv proposes what to leave out of the training set: edit it, then name it with "
        "`dataset: {exclude: qc/exclude.tsv}`. Nothing is measured again and nothing else is "
        "changed.",
        epilog="findings: "
        + "; ".join(f"{kind} ({level}): {words}" for kind, (level, words) in KINDS.items())
        + ". example: facemake qc --output qc",
    )
    parser.add_argument(
        "samples",
        nargs="*",
        metavar="SAMPLE",
        help="print only findings about these samples, still compared with all (default: write "
        "those of all samples to files)",
    )
    parser.add_argument(
        "-d", "--directory", type=Path, default=Path(), help="the run's folder (default: this one)"
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help="where to write (default: qc in the run's folder)",
    )
    parser.add_argument(
        "--force", action="store_true", help="write a new exclude.tsv; your edits are lost"
    )
    parser.add_argument(
        "--json", action="store_true", help="print the findings as JSON, for scripts"
    )
    parser.set_defaults(function=_qc)


def _qc(options: argparse.Namespace, rest: list[str]) -> int:
    from facemake.qc.run import look

    output = options.output or options.directory / "qc"
    results, left_out, shards = _run_in(options.directory)
    with Line() as line:
        looked = look(
            results,
            frozenset(options.samples),
            lambda done: line.tell(lambda: counted(done, "sample")),
        )
    proposed = exclusions(looked.findings)
    news = [one for one in looked.findings if not _covered(one, left_out)]
    already, looked.findings = len(looked.findings) - len(news), news
    review, exclude = output / "review.tsv", output / "exclude.tsv"
    # of some samples alone, only where it is said: a proposal that is there is not made again
    is_written = not options.samples or options.output is not None
    kept = exclude.exists() and not options.force
    if is_written:
        try:
            write_text(review, _table(_COLUMNS, _rows(looked, results, output)))
            if not kept:
                write_text(exclude, proposed)
        except OSError as error:
            raise FacemakeError(
                f"{output} cannot be written to: {error.strerror}; --output names another folder"
            ) from None
    if options.json:
        json.dump([_document(one) for one in looked.findings], sys.stdout, indent=1)
        print()
        return 0
    _say(looked, already, _SHOWN if is_written else len(looked.findings))
    unprobed = sum(not (results / "probe" / f"{shard}.parquet").is_file() for shard in shards)
    if unprobed or looked.unfinished:
        yet = counted(len(looked.unfinished), "sample")
        print(
            f"the run is not finished: {yet} without detections, landmarks or fit"
            + (f", {unprobed} of {counted(len(shards), 'shard')} not probed" if unprobed else "")
        )
    if is_written:
        print(f"{review} lists all; {exclude} {_of_exclude(looked, kept, _from(exclude, options))}")
    return 0


def _run_in(directory: Path) -> tuple[Path, Exclusions, list[str]]:
    """The results folder of the run in a folder, what it leaves out of its training set, shards."""
    if not (directory / WORK / "plan.json").exists():
        return directory / "results", Exclusions(), []
    from facemake.plan import load

    plan = load(directory / WORK)
    rows = [row for rows in plan.excluded.values() for row in rows]
    return directory / plan.config["outdir"], Exclusions(rows), plan.shards


def _covered(one: Finding, left_out: Exclusions) -> bool:
    return left_out.covers(one.sample, one.first, one.last)


def _rows(looked: Looked, results: Path, folder: Path) -> Iterable[list[str]]:
    for one in looked.findings:
        page = looked.pages.get(one.sample)
        where = quote(os.path.relpath(results / page, folder)) if page else ""
        if where and one.first is not None:
            where += f"#frame-{one.first}"  # the page opens there
        yield [
            str(one.severity),
            one.kind,
            one.sample,
            *(_cell(value) for value in (one.track, one.first, one.last)),
            *(_number(value, ".3f") for value in (one.start, one.end)),
            one.measure,
            *(_number(value, ".4g") for value in (one.value, one.limit)),
            one.why,
            where,
        ]


def exclusions(findings: Iterable[Finding]) -> str:
    """The text of exclude.tsv: what is severe as it stands, the rest behind # to be taken up."""
    rows = []
    for one in findings:
        if one.kind == "unusable":
            continue  # it gave nothing that could be left out
        mark = "" if one.severity == max(level for level, _ in KINDS.values()) else "# "
        cells = [one.sample, _cell(one.first), _cell(one.last)]
        rows.append([mark + cells[0], *cells[1:], f"{one.kind}: {one.why}"])
    return _table(EXCLUDE_COLUMNS, rows)


def _table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    text = io.StringIO()
    # a quote is a letter like any other: no cell spans lines, and none has a tab
    writer = csv.writer(
        text, "excel-tab", lineterminator="\n", quoting=csv.QUOTE_NONE, quotechar=None
    )
    writer.writerow(columns)
    writer.writerows([[" ".join(cell.split()) for cell in row] for row in rows])
    return text.getvalue()


def _cell(value: int | None) -> str:
    return "" if value is None else str(value)


def _number(value: float | None, form: str) -> str:
    return "" if value is None or not math.isfinite(value) else format(value, form)


def _document(one: Finding) -> dict[str, Any]:
    names = ("kind", "severity", "sample", "track", "first", "last", "start", "end", "measure")
    numbers = {
        name: value if math.isfinite(value) else None
        for name, value in (("value", one.value), ("limit", one.limit))
    }
    return {**{name: getattr(one, name) for name in names}, **numbers, "why": one.why}


def _say(looked: Looked, already: int, most: int) -> None:
    samples, frames = counted(looked.samples, "sample"), counted(looked.frames, "frame")
    print(f"{samples}, {frames}: {counted(len(looked.findings), 'finding')}")
    counts = Counter(one.kind for one in looked.findings)
    for kind, (level, words) in KINDS.items():
        if counts[kind]:
            print(f"  {level} {kind:<11} {counts[kind]:>6}  {words}")
    for one in looked.findings[:most]:
        where = "" if one.first is None else f" {one.first}-{one.last}"
        track = "" if one.track is None else f" track {one.track}"
        print(f"{one.severity} {one.sample}{track}{where}: {one.kind}, {one.why}")
    if len(looked.findings) > most:
        print(f"... {len(looked.findings) - most} more")
    if already:
        are = plural(already, "is", "are")
        print(f"{already} more {are} about what dataset.exclude leaves out already")
    for words in looked.unsaid:
        print(f"not looked at: {words}")


def _from(path: Path, options: argparse.Namespace) -> Path:
    """A file as the config of the run names it: from the run's folder."""
    path, folder = path.absolute(), options.directory.absolute()
    return path.relative_to(folder) if path.is_relative_to(folder) else path


def _of_exclude(looked: Looked, kept: bool, named: Path) -> str:
    if kept:
        return "is as you left it (--force writes it anew)"
    taken = sum(one.severity == 3 and one.kind != "unusable" for one in looked.findings)
    return (
        f"proposes {taken} to be left out, the others behind #; edit it, then set "
        f"`dataset: {{exclude: {named}}}`"
    )
