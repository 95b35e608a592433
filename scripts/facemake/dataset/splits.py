"""Which split a sample is in: by its subject, so that nobody is in two splits."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from facemake.counting import counted, listed
from facemake.samples import PlanRow, Sample

_CURE = (
    "who is where hangs on a hash of the subject's name, so few subjects can all fall into one "
    "split: say it in the column `split` of the sample sheet, or change the shares (dataset.splits "
    "in the config; {train: 1} holds nobody back)"
)


def split_of(sample: Sample | PlanRow, shares: Mapping[str, float]) -> str:
    """The split of a sample: the sheet's where it says one, else by a hash of its subject.

    The hash is a number in [0, 1), and the splits in alphabetical order cut that line by their
    shares. It hangs on the subject's name alone (which is the sample's own name where the sheet
    has no subjects), so a sample that is added or taken away moves no other one, and the same
    subject is in the same split in every data set with these shares. Real shares come near the
    asked ones only where there are many subjects.

    Args:
        sample: one row of the plan.
        shares: split -> share; they sum to 1.
    """
    if sample.split:
        return sample.split
    digest = hashlib.sha256(f"split\0{sample.subject}".encode("utf-8", "surrogateescape")).digest()
    point = int.from_bytes(digest[:8], "big") / 2**64
    edge = 0.0
    chosen = ""
    for name in sorted(shares):
        if shares[name] <= 0:
            continue
        chosen = name
        edge += shares[name]
        if point < edge:
            break
    return chosen


def lacking(
    people: Iterable[tuple[str, str]], shares: Mapping[str, float], *, avoidable: bool = False
) -> str:
    """Which splits stay empty, in words, and what to do; "" where none does, or all do.

    Args:
        people: split and subject, of samples that are in the training set, or will be.
        shares: split -> share.
        avoidable: say nothing where there are fewer people than splits.
    """
    wanted = {name for name in shares if shares[name] > 0}
    there: dict[str, set[str]] = {}
    for split, subject in people:
        there.setdefault(split, set()).add(subject)
        if wanted <= there.keys():  # of 300,000 samples the first few tell
            return ""
    if not there or (avoidable and len(set().union(*there.values())) < len(wanted)):
        return ""
    empty = sorted(wanted - there.keys())
    of = listed(
        [f"{counted(len(names), 'subject')} in {split}" for split, names in sorted(there.items())]
    )
    return (
        f"the training set has nobody in its {'split' if len(empty) == 1 else 'splits'} "
        f"{listed(empty)} ({of}): {_CURE}"
    )


def subject_of(sample: Sample, track: int) -> str:
    """Who is in a track: the sheet's subject is the main face; any other is somebody else.

    A track apart from 0 is named `SAMPLE#TRACK`. It is in the split of its recording; whether that
    person is also in another recording, the sheet cannot say.
    """
    return main_or_other(sample.sample, sample.subject, track)


def main_or_other(sample: str, subject: str, track: int) -> str:
    """Who is in a track of a sample whose subject the sheet says; see `subject_of`."""
    return subject if track == 0 else f"{sample}#{track}"
