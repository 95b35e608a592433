"""What the servers of `facemake serve` share: arguments, addresses, tokens, the log."""

from __future__ import annotations

import argparse
import logging
import re
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol

from facemake.errors import FacemakeError
from facemake.server.settings import is_loopback, read_tokens
from facemake.version import __version__

if TYPE_CHECKING:
    import uvicorn

_BACKLOG = 128  # connections that nobody has taken yet
_UNITS = {"": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_TIMES = {"": 1.0, "ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


def size(text: str) -> int:
    """Bytes, of an argument."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?(|[kmgt]b)", text.lower())
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; write 500MB or 4GB")
    return int(float(found[1]) * _UNITS[found[2]])


def seconds(text: str) -> float:
    """Seconds, of an argument."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?(|ms|s|min|h|d)", text.lower())
    if not found or float(found[1]) <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no time; write 90s, 30min, 12h or 7d")
    return float(found[1]) * _TIMES[found[2]]


def port(text: str) -> int:
    """A port, of an argument."""
    if not text.isascii() or not text.isdecimal() or int(text) > 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port")
    return int(text)


def shown(kind: object, value: float) -> str:
    """A default of an argument of this kind, as it would be written."""
    if kind is size:
        return f"{value / 10**9:g}GB" if value >= 10**9 else f"{value / 10**6:g}MB"
    if kind is not seconds:
        return f"{value:.0f}"
    for unit, length in (("h", 3600.0), ("s", 1.0)):
        if value >= length:
            return f"{value / length:g}{unit}"
    return f"{1000 * value:g}ms"


def need(packages: Mapping[str, str], command: str, extra: str) -> None:
    """See that packages are installed.

    Args:
        packages: module -> the package's name.
        command: what needs them.
        extra: that has them.

    Raises:
        FacemakeError: some are not.
    """
    missing = [name for module, name in packages.items() if find_spec(module) is None]
    if missing:
        raise FacemakeError(
            f"{command} needs {', '.join(missing)}: in facemake's own folder, "
            f"pip install -e '.[{extra}]'"
        )


def access(options: argparse.Namespace) -> tuple[dict[str, bytes], frozenset[str] | None]:
    """Tokens and hosts (`facemake.server.settings.Access`) that the command line says.

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
    return tokens, frozenset(hosts) or None


def listen(host: str, number: int) -> socket.socket:
    """A socket that listens.

    Raises:
        FacemakeError: it cannot.
    """
    try:
        found = socket.getaddrinfo(host.strip("[]"), number, type=socket.SOCK_STREAM)
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
        raise FacemakeError(f"cannot listen on {host}, port {number}: {error}") from None
    return listening


@contextmanager
def certificate_in_words() -> Iterator[None]:
    """Say what is wrong where a certificate is read."""
    try:
        yield
    except OSError as error:
        raise FacemakeError(f"the certificate or its key cannot be read: {error}") from None


class Service(Protocol):
    """What answers.

    Attributes:
        stopping: nothing more is taken, and what waits for an answer is told so.
    """

    stopping: bool

    def start(self) -> None:
        """Begin to work."""

    def stop(self) -> None:
        """End what works."""


def serve(
    service: Service,
    config: uvicorn.Config,
    listening: socket.socket,
    options: argparse.Namespace,
    tokens: Mapping[str, Any],
    about: str,
    what: str,
) -> int:
    """Serve until a signal ends it; the exit code.

    Args:
        service: which is started first, and stopped in the end.
        config: of `configured`.
        listening: of `listen`.
        options: of the command line.
        tokens: who may use it.
        about: lines on what it does, to be said.
        what: is sent to it.
    """
    import uvicorn

    class Server(uvicorn.Server):
        def handle_exit(self, sig: int, frame: Any) -> None:
            service.stopping = True  # before uvicorn waits for those who wait for an answer
            super().handle_exit(sig, frame)

    service.start()
    try:
        _say(listening, options, tokens)
        print(about, flush=True)
        _warn_of_plain(options, what)
        Server(config).run(sockets=[listening])
    except KeyboardInterrupt:
        return 130
    finally:
        service.stop()
    return 0


def _say(listening: socket.socket, options: argparse.Namespace, tokens: Mapping[str, Any]) -> None:
    """Say where and for whom it listens."""
    host, number = listening.getsockname()[:2]
    scheme = "http" if options.certificate is None else "https"
    place = f"[{host}]" if ":" in host else host
    who = ", ".join(tokens) or "everybody on this machine"
    print(f"facemake {__version__} listens on {scheme}://{place}:{number} for {who}")


def _warn_of_plain(options: argparse.Namespace, what: str) -> None:
    """Say it where what is sent can be read on its way."""
    if options.certificate is None and not is_loopback(options.host):
        print(f"HTTP is not encrypted: {what} and tokens can be read on their way", file=sys.stderr)


def log() -> None:
    """Have the servers' words go to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    for name, level in (("facemake", logging.INFO), ("uvicorn", logging.WARNING)):
        logging.getLogger(name).addHandler(handler)
        logging.getLogger(name).setLevel(level)
