"""The stages of 3DI and 3DI-lite on the stand-in, in one process."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from facemake import orphans
from facemake.backends.threedi import Engine, rawfiles
from facemake.backends.threedi.install import FAILURES_VARIABLE, RUNTIME_VARIABLE
from facemake.backends.threedi.programs import needs, program, programs
from facemake.errors import ConfigError, FacemakeError
from facemake.stages.probe import probe
from facemake.stages.threedi_detections import threedi_detections
from facemake.stages.threedi_files import threedi_files
from facemake.stages.threedi_fit import threedi_fit
from facemake.stages.threedi_model import threedi_model
from facemake.stages.threedi_step import threedi_step
from facemake.stages.threedi_video import threedi_video
from makemedia import pattern, write_video
from makestudy import Study, inside, make_study
from standin3di import build

CALIBRATION = """%YAML:1.0
---
cameraMatrix_preUndistort: !!opencv-matrix
   rows: 3
   cols: 3
   dt: d
   data: [ 600., 0., 160., 0., 600., 120., 0., 0., 1. ]
distCoeffs: !!opencv-matrix
   rows: 1
   cols: 5
   dt: d
   data: [ -0.2, 0.05, 0.001, 0., 0. ]
imageSize: [ 320, 240 ]
cameraMatrix_postUndistort: !!opencv-matrix
   rows: 3
   cols: 3
   dt: d
   data: [ 580., 0., 161., 0., 590., 119., 0., 0., 1. ]
"""


@pytest.fixture(autouse=True)
def environment() -> Iterator[None]:
    """What a plan tells its jobs ends with the test."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module")
def installs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("installs")
    build.build(folder / "3di", "3di", sys.executable)
    build.build(folder / "3dilite", "3dilite", sys.executable)
    return folder


class Bench:
    """A study whose stages are run one by one."""

    def __init__(self, study: Study, calibration: Path | None = None) -> None:
        self.study = study
        self.engine = Engine(study.plan.config["engine"])
        self.calibration = calibration
        self.shard = study.plan.shards[0]

    def step_file(self, step: str) -> Path:
        return self.study.folder / "results" / "3di" / ".steps" / step / f"{self.shard}.zip"

    def table(self, name: str) -> pd.DataFrame:
        return pd.read_parquet(self.study.table(name, self.shard))

    def step(self, name: str) -> None:
        one = program(self.engine, name)
        with inside(self.study.folder):
            threedi_step(
                plan=self.study.plan_file(self.shard),
                probe=self.study.table("probe", self.shard),
                video=self.step_file("video"),
                before=[
                    self.step_file(s) for s in needs(self.engine, one, self.calibration is not None)
                ],
                output=self.step_file(name),
                recipe=self.study.recipe(f"threedi_{name}"),
                results=self.study.folder / "results" / "3di",
                calibration=self.calibration,
            )

    def all(self) -> None:
        """Up to the fit."""
        from facemake.stages.landmarks import landmarks

        at, recipe = self.study.table, self.study.recipe
        plan, shard = self.study.plan_file(self.shard), self.shard
        steps = [p.step for p in programs(self.engine, self.calibration is not None)]
        with inside(self.study.folder):
            probe(plan, at("probe", shard), recipe("probe"))
            video = self.step_file("video")
            threedi_video(plan, at("probe", shard), video, recipe("threedi_video"))
        for name in steps:
            self.step(name)
        with inside(self.study.folder):
            model = self.study.folder / "model.npz"
            threedi_model(model, recipe("threedi_model"))
            rects, found = self.step_file("detect"), at("detections", shard)
            threedi_detections(plan, at("probe", shard), video, rects, found, recipe("detect"))
            landmarks(
                plan=plan,
                probe=at("probe", shard),
                detections=found,
                output=at("landmarks", shard),
                faces=at("faces", shard, "h5"),
                recipe=recipe("landmarks"),
                given=[video, self.step_file("landmarks")],
            )
            names = ("fit", "identity", *(("smooth",) if self.engine is Engine.FULL else ()))
            threedi_fit(
                plan=plan,
                probe=at("probe", shard),
                video=video,
                landmarks=at("landmarks", shard),
                raw=[self.step_file(s) for s in steps if s not in ("undistort", "detect")],
                model=model,
                outputs={name: at(name, shard) for name in names},
                recipe=recipe("fit"),
            )


def clip(path: Path, frames: int = 8, size: tuple[int, int] = (320, 240)) -> Path:
    return write_video(path, [pattern(i, *size) for i in range(frames)])


def bench(
    folder: Path, installs: Path, engine: str, sheet: list[dict[str, object]], **config: object
) -> Bench:
    calibration = config.pop("calibration", None)
    camera = {"camera": {"calibration": str(calibration)}} if calibration else {}
    threedi = {"runtime": str(installs / engine), **dict(config.pop("threedi", {}))}
    study = make_study(folder, sheet, engine=engine, shards=1, threedi=threedi, **camera, **config)
    return Bench(study, calibration)


def test_lite_has_turns_and_expressions_and_no_places(tmp_path: Path, installs: Path):
    sheet = [{"sample": "clip", "path": clip(tmp_path / "clip.mp4")}]
    made = bench(tmp_path / "s", installs, "3dilite", sheet)
    assert not made.study.plan.enabled("smooth")
    made.all()
    fit = made.table("fit")
    assert fit.status.tolist() == ["ok"] * 7 + ["not_converged"]
    assert fit[["tx", "ty", "tz", "error_px"]].isna().all().all()
    assert fit.global_params.isna().all() and fit.local_params.isna().all()
    ok = fit[fit.status == "ok"]
    assert np.isfinite(ok[["rx", "ry", "rz"]]).all().all()
    assert ok[["rx", "ry", "rz"]].abs().max().max() < 0.8
    assert {len(e) for e in ok.expression} == {79} and {len(c) for c in ok.canonical} == {153}
    # the stand-in's head turns alike in both engines
    full = bench(tmp_path / "f", installs, "3di", sheet)
    full.all()
    theirs = full.table("fit")
    angles = ["rx", "ry", "rz"]
    assert theirs[angles].abs().max().max() > 0.1
    assert np.allclose(fit.loc[:6, angles], theirs.loc[:6, angles], atol=0.01)
    identity = made.table("identity")
    assert identity.status.tolist() == ["ok"] and len(identity.identity[0]) == 199
    assert identity.neutral.isna().all()


def test_an_undistorted_video_s_points_come_back_to_the_recording(tmp_path: Path, installs: Path):
    file = tmp_path / "camera.txt"
    file.write_text(CALIBRATION)
    sheet: list[dict[str, object]] = [
        {"sample": "a", "path": clip(tmp_path / "a.mp4")},
        {"sample": "other", "path": clip(tmp_path / "other.mp4", size=(160, 120))},
    ]
    made = bench(tmp_path / "s", installs, "3di", sheet, calibration=file)
    made.all()
    with inside(made.study.folder):
        steps = [made.step_file(p.step) for p in programs(made.engine, True)]
        threedi_files(
            made.study.plan_file(made.shard), steps[1:], Path("raw"), Path("raw/listed.json")
        )
    raw = np.loadtxt(made.study.folder / "raw" / "a" / "a_landmarks.3DI").reshape(-1, 51, 2)
    landmarks = made.table("landmarks")
    mine = landmarks[(landmarks["sample"] == "a") & (landmarks.status == "ok")]
    points = np.stack(mine.points.to_list()).reshape(-1, 51, 2)
    # OpenCV's own way from the pixels of the undistorted video to those of the recording
    import cv2

    pre = np.array([[600.0, 0, 160], [0, 600, 120], [0, 0, 1]])
    rays = (raw[mine.frame] - (161, 119)) / (580, 590)
    flat = np.concatenate([rays, np.ones((*rays.shape[:2], 1))], axis=-1).reshape(-1, 1, 3)
    zero = np.zeros(3)
    expected, _ = cv2.projectPoints(flat, zero, zero, pre, np.array([-0.2, 0.05, 0.001, 0, 0]))
    assert np.allclose(points, expected.reshape(points.shape), atol=0.01)
    assert np.abs(points - raw[mine.frame]).max() > 1, "the lens does something"
    detections = made.table("detections")
    boxes = detections[detections["sample"] == "a"]
    inside_box = (points[:, :, 0] >= boxes.x.to_numpy()[:, None]) & (
        points[:, :, 0] <= (boxes.x + boxes.w).to_numpy()[:, None]
    )
    assert inside_box.all()
    # 3DI undistorts recordings of the calibrated size alone: the other one stops nothing
    for name in ("detections", "landmarks", "fit", "smooth"):
        rows = made.table(name)
        assert set(rows[rows["sample"] == "other"].status) == {"not_converged"}, name


def test_pictures_of_any_size_keep_their_pixels_and_a_broken_one_its_row(
    tmp_path: Path, installs: Path
):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, size in (("1.png", (320, 240)), ("2.png", (221, 301)), ("4.png", (100, 90))):
        Image.fromarray(pattern(3, *size)).save(folder / name)
    (folder / "3.png").write_bytes(b"no picture")
    made = bench(tmp_path / "s", installs, "3di", [{"sample": "p", "path": folder}])
    made.all()
    for name in ("detections", "landmarks", "fit", "smooth"):
        rows = made.table(name)
        assert rows.status.tolist() == ["ok", "ok", "decode_error", "ok"], name
    raw = rawfiles.file_name("p", "rects", Engine.FULL)
    from facemake.archives import Archive

    with Archive(made.step_file("detect")) as archive:
        rects = np.array([line.split() for line in archive.lines(raw)], float)
    assert len(rects) == 5, "the last frame stands there twice"
    boxes = made.table("detections")
    seen = boxes.status == "ok"
    assert np.allclose(boxes.loc[seen, ["x", "y", "w", "h"]], rects[:4][seen], atol=1e-3)


def test_a_killed_step_goes_on_at_the_sample_where_it_stopped(tmp_path: Path, installs: Path):
    own = tmp_path / "install"
    shutil.copytree(installs / "3di", own)
    sheet: list[dict[str, object]] = [
        {"sample": n, "path": clip(tmp_path / f"{n}.mp4", 4)} for n in ("a", "b")
    ]
    made = bench(tmp_path / "s", installs, "3di", sheet, threedi={"runtime": str(own)})
    plan = made.study.plan_file(made.shard)
    with inside(made.study.folder):
        at, recipe = made.study.table, made.study.recipe
        probe(plan, at("probe", made.shard), recipe("probe"))
        threedi_video(
            plan, at("probe", made.shard), made.step_file("video"), recipe("threedi_video")
        )
    real = run_count = 0
    from facemake.stages import threedi_step as stage

    original = stage.run_program

    def second_fails(*arguments: object, **more: object) -> object:
        nonlocal run_count
        run_count += 1
        if run_count == 2:
            raise KeyboardInterrupt
        return original(*arguments, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage, "run_program", second_fails)
        with pytest.raises(KeyboardInterrupt):
            made.step("detect")
    assert not made.step_file("detect").exists()
    with pytest.MonkeyPatch.context() as patch:

        def counted(*arguments: object, **more: object) -> object:
            nonlocal real
            real += 1
            return original(*arguments, **more)

        patch.setattr(stage, "run_program", counted)
        made.step("detect")
    assert real == 1, "the first sample was done already"
    assert made.step_file("detect").is_file()


def test_another_install_than_the_planned_one_is_refused(tmp_path: Path, installs: Path):
    own = tmp_path / "install"
    shutil.copytree(installs / "3di", own)
    sheet = [{"sample": "a", "path": clip(tmp_path / "a.mp4", 3)}]
    made = bench(tmp_path / "s", installs, "3di", sheet, threedi={"runtime": str(own)})
    with inside(made.study.folder):
        plan, recipe = made.study.plan_file(made.shard), made.study.recipe
        probe(plan, made.study.table("probe", made.shard), recipe("probe"))
        threedi_video(
            plan,
            made.study.table("probe", made.shard),
            made.step_file("video"),
            recipe("threedi_video"),
        )
    changed = own / "video_detect_face"
    changed.write_bytes(changed.read_bytes() + b"\n# changed\n")
    with pytest.raises(FacemakeError, match="not the install that this run was planned with"):
        made.step("detect")


def test_the_plan_says_where_the_install_is_and_sets_aside_what_nobody_wants(
    tmp_path: Path, installs: Path
):
    sheet = [{"sample": n, "path": clip(tmp_path / f"{n}.mp4", 3)} for n in ("a", "b")]
    made = bench(tmp_path / "s", installs, "3di", sheet, threedi={"failures": "mark"})
    assert os.environ[RUNTIME_VARIABLE] == str(installs / "3di")
    assert os.environ[FAILURES_VARIABLE] == "mark"
    with inside(made.study.folder):
        raw = Path("results/3di")
        for name in ("a", "gone"):
            (raw / name).mkdir(parents=True)
            (raw / name / f"{name}_rects.3DI").write_text("1 2 3 4\n")
        (raw / ".steps" / "fit").mkdir(parents=True)
        for name in (made.shard, "old"):
            (raw / ".steps" / "fit" / f"{name}.zip").write_text("")
        (raw / ".steps" / "model.npz").write_text("")
        moved = {str(p) for p in orphans.set_aside(made.study.plan)}
        assert moved == {
            "results/.orphans/3di/gone",
            "results/.orphans/3di/.steps/fit/old.zip",
        }
        native = make_study(made.study.folder, sheet)
        orphans.set_aside(native.plan)
        assert not list(raw.glob("[!.]*")) and not list(raw.glob(".steps/fit/*"))


def test_what_does_not_go_together_is_refused(tmp_path: Path, installs: Path):
    sheet = [{"sample": "a", "path": clip(tmp_path / "a.mp4", 3)}]
    plain = tmp_path / "plain.json"
    plain.write_text(
        '{"camera_matrix": [[600, 0, 160], [0, 600, 120], [0, 0, 1]], "image_width": 320,'
        ' "distortion_coefficients": [0, 0, 0, 0], "image_height": 240}'
    )
    with pytest.raises(ConfigError, match="cameraMatrix_postUndistort"):
        bench(tmp_path / "s", installs, "3di", sheet, calibration=plain)
    with pytest.raises(ConfigError, match=r"expressions\.basis"):
        basis = tmp_path / "b.npz"
        basis.write_bytes(b"")
        bench(tmp_path / "s", installs, "3di", sheet, expressions={"basis": str(basis)})


def test_provenance_of_raw_files_and_archives(
    tmp_path: Path, installs: Path, capsys: pytest.CaptureFixture[str]
):
    from facemake.cli import main

    sheet = [{"sample": "a", "path": clip(tmp_path / "a.mp4", 3)}]
    made = bench(tmp_path / "s", installs, "3di", sheet)
    with inside(made.study.folder):
        plan, recipe = made.study.plan_file(made.shard), made.study.recipe
        table = made.study.table("probe", made.shard)
        probe(plan, table, recipe("probe"))
        threedi_video(plan, table, made.step_file("video"), recipe("threedi_video"))
    made.step("detect")
    with inside(made.study.folder):
        threedi_files(plan, [made.step_file("detect")], Path("raw"), Path("raw/listed.json"))
        assert main(["provenance", str(made.step_file("detect"))]) == 0
        said = capsys.readouterr().out
        assert '"threedi_detect"' in said and "TPAMI" in said
        raw = Path("raw/a/a_rects.3DI")
        assert main(["provenance", str(raw)]) == 0
        assert '"runtime_identity"' in capsys.readouterr().out
        assert main(["provenance", "--models", str(raw)]) == 2
        assert "leave --models out" in capsys.readouterr().err
        raw.with_name("a_rects.3DI.json").unlink()
        assert main(["provenance", str(raw)]) == 2
        assert "a_rects.3DI.json" in capsys.readouterr().err


def test_names_that_meet_and_settings_that_a_step_does_not_know(tmp_path: Path, installs: Path):
    """`a_pose_smooth.3DI` is of `a`, though there is a sample `a_pose`."""
    sheet: list[dict[str, object]] = [
        {"sample": n, "path": clip(tmp_path / f"{n}.mp4", 4)} for n in ("a", "a_pose")
    ]
    made = bench(
        tmp_path / "s",
        installs,
        "3di",
        sheet,
        threedi={"fast": True, "basis": "other"},
        camera={"fov": 40.0},
    )
    made.all()
    steps = [made.step_file(p.step) for p in programs(made.engine, False)]
    with inside(made.study.folder):
        plan = made.study.plan_file(made.shard)
        threedi_files(plan, steps, Path("raw"), Path("raw/listed.json"))
        for name in ("a", "a_pose"):
            there = {p.name for p in (Path("raw") / name).iterdir()}
            expected = {rawfiles.file_name(name, k, Engine.FULL) for k in rawfiles.KINDS}
            assert there == expected | {f"{file}.json" for file in expected}
        listed = json.loads(Path("raw/listed.json").read_text())["files"]
        assert len(listed["a"]) == len(listed["a_pose"]) == 2 * len(rawfiles.KINDS)
        for path in Path("raw").glob("*/*.json"):
            word = json.loads(path.read_text())
            said = (word["fast"], word["camera"], word["local_bases"], word["landmark"])
            assert said == (True, 40.0, "other", "global4"), path
        before = {p: p.stat().st_mtime_ns for p in Path("raw").rglob("*.*")}
        threedi_files(plan, steps, Path("raw"), Path("raw/listed.json"))
        assert before == {p: p.stat().st_mtime_ns for p in Path("raw").rglob("*.*")}


@pytest.mark.parametrize("engine", ["3di", "3dilite"])
def test_a_face_in_one_frame_alone(tmp_path: Path, installs: Path, engine: str):
    """3DI compares neighbouring frames and makes nothing of one; nor does the run stop."""
    dark = np.full((240, 320, 3), 90, np.uint8)
    video = write_video(tmp_path / "v.mp4", [dark, pattern(1, 320, 240), dark, dark, dark])
    made = bench(tmp_path / "s", installs, engine, [{"sample": "a", "path": video}])
    made.all()
    assert made.table("detections").status.tolist() == ["no_face", "ok", *["no_face"] * 3]
    fitted = "not_converged" if engine == "3di" else "ok"
    assert made.table("fit").status.tolist() == ["no_face", fitted, *["no_face"] * 3]
    identity = made.table("identity")
    assert identity.status.tolist() == [fitted]
    # of 3DI-lite too: its coefficients are none where the first frame has no face
    assert identity.identity.isna().all()


def test_what_a_marked_failure_says_and_what_is_left_of_an_earlier_run(
    tmp_path: Path, installs: Path
):
    own = tmp_path / "install"
    shutil.copytree(installs / "3di", own)
    sheet = [{"sample": "a", "path": clip(tmp_path / "a.mp4", 4)}]
    threedi = {"runtime": str(own), "failures": "mark"}
    made = bench(tmp_path / "s", installs, "3di", sheet, threedi=threedi)
    made.all()
    steps = [made.step_file(p.step) for p in programs(made.engine, False)]
    raw, plan = Path("results/3di"), made.study.plan_file(made.shard)
    with inside(made.study.folder):
        threedi_files(plan, steps, raw, raw / "listed.json")
        (raw / "a" / rawfiles.file_name("a", "rects", Engine.LITE)).write_text("1 2 3 4\n")
        (raw / "a" / "notes.txt").write_text("mine")
    first = {p.name for p in (made.study.folder / raw / "a").iterdir()}
    for name, landmarked in (("video_detect_landmarks", False), ("video_learn_identity", True)):
        (own / "standin.json").write_text(json.dumps({name: "exit"}))
        again = bench(made.study.folder, installs, "3di", sheet, threedi=threedi)
        for path in steps:
            path.unlink()
        again.all()
        for table in ("landmarks", "fit", "smooth"):
            found = set(again.table(table).status)
            expected = "ok" if landmarked and table == "landmarks" else "not_converged"
            assert found == {expected}, (name, table)
        assert again.table("identity").status.tolist() == ["not_converged"], name
    with inside(made.study.folder):
        threedi_files(plan, steps, raw, raw / "listed.json")
        there = {p.name for p in (raw / "a").iterdir()}
        aside = {p.name for p in Path("results/.orphans/3di/a").iterdir()}
    kept = {rawfiles.file_name("a", k, Engine.FULL) for k in ("rects", "landmarks")}
    kept |= {f"{name}.json" for name in kept}
    assert there == kept | {"notes.txt", "a_failed_identity.txt"}
    assert aside == first - kept - {"notes.txt"}


def test_a_basis_of_another_size_has_its_columns_where_there_is_no_face(
    tmp_path: Path, installs: Path
):
    from facemake.stages.expressions import OfEngine, expressions

    own = tmp_path / "install"
    shutil.copytree(installs / "3di", own)
    program_file = own / "scripts" / "compute_local_exp_coefficients.py"
    text = program_file.read_text()
    assert text.count("(4, 4, 4, 4, 4, 5, 7)") == 1
    program_file.write_text(text.replace("(4, 4, 4, 4, 4, 5, 7)", "(4, 4, 4, 4, 4, 5, 15)"))
    grey = [np.full((96, 128, 3), 40, np.uint8)] * 3
    columns = {}
    for name, video in (
        ("face", clip(tmp_path / "face.mp4", 3)),
        ("nothing", write_video(tmp_path / "nothing.mp4", grey)),
    ):
        sheet = [{"sample": name, "path": video}]
        threedi = {"runtime": str(own), "basis": "other"}
        made = bench(tmp_path / name, installs, "3di", sheet, threedi=threedi)
        made.all()
        with inside(made.study.folder):
            expressions(
                plan=made.study.plan_file(made.shard),
                fit=made.study.table("fit", made.shard),
                output=made.study.table("expressions", made.shard),
                recipe=made.study.recipe("expressions"),
                engine=OfEngine(made.study.folder / "model.npz", made.step_file("localized")),
            )
        columns[name] = list(made.table("expressions").columns)
    assert columns["face"] == columns["nothing"]
    assert [c for c in columns["face"] if c.startswith("local")] == [f"local{i}" for i in range(40)]
