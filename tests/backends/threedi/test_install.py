"""Where 3DI is looked for, in which order, and what is said where it is not or not whole."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

import makemedia
from facemake.backends.threedi import FACTS, Engine, Options
from facemake.backends.threedi import install as place
from facemake.backends.threedi.install import (
    Form,
    Install,
    check_install,
    find_install,
    use_settings,
)
from facemake.backends.threedi.runtimes import RunError, identity
from facemake.backends.threedi.runtimes.identity import folder_identity
from facemake.errors import InstallError
from facemake.provenance import file_sha256
from standin3di import build as standin

FULL, LITE = Engine.FULL, Engine.LITE


def fake_install(folder: Path, engine: Engine) -> Path:
    """A folder with nothing of an install but its main program."""
    folder.mkdir(parents=True)
    (folder / FACTS[engine].executable).touch()
    return folder


@pytest.fixture
def places(tmp_path: Path) -> dict[str, Path]:
    """Installs of either engine in every form that is not Docker's."""
    made = {"sif": tmp_path / "an image.sif"}
    made["sif"].touch()
    for name in ("argument", "variable", "own"):
        made[name] = fake_install(tmp_path / name, FULL)
        (made[name] / FACTS[LITE].executable).touch()
    for name in ("my_sandbox", "unpacked"):
        made[name] = tmp_path / name
        for engine in Engine:
            fake_install(tmp_path / name / FACTS[engine].folder.lstrip("/"), engine)
    (made["unpacked"] / ".singularity.d").mkdir()
    return made


# --- the order -----------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", Engine)
def test_the_order(places: dict[str, Path], engine: Engine) -> None:
    environ = {
        place.RUNTIME_VARIABLE: str(places["variable"]),
        "BITBOX_DOCKER": "bitbox:latest",
        FACTS[engine].variable: str(places["own"]),
    }
    found = []
    for runtime in (places["argument"], None):
        found.append(find_install(engine, runtime, environ))
    del environ[place.RUNTIME_VARIABLE]
    found.append(find_install(engine, None, environ))
    del environ["BITBOX_DOCKER"]
    found.append(find_install(engine, None, environ))
    root = FACTS[engine].folder
    folders = [str(places[name]) for name in ("argument", "variable", "own")]
    assert found == [
        Install(engine, Form.FOLDER, folders[0], folders[0]),
        Install(engine, Form.FOLDER, folders[1], folders[1]),
        Install(engine, Form.DOCKER, "bitbox:latest", root),
        Install(engine, Form.FOLDER, folders[2], folders[2]),
    ]


def test_each_engine_has_a_variable_of_its_own(places: dict[str, Path]) -> None:
    environ = {"BITBOX_3DI": str(places["own"]), "BITBOX_3DI_LITE": str(places["variable"])}
    assert find_install(FULL, None, environ).location == str(places["own"])
    assert find_install(LITE, None, environ).location == str(places["variable"])
    del environ["BITBOX_3DI_LITE"]
    with pytest.raises(
        InstallError, match=r"3DI-lite is not found.*BITBOX_DOCKER.*BITBOX_3DI_LITE"
    ):
        find_install(LITE, None, environ)


def test_empty_words_are_none(places: dict[str, Path]) -> None:
    environ = {place.RUNTIME_VARIABLE: "", "BITBOX_DOCKER": "", "BITBOX_3DI": str(places["own"])}
    assert find_install(FULL, "", environ).location == str(places["own"])


def test_nothing_is_said_to_be_found_in_an_empty_environment() -> None:
    with pytest.raises(InstallError, match=r"threedi\.runtime in the config, runtime= in Python"):
        find_install(FULL, None, {})


def test_this_process_environment(places: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(place.RUNTIME_VARIABLE, str(places["argument"]))
    assert find_install(FULL).location == str(places["argument"])


def test_the_config_says_it_to_the_jobs(
    places: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    environ: dict[str, str] = {}
    monkeypatch.setattr(place.os, "environ", environ)
    use_settings(None, "stop", None)
    assert place.RUNTIME_VARIABLE not in environ
    assert (place.failures_are_marked(), place.time_limit()) == (False, None)
    use_settings("argument", "mark", 0.5)  # a job may have another working directory
    assert environ[place.RUNTIME_VARIABLE] == str(places["argument"])
    assert (place.failures_are_marked(), place.time_limit()) == (True, 1800)
    use_settings("bitbox:latest", "stop", None)
    assert environ[place.RUNTIME_VARIABLE] == "bitbox:latest"
    assert (place.failures_are_marked(), place.time_limit()) == (False, None)


# --- forms ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", Engine)
def test_forms(places: dict[str, Path], engine: Engine) -> None:
    root = FACTS[engine].folder
    for name in ("sif", "my_sandbox", "unpacked"):
        found = find_install(engine, places[name], {})
        assert found == Install(engine, Form.SINGULARITY, str(places[name]), root)
        assert found == find_install(engine, None, {"BITBOX_DOCKER": str(places[name])})
        whole = None if name == "sif" else places[name] / root.lstrip("/")
        assert found.folder == whole
    folder = find_install(engine, f"{places['own']}/", {})
    assert (folder.form, folder.folder) == (Form.FOLDER, places["own"])
    assert str(folder) == f"{FACTS[engine].name} in the folder {places['own']}"


@pytest.mark.parametrize(
    "name",
    [
        "bitbox",
        "bitbox:latest",
        "org/bitbox:cuda12",
        "registry.example.org:5000/lab/bitbox_x.y-z:1.0",
        "localhost:5000/bitbox",
        f"org/bitbox@sha256:{'0a' * 32}",
        f"org/bitbox:1@sha256:{'0a' * 32}",
        f"sha256:{'0a' * 32}",
        "0a0a0a0a0a0a",
    ],
)
def test_names_of_docker_images(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for found in (find_install(FULL, name, {}), find_install(FULL, None, {"BITBOX_DOCKER": name})):
        assert found == Install(FULL, Form.DOCKER, name, "/app/3DI")
        assert found.folder is None


@pytest.mark.parametrize(
    "name",
    [
        "/no/such/folder",
        "./3DI",
        "../3DI",
        "~/no such folder",
        "~nobody-of-this-name/3DI",
        "installs/3DI",
        "two words",
        "bitbox:",
        ":latest",
        "bitbox:a b",
        "--privileged",
        "bitbox@sha256:12",
        "a//b",
        "naïve",
        "a file",
        "file.txt",
    ],
)
def test_what_is_neither(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a file").touch()
    (tmp_path / "file.txt").touch()
    cure = "neither an install folder, nor a .sif file, nor a sandbox folder.*bitbox:latest"
    with pytest.raises(InstallError, match=cure) as error:
        find_install(FULL, name, {})
    assert f"the runtime is {name}, which" in str(error.value)
    with pytest.raises(InstallError, match=cure) as error:
        find_install(FULL, None, {"BITBOX_DOCKER": name})
    assert f"BITBOX_DOCKER is {name}, which" in str(error.value)


def test_an_image_file_that_is_not_there(tmp_path: Path) -> None:
    for name in (str(tmp_path / "none.sif"), "none.sif"):
        with pytest.raises(InstallError, match=r"the runtime is .*none\.sif, and there is no such"):
            find_install(FULL, name, {})
    (tmp_path / "folder.sif").mkdir()
    with pytest.raises(InstallError, match="no such image file"):
        find_install(FULL, tmp_path / "folder.sif", {})


def test_a_relative_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_install(tmp_path / "here" / "3DI", FULL)
    monkeypatch.chdir(tmp_path / "here")
    assert find_install(FULL, "3DI", {}).location == str(tmp_path / "here" / "3DI")
    # BITBOX_DOCKER names images alone: a folder of this name is none
    fake_install(tmp_path / "here" / "bitbox", FULL)
    assert find_install(FULL, None, {"BITBOX_DOCKER": "bitbox"}).form is Form.DOCKER
    monkeypatch.setenv("HOME", str(tmp_path / "here"))
    assert find_install(FULL, "~/3DI", {}).location == str(tmp_path / "here" / "3DI")
    environ = {"BITBOX_3DI": "~/3DI"}
    assert find_install(FULL, None, environ).location == str(tmp_path / "here" / "3DI")


@pytest.mark.parametrize("engine", Engine)
def test_without_the_main_program(places: dict[str, Path], engine: Engine, tmp_path: Path) -> None:
    name, program = FACTS[engine].name, FACTS[engine].executable
    for folder in (places["own"], *(places[n] / FACTS[engine].folder[1:] for n in ("my_sandbox",))):
        (folder / program).unlink()
    for ask, origin in (
        (lambda: find_install(engine, places["own"], {}), "the runtime"),
        (lambda: find_install(engine, places["my_sandbox"], {}), "the runtime"),
        (lambda: find_install(engine, tmp_path / "empty_sandbox", {}), "the runtime"),
        (
            lambda: find_install(engine, None, {FACTS[engine].variable: str(places["own"])}),
            FACTS[engine].variable,
        ),
        (
            lambda: find_install(engine, None, {FACTS[engine].variable: "/no/such"}),
            FACTS[engine].variable,
        ),
    ):
        (tmp_path / "empty_sandbox").mkdir(exist_ok=True)
        with pytest.raises(InstallError) as error:
            ask()
        said = str(error.value)
        assert said.startswith(f"{origin} is /") and f"there is no {program} in /" in said
        assert said.endswith(f"so it is no install of {name}")


# --- whole installs ------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", Engine)
def test_the_stand_in_is_whole(installs: dict[Engine, Path], engine: Engine) -> None:
    install = find_install(engine, installs[engine], {})
    check_install(install, Options(engine=engine))
    check_install(install, Options(engine=engine, fast=True))


@pytest.mark.parametrize("form", [Form.FOLDER, Form.SINGULARITY])
@pytest.mark.parametrize("engine", Engine)
def test_what_is_missing_is_named(engine: Engine, form: Form, tmp_path: Path) -> None:
    where = tmp_path if form is Form.FOLDER else tmp_path / "sandbox"
    root = where / FACTS[engine].folder.lstrip("/")
    install = find_install(engine, standin.build(root, str(engine)), {})
    if form is Form.SINGULARITY:
        install = find_install(engine, where, {})
    options = Options(engine=engine)

    def refused(wanted: Options = options) -> str:
        with pytest.raises(InstallError) as error:
            check_install(install, wanted)
        assert str(root) in str(error.value)
        return str(error.value)

    said = refused(Options(engine=engine, landmark_model="none9"))
    assert f"{options.morphable_model}.cfg1.none9.txt" in said and "threedi.landmark_model" in said
    said = refused(Options(engine=engine, morphable_model="BFMmm-99"))
    assert "configs/BFMmm-99.cfg1.global4.txt" in said and "threedi.morphable_model" in said
    assert "threedi.landmark_model" not in said and "no face model BFMmm-99" in said
    wanted = Options(engine=engine, morphable_model="BFMmm-99", landmark_model="none9")
    lines = refused(wanted).splitlines()
    assert "threedi.morphable_model is BFMmm-99" in lines[0]
    assert f"it has {options.morphable_model}" in lines[0]
    assert "threedi.landmark_model is none9" in lines[1] and lines[1].endswith("it has global4")
    assert "no face model BFMmm-99" in lines[2] and len(lines) == 3
    model = root / "models" / "MMs" / options.morphable_model
    shutil.rmtree(model)
    said = refused()
    assert f"has no face model {options.morphable_model} (models/MMs)" in said
    assert "https://faces.dmi.unibas.ch/bfm/" in said and "01_MorphableModel.mat" in said
    raw, script = (
        (root / "models", root / "models") if engine is Engine.FULL else (root / "data", root)
    )
    (raw / "raw").mkdir(parents=True, exist_ok=True)
    (raw / "raw" / "01_MorphableModel.mat").touch()
    said = refused()
    assert said.endswith(f"01_MorphableModel.mat is there: run prepare_BFM.py in {script}")
    assert "unibas" not in said
    (root / options.config_file).unlink()
    assert options.config_file in refused()


def test_what_is_in_an_image_is_seen_later(tmp_path: Path) -> None:
    (tmp_path / "x.sif").touch()
    for name in (tmp_path / "x.sif", "bitbox:latest"):
        check_install(find_install(FULL, name, {}), Options(engine=FULL))


# --- identities ----------------------------------------------------------------------------------


def test_the_identity_is_of_what_an_install_holds(tmp_path: Path) -> None:
    root = standin.build(tmp_path / "here", "3di")
    first = folder_identity(root, FULL)
    assert len(first) == 64
    assert folder_identity(standin.build(tmp_path / "elsewhere", "3di"), FULL) == first
    (root / "README").write_text("does not count")
    (root / "models" / "raw" / "01_MorphableModel.mat").write_text("does not count")
    (root / "scripts" / "__pycache__").mkdir()
    (root / "scripts" / "__pycache__" / "common.pyc").write_text("does not count")
    assert folder_identity(root, FULL) == first
    seen = {first}
    for name in ("video_detect_face", "scripts/more.py", "configs/x.txt", "models/MMs/y/z.dat"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("something else")
        seen.add(folder_identity(root, FULL))
    (root / "configs" / "x.txt").rename(root / "configs" / "y.txt")
    seen.add(folder_identity(root, FULL))
    assert len(seen) == 6


def test_what_a_link_leads_to_counts(tmp_path: Path) -> None:
    """Face models are large: they lie on another disk, and the install has links."""
    root = standin.build(tmp_path / "install", "3di")
    models = tmp_path / "disk" / "MMs"
    shutil.move(root / "models" / "MMs", models)
    (root / "models" / "MMs").symlink_to(models)
    (models / "again").symlink_to(models)  # in a circle
    first = folder_identity(root, FULL)
    (models / "BFMmm-19830" / "X0_mean.dat").write_text("1 2 3")
    assert folder_identity(root, FULL) != first
    (root / "models" / "dangling").symlink_to(tmp_path / "nothing")
    folder_identity(root, FULL)


@pytest.fixture
def memo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where hashes are remembered; those of small installs, and of new files, too."""
    monkeypatch.setattr(identity, "_AT_ONCE", -1)
    monkeypatch.setattr(identity, "_SECONDS_TO_SETTLE", -60.0)
    folder = tmp_path / "memo"
    monkeypatch.setattr(identity, "_memo_folder", lambda: folder)
    return folder


def test_networks_and_programs_count_by_content(tmp_path: Path) -> None:
    """Of the same name and size, as other weights of one network are."""
    root = standin.build(tmp_path / "install", "3dilite")
    seen = {folder_identity(root, LITE)}
    names = ("checkpoints/resnet.pth", "video_detect_face", "models/basis.mat", "data/mean.npy")
    for name in (*names, "env/bin/python3", "liblocal.so.1"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        for byte in (b"a", b"b"):
            path.write_bytes(byte * ((16 << 20) + 1))
            seen.add(folder_identity(root, LITE))
        path.write_bytes(b"b")
    assert len(seen) == 1 + 2 * 6


def test_what_programs_write_does_not_count(tmp_path: Path) -> None:
    root = standin.build(tmp_path / "install", "3di")
    first = folder_identity(root, FULL)
    for name in (
        *("logs/1.txt", "cache/x", "tmp/x", ".cache/x", ".git/HEAD", "scripts/x.log", "said.txt"),
        *("env/lib/__pycache__/x.bin", "data/raw/01_MorphableModel.mat", "README.md"),
    ):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
        assert folder_identity(root, FULL) == first, name


def test_each_file_is_hashed_once(
    tmp_path: Path, memo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from facemake import hashes

    hashed: list[str] = []

    def counted(path: Path) -> str:
        hashed.append(path.name)
        return file_sha256(path)

    monkeypatch.setattr(hashes, "file_sha256", counted)
    monkeypatch.setattr(identity, "file_sha256", counted)
    root = standin.build(tmp_path / "install", "3di")
    first = folder_identity(root, FULL)
    assert len(hashed) > 10
    hashed.clear()
    assert folder_identity(root, FULL) == first and hashed == []
    (root / "configs" / "x.txt").write_text("x")
    assert folder_identity(root, FULL) != first and hashed == ["x.txt"]
    # it is the same without a memo, and where none can be
    monkeypatch.setattr(identity, "_memo_folder", lambda: root / "configs" / "x.txt")
    second = folder_identity(root, FULL)
    monkeypatch.setattr(identity, "_AT_ONCE", 1 << 30)
    assert folder_identity(root, FULL) == second


def test_an_image_file_is_hashed_once(
    tmp_path: Path, memo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each job of a server asks for it, in a process of its own."""
    from facemake import hashes

    hashed: list[Path] = []

    def counted(path: Path) -> str:
        hashed.append(path)
        return file_sha256(path)

    monkeypatch.setattr(hashes, "file_sha256", counted)
    image, link = tmp_path / "3di.sif", tmp_path / "latest.sif"
    image.write_bytes(b"an image")
    link.symlink_to(image.name)
    assert identity.file_identity(image) == identity.file_identity(link) == file_sha256(image)
    assert hashed == [image]
    image.write_bytes(b"another one")
    assert identity.file_identity(link) == file_sha256(image) and len(hashed) == 2
    with pytest.raises(RunError, match=r"gone\.sif cannot be read: No such file"):
        identity.file_identity(tmp_path / "gone.sif")


def test_a_file_that_has_just_changed_is_read(
    tmp_path: Path, memo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within one tick of the clock, size and time of change may be the same."""
    monkeypatch.setattr(identity, "_SECONDS_TO_SETTLE", 60.0)
    root = standin.build(tmp_path / "install", "3di")
    network = root / "models" / "net.dat"
    network.write_text("a")
    found = network.stat()
    first = folder_identity(root, FULL)
    network.write_text("b")
    os.utime(network, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert folder_identity(root, FULL) != first


# --- options -------------------------------------------------------------------------------------


def test_options_of_each_engine() -> None:
    full, lite = Options(engine=FULL), Options(engine=LITE)
    assert (full.morphable_model, full.basis) == ("BFMmm-19830", "0.0.1.F591-cd-K32d")
    assert (lite.morphable_model, lite.basis) == ("BFMmm-23660", "local_basis_FacialBasis1.0")
    for options in (full, lite):
        assert (options.camera, options.landmark_model, options.fast) == (30, "global4", False)
        assert options.normalize and not options.undistorts
    assert full.config_file == "configs/BFMmm-19830.cfg1.global4.txt"
    assert Options(engine=FULL, fast=True).config_file == "configs/BFMmm-19830.cfg2.global4.txt"
    # 3DI-lite has no fast configuration
    assert Options(engine=LITE, fast=True).config_file == "configs/BFMmm-23660.cfg1.global4.txt"
    assert Options(engine=FULL, camera="/a/camera.txt").undistorts


def test_an_install_that_may_not_be_read() -> None:
    with makemedia.public_folder() as folder:
        root = standin.build(folder / "install", "3di")
        (root / "configs" / "BFMmm-19830.cfg1.global4.txt").chmod(0)
        said = makemedia.unprivileged(lambda: folder_identity(root, FULL))
        (root / "configs").chmod(0o644)
        (root / "scripts").chmod(0)
        also = makemedia.unprivileged(lambda: folder_identity(root, FULL))
    assert "RunError" in said and "cfg1.global4.txt cannot be read: Permission denied" in said
    assert "RunError" in also and "cannot be read: Permission denied" in also
