"""What is asked for as a list of inputs, and where the crops of each go: no two share a file.

A picture's first crop has its path below the common folder (`train/x.jpg`), further ones a number
(`train/x_1.jpg`). A video's crops lie in a folder of its name, by frame (`clip/000012.jpg`,
`clip/000012_1.jpg`). Where two inputs would have one name (x.jpg and x.png; X.jpg and x.jpg, which
are one file on many disks), the later one keeps its suffix (`x.png.jpg`); a number that is another
input's name (x_1.jpg beside x.jpg) is skipped. A name that with what is added to it could be longer
than file names may be is cut, and ends in a digest of the whole.
"""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path, PurePosixPath

from facemake.errors import FacemakeError
from facemake.extraction.journal import NAME
from facemake.media import Kind, MediaError, classify, natural_key
from facemake.media.files import PICTURE_SUFFIXES
from facemake.media.suffixes import taken_for

TABLE = "faces.parquet"
CSV = "faces.csv"

_SHOWN = 10
_LONGEST = 230
"""Bytes of a name; with a number, a suffix and what a file has until it is whole, below 255."""


@dataclass(frozen=True, slots=True)
class Input:
    """A picture or a video.

    Attributes:
        path: absolute.
        name: its path below the common folder, with `/`.
        video: whether it is named as a video: a folder of crops.
        output: of its first crop without suffix; of a video, of the folder.
        taken: numbers that its further crops leave out.
        start: frame of a video before which all is done.
    """

    path: Path
    name: str
    video: bool
    output: str = ""
    taken: tuple[int, ...] = ()
    start: int = 0

    def crop(self, kind: str, face: int, frame: int = 0) -> str:
        """Path of a crop below the output folder, with `/`.

        Args:
            kind: the suffix.
            face: from 0 in its picture or frame.
            frame: of a video.
        """
        if self.video:
            return f"{self.output}/{numbered(f'{frame:06d}', face)}.{kind}"
        number = face
        for taken in self.taken:  # rising
            if number and taken <= number:
                number += 1
        return f"{numbered(self.output, number)}.{kind}"


def numbered(stem: str, number: int) -> str:
    """The stem of a crop: the first one has no number."""
    return f"{stem}_{number}" if number else stem


@dataclass(frozen=True)
class Listed:
    """The inputs of a run.

    Attributes:
        root: the folder that all of them are below.
        inputs: by name in natural order, each once.
        repeated: how many were named more than once.
        crops: folders of crops of other extractions, which are passed over.
        others: files of folders that are neither named as nor begin as pictures or videos.
    """

    root: Path
    inputs: list[Input]
    repeated: int
    crops: tuple[Path, ...] = ()
    others: tuple[Path, ...] = ()


def listed(paths: Iterable[str | Path], out: Path, kind: str) -> Listed:
    """The inputs that paths name.

    Args:
        paths: pictures, videos, and folders, of which all pictures and videos count, at any depth,
            but for hidden ones and folders with crops of another extraction.
        out: the output folder.
        kind: suffix of crops.

    Raises:
        FacemakeError: a path is not there, no path is given, or an input lies in the output folder.
    """
    given = [_absolute(Path(path)) for path in paths]
    missing = [str(path) for path in given if not os.path.lexists(path)]
    if missing:
        more = f", and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        raise FacemakeError(f"there is no {', '.join(missing[:_SHOWN])}{more}")
    target = Path(os.path.realpath(out))
    within = [path for path in given if target in (_real(path), *_real(path).parents)]
    if within:
        raise FacemakeError(
            f"{_some(within)} lies in the output folder {out}: crops would stand among the inputs, "
            "or in their place. Give the crops a folder of their own"
        )
    files: dict[Path, None] = {}
    roots: set[Path] = set()
    crops: dict[Path, None] = {}
    others: dict[Path, None] = {}
    named_in_all = 0
    for path in given:
        if os.path.isdir(path):  # noqa: PTH112  # what a link may not lead to is no folder
            roots.add(path)
            found: Iterable[Path] = _inside(path, target, crops, others)
        else:
            roots.add(path.parent)
            found = [path]
        for one in found:
            named_in_all += 1
            files[one] = None
    if not files:
        raise FacemakeError(
            "there is nothing to extract faces from: "
            + ("no path is given" if not given else f"no picture or video in {_some(given)}")
        )
    root = Path(os.path.commonpath(roots))
    inputs = [
        Input(path, path.relative_to(root).as_posix(), _is_video(path))
        for path in sorted(files, key=lambda path: _order(path.relative_to(root).as_posix()))
    ]
    repeated = named_in_all - len(files)
    return Listed(root, named(inputs, kind), repeated, tuple(sorted(crops)), tuple(sorted(others)))


def _absolute(path: Path) -> Path:
    """Without `..`; a name that begins with ~ is the home of somebody only if it is no file."""
    if not os.path.lexists(path):
        with suppress(RuntimeError):  # there is nobody of that name
            path = path.expanduser()
    return Path(os.path.abspath(path))  # noqa: PTH100


def _order(name: str) -> tuple[list[tuple[list[str | int], str]], str]:
    """Folder by folder, in natural order."""
    return [natural_key(part) for part in PurePosixPath(name).parts], name


def _real(path: Path) -> Path:
    """Where a path leads but for its last part: a link is an input where it stands."""
    return Path(os.path.realpath(path.parent)) / path.name


def _some(paths: Sequence[Path]) -> str:
    text = ", ".join(map(str, paths[:3]))
    return f"{text} (and {len(paths) - 3} more)" if len(paths) > 3 else text


def _inside(
    folder: Path, out: Path, crops: dict[Path, None], others: dict[Path, None]
) -> Iterator[Path]:
    """Pictures and videos at any depth; what other extractions wrote is noted in `crops`.

    What is neither is noted in `others`.

    A link to a folder is looked through where it stands, unless that folder is by itself or by
    another link, or is one that `folder` lies in.
    """

    def refused(error: OSError) -> None:
        raise FacemakeError(f"{error.filename} cannot be looked into: {error.strerror}")

    passed = set(Path(os.path.realpath(folder)).parents)
    links = deque([folder])
    while links:
        for parent, folders, names in os.walk(links.popleft(), onerror=refused):
            real = Path(os.path.realpath(parent))
            if out in (real, *real.parents) or real in passed:
                folders.clear()
                continue
            passed.add(real)
            if NAME in names and Path(parent) != folder:
                crops[Path(parent)] = None
                folders.clear()
                continue
            shown = sorted(name for name in folders if not name.startswith("."))
            linked = [name for name in shown if Path(parent, name).is_symlink()]
            links.extend(Path(parent, name) for name in linked)
            folders[:] = [name for name in shown if name not in linked]
            for name in sorted(names):
                path = Path(parent, name)
                if name.startswith("."):
                    continue
                if taken_for(path) is not None:
                    yield path
                else:
                    others[path] = None


def _is_video(path: Path) -> bool:
    try:
        return classify(path) is Kind.VIDEO
    except (MediaError, OSError):
        return path.suffix.lower() not in PICTURE_SUFFIXES


def _key(path: str) -> str:
    """Equal for paths that are one file on a disk that ignores case or how accents are written."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def named(inputs: Sequence[Input], kind: str) -> list[Input]:
    """Inputs with the names of their crops; hangs on which inputs there are, not on their order.

    Args:
        inputs: sorted, each once.
        kind: suffix of crops.
    """
    # folders that crops lie in, and what lies beside them
    claimed = {_key(name) for name in (TABLE, CSV)}
    claimed |= {_key(str(up)) for one in inputs for up in PurePosixPath(one.name).parents}
    outputs: dict[str, str] = {}

    def claim(one: Input, stem: str) -> bool:
        path = _key(stem if one.video else f"{stem}.{kind}")
        if path in claimed:
            return False
        claimed.add(path)
        outputs[one.name] = stem
        return True

    later = [one for one in inputs if not claim(one, _short(_stem(one.name)))]
    for one in later:
        name = _short(one.name)
        candidates = chain([name], (f"{name}-{number}" for number in count(2)))
        next(candidate for candidate in candidates if claim(one, candidate))
    taken = defaultdict(list)
    number = re.compile(rf"(.*)_([1-9][0-9]*)\.{kind}", re.DOTALL)
    for path in claimed:
        if found := number.fullmatch(path):
            taken[f"{found[1]}.{kind}"].append(int(found[2]))
    return [
        Input(
            one.path,
            one.name,
            one.video,
            outputs[one.name],
            () if one.video else tuple(sorted(taken.get(_key(f"{outputs[one.name]}.{kind}"), ()))),
        )
        for one in inputs
    ]


def _stem(name: str) -> str:
    path = PurePosixPath(name)
    return str(path.with_name(path.stem))


def _short(name: str) -> str:
    """Its last part no longer than `_LONGEST` bytes."""
    path = PurePosixPath(name)
    last = path.name
    if len(os.fsencode(last)) <= _LONGEST:
        return name
    end = f"-{hashlib.sha256(os.fsencode(last)).hexdigest()[:12]}"
    while len(os.fsencode(last)) > _LONGEST - len(end):
        last = last[:-1]
    return str(path.with_name(last + end))
