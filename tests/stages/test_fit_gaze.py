"""What the stage fit says beside pose and expression: gaze, inliers, who it is, what is no face."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from facemake import schemes
from facemake.backends.fit import builtin
from facemake.backends.fit import gaze as gazing
from facemake.calibration import Calibration
from facemake.geometry import Camera, rotate, rotation_from_euler
from facemake.provenance import Recipe
from facemake.samples import Sample, shard_text
from facemake.stages.fit import fit
from facemake.tables import GAZE_COLUMNS, SCHEMAS, TableReader, TableWriter
from makefaces import CAMERA, SIZE, proportions

MODEL = builtin.load_builtin()
OURS = schemes.MEDIAPIPE478_TO_IBUG68
FOLDER = "pictures"  # its name says that its frames stand alone
FIT = Recipe(
    stage="fit", backend=None, settings={"model": "builtin", "fov": 30}, models=(), code="0"
)
KEY = ["sample", "frame", "track"]
EYES = (  # corners of iBUG-68; lids and iris of FaceMesh, image-left eye first
    ((36, 39), (159, 145), range(468, 473)),
    ((45, 42), (386, 374), range(473, 478)),
)
PERSON = proportions(MODEL, np.random.default_rng(3), 0.7)


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def faces(
    angles: Sequence[Sequence[float]] | np.ndarray,
    gaze: Sequence[float] = (0.0, 0.0),
    camera: Camera = CAMERA,
    opening: tuple[float, float] = (0.8, 0.8),
    noise: float = 0.3,
    person: np.ndarray = PERSON,
) -> np.ndarray:
    """(n, 478, 2) px: heads at angles (n, 3) in degrees whose eyes look along two angles."""
    n = len(angles)
    rotation = rotation_from_euler(np.deg2rad(np.asarray(angles, float)))
    translation = np.array([0.0, 0.0, camera.focal * 89 / 130])
    shape = MODEL.neutral(person)
    points = np.full((n, 478, 2), 100.0)
    body = rotate(rotation, np.broadcast_to(shape, (n, 68, 3))) + translation
    points[:, OURS] = camera.project(body)
    look = unit(np.array([*np.tan(np.deg2rad(gaze)), -1.0]))
    for (corners, lids, iris), opened in zip(EYES, opening, strict=True):
        behind = np.array([0.0, -gazing.EYE_UP, gazing.EYE_BACK])
        ball = shape[list(corners)].mean(axis=0) + behind
        disc = rotate(rotation, np.tile(ball, (n, 1, 1)))[:, 0] + translation
        disc = disc + gazing.IRIS_TO_ROTATION * look
        across = unit(np.array([1.0, 0.0, look[0] / -look[2]]))
        down = np.cross(look, across)
        down *= np.sign(down[1])
        radius = gazing.IRIS_DIAMETER / 2
        around = (0 * across, across, -down, -across, down)
        for index, offset in zip(iris, around, strict=True):
            points[:, index] = camera.project(disc + radius * offset)
        for index, sign in zip(lids, (-1, 1), strict=True):
            points[:, index] = camera.project(disc + sign * opened * radius * rotation[:, :, 1])
    rng = np.random.default_rng(n)
    return points + rng.normal(size=points.shape) * noise


def turning(n: int, yaw: float = 20.0) -> np.ndarray:
    t = np.arange(n) / 6
    return np.stack([6 * np.sin(t), yaw * np.sin(t / 2), 4 * np.cos(t)], axis=1)


@dataclass(frozen=True)
class Fitted:
    table: pd.DataFrame
    people: pd.DataFrame

    @property
    def vectors(self) -> np.ndarray:
        """(n, 2, 3), NaN where null."""
        return self.table[list(GAZE_COLUMNS[:6])].to_numpy(float).reshape(-1, 2, 3)

    @property
    def angles(self) -> np.ndarray:
        """(n, 2) degrees, NaN where null."""
        return np.rad2deg(self.table[list(GAZE_COLUMNS[6:])].to_numpy(float))


def fitted(
    folder: Path,
    points: np.ndarray,
    name: str = "clip",
    scheme: str = schemes.MEDIAPIPE478,
    sizes: Sequence[tuple[int, int]] | None = None,
    status: Sequence[str] | None = None,
    recipe: Recipe = FIT,
) -> Fitted:
    """Fit frames of one track; `sizes` of pictures that differ in it."""
    folder.mkdir(parents=True)
    plan, probe, landmarks = (folder / n for n in ("s.tsv", "probe.parquet", "lm.parquet"))
    plan.write_text(shard_text([Sample(name, folder / name, name, sha256=name)]))
    if sizes is not None:
        (folder / name).mkdir()
        for i, size in enumerate(sizes):
            Image.new("L", size).save(folder / name / f"{i}.png")
    detect = {"settings": {"track": {"image_folders": "pictures"}}}
    about = {"recipe": {"stage": "landmarks"}, "lineage": "x", "upstream": {"detect": detect}}
    with TableWriter(probe, SCHEMAS["probe"], about) as writer:
        width, height = SIZE if sizes is None else (None, None)
        writer.append(
            sample=name,
            kind="images" if name == FOLDER else "video",
            width=width,
            height=height,
            rotation=0,
            n_frames=len(points),
            status="ok",
            reason="",
        )
    with TableWriter(landmarks, SCHEMAS["landmarks"], about) as writer:
        for frame, one in enumerate(points):
            word = "ok" if status is None else status[frame]
            writer.append(
                sample=name,
                frame=frame,
                track=0,
                time=frame / 25,
                scheme=scheme,
                points=one.ravel().astype(np.float32) if word == "ok" else None,
                confidence=1.0,
                status=word,
            )
    out = folder / "fit.parquet", folder / "identity.parquet"
    fit(plan, probe, landmarks, *out, recipe)
    return Fitted(*(pd.read_parquet(path) for path in out))


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", ["clip", FOLDER])
def test_the_gaze_is_what_was_played(tmp_path: Path, name: str) -> None:
    for k, gaze in enumerate([(0.0, 0.0), (15.0, 0.0), (-12.0, 8.0)]):
        found = fitted(tmp_path / str(k), faces(turning(40), gaze), name)
        assert (found.table.status == "ok").all()
        assert np.allclose(np.linalg.norm(found.vectors, axis=2), 1, atol=1e-6)
        assert np.abs(np.median(found.angles, axis=0) - gaze).max() < 2.5
        assert np.abs(found.angles - gaze).max() < 10


def test_closed_eyes_have_no_gaze(tmp_path: Path) -> None:
    angles = np.zeros((4, 3))
    shut = [(0.8, 0.8), (0.1, 0.8), (0.8, 0.1), (0.1, 0.1)]
    points = np.concatenate([faces(angles[:1], opening=o) for o in shut])
    found = fitted(tmp_path / "in", points)
    assert found.table.status.tolist() == ["ok"] * 4
    seen = np.isfinite(found.vectors).all(axis=2)
    assert seen.tolist() == [[True, True], [False, True], [True, False], [False, False]]
    assert np.isnan(found.vectors[~seen]).all(), "a vector is there as a whole or not at all"
    assert np.isfinite(found.angles).all(axis=1).tolist() == [True, True, True, False]
    one = found.vectors[1, 1]
    assert np.deg2rad(found.angles[1, 0]) == pytest.approx(np.arctan2(one[0], -one[2]), abs=1e-6)


def test_without_irises_there_is_no_gaze(tmp_path: Path) -> None:
    found = fitted(tmp_path / "in", faces(turning(20))[:, OURS], scheme=schemes.IBUG68)
    assert (found.table.status == "ok").all()
    assert found.table[list(GAZE_COLUMNS)].isna().all().all()


def test_the_gaze_through_a_lens_is_that_without_it(tmp_path: Path) -> None:
    width, height = SIZE
    focal = CAMERA.focal
    middle = ((width - 1) / 2, (height - 1) / 2)
    bent = Calibration(width, height, (focal, focal), middle, (-3.0, 0, 0, 0))
    straight = faces(turning(30), (8.0, -4.0))
    pixels = bent.lens(SIZE).distort(straight)
    assert np.abs(pixels - straight)[:, OURS].max() > 1
    calibrated = replace(FIT, settings={"model": "builtin", "calibration": bent.to_dict()})
    plain = fitted(tmp_path / "plain", straight)
    through = fitted(tmp_path / "through", pixels, recipe=calibrated)
    assert np.isfinite(plain.angles).all()
    assert np.abs(through.angles - plain.angles).max() < 0.3


def test_pictures_of_several_sizes_have_their_gaze_from_their_own_camera(tmp_path: Path) -> None:
    """Wrong cameras would move the middle of the picture, and with it the gaze."""
    sizes = [(640, 480), (900, 700), (640, 480), (480, 640)]
    cameras = [Camera.from_fov(*size, 30) for size in sizes]
    heads = np.array([[0.0, 10.0, 0.0]])
    points = np.concatenate([faces(heads, (10.0, 5.0), camera, noise=0.0) for camera in cameras])
    found = fitted(tmp_path / "in", points, FOLDER, sizes=sizes)
    assert found.table.status.tolist() == ["ok"] * 4
    assert np.abs(found.angles - [10, 5]).max() < 3
    assert np.array_equal(found.angles[0], found.angles[2])
    alone = fitted(tmp_path / "in1", points[1:2], FOLDER, sizes=sizes[1:2])
    same = [c for c in found.table if c not in KEY]
    pd.testing.assert_frame_equal(
        found.table[1:2][same].reset_index(drop=True), alone.table[same], check_exact=True
    )


def test_a_person_who_never_looks_ahead(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    heads = np.stack([rng.uniform(-5, 5, 40), rng.uniform(50, 58, 40), rng.uniform(-5, 5, 40)], 1)
    found = fitted(tmp_path / "in", faces(heads, (35.0, 0.0)))
    assert (found.table.status == "ok").mean() > 0.9
    ok = found.table.status == "ok"
    assert np.abs(np.rad2deg(found.table.ry[ok]) - heads[ok, 1]).max() < 6
    assert found.people.status.tolist() == ["ok"] and found.people.neutral.notna().all()
    lengths = np.linalg.norm(found.vectors, axis=2)
    assert np.allclose(lengths[np.isfinite(lengths)], 1, atol=1e-6)


@pytest.mark.parametrize("name", ["clip", FOLDER])
def test_one_frame_is_enough(tmp_path: Path, name: str) -> None:
    found = fitted(tmp_path / "in", faces([[5.0, 10.0, 0.0]], (5.0, 0.0)), name)
    assert found.table.status.tolist() == ["ok"] and found.table.converged.tolist() == [True]
    assert np.isfinite(found.angles).all()
    assert np.abs(np.rad2deg(found.table.ry[0]) - 10) < 3
    assert found.people.n_frames.tolist() == [1]
    assert found.people.neutral.notna().tolist() == [name == "clip"]


def mirrored(points: np.ndarray) -> np.ndarray:
    return np.array([SIZE[0] - 1, 0]) + np.array([-1, 1]) * points


def with_one(value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(points: np.ndarray) -> np.ndarray:
        out = points.copy()
        out[OURS[30], 0] = value
        return out

    return change


SCATTER = np.random.default_rng(0).uniform(0, 400, (478, 2))
NO_FACES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "a point": lambda p: np.full_like(p, 100.0),
    "the corner": np.zeros_like,
    "a heap": lambda p: 100 + 0.02 * (p - p.mean(axis=0)),
    "a line": lambda p: p * [1, 0] + [0, 200],
    "an upright line": lambda p: p * [0, 1] + [200, 0],
    "mirrored": mirrored,
    "upside down and mirrored": lambda p: np.array([0, SIZE[1] - 1]) + np.array([1, -1]) * p,
    "transposed": lambda p: p[:, ::-1].copy(),
    "NaN": lambda p: np.full_like(p, np.nan),
    "one NaN": with_one(np.nan),
    "one infinite": with_one(np.inf),
    "one huge": with_one(1e30),
    "outside": lambda p: p + 5000.0,
    "outside at the top left": lambda p: p - 5000.0,
    "in another order": lambda p: p[np.random.default_rng(1).permutation(478)],
    "scattered": lambda p: SCATTER,
}


@pytest.mark.parametrize("name", ["clip", FOLDER])
def test_what_is_no_face_is_never_ok(tmp_path: Path, name: str) -> None:
    good = faces(turning(len(NO_FACES) + 6))
    points = good.copy()
    for i, change in enumerate(NO_FACES.values()):
        points[i] = change(good[i])
    found = fitted(tmp_path / "in", points, name)
    bad = found.table[: len(NO_FACES)]
    said = dict(zip(NO_FACES, bad.status, strict=True))
    assert set(said.values()) == {"not_converged"}, said
    assert bad.converged.tolist() == [False] * len(bad)
    assert bad.drop(columns=[*KEY, "status", "converged"]).isna().all().all()
    assert found.table.status[len(NO_FACES) :].tolist() == ["ok"] * 6
    if name == FOLDER:
        # who is right is the same whoever is wrong beside him
        alone = fitted(tmp_path / "in1", good, name)
        rest = [c for c in found.table if c not in KEY]
        pd.testing.assert_frame_equal(
            found.table[len(NO_FACES) :][rest],
            alone.table[len(NO_FACES) :][rest],
            check_dtype=False,  # pandas has no whole numbers in a column with nulls
            check_exact=True,
        )


@pytest.mark.parametrize("kind", NO_FACES)
def test_a_track_of_nothing_else_has_no_identity(tmp_path: Path, kind: str) -> None:
    points = np.stack([NO_FACES[kind](p) for p in faces(turning(5))])
    found = fitted(tmp_path / "in", points)
    assert set(found.table.status) == {"not_converged"}
    (row,) = found.people.to_dict("records")
    assert row["status"] == "not_converged" and row["n_frames"] == 0
    for column in ("identity", "neutral", "noise", "error_px"):
        assert pd.isna(row[column]), column


def test_rows_without_landmarks_are_null_throughout(tmp_path: Path) -> None:
    status = ["ok", "no_face", "lost", "low_confidence", "decode_error", "ok"]
    found = fitted(tmp_path / "in", faces(turning(6)), status=status)
    assert found.table.status.tolist() == status
    rest = found.table[1:5].drop(columns=[*KEY, "status"])
    assert rest.isna().all().all(), "not even `converged` is said of them"
    assert found.table.converged[[0, 5]].tolist() == [True, True]


def test_moved_landmarks_are_no_inliers_and_leave_the_pose(tmp_path: Path) -> None:
    n = 40
    right = faces(turning(n))
    wrong = right.copy()
    rng = np.random.default_rng(2)
    for frame in range(0, n, 2):
        chosen = np.asarray(OURS)[rng.choice(68, 10, replace=False)]
        where = rng.uniform(0, 2 * np.pi, 10)
        wrong[frame, chosen] += 20 * np.stack([np.cos(where), np.sin(where)], axis=1)
    first, second = fitted(tmp_path / "1", right), fitted(tmp_path / "2", wrong)
    assert (second.table.status == "ok").all()
    moved = np.arange(n) % 2 == 0
    assert first.table.inliers.min() >= 66
    assert second.table.inliers[moved].between(55, 60).all()
    assert second.table.inliers[~moved].min() >= 66
    apart = (second.table[["rx", "ry", "rz"]] - first.table[["rx", "ry", "rz"]]).abs()
    assert np.rad2deg(apart.to_numpy(float)).max() < 1.0


def test_the_neutral_face_is_the_one_that_the_fit_turns(tmp_path: Path) -> None:
    points = faces(turning(40), noise=0.5)
    found = fitted(tmp_path / "in", points)
    (row,) = found.people.to_dict("records")
    neutral = np.asarray(row["neutral"], float)
    assert neutral.shape == (68 * 3,)
    neutral = neutral.reshape(68, 3)
    assert 75 < np.linalg.norm(neutral[45] - neutral[36]) < 105, "mm between the outer corners"
    assert neutral[8, 1] - neutral[27, 1] > 80, "y down: the chin is below the nose"
    assert neutral[45, 0] > neutral[36, 0] and neutral[30, 2] < neutral[27, 2]
    truth = MODEL.neutral(PERSON)
    scale = (neutral * truth).sum() / (neutral * neutral).sum()
    assert 0.9 < scale < 1.1
    assert np.sqrt(((scale * neutral - truth) ** 2).sum(axis=1).mean()) < 5
    # 0.5 px of 130 px
    assert row["noise"] == pytest.approx(0.5 / 130, abs=0.003)
    table = found.table
    deformed = neutral + np.tensordot(np.stack(table.expression.to_list()), MODEL.expression, 1)
    rotation = rotation_from_euler(table[["rx", "ry", "rz"]].to_numpy(float))
    placed = rotate(rotation, deformed) + table[["tx", "ty", "tz"]].to_numpy(float)[:, None]
    away = (CAMERA.project(placed) - points[:, OURS])[:, 17:]
    error = np.sqrt((away**2).sum(axis=2).mean(axis=1))
    assert np.abs(error - table.error_px).max() < 0.02


def test_pictures_that_stand_alone_have_no_neutral_face(tmp_path: Path) -> None:
    for name, sizes in ((FOLDER, None), ("clip", [SIZE, (700, 480), SIZE])):
        found = fitted(tmp_path / name, faces(turning(3)), name, sizes=sizes)
        assert (found.table.status == "ok").all()
        (row,) = found.people.to_dict("records")
        assert row["n_frames"] == 3 and row["status"] == "ok" and row["error_px"] < 2
        assert all(pd.isna(row[column]) for column in ("identity", "neutral", "noise"))


def test_the_units_of_the_new_columns_are_said(tmp_path: Path) -> None:
    fitted(tmp_path / "in", faces(turning(3)))
    with TableReader(tmp_path / "in" / "fit.parquet") as reader:
        units: dict[str, Any] = reader.metadata["units"]
    assert set(GAZE_COLUMNS) <= set(units) and "inliers" in units
    assert "image-left" in units["gaze_0_x"] and "image-right" in units["gaze_1_z"]
