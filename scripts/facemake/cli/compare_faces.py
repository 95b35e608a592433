"""facemake compare-faces: how alike the faces of pictures are."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from facemake.backends.detect import DETECTORS
from facemake.backends.embed import EMBEDDERS
from facemake.choosing.pictures import Looked, frames_of, named, recordings
from facemake.cli.arguments import add_device, add_models_dir
from facemake.errors import FacemakeError, ModelError
from facemake.models import use_models_dir
from facemake.recognition.config import Config
from facemake.recognition.likeness import Likeness, likeness
from facemake.recognition.packs import Pack
from facemake.recognition.recognizer import Recognizer
from facemake.runtime.quiet import quiet_libraries

_WIDEST = 24


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "compare-faces",
        help="measure how alike the faces of pictures and videos are, by their embeddings",
        description="Find the faces in pictures and in a frame of each video, embed them, and "
        "print how alike they are: the cosine of the angle between their vectors, at most 1. The "
        "vectors are biometric data; none are kept.",
        epilog="example: facemake compare-faces anna.jpg party/ --embedder dlib",
    )
    parser.add_argument(
        "paths", type=Path, nargs="+", metavar="PATH", help="pictures, videos and folders of them"
    )
    parser.add_argument(
        "--detector",
        choices=DETECTORS,
        default="mediapipe",
        metavar="NAME",
        help=f"{', '.join(DETECTORS)} (default: mediapipe)",
    )
    parser.add_argument(
        "--embedder",
        choices=list(EMBEDDERS),
        default="dlib",
        metavar="NAME",
        help=f"{', '.join(EMBEDDERS)} (default: dlib)",
    )
    parser.add_argument(
        "--model",
        metavar="NAME",
        help="your own model file for the embedder, in a folder of models",
    )
    parser.add_argument(
        "--pack",
        action="store_true",
        help="use the pack that create_backend() would take, by LUMEN_FACE_* variables, instead",
    )
    add_device(parser)
    parser.add_argument(
        "--flip", action="store_true", help="average each face with its mirror image"
    )
    parser.add_argument(
        "--frames",
        type=int,
        default=1,
        metavar="N",
        help="how many frames of each video (default: 1); folders: every picture",
    )
    parser.add_argument(
        "--json", action="store_true", help="print JSON, for scripts, with the boxes"
    )
    add_models_dir(parser)
    parser.set_defaults(function=_compare)


def _compare(options: argparse.Namespace, rest: list[str]) -> int:
    if options.frames < 1:
        raise FacemakeError("--frames must be 1 or more")
    use_models_dir(options.models_dir)
    paths = recordings(options.paths)
    # a pack warns by itself where there is no GPU
    quiet = nullcontext(sys.stderr) if options.pack else quiet_libraries()
    with quiet as terminal, _recognizer(options) as recognizer:
        row = recognizer.row
        say = partial(print, file=terminal)
        found = likeness(recognizer, _pictures(paths, options.frames, say), say, options.flip)
    if not found.names:
        raise FacemakeError(
            f"no face was found in {', '.join(map(str, options.paths))}: try another --detector "
            f"({', '.join(DETECTORS)})"
        )
    # a file of the user's is another network than the threshold is of
    same = None if options.model else row.same_person
    if options.json:
        document = {
            "faces": [
                {"name": name, "bbox": [float(v) for v in box]}
                for name, box in zip(found.names, found.boxes, strict=True)
            ],
            "similarities": [[round(float(v), 6) for v in line] for line in found.similarities],
            "same_person": same,
            "chip": row.chip,
        }
        print(json.dumps(document, indent=1))
        return 0
    print(_words(found, same))
    return 0


def _recognizer(options: argparse.Namespace) -> Recognizer:
    if not options.pack:
        return Recognizer.of_backends(
            options.detector, options.embedder, options.device, embed_model=options.model
        )
    config = Config.from_env()
    if absent := Pack(config).absent():
        raise ModelError(absent)
    from facemake.recognition.backend import recognizer_of_pack

    return recognizer_of_pack(config)


def _pictures(paths: list[Path], count: int, say: Callable[[str], None]) -> Iterator[Looked]:
    names = named(paths)
    for path in paths:
        # all pictures of a folder, and some frames of a video
        yield from frames_of(path, sys.maxsize if path.is_dir() else count, say, names)


def _words(found: Likeness, same: float | None) -> str:
    n = len(found.names)
    wide = len(str(n))
    lines = [f"{i + 1:>{wide}}  {name}" for i, name in enumerate(found.names)]
    lines.append("")
    if n <= _WIDEST:
        lines.append(" " * wide + "".join(f"{i + 1:>7}" for i in range(n)))
        for i, values in enumerate(found.similarities):
            lines.append(f"{i + 1:>{wide}}" + "".join(f"{value:7.3f}" for value in values))
    else:
        lines.append(f"{n} faces are too many for a table here: --json has it")
    if same is None:
        lines.append(
            "nobody published from which similarity on two are one person: compare people whom you "
            "know, or measure it in a run's results by `facemake identities verify`"
        )
        return "\n".join(lines)
    pairs = [
        f"{i + 1} and {j + 1}"
        for i in range(n)
        for j in range(i + 1, n)
        if found.similarities[i, j] >= same
    ]
    alike = ", ".join(pairs[:_WIDEST]) + (", ..." if len(pairs) > _WIDEST else "")
    lines.append(f"taken for one person (from {same:g} on): {alike or 'no two'}")
    return "\n".join(lines)
