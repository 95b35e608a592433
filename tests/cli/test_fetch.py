"""facemake fetch (docs/cluster.md): what a run needs of the network, before it runs."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import yaml

from facemake.cli import main

PROGRAM = """#!/bin/sh
echo "$@" >> "$CALLS"
case "$1" in
    pull) case "$3" in *broken*) echo partly > "$2"; exit 1 ;; *) echo image > "$2" ;; esac ;;
    *) echo 24.11.1 ;;
esac
"""
IMAGE = f"docker://registry.example/core@sha256:{'1' * 64}"


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program that stands in for apptainer, and what it was asked."""
    program = tmp_path / "bin" / "apptainer"
    program.parent.mkdir()
    program.write_text(PROGRAM)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    monkeypatch.chdir(tmp_path)  # back where it was, when the test ends
    return tmp_path / "calls"


def study(folder: Path, **config: object) -> Path:
    (folder / "config").mkdir(parents=True)
    (folder / "config" / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


def test_images_are_pulled_once_to_where_snakemake_looks(
    calls: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    folder = study(tmp_path / "study", containers={"core": IMAGE, "dlib": "own.sif"})
    (folder / "own.sif").touch()
    # Snakemake's name for it: the MD5 of the address (snakemake.deployment.singularity.Image)
    name = f"{hashlib.md5(IMAGE.encode()).hexdigest()}.simg"
    for _ in range(2):
        assert main(["fetch", "-d", str(folder), "--sdm", "apptainer"]) == 0
        said = capfd.readouterr().out
        assert f"image\tcore\t.snakemake/singularity/{name}" in said
        assert "image\tdlib\town.sif" in said
    assert (folder / ".snakemake" / "singularity" / name).read_text() == "image\n"
    assert len(calls.read_text().splitlines()) == 1


def test_snakemake_looks_there(tmp_path: Path):
    from types import SimpleNamespace

    from snakemake.deployment.singularity import Image

    where = SimpleNamespace(persistence=SimpleNamespace(container_img_path=str(tmp_path)))
    image = Image(IMAGE, SimpleNamespace(workflow=where), False)
    assert image.path == str(tmp_path / f"{hashlib.md5(IMAGE.encode()).hexdigest()}.simg")


def test_an_image_that_cannot_be_had_leaves_nothing(
    calls: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    folder = study(tmp_path / "a", containers={"core": "docker://broken@sha256:1"})
    assert main(["fetch", "-d", str(folder), "--sdm", "apptainer"]) == 2
    assert "docker://broken@sha256:1, cannot be pulled" in capfd.readouterr().err
    assert list((folder / ".snakemake" / "singularity").iterdir()) == []
    folder = study(tmp_path / "b", containers={"core": "none.sif"})
    assert main(["fetch", "-d", str(folder), "--sdm", "apptainer"]) == 2
    assert (
        "none.sif, is not there: `make containers STACKS=core` builds it" in capfd.readouterr().err
    )


def test_a_wrong_config_is_refused_in_words(
    calls: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    folder = study(tmp_path / "study", nonsense=1)
    assert main(["fetch", "-d", str(folder)]) == 2
    assert "nonsense" in capfd.readouterr().err
    assert main(["fetch", "-d", str(tmp_path / "nowhere")]) == 2
    assert "nowhere: No such file or directory" in capfd.readouterr().err


def test_environments_are_snakemakes_to_make(
    calls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    asked: list[list[str]] = []

    class Done:
        returncode = 0

    monkeypatch.setattr(
        "facemake.cli.fetch.subprocess.run", lambda words, **_: asked.append(words) or Done()
    )
    folder = study(tmp_path / "study")
    words = ["fetch", "-d", str(folder), "--sdm", "conda", "--conda-prefix", "/envs"]
    assert main(words) == 0
    (command,) = asked
    assert {"--conda-create-envs-only", "--forceall", "/envs", "conda"} <= set(command)
