"""People who meet: how often a track shows one of them before and another one after.

Videos are composed of faces that are cut out of pictures, each of another person, and go through
the stages probe, detect and identify. The faces walk, with the bob of a head, past each other or
behind a pillar; what happens is drawn from `KINDS` and the lists below, the same for a number of a
kind whatever else is drawn. Looked at are the frames in which a face is clear of others and of the
pillar. There, a track that shows two people is a swap, and a person in two tracks is a split.
"""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.faces import AROUND, cut_out, sized
from benchmarks.measure import cost
from benchmarks.work import write_plan, write_video
from facemake.backends.detect import DETECTORS
from facemake.detections import landmark_box
from facemake.errors import FacemakeError

BY_DEFAULT = ("mediapipe", "yunet")
KINDS = {
    "apart": "pass each other, clear of each other",
    "hidden": "pass each other, one hides the other",
    "greet": "come to where one hides half of the other, and turn back",
    "pillar": "pass each other behind a pillar",
    "stop": "the same, and one stops there for a while",
    "turn": "turn back behind a pillar",
    "three": "three people, two of them one way, behind a pillar",
}
IDENTITIES = {"by boxes": "tracklets", "and by looks": "detections"}

WIDTH, HEIGHT, RATE = 640, 360, 25
SIDE = 72
"""px of BlazeFace's square around the smaller face."""
SPEEDS = (0.05, 0.08, 0.13, 0.22)
"""Sides a frame. A face that is 20 cm wide and walks at 1.2 m/s makes 0.24 in 1/25 s."""
OFFSETS = (0.0, 0.15, 0.4)
"""Sides: how much higher one is than the other."""
RATIOS = (1.0, 1.15, 1.35)
"""How much larger the face in front is."""
PILLARS = (0.6, 1.0, 1.6, 2.4)
"""Sides: how wide a pillar is; a slow face is not sent behind a wide one, where it would be hidden
for more than `LONGEST` frames."""
LONGEST = 24
PAUSES = (4, 8, 12)
"""Frames that somebody stops behind the pillar."""
_BOB = 0.03, 2.0
"""Of a head: sides, and times a second."""
_AT_REST = 8
"""Frames that all stand before and after."""
_CLEAR = 1.15
"""Sides between the middles of two faces of which neither hides anything of the other."""
_NAMED = 8


@dataclass(frozen=True)
class Meeting:
    """What happens in a video.

    Attributes:
        name: kind and number.
        people: whose faces, the last one in front.
        middles: (n, frames, 2) px, where each face is.
        sides: (n,) px of BlazeFace's square.
        pillar: its left and right edge, px; None without.
        words: what was drawn.
    """

    name: str
    people: tuple[int, ...]
    middles: np.ndarray
    sides: np.ndarray
    pillar: tuple[int, int] | None
    words: str

    def pictures(self, faces: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
        """Its frames, (HEIGHT, WIDTH, 3) uint8 RGB."""
        cut = [
            sized(faces[person], round(AROUND * side))
            for person, side in zip(self.people, self.sides, strict=True)
        ]
        yy, xx = np.mgrid[:HEIGHT, :WIDTH]
        grey = 110 + 20 * np.sin(xx / 37) * np.cos(yy / 29) + 15 * (xx > WIDTH / 3)
        wall = np.repeat(grey[..., None], 3, axis=2).astype(np.uint8)
        for at in self.middles.transpose(1, 0, 2):
            rgb = wall.copy()
            for (face, oval), (x, y) in zip(cut, at, strict=True):
                left, top = round(x - len(face) / 2), round(y - len(face) / 2)
                part = rgb[top : top + len(face), left : left + len(face)]
                part[:] = np.where(oval, face, part)
            if self.pillar is not None:
                rgb[:, slice(*self.pillar)] = (40, 60, 50)
            yield rgb

    def clear(self) -> np.ndarray:
        """(n, frames) bool: nothing hides anything of the face, and it hides nothing."""
        x = self.middles[..., 0]
        clear = np.ones(x.shape, bool)
        for a in range(len(x)):
            for b in range(len(x)):
                if a != b:
                    apart = np.linalg.norm(self.middles[a] - self.middles[b], axis=1)
                    clear[a] &= apart > _CLEAR * (self.sides[a] + self.sides[b]) / 2
        if self.pillar is not None:
            left, right = self.pillar
            half = self.sides[:, None] / 2
            clear &= (x + half < left) | (x - half > right)
        return clear


def drawn(kind: str, number: int, n_people: int) -> Meeting:
    """A meeting of a kind: the same one for the same arguments."""
    rng = np.random.default_rng([list(KINDS).index(kind), number])
    count = 3 if kind == "three" else 2
    people = tuple(int(p) for p in rng.permutation(n_people)[:count])
    with_pillar = kind in ("pillar", "stop", "turn", "three")
    while True:
        pillar = float(rng.choice(PILLARS))
        speeds = rng.choice(SPEEDS) * rng.uniform(0.8, 1.25, count)
        if pillar / speeds.min() <= LONGEST:
            break
    offset, ratio = float(rng.choice(OFFSETS)), float(rng.choice(RATIOS))
    pause = int(rng.choice(PAUSES))
    if kind == "apart":
        offset = 1.3 * (1 + ratio) / 2
    ways = rng.permutation([1, -1, 1][:count])
    sides = SIDE * np.array([1.0, ratio, np.sqrt(ratio)][:count])
    order = np.argsort(sides, kind="stable")
    pixels = speeds * SIDE
    reach = WIDTH / 2 - AROUND * sides.max() / 2 - 2
    before = int(np.clip(np.ceil(reach / pixels.min()), 20, 50)) + _AT_REST
    # when each is in the middle: not at the very same time
    late = rng.uniform(-0.25, 0.25, count) * (pillar if with_pillar else 0.5) / speeds
    if kind == "three":
        late[np.flatnonzero(ways == np.median(ways))[1]] += 1.3 / speeds.max()
    time = np.arange(2 * before + (pause if kind == "stop" else 0)) - before
    middles = np.empty((count, len(time), 2))
    for k in range(count):
        since = time - late[k]
        if kind == "stop" and k == 0:
            since = np.where(since > 0, np.maximum(since - pause, 0), since)
        along = pixels[k] * since
        if kind in ("turn", "greet"):
            # to this side of the middle
            short = 0.3 * SIDE if kind == "greet" else 0.0
            along = -np.abs(pixels[k] * since) - short
        x = np.clip(along, -reach, reach) * ways[k]
        bob = _BOB[0] * np.sin(2 * np.pi * (_BOB[1] * time / RATE + rng.uniform()))
        y = (k - (count - 1) / 2) * offset * SIDE + bob * sides[k]
        middles[k] = np.stack([WIDTH / 2 + x, HEIGHT / 2 + y], axis=1)
    edges = None
    if with_pillar:
        half = pillar * SIDE / 2
        edges = round(WIDTH / 2 - half), round(WIDTH / 2 + half)
    words = ", ".join(
        [
            "people " + " ".join(str(people[k]) for k in order),
            "sides a frame " + " ".join(f"{speeds[k]:.2f}" for k in order),
            f"{offset:.2f} sides apart in height, sizes 1 to {ratio:.2f}",
            *([f"pillar of {pillar} sides"] if with_pillar else []),
            *([f"stops for {pause} frames"] if kind == "stop" else []),
        ]
    )
    return Meeting(
        f"{kind}-{number:03d}",
        tuple(people[k] for k in order),
        middles[order],
        sides[order],
        edges,
        words,
    )


def run(
    folder: Path,
    pictures: Sequence[Path],
    names: Sequence[str],
    each: int,
    keep: Path | None = None,
) -> None:
    """Print, by detector, kind of meeting and way of telling people apart, how many went wrong.

    Args:
        folder: scratch.
        pictures: of people, no two faces of one person.
        names: detectors; none: `BY_DEFAULT`.
        each: meetings of each kind.
        keep: a folder for the videos of those that went wrong.

    Raises:
        FacemakeError: there are less than three faces in the pictures.
    """
    faces = [face for path in pictures for face in cut_out(path)]
    if len(faces) < 3:
        raise FacemakeError("there are less than three faces in these pictures")
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
    videos = folder / "meetings"
    videos.mkdir()
    meetings = {}
    for kind in KINDS:
        for number in range(each):
            meeting = drawn(kind, number, len(faces))
            write_video(videos / f"{meeting.name}.mp4", meeting.pictures(faces), RATE)
            meetings[meeting.name] = meeting
    print(f"{len(faces)} people, {each} meetings of each kind:")
    for kind, words in KINDS.items():
        print(f"  {kind}: {words}")
    for name in names or BY_DEFAULT:
        study = folder / name
        study.mkdir()
        try:
            tables = _tracked(study, videos, name)
        except (FacemakeError, RuntimeError) as error:
            print(f"{name}: not measured: {error}")
            continue
        for how, table in zip(IDENTITIES, tables, strict=True):
            wrong = _print(name, how, _outcomes(table, meetings, name), meetings)
            if keep is not None:
                for one in wrong:
                    shutil.copyfile(videos / f"{one}.mp4", keep / f"{one}.mp4")


def _tracked(study: Path, videos: Path, name: str) -> list[Path]:
    """The tables of tracks by boxes, and by looks, of all videos of a folder."""
    config = {
        "input_dir": str(videos),
        "shards": 1,
        "cache_dir": None,
        "detect": {"backend": name},
        "track": {"identity": "dlib"},
    }
    (shard,) = write_plan(study, config)
    for stage in ("probe", "detect", "identify"):
        cost("-m", "benchmarks.stage", stage, shard, folder=study)
    return [study / "results" / name / f"{shard}.parquet" for name in IDENTITIES.values()]


@dataclass(frozen=True)
class _Outcome:
    """What became of the people of a meeting."""

    swapped: bool
    split: bool
    seen: int
    clear: int


def _outcome(meeting: Meeting, rows: pd.DataFrame) -> _Outcome:
    """Of the tracks of a meeting, by the rows that have a face; `u` and `v` are its middle."""
    clear = meeting.clear()
    shown, tracks = defaultdict[int, set[int]](set), defaultdict[int, set[int]](set)
    seen = set()
    for row in rows.itertuples():
        away = np.linalg.norm(meeting.middles[:, row.frame] - (row.u, row.v), axis=1)
        who = int(np.argmin(away / meeting.sides))
        if clear[who, row.frame] and away[who] < meeting.sides[who] / 2:
            shown[row.track].add(who)
            tracks[who].add(row.track)
            seen.add((who, row.frame))
    return _Outcome(
        any(len(people) > 1 for people in shown.values()),
        any(len(numbers) > 1 for numbers in tracks.values()),
        len(seen),
        int(clear.sum()),
    )


def _outcomes(table: Path, meetings: Mapping[str, Meeting], detector: str) -> dict[str, _Outcome]:
    columns = ["sample", "frame", "track", "status", "x", "y", "w", "h"]
    rows = pd.read_parquet(table, columns=columns)
    rows = rows[rows["status"] == "ok"]
    squares = landmark_box(rows[["x", "y", "w", "h"]].to_numpy(), DETECTORS[detector].face_box)
    rows = rows.assign(
        u=squares[:, 0] + squares[:, 2] / 2,
        v=squares[:, 1] + squares[:, 3] / 2,
    )
    return {
        name: _outcome(meeting, rows[rows["sample"] == name]) for name, meeting in meetings.items()
    }


def _print(
    detector: str, how: str, outcomes: Mapping[str, _Outcome], meetings: Mapping[str, Meeting]
) -> list[str]:
    """Print what became of the meetings; the names of those that went wrong."""
    by_kind = defaultdict[str, list[_Outcome]](list)
    for name, one in outcomes.items():
        by_kind[name.partition("-")[0]].append(one)
    print(f"{detector}, {how}: swapped, split of {len(outcomes)}:", end="")
    for kind, some in [*by_kind.items(), ("all", list(outcomes.values()))]:
        swapped = sum(one.swapped for one in some)
        split = sum(one.split and not one.swapped for one in some)
        print(f" {kind} {swapped} {split}", end=",")
    seen = sum(one.seen for one in outcomes.values()) / sum(c.clear for c in outcomes.values())
    print(f" {seen:.2%} of clear faces are in tracks")
    wrong = [name for name, one in outcomes.items() if one.swapped or one.split]
    for name in wrong[:_NAMED]:
        what = "swapped" if outcomes[name].swapped else "split"
        print(f"    {name} {what}: {meetings[name].words}")
    if len(wrong) > _NAMED:
        print(f"    and {len(wrong) - _NAMED} more")
    return wrong
