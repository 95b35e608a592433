"""facemake extract: the faces of pictures and videos as files."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from facemake.backends.detect import DETECTORS
from facemake.backends.landmarks import LANDMARKERS
from facemake.extraction.settings import DEFAULT, FORMATS, QUALITY, TEMPLATES
from facemake.models import use_models_dir

_DEFAULT_BACKEND = "mediapipe"
_INTERRUPTED = 130


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "extract",
        help="cut the faces out of pictures and videos: aligned crops and a table of them",
        description="Finds the faces of pictures and videos and writes each as a file of its own, "
        "aligned by a template, with a table of all (faces.parquet). What was done is not done "
        "again: after an interruption the same command goes on.",
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
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument(
        "--backend",
        default=_DEFAULT_BACKEND,
        metavar="NAME",
        help=f"the detector ({_DEFAULT_BACKEND}): {', '.join(DETECTORS)}",
    )
    parser.add_argument(
        "--template",
        choices=list(TEMPLATES),
        default=DEFAULT,
        metavar="NAME",
        help=f"({DEFAULT}): {', '.join(TEMPLATES)}",
    )
    parser.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="processes, each with a model of its own (as many as cores and memory allow, by what "
        "the first one took)",
    )
    parser.add_argument(
        "--padding",
        type=float,
        metavar="SHARE",
        help="of dino256 and raw: share of the box added on each side (0.2, 0)",
    )
    parser.add_argument("--format", choices=FORMATS, default="jpg", help="(jpg)")
    parser.add_argument(
        "--quality", type=int, default=QUALITY, metavar="1-100", help=f"of JPEG ({QUALITY})"
    )
    parser.add_argument(
        "--frame-step", type=int, default=1, metavar="N", help="of videos every N-th frame (1)"
    )
    parser.add_argument(
        "--min-score",
        type=float,
        metavar="0-1",
        help="leave out faces below (what the detector starts a track at)",
    )
    parser.add_argument(
        "--model", metavar="FILE", help="a model file of your own, by its name in --models-dir"
    )
    parser.add_argument(
        "--landmarks",
        choices=[name for name, row in LANDMARKERS.items() if not row.given],
        default="mediapipe478",
        help="the network for openface112 (mediapipe478)",
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="(cpu)")
    parser.add_argument(
        "--tile",
        type=int,
        metavar="PX",
        help="look at larger pictures in tiles too, for small faces (as one; 1280, say)",
    )
    parser.add_argument("--csv", action="store_true", help="the table as faces.csv, too")
    parser.add_argument(
        "--prune", action="store_true", help="remove crops of inputs that are not named any more"
    )
    parser.add_argument(
        "--models-dir", type=Path, metavar="DIR", help="a folder to look through before others"
    )
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
