"""facemake models build (docs/backends.md), and what list, verify and path say of what is built."""

from __future__ import annotations

from pathlib import Path

import pytest

from facemake import facemodels
from facemake.backends.fit import load
from facemake.backends.fit.modelfile import load_mesh
from facemake.cli import main
from makesources import bfm, bfm_prepared, ict_folder, openface

FILE = "In-the-wild_aligned_PDM_68.txt"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without models; FACEMAKE_MODELS is empty."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FACEMAKE_MODELS", "")
    return tmp_path / "home"


def test_ict_is_built_into_the_private_folder_and_used_from_there(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    kit = ict_folder(tmp_path / "ICT-FaceKit" / "FaceXModel")
    assert main(["models", "build", "ict-facekit", str(kit.parent)]) == 0
    said = capsys.readouterr().out
    path = home / ".local" / "share" / "facemake" / "models" / "ict-facekit.npz"
    assert said.startswith(f"{path}\n")
    for words in (
        "9409 vertices, 3 triangles, 68 landmarks (ibug68), 3 identities, 4 expressions",
        "34 modes derived from ict-facekit",
        "licence: MIT",
        "pinned beside it",
        "fit: {model: ict-facekit}",
    ):
        assert words in said
    assert load("ict-facekit").name == "ict-facekit"
    assert load_mesh(path).triangles.shape == (3, 3)
    sha256 = facemodels.find("ict-facekit").sha256
    assert sha256 in said

    assert main(["models", "list"]) == 0
    listed = capsys.readouterr().out.splitlines()
    size = path.stat().st_size
    assert listed[-1] == f"ict-facekit\tlinear face model\tMIT\t{size} bytes\t{sha256}"
    assert main(["models", "verify", "ict-facekit"]) == 0
    assert capsys.readouterr().out == f"ok\tict-facekit\t{path}\n"
    assert main(["models", "path", "ict-facekit"]) == 0
    assert capsys.readouterr().out == f"{path}\n"

    path.write_bytes(path.read_bytes() + b"\0")
    assert main(["models", "verify"]) == 1
    said = capsys.readouterr().out
    assert "no\tict-facekit\t" in said and "has changed" in said
    assert main(["models", "path", "ict-facekit"]) == 2
    assert "has changed" in capsys.readouterr().err
    assert main(["models", "list"]) == 0
    assert "has changed" in capsys.readouterr().out


def test_bfm_says_its_licence_and_where_it_went(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    prepared = bfm_prepared(tmp_path / "BFMmm-00500", bfm())
    target = tmp_path / "models"
    command = ["models", "build", "bfm2009", str(prepared), "--models-dir", str(target)]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"{target / 'bfm2009.npz'}\n")
    assert "500 vertices" in said and "51 landmarks (ibug51)" in said
    assert "199 identities, 79 expressions" in said
    assert "research use by the licensee; not to be distributed" in said
    assert f"models_dir: {target}" in said
    assert main(["models", "verify", "bfm2009", "--models-dir", str(target)]) == 0
    assert main(["models", "verify", "bfm2009"]) == 0, "FACEMAKE_MODELS holds it in this process"


def test_openface_says_that_the_modes_are_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    source = openface(tmp_path / FILE)
    assert main(["models", "build", "openface-pdm", str(source)]) == 0
    assert "local parameters: OpenFace's own 34 modes" in capsys.readouterr().out


@pytest.mark.parametrize("name", list(facemodels.SOURCES))
def test_a_folder_without_the_files_says_where_they_are(
    name: str, tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
):
    for folder in (tmp_path, tmp_path / "nowhere"):
        assert main(["models", "build", name, str(folder)]) == 2
        said = capsys.readouterr().err
        assert said.startswith("facemake: ") and "https://" in said
    assert not home.exists(), "nothing is made for a model that cannot be"


def test_what_is_not_built_is_no_error_of_the_whole_list(capsys: pytest.CaptureFixture[str]):
    assert main(["models", "list"]) == 0
    assert "ict-facekit" not in capsys.readouterr().out
    assert main(["models", "verify", "bfm2009"]) == 1
    assert "facemake models build bfm2009" in capsys.readouterr().out


def test_an_unknown_name_and_a_target_that_is_a_file_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit) as caught:
        main(["models", "build", "flame", str(tmp_path)])
    assert caught.value.code == 2
    assert "ict-facekit" in capsys.readouterr().err
    source = openface(tmp_path / FILE)
    command = ["models", "build", "openface-pdm", str(source), "--models-dir", str(source)]
    assert main(command) == 2
    assert "cannot be built" in capsys.readouterr().err
