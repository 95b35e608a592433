"""The workflow with 3DI as its engine, on the stand-in install (tests/standin3di)."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import yaml

from crates import check_actions
from facemake.backends.threedi import rawfiles
from facemake.backends.threedi.programs import FULL
from facemake.backends.threedi.turns import rotation_from_vector
from facemake.cli import main
from facemake.geometry import rotation_from_euler
from facemake.overlay.options import Options
from facemake.overlay.rows import frames_of
from facemake.overlay.study import find
from facemake.overlay.surface import Surface
from facemake.overlay.view import View
from facemake.schemes import IBUG51
from facemake.tables import TableReader
from makemedia import pattern, write_video
from runworkflow import Run, bytes_of, run, study

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("threedi")]

STANDIN = Path(__file__).parents[1] / "standin3di" / "build.py"
STEPS = {f"threedi_{one.step}" for one in FULL if one.step != "undistort"}
CLIP = 24
DARK = range(9, 13)
"""Frames of the clip without contrast, in which the stand-in sees no face."""


def install(folder: Path) -> Path:
    """A stand-in install of both engines; the folder of 3DI's."""
    subprocess.run([sys.executable, str(STANDIN), str(folder)], check=True, capture_output=True)
    return folder / "3DI"


def fail(where: Path, **modes: str) -> None:
    """Have programs of the install fail, by name, from now on; none where none is named."""
    (where / "standin.json").write_text(json.dumps(modes))


def clip(path: Path, dark: range | None = None, frames: int = CLIP) -> Path:
    pictures = [
        np.full((240, 320, 3), 90, np.uint8)
        if dark is not None and i in dark
        else pattern(i, 320, 240)
        for i in range(frames)
    ]
    return write_video(path, pictures)


def jobs(done: Run) -> set[str]:
    """The rules that a run, dry or not, has jobs for."""
    assert done.code == 0, done.output
    return set(re.findall(r"^(\w+) +\d+$", done.output, re.MULTILINE)) - {"total", "all"}


@pytest.fixture(scope="module")
def standin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(tmp_path_factory.mktemp("installs"))


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, Path]]:
    folder = tmp_path_factory.mktemp("recordings with 'quotes' & $pace")
    nothing = folder / "nothing;.mp4"
    write_video(nothing, [np.full((96, 128, 3), 40, np.uint8)] * 6)
    return [("clip", clip(folder / "-a clip.mp4", DARK)), ("nothing", nothing)]


@pytest.fixture(scope="module")
def finished(
    standin: Path,
    recordings: list[tuple[str, Path]],
    bundled: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Run:
    folder = tmp_path_factory.mktemp("study")
    cache = tmp_path_factory.mktemp("cache") / "store"
    samples = [*recordings, ("portraits", bundled / "portraits")]
    study(
        folder,
        samples,
        engine="3di",
        threedi={"runtime": str(standin)},
        cache_dir=str(cache),
        shards=2,
    )
    done = run(folder)
    assert done.code == 0, done.output
    return done


def main_rows(done: Run, table: str, sample: str) -> pd.DataFrame:
    rows = pd.read_parquet(done.results / table)
    return rows[(rows["sample"] == sample) & (rows.track == 0)]


def test_every_frame_has_its_row_and_its_status(finished: Run):
    seen = [i not in DARK for i in range(CLIP)]
    for table in ("detections", "landmarks", "fit", "smooth", "expressions", "aus"):
        rows = main_rows(finished, table, "clip")
        assert rows.frame.tolist() == list(range(CLIP)), table
        late = table not in ("detections", "landmarks")
        expected = ["ok" if s else "lost" for s in seen]
        if late:
            expected[-1] = "not_converged"  # the frame that 3DI does not give
        assert rows.status.tolist() == expected, table
        nothing = main_rows(finished, table, "nothing")
        assert nothing.frame.tolist() == list(range(6)), table
        assert set(nothing.status) == {"no_face"}, table
        # every picture of a folder has its fit: the video has its last frame once more
        assert main_rows(finished, table, "portraits").status.tolist() == ["ok", "ok"], table
    fit = main_rows(finished, "fit", "clip")
    assert fit.tx.isna().tolist() == [not s for s in [*seen[:-1], False]]
    manifest = pd.read_parquet(finished.results / "dataset" / "manifest.parquet")
    by_name = manifest.set_index("sample")
    assert by_name.status.to_dict() == {"clip": "ok", "nothing": "no_face", "portraits": "ok"}
    fitted = {"clip": CLIP - len(DARK) - 1, "nothing": 0, "portraits": 2}
    assert by_name.n_fitted.to_dict() == fitted
    assert "nothing: no_face" in finished.output


def test_a_crate_has_an_action_a_program(finished: Run, tmp_path: Path):
    stages = check_actions(finished.folder, tmp_path / "crate")
    assert stages >= {"threedi_video", "threedi_model", "threedi_shape", "fit", "expressions"}
    assert not list((tmp_path / "crate").rglob("*.zip"))


def test_raw_files_are_kept_and_are_what_the_tables_say(finished: Run, standin: Path):
    folder = finished.results / "3di" / "clip"
    names = {path.name for path in folder.iterdir()}
    kinds = set(rawfiles.KINDS)
    assert names == {f"clip_{k}.3DI{e}" for k in kinds for e in ("", ".json")}
    smooth = main_rows(finished, "smooth", "clip")
    ok = smooth.status == "ok"
    for kind, column, pick in (
        ("expression_smooth", "expression", slice(None)),
        ("landmarks_canonicalized", "canonical", slice(None)),
    ):
        values = np.loadtxt(folder / f"clip_{kind}.3DI")[:, pick]
        table = np.stack(smooth[column][ok].to_list())
        assert np.allclose(values[smooth.frame[ok]], table, rtol=1e-5, atol=1e-4), kind
    # 3DI copies the angles and smooths the rotation vector: the table has what is smoothed
    pose = np.loadtxt(folder / "clip_pose_smooth.3DI")[smooth.frame[ok]]
    assert np.allclose(pose[:, :3], smooth.loc[ok, ["tx", "ty", "tz"]], rtol=1e-5, atol=1e-5)
    turned = rotation_from_euler(smooth.loc[ok, ["rx", "ry", "rz"]].to_numpy())
    assert np.allclose(turned, rotation_from_vector(pose[:, 3:6]), atol=1e-5)
    fit = main_rows(finished, "fit", "clip")
    raw = np.loadtxt(folder / "clip_pose.3DI")[fit.frame[ok]]
    assert np.allclose(raw[:, [7, 6, 8]], fit.loc[ok, ["rx", "ry", "rz"]], atol=1e-5)
    assert not np.allclose(raw[:, [7, 6, 8]], smooth.loc[ok, ["rx", "ry", "rz"]], atol=1e-5)
    local = np.loadtxt(folder / "clip_expression_localized.3DI")
    rows = main_rows(finished, "expressions", "clip")
    names = rawfiles.local_names(rawfiles.Engine.FULL, 32)
    there = (rows.status == "ok").to_numpy()
    assert np.allclose(local[rows.frame[there]], rows.loc[there, list(names)], atol=1e-4)
    word = json.loads((folder / "clip_pose.3DI.json").read_text())
    assert word["backend"] == "3DI" and word["camera"] == 30.0 and len(word["input_hash"]) == 64
    assert word["cmd"].startswith(f"{standin}/video_from_saved_identity ")
    # nobody's files where there was nothing to fit
    assert {p.name for p in (finished.results / "3di" / "nothing").iterdir()} == {
        f"nothing_{k}.3DI{e}" for k in ("rects", "landmarks") for e in ("", ".json")
    }


def test_axes_are_understood_the_posed_face_lies_on_its_landmarks(finished: Run):
    fit = main_rows(finished, "fit", "clip")
    assert fit.error_px.max() < 0.01
    landmarks = main_rows(finished, "landmarks", "clip")
    assert set(landmarks.scheme) == {"ibug51"}
    assert landmarks.confidence.isna().all()


def test_the_mesh_of_an_overlay_lies_on_the_landmarks(
    finished: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (recorded,) = find(finished.folder, ["clip"])
    options = Options(frozenset({"mesh", "axes"}))
    readers = {stage: TableReader(recorded.table(stage)) for stage in options.tables}
    recipe = readers["fit"].metadata["recipe"]
    surface = Surface.of(recipe, recorded.faces_of_3di)
    surface.know(readers.pop("identity"), "clip")
    landmarks = surface._mesh.landmarks[IBUG51]
    view, away = View.of(recipe["settings"], (320, 240), 0), []
    for rows in frames_of(readers, "clip", "fit", surface.coefficients):
        (one,) = rows.faces
        placed = surface._placed(one, view, surface._people[0])
        if placed is not None:
            away.append(np.abs(placed[1][landmarks] - one.points).max())
    assert len(away) == CLIP - len(DARK) - 1
    # 3DI's middle of a picture is half a pixel from ours
    assert max(away) < 1
    words = ["overlay", "clip", "-d", str(finished.folder), "--output", str(tmp_path)]
    assert main([*words, "--draw", "mesh,axes"]) == 0 and (tmp_path / "clip.mp4").is_file()
    assert main([*words, "--hide", "mesh", "--force"]) == 0
    assert "without a mesh" not in capsys.readouterr().err


def test_what_follows_follows(finished: Run):
    with h5py.File(finished.results / "dataset" / "training_data.h5") as file:
        assert file.attrs["num_samples"] > 0
        points = file["landmarks"][:]
        assert np.isnan(points[:, :17]).all() and np.isfinite(points[:, 17:]).all()
        assert np.isfinite(file["local_params"][:]).all()
        assert np.isfinite(file["global_params"][:]).all()
        assert "fitted to 51 points" in file.attrs["pdm"]
    aus = main_rows(finished, "aus", "clip")
    assert aus.AU25_r.max() > 0.5, f"the stand-in opens its jaw: {aus.filter(like='_r').max()}"
    assert len(pd.read_parquet(finished.results / "embeddings")) > 0
    index = (finished.results / "report" / "index.html").read_text(encoding="utf-8")
    assert "BFMmm-19830" in index and "TPAMI" in index
    assert (finished.results / "report" / "samples").is_dir()


def test_another_folder_computes_nothing_again(
    finished: Run, tmp_path: Path, recordings: list[tuple[str, Path]], bundled: Path
):
    study(tmp_path, [*recordings, ("portraits", bundled / "portraits")])
    config = (finished.folder / "config" / "config.yaml").read_text()
    (tmp_path / "config" / "config.yaml").write_text(config)
    done = run(tmp_path)
    assert done.code == 0, done.output
    logs = {p for p in (tmp_path / "results").glob("logs/**/*.log") if p.stat().st_size}
    stages = {p.relative_to(tmp_path / "results" / "logs").parts[0].split(".")[0] for p in logs}
    assert stages <= {"verdict", "report", "report_pages", "threedi_files"}, stages
    raw = finished.results / "3di"
    for path in sorted(raw.glob("[!.]*/*")):
        mine = tmp_path / "results" / "3di" / path.relative_to(raw)
        if path.suffix != ".json":
            assert path.read_bytes() == mine.read_bytes()
            continue
        theirs, ours = json.loads(path.read_text()), json.loads(mine.read_text())
        assert ours.pop("output") == str(mine.parent) and theirs.pop("output") == str(path.parent)
        assert ours == theirs


def test_a_setting_runs_what_obeys_it_and_nothing_else(finished: Run, standin: Path):
    """Snakemake's dry run says what would run, for one changed setting at a time."""
    file = finished.folder / "config" / "config.yaml"
    text = file.read_text()

    def with_config(**changed: object) -> set[str]:
        document = yaml.safe_load(text)
        document["threedi"].update(changed)
        file.write_text(yaml.safe_dump(document))
        try:
            return jobs(run(finished.folder, "--dry-run"))
        finally:
            file.write_text(text)

    assert with_config() == set()
    assert with_config(failures="mark", time_limit=3.0) == set()
    normal = with_config(normalize=False)
    assert normal & STEPS == {"threedi_localized"}
    assert "expressions" in normal and not normal & {"fit", "landmarks", "detect", "threedi_model"}
    fast = with_config(fast=True)
    assert fast & STEPS == STEPS - {"threedi_detect"} and "detect" not in fast
    program = standin / "video_detect_face"
    code = program.read_bytes()
    program.write_bytes(code + b"\n# another version\n")
    try:
        assert with_config() >= STEPS | {"threedi_model", "detect", "fit"}
    finally:
        program.write_bytes(code)


def test_failures_stop_the_run_leave_nothing_half_made_and_are_made_good(
    tmp_path: Path, bundled: Path
):
    where = install(tmp_path / "install")
    two = [("a", clip(tmp_path / "a.mp4", frames=5)), ("b", clip(tmp_path / "b.mp4", frames=6))]
    cache = str(tmp_path / "cache")
    threedi = {"runtime": str(where)}
    common = {"engine": "3di", "shards": 1, "cache_dir": cache}
    folder = study(tmp_path / "study", two, threedi=threedi, **common)
    fail(where, **{"total_variance_rec.py": "exit"})
    failed = run(folder, "results/3di/.steps/localized/pack0of1.zip")
    assert failed.code != 0
    for word in ("total_variance_rec.py ended with exit code", "in sample a", "told to fail"):
        assert word in failed.output, word
    assert "Traceback" not in failed.output.split("RuleException")[0]
    steps = folder / "results" / "3di" / ".steps"
    made = {p.parent.name for p in steps.glob("*/*.zip")}
    assert {"fit", "shape"} <= made and not made & {"smooth_expression", "canonical", "localized"}
    log = folder / "results" / "logs" / "threedi_smooth_expression" / "pack0of1.log"
    assert "told to fail" in log.read_text()

    # marked instead: both go on, and what was done is not done again
    before = {p: p.stat().st_mtime_ns for p in steps.glob("fit/*.zip")}
    study(folder, two, threedi={**threedi, "failures": "mark"}, **common)
    marked = run(folder)
    assert marked.code == 0, marked.output
    assert {p: p.stat().st_mtime_ns for p in steps.glob("fit/*.zip")} == before
    manifest = pd.read_parquet(folder / "results" / "dataset" / "manifest.parquet")
    assert manifest.status.tolist() == ["ok", "ok"] and manifest.n_fitted.tolist() == [4, 5]
    assert "scripts/total_variance_rec.py could not smooth" in manifest.reason[0]
    assert str(tmp_path) not in manifest.reason[0]
    assert "a: ok, 3DI failed" in marked.output
    smooth = pd.read_parquet(folder / "results" / "smooth")
    assert smooth.expression.isna().all(), "the raw expression does not stand in for it"
    assert pd.read_parquet(folder / "results" / "aus").AU12_r.isna().all()

    # and tried again when that is asked for
    assert (folder / "results" / "3di" / "a" / "a_failed_smooth_expression.txt").is_file()
    fail(where)
    mended = run(folder, "--forcerun", "results/3di/.steps/smooth_expression/pack0of1.zip")
    assert {p: p.stat().st_mtime_ns for p in steps.glob("fit/*.zip")} == before
    assert not list((folder / "results" / "3di").glob("*/*_failed_*"))
    assert mended.code == 0, mended.output
    manifest = pd.read_parquet(folder / "results" / "dataset" / "manifest.parquet")
    assert manifest.reason.tolist() == ["", ""]
    assert pd.read_parquet(folder / "results" / "aus").AU12_r.notna().sum() == 9

    # what was marked is in no cache: a folder that asks for the same gets none of it
    other = study(tmp_path / "other", two, threedi=threedi, **common)
    done = run(other)
    assert done.code == 0, done.output
    assert pd.read_parquet(other / "results" / "aus").AU12_r.notna().sum() == 9


def test_one_core_after_an_interruption_gives_the_same_tables(
    finished: Run, standin: Path, tmp_path: Path, recordings: list[tuple[str, Path]], bundled: Path
):
    samples = [*recordings, ("portraits", bundled / "portraits")]
    threedi = {"runtime": str(standin)}
    study(tmp_path, samples, engine="3di", threedi=threedi, shards=2)
    first = run(tmp_path, "--until", "threedi_fit", cores=1)
    assert first.code == 0, first.output
    done = run(tmp_path, cores=1)
    assert done.code == 0, done.output

    def tables(results: Path) -> dict[str, str]:
        # raw files and their archives have the time in their sidecars
        return {k: v for k, v in bytes_of(results).items() if not k.startswith("3di/")}

    assert tables(done.results) == tables(finished.results)


def test_an_install_that_is_not_there_is_refused_before_anything_runs(tmp_path: Path):
    one = [("a", clip(tmp_path / "a.mp4", frames=3))]
    folder = study(tmp_path / "s", one, engine="3di", threedi={"runtime": str(tmp_path / "none")})
    done = run(folder)
    assert done.code != 0 and "neither an install folder, nor a .sif" in done.output
    where = install(tmp_path / "install")
    study(folder, one, engine="3di", threedi={"runtime": str(where), "morphable_model": "BFMmm-1"})
    done = run(folder)
    assert done.code != 0 and "BFMmm-1.cfg1.global4.txt" in done.output
    study(folder, one, engine="3di", threedi={"runtime": "nobody/has-this-image:1"})
    done = run(folder)
    assert done.code != 0 and "Docker" in done.output and "Traceback" not in done.output
    assert not (folder / "results" / "probe").exists()
