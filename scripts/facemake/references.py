"""The pictures of the people who are track 0 where `track.main` is `reference`.

`track.reference` names one picture, of the main person of all samples, or a folder with a picture a
subject, `SUBJECT.jpg`: of interviews with another person each.
"""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facemake.errors import ConfigError
from facemake.media.files import PICTURE_SUFFIXES
from facemake.provenance import file_sha256
from facemake.samples import PlanRow

if TYPE_CHECKING:
    from facemake.hashes import HashMemo

EVERYBODY = ""
"""The subject of a picture that all samples go by."""

_BY_SUBJECT = "a picture a subject"
"""In the recipe in place of the SHA-256 of a picture: which ones a shard goes by, its rule says."""

_SHOWN = 5


def in_recipe(config: Mapping[str, Any]) -> str:
    """What stands in the recipe for the pictures: of one its SHA-256, not its path.

    Raises:
        ConfigError: it cannot be read.
    """
    at = Path(config["track"]["reference"]).expanduser()
    if at.is_dir():
        return _BY_SUBJECT
    try:
        return file_sha256(at)
    except OSError as error:
        raise ConfigError(f"track.reference: {at} cannot be read: {error.strerror}") from None


def of_shards(
    config: Mapping[str, Any], packs: Mapping[str, Sequence[PlanRow]], memo: HashMemo
) -> dict[str, list[list[str]]]:
    """Shard -> [subject, SHA-256, path] of each picture that samples of it go by.

    Raises:
        ConfigError: a picture of the folder is of nobody in the sheet, or the second one of a
            person; it has none, or cannot be read.
    """
    path = config["track"]["reference"]
    if not path:
        return {}
    at = Path(path).expanduser()
    subjects = {row.subject for rows in packs.values() for row in rows}
    pictures = _of_folder(at, subjects) if at.is_dir() else {EVERYBODY: at}
    found = dict(zip(pictures, _hashed(list(pictures.values()), memo), strict=True))
    return {
        shard: [[one, found[one], str(pictures[one])] for one in sorted(wanted)]
        for shard, rows in packs.items()
        if (wanted := pictures.keys() & {EVERYBODY, *(row.subject for row in rows)})
    }


def without(
    references: Mapping[str, Sequence[Sequence[str]]], packs: Mapping[str, Sequence[PlanRow]]
) -> list[str]:
    """The subjects of whom there is no picture, where others have one; by name."""
    pictures = {subject for rows in references.values() for subject, _, _ in rows}
    if not pictures or EVERYBODY in pictures:
        return []
    return sorted({row.subject for rows in packs.values() for row in rows} - pictures)


def _of_folder(folder: Path, subjects: set[str]) -> dict[str, Path]:
    """Subject -> picture. File systems may keep names in another form of Unicode."""
    called = {unicodedata.normalize("NFC", subject): subject for subject in sorted(subjects)}
    pictures: dict[str, Path] = {}
    wrong: list[str] = []
    try:
        files = sorted(folder.iterdir())
    except OSError as error:
        raise ConfigError(f"track.reference: {folder} cannot be read: {error.strerror}") from None
    for path in files:
        if path.name.startswith(".") or path.suffix.lower() not in PICTURE_SUFFIXES:
            continue
        name = unicodedata.normalize("NFC", path.stem)
        subject = called.get(name)
        if subject is None:
            near = difflib.get_close_matches(name, called, 1) if len(wrong) < _SHOWN else []
            meant = f" (did you mean {near[0]}?)" if near else ""
            wrong.append(f"  {path}: the sheet has no subject {name}{meant}")
        elif subject in pictures:
            wrong.append(f"  {path}: {pictures[subject].name} is of {subject} already")
        else:
            pictures[subject] = path
    if wrong:
        more = [f"  and {len(wrong) - _SHOWN} more"] if len(wrong) > _SHOWN else []
        raise ConfigError(
            "track.reference names a folder with a picture a subject, called as in the sheet "
            "(SUBJECT.jpg); rename or delete:\n" + "\n".join([*wrong[:_SHOWN], *more])
        )
    if not pictures:
        raise ConfigError(
            f"track.reference: {folder} has no picture; it wants one a subject, SUBJECT.jpg"
        )
    return pictures


def _hashed(paths: Sequence[Path], memo: HashMemo) -> list[str]:
    from facemake.hashes import FileState

    states = [FileState.at(path) for path in paths]
    hashes = memo.sha256([str(path.absolute()) for path in paths], states)
    if wrong := [str(path) for path, sha256 in zip(paths, hashes, strict=True) if sha256 is None]:
        more = f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise ConfigError(
            f"track.reference: {', '.join(wrong[:_SHOWN])}{more} cannot be read; mend or delete"
        )
    return [str(sha256) for sha256 in hashes]
