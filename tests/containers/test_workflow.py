"""The whole workflow with 3DI in a real Singularity image and in a real Docker image."""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
import pytest

from makemedia import pattern, write_video
from runworkflow import run, study
from standin3di import build

pytestmark = [pytest.mark.containers, pytest.mark.workflow]

TABLES = ("detections", "landmarks", "fit", "smooth", "identity", "expressions", "aus")
TARGETS = tuple(f"results/{name}/clip.parquet" for name in TABLES)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('it\'s "here", $HOME; ü')
    return write_video(folder / "-clip 1.mp4", [pattern(i, 320, 240) for i in range(8)])


def tables(folder: Path) -> dict[str, pd.DataFrame]:
    return {name: pd.read_parquet(folder / "results" / name) for name in TABLES}


@pytest.fixture(scope="module")
def expected(recording: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, pd.DataFrame]:
    """What the same programs give without a container."""
    where = build.build(tmp_path_factory.mktemp("install"), "3di", sys.executable)
    folder = tmp_path_factory.mktemp("folder")
    study(folder, [("clip", recording)], engine="3di", threedi={"runtime": str(where)})
    done = run(folder)
    assert done.code == 0, done.output
    return tables(folder)


@pytest.mark.parametrize(
    ("image", "targets"),
    # no other rule than those of the tables has to do with the image
    [("sif", ()), ("sandbox", TARGETS), ("docker_image", TARGETS)],
    ids=["sif", "sandbox", "docker_image"],
)
def test_an_image_gives_what_the_folder_gives(
    image: str,
    targets: tuple[str, ...],
    request: pytest.FixtureRequest,
    recording: Path,
    expected: dict[str, pd.DataFrame],
    tmp_path: Path,
):
    runtime = str(request.getfixturevalue(image))
    study(tmp_path, [("clip", recording)], engine="3di", threedi={"runtime": runtime})
    done = run(tmp_path, *targets)
    assert done.code == 0, done.output
    found = tables(tmp_path)
    for name, table in expected.items():
        pd.testing.assert_frame_equal(found[name], table, rtol=1e-5, atol=1e-6)
    # nothing but the results is left: no link into the image, no file of root's
    logs = (tmp_path / "results" / "logs" / "threedi_fit" / "clip.log").read_text()
    assert "video_from_saved_identity" in logs
    again = run(tmp_path, "--dry-run", *targets)
    assert "Nothing to be done" in again.output, "the image is the same image"


def test_an_image_that_lacks_the_programs_is_named(docker_image: str, tmp_path: Path, recording):
    study(tmp_path, [("clip", recording)], engine="3di", threedi={"runtime": "no/such-image:1"})
    done = run(tmp_path)
    assert done.code != 0
    assert "Docker has no image no/such-image:1" in done.output
    assert "Traceback" not in done.output
