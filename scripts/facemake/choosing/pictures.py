"""Some pictures of what a user has: evenly spread frames of videos, pictures of folders."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from facemake.errors import FacemakeError
from facemake.media import Kind, MediaError, content_files, open_media
from facemake.media.images import ImageMedia
from facemake.media.suffixes import taken_for
from facemake.samples import Sample
from facemake.status import FrameStatus


@dataclass(frozen=True)
class Looked:
    """A picture that all detectors look at.

    Attributes:
        name: of its file, with as many of the folders above it as tell it from all others, and
            the frame's index where it is one of several.
        rgb: (H, W, 3) uint8 RGB.
    """

    name: str
    rgb: NDArray[np.uint8]


def recordings(paths: Sequence[Path], output: Path | None = None) -> list[Path]:
    """The videos, pictures and folders of pictures that paths name.

    A folder stands for the videos in it, at any depth, and for each folder with pictures.

    Args:
        paths: of them.
        output: a folder inside that is passed over: what an earlier comparison wrote.

    Raises:
        FacemakeError: a path is not there, or there is nothing to look at.
    """
    found: list[Path] = []
    for path in paths:
        if not path.exists():
            raise FacemakeError(f"{path} is not there")
        passed_over = {output.resolve()} if output is not None else set()
        if path.resolve() in passed_over:
            raise FacemakeError(
                f"{path} is the folder of recordings and of what is written (--output): the "
                "contact sheet would be a picture among them; give another one"
            )
        found += _inside(path, passed_over) if path.is_dir() else [path]
    if not found:
        raise FacemakeError(
            f"there is no picture and no video in {', '.join(map(str, paths))} (hidden files do "
            "not count)"
        )
    return found


def _inside(folder: Path, seen: set[Path]) -> list[Path]:
    """What is in a folder that was not `seen`, by another link."""
    if (real := folder.resolve()) in seen:
        return []
    seen.add(real)
    entries = [e for e in sorted(folder.iterdir()) if not e.name.startswith(".")]
    videos = [entry for entry in entries if entry.is_file() and taken_for(entry) is Kind.VIDEO]
    deeper = [path for e in entries if e.is_dir() for path in _inside(e, seen)]
    return [*([folder] if content_files(folder) else []), *deeper, *videos]


def named(paths: Iterable[Path]) -> dict[Path, str]:
    """A name of each file: the last parts of its path, as few as tell it from all others.

    Args:
        paths: recordings; a folder stands for the pictures in it.
    """
    files = [file for path in paths for file in (content_files(path) if path.is_dir() else [path])]
    names: dict[Path, str] = {}
    left, parts = dict.fromkeys(files), 1
    while left:
        tails = {file: "/".join(file.parts[-parts:]) for file in left}
        often = Counter(tails.values())
        done = [file for file in left if often[tails[file]] == 1 or parts >= len(file.parts)]
        names |= {file: tails[file] for file in done}
        left = {file: None for file in left if file not in names}
        parts += 1
    return names


def frames_of(
    path: Path,
    count: int,
    say: Callable[[str], None],
    names: Mapping[Path, str] = MappingProxyType({}),
) -> Iterator[Looked]:
    """At most `count` pictures of a recording, evenly spread over it.

    Args:
        path: a video, a picture or a folder of pictures.
        count: how many.
        say: is told of what cannot be read.
        names: of files (`named`); those that have none here are called by their own.
    """
    sample = Sample(path.name, path, path.name)
    whole = names.get(path, path.name)
    try:
        with open_media(sample) as media:
            n = sum(1 for _ in media.sizes())
        wanted = sorted({int((i + 0.5) * n / min(n, count)) for i in range(min(n, count))})
        with open_media(sample) as media:
            for frame in media.pick(wanted, None):
                if frame.status is not FrameStatus.OK:
                    say(f"{whole}: frame {frame.index} cannot be decoded: {frame.error}")
                    continue
                if isinstance(media, ImageMedia):
                    file = media.paths[frame.index]
                    name = names.get(file, file.name)
                else:
                    name = whole if n == 1 else f"{whole} #{frame.index}"
                yield Looked(name, frame.rgb)
    except MediaError as error:
        say(f"{whole}: {error.status}, {error.reason}")
