"""People told apart by their faces: real ones that meet, swap places at a cut, come back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from facemake import plan as planning
from facemake.errors import ConfigError, FacemakeError
from facemake.provenance import file_sha256
from facemake.shards import read_metadata
from facemake.stages.detect import detect
from facemake.stages.identify import identify
from facemake.stages.probe import probe
from makemedia import write_video
from makestudy import Study, inside, make_study

SIDE = 150
WIDTH, HEIGHT = 640, 360
Place = tuple[int, int, int]
"""Which person, and where the left edge and the top are."""


def identified(
    folder: Path,
    samples: dict[str, Path],
    *,
    end: float | None = None,
    subjects: dict[str, str] | None = None,
    **track: object,
) -> tuple[Study, pd.DataFrame]:
    """The detections of samples with `track.identity: dlib`, of videos until `end` (s)."""
    rows = [
        {
            "sample": name,
            "path": path,
            "end": end or "" if path.suffix == ".mp4" else "",
            "subject": (subjects or {}).get(name, ""),
        }
        for name, path in samples.items()
    ]
    study = make_study(folder, rows, shards=1, track={"identity": "dlib", **track})
    shard = study.plan.shards[0]
    with inside(folder):
        plan, at = study.plan_file(shard), study.folder / "results"
        tables = [at / "probe.parquet", at / "tracklets.parquet", at / "detections.parquet"]
        probe(plan, tables[0], study.recipe("probe"))
        detect(plan, tables[0], tables[1], study.recipe("detect"))
        pictures = {who: (Path(at), sha) for who, sha, at in study.plan.references.get(shard, [])}
        identify(plan, *tables, study.recipe("identify"), pictures)
        return study, pd.read_parquet(tables[2])


@pytest.fixture(scope="module")
def people(shared: Path) -> list[np.ndarray]:
    """The first and the third face of multi_face.jpg."""
    return cut_out(shared, 0, 2)


def cut_out(shared: Path, *numbers: int) -> list[np.ndarray]:
    """Faces of multi_face.jpg from the left, (150, 150, 3)."""
    picture = Image.open(shared / "data" / "multi_face.jpg").convert("RGB")
    crops = [picture.crop(box) for box in boxes(shared, *numbers)]
    return [np.asarray(crop.resize((SIDE, SIDE))) for crop in crops]


def boxes(shared: Path, *numbers: int) -> list[tuple[int, int, int, int]]:
    """Where they are, with a margin."""
    from facemake.backends.detect import DETECTORS

    rgb = np.asarray(Image.open(shared / "data" / "multi_face.jpg").convert("RGB"))
    row = DETECTORS["mediapipe"]
    (found,) = row.create(row.models[0], 0.5, "cpu")([np.ascontiguousarray(rgb)])
    faces = sorted(found.bbox.tolist())
    assert len(faces) == 5
    chosen = []
    for x, y, w, h in (faces[number] for number in numbers):
        middle, half = (x + w / 2, y + h / 2), 0.75 * w
        left, top = round(middle[0] - half), round(middle[1] - half)
        chosen.append((left, top, left + round(2 * half), top + round(2 * half)))
    return chosen


def picture(people: Sequence[np.ndarray], places: Sequence[Place], grey: int) -> np.ndarray:
    """A frame with these faces, the last one in front."""
    frame = np.full((HEIGHT, WIDTH, 3), grey, np.uint8)
    frame[::, : WIDTH // 3] //= 2  # not the same at either side
    yy, xx = np.mgrid[:SIDE, :SIDE]
    oval = ((xx - SIDE / 2) ** 2 + ((yy - SIDE / 2) * 0.85) ** 2 < (SIDE / 2) ** 2)[..., None]
    for who, x, y in places:
        part = frame[y : y + SIDE, x : x + SIDE]
        part[:] = np.where(oval, people[who], part)
    return cv2.GaussianBlur(frame, (3, 3), 0)


def video(path: Path, people: Sequence[np.ndarray], frames: Sequence[Sequence[Place]]) -> Path:
    return write_video(path, [picture(people, f, 120) for f in frames], options={"crf": "12"})


def who_is_where(
    found: pd.DataFrame, frames: Sequence[Sequence[Place]], skip: Sequence[int] = ()
) -> dict[int, set[int]]:
    """Track -> the people whom it shows, without the frames of `skip`."""
    seen: dict[int, set[int]] = {}
    for row in found[found.status == "ok"].itertuples():
        if row.frame in skip:
            continue
        places = frames[row.frame]
        off = [abs(x + SIDE / 2 - row.x - row.w / 2) for _, x, _ in places]
        assert min(off) < 40, "a face where there is none"
        seen.setdefault(row.track, set()).add(places[int(np.argmin(off))][0])
    return seen


def meeting(turn_back: bool) -> list[list[Place]]:
    """They walk through each other; or turn back where they meet, hidden by something."""
    frames = []
    for t in range(60):
        way = 7 * t
        if turn_back:
            way = min(way, 7 * (60 - t))
        hidden = turn_back and 22 < t < 38
        places = [(1, WIDTH - SIDE - 40 - way, 115), (0, 40 + way, 95)]
        frames.append([] if hidden else places)
    return frames


@pytest.mark.parametrize("turn_back", [False, True])
def test_two_people_who_meet_are_not_swapped(turn_back: bool, people, tmp_path: Path):
    frames = meeting(turn_back)
    path = video(tmp_path / "meeting.mp4", people, frames)
    study, found = identified(tmp_path / "study", {"meeting": path})
    near = range(22, 40)  # one hides the other
    tracklets = pd.read_parquet(study.folder / "results" / "tracklets.parquet")
    by_boxes = who_is_where(tracklets, frames, near)
    assert sorted(map(sorted, by_boxes.values())) == ([[0, 1]] * 2 if turn_back else [[0], [1]])
    seen = who_is_where(found, frames, near)
    assert sorted(map(sorted, seen.values())) == [[0], [1]]
    assert found[found.track == 0].frame.tolist() == list(range(60))


def test_two_people_who_swap_places_at_a_cut_and_one_who_comes_back(people, tmp_path: Path):
    left, right = (60, 100), (420, 100)
    frames = [
        *[[(0, *left), (1, *right)]] * 15,
        *[[(1, *left), (0, *right)]] * 15,
        *[[(1, *right)]] * 15,
        *[[]] * 40,
        *[[(0, *left)]] * 15,
    ]
    greys = [120] * 15 + [200] * 15 + [60] * 15 + [60] * 40 + [60] * 15
    pictures = [
        picture(people, places, grey)[:, ::1] for places, grey in zip(frames, greys, strict=True)
    ]
    path = write_video(tmp_path / "cuts.mp4", pictures, options={"crf": "12"})
    study, found = identified(tmp_path / "study", {"cuts": path})
    tracklets = pd.read_parquet(study.folder / "results" / "tracklets.parquet")
    assert tracklets[tracklets.status == "ok"].track.nunique() > 2
    assert who_is_where(found, frames) in ({0: {0}, 1: {1}}, {0: {1}, 1: {0}})
    # the rows that every table has: a frame and track, from the first to the last frame
    first = found[found.track == 0]
    assert first.frame.tolist() == list(range(100))
    assert first.shot.is_monotonic_increasing
    columns = ["frame", "face", "x", "y", "w", "h", "score"]
    both = [t[t.status == "ok"][columns].sort_values(columns) for t in (found, tracklets)]
    assert both[0].to_numpy().tolist() == both[1].to_numpy().tolist()


def test_one_person_alone_has_nothing_to_be_embedded(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("facemake.stages.identify.read_frames", _not_at_all)
    clip = shared / "data" / "single_face.mp4"
    study, found = identified(tmp_path, {"a": clip, "b": shared / "data" / "no_face.mp4"})
    tracklets = pd.read_parquet(study.folder / "results" / "tracklets.parquet")
    pd.testing.assert_frame_equal(found, tracklets)


def _not_at_all(sample: object, frames: Sequence[int], times: object) -> list[object]:
    assert not frames, "frames are decoded again for nothing"
    return []


def test_the_main_person_by_a_picture(shared: Path, people, tmp_path: Path):
    """Person 1 is the smaller part of the video, and of the picture of five."""
    frames = [[(0, 40 + t, 90), (1, 440, 100)] for t in range(10)] + [[(0, 50, 90)]] * 20
    clip = video(tmp_path / "two.mp4", people, frames)
    whole = Image.open(shared / "data" / "multi_face.jpg").convert("RGB")
    box = boxes(shared, 2)[0]
    reference = tmp_path / "reference.png"
    whole.crop(box).resize((300, 300)).save(reference)
    samples = {
        "two": clip,
        "five": shared / "data" / "multi_face.jpg",
        "other": shared / "data" / "WolfgangLanger_Pexels.mp4",
        "nobody": shared / "data" / "no_face.mp4",
    }
    _, found = identified(
        tmp_path / "a", samples, end=4.5, main="reference", reference=str(reference)
    )
    rows = {name: found[found["sample"] == name] for name in samples}
    assert who_is_where(rows["two"], frames) == {0: {1}, 1: {0}}
    main = rows["five"][rows["five"].track == 0].iloc[0]
    assert box[0] < main.x + main.w / 2 < box[2]
    assert sorted(rows["five"].track) == [0, 1, 2, 3, 4]
    # somebody else: nothing wrong is said of the main face, and nothing of the others is lost
    other = rows["other"]
    assert set(other[other.track == 0].status) == {"no_face"}
    assert other[other.track == 0].frame.tolist() == list(range(108))
    assert (other[other.track == 1].status == "ok").sum() > 90
    assert set(rows["nobody"].status) == {"no_face"}


def test_the_main_person_of_each_subject(shared: Path, people, tmp_path: Path):
    """One clip of two people, as that of one of them, of somebody else and of nobody known."""
    whole = Image.open(shared / "data" / "multi_face.jpg").convert("RGB")
    who = tmp_path / "who"
    who.mkdir()
    whole.crop(boxes(shared, 2)[0]).resize((300, 300)).save(who / "Änne.PNG")
    (who / "P-02.jpg").symlink_to(shared / "data" / "single_face.jpg")
    (who / "notes.txt").touch()
    frames = [[(0, 40 + t, 90), (1, 440, 100)] for t in range(8)] + [[(0, 50, 90)]] * 4
    clip = video(tmp_path / "two.mp4", people, frames)
    subjects = {"a": "Änne", "b": "P-02", "c": "P-03"}
    study, found = identified(
        tmp_path / "study",
        dict.fromkeys(subjects, clip),
        subjects=subjects,
        main="reference",
        reference=str(who),
    )
    seen = {name: who_is_where(rows, frames) for name, rows in found.groupby("sample")}
    assert seen == {"a": {0: {1}, 1: {0}}, "b": {1: {0}, 2: {1}}, "c": {0: {0}, 1: {1}}}
    assert "no picture of 1 subject (P-03)" in planning.describe(study.plan)
    made_of = read_metadata(study.folder / "results" / "detections.parquet")
    pictures = {"Änne": who / "Änne.PNG", "P-02": shared / "data" / "single_face.jpg"}
    assert made_of["references"] == {name: file_sha256(path) for name, path in pictures.items()}
    # what a killed job had done by other pictures is not gone on from
    tracklets = read_metadata(study.folder / "results" / "tracklets.parquet")
    probed = read_metadata(study.folder / "results" / "probe.parquet")
    before = [probed["lineage"], tracklets["lineage"]]
    assert made_of["lineage"] != study.recipe("identify").lineage(before, made_of["samples"])


def test_pictures_of_nobody_are_refused_before_anything_runs(tmp_path: Path):
    who = tmp_path / "who"
    who.mkdir()
    rows = [{"sample": name, "path": str(who), "subject": name} for name in ("anna", "bo")]
    track = {"main": "reference", "identity": "dlib", "reference": str(who)}

    def refused() -> str:
        with pytest.raises(ConfigError) as error:
            make_study(tmp_path, rows, track=track)
        return str(error.value)

    assert "has no picture; it wants one a subject" in refused()
    for name in ("ana.jpg", "bo.jpg", "bo.png"):
        (who / name).write_bytes(name.encode())
    assert "no subject ana (did you mean anna?)" in (said := refused())
    assert "bo.png: bo.jpg is of bo already" in said
    (who / "ana.jpg").unlink()
    (who / "anna.jpg").symlink_to(tmp_path / "anna.jpg")
    (who / "bo.png").unlink()
    assert f"{who}/anna.jpg cannot be read" in refused()
    (tmp_path / "anna.jpg").write_bytes(b"anna")
    one = make_study(tmp_path, rows, track=track)
    assert sorted(one.plan.references) == ["anna", "bo"]
    (who / "bo.jpg").write_bytes(b"another picture")
    other = make_study(tmp_path, rows, track=track)
    assert one.plan.recipes["identify"] == other.plan.recipes["identify"]
    assert one.plan.references["anna"] == other.plan.references["anna"]
    assert one.plan.references["bo"] != other.plan.references["bo"]


@pytest.mark.parametrize("name", ["multi_face.jpg", "free-mountain-vector-01.jpg"])
def test_a_reference_without_one_face_is_refused(name: str, shared: Path, tmp_path: Path):
    clip = shared / "data" / "single_face.jpg"
    with pytest.raises(FacemakeError, match=rf"{name} shows no person.*[045] faces.*only one"):
        identified(tmp_path, {"a": clip}, main="reference", reference=str(shared / "data" / name))


@pytest.mark.parametrize(
    ("track", "engine", "said"),
    [
        ({"main": "reference", "reference": "me.png"}, "native", "needs track.identity"),
        ({"main": "reference", "identity": "dlib"}, "native", "name a picture"),
        ({"reference": "me.png", "identity": "dlib"}, "native", "without track.main"),
        (
            {"main": "reference", "identity": "dlib", "reference": "you.png"},
            "native",
            "no such file or folder",
        ),
        ({"identity": "dlib"}, "3di", "of no use with engine 3di"),
    ],
)
def test_keys_that_do_not_go_together_are_refused(
    track: dict[str, object], engine: str, said: str, tmp_path: Path
):
    (tmp_path / "me.png").write_bytes(b"")
    with pytest.raises(ConfigError, match=said):
        make_study(tmp_path, [{"sample": "a", "path": "me.png"}], track=track, engine=engine)


def test_another_reference_is_another_recipe_and_its_path_is_not_in_it(tmp_path: Path):
    recipes = []
    for name, content in (("a.png", b"1"), ("b.png", b"1"), ("b.png", b"2")):
        (tmp_path / name).write_bytes(content)
        track = {"main": "reference", "identity": "dlib", "reference": str(tmp_path / name)}
        study = make_study(tmp_path, [{"sample": "a", "path": name}], track=track)
        recipes.append({stage: study.plan.recipes[stage] for stage in ("detect", "identify")})
        assert str(tmp_path) not in str(study.plan.recipes)
    assert recipes[0] == recipes[1]
    assert recipes[1]["detect"] == recipes[2]["detect"]
    assert recipes[1]["identify"] != recipes[2]["identify"]


def test_off_is_off(tmp_path: Path):
    (tmp_path / "a.png").write_bytes(b"")
    study = make_study(tmp_path, [{"sample": "a", "path": "a.png"}], track={"identity": False})
    assert not study.plan.enabled("identify")
    assert study.plan.config["track"]["identity"] == "off"


@pytest.mark.parametrize("who", [(0, 2), (3, 4)], ids=["unlike", "alike"])
def test_two_who_swap_seats_at_a_cut_that_only_the_faces_show(
    who: tuple[int, int], shared: Path, tmp_path: Path
):
    """The alike ones are 0.37 apart by their looks, which alone would make one person of them."""
    people = cut_out(shared, *who)
    left, right = (265 - 80, 95), (265 + 80, 115)
    frames = [[(0, *left), (1, *right)]] * 25 + [[(1, *left), (0, *right)]] * 25
    path = video(tmp_path / "seats.mp4", people, frames)
    study, found = identified(tmp_path / "study", {"seats": path}, cuts=False)
    tracklets = pd.read_parquet(study.folder / "results" / "tracklets.parquet")
    assert who_is_where(tracklets, frames) == {0: {0, 1}, 1: {0, 1}}
    assert who_is_where(found, frames) in ({0: {0}, 1: {1}}, {0: {1}, 1: {0}})


def test_one_who_takes_the_others_seat_in_a_long_recording(people, tmp_path: Path):
    seat = (245, 95)
    frames = [[(1, *seat)]] * 130 + [[(0, *seat)]] * 130
    path = video(tmp_path / "seat.mp4", people, frames)
    study, found = identified(tmp_path / "study", {"seat": path}, cuts=False)
    tracklets = pd.read_parquet(study.folder / "results" / "tracklets.parquet")
    assert who_is_where(tracklets, frames) == {0: {0, 1}}
    assert sorted(map(sorted, who_is_where(found, frames).values())) == [[0], [1]]
    last = found[(found.track == 1) & (found.status == "ok")].frame
    assert len(last) == 130 and last.max() - last.min() == 129  # to the frame


def test_three_who_meet_behind_a_pillar_and_turn_back(people, shared: Path, tmp_path: Path):
    third = Image.open(shared / "data" / "single_face.jpg").convert("RGB")
    faces = [*people, np.asarray(third.crop((110, 120, 440, 450)).resize((SIDE, SIDE)))]
    frames = []
    for t in range(70):
        way = min(6 * t, 6 * (70 - t))
        frames.append([(2, 245, 150), (1, WIDTH - SIDE - 40 - way, 60), (0, 40 + way, 20)])
    pictures = [picture(faces, places, 120) for places in frames]
    for pixels in pictures:
        pixels[:140, 280:360] = (40, 60, 50)
    path = write_video(tmp_path / "three.mp4", pictures, options={"crf": "12"})
    _, found = identified(tmp_path / "study", {"three": path})
    seen = who_is_where(found, frames, range(18, 53))
    assert sorted(map(sorted, seen.values())) == [[0], [1], [2]]
