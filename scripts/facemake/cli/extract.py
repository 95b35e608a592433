"""facemake extract: the faces of pictures and videos as files."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from facemake.backends.detect import DETECTORS
from facemake.backends.landmarks import LANDMARKERS
from facemake.cli.arguments import add_device, add_models_dir
from facemake.extraction.settings import DEFAULT, FORMATS, QUALITY, TEMPLATES
from facemake.models import use_models_dir

_DEFAULT_BACKEND = "mediapipe"
_INTERRUPTED = 130


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "extract",
        help="cut the faces out of pictures and videos: aligned crops and a table of them",
        description="Find the faces in pictures and videos and write each to a file, aligned by a "
        "template, with a table of all of them (faces.parquet). Work that is done is not repeated: "
        "after an interruption the same command continues.",
        epilog="templates: "
        + "; ".join(f"{one.name}: {one.says}" for one in TEMPLATES.values())
        + ". example: facemake extract train/ test/ --out crops --backend scrfd",
    )
    parser.add_argument(
        "paths",
        nargs="+",
        metavar="PATH",
        help="pictures, videos, and folders of them at any depth",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where to write")
    parser.add_argument(
        "--backend",
        default=_DEFAULT_BACKEND,
        metavar="NAME",
        help=f"the detector: {', '.join(DETECTORS)} (default: {_DEFAULT_BACKEND})",
    )
    parser.add_argument(
        "--template",
        choices=list(TEMPLATES),
        default=DEFAULT,
        metavar="NAME",
        help=f"how to align faces: {', '.join(TEMPLATES)} (default: {DEFAULT})",
    )
    parser.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="number of processes, each with its own model (default: as many as cores and memory "
        "allow, judging by what the first one took)",
    )
    parser.add_argument(
        "--padding",
        type=float,
        metavar="SHARE",
        help="for dino256 and raw: share of the box added on each side (default: 0.2 and 0)",
    )
    parser.add_argument(
        "--format", choices=FORMATS, default="jpg", help="file format of the crops (default: jpg)"
    )
    parser.add_argument(
        "--quality",
        type=int,
        default=QUALITY,
        metavar="1-100",
        help=f"JPEG quality (default: {QUALITY})",
    )
    parser.add_argument(
        "--frame-step",
        type=int,
        default=1,
        metavar="N",
        help="use every N-th frame of a video (default: 1)",
    )
    parser.add_argument(
        "--min-score",
        type=float,
        metavar="0-1",
        help="leave out faces with a lower score (default: the score at which the detector starts "
        "a track)",
    )
    parser.add_argument(
        "--model", metavar="FILE", help="your own model file, by its name in --models-dir"
    )
    parser.add_argument(
        "--landmarks",
        choices=[name for name, row in LANDMARKERS.items() if not row.given],
        default="mediapipe478",
        help="the landmark network for openface112 (default: mediapipe478)",
    )
    add_device(parser)
    parser.add_argument(
        "--tile",
        type=int,
        metavar="PX",
        help="also search larger pictures in tiles of this size, such as 1280, for small faces "
        "(default: no tiles)",
    )
    parser.add_argument("--csv", action="store_true", help="also write the table as faces.csv")
    parser.add_argument(
        "--prune", action="store_true", help="remove crops of inputs that are no longer named"
    )
    add_models_dir(parser)
    parser.set_defaults(function=_extract)


def _extract(options: argparse.Namespace, rest: list[str]) -> int:
    from facemake.extraction import extract_faces

    use_models_dir(options.models_dir)
    try:
        extract_faces(
            options.paths,
            options.out,
            options.backend,
            options.workers,
            options.template,
            padding=options.padding,
            format=options.format,
            quality=options.quality,
            frame_step=options.frame_step,
            min_score=options.min_score,
            model_file=options.model,
            landmarks=options.landmarks,
            device=options.device,
            tile=options.tile,
            csv=options.csv,
            prune=options.prune,
        )
    except KeyboardInterrupt:
        return _INTERRUPTED
    return 0
