"""facemake qc: what is wrong is found, where it is; what is sound is left alone."""

from __future__ import annotations

import csv
import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from documentation import text
from facemake import exclusions
from facemake.backends.embed import EMBEDDERS
from facemake.cli import main
from facemake.qc.findings import KINDS
from facemake.qc.frames import Track, odd_frames
from facemake.qc.samples import summary
from facemake.tables import SCHEMAS, TableReader, TableWriter

N = 60
FPS = 25.0
Rows = dict[str, np.ndarray]


def sound(seed: int) -> Rows:
    """A face that moves as people do."""
    rng = np.random.default_rng(seed)
    t = np.arange(N) / FPS

    def slow(size: float) -> np.ndarray:
        return size * np.sin(2 * np.pi * (0.4 * t + rng.random())) + rng.normal(0, 0.001, N)

    return {
        "time": t,
        "x": 200 + slow(20),
        "y": 100 + slow(10),
        "w": 100 * (1 + slow(0.02)),
        "rx": np.deg2rad(slow(5)),
        "ry": np.deg2rad(slow(10)),
        "rz": np.deg2rad(slow(3)),
        "error_px": 0.5 + slow(0.05),
        "confidence": np.full(N, 0.99),
        "status": np.full(N, "ok", object),
        "fit": np.full(N, "ok", object),
    }


def swapped(rows: Rows) -> None:
    rows["embedding"] = np.array([[1.0, 0], [1, 0], [0.6, 0.8], [0.6, 0.8]])


def stamps_fall(rows: Rows) -> None:
    rows["time"][30] = rows["time"][29] - 0.01


def frames_missing(rows: Rows) -> None:
    rows["time"][20:] += 4 / FPS


def dropped_in_bursts(rows: Rows) -> None:
    rows["time"][20:] += 3 / FPS
    rows["time"][23:] += 2 / FPS


def broken(rows: Rows) -> None:
    for name in ("x", "y", "w", "rx", "ry", "rz", "error_px", "confidence"):
        rows[name][30:32] = np.nan
    rows["status"][30:32] = "decode_error"


def cut_short(rows: Rows) -> None:
    rows["probe"] = np.array(["truncated", "breaks off after 60 of 90 frames"])


def outlasted(rows: Rows) -> None:
    rows["sound"] = np.array([0.02, N / FPS + 0.2])


def sound_first(rows: Rows) -> None:
    rows["sound"] = np.array([-0.1, N / FPS + 0.1])


def jumps(rows: Rows) -> None:
    rows["x"][40:] += 60


def spins(rows: Rows) -> None:
    rows["ry"][15] += np.deg2rad(40)


def shakes(rows: Rows) -> None:
    rows["rx"] += np.deg2rad(15) * (-1.0) ** np.arange(N)


def turned(rows: Rows) -> None:
    rows["ry"][:] = np.deg2rad(60)


def over(rows: Rows) -> None:
    rows["rx"][:] = np.deg2rad(130)


def misses(rows: Rows) -> None:
    rows["error_px"][10:14] = 20


def unsure(rows: Rows) -> None:
    rows["confidence"][5:9] = 0.2
    rows["status"][5:9] = "low_confidence"
    rows["fit"][30] = "not_converged"


def rarely_seen(rows: Rows) -> None:
    for name in ("x", "y", "w", "rx", "ry", "rz", "error_px", "confidence"):
        rows[name][25:] = np.nan
    rows["status"][25:] = "no_face"


def small(rows: Rows) -> None:
    rows["w"] /= 20
    rows["error_px"] /= 20
    rows["x"][:], rows["y"][:] = 200, 100


FAULTS: dict[str, tuple[Callable[[Rows], None], set[tuple[Any, ...]]]] = {
    "swapped": (swapped, {("identity", 0, 20, 40)}),
    "stamps": (stamps_fall, {("time", 0, 29, 30), ("gap", 0, 30, 31)}),
    "missing": (frames_missing, {("gap", 0, 19, 20)}),
    "jumps": (jumps, {("jump", 0, 39, 40)}),
    "spins": (spins, {("jump", 0, 14, 16)}),
    "shakes": (shakes, {("jitter", 0, 0, 59), ("jump", 0, 0, 59)}),
    "turned": (turned, {("pose", 0, 0, 59)}),
    "over": (over, {("impossible", 0, 0, 59)}),
    "misses": (misses, {("error", 0, 10, 13)}),
    "unsure": (unsure, {("confidence", 0, 5, 8), ("confidence", 0, 30, 30)}),
    "rarely": (rarely_seen, {("absent", None, None, None)}),
    "small": (small, set()),
    "bursts": (dropped_in_bursts, {("gap", 0, 19, 23)}),
    "broken": (broken, {("damaged", 0, 30, 31)}),
    "cut": (cut_short, {("truncated", None, None, None)}),
    "outlasted": (outlasted, {("sound", None, None, None)}),
    "early": (sound_first, {("sound", None, None, None)}),
}


def append(tables: dict[str, TableWriter], sample: str, rows: Rows, sha: str) -> None:
    begins, lasts = rows.get("sound", (0.0, N / FPS + 0.1))
    status, reason = map(str, rows.get("probe", ("ok", "")))
    tables["probe"].append(
        sample=sample,
        kind="video",
        sound_offset=begins,
        sound_duration=lasts,
        width=640,
        height=480,
        n_frames=N,
        duration=N / FPS,
        fps=FPS,
        sha256=sha,
        status=status,
        reason=reason,
    )

    def values(*names: str, at: int) -> dict[str, float | None]:
        return {n: float(rows[n][at]) if np.isfinite(rows[n][at]) else None for n in names}

    for i in range(N):
        key = {"sample": sample, "frame": i, "track": 0}
        word = rows["status"][i]
        seen = word if word in ("no_face", "decode_error") else "ok"
        tables["detections"].append(
            **key,
            time=float(rows["time"][i]),
            **values("x", "y", "w", at=i),
            h=values("w", at=i)["w"],
            status=seen,
        )
        tables["landmarks"].append(**key, **values("confidence", at=i), status=word)
        fitted = rows["fit"][i] if word == "ok" else word
        tables["fit"].append(**key, **values("rx", "ry", "rz", "error_px", at=i), status=fitted)
    vectors = rows.get("embedding", np.array([[1.0, 0]] * 4))
    for frame, vector in zip((0, 20, 40, 59), vectors, strict=True):
        tables["embeddings"].append(
            sample=sample, frame=frame, track=0, embedding=vector.astype("f4"), quality=0.9
        )


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve sound samples, one with each fault, a copy, and one that cannot be read."""
    folder = tmp_path_factory.mktemp("study")
    about: dict[str, Any] = {
        "recipe": {
            "stage": "embed",
            "backend": "dlib",
            "settings": {"min_confidence": 0.5},
            "models": [{"name": EMBEDDERS["dlib"].models[0], "sha256": "0"}],
        },
        "upstream": {"detect": {"stage": "detect", "settings": {}}},
    }
    names = ("probe", "detections", "landmarks", "fit", "embeddings")
    tables = {}
    for name in names:
        (folder / "results" / name).mkdir(parents=True)
        path = folder / "results" / name / "pack0.parquet"
        tables[name] = TableWriter(path, SCHEMAS[name], about)
    for i in range(12):
        append(tables, f"sound{i:02d}", sound(i), f"{i:064d}")
    append(tables, "twice", sound(0), f"{0:064d}")
    for i, (name, (change, _)) in enumerate(FAULTS.items(), start=50):
        rows = sound(i)
        change(rows)
        append(tables, name, rows, f"{i:064d}")
    tables["probe"].append(sample="torn", status="unreadable", reason="torn.mp4 is empty")
    for table in tables.values():
        table.close()
    page = folder / "results" / "report" / "samples" / "pack0" / "jumps.html"
    page.parent.mkdir(parents=True)
    page.write_text("")
    return folder


@pytest.fixture
def review(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> tuple[list[dict[str, str]], str]:
    assert main(["qc", "-d", str(study), "--output", str(tmp_path / "qc")]) == 0
    lines = (tmp_path / "qc" / "review.tsv").read_text().splitlines()
    return list(csv.DictReader(lines, dialect="excel-tab")), capsys.readouterr().out


def test_each_fault_is_found_where_it_is_and_nothing_else(review: Any):
    rows, said = review
    found: dict[str, set[tuple[Any, ...]]] = {}
    for row in rows:
        if row["kind"] != "unlike":
            where = (int(row[k]) if row[k] else None for k in ("track", "first", "last"))
            found.setdefault(row["sample"], set()).add((row["kind"], *where))
    wanted = {name: places for name, (_, places) in FAULTS.items() if places}
    wanted["twice"] = {("duplicate", None, None, None)}
    wanted["torn"] = {("unusable", None, None, None)}
    assert found == wanted
    far = {row["sample"]: row["why"] for row in rows if row["kind"] == "unlike"}
    assert "median width of the main face" in far["small"] and "below" in far["small"]
    assert not [name for name in far if name.startswith("sound")]
    assert "31 samples, 1800 frames" in said
    why = {row["sample"]: row["why"] for row in rows}
    assert why["bursts"].endswith("about 5 missing in 2 places")
    assert why["cut"] == "breaks off after 60 of 90 frames"
    assert why["broken"].startswith("2 frames cannot be decoded")
    assert why["outlasted"].startswith("the sound ends 0.220 s after the picture")
    assert why["early"].startswith("the sound begins 0.100 s before the picture")


def test_the_worst_comes_first_with_its_page(review: Any):
    rows, _ = review
    levels = [int(row["severity"]) for row in rows]
    assert levels == sorted(levels, reverse=True)
    (jump,) = [row for row in rows if row["sample"] == "jumps"]
    assert jump["page"].endswith("results/report/samples/pack0/jumps.html#frame-39")
    assert (jump["start"], jump["end"]) == ("1.560", "1.600")
    assert float(jump["value"]) > float(jump["limit"]) == pytest.approx(4.11)
    (swap,) = [row for row in rows if row["sample"] == "swapped"]
    assert float(swap["value"]) == pytest.approx(0.6) and float(swap["limit"]) == 0.917


def test_its_exclusions_are_a_table_that_the_dataset_takes_and_stay_yours(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    command = ["qc", "-d", str(study), "--output", str(tmp_path)]
    assert main(command) == 0
    path = tmp_path / "exclude.tsv"
    known = {*FAULTS, "twice", "torn"}
    rows = {row.sample: row for row in exclusions.read(path, known)}
    assert rows.keys() == {"swapped", "stamps", "over", "twice"}  # severity 3 alone
    assert (rows["swapped"].first, rows["swapped"].last) == (20, 40) and rows["twice"].whole
    assert rows["stamps"].reason.startswith("time: ")
    path.write_text(path.read_text().replace("# jumps", "jumps"))  # a person takes one up
    assert "jumps" in {row.sample for row in exclusions.read(path, known)}
    capsys.readouterr()
    assert main(command) == 0
    assert "as you left it" in capsys.readouterr().out and "\njumps\t" in path.read_text()
    assert main([*command, "--force"]) == 0 and "\n# jumps\t" in path.read_text()


def test_what_is_left_out_already_is_not_listed_again(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folder = tmp_path / "study"
    (folder / ".facemake").mkdir(parents=True)
    rows = [["misses", 8, 13, ""], ["twice", None, None, ""], ["jumps", 0, 39, ""]]
    nothing: dict[str, Any] = {name: {} for name in ("media", "people", "recipes", "stacks")}
    plan = {
        **nothing,
        "config": {"outdir": str(study / "results")},
        "containers": {},
        "excluded": {"pack0": rows},
        "samples": 1,
        "shards": ["pack0"],
    }
    (folder / ".facemake" / "plan.json").write_text(json.dumps(plan))
    assert main(["qc", "-d", str(folder)]) == 0
    review = (folder / "qc" / "review.tsv").read_text()
    assert "\ttwice\t" not in review and "\tmisses\t" not in review
    assert "\tjumps\t" in review  # frame 40 is not left out
    said = capsys.readouterr().out
    assert "2 more are about what dataset.exclude leaves out already" in said
    assert "`dataset: {exclude: qc/exclude.tsv}`" in said  # from the run's folder
    assert "# misses\t10\t13" in (folder / "qc" / "exclude.tsv").read_text()  # nothing is lost


def test_about_one_sample_and_for_scripts(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    command = ["qc", "-d", str(study), "--output", str(tmp_path)]
    assert main([*command, "--json", "misses"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["kind"] == "error" and found["first"] == 10
    assert found["value"] > found["limit"]
    assert main(["qc", "-d", str(study), "misses"]) == 0
    assert "misses track 0 10-13: error, " in capsys.readouterr().out
    assert not (study / "qc").exists()  # a proposal about one would stand for that about all
    assert main([*command, "msises"]) == 2
    assert "no sample msises; did you mean misses?" in capsys.readouterr().err
    assert main(["qc", "-d", str(tmp_path / "none"), "--output", str(tmp_path)]) == 2
    assert "finished run" in capsys.readouterr().err


def test_a_run_that_is_not_finished_is_told_from_one_that_found_nothing(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folder = tmp_path / "study"
    shutil.copytree(study / "results", folder / "results")
    (folder / "results" / "fit" / "pack0.parquet").unlink()
    (folder / "results" / "embeddings" / "pack0.parquet").unlink()
    assert main(["qc", "-d", str(folder)]) == 0
    assert "\njumps\t" in (folder / "qc" / "exclude.tsv").read_text().replace("# ", "")
    assert "the run is not finished: 30 samples without" in capsys.readouterr().out
    (folder / "results" / "detections" / "pack0.parquet").unlink()
    capsys.readouterr()
    assert main(["qc", "-d", str(folder)]) == 0
    said = capsys.readouterr().out
    assert "the run is not finished: 30 samples without detections, landmarks or fit\n" in said
    assert "  3 unusable         1  the sample cannot be read" in said  # `torn`


def test_tables_of_two_runs_are_refused_in_words(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folder = tmp_path / "study"
    shutil.copytree(study / "results", folder / "results")
    others: dict[str, list[dict[str, Any]]] = {
        "landmarks": [{"frame": i, "status": "ok"} for i in range(N - 1)],
        "embeddings": [{"frame": 0, "embedding": [1, 0]}, {"frame": N, "embedding": [-1, 0]}],
    }
    for stage, rows in others.items():
        path = folder / "results" / stage / "pack0.parquet"
        kept = path.read_bytes()
        with TableReader(path) as reader:
            about = reader.metadata
        with TableWriter(path, SCHEMAS[stage], about) as table:
            for row in rows:
                table.append(sample="sound00", track=0, **row)
        assert main(["qc", "-d", str(folder)]) == 2
        said = capsys.readouterr().err
        assert f"{stage}/pack0.parquet" in said and "the run is not finished" in said
        path.write_bytes(kept)
    (folder / ".facemake").mkdir()
    for damaged in ("{", "{}", '{"a": 1}', "[]"):
        (folder / ".facemake" / "plan.json").write_text(damaged)
        assert main(["qc", "-d", str(folder)]) == 2
        assert "plan.json is damaged, or of another version" in capsys.readouterr().err


@pytest.mark.parametrize("n", [1, 2, 3, 30])
@pytest.mark.parametrize("value", [np.nan, 0.0, 1.0])
def test_of_few_frames_and_of_no_numbers_little_is_said(n: int, value: float):
    numbers = np.full(n, value)
    three = np.full((n, 3), value)
    status = np.full(n, "ok", object)
    seen = np.isfinite(numbers)
    frame = np.arange(n)
    track = Track(0, frame, numbers, three[:, :2], numbers, three, numbers, numbers, status, seen)
    probe = {"sample": "a", "kind": "video", "width": None, "fps": None}
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # no word of NumPy's is for those who look
        kinds = {one.kind for one in odd_frames("a", track, 0.5)}
        values = summary(probe, track).values
    assert kinds <= {"time", "error"} and values["seen"] == float(seen.mean())


def test_the_page_has_every_kind_and_its_severity():
    page = text("quality-control")
    for kind, (level, _) in KINDS.items():
        assert f"| `{kind}` | {level} |" in page
