"""The recipes of 3DI's image, read: nothing unpinned, nothing unchecked, and the same in both.

They cannot be built here (no network in a build, no licensed face model); their small steps run.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from facemake.backends.threedi import FACTS
from facemake.backends.threedi.programs import PROGRAMS

RECIPE = Path(__file__).resolve().parents[2] / "containers" / "3di"
DOCKERFILE = RECIPE / "Dockerfile"
DEFINITION = RECIPE / "3di.def"
STEPS = sorted((RECIPE / "steps").glob("*.sh"))
ALL = [DOCKERFILE, DEFINITION, *STEPS]


def instructions(path: Path) -> list[str]:
    """Lines without comments, continued lines joined."""
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    return [line.strip() for line in "\n".join(lines).replace("\\\n", " ").splitlines()]


def docker_arguments() -> dict[str, str]:
    """Name -> default of the Dockerfile's ARGs; "" for none."""
    found = {}
    for line in instructions(DOCKERFILE):
        if line.startswith("ARG "):
            name, _, default = line.removeprefix("ARG ").partition("=")
            found[name] = default.strip('"')
    return found


def definition_arguments() -> dict[str, str]:
    """Name -> default of the definition's build arguments; "" for none."""
    text = DEFINITION.read_text()
    found = dict.fromkeys(re.findall(r"\{\{ (\w+) \}\}", text), "")
    section = text.split("%arguments\n")[1].split("\n\n")[0]
    return {**found, **{k: v.strip('"') for k, v in re.findall(r"^ +(\w+)=(.+)$", section, re.M)}}


def test_base_image_is_named_by_digest() -> None:
    bases = [line.split()[1] for line in instructions(DOCKERFILE) if line.startswith("FROM ")]
    assert bases[0] == "scratch"  # of the context with the face model
    assert [b.partition("@")[2] for b in bases[1:]] == ["${CUDA_DIGEST}"]
    assert docker_arguments()["CUDA_DIGEST"] == ""
    (base,) = [line for line in instructions(DEFINITION) if line.startswith("From:")]
    assert base.endswith("@{{ CUDA_DIGEST }}")
    for path in ALL:
        assert not re.search(r":latest\b", path.read_text()), path


def test_commits_are_whole_or_have_no_default() -> None:
    for arguments in (docker_arguments(), definition_arguments()):
        commits = {name: value for name, value in arguments.items() if name.endswith("_COMMIT")}
        assert len(commits) == 7
        for name, value in commits.items():
            assert value == "" or re.fullmatch("[0-9a-f]{40}", value), name
        assert all(v == "" for k, v in arguments.items() if k.endswith("_SHA256"))


def test_both_recipes_want_the_same() -> None:
    definition = definition_arguments()
    assert definition.pop("BFM") == ""  # where the file is; Docker has a build context
    assert definition == docker_arguments()


def test_what_has_no_default_is_in_the_example_of_pins() -> None:
    pins = [line.partition("=")[0] for line in (RECIPE / "pins.example").read_text().splitlines()]
    assert set(pins) == {name for name, default in docker_arguments().items() if not default}
    readme = (RECIPE / "README.md").read_text()
    for name in pins:
        assert f"`{name}`" in readme


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.name)
def test_no_check_is_switched_off(path: Path) -> None:
    text = path.read_text()
    for word in (
        *("--no-check-certificate", "--insecure", "sslverify", "GIT_SSL_NO_VERIFY"),
        *(
            "--allow-unauthenticated",
            "--force-yes",
            "trusted-host",
            "--no-gpg-check",
            "trusted=yes",
        ),
    ):
        assert word.lower() not in text.lower()
    assert not re.search(r"\bcurl\b[^\n]*\s-\w*k", text)
    assert "http://" not in text


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.name)
def test_nothing_that_is_fetched_is_run_or_kept_unchecked(path: Path) -> None:
    for line in instructions(path):
        assert not re.search(r"\b(curl|wget)\b.*\|", line), line
        assert not re.search(r"\bgit\b.*\bclone\b", line) or "clone.sh" in line, line
        assert not re.match(r"ADD\b", line), line
        if re.search(r"\bwget\b|\bcurl\b", line) and "apt-get" not in line:
            assert path.name == "fetch.sh", line
        if "pip install" in line:
            assert "--require-hashes" in line or "--no-deps" in line, line
        if "https://" in line and path.name == "face_model.sh":
            assert "fetch.sh" in line and "$EXP_PCA_COMMIT" in line and "$EXP_PCA_SHA256" in line
        if "/fetch.sh" in line and "COPY" not in line:
            assert re.search(r'"\$\w+_SHA256"', line), line
        if "/clone.sh" in line and "COPY" not in line:
            assert re.search(r'https://github\.com/\S+\.git "\$\w+_COMMIT" ', line), line


def test_a_download_is_checked_before_it_has_its_name() -> None:
    lines = instructions(RECIPE / "steps" / "fetch.sh")
    order = [
        next(i for i, line in enumerate(lines) if line.startswith(word))
        for word in ("curl ", 'echo "$sha256', "mv ")
    ]
    assert order == sorted(order)
    assert "--proto '=https'" in lines[order[0]] and "--fail" in lines[order[0]]
    assert "sha256sum --check" in lines[order[1]]


@pytest.mark.parametrize("path", STEPS, ids=lambda path: path.name)
def test_steps_are_shell_that_stops_at_the_first_error(path: Path) -> None:
    subprocess.run(["bash", "-n", path], check=True)
    assert path.stat().st_mode & 0o111
    assert "set -euo pipefail" in path.read_text()
    assert path.name in DOCKERFILE.read_text()


def test_variables_of_the_steps_are_given_to_them() -> None:
    """Each step's variables are set by the line that starts it, in both recipes."""
    own = {"BASH_SOURCE", "DEBIAN_FRONTEND"}
    for path in (RECIPE / "steps").glob("*.sh"):
        wanted = set(re.findall(r"\$\{?([A-Z][A-Z0-9_]+)\b", path.read_text())) - own
        for recipe in (DOCKERFILE, DEFINITION):
            calls = [
                line
                for line in instructions(recipe)
                if f"/{path.name}" in line and not line.startswith(("COPY", "%"))
            ]
            given = set(re.findall(r"\b([A-Z0-9_]+)=", " ".join(calls))) | {"CUDA_ARCHS"}
            assert not calls or wanted <= given, (recipe.name, path.name)


def test_python_packages_have_hashes() -> None:
    for name in ("requirements.txt", "pip.txt"):
        text = (RECIPE / name).read_text()
        packages = re.findall(r"^[a-z].*$(?:\n +.*)*", text, re.M)
        assert packages and all("==" in p and "--hash=sha256:" in p for p in packages)
        wanted = (RECIPE / name).with_suffix(".in").read_text()
        for line in wanted.splitlines():
            assert line.startswith("#") or f"\n{line} \\" in f"\n{text}"


def test_programs_are_where_facemake_looks_for_them() -> None:
    full, lite = ((RECIPE / "steps" / name).read_text() for name in ("full.sh", "lite.sh"))
    for engine, text in zip(PROGRAMS, (full, lite), strict=True):
        assert FACTS[engine].folder in text
        for program in PROGRAMS[engine]:
            stem = program.executable.rpartition("/")[2].removesuffix(".py").removeprefix("video_")
            assert stem in text
        assert "--network" not in text


def test_face_model_is_in_no_layer_and_not_passed_on() -> None:
    (mount,) = [line for line in instructions(DOCKERFILE) if "01_MorphableModel.mat" in line]
    assert "--mount=type=bind,from=bfm" in mount and "COPY" not in mount
    assert "rm -r /opt/recipe" in DEFINITION.read_text()
    model = (RECIPE / "steps" / "face_model.sh").read_text()
    assert model.index('"$BFM_SHA256  $bfm" | sha256sum --check') < model.index("prepare_BFM")
    assert "Do not pass the image on" in (RECIPE / "README.md").read_text()
    for name in (".gitignore", ".dockerignore"):
        assert (RECIPE / name).is_file()
    assert not list(RECIPE.rglob("*.mat"))


def run(step: str, *words: object) -> subprocess.CompletedProcess[str]:
    command = [str(RECIPE / "steps" / step), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_clone_takes_a_whole_commit_and_just_that(tmp_path: Path) -> None:
    source = tmp_path / "source"

    def git(*words: str) -> str:
        who = ["-c", "user.name=a", "-c", "user.email=a@b.invalid"]
        return subprocess.run(
            ["git", *who, "-C", str(source), *words], check=True, capture_output=True, text=True
        ).stdout.strip()

    source.mkdir()
    git("init", "-q", ".")
    git("config", "uploadpack.allowAnySHA1InWant", "true")
    (source / "file").write_text("old")
    git("add", "file")
    git("commit", "-q", "-m", "old")
    old = git("rev-parse", "HEAD")
    (source / "file").write_text("new")
    git("commit", "-q", "-a", "-m", "new")
    assert run("clone.sh", f"file://{source}", old, tmp_path / "got").returncode == 0
    assert [p.name for p in (tmp_path / "got").iterdir()] == ["file"]
    assert (tmp_path / "got" / "file").read_text() == "old"
    for wrong in (old[:10], "main", "", "0" * 40):
        ended = run("clone.sh", f"file://{source}", wrong, tmp_path / f"not {wrong}")
        assert ended.returncode != 0
        assert not list((tmp_path / f"not {wrong}").glob("file"))


def test_fetch_wants_a_checksum_and_https(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content")
    good = hashlib.sha256(b"content").hexdigest()
    out = tmp_path / "out"
    ended = run("fetch.sh", "https://127.0.0.1:1/file", "", out)
    assert ended.returncode == 1 and "SHA-256 is wanted" in ended.stderr
    for url in (f"file://{tmp_path}/file", "http://127.0.0.1:1/file", "https://127.0.0.1:1/file"):
        assert run("fetch.sh", url, good, out).returncode != 0
    assert not out.exists()


@pytest.mark.parametrize("right", [True, False])
def test_fetch_keeps_what_has_the_checksum(tmp_path: Path, right: bool) -> None:
    """With a stand-in for curl, which writes the same as ever."""
    curl = tmp_path / "bin" / "curl"
    curl.parent.mkdir()
    curl.write_text(
        '#!/bin/sh\nwhile [ "$1" != --output ]; do shift; done\nprintf content > "$2"\n'
    )
    curl.chmod(0o755)
    wanted = hashlib.sha256(b"content" if right else b"other").hexdigest()
    step = RECIPE / "steps" / "fetch.sh"
    ended = subprocess.run(
        [str(step), "https://nowhere.invalid/file", wanted, str(tmp_path / "new" / "out")],
        env={"PATH": f"{curl.parent}:/usr/bin:/bin"},
        capture_output=True,
    )
    assert (ended.returncode == 0) is right
    assert [p.name for p in (tmp_path / "new").iterdir()] == (["out"] if right else [])


def test_triangles_around_each_vertex(tmp_path: Path) -> None:
    np.savetxt(tmp_path / "tl.dat", [[1, 2, 3], [2, 3, 4], [2, 4, 5]], fmt="%d")
    subprocess.run(
        [sys.executable, str(RECIPE / "steps" / "point_buf.py"), str(tmp_path)], check=True
    )
    wanted = [[0, 0, 0], [0, 1, 2], [0, 1, 1], [1, 2, 2], [2, 2, 2]]
    assert np.loadtxt(tmp_path / "point_buf.dat").astype(int).tolist() == wanted


def test_a_wrong_face_model_is_refused(tmp_path: Path) -> None:
    model = tmp_path / "01_MorphableModel.mat"
    model.write_bytes(b"something else")
    step = str(RECIPE / "steps" / "face_model.sh")
    for sha256 in ("", "0" * 64):
        env = {
            "PATH": "/usr/bin:/bin",
            "BFM_SHA256": sha256,
            "EXP_PCA_COMMIT": "",
            "EXP_PCA_SHA256": "",
        }
        ended = subprocess.run([step, str(model)], env=env, capture_output=True, text=True)
        assert ended.returncode != 0
        said = ended.stdout + ended.stderr
        assert ("BFM_SHA256 is wanted" if not sha256 else "01_MorphableModel.mat: FAILED") in said
