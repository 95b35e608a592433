"""facemake serve --embed: faces of pictures and their identity vectors, over HTTP and gRPC."""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facemake.backends.detect import DETECTORS
from facemake.backends.embed import EMBEDDERS
from facemake.cli.arguments import count
from facemake.cli.serving import (
    access,
    certificate_in_words,
    listen,
    log,
    need,
    port,
    seconds,
    serve,
    shown,
    size,
)
from facemake.embedserver.settings import Limits, Settings
from facemake.errors import DeviceError, FacemakeError
from facemake.models import use_models_dir
from facemake.runtime.gpu import lease

if TYPE_CHECKING:
    from facemake.backends import Backend
    from facemake.embedserver.app import Beside
    from facemake.embedserver.choice import Choice
    from facemake.embedserver.service import Service

logger = logging.getLogger(__name__)

_PACKAGES = {
    "fastapi": "FastAPI",
    "uvicorn": "uvicorn",
    "python_multipart": "python-multipart",
    "prometheus_client": "prometheus-client",
}
_GRPC_PACKAGES = {"grpc": "grpcio", "grpc_health": "grpcio-health-checking"}
_LIMITS = (
    ("max-picture", size, "picture_bytes", "largest size of a picture's file"),
    ("max-pixels", count, "picture_pixels", "most pixels of a picture"),
    ("max-request", size, "request_bytes", "largest size of a request"),
    ("max-pictures", count, "pictures", "most pictures in a request"),
    ("max-faces", count, "faces", "most faces in a picture"),
    ("max-waiting", count, "queue", "most pictures waiting"),
    ("max-memory", size, "memory_bytes", "memory for pictures, as sent and decoded"),
    ("wait-time", seconds, "wait_seconds", "longest time for a picture to wait for its turn"),
    (
        "batch-time",
        seconds,
        "batch_seconds",
        "how long the first picture of a batch waits for others",
    ),
    ("decoders", count, "decoders", "threads that decode pictures"),
)
OPTIONS = (
    *("detector", "embedder", "device", "model", "detector_model", "models_dir", "pack"),
    *("threads", "grpc_port", "batch", *(name.replace("-", "_") for name, *_ in _LIMITS)),
)
"""Names of what is added."""


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add what --embed obeys."""
    limits = Limits()
    group = parser.add_argument_group("with --embed: POST /v1/detect, /v1/embed, /v1/compare")
    add = group.add_argument
    add("--detector", choices=list(DETECTORS), default="mediapipe", metavar="NAME",
        help=f"{', '.join(DETECTORS)} (default: mediapipe)")  # fmt: skip
    add("--embedder", choices=list(EMBEDDERS), default="dlib", metavar="NAME",
        help=f"{', '.join(EMBEDDERS)} (default: dlib)")  # fmt: skip
    add("--device", choices=("cpu", "cuda"), default="cpu",
        help="where to compute (default: cpu)")  # fmt: skip
    add("--model", metavar="FILE", help="your own model file for the embedder")
    add("--detector-model", metavar="FILE", help="the same for the detector")
    add("--models-dir", metavar="DIR", help="a folder of models to search first")
    add("--pack", action="store_true",
        help="use the pack that create_backend() would take (LUMEN_FACE_*) instead")  # fmt: skip
    add("--threads", type=count, metavar="N",
        help="number of threads of an ONNX network on a CPU (default: 1)")  # fmt: skip
    add("--grpc-port", type=port, metavar="PORT",
        help="also serve gRPC on this port; 0: any free one; needs the extra `grpc`")  # fmt: skip
    add("--batch", type=count, metavar="N",
        help="pictures per batch (default: as many as the models want)")  # fmt: skip
    for name, kind, field, what in _LIMITS:
        default: Any = getattr(limits, field)
        add(f"--{name}", type=kind, default=default,
            help=f"{what} (default: {shown(kind, default)})")  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Serve.

    Raises:
        FacemakeError: a package, a model or a device is missing, it cannot listen, or a limit
            leaves no room for another.
    """
    need(_PACKAGES, "facemake serve --embed", "serve")
    if options.grpc_port is not None:
        need(_GRPC_PACKAGES, "--grpc-port", "grpc")
    settings = settings_of(options)
    settings.check()
    staying = on_cpu(options)
    if options.threads is not None:
        os.environ["OMP_NUM_THREADS"] = str(options.threads)
    use_models_dir(options.models_dir)
    # of a pack the variables say which GPU
    with lease(int(options.device == "cuda")):
        return _run(options, settings, staying)


def settings_of(options: argparse.Namespace) -> Settings:
    """What the command line says.

    Raises:
        FacemakeError: see `facemake.cli.serving.access`.
    """
    tokens, hosts = access(options)
    limits = {field: getattr(options, name.replace("-", "_")) for name, _, field, _ in _LIMITS}
    return Settings(tokens=tokens, hosts=hosts, limits=Limits(**limits, batch=options.batch or 0))


def on_cpu(options: argparse.Namespace) -> list[str]:
    """What computes on a CPU alone though a GPU is asked for.

    Raises:
        DeviceError: both.
    """
    if options.device == "cpu" or options.pack:
        return []
    rows: tuple[tuple[str, str, Mapping[str, Backend]], ...] = (
        ("detector", options.detector, DETECTORS),
        ("embedder", options.embedder, EMBEDDERS),
    )
    staying = [f"{kind} {name}" for kind, name, known in rows if "cuda" not in known[name].devices]
    if len(staying) == len(rows):
        able = (
            f"--{kind} {', '.join(name for name, row in known.items() if 'cuda' in row.devices)}"
            for kind, _, known in rows
        )
        raise DeviceError(
            f"--device {options.device}: {' and '.join(staying)} compute on a CPU alone; "
            f"on a GPU do {'; '.join(able)}. Or leave --device out"
        )
    return staying


def _own(value: str | None) -> str | None:
    """The name of a file of the user's; its folder is looked through."""
    if value is None:
        return None
    path = Path(value).expanduser()
    if path.parent != Path():
        if not path.is_file():
            raise FacemakeError(f"there is no file {value}")
        use_models_dir(path.parent)
    return path.name


def _choice(options: argparse.Namespace) -> Choice:
    from facemake.embedserver.choice import Backends, PackOfNetworks
    from facemake.recognition.config import Config

    if options.pack:
        for name in ("detector", "embedder", "device", "model", "detector_model"):
            if getattr(options, name) != options.defaults[name]:
                given = name.replace("_", "-")
                raise FacemakeError(f"--{given} is not for --pack: LUMEN_FACE_* variables say it")
        return PackOfNetworks(Config.from_env())
    return Backends(
        options.detector,
        options.embedder,
        options.device,
        _own(options.detector_model),
        _own(options.model),
    )


def _run(options: argparse.Namespace, settings: Settings, staying: Sequence[str]) -> int:
    from facemake.embedserver.app import create_app
    from facemake.embedserver.service import Service
    from facemake.server.http import configured

    os.umask(0o077)
    log()
    for name in staying:
        logger.warning("%s computes on a CPU alone, and does", name)
    choice = _choice(options)
    service = Service(settings, choice.make, choice.about())
    listening = listen(options.host, options.port)
    limits = settings.limits
    with certificate_in_words():
        app = create_app(service, _beside(service, options))
        config = configured(
            app,
            limits.queue,
            options.certificate,
            options.key,
            seconds_to_stop=round(limits.wait_seconds) + 5,
        )
    found = service.about
    about = f"detector {found['detector']}, embedder {found['embedder']}; nothing sent is kept"
    return serve(service, config, listening, options, settings.tokens, about, "pictures")


def _beside(service: Service, options: argparse.Namespace) -> Beside | None:
    """GRPC on the same address, with the same certificate.

    Raises:
        FacemakeError: it cannot listen there.
    """
    if options.grpc_port is None:
        return None
    import grpc

    from facemake.embedserver import rpc

    if options.grpc_port:
        listen(options.host, options.grpc_port).close()
    credentials = None
    if options.certificate is not None:
        pair = (options.key.read_bytes(), options.certificate.read_bytes())
        credentials = grpc.ssl_server_credentials([pair])
    host = options.host.strip("[]")
    place = f"[{host}]" if ":" in host else host

    def told(number: int) -> None:
        print(f"gRPC on {place}:{number}", flush=True)

    return lambda: rpc.serving(service, f"{place}:{options.grpc_port}", credentials, told)
