"""Builds the images of the stacks and of the whole workflow: `make containers`.

    python containers/build_images.py --base python@sha256:... [--with apptainer|docker] [STACK ...]

Wheels are fetched first, by the hashes of the lock; the build itself needs no network, unless the
base image is pulled.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import runpy
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
STACKS = (
    *("core", "mediapipe", "onnx", "onnx-gpu", "opencv", "dlib", "facenet"),
    *("retinaface", "retinaface-gpu", "train", "threedi"),
)
"""Of the workflow's jobs: keys of `containers` in the config."""
GPU = {"facenet-gpu": "facenet", "train-gpu": "train"}
"""Images with PyTorch's build for NVIDIA GPUs -> the stack in whose place the config names them."""
DEFAULT = ("core", "mediapipe", "dlib")
"""Of the default config."""
SERVICES = ("serve", "serve-cuda")
"""Images of `facemake serve --embed`."""
WHOLE = ("workflow", "cuda", *SERVICES)
"""Images that have all of facemake."""
SOURCES = (
    *("Snakefile", "rules", "scripts", "envs", "config", "profiles"),
    *("pyproject.toml", "README.md", "LICENSE", "CITATION.cff"),
)
TORCH_INDEX = "https://download.pytorch.org/whl/cpu"
"""Where PyTorch's builds without CUDA are: PyPI has those with CUDA for Linux."""
LABELS = {
    "VERSION": "org.opencontainers.image.version",
    "REVISION": "org.opencontainers.image.revision",
    "ORIGIN": "org.opencontainers.image.base.name",
}
"""That every image has beside `facemake.stack`: what it was made of."""
SUITE = "bookworm"
"""Debian's release of `--base debian`: its Python is 3.11."""
HOW = """\
Name the base of the images, by --base (make containers BASE=...):
  python@sha256:...  the image python:3.11-slim-bookworm by its digest, which these print:
                       docker buildx imagetools inspect python:3.11-slim-bookworm
                       skopeo inspect docker://docker.io/library/python:3.11-slim-bookworm
  FOLDER             the root file system of a Linux with Python 3.11 or 3.12
  debian             such a file system, made by mmdebstrap (the default where that is on PATH):
                     no registry is needed;
                     --mirror http://snapshot.debian.org/archive/debian/TIME/ makes it repeatable"""


class BuildError(Exception):
    """What cannot be done; the message is the whole story."""


@dataclass(frozen=True)
class Base:
    """What images are made upon.

    Attributes:
        name: an image with its digest, or the path of a root file system.
        folder: the latter as a path.
    """

    name: str
    folder: Path | None = None


def run(*command: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None) -> None:
    """Run a command that shows what it says.

    Raises:
        BuildError: it is not there, or fails.
    """
    words = [str(word) for word in command]
    try:
        subprocess.run(words, check=True, cwd=cwd, env={**os.environ, **(env or {})})
    except FileNotFoundError:
        raise BuildError(f"{words[0]} is not on PATH") from None
    except subprocess.CalledProcessError as error:
        raise BuildError(f"{' '.join(words[:3])} ... ended with {error.returncode}") from None


def locks(stack: str) -> list[str]:
    """The lock files of what `steps/install.sh` installs, and of the pip that does it."""
    own = {
        "facenet": ["stacks/facenet", "stacks/torch-cpu"],
        "facenet-gpu": ["stacks/facenet", "stacks/torch-gpu"],
        "train": ["stacks/train", "stacks/torch-cpu"],
        "train-gpu": ["stacks/train", "stacks/torch-gpu"],
        "workflow": ["default"],
        "cuda": ["default", "stacks/cuda"],
        "serve": ["serve", "stacks/onnx"],
        "serve-cuda": ["serve", "stacks/cuda"],
    }
    return ["stacks/pip", "build", *own.get(stack, [f"stacks/{stack}"])]


def fetch_wheels(
    stack: str, folder: Path, python: str, torch_index: str = TORCH_INDEX
) -> list[Path]:
    """Download what the stack's locks name, unless it is there; the files.

    They are for this machine and the version of Python that runs this.

    Args:
        stack: its name.
        folder: where they go.
        python: one with pip.
        torch_index: an index that has PyTorch's build without CUDA; "" where pip's own have it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    texts = [(ROOT / "requirements" / f"{name}.txt").read_text() for name in locks(stack)]
    key = hashlib.sha256("\0".join([sys.version, *texts]).encode()).hexdigest()
    listed = folder / f"{stack}-{key[:16]}.list"
    names = listed.read_text().splitlines() if listed.is_file() else []
    if not names or not all((folder / name).is_file() for name in names):
        with tempfile.TemporaryDirectory(dir=folder) as new:
            download = [python, "-m", "pip", "--python", sys.executable, "download", "--quiet"]
            download += ["--no-deps", "--disable-pip-version-check", "--require-hashes"]
            download += ["--no-build-isolation", "--find-links", str(folder), "--dest", new]
            apart = {"stacks/torch-cpu"}  # nothing else is asked of that index
            for several, index in ((set(locks(stack)) - apart, ""), (apart, torch_index)):
                files = [f"{ROOT}/requirements/{n}.txt" for n in locks(stack) if n in several]
                if files:
                    run(
                        *download,
                        *(["--extra-index-url", index] if index else []),
                        *(word for file in files for word in ("--requirement", file)),
                    )
            names = sorted(path.name for path in Path(new).iterdir())
            for name in names:
                (Path(new) / name).replace(folder / name)
        listed.write_text("".join(f"{name}\n" for name in names))
    return [folder / name for name in names]


def fill_context(stack: str, wheels: Sequence[Path], folder: Path) -> None:
    """Lay out what the recipes copy: the same as in the checkout, and the wheels."""
    skip = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("requirements", "containers/steps"):
        shutil.copytree(ROOT / name, folder / name)
    if stack in WHOLE:
        for name in SOURCES:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, folder / name, ignore=skip)
            else:
                shutil.copy(ROOT / name, folder / name)
    into = folder / "containers" / "wheels"
    into.mkdir()
    for wheel in wheels:
        try:
            os.link(wheel, into / wheel.name)
        except OSError:
            shutil.copy(wheel, into / wheel.name)
    for name in ("Dockerfile", "facemake.def"):
        shutil.copy(HERE / name, folder / "containers" / name)


def origin(base: Base) -> dict[str, str]:
    """What an image is made of, for its labels."""
    # the package itself wants its libraries
    version = runpy.run_path(str(ROOT / "scripts" / "facemake" / "version.py"))["__version__"]
    git = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        revision = subprocess.run(git, capture_output=True, text=True).stdout.strip()
    except FileNotFoundError:
        revision = ""
    made_upon = base.name if base.folder is None else "a root file system"
    return {
        "VERSION": version,
        "REVISION": revision or "unknown",
        "ORIGIN": made_upon,
    }


def base_of(text: str | None, folder: Path, mirror: str | None) -> Base:
    """The base that a user named.

    Args:
        text: as it was named; None: Debian's, where mmdebstrap is there to make it.
        folder: where a Debian of our own goes.
        mirror: for that, the archive.

    Raises:
        BuildError: none was named, or one by a tag.
    """
    if text is None:
        if not shutil.which("mmdebstrap"):
            raise BuildError(HOW)
        text = "debian"
    if text == "debian":
        if not (folder / "etc").is_dir():
            debian(folder, mirror)
        return Base(str(folder), folder)
    if re.fullmatch(r"[\w./:-]+@sha256:[0-9a-f]{64}", text):
        return Base(text)
    path = Path(text).expanduser().absolute()
    if not path.is_dir():
        raise BuildError(f"{text} is neither an image by digest nor a folder.\n{HOW}")
    return Base(str(path), path)


def debian(folder: Path, mirror: str | None) -> None:
    """A small Debian with Python: the root file system of an image, made by mmdebstrap."""
    folder = folder.absolute()
    packed, new = (folder.with_name(f".new.{folder.name}{end}") for end in (".tar", ""))
    unused = [f"/usr/share/{name}/*" for name in ("doc", "man", "locale")]
    run(
        *("mmdebstrap", "--variant=minbase", "--include=python3"),
        # engines bring their own /dev, and not everyone may make one
        *("--skip=output/dev", "--dpkgopt=force-unsafe-io"),
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in unused),
        *(SUITE, packed, *([mirror] if mirror else [])),
    )
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    run("tar", "-C", new, "-xf", packed, "--numeric-owner")
    (new / "dev").mkdir(exist_ok=True)
    packed.unlink()
    new.rename(folder)


def with_apptainer(stack: str, base: Base, context: Path, out: Path, fast: bool) -> str:
    """Build an image file; its path."""
    image = out / f"facemake-{stack}.sif"
    new = out / f".facemake-{stack}.sif"
    bootstrap = "docker" if base.folder is None else "localimage"
    run(
        *("apptainer", "build", "--force"),
        *(["--mksquashfs-args", "-comp zstd -Xcompression-level 1"] if fast else []),
        *("--build-arg", f"BOOTSTRAP={bootstrap}", "--build-arg", f"BASE={base.name}"),
        *("--build-arg", f"STACK={stack}"),
        *(word for k, v in origin(base).items() for word in ("--build-arg", f"{k}={v}")),
        *(new, "containers/facemake.def"),
        cwd=context,
    )
    new.replace(image)
    return str(image)


def with_docker(stack: str, base: Base, context: Path) -> str:
    """Build an image in Docker; its name."""
    name = base.name
    if base.folder is not None:
        name = f"facemake-base:{hashlib.sha256(base.name.encode()).hexdigest()[:12]}"
        with subprocess.Popen(
            ["tar", "-C", str(base.folder), "-c", "."], stdout=subprocess.PIPE
        ) as packed:
            imported = subprocess.run(["docker", "import", "-", name], stdin=packed.stdout)
        if imported.returncode or packed.returncode:
            raise BuildError(f"docker import of {base.name} failed")
    run(
        # neither wheels nor pip want a network
        *("docker", "build", "--network", "none", "--file", "containers/Dockerfile"),
        *("--build-arg", f"BASE={name}", "--build-arg", f"STACK={stack}"),
        *(
            word
            for name, value in origin(base).items()
            for word in ("--label", f"{LABELS[name]}={value}")
        ),
        *("--tag", f"facemake-{stack}", "."),
        cwd=context,
        env={"DOCKER_BUILDKIT": "1"},
    )
    return f"facemake-{stack}"


def usage(engine: str, built: dict[str, str]) -> str:
    """What to write or type to use the images."""
    stacks: dict[str, list[str]] = {}
    for name in (name for name in built if name in (*STACKS, *GPU)):
        stacks.setdefault(GPU.get(name, name), []).append(built[name])
    lines = []
    if stacks and engine == "apptainer":
        lines += ["", "In config/config.yaml, for snakemake --sdm apptainer:", "containers:"]
    if stacks and engine == "docker":
        lines += ["", "Push these to your registry, and name them by their digests in the config:"]
    lines += [f"  {stack}: {'  # or '.join(images)}" for stack, images in stacks.items()]
    for stack in SERVICES:
        if stack in built:
            lines += [
                "",
                "The service for embeddings, for this machine:",
                *_serving(engine, stack, built),
            ]
    for stack in (built.keys() & set(WHOLE)) - set(SERVICES):
        lines += ["", "The whole workflow, in the folder of a study:"]
        if engine == "docker":
            gpu = " --gpus all" if stack == "cuda" else ""
            lines += [
                f'docker run --rm --network none{gpu} --user "$(id -u):$(id -g)" \\',
                f'    -v "$PWD:$PWD" -w "$PWD" {built[stack]} run --cores 2',
            ]
        else:
            gpu = " --nv" if stack == "cuda" else ""
            lines += [f"apptainer run{gpu} {built[stack]} run --cores 2"]
    return "\n".join(lines)


def _serving(engine: str, stack: str, built: dict[str, str]) -> list[str]:
    cuda = stack == "serve-cuda"
    # with a file in ./models: what packages carry computes on a CPU
    device = " --detector scrfd --device cuda" if cuda else ""
    models = " --models-dir models" if cuda else ""
    if engine == "apptainer":
        nv = " --nv" if cuda else ""
        return [f"apptainer run{nv} {built[stack]} serve --embed{device}{models}"]
    gpu = ' --gpus all -v "$PWD/models:/models:ro" -e FACEMAKE_MODELS=/models' if cuda else ""
    return [
        "facemake serve --new-token anna > tokens; chmod 600 tokens",
        f'docker run --rm{gpu} --user "$(id -u):$(id -g)" -p 127.0.0.1:8000:8000 \\',
        f'    -v "$PWD/tokens:/tokens:ro" {built[stack]} \\',
        f"    serve --embed --host 0.0.0.0 --token-file /tokens{device}",
    ]


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, epilog=HOW
    )
    known = (*STACKS, *GPU, *WHOLE)
    parser.add_argument("stacks", nargs="*", metavar="STACK", help=", ".join(known))
    parser.add_argument("--with", dest="engine", choices=("apptainer", "docker"))
    parser.add_argument("--base", help="what the images are made upon: see below")
    parser.add_argument("--only-base", action="store_true", help="make the base and stop")
    parser.add_argument("--only-wheels", action="store_true", help="fetch the wheels and stop")
    parser.add_argument("--mirror", help="Debian's archive for --base debian")
    parser.add_argument("--python", default="python3", help="a Python that has pip")
    parser.add_argument("--wheels", type=Path, default=HERE / "wheels", help="kept downloads")
    parser.add_argument(
        "--torch-index",
        default=TORCH_INDEX,
        help="where PyTorch without CUDA is; '' where pip is set up to find it (%(default)s)",
    )
    parser.add_argument("--out", type=Path, default=HERE, help="folder of the image files")
    parser.add_argument("--fast", action="store_true", help="larger image files, sooner")
    options = parser.parse_args()
    engine = options.engine or next(filter(shutil.which, ("apptainer", "docker")), None)
    try:
        if engine is None and not (options.only_base or options.only_wheels):
            raise BuildError("neither apptainer nor docker is on PATH: install one of them")
        stacks = options.stacks or (DEFAULT if engine == "apptainer" else ("workflow",))
        for stack in stacks:
            if stack not in known:
                raise BuildError(f"no such stack: {stack}; {', '.join(known)}")
        options.wheels.mkdir(parents=True, exist_ok=True)
        if options.only_wheels:
            for stack in stacks:
                fetch_wheels(stack, options.wheels, options.python, options.torch_index)
            return 0
        base = base_of(options.base, options.wheels / f"base-{SUITE}", options.mirror)
        if options.only_base:
            print(base.name)
            return 0
        options.out.mkdir(parents=True, exist_ok=True)
        built = {}
        for stack in stacks:
            wheels = fetch_wheels(stack, options.wheels, options.python, options.torch_index)
            with tempfile.TemporaryDirectory(dir=options.wheels) as folder:
                context = Path(folder)
                fill_context(stack, wheels, context)
                if engine == "docker":
                    built[stack] = with_docker(stack, base, context)
                else:
                    out = options.out.absolute()
                    built[stack] = with_apptainer(stack, base, context, out, options.fast)
    except BuildError as error:
        print(error, file=sys.stderr)
        return 2
    print(usage(engine, built))
    return 0


if __name__ == "__main__":
    sys.exit(main())
