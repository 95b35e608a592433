"""facemake serve: the engines for other machines, over HTTP."""

from __future__ import annotations

import argparse
import logging
import os
import re
import secrets
import socket
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facemake.backends.threedi import FACTS, Engine, Options
from facemake.backends.threedi.install import Form, check_install, find_install
from facemake.backends.threedi.runtimes import runtime
from facemake.errors import FacemakeError
from facemake.server.settings import (
    TOKEN_VARIABLE,
    Limits,
    Settings,
    default_folder,
    is_loopback,
    read_tokens,
)
from facemake.version import __version__

if TYPE_CHECKING:
    from facemake.server.jobs import Queue

_PACKAGES = {"fastapi": "FastAPI", "uvicorn": "uvicorn", "python_multipart": "python-multipart"}
_CLASSES = {Engine.FULL: "FaceProcessor3DI", Engine.LITE: "FaceProcessor3DIlite"}
_BACKLOG = 128  # connections that nobody has taken yet
_UNITS = {"": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_TIMES = {"": 1.0, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    limits = Limits()
    parser = commands.add_parser(
        "serve",
        allow_abbrev=False,  # `--token` is no short --token-file
        help="run the engines for other machines, over HTTP",
        description="Answers the processors' `server=` and clients of 3DI's wrapper. By itself it "
        "is reached from this machine only, by everybody on it; any other address wants tokens. "
        "HTTP is not encrypted: give a certificate, or put it behind an SSH tunnel or a proxy.",
        epilog="example: facemake serve --new-token anna > tokens; chmod 600 tokens; "
        "facemake serve --host 0.0.0.0 --token-file tokens",
    )
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="the address to listen on (127.0.0.1)")
    add("--port", type=_port, default=8000, help="the port; 0: a free one (8000)")
    add(
        "--folder", type=Path, default=default_folder(), help=f"keeps sessions ({default_folder()})"
    )
    add(
        "--token-file",
        type=Path,
        metavar="FILE",
        help=f"who may use it: `name token` a line, readable by you alone; or {TOKEN_VARIABLE}",
    )
    add("--new-token", metavar="NAME", help="print a line for the token file, and end")
    add(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a name that requests may call it by (a proxy's); may be given again",
    )
    add("--certificate", type=Path, metavar="FILE", help="PEM, to speak HTTPS; needs --key")
    add("--key", type=Path, metavar="FILE", help="the certificate's key")
    add("--runtime-3di", metavar="RUNTIME", help="folder, .sif, sandbox or Docker image of 3DI")
    add("--runtime-3dilite", metavar="RUNTIME", help="the same of 3DI-lite")
    group = parser.add_argument_group("limits (sizes as 4GB, times as 90s, 30min, 12h, 7d)")
    for name, kind, default, what in (
        ("max-upload", _size, limits.upload_bytes, "bytes of a video"),
        ("upload-time", _seconds, limits.upload_seconds, "within which a video has to arrive"),
        ("max-sessions", _count, limits.sessions, "videos that are kept at once"),
        ("max-disk", _size, limits.disk_bytes, "bytes of all sessions"),
        ("min-free", _size, limits.free_bytes, "bytes that stay free on the disk"),
        ("max-queue", _count, limits.queue, "jobs that may wait"),
        ("jobs", _count, limits.running, "jobs at once"),
        ("job-time", _seconds, limits.job_seconds, "that a job may take"),
        ("session-time", _seconds, limits.session_seconds, "an unused session is kept"),
    ):
        shown = _shown(kind, default)
        group.add_argument(f"--{name}", type=kind, default=default, help=f"{what} ({shown})")
    parser.set_defaults(function=_serve)


def _size(text: str) -> int:
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?(|[kmgt]b)", text.lower())
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; write 500MB or 4GB")
    return int(float(found[1]) * _UNITS[found[2]])


def _seconds(text: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?(|s|min|h|d)", text.lower())
    if not found or float(found[1]) <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no time; write 90s, 30min, 12h or 7d")
    return float(found[1]) * _TIMES[found[2]]


def _port(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or int(text) > 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port")
    return int(text)


def _count(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 on")
    return int(text)


def _shown(kind: object, value: float) -> str:
    if kind is _size:
        return f"{value / 10**9:g}GB"
    return f"{value / 3600:g}h" if kind is _seconds else f"{value:g}"


def _serve(options: argparse.Namespace, rest: list[str]) -> int:
    if options.new_token is not None:
        print(options.new_token, secrets.token_urlsafe(32))
        return 0
    missing = [name for module, name in _PACKAGES.items() if find_spec(module) is None]
    if missing:
        raise FacemakeError(
            f"facemake serve needs {', '.join(missing)}: in facemake's own folder, "
            "pip install -e '.[serve]'"
        )
    settings = settings_of(options)
    engines = [find_engine(engine, settings) for engine in Engine]
    if (options.certificate is None) != (options.key is None):
        raise FacemakeError("HTTPS needs both --certificate and --key")
    return _run(options, settings, engines)


def find_engine(engine: Engine, settings: Settings) -> str:
    """Where the server's 3DI or 3DI-lite is, in words; also where there is none.

    Raises:
        FacemakeError: one was named, and no job could use it. Found here, not by the first job.
    """
    name, given = FACTS[engine].name, settings.runtimes.get(_CLASSES[engine])
    try:
        install = find_install(engine, given)
        check_install(install, Options(engine=engine))
        started = runtime(install)
        if install.form is Form.DOCKER:
            started.identity()  # the engine answers, and has the image
    except FacemakeError as error:
        if given is not None:
            raise FacemakeError(f"--runtime-{engine} {given}: {error}") from None
        return f"no {name} (--runtime-{engine})"
    return str(install)


def settings_of(options: argparse.Namespace) -> Settings:
    """What the command line says.

    Raises:
        FacemakeError: the address is reached from elsewhere and there is no token, or the token
            file is not one.
    """
    tokens = read_tokens(options.token_file)
    loopback = is_loopback(options.host)
    if not tokens and (not loopback or options.allow_host):
        raise FacemakeError(
            f"{options.host} can be reached from other machines: only with tokens. "
            "`facemake serve --new-token NAME > tokens; chmod 600 tokens` makes one, "
            "then --token-file tokens"
            if not loopback
            else "--allow-host is for proxies, and what a proxy lets in needs a token: --token-file"
        )
    hosts = {name.lower() for name in options.allow_host}
    if loopback:
        hosts |= {"localhost", "127.0.0.1", "::1", options.host.strip("[]")}
    given = {
        _CLASSES[Engine.FULL]: options.runtime_3di,
        _CLASSES[Engine.LITE]: options.runtime_3dilite,
    }
    return Settings(
        folder=options.folder.expanduser().absolute(),
        tokens=tokens,
        hosts=frozenset(hosts) or None,
        limits=Limits(
            upload_bytes=options.max_upload,
            upload_seconds=options.upload_time,
            sessions=options.max_sessions,
            disk_bytes=options.max_disk,
            free_bytes=options.min_free,
            queue=options.max_queue,
            running=options.jobs,
            job_seconds=options.job_time,
            session_seconds=options.session_time,
        ),
        runtimes={name: _runtime(value) for name, value in given.items() if value is not None},
    )


def _runtime(value: str) -> str:
    """A path from here on whole, since jobs run in folders of their own; an image as it is."""
    return str(Path(value).absolute()) if Path(value).exists() else value


def _run(options: argparse.Namespace, settings: Settings, engines: list[str]) -> int:
    import uvicorn

    from facemake.server.app import create_app
    from facemake.server.http import configured

    os.umask(0o077)
    _log()
    listening = _listen(options.host, options.port)
    app = create_app(settings)
    queue: Queue = app.state.queue
    try:
        config = configured(app, settings.limits.waiting, options.certificate, options.key)
    except OSError as error:
        raise FacemakeError(f"the certificate or its key cannot be read: {error}") from None
    queue.start()

    class Server(uvicorn.Server):
        def handle_exit(self, sig: int, frame: Any) -> None:
            queue.stopping = True  # requests that wait for a job are answered now
            super().handle_exit(sig, frame)

    host, port = listening.getsockname()[:2]
    scheme = "http" if options.certificate is None else "https"
    shown = f"[{host}]" if ":" in host else host
    who = ", ".join(settings.tokens) or "everybody on this machine"
    print(f"facemake {__version__} listens on {scheme}://{shown}:{port} for {who}")
    print(f"engines: facemake's own; {'; '.join(engines)}")
    print(f"sessions are kept in {settings.folder}", flush=True)
    if scheme == "http" and not is_loopback(options.host):
        print("HTTP is not encrypted: videos and tokens can be read on their way", file=sys.stderr)
    try:
        Server(config).run(sockets=[listening])
    except KeyboardInterrupt:
        return 130
    finally:
        queue.stop()
    return 0


def _listen(host: str, port: int) -> socket.socket:
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
        listening = socket.socket(found[0][0])
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(found[0][4])
            # whoever reads that it listens is heard, be it a moment later
            listening.listen(_BACKLOG)
        except OSError:
            listening.close()
            raise
    except OSError as error:
        raise FacemakeError(f"cannot listen on {host}, port {port}: {error}") from None
    return listening


def _log() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    for name, level in (("facemake", logging.INFO), ("uvicorn", logging.WARNING)):
        logging.getLogger(name).addHandler(handler)
        logging.getLogger(name).setLevel(level)
