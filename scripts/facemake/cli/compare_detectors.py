"""facemake compare-detectors: which detector suits one's own pictures."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any

from facemake.backends.detect import DETECTORS
from facemake.choosing.consensus import AGREEING, Standing, standings
from facemake.choosing.pictures import Looked, frames_of, named, recordings
from facemake.choosing.run import Comparison, compare
from facemake.choosing.sheet import contact_sheet
from facemake.cli.arguments import add_device, add_models_dir
from facemake.cli.tables import as_csv
from facemake.counting import counted
from facemake.errors import FacemakeError
from facemake.extraction.settings import SMALLEST_TILE, check_whole
from facemake.models import registry, use_models_dir
from facemake.runtime.atomic import replacing, write_text
from facemake.runtime.job import THREAD_VARIABLES
from facemake.runtime.quiet import quiet_libraries
from facemake.runtime.screen import Line

_SLOW = "dlib-cnn"


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "compare-detectors",
        help="compare installed face detectors on your own pictures: recall, speed, contact sheet",
        description="Run every installed detector on pictures and on evenly spread frames of "
        "videos. No faces are labelled by hand: a face counts as real if at least "
        f"{AGREEING} other detectors find it (with fewer than {AGREEING + 1} detectors: all "
        "others). Of each detector only detections at or above its start_score count.",
        epilog="example: facemake compare-detectors recordings/ --frames 12 --output detectors",
    )
    parser.add_argument(
        "paths", type=Path, nargs="+", metavar="PATH", help="videos, pictures and folders of them"
    )
    parser.add_argument(
        "--detectors",
        type=lambda text: text.split(","),
        default=[name for name in DETECTORS if name != _SLOW],
        metavar="NAME,...",
        help=f"which to compare, separated by commas: {', '.join(DETECTORS)} (default: all but "
        f"{_SLOW}, which takes seconds per picture)",
    )
    parser.add_argument(
        "--frames",
        type=int,
        default=24,
        metavar="N",
        help="how many frames of each video or folder of pictures (default: 24)",
    )
    add_device(parser)
    parser.add_argument(
        "--tile",
        type=int,
        metavar="PX",
        help="also search larger pictures in tiles of this size, as detect.tile does (default: no "
        "tiles)",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("compare-detectors"),
        metavar="DIR",
        help="where to write the tables and the contact sheet (default: compare-detectors)",
    )
    add_models_dir(parser)
    parser.set_defaults(function=_compare)


def _compare(options: argparse.Namespace, rest: list[str]) -> int:
    unknown = [name for name in options.detectors if name not in DETECTORS]
    if unknown:
        raise FacemakeError(
            f"there is no detector {', '.join(unknown)}; there are {', '.join(DETECTORS)}"
        )
    check_whole("--frames", options.frames, 1)
    if options.tile is not None:
        check_whole("--tile", options.tile, SMALLEST_TILE)
    use_models_dir(options.models_dir)
    paths = recordings(options.paths, options.output)
    options.output.mkdir(parents=True, exist_ok=True)  # what refuses that does so before hours
    for name in THREAD_VARIABLES:  # torch has as many threads as there are cores
        os.environ[name] = "1"
    with quiet_libraries() as terminal, Line(stream=terminal) as line:
        result = compare(
            _pictures(paths, options.frames, line),
            options.detectors,
            options.device,
            lambda count: line.tell(lambda: counted(count, "picture")),
            options.tile,
        )
    if not result.pictures:
        with suppress(OSError):  # what an earlier comparison left in it stays
            options.output.rmdir()
        raise FacemakeError("none of the recordings could be read: the lines above say why")
    judged = standings([picture.faces for picture in result.pictures], result.detectors)
    write_text(options.output / "detectors.tsv", as_csv(_figures(result, judged), "\t"))
    write_text(options.output / "faces.tsv", as_csv(_faces(result), "\t"))
    with replacing(options.output / "sheet.png") as beside:
        beside.write_bytes(contact_sheet(result))
    print(_words(result, judged))
    print(f"{options.output / 'sheet.png'} shows where they differ; tables lie beside it")
    return 0


def _pictures(paths: Sequence[Path], count: int, line: Line) -> Iterator[Looked]:
    names = named(paths)
    for path in paths:
        yield from frames_of(path, count, line.say, names)


def _figures(result: Comparison, judged: dict[str, Standing]) -> list[dict[str, Any]]:
    rows = []
    for name, one in judged.items():
        row = DETECTORS[name]
        rows.append(
            {
                "detector": name,
                "pictures": len(result.pictures),
                "agreed_faces": one.agreed,
                "found": one.found,
                "recall": "" if not one.agreed else f"{one.recall:.3f}",
                "detections": one.total,
                "alone": one.alone,
                "ms_a_picture": f"{1000 * median(result.seconds[name]):.1f}",
                "device": result.devices[name],
                "points": row.points,
                "licence": "; ".join(dict.fromkeys(registry()[m].licence for m in row.models)),
                "use": row.use,
            }
        )
    return rows


def _faces(result: Comparison) -> list[dict[str, Any]]:
    rows = []
    for picture in result.pictures:
        for number, face in enumerate(picture.faces):
            row: dict[str, Any] = {"picture": picture.name, "face": number}
            row |= {k: f"{v:.1f}" for k, v in zip("xywh", face.bbox.tolist(), strict=True)}
            for name in result.detectors:
                index = face.found.get(name)
                row[name] = "" if index is None else f"{picture.found[name].score[index]:.3f}"
            rows.append(row)
    return rows


def _words(result: Comparison, judged: dict[str, Standing]) -> str:
    lines = [f"{'detector':16} {'recall':>16} {'alone':>6} {'ms':>8}  {'on':4}  use"]
    for name in sorted(judged, key=lambda n: (-judged[n].found, n)):
        one = judged[name]
        recall = f"{one.found} of {one.agreed}" + (f" ({one.recall:.0%})" if one.agreed else "")
        milliseconds = 1000 * median(result.seconds[name])
        on, use = result.devices[name], DETECTORS[name].use
        lines.append(f"{name:16} {recall:>16} {one.alone:6} {milliseconds:8.1f}  {on:4}  {use}")
    lines.append("")
    others = min(AGREEING, len(judged) - 1)
    agreed = "1 other sees" if others == 1 else f"{others} others agree on"
    if not others:
        agreed = "others agree on (there is no other here: compare at least two)"
    lines.append(
        f"recall: of the faces that {agreed}, in "
        f"{counted(len(result.pictures), 'picture')}; alone: detections that no other confirms; "
        "ms: median of a picture, decoding apart, of CPU time (on a GPU: as a clock has it)"
    )
    for name, why in result.missing.items():
        lines.append(f"not here: {name}: {why}")
    return "\n".join(lines)
