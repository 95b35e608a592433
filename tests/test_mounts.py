"""What a job in a container must see."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import pytest

from facemake import mounts
from facemake.errors import ConfigError
from facemake.settings import filled


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory."""
    folder = tmp_path / "study"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for name in ("BITBOX_3DI", "BITBOX_3DI_LITE"):
        monkeypatch.delenv(name, raising=False)
    return folder


def video(path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return str(path)


def test_recordings_and_what_they_link_to(here: Path, tmp_path: Path):
    inside = video(here / "videos" / "a.mp4")
    plain = video(tmp_path / "plain" / "b.mp4")
    target = video(tmp_path / "disk" / "deep" / "c.mp4")
    link = tmp_path / "links" / "c.mp4"
    link.parent.mkdir()
    link.symlink_to(target)
    through = tmp_path / "through"
    through.symlink_to(tmp_path / "disk2")
    video(tmp_path / "disk2" / "d.mp4")
    pictures = tmp_path / "sets" / "pictures"
    pictures.mkdir(parents=True)
    (pictures / "1.png").symlink_to(video(tmp_path / "store" / "1.png"))
    found = mounts.folders(
        filled({}), [inside, plain, str(link), str(through / "d.mp4"), str(pictures)]
    )
    names = ("disk/deep", "disk2", "links", "plain", "sets", "store", "through")
    assert found == [str(tmp_path / name) for name in names]


def test_a_folder_of_pictures_that_may_not_be_listed_stops_nothing(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "pictures").mkdir()

    def refuse(path: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", refuse)
    assert mounts._of_recordings([str(tmp_path / "pictures")]) == {str(tmp_path)}


def test_folders_of_the_config(here: Path, tmp_path: Path):
    results, camera = tmp_path / "out" / "results", Path(video(tmp_path / "camera" / "lens.yml"))
    install = tmp_path / "3DI"
    install.mkdir()
    config = filled(
        {
            "outdir": str(results),
            "camera": {"calibration": str(camera)},
            "threedi": {"runtime": str(install)},
        }
    )
    assert mounts.folders(config, []) == [str(install), str(camera.parent), str(results)]
    # the name of a Docker image is no folder
    assert mounts.folders(filled({"threedi": {"runtime": "image:tag"}}), []) == []


def test_many_folders_become_few_and_never_the_images_own():
    many = {f"/data/s{i}/v" for i in range(100)} | {"/opt/videos/x", "/usr/share/clips"}
    few = mounts._few(many, "/home/anna/study")
    assert few == ["/data", "/opt/videos/x", "/usr/share/clips"]
    apart = {f"/disk{i}/videos" for i in range(100)}
    kept = mounts._few(apart, "/home/anna/study")
    assert kept == sorted(apart), "what has nothing in common stays"
    tree = {f"/data/{site}/s{i}" for site in "ab" for i in range(20)} | {"/data/c"}
    assert mounts._few(tree, "/home") == sorted({"/data/b", *(f for f in tree if "/b/" not in f)})


def test_what_apptainer_is_told(here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    odd = tmp_path / "a, b: \"c\" 'd'"
    odd.mkdir()
    store, models = tmp_path / "store", tmp_path / "models"
    store.mkdir()
    models.mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    built = tmp_path / "home" / ".local" / "share" / "facemake" / "models"
    built.mkdir(parents=True)
    monkeypatch.setenv("SNAKEMAKE_OUTPUT_CACHE", str(store))
    monkeypatch.setenv("FACEMAKE_MODELS", f"{models}:/nowhere")
    monkeypatch.setenv("APPTAINER_MOUNT", "type=bind,source=/mine,destination=/mine")
    monkeypatch.setenv("SINGULARITY_MOUNT", "")
    monkeypatch.setenv("APPTAINERENV_PYTHONPATH", "mine")
    monkeypatch.setenv("SINGULARITYENV_PYTHONPATH", "mine")
    for _ in range(2):  # a job reads the rules again, in the environment of the run
        mounts.use([str(odd), str(tmp_path / "none")])
        rows = [
            dict(f.split("=") for f in row)
            for row in csv.reader(os.environ["APPTAINER_MOUNT"].splitlines())
        ]
        sources = [row["source"] for row in rows]
        assert sources[0] == "/mine"
        assert {str(odd), str(store), str(models), str(built)} <= set(sources)
        assert str(tmp_path / "none") not in sources
        assert len(sources) == len(set(sources))
        # the folder of models in HOME is named: HOME is the working directory in there
        assert os.environ["FACEMAKE_MODELS"] == f"{models}:{built}"
    assert os.environ["APPTAINERENV_PYTHONPATH"] == ""
    beside = {row["destination"] for row in rows if row["source"] != row["destination"]}
    names = ("config", "envs", "rules", "Snakefile", "LICENSE", "CITATION.cff")
    assert beside == {f"/mnt/snakemake_searchpaths/{name}" for name in names}
    assert all(Path(source).exists() for source in sources[-len(names) :])


def test_an_image_that_is_not_there_is_refused_before_any_job(here: Path):
    (here / "core.sif").touch()
    images = {"core": "core.sif", "dlib": "none.sif", "mediapipe": "docker://a@sha256:1"}
    mounts.check_images({**images, "threedi": None}, ["core", "mediapipe", "threedi"])
    with pytest.raises(
        ConfigError, match=r"`make containers STACKS='dlib'` builds them:\n  containers\.dlib is no"
    ):
        mounts.check_images(images, ["dlib", "core", "dlib"])
