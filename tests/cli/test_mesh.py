"""facemake mesh: the frames that were asked for, in the axes that were asked for, or why not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facemake import geometry, schemes
from facemake.backends.fit import builtin, load, sources
from facemake.backends.fit.mesh import load_surface
from facemake.backends.fit.model import LinearFaceModel
from facemake.cli import main
from facemake.tables import SCHEMAS, TableWriter
from makefaces import CAMERA, DISTANCE
from makesources import ict_folder

MODEL = builtin.load_builtin()
N_FRAMES = 530  # more than a row group
BAD = {5: "no_face", 6: "no_face", 7: "lost", 20: "not_converged"}
SECOND = range(3, 9)  # frames of track 1


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without models, and a working directory that is not the run's."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FACEMAKE_MODELS", "")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path


def row_of(model: LinearFaceModel, frame: int, track: int) -> dict[str, Any]:
    """What the fit says of a frame; the first is frontal and at rest."""
    rng = np.random.default_rng(frame + 1000 * track)
    away = min(frame, 1)
    expression = away * rng.uniform(0, 0.8, len(model.expression))
    shape = model.mean + np.tensordot(expression, model.expression, 1)
    inner = shape[model.inner] * [1, -1, 1]
    angles, shift = away * rng.uniform(-0.4, 0.4, 3), away * rng.uniform(-20, 20, 2)
    numbers = dict(zip(("rx", "ry", "rz", "tx", "ty"), (*angles, *shift), strict=True))
    return {
        **numbers,
        "tz": DISTANCE,
        "expression": expression.astype(np.float32),
        "canonical": inner.ravel().astype(np.float32),
        "status": "ok",
    }


def person(model: LinearFaceModel, track: int) -> np.ndarray:
    return np.random.default_rng(track).normal(size=len(model.identity)).astype(np.float32)


def write_run(
    results: Path,
    name: str = "builtin",
    model: LinearFaceModel = MODEL,
    shard: str = "pack0",
    lineage: str = "a",
    **recipe: Any,
) -> None:
    """The tables of a run: `clip` with two tracks, `pictures` that stand alone, and `nobody`."""
    about = {
        "recipe": {
            "stage": "fit",
            "settings": {"model": name, "fov": 30},
            "models": [{"name": model.name, "sha256": model.sha256, "licence": model.licence}],
            **recipe,
        },
        "lineage": lineage,
        "upstream": {},
    }
    for folder in ("fit", "identity"):
        (results / folder).mkdir(parents=True, exist_ok=True)
    with TableWriter(results / "fit" / f"{shard}.parquet", SCHEMAS["fit"], about) as table:
        for frame in range(N_FRAMES):
            for track in (0, 1) if frame in SECOND else (0,):
                bad = BAD.get(frame) if track == 0 else None
                row = {"status": bad} if bad else row_of(model, frame, track)
                table.append(sample="clip", frame=frame, track=track, **row)
        for frame in range(3):
            table.append(sample="pictures", frame=frame, track=0, **row_of(model, frame, 0))
        table.append(sample="nobody", frame=0, track=0, status="no_face")
        table.append(sample="nobody", frame=1, track=0, **row_of(model, 1, 0))
    people = results / "identity" / f"{shard}.parquet"
    with TableWriter(people, SCHEMAS["identity"], about) as table:
        for track in (0, 1):
            row = {"identity": person(model, track), "n_frames": 32, "status": "ok"}
            table.append(sample="clip", track=track, **row)
        table.append(sample="pictures", track=0, n_frames=3, status="ok")
        table.append(sample="nobody", track=0, n_frames=0, status="not_converged")


@pytest.fixture
def results(tmp_path: Path) -> Path:
    write_run(tmp_path / "study" / "results")
    return tmp_path / "study" / "results"


def read_ply(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
    """Vertices, normals, triangles, comments."""
    header, _, body = path.read_bytes().partition(b"end_header\n")
    lines = header.decode("ascii").splitlines()
    counts = {line.split()[1]: int(line.split()[2]) for line in lines if "element" in line}
    width = sum(line.startswith("property float") for line in lines)
    values = np.frombuffer(body, "<f4", counts["vertex"] * width).reshape(-1, width)
    faces = np.frombuffer(body[values.nbytes :], [("n", "u1"), ("v", "<i4", 3)])
    assert len(faces) == counts.get("face", 0) and (faces["n"] == 3).all()
    comments = [line[8:] for line in lines if line.startswith("comment ")]
    return values[:, :3].astype(float), values[:, 3:], faces["v"], comments


def mesh(results: Path, *arguments: str, sample: str = "clip") -> int:
    return main(["mesh", sample, "--results", str(results), *arguments])


def test_the_landmarks_of_the_files_are_seen_where_the_fit_has_them(results: Path):
    assert mesh(results, "--frames", "8:530:100") == 0
    found = sorted(p.name for p in Path("mesh").iterdir())
    assert found == [f"clip_track0_frame000{n}08.ply" for n in range(6)]
    for path in sorted(Path("mesh").iterdir()):
        row = row_of(MODEL, int(path.stem[-6:]), 0)
        shape = MODEL.neutral(person(MODEL, 0)) + np.tensordot(
            row["expression"], MODEL.expression, 1
        )
        turned = geometry.rotate(
            geometry.rotation_from_euler([row[n] for n in ("rx", "ry", "rz")]), shape
        )
        wanted = CAMERA.project(turned + [row[n] for n in ("tx", "ty", "tz")])
        vertices, normals, triangles, _ = read_ply(path)
        seen = CAMERA.project(vertices[schemes.MEDIAPIPE478_TO_IBUG68])
        assert np.abs(seen - wanted).max() < 1e-3
        assert vertices.shape == normals.shape == (468, 3) and triangles.shape == (852, 3)


def test_the_file_says_what_it_is(results: Path, capsys: pytest.CaptureFixture[str]):
    assert mesh(results) == 0
    said = capsys.readouterr()
    path = Path("mesh/clip_track0_frame000000.ply")
    assert said.out == f"{path}\n" and "1 file, 468 vertices and 852 triangles" in said.err
    _, normals, _, comments = read_ply(path)
    assert normals[:, 2].mean() < -0.5, "a frontal face looks into the lens"
    for words in (
        "sample clip, track 0, frame 0",
        "mm, camera axes: x right, y down, z forward",
        "interpolated surface, not a statistical one",
        f"face model facemake-1, SHA-256 {MODEL.sha256}",
        "licence: MIT; triangles: MediaPipe, Apache-2.0",
    ):
        assert any(words in line for line in comments), words


def test_canonical_axes_are_those_of_the_table(results: Path):
    assert mesh(results, "--frames", "0:2", "--space", "canonical") == 0
    for frame in (0, 1):
        vertices, normals, _, comments = read_ply(Path(f"mesh/clip_track0_frame{frame:06d}.ply"))
        points = vertices[schemes.MEDIAPIPE478_TO_IBUG68]
        table = row_of(MODEL, frame, 0)["canonical"].reshape(51, 3)
        assert np.abs(points[17:] - table).max() < 1e-3
        assert normals[:, 2].mean() < -0.4
        assert "no identity and no pose" in comments[1]
    assert mesh(results, "--frames", "0", "--space", "canonical", "--output", "rest") == 0
    points = read_ply(Path("rest/clip_track0_frame000000.ply"))[0][schemes.MEDIAPIPE478_TO_IBUG68]
    assert points[30, 2] == pytest.approx(-41, abs=0.1) and points[27, 1] > points[8, 1]
    assert points[45, 0] - points[36, 0] == pytest.approx(89, abs=0.5)


def test_the_head_is_the_person_without_pose(results: Path):
    assert mesh(results, "--frames", "4", "--track", "1", "--space", "head") == 0
    vertices = read_ply(Path("mesh/clip_track1_frame000004.ply"))[0]
    row = row_of(MODEL, 4, 1)
    shape = MODEL.neutral(person(MODEL, 1)) + np.tensordot(row["expression"], MODEL.expression, 1)
    assert np.abs(vertices[schemes.MEDIAPIPE478_TO_IBUG68] - shape).max() < 1e-3


def test_the_same_bytes_whatever_else_was_asked_for(results: Path):
    assert mesh(results, "--frames", "500:", "--output", "all") == 0
    assert mesh(results, "--frames", "520", "--output", "one") == 0
    name = "clip_track0_frame000520.ply"
    assert (Path("all") / name).read_bytes() == (Path("one") / name).read_bytes()
    assert len(list(Path("all").iterdir())) == 30


def test_an_obj_file_has_the_same_surface(results: Path):
    assert mesh(results, "--frames", "9") == 0
    assert mesh(results, "--frames", "9", "--format", "obj") == 0
    vertices, _, triangles, comments = read_ply(Path("mesh/clip_track0_frame000009.ply"))
    lines = Path("mesh/clip_track0_frame000009.obj").read_text().splitlines()
    kinds = {
        kind: [line[len(kind) + 1 :] for line in lines if line.split()[0] == kind]
        for kind in ("#", "v", "vn", "f")
    }
    assert kinds["#"] == comments
    assert np.abs(np.array([line.split() for line in kinds["v"]], float) - vertices).max() < 1e-3
    corners = [[int(c.split("//")[0]) - 1 for c in line.split()] for line in kinds["f"]]
    assert np.array_equal(corners, triangles) and len(kinds["vn"]) == 468


def test_frames_that_are_not_fitted_are_named_and_left_out(
    results: Path, capsys: pytest.CaptureFixture[str]
):
    assert mesh(results, "--frames", "4:22") == 0
    said = capsys.readouterr()
    assert len(said.out.splitlines()) == 18 - len(BAD)
    assert "left out, not fitted: lost 7; no_face 5-6; not_converged 20" in said.err
    assert mesh(results, "--frames", "5:8:2") == 2
    assert "no frame is fitted of those asked for (lost 7; no_face 5)" in capsys.readouterr().err
    assert mesh(results, sample="nobody") == 0
    assert "nobody_track0_frame000001.ply" in capsys.readouterr().out, "the first that is fitted"


def test_a_track_that_the_fit_gave_the_mean_face_has_it(results: Path):
    assert mesh(results, "--space", "head", sample="nobody") == 0
    vertices = read_ply(Path("mesh/nobody_track0_frame000001.ply"))[0]
    expression = row_of(MODEL, 1, 0)["expression"]
    wanted = load_surface("builtin").mesh.shape(None, expression)
    assert np.array_equal(vertices, wanted)


def test_pictures_that_stand_alone_have_no_identity_to_show(
    results: Path, capsys: pytest.CaptureFixture[str]
):
    for space in ("camera", "head"):
        assert mesh(results, "--space", space, sample="pictures") == 2
        assert "--space canonical" in capsys.readouterr().err
    assert not Path("mesh").exists()
    assert mesh(results, "--space", "canonical", "--frames", ":", sample="pictures") == 0
    assert len(list(Path("mesh").iterdir())) == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--track", "2"), "clip has no track 2: it has 0, 1"),
        (("--frames", "530"), "there is no frame 530: there are 0 to 529"),
        (("--frames", "0:1000:10"), "there is no frame 990: there are 0 to 529"),
        (("--frames", "0:1000000000000"), "there is no frame 999999999999"),
        (("--frames", "10:10"), "10:10 is no frame"),
        (("--frames", "1", "--track", "1"), "there is no frame 1: there are 3 to 8"),
        (("--models-dir", "nowhere"), "no such folder"),
    ],
)
def test_what_is_not_there_is_said(
    results: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: str
):
    assert mesh(results, *arguments) == 2
    assert words in capsys.readouterr().err
    assert not Path("mesh").exists()


@pytest.mark.parametrize("frames", ["x", "1.5", "-1", "0:10:0", "0:10:-1", "1:2:3:4", "", "0,1"])
def test_what_are_no_frames_is_refused(
    results: Path, capsys: pytest.CaptureFixture[str], frames: str
):
    with pytest.raises(SystemExit) as caught:
        mesh(results, f"--frames={frames}")
    assert caught.value.code == 2
    assert "names no frames" in capsys.readouterr().err


def test_an_unknown_sample_and_a_folder_without_results_are_refused(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert mesh(results, sample="clop") == 2
    assert "frames of a sample clop" in (said := capsys.readouterr().err)
    assert "there are clip, nobody, pictures" in said
    for folder in (tmp_path / "nowhere", tmp_path):
        assert mesh(folder) == 2
        assert "--results names the results folder" in capsys.readouterr().err
    # another shard has it; a hidden file is none
    (results / "fit" / ".x.parquet").write_bytes(b"half")
    write_run(results, shard="clap", lineage="b")
    assert mesh(results) == 0


def test_tables_that_do_not_belong_together_are_refused(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    people = results / "identity" / "pack0.parquet"
    write_run(tmp_path / "other", lineage="b")
    people.write_bytes((tmp_path / "other" / "identity" / "pack0.parquet").read_bytes())
    assert mesh(results) == 2
    assert "are not of one run" in capsys.readouterr().err
    people.unlink()
    assert mesh(results) == 2
    assert "pack0.parquet is missing: run the workflow again" in capsys.readouterr().err
    assert mesh(results, "--space", "canonical") == 0, "that needs no identity"


def test_another_model_than_that_of_the_fit_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    other = {"name": "facemake_face_model_1", "sha256": "0" * 64, "licence": "MIT"}
    for recipe, words in (
        ({"models": [other]}, "install the version of facemake"),
        ({"models": []}, "does not name the face model"),
        ({"settings": {}}, "does not name the face model"),
        ({"settings": {"model": "flame"}}, "flame is no face model"),
        ({"settings": {"model": "bfm2009"}}, "models build bfm2009"),
    ):
        write_run(tmp_path / "results", **recipe)
        assert mesh(tmp_path / "results") == 2
        assert words in capsys.readouterr().err
    assert not Path("mesh").exists()


def test_a_model_with_a_mesh_gives_its_own_vertices(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folder = tmp_path / "models"
    sources.build("ict-facekit", ict_folder(tmp_path / "FaceXModel"), folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FACEMAKE_MODELS", str(folder))
        model, surface = load("ict-facekit"), load_surface("ict-facekit")
    write_run(tmp_path / "results", "ict-facekit", model)
    assert mesh(tmp_path / "results") == 2, "the model is in no folder that is looked through"
    assert "facemake models build ict-facekit" in capsys.readouterr().err
    arguments = ("--models-dir", str(folder), "--frames", "9", "--space", "head")
    assert mesh(tmp_path / "results", *arguments) == 0
    vertices, normals, triangles, comments = read_ply(Path("mesh/clip_track0_frame000009.ply"))
    expression = row_of(model, 9, 0)["expression"]
    assert np.array_equal(vertices, surface.mesh.shape(person(model, 0), expression))
    assert normals.shape == (9409, 3) and np.array_equal(triangles, surface.mesh.triangles)
    assert any(line.startswith("statistical surface") for line in comments)

    again = sources.build(
        "ict-facekit", ict_folder(tmp_path / "two" / "FaceXModel", identities=4), folder
    )
    assert again.sha256 != model.sha256
    assert mesh(tmp_path / "results", *arguments) == 2
    assert "would be another face" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_said(results: Path, capsys: pytest.CaptureFixture[str]):
    Path("taken").write_text("a file")
    assert mesh(results, "--output", "taken") == 2
    assert "cannot be written" in capsys.readouterr().err
