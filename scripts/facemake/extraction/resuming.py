"""What an earlier run left in the folder: what of it is kept, and what is taken away."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from facemake.counting import counted
from facemake.errors import FacemakeError
from facemake.extraction.inputs import CSV, TABLE, Input
from facemake.extraction.journal import Journal
from facemake.extraction.table import readable

_CROP = re.compile(r"(?P<stem>.*?)(?:_(?P<number>[1-9][0-9]*))?\.(?:jpg|png)", re.DOTALL)


def prepared(
    folder: Path,
    journal: Journal,
    inputs: Sequence[Input],
    states: Sequence[str],
    *,
    prune: bool,
) -> tuple[list[int], dict[int, tuple[int, int]]]:
    """Take away what is to be done again.

    Args:
        folder: of the crops.
        journal: what the earlier run said of it.
        inputs: of this run.
        states: of each (`facemake.extraction.journal.state`).
        prune: whether inputs that are not among these may go.

    Returns:
        The inputs that are to do, by index; and the videos among them that are to go on, by index:
        how many rows there are, and the frame to go on from.

    Raises:
        FacemakeError: there are crops of other inputs, which may not go.
    """
    names = {one.name: index for index, one in enumerate(inputs)}
    known, done, begun = journal.known(), journal.states(), journal.begun()
    others = sorted(known - names.keys())
    if others and not prune:
        raise FacemakeError(
            f"{folder} has crops of {counted(len(others), 'input')} not among these paths "
            f"({readable(others[0])}, say): name all of them, give another folder, or ask for what "
            "is not among them to be removed (prune)"
        )
    keep = {
        name
        for name, (said, _) in done.items()
        if name in names
        and said == states[names[name]]
        and all(_has(folder / file, size) for file, size in journal.files(name))
    }
    going_on = {
        index: there
        for name in begun.keys() & names.keys() - keep
        for index in (names[name],)
        if inputs[index].video and (there := journal.stopped(name, states[index])) is not None
        if all(_has(folder / file, size) for file, size in journal.files(name))
    }
    todo = [index for index, one in enumerate(inputs) if one.name not in keep]
    if todo or known - keep:
        remove_tables(folder)  # first: they must not outlive what they list
    unheard = {name: begun[name] for name in begun.keys() - keep}
    gone = set(map(_without, _left_behind(folder, journal, unheard)))
    for name in known - keep - {inputs[index].name for index in going_on}:
        gone |= {_without(folder / file) for file, _ in journal.files(name)}
        journal.forget(name)
    journal.commit()
    for parent in gone:
        _remove_empty(parent, folder)
    return todo, {index: (rows, frame + 1) for index, (rows, frame) in going_on.items()}


def remove_tables(folder: Path) -> None:
    """Take away what lists the crops."""
    for name in (TABLE, CSV):
        (folder / name).unlink(missing_ok=True)


def _has(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except OSError:
        return False


def _without(file: Path) -> Path:
    """Take a file away; the folder that it was in."""
    file.unlink(missing_ok=True)
    return file.parent


def _left_behind(
    folder: Path, journal: Journal, begun: Mapping[str, tuple[str, bool]]
) -> Iterator[Path]:
    """Files of inputs that a kill kept the journal from hearing of."""
    # of a folder of a million pictures some hundred were begun
    stems = defaultdict[Path, set[str] | None](set)
    for output, video in begun.values():
        if video:
            stems[folder / output] = None  # all is of one
        elif (there := stems[(folder / output).parent]) is not None:
            there.add((folder / output).name)
    for place, wanted in stems.items():
        try:
            entries = list(place.iterdir())
        except OSError:
            continue
        for path in entries:
            name = path.name
            if name.startswith(".") and name.endswith(".part"):
                name = name.removeprefix(".").removesuffix(".part")
            found = _CROP.fullmatch(name)
            if not found:
                continue
            ours = (
                wanted is None
                or name.rpartition(".")[0] in wanted
                or (found["number"] and found["stem"] in wanted)
            )
            if ours and journal.owner(path.relative_to(folder).as_posix()) is None:
                yield path


def _remove_empty(folder: Path, top: Path) -> None:
    while folder != top and top in folder.parents:
        with suppress(FileNotFoundError):
            try:
                folder.rmdir()
            except OSError:
                return
        folder = folder.parent
