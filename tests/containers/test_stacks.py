"""The default workflow in the images of its stacks, and whole in its Docker image.

As docs/containers.md has it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from conftest import ROOT
from facemake import engines, recipes, settings
from facemake.doctor import machine
from runworkflow import Run, bytes_of, run, study

pytestmark = [pytest.mark.containers, pytest.mark.workflow]

IN_IMAGES = ("--sdm", "apptainer", "--apptainer-args", "--no-mount tmp")
"""Without /tmp, which Apptainer mounts as a rule: the tests' folders are in it, people's not."""


@pytest.fixture(scope="module")
def samples(bundled: Path, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, Path]]:
    """The bundled sample: a video behind a link, and a folder of pictures, one of them a link."""
    place = tmp_path_factory.mktemp("one, 'two' and: three")
    shutil.copy(bundled / "moving_portrait.mp4", place / "video.mp4")
    linked, folder = place / "linked", place / "portraits"
    linked.mkdir()
    (linked / "moving_portrait.mp4").symlink_to(place / "video.mp4")
    shutil.copytree(bundled / "portraits", folder)
    first = sorted(folder.iterdir())[0]
    aside = tmp_path_factory.mktemp("aside") / first.name
    shutil.move(first, aside)
    first.symlink_to(aside)
    return [("portraits", folder), ("moving portrait", linked / "moving_portrait.mp4")]


@pytest.fixture(scope="module")
def expected(
    samples: list[tuple[str, Path]], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """What the environment gives."""
    done = run(study(tmp_path_factory.mktemp("environment"), samples))
    assert done.code == 0, done.output
    return bytes_of(done.results)


@pytest.fixture(scope="module")
def in_images(
    stacks: dict[str, str],
    samples: list[tuple[str, Path]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Run:
    """A run in the images, with an artifact cache that the images must see."""
    cache = tmp_path_factory.mktemp("a cache")
    folder = study(
        tmp_path_factory.mktemp("images"), samples, containers=stacks, cache_dir=str(cache)
    )
    return run(folder, *IN_IMAGES)


def test_the_images_give_what_the_environment_gives(in_images: Run, expected: dict[str, str]):
    assert in_images.code == 0, in_images.output
    assert bytes_of(in_images.results) == expected
    tables = list((in_images.results / "aus").glob("*.parquet"))
    assert tables and all(path.is_symlink() for path in tables), "the cache was not used"
    started = in_images.output.count("Activating singularity image")
    logs = [path.read_text() for path in (in_images.results / "logs").rglob("*.log")]
    ran = sum("s of CPU, at most" in log for log in logs)
    assert started >= ran > 15
    left = {path.name for path in in_images.folder.iterdir()}
    home = {".cache", ".apptainer"}  # of the main process
    assert left - home == {"config", "results", ".snakemake", ".facemake"}


def test_the_doctor_starts_them(stacks: dict[str, str]):
    wrong = {**stacks, "mediapipe": stacks["dlib"]}
    for images, level in ((stacks, "ok"), (wrong, "fault")):
        config = settings.filled({"containers": images})
        found = {one.what: one for one in machine.containers(config)}
        assert found["Apptainer"].level == found["image of core"].level == "ok"
        assert found["image of mediapipe"].level == level, found["image of mediapipe"]
    assert "mediapipe is missing, not 0.10.21" in found["image of mediapipe"].said


def test_an_image_that_is_another_is_a_parameter(in_images: Run, stacks: dict[str, str]):
    again = run(in_images.folder, *IN_IMAGES, "--dry-run")
    assert "Nothing to be done" in again.output, again.output


def test_a_clusters_job_sees_what_the_plan_says(in_images: Run):
    """As an executor starts it on a node: it plans nothing itself, and reads the plan."""
    table = in_images.results / "detections" / "portraits.parquet"
    before = table.read_bytes()
    table.unlink()
    words = ["--mode", "remote", "--target-jobs", "detect:shard=portraits", "--force"]
    words += ["--allowed-rules", "detect", "--no-hooks", "--nolock", "--ignore-incomplete"]
    done = run(in_images.folder, *IN_IMAGES, *words, "--config", "cache_dir=null")
    assert done.code == 0, done.output
    assert table.read_bytes() == before


def test_the_whole_run_is_exported_in_an_image(in_images: Run):
    """A crate has the workflow's own files: the job must see them."""
    formats = 'export={"formats": ["rocrate", "bids"]}'
    done = run(in_images.folder, *IN_IMAGES, "export", "--config", formats)
    assert done.code == 0, done.output
    exported = in_images.results / "export"
    graph = json.loads((exported / "rocrate" / "ro-crate-metadata.json").read_text())["@graph"]
    engine = next(one for one in graph if one["@id"] == "https://snakemake.github.io")
    assert engine["softwareVersion"] == version("snakemake")
    assert (exported / "rocrate" / "workflow" / "Snakefile").is_file()
    actions = [one for one in graph if one["@id"].startswith("#action-")]
    assert all("startTime" in one for one in actions) and len(actions) > 15
    assert len(list((exported / "bids").glob("sub-*/beh/*_acq-aus_beh.tsv"))) == 2


LISTING = """
import json, sys
sys.path.extend(["/mnt/snakemake_searchpaths/item_%d" % i for i in range(9)])
from importlib import import_module
for name in json.loads(sys.argv[1]):
    import_module(name)
files = {name: getattr(module, "__file__", None) for name, module in sys.modules.items()}
print(json.dumps({name: file for name, file in files.items() if file}))
"""


@pytest.mark.parametrize("stack", ["core", "mediapipe", "dlib"])
def test_every_module_is_the_images_own(
    stack: str, stacks: dict[str, str], apptainer: str, tmp_path: Path
):
    """As Snakemake starts a job: the host's modules are mounted, and behind the image's."""
    from snakemake.common import get_snakemake_searchpaths

    config = settings.filled({})
    modules = set()
    for stage, row in engines.stages(config).items():
        if recipes.stack(stage, config) == stack:
            chosen = row.backend(config)
            modules.add(f"facemake.stages.{row.module or stage}")
            modules |= {chosen[1].module} if chosen else set()
    assert modules
    libraries = {"core": "pyfhog", "mediapipe": "mediapipe", "dlib": "_dlib_pybind11"}
    words = json.dumps([*sorted(modules), libraries[stack]])
    paths = [*get_snakemake_searchpaths(), str(ROOT / "scripts")]
    binds = []
    for i, path in enumerate(dict.fromkeys(paths)):
        binds += ["--bind", f"{path}:/mnt/snakemake_searchpaths/item_{i}"]
    done = subprocess.run(
        [apptainer, "exec", *binds, stacks[stack], "python", "-c", LISTING, words],
        cwd=tmp_path,
        env={**os.environ, "APPTAINERENV_PYTHONPATH": ""},  # as `facemake.mounts` does
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    assert found["facemake.provenance"].startswith("/mnt/snakemake_searchpaths/")
    assert found["numpy"].startswith("/opt/env/lib/")
    foreign = {
        name: path
        for name, path in found.items()
        if not path.startswith(("/opt/env/lib/", "/usr/lib/python3"))
        and name.split(".")[0] != "facemake"
    }
    assert foreign == {}


def test_an_image_without_a_library_is_refused(
    stacks: dict[str, str], samples: list[tuple[str, Path]], tmp_path: Path
):
    """Else the job would take it from the main process's environment without a word."""
    study(tmp_path, samples, containers={**stacks, "mediapipe": stacks["dlib"]})
    done = run(tmp_path, *IN_IMAGES, "results/detections/portraits.parquet")
    assert done.code != 0
    assert "mediapipe 0.10.21 is missing in the image" in done.output
    assert "make containers" in done.output
    assert "Traceback" not in done.output


def test_the_whole_workflow_runs_in_docker(
    workflow_image: tuple[str, str], bundled: Path, expected: dict[str, str], tmp_path: Path
):
    """As a user whom the image does not know, without network, in a folder of the study."""
    docker, image = workflow_image
    shutil.copytree(bundled, tmp_path / "data")
    samples = [("portraits", "../data/portraits")]
    samples += [("moving portrait", "../data/moving_portrait.mp4")]
    study(tmp_path, [(name, Path(path)) for name, path in samples])
    (tmp_path / "config" / "config.yaml").write_text("{}\n")
    for path in (tmp_path, *tmp_path.rglob("*")):
        os.chown(path, 4321, 8765)
    command = [docker, "run", "--rm", "--network", "none", "--user", "4321:8765"]
    command += ["--read-only", "--tmpfs", "/tmp"]
    # which of OpenBLAS' kernels computes: another one is as good as another kind of processor
    command += [
        word for name in os.environ if name.startswith("OPENBLAS_") for word in ("-e", name)
    ]
    command += ["-v", f"{tmp_path}:{tmp_path}", "-w", str(tmp_path), image]
    done = subprocess.run(
        [*command, "run", "--cores", "2"], capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert bytes_of(tmp_path / "results") == expected
    # the cache is in the study's folder, so its links hold outside of the container too
    assert all(path.is_symlink() for path in (tmp_path / "results" / "aus").glob("*.parquet"))
    assert {path.lstat().st_uid for path in tmp_path.rglob("*")} == {4321}
    listed = subprocess.run([*command, "doctor"], capture_output=True, text=True)
    assert listed.returncode == 0, listed.stdout + listed.stderr
    assert "0 faults, 0 warnings, " in listed.stdout, "nothing that only another machine lacks"
    labels = subprocess.run(
        [docker, "inspect", image, "--format", "{{json .Config.Labels}}"],
        capture_output=True,
        text=True,
        check=True,
    )
    said = json.loads(labels.stdout)
    assert said["org.opencontainers.image.version"] == version("facemake")
    assert said["facemake.stack"] == "workflow"


def test_building_says_what_it_wants(tmp_path: Path):
    build = [sys.executable, str(ROOT / "containers" / "build_images.py"), "--with", "docker"]
    build += ["--wheels", str(tmp_path)]
    for words, said in (
        (["--base", "python:3.11-slim"], "neither an image by digest nor a folder"),
        (["nothing"], "no such stack: nothing"),
    ):
        done = subprocess.run([*build, *words], capture_output=True, text=True)
        assert done.returncode == 2 and said in done.stderr, done.stderr
        assert "Traceback" not in done.stderr
