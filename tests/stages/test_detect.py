"""Detection and tracks on real recordings, and on real faces that cross."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from facemake.media import open_media
from facemake.samples import Sample
from facemake.stages.detect import detect, detector_of
from facemake.stages.probe import probe
from makemedia import write_video
from makestudy import Study, inside, make_study

COUNTS = {"WolfgangLanger_Pexels.mp4": 472, "no_face.mp4": 95, "face_noface.mov": 169}


def detected(
    folder: Path, samples: dict[str, Path], end: float | None = None, **config: object
) -> tuple[Study, pd.DataFrame]:
    """The detections of these samples, of videos until `end` (s)."""
    rows = [
        {"sample": name, "path": path, "end": end or "" if path.suffix in (".mp4", ".mov") else ""}
        for name, path in samples.items()
    ]
    study = make_study(folder, rows, shards=1, **config)
    shard = study.plan.shards[0]
    with inside(folder):
        probe(study.plan_file(shard), study.table("probe", shard), study.recipe("probe"))
        detect(
            study.plan_file(shard),
            study.table("probe", shard),
            study.table("detections", shard),
            study.recipe("detect"),
        )
    return study, pd.read_parquet(study.table("detections", shard))


@pytest.fixture(scope="module")
def recordings(
    shared: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Study, pd.DataFrame]:
    names = [*COUNTS, "multi_face.jpg", "single_face.jpg", "Image_with_alpha.png"]
    names.append("free-mountain-vector-01.jpg")
    folder = tmp_path_factory.mktemp("recordings")
    return detected(folder, {n.split(".")[0]: shared / "data" / n for n in names})


def main(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    return rows[(rows["sample"] == name.split(".")[0]) & (rows.track == 0)]


@pytest.mark.parametrize("name", list(COUNTS))
def test_each_decoded_frame_has_one_row_of_the_main_track(recordings, name: str):
    assert main(recordings[1], name).frame.tolist() == list(range(COUNTS[name]))


def test_detection_keeps_to_its_one_thread(recordings):
    """OpenCV takes all cores for what is made smaller for a network, whatever OMP_NUM_THREADS."""
    cv2.setNumThreads(2)
    detector_of(recordings[0].recipe("detect")).close()
    assert cv2.getNumThreads() == 1


def test_the_long_close_up_has_its_face_in_every_frame(recordings):
    found = main(recordings[1], "WolfgangLanger_Pexels")
    assert (found.status == "ok").mean() >= 0.99


def test_nobody_is_found_where_nobody_is(recordings):
    for name in ("no_face", "free-mountain-vector-01"):
        found = main(recordings[1], name)
        assert set(found.status) == {"no_face"}
        values = found[["face", "x", "y", "w", "h", "score", "keypoints5"]]
        assert values.isna().all(axis=None)


def test_a_face_that_leaves_has_rows_without_a_face_and_keeps_its_uneven_times(
    recordings, shared: Path
):
    found = main(recordings[1], "face_noface")
    last = found.index[found.status == "ok"].max()
    assert 50 < (found.status == "ok").sum() < 100
    assert set(found.status[found.index > last]) == {"no_face"}
    with av.open(str(shared / "data" / "face_noface.mov")) as container:
        times = [float(frame.pts * frame.time_base) for frame in container.decode(video=0)]
    assert found.time.tolist() == times
    assert len(set(np.diff(times).round(6))) > 1


def test_every_face_of_a_picture_has_its_track(recordings):
    rows = recordings[1]
    counts = rows[rows.status == "ok"].groupby("sample").track.nunique()
    assert counts["multi_face"] == 5
    assert counts["single_face"] == counts["Image_with_alpha"] == 1
    assert rows[rows["sample"] == "multi_face"].time.isna().all()


def test_a_second_run_gives_the_same_bytes(shared: Path, tmp_path: Path):
    samples = {n: shared / "data" / n for n in ("face_noface.mov", "multi_face.jpg")}
    study, found = detected(tmp_path, {n.split(".")[0]: p for n, p in samples.items()}, end=2.5)
    assert len(found) > 60 and {"ok", "no_face"} <= set(found.status)
    shard = study.plan.shards[0]
    again = tmp_path / "again.parquet"
    with inside(study.folder):
        detect(study.plan_file(shard), study.table("probe", shard), again, study.recipe("detect"))
    assert again.read_bytes() == study.table("detections", shard).read_bytes()


def test_key_points_are_in_the_order_of_the_image(recordings):
    found = recordings[1]
    found = found[found.status == "ok"]
    points = np.stack(found.keypoints5.to_list()).reshape(-1, 5, 2)
    assert (points[:, 0, 0] < points[:, 1, 0]).all()  # image-left eye first
    assert (points[:, 2, 1] > points[:, :2, 1].mean(axis=1)).all()  # the nose is below the eyes
    assert np.isnan(points[:, 3:]).all()  # BlazeFace has no mouth corners


def crossing(bundled: Path, path: Path) -> tuple[Path, list[tuple[float, float]]]:
    """Two real faces walk through each other, the first in front; where each is, frame by frame."""
    width, height, side, frames = 640, 360, 150, 60
    faces = []
    for name, box in (("eileen_collins.png", (124, 0, 324, 200)), ("grace_hopper.jpg", None)):
        picture = Image.open(bundled / "portraits" / name).convert("RGB")
        box = box or (130, 60, 380, 310)
        faces.append(np.asarray(picture.crop(box).resize((side, side))))
    yy, xx = np.mgrid[:side, :side]
    oval = ((xx - side / 2) ** 2 + ((yy - side / 2) * 0.85) ** 2 < (side / 2) ** 2)[..., None]
    pictures, places = [], []
    for t in range(frames):
        frame = np.full((height, width, 3), 120, np.uint8)
        xs = (40 + 7 * t, width - side - 40 - 7 * t)
        for face, x, y in ((faces[1], xs[1], 115), (faces[0], xs[0], 95)):
            part = frame[y : y + side, x : x + side]
            part[:] = np.where(oval, face, part)
        pictures.append(cv2.GaussianBlur(frame, (3, 3), 0))
        places.append((xs[0] + side / 2, xs[1] + side / 2))
    return write_video(path, pictures, options={"crf": "12"}), places


def test_two_people_who_cross_keep_their_tracks(bundled: Path, tmp_path: Path):
    clip, places = crossing(bundled, tmp_path / "crossing.mp4")
    _, rows = detected(tmp_path / "study", {"crossing": clip})
    found = rows[rows.status == "ok"]
    assert found.track.nunique() == 2
    people = set()
    for _, track in found.groupby("track"):
        assert len(track) > 35
        x = (track.x + track.w / 2).to_numpy()
        truth = np.array([places[f] for f in track.frame])
        person = int(np.abs(truth[0] - x[0]).argmin())
        people.add(person)
        # on the same person before and after the crossing
        assert np.median(np.abs(truth[:, person] - x)) < 15
        assert np.abs(truth[-5:, person] - x[-5:]).max() < 30
    assert people == {0, 1}


def crop(picture: Image.Image, box: tuple[int, int, int, int]) -> np.ndarray:
    return np.asarray(picture.convert("RGB").crop(box).resize((640, 360)))


def test_tracks_end_at_a_cut_where_another_face_takes_the_place(shared: Path, tmp_path: Path):
    """Two faces of one picture, framed alike: by boxes alone they would be one person."""
    picture = Image.open(shared / "data" / "single_face.jpg")
    with open_media(Sample("a", shared / "data" / "single_face.mp4", "a")) as media:
        clip = [frame.rgb for frame in media]
    _, single = detected(tmp_path / "one", {"one": shared / "data" / "single_face.mp4"})
    x, y, w, h = single[single.frame == 0][["x", "y", "w", "h"]].to_numpy()[0]
    _, still = detected(tmp_path / "still", {"still": shared / "data" / "single_face.jpg"})
    px, py, pw, ph = still[["x", "y", "w", "h"]].to_numpy()[0]
    # the picture, with its face where the clip's is
    scale = ((w * h) / (pw * ph)) ** 0.5
    left, top = px + pw / 2 - (x + w / 2) / scale, py + ph / 2 - (y + h / 2) / scale
    other = crop(picture, (left, top, left + 640 / scale, top + 360 / scale))
    path = write_video(tmp_path / "cut.mp4", clip[:20] + [other] * 20 + clip[20:40])
    _, ended = detected(tmp_path / "ended", {"cut": path})
    _, through = detected(tmp_path / "through", {"cut": path}, track={"cuts": False})
    found = ended[ended.status == "ok"]
    assert sorted(found.groupby("track").frame.agg(["min", "max"]).to_numpy().tolist()) == [
        [0, 19],
        [20, 39],
        [40, 59],
    ]
    assert ended[ended.track == 0].groupby("frame").shot.first().tolist() == (
        [0] * 20 + [1] * 20 + [2] * 20
    )
    assert set(through[through.status == "ok"].track) == {0}
    assert through.shot.isna().all()


def test_a_crowd_in_a_large_picture_is_found_in_tiles(shared: Path, tmp_path: Path):
    people = Image.open(shared / "data" / "multi_face.jpg").convert("RGB")
    people.thumbnail((420, 420))
    large = Image.new("RGB", (2400, 1600), (120, 120, 120))
    large.paste(people, (900, 700))
    large.save(tmp_path / "crowd.png", compress_level=1)
    counts = []
    for number, tile in enumerate((None, 640)):
        _, rows = detected(
            tmp_path / str(number), {"crowd": tmp_path / "crowd.png"}, detect={"tile": tile}
        )
        counts.append(int((rows.status == "ok").sum()))
    assert counts == [0, 5]


def test_pictures_that_stand_alone_have_no_shots(recordings):
    shots = recordings[1].groupby("sample").shot.agg(["count", "max"])
    assert shots.loc["multi_face", "count"] == 0
    assert shots.loc["WolfgangLanger_Pexels"].tolist() == [COUNTS["WolfgangLanger_Pexels.mp4"], 0]
    # it goes black for a frame, then it shows the sky
    found = main(recordings[1], "face_noface")
    assert found.shot.tolist() == [0] * 72 + [1] + [2] * 96


def test_a_folder_of_frames_can_be_tracked_as_a_sequence(bundled: Path, tmp_path: Path):
    folder = tmp_path / "frames"
    folder.mkdir()
    clip, _ = crossing(bundled, tmp_path / "crossing.mp4")
    with av.open(str(clip)) as container:
        for i, frame in enumerate(container.decode(video=0)):
            if i < 15:
                frame.to_image().save(folder / f"frame{i}.png")
    _, pictures = detected(tmp_path / "a", {"f": folder})
    _, sequence = detected(tmp_path / "b", {"f": folder}, track={"image_folders": "sequence"})
    for rows in (pictures, sequence):
        assert rows[rows.track == 0].frame.tolist() == list(range(15))
    steps = sequence[(sequence.track == 0) & (sequence.status == "ok")].x.diff().dropna()
    # one person walks one way
    assert (np.sign(steps) == np.sign(steps.iloc[0])).all()
