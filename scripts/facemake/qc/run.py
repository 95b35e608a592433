"""All findings of a finished run, from its tables alone; one sample is in memory at a time."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from facemake.errors import FacemakeError, TableError
from facemake.people.looks import Maker, same_person
from facemake.pictures import stand_alone
from facemake.qc.findings import Finding
from facemake.qc.frames import Track, odd_faces, odd_frames, read_tracks
from facemake.qc.samples import (
    Summary,
    beside_sound,
    duplicates,
    of_sample,
    summary,
    unlike,
)
from facemake.report.pages import page_file
from facemake.status import DECODABLE
from facemake.tables import TableReader

_FRAME_TABLES = ("detections", "landmarks", "fit")


@dataclass
class Looked:
    """What a look at a run gave.

    Attributes:
        findings: the worst first.
        samples: how many were looked at.
        frames: how many they have.
        pages: sample -> its page of the report, below the results folder; those that have one.
        unsaid: what could not be looked at, in words.
        unfinished: samples that have no detections, landmarks or fit yet.
    """

    findings: list[Finding] = field(default_factory=list)
    samples: int = 0
    frames: int = 0
    pages: dict[str, Path] = field(default_factory=dict)
    unsaid: list[str] = field(default_factory=list)
    unfinished: list[str] = field(default_factory=list)


def look(
    results: Path, wanted: Set[str] = frozenset(), told: Callable[[int], None] = lambda n: None
) -> Looked:
    """Look at the samples of a results folder.

    Args:
        results: of a finished run.
        wanted: names of the samples that findings are about; none: of all. They are compared with
            all others in any case.
        told: is told how many samples are done.

    Raises:
        FacemakeError: there is no such run, or it lacks a sample.
        TableError: a table is damaged or of another run.
    """
    probes = sorted(path for path in (results / "probe").glob("[!.]*.parquet"))
    if not probes:
        raise FacemakeError(
            f"there is no table in {results / 'probe'}: -d names the folder of a finished run"
        )
    looked = Looked()
    rows: list[dict[str, Any]] = []
    summaries: list[Summary] = []
    for path in probes:
        for row in _shard(results, path, looked, summaries):
            rows.append(row)
            told(len(rows))
    known = {row["sample"] for row in rows}
    if missing := sorted(wanted - known):
        near = difflib.get_close_matches(missing[0], known, 1)
        meant = f"; did you mean {near[0]}?" if near else ""
        raise FacemakeError(f"{results} has no sample {missing[0]}{meant}")
    looked.samples = len(rows)
    looked.frames = sum(row["n_frames"] or 0 for row in rows)
    rows.sort(key=lambda row: str(row["sample"]))
    summaries.sort(key=lambda one: one.sample)
    looked.findings += [*duplicates(rows), *unlike(summaries)]
    if wanted:
        looked.findings = [one for one in looked.findings if one.sample in wanted]
    looked.findings.sort(key=lambda one: one.order)
    looked.unsaid = list(dict.fromkeys(looked.unsaid))
    return looked


def _shard(
    results: Path, probe: Path, looked: Looked, summaries: list[Summary]
) -> Iterator[dict[str, Any]]:
    """The probe rows of a shard, each when its sample was looked at."""
    with ExitStack() as stack:
        reader = stack.enter_context(TableReader(probe))
        readers = {}
        for stage in (*_FRAME_TABLES, "embeddings"):
            path = results / stage / probe.name
            if path.is_file():
                readers[stage] = stack.enter_context(TableReader(path))
        same = None
        if "embeddings" in readers:
            maker = Maker.of(readers["embeddings"].metadata)
            same = maker.same_person or same_person(results, maker)
            if same is None:
                looked.unsaid.append(_NO_SIMILARITY)
        for sample in reader.samples:
            row = reader.read(sample).to_pylist()[0]
            if row["status"] in DECODABLE and not readers.keys() >= set(_FRAME_TABLES):
                looked.unfinished.append(sample)
            if row["status"] not in DECODABLE or "detections" in readers:
                looked.findings += _sample(row, readers, same, summaries)
            page = Path("report", "samples", probe.stem, page_file(sample))
            if (results / page).is_file():
                looked.pages[sample] = page
            yield row


_NO_SIMILARITY = (
    "jumps of identity: which similarity is one person with this embedder, nobody published; "
    "dataset.same_person says it"
)


def _sample(
    probe: dict[str, Any],
    readers: dict[str, TableReader],
    same: float | None,
    summaries: list[Summary],
) -> list[Finding]:
    sample = probe["sample"]
    if probe["status"] not in DECODABLE:
        return list(of_sample(probe, None))
    alone = stand_alone(probe, readers["detections"].metadata)
    least = _min_confidence(readers)
    tracks = read_tracks(readers, sample)
    main = next((track for track in tracks if track.number == 0), None)
    found = [*of_sample(probe, main), *beside_sound(probe)]
    if main is not None and main.seen.any():
        summaries.append(summary(probe, main))
    for track in tracks:
        found += odd_faces(sample, track, least) if alone else odd_frames(sample, track, least)
    if same is not None and not alone:
        found += _identities(sample, readers["embeddings"], same, tracks)
    return found


def _min_confidence(readers: dict[str, TableReader]) -> float | None:
    """What the landmark stage held confidences against."""
    if "landmarks" not in readers:
        return None
    settings = readers["landmarks"].metadata.get("recipe", {}).get("settings", {})
    value = settings.get("min_confidence")
    return None if value is None else float(value)


def _identities(
    sample: str, reader: TableReader, same: float, tracks: Sequence[Track]
) -> Iterator[Finding]:
    """Faces of one track, one after the other, that are less alike than one person's."""
    rows = reader.read(sample, ["frame", "track", "embedding"]).to_pylist()
    rows.sort(key=lambda row: (row["track"], row["frame"]))
    known = {track.number: track for track in tracks}
    for one, other in pairwise(rows):
        if one["track"] != other["track"]:
            continue
        alike = float(np.dot(np.float64(one["embedding"]), np.float64(other["embedding"])))
        if alike >= same:
            continue
        track = known.get(one["track"])
        if track is None or not set(track.frame.tolist()) >= {one["frame"], other["frame"]}:
            raise TableError(
                f"{reader.path} has faces that the detections of {sample} do not have: the run is "
                "not finished; start it again, it goes on where it was"
            )
        first, last = (track.time_of(row["frame"]) for row in (one, other))
        yield Finding(
            "identity",
            sample,
            "similarity of two faces of the track",
            alike,
            same,
            f"the faces in frames {one['frame']} and {other['frame']} are less alike than two "
            "pictures of one person are",
            one["track"],
            one["frame"],
            other["frame"],
            first,
            last,
            times=1 + (same - alike) / ((1 - same) or 1.0),
        )
