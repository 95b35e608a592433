"""What runs beside Python: GPU, decoders, containers."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from facemake.doctor.findings import Finding, fault, ok, warning
from facemake.doctor.running import STUCK, output_of

_DECODERS = ("h264", "hevc", "vp8", "vp9", "av1", "mpeg4", "mjpeg", "png")
_ONNX = (
    "import json, onnxruntime as o; print(json.dumps([o.__version__, o.get_available_providers()]))"
)
_VERSIONS = """
import importlib.metadata, json, sys
found = {}
for name in sys.argv[1:]:
    try:
        found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        found[name] = None
print(json.dumps(found))
"""
_TORCH = (
    "import json, torch as t; print(json.dumps([t.__version__, t.cuda.is_available(), "
    "[t.cuda.get_device_name(i) for i in range(t.cuda.device_count())]]))"
)


def gpu(config: Mapping[str, Any]) -> Iterator[Finding]:
    """The driver's list, and whether the networks' libraries can compute there."""
    wanted = config["device"] == "cuda"
    code, said = output_of("nvidia-smi", "-L")
    if code == 0 and said:
        yield ok("GPU", "; ".join(re.sub(r" \(UUID:.*", "", line) for line in said.splitlines()))
    elif wanted and shutil.which("sbatch"):
        yield warning("GPU", "none on this node of the cluster", "look again in a job with a GPU")
    elif wanted:
        cure = "run on a machine with an NVIDIA GPU and its driver, or set `device: cpu`"
        yield fault("GPU", f"device is cuda, and nvidia-smi says: {said or code}", cure)
    else:
        yield ok("GPU", "none here, and none is needed (device: cpu)")
    if find_spec("onnxruntime"):
        found = _asked("onnxruntime", _ONNX)
        if isinstance(found, Finding):
            yield found
        elif wanted and "CUDAExecutionProvider" not in found[1]:
            cure = "pip install 'facemake[onnx-gpu]' in an environment without onnxruntime"
            yield warning("onnxruntime", f"{found[0]} computes on {', '.join(found[1])}", cure)
        else:
            yield ok("onnxruntime", f"{found[0]}: {', '.join(found[1])}")
    if find_spec("torch"):
        found = _asked("torch", _TORCH)
        if isinstance(found, Finding):
            yield found
        elif wanted and not found[1]:
            cure = "install a build of torch for this CUDA (requirements/stacks/torch-gpu.txt)"
            yield warning("torch", f"{found[0]} sees no GPU", cure)
        else:
            yield ok("torch", f"{found[0]}: {', '.join(found[2]) or 'no GPU'}")


def _asked(module: str, code: str) -> list[Any] | Finding:
    """What Python says to `code`, which imports a module; or what is wrong with that."""
    done, said = output_of(sys.executable, "-c", code)
    lines = [line for line in said.splitlines() if line.startswith("[")]
    if done == 0 and lines:
        return list(json.loads(lines[-1]))
    if done == STUCK:
        return warning(
            module, said.splitlines()[-1], "a slow or busy disk; look again, and import it by hand"
        )
    return fault(module, "cannot be imported", f"see `import {module}` above")


def decoders() -> Iterator[Finding]:
    """Of PyAV, which carries FFmpeg: what recordings are in, and what overlays are written in."""
    import av

    lacking = []
    for name in _DECODERS:
        try:
            av.Codec(name, "r")
        except ValueError:
            lacking.append(name)
    cure = "install the wheel of PyAV that the lock pins (requirements/default.txt)"
    versions = ", ".join(
        f"{name} {'.'.join(map(str, number))}"
        for name, number in av.library_versions.items()
        if name in ("libavcodec", "libavformat")
    )
    if lacking:
        yield fault("decoders", f"PyAV {av.__version__} lacks {', '.join(lacking)}", cure)
    else:
        yield ok("decoders", f"PyAV {av.__version__} ({versions}): {', '.join(_DECODERS)}")
    try:
        av.Codec("libx264", "w")
        yield ok("encoder", "H.264 (libx264)")
    except ValueError:
        yield fault("encoder", f"PyAV {av.__version__} has none for H.264 (libx264)", cure)


def containers(config: Mapping[str, Any]) -> Iterator[Finding]:
    """The programs, and the images that the config names."""
    images = {stack: image for stack, image in config["containers"].items() if image}
    program = shutil.which("apptainer") or shutil.which("singularity")
    if program:
        code, said = output_of(program, "--version")
        if code:
            yield warning("Apptainer", f"{program} ends with {code}: {said}", "install it again")
        else:
            yield ok("Apptainer", said)
    elif images:
        cure = "install Apptainer, or load its module; without --sdm apptainer it is not needed"
        yield warning("Apptainer", "is not on PATH, and the config names images", cure)
    else:
        yield ok("Apptainer", "not here; needed for --sdm apptainer alone")
    if shutil.which("docker"):
        code, said = output_of("docker", "version", "--format", "{{.Server.Version}}")
        if code and config["engine"] == "native":
            yield ok("Docker", "its engine does not answer; no run of this config needs it")
        elif code:
            cure = "start the engine, or join the group docker, where 3DI is run by it"
            yield warning("Docker", f"does not answer: {said}", cure)
        else:
            yield ok("Docker", said)
    for stack, image in images.items():
        if urlsplit(image).scheme and not image.startswith("file:"):
            yield ok(f"image of {stack}", f"{image}: `facemake fetch --sdm apptainer` pulls it")
        elif Path(image.removeprefix("file://")).exists():
            yield _image(program, stack, image.removeprefix("file://"))
        else:
            yield fault(f"image of {stack}", f"{image} is not there", "`make containers` builds it")


def _image(program: str | None, stack: str, image: str) -> Finding:
    """Whether an image can be started, and has the libraries that its results would name."""
    from facemake.recipes import libraries
    from facemake.runtime.libraries import public_version

    what = f"image of {stack}"
    if program is None:
        return ok(what, image)
    wanted = libraries(stack)
    code, said = output_of(program, "exec", image, "python", "-c", _VERSIONS, *wanted)
    lines = [line for line in said.splitlines() if line.startswith("{")]
    if code or not lines:
        cure = f"`{Path(program).name} exec {image} true` by hand; on a cluster try it on a node"
        return warning(what, f"{image} cannot be started ({code}): {said[-300:]}", cure)
    found = json.loads(lines[-1])
    wrong = [
        f"{name} is {public_version(there or 'missing')}, not {version}"
        for name, version in wanted.items()
        if (there := found[name]) is None or public_version(there) != version
    ]
    if wrong:
        cure = f"`make containers STACKS={stack}` builds it again"
        return fault(what, f"{image} is of another version: {', '.join(wrong)}", cure)
    return ok(what, f"{image}, with the libraries of this version")
