"""Sets up a real Apptainer and a real Docker engine for tests, and images of the stand-in for 3DI.

    python tests/containers/setup.py          # exit code 77 where one cannot be had, and why
    python tests/containers/setup.py --stop   # end the Docker engine

Everything is in one folder (5 GB): FACEMAKE_TEST_CONTAINERS or ~/.cache/facemake-test-containers.
Nothing is installed on the machine, and its own apt, Docker and Apptainer stay as they are. It
needs root on Debian, a Debian archive that apt reaches, and Perl. What is there already is not made
again.

* Packages come by apt from lists of its own, signatures checked, and are unpacked, not installed.
* Apptainer is in Debian's unstable suite only; its C library and two more of trixie are beside it.
* A root file system with Python, this environment's PyAV and the stand-in (`tests/standin3di`)
  becomes `standin3di_sandbox`, `standin3di.sif` and the Docker image `facemake-standin3di:test`.
* On the same root file system, without PyAV, `containers/build_images.py` makes an image file of
  each stack of the default workflow and a Docker image of the whole workflow.

`state.json` there says what there is, for the fixtures in conftest.py.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE.parent))

from debian import (  # noqa: E402
    Archive,
    Found,
    Setup,
    UnavailableError,
    archive_of,
    key_of,
    once,
    remove,
    run,
    waited,
    want_root,
)

STANDIN = HERE.parent / "standin3di"
BUILD = ROOT / "containers" / "build_images.py"
STACKS = ("mediapipe", "dlib", "core")
"""Of the default workflow; what takes longest to build is first."""
WORKFLOW = "facemake-workflow"
VARIABLE = "FACEMAKE_TEST_CONTAINERS"
IMAGE = "facemake-standin3di:test"
KEY_LABEL = "facemake.key"

TOOLS = ("docker.io", "mmdebstrap", "patchelf", "squashfs-tools")
SUITES = ("trixie", "unstable")
APPTAINER = ("apptainer/unstable", "libc6/trixie", "libseccomp2/trixie", "libsqlite3-0/trixie")
LONGEST_SOCKET = 100
"""Bytes of the path of a socket, of 107 that Linux takes."""


# --- what is made --------------------------------------------------------------------------------


def make_tools(archive: Archive) -> Path:
    """Docker's engine, mmdebstrap, patchelf and squashfs-tools."""

    def make(new: Path) -> None:
        archive.unpack_with_missing(TOOLS, new)
        for name in ("mksquashfs", "unsquashfs"):  # Apptainer starts them without our environment
            relocate(new, new / "usr" / "bin" / name, archive.folder / "tools")

    key = key_of(archive.codename, *TOOLS, str(archive.folder), "1")
    return once(archive.folder / "tools", key, make, "Docker and tools")


def libraries(root: Path) -> str:
    """Where unpacked packages have their libraries, as a search path."""
    return ":".join(str(root / place / "x86_64-linux-gnu") for place in ("usr/lib", "lib"))


def relocate(tools: Path, program: Path, root: Path) -> None:
    """Let a program find libraries below `root`, and the libraries theirs."""
    patchelf = tools / "usr" / "bin" / "patchelf"
    run([patchelf, "--force-rpath", "--set-rpath", libraries(root), program])


def make_apptainer(archive: Archive, tools: Path) -> Path:
    """Apptainer beside its own C library."""
    root = archive.folder / "apptainer"
    inner = Path("usr/lib/x86_64-linux-gnu")

    def make(new: Path) -> None:
        archive.unpack(APPTAINER, new)
        loader = root / inner / "ld-linux-x86-64.so.2"
        for program in (new / "usr/bin/apptainer", new / inner / "apptainer/bin/starter"):
            run([tools / "usr/bin/patchelf", "--set-interpreter", loader, program])
            relocate(tools, program, root)
        settings = new / "etc/apptainer/apptainer.conf"
        text = settings.read_text()
        # else root in a container asks for capabilities that root of this machine may not have
        changed = text.replace("root default capabilities = full", "root default capabilities = no")
        if changed == text:
            raise UnavailableError(f"Apptainer's {settings.name} is not the one that was expected")
        settings.write_text(changed)
        # It is not where it was built for: its two programs look for these from where they are.
        for place in ("usr", "usr/lib"):
            shutil.copytree(new / "etc/apptainer", new / place / "etc/apptainer")
            (new / place / "var/lib/apptainer/mnt/session").mkdir(parents=True)

    once(root, key_of(*APPTAINER, str(archive.folder), "2"), make, "Apptainer")
    run([root / "usr" / "bin" / "apptainer", "version"])
    return root


def make_base(archive: Archive, tools: Path) -> Path:
    """A root file system with Python."""

    def make(new: Path) -> None:
        place = new.with_name("new")
        remove(place)
        words = ["--base", "debian", "--only-base", "--mirror", archive.mirror, "--wheels", place]
        made = run([sys.executable, BUILD, *words], env=with_tools(tools)).splitlines()[-1]
        Path(made).rename(new)
        remove(place)

    key = key_of(archive.mirror, BUILD.read_text().split("def debian")[1].split("\ndef ")[0], "2")
    return once(archive.folder / "base", key, make, "root file system")


def make_sandbox(folder: Path, base: Path) -> Path:
    """The root file system with this environment's PyAV, and the stand-in under /app."""
    import av

    sys.path.insert(0, str(STANDIN))
    import build  # type: ignore[import-not-found]

    wheel = Path(av.__file__).parent

    def make(new: Path) -> None:
        run(["cp", "-a", base, new])
        packages = new / "usr/local/lib/python3.11/dist-packages"
        packages.mkdir(parents=True, exist_ok=True)
        for name in ("av", "av.libs"):
            shutil.copytree(wheel.parent / name, packages / name)
        run(["chroot", new, "/usr/bin/python3", "-c", "import av"])
        for name in ("input", "output"):
            (new / "app" / name).mkdir(parents=True)
        for engine, name in build.FOLDER.items():
            build.build(new / "app" / name, engine, "/usr/bin/python3")

    return once(folder / "standin3di_sandbox", image_key(base), make, "sandbox")


def image_key(base: Path) -> str:
    sources = [(STANDIN / name).read_text() for name in ("programs.py", "build.py")]
    return key_of(base.with_name(f"{base.name}.key").read_text(), *sources, "1")


def make_sif(folder: Path, apptainer: Path, tools: Path, sandbox: Path, key: str) -> Path:
    """The same as a file."""
    fast = ["--mksquashfs-args", "-comp zstd -Xcompression-level 1"]

    def make(new: Path) -> None:
        program = apptainer / "usr" / "bin" / "apptainer"
        run([program, "build", "--force", *fast, new, sandbox], env=with_tools(tools))

    return once(folder / "standin3di.sif", key, make, "image file")


def build_key(base: Path, stack: str) -> str:
    """Of all that an image of facemake is made of."""
    recipe = "Dockerfile" if stack == "workflow" else "facemake.def"
    sources = [BUILD, BUILD.with_name(recipe), *(BUILD.parent / "steps").glob("*")]
    own = "default" if stack == "workflow" else f"stacks/{stack}"
    sources += [ROOT / "requirements" / f"{name}.txt" for name in ("build", "stacks/pip", own)]
    if stack == "workflow":
        listed = run(["git", "-C", ROOT, "ls-files", "Snakefile", "rules", "scripts", "config"])
        sources += [ROOT / name for name in listed.splitlines() if (ROOT / name).is_file()]
    texts = [path.read_bytes().hex() for path in sorted(sources)]
    return key_of(base.with_name(f"{base.name}.key").read_text(), stack, *texts)


def build(folder: Path, base: Path, stack: str, *more: str | Path, path: str, **env: str) -> None:
    """Run the project's own build of an image."""
    words = ["--base", base, "--wheels", folder / "wheels", "--fast", *more, stack]
    own = {**os.environ, "PATH": f"{path}:{os.environ.get('PATH', os.defpath)}", **env}
    run([*in_namespace(), sys.executable, BUILD, *words], env=own)


def in_namespace() -> list[str]:
    """Starts a build where root has all capabilities, which root of this machine may not have."""
    limit = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    status = Path("/proc/self/status").read_text()
    effective = int(status.split("CapEff:")[1].split()[0], 16)
    whole = effective == (1 << (limit + 1)) - 1
    return [] if whole else [sys.executable, str(HERE / "namespace.py")]


def fetch_wheels(folder: Path) -> None:
    """All wheels of the images, so that no build waits for a network."""
    words = ["--only-wheels", "--with", "apptainer", "--wheels", folder / "wheels"]
    run([sys.executable, BUILD, *words, "workflow", *STACKS])


def make_stack(stack: str, folder: Path, apptainer: Path, tools: Path, base: Path) -> Path:
    """The image file of a stack."""
    path = ":".join(str(root / "usr" / "bin") for root in (apptainer, tools))

    def make(new: Path) -> None:
        new.mkdir()
        build(folder, base, stack, "--with", "apptainer", "--out", new, path=path)

    images = once(folder / f"images-{stack}", build_key(base, stack), make, f"image of {stack}")
    return images / f"facemake-{stack}.sif"


def make_workflow(folder: Path, tools: Path, base: Path) -> str:
    """The Docker image of the whole workflow."""

    def make(new: Path) -> None:
        path, host = str(tools / "usr" / "bin"), docker_host(folder)
        build(folder, base, "workflow", "--with", "docker", path=path, DOCKER_HOST=host)
        new.touch()

    once(folder / WORKFLOW, build_key(base, "workflow"), make, "image of the workflow")
    return WORKFLOW


def with_tools(tools: Path) -> dict[str, str]:
    """The environment with the unpacked tools in it."""
    places = [str(tools / "usr" / name) for name in ("bin", "sbin")]
    path = ":".join([*places, os.environ.get("PATH", os.defpath)])
    return {**os.environ, "PATH": path, "LD_LIBRARY_PATH": libraries(tools)}


# --- Docker --------------------------------------------------------------------------------------


def docker_folder(folder: Path) -> Path:
    return folder / "docker"


def docker_host(folder: Path) -> str:
    return f"unix://{docker_folder(folder)}/docker.sock"


def docker_answers(folder: Path) -> bool:
    import docker

    try:
        client = docker.DockerClient(docker_host(folder), timeout=10)
        try:
            return bool(client.ping())
        finally:
            client.close()
    except docker.errors.DockerException:
        return False


def start_docker(folder: Path) -> str:
    """Start the engine unless it answers; what DOCKER_HOST is to be."""
    tools, own = folder / "tools", docker_folder(folder)
    if docker_answers(folder):
        return docker_host(folder)
    stop_docker(folder)
    own.mkdir(exist_ok=True)
    if len(f"{own}/exec/containerd/containerd-debug.sock") > LONGEST_SOCKET:
        raise UnavailableError(
            f"{own} is too long a path for sockets; set {VARIABLE} to a shorter one"
        )
    (own / "docker.pid").unlink(missing_ok=True)
    command = [str(tools / "usr/sbin/dockerd"), "--iptables=false", "--ip6tables=false"]
    command += ["--bridge=none", "--data-root", str(own / "data"), "--exec-root", str(own / "exec")]
    command += ["--pidfile", str(own / "docker.pid"), "--host", docker_host(folder)]
    with (own / "log").open("wb") as log:
        engine = subprocess.Popen(
            command,
            env=with_tools(tools),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    for _ in range(150):
        if docker_answers(folder):
            return docker_host(folder)
        if engine.poll() is not None:
            break
        time.sleep(0.2)
    engine.kill()
    last = "\n".join((own / "log").read_text(errors="replace").splitlines()[-8:])
    raise UnavailableError(f"the Docker engine does not start here:\n{last}")


def stop_docker(folder: Path) -> None:
    """End the engine of this folder, if it runs."""
    end_docker(folder)
    for line in reversed(Path("/proc/self/mounts").read_text().splitlines()):
        place = line.split()[1]
        if Path(place).is_relative_to(docker_folder(folder)):  # else the folder cannot be removed
            run(["umount", "--lazy", place])


def end_docker(folder: Path) -> None:
    try:
        pid = int((docker_folder(folder) / "docker.pid").read_text())
        if b"dockerd" not in Path(f"/proc/{pid}/cmdline").read_bytes():
            return
        os.kill(pid, signal.SIGTERM)
    except (FileNotFoundError, ProcessLookupError, ValueError):
        return
    if not waited(lambda: not Path(f"/proc/{pid}").exists(), 10):
        os.kill(pid, signal.SIGKILL)


def make_docker_image(folder: Path, sandbox: Path, key: str) -> None:
    """The root file system as an image, unless it is there."""
    import docker

    client = docker.DockerClient(docker_host(folder), timeout=300)
    try:
        if client.images.get(IMAGE).labels.get(KEY_LABEL) == key:
            return
    except docker.errors.ImageNotFound:
        pass
    began = time.monotonic()
    with subprocess.Popen(["tar", "-C", str(sandbox), "-c", "."], stdout=subprocess.PIPE) as packed:
        client.api.import_image_from_stream(
            packed.stdout, *IMAGE.split(":"), changes=[f"LABEL {KEY_LABEL}={key}"]
        )
    if packed.returncode:
        raise UnavailableError("tar failed")
    client.images.get(IMAGE)
    client.images.prune(filters={"dangling": True})
    client.close()
    print(f"Docker image: {time.monotonic() - began:.1f} s", flush=True)


# --- all of it -----------------------------------------------------------------------------------


def set_up(folder: Path) -> Found:
    """Make what is not there; what there is, or why not."""
    found: Found = {"apptainer": {}, "docker": {}}
    try:
        want_root("images, mounts and Docker's engine")
        archive = archive_of(folder, *SUITES)
        with ThreadPoolExecutor() as pool:
            pool.submit(fetch_wheels, folder)  # where it fails, a build does and says why
            tools = make_tools(archive)
            engine = pool.submit(start_docker, folder)
            unpacked = pool.submit(make_apptainer, archive, tools)
            base = make_base(archive, tools)
            sandbox = make_sandbox(folder, base)
    except UnavailableError as reason:
        return {name: {"missing": str(reason)} for name in found}
    key = image_key(base)

    def docker_images() -> dict[str, str]:
        host = engine.result()
        make_docker_image(folder, sandbox, key)
        return {"host": host, "image": IMAGE, "workflow": make_workflow(folder, tools, base)}

    def stack_image(stack: str) -> dict[str, str]:
        return {stack: str(make_stack(stack, folder, unpacked.result(), tools, base))}

    def standin_image() -> dict[str, str]:
        sif = make_sif(folder, unpacked.result(), tools, sandbox, key)
        bin_folder = unpacked.result() / "usr" / "bin"
        return {"bin": str(bin_folder), "sif": str(sif), "sandbox": str(sandbox)}

    # a build takes one processor for most of its time
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        started = [("docker", pool.submit(docker_images))]
        started += [("apptainer", pool.submit(stack_image, stack)) for stack in STACKS]
        started += [("apptainer", pool.submit(standin_image))]
    for name, future in started:
        try:
            found[name] |= future.result()
        except UnavailableError as reason:
            found[name]["missing"] = str(reason)
    return found


SETUP = Setup(VARIABLE, "facemake-test-containers", set_up, stop_docker)

if __name__ == "__main__":
    sys.exit(SETUP.command(__doc__))
