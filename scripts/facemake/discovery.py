"""What a folder holds that can be a sample, at any depth, for a first sample sheet."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from types import MappingProxyType

from facemake.errors import FacemakeError
from facemake.media import Kind, natural_key
from facemake.media.suffixes import taken_for
from facemake.names import safe_names
from facemake.samples import WORK
from facemake.sheet import MISSING

_SHOWN = 5


def _folder(folders: Sequence[str], name: str) -> str:
    return folders[0] if folders else ""


def _prefix(folders: Sequence[str], name: str) -> str:
    before, mark, _ = name.partition("_")
    return before if mark else ""


def _bids(folders: Sequence[str], name: str) -> str:
    found = re.search(r"(?:^|[/_])(sub-[A-Za-z0-9]+)(?=[/_.]|$)", "/".join((*folders, name)))
    return found[1] if found else ""


_Rule = Callable[[Sequence[str], str], str]
SUBJECT_RULES: MappingProxyType[str, tuple[_Rule, str]] = MappingProxyType(
    {
        "none": (
            lambda folders, name: "",
            "nobody is guessed: each sample counts as a separate person",
        ),
        "folder": (_folder, "the first folder below FOLDER_OF_VIDEOS"),
        "prefix": (_prefix, "the part of the file's or folder's name before the first _"),
        "bids": (_bids, "sub-LABEL in the path"),
    }
)
"""Rule -> (folders that it lies in (a folder of pictures: and itself) and name -> subject, "" where
it says nothing; the rule in words)."""


@dataclass(frozen=True)
class Found:
    """What was found in a folder.

    Attributes:
        names: of the samples, safe and each another, in natural order of their paths.
        paths: of the samples, absolute.
        subjects: of the samples; "" where the rule says nothing.
        folders: how many are folders of pictures.
        pictures: how many are single pictures.
        renamed: how many names are not what the path is called.
        known: how many more there are that were listed before.
        passed_over: path -> why it is no sample.
    """

    names: list[str]
    paths: list[Path]
    subjects: list[str]
    folders: int
    pictures: int
    renamed: int
    known: int
    passed_over: dict[Path, str]


@dataclass
class _Walk:
    """One look at a folder.

    Attributes:
        study: the analysis folder; its config and results are no recordings.
        seen: real paths of folders that were looked through.
        passed_over: path -> why.
    """

    study: Path
    seen: set[str] = field(default_factory=set)
    passed_over: dict[Path, str] = field(default_factory=dict)

    def __call__(self, folder: Path, top: bool = True) -> Iterator[tuple[Path, str]]:
        """Samples below a folder, each with its kind: video, picture or folder."""
        real = os.path.realpath(folder)
        if real in self.seen:
            self.passed_over[folder] = "a link to a folder that is looked through already"
            return
        self.seen.add(real)
        try:
            entries = sorted(
                (entry for entry in os.scandir(folder) if not entry.name.startswith(".")),
                key=lambda entry: natural_key(entry.name),
            )
        except OSError as error:
            if top:
                raise FacemakeError(f"{folder} cannot be looked into: {error.strerror}") from None
            self.passed_over[folder] = f"cannot be looked into: {error.strerror}"
            return
        videos: list[Path] = []
        pictures: list[Path] = []
        folders: list[Path] = []
        for entry in entries:
            path = Path(entry.path)
            if entry.is_dir():
                if not self._is_study(path):
                    folders.append(path)
            elif kind := self._kind(path):
                (videos if kind == "video" else pictures).append(path)
        if pictures and not videos and not top:
            yield folder, "folder"
        else:
            yield from ((path, "picture") for path in pictures)
        yield from ((path, "video") for path in videos)
        for path in folders:
            yield from self(path, top=False)

    def _is_study(self, path: Path) -> bool:
        """Config and results of the new study, or of another one."""
        ours = path.parent.resolve() == self.study and path.name in ("config", "results")
        return ours or (path.name == "results" and (path.parent / WORK).is_dir())

    def each_once(self, found: Iterable[tuple[Path, str]]) -> Iterator[tuple[Path, str]]:
        """Leave out links to what is found by itself, and all links to one file but the first."""
        samples = list(found)
        first = {os.path.realpath(path): path for path, _ in reversed(samples)}
        first |= {str(path): path for path, _ in samples if os.path.realpath(path) == str(path)}
        for path, kind in samples:
            if (same := first[os.path.realpath(path)]) == path:
                yield path, kind
            else:
                self.passed_over[path] = f"the same file as {same}"

    def _kind(self, path: Path) -> str:
        if not path.exists():
            self.passed_over[path] = "a link to nothing"
        elif not path.is_file():
            self.passed_over[path] = "neither a file nor a folder"
        elif (kind := taken_for(path)) is not None:
            return "video" if kind is Kind.VIDEO else "picture"
        else:
            self.passed_over[path] = "no video and no picture"
        return ""


def find(
    folder: Path, subjects: str, study: Path, listed: Mapping[str, str] | None = None
) -> Found:
    """The samples in a folder.

    A video is a sample at any depth; a folder below, with pictures and no video in it, is one, and
    so is each picture elsewhere. Hidden files are not looked at.

    Args:
        folder: to be looked through.
        subjects: a name of `SUBJECT_RULES`.
        study: the analysis folder, whose own files are no samples.
        listed: name -> path of samples that there are already: none is found again, and no other
            gets such a name.

    Raises:
        FacemakeError: there is nothing at all, or a name is none that a sheet can hold.
    """
    if not folder.is_dir():
        raise FacemakeError(
            f"{folder} is a file: name the folder that it lies in"
            if folder.exists()
            else f"there is no folder {folder}"
        )
    top = Path(os.path.abspath(folder))  # noqa: PTH100  # links stay: they are the user's names
    walk = _Walk(study.resolve())
    found = sorted(
        walk.each_once(walk(top)), key=lambda one: [natural_key(part) for part in one[0].parts]
    )
    if not found:
        raise FacemakeError(
            f"{folder} has no video, picture or folder of pictures in it{_some(walk.passed_over)}"
        )
    listed = listed or {}
    there = {os.path.realpath(path) for path in listed.values()}
    everything = len(found)
    found = [one for one in found if os.path.realpath(one[0]) not in there]
    paths = [path for path, _ in found]
    bad = [path for path in paths if not _fits_a_sheet(str(path))]
    if bad:
        raise FacemakeError(
            "a sheet cannot hold tabs, line breaks and what is not UTF-8; rename "
            + ", ".join(repr(str(path)) for path in bad[:_SHOWN])
            + (f" and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else "")
        )
    below = [PurePosixPath(path.relative_to(top)) for path in paths]
    kinds = [kind for _, kind in found]
    said = [
        "_".join(path.parts if kind == "folder" else (*path.parts[:-1], path.stem))
        for path, kind in zip(below, kinds, strict=True)
    ]
    names = safe_names([*listed, *said])[len(listed) :]
    rule, _ = SUBJECT_RULES[subjects]
    guessed = [
        rule(path.parts if kind == "folder" else path.parts[:-1], path.name).strip()
        for path, kind in zip(below, kinds, strict=True)
    ]
    return Found(
        names=names,
        paths=paths,
        # NA_01.mp4 and NA_02.mp4 are of nobody who is known, not of one person
        subjects=["" if subject in MISSING else subject for subject in guessed],
        folders=kinds.count("folder"),
        pictures=kinds.count("picture"),
        renamed=sum(name != stem for name, stem in zip(names, said, strict=True)),
        known=everything - len(found),
        passed_over=walk.passed_over,
    )


def _some(passed_over: dict[Path, str]) -> str:
    if not passed_over:
        return ""
    shown = [f"{path.name} is {why}" for path, why in list(passed_over.items())[:_SHOWN]]
    return f": {'; '.join(shown)}" + ("; ..." if len(passed_over) > _SHOWN else "")


def _fits_a_sheet(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return not re.search(r"[\t\r\n]", text)
