"""facemake serve: the engines for other machines, over HTTP."""

from __future__ import annotations

import argparse
import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facemake.backends.threedi import FACTS, Engine, Options
from facemake.backends.threedi.install import Form, check_install, find_install
from facemake.backends.threedi.runtimes import runtime
from facemake.cli import serve_embed
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
from facemake.errors import FacemakeError
from facemake.server.settings import TOKEN_VARIABLE, Limits, Settings, default_folder

if TYPE_CHECKING:
    from facemake.server.jobs import Queue

_PACKAGES = {"fastapi": "FastAPI", "uvicorn": "uvicorn", "python_multipart": "python-multipart"}
_CLASSES = {Engine.FULL: "FaceProcessor3DI", Engine.LITE: "FaceProcessor3DIlite"}
_LIMITS = (
    *("max_upload", "upload_time", "max_sessions", "max_disk", "min_free", "max_queue", "jobs"),
    *("job_time", "session_time"),
)
_ENGINES = ("folder", "runtime_3di", "runtime_3dilite", *_LIMITS)
"""Options that --embed has not."""


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    limits = Limits()
    parser = commands.add_parser(
        "serve",
        allow_abbrev=False,  # `--token` is no short --token-file
        help="run the engines, or find and embed faces, as an HTTP service for other machines",
        description="Serve the processors' `server=` and clients of 3DI's wrapper; with --embed, "
        "find faces in pictures and return their identity vectors instead. By default the service "
        "is reachable only from this machine, by everybody on it; any other address requires "
        "tokens. HTTP is not encrypted: give a certificate, or use an SSH tunnel or a proxy.",
        epilog="example: facemake serve --new-token anna > tokens; chmod 600 tokens; "
        "facemake serve --host 0.0.0.0 --token-file tokens; "
        "facemake serve --embed --detector scrfd --grpc-port 8001",
    )
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="the address to listen on (default: 127.0.0.1)")
    add("--port", type=port, default=8000, help="the port; 0: any free one (default: 8000)")
    add(
        "--folder",
        type=Path,
        default=default_folder(),
        help=f"where sessions are kept (default: {default_folder()})",
    )
    add(
        "--token-file",
        type=Path,
        metavar="FILE",
        help="who may use the service: one `name token` per line, readable only by you "
        f"(default: {TOKEN_VARIABLE})",
    )
    add("--new-token", metavar="NAME", help="print a line for the token file and exit")
    add(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a host name that requests may use, such as a proxy's; may be repeated",
    )
    add("--certificate", type=Path, metavar="FILE", help="a PEM file, to serve HTTPS; needs --key")
    add("--key", type=Path, metavar="FILE", help="the certificate's key")
    add("--runtime-3di", metavar="RUNTIME", help="3DI: its folder, .sif, sandbox or Docker image")
    add("--runtime-3dilite", metavar="RUNTIME", help="the same for 3DI-lite")
    group = parser.add_argument_group(
        "limits (sizes such as 4GB; times such as 90s, 30min, 12h, 7d)"
    )
    for name, kind, default, what in (
        ("max-upload", size, limits.upload_bytes, "largest size of a video"),
        ("upload-time", seconds, limits.upload_seconds, "longest time for a video to arrive"),
        ("max-sessions", count, limits.sessions, "most videos kept at once"),
        ("max-disk", size, limits.disk_bytes, "largest size of all sessions together"),
        ("min-free", size, limits.free_bytes, "disk space to leave free"),
        ("max-queue", count, limits.queue, "most jobs waiting"),
        ("jobs", count, limits.running, "most jobs running at once"),
        ("job-time", seconds, limits.job_seconds, "longest time for a job"),
        ("session-time", seconds, limits.session_seconds, "how long an unused session is kept"),
    ):
        says = f"{what} (default: {shown(kind, default)})"
        group.add_argument(f"--{name}", type=kind, default=default, help=says)
    parser.add_argument(
        "--embed",
        action="store_true",
        help="instead of the engines, find faces in pictures and return their identity vectors",
    )
    serve_embed.add_to(parser)
    parser.set_defaults(
        function=_serve,
        defaults={name: parser.get_default(name) for name in (*_ENGINES, *serve_embed.OPTIONS)},
    )


def _serve(options: argparse.Namespace, rest: list[str]) -> int:
    if options.new_token is not None:
        print(options.new_token, secrets.token_urlsafe(32))
        return 0
    if (options.certificate is None) != (options.key is None):
        raise FacemakeError("HTTPS needs both --certificate and --key")
    if options.embed:
        _refuse(options, _ENGINES, "for the engines, not for --embed")
        return serve_embed.run(options)
    _refuse(options, serve_embed.OPTIONS, "for --embed")
    need(_PACKAGES, "facemake serve", "serve")
    settings = settings_of(options)
    engines = [find_engine(engine, settings) for engine in Engine]
    return _run(options, settings, engines)


def _refuse(options: argparse.Namespace, names: Sequence[str], why: str) -> None:
    """Options that would change nothing are a mistake."""
    for name in names:
        if getattr(options, name) != options.defaults[name]:
            raise FacemakeError(f"--{name.replace('_', '-')} is {why}")


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
    tokens, hosts = access(options)
    given = {
        _CLASSES[Engine.FULL]: options.runtime_3di,
        _CLASSES[Engine.LITE]: options.runtime_3dilite,
    }
    return Settings(
        folder=options.folder.expanduser().absolute(),
        tokens=tokens,
        hosts=hosts,
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
    from facemake.server.app import create_app
    from facemake.server.http import configured

    os.umask(0o077)
    log()
    listening = listen(options.host, options.port)
    app = create_app(settings)
    with certificate_in_words():
        config = configured(app, settings.limits.waiting, options.certificate, options.key)
    about = f"engines: facemake's own; {'; '.join(engines)}\nsessions are kept in {settings.folder}"
    queue: Queue = app.state.queue
    return serve(queue, config, listening, options, settings.tokens, about, "videos")
