"""Who is in which split, over whole training sets."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from facemake.dataset.files import SetFile


def in_two_splits(files: Iterable[SetFile]) -> list[str]:
    """The people who are in two splits, in words.

    Where nobody said who it is, the recording counts; an example without a split is in none.

    Args:
        files: open ones, which count as one; each is read while it is the next.
    """
    found: dict[tuple[str, str], set[str]] = {}
    for file in files:
        if "metadata/split" not in file.fields:
            continue
        names = ["metadata/split", "metadata/subjects", "metadata/video_names"]
        names = [name for name in names if name in file.fields]
        empty = np.full(1, "", object)
        for _, rows in file.rows(names):
            splits = rows["metadata/split"]
            subjects = rows.get("metadata/subjects", np.repeat(empty, len(splits)))
            videos = rows.get("metadata/video_names", np.repeat(empty, len(splits)))
            for split, subject, video in set(zip(splits, subjects, videos, strict=True)):
                if split and (subject or video):
                    who = ("subject", subject) if subject else ("recording", video)
                    found.setdefault(who, set()).add(split)
    return [
        f"{what} {name} is in {' and '.join(sorted(splits))}"
        for (what, name), splits in sorted(found.items())
        if len(splits) > 1
    ]
