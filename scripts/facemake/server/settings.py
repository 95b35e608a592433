"""What a server is told: where it keeps sessions, who may use it, and how much of it."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from facemake.errors import FacemakeError

TOKEN_VARIABLE = "FACEMAKE_SERVER_TOKEN"  # noqa: S105 (the name of a variable)
ANONYMOUS = ""
"""The owner of sessions that were made without a token."""

_SHORTEST_TOKEN = 20
_LOOPBACK_NAMES = ("localhost",)


@dataclass(frozen=True)
class Limits:
    """How much of the machine a server may take.

    Attributes:
        upload_bytes: of one video.
        upload_seconds: within which it has to arrive.
        idle_seconds: that an upload may pause, and that any other request may take to arrive.
        sessions: at once, uploads that arrive included. Of these, of `disk_bytes` and of `queue`
            an owner has at most a share (`Settings.share`).
        disk_bytes: of all sessions together.
        free_bytes: that stay free on the disk.
        queue: jobs that wait.
        running: jobs that run at once; never two of one session.
        job_seconds: that a job may run.
        session_seconds: that a session is kept after it was last used.
        form_bytes: of a request that is no upload.
        config_bytes, config_depth: of the JSON in a form.
        camera_bytes: of a calibration file.
    """

    upload_bytes: int = 4 * 10**9
    upload_seconds: float = 3600.0
    idle_seconds: float = 60.0
    sessions: int = 100
    disk_bytes: int = 100 * 10**9
    free_bytes: int = 2 * 10**9
    queue: int = 50
    running: int = 1
    job_seconds: float = 12 * 3600.0
    session_seconds: float = 7 * 86400.0
    form_bytes: int = 65_536
    config_bytes: int = 16_384
    config_depth: int = 6
    camera_bytes: int = 1_000_000

    @property
    def waiting(self) -> int:
        """Requests that may wait for a job."""
        return self.queue + self.running


FACTORIES: Mapping[str, str] = MappingProxyType(
    {
        name: f"facemake.processors:{name}"
        for name in ("FaceProcessor", "FaceProcessor3DI", "FaceProcessor3DIlite")
    }
)
"""Class on the wire -> the module and the name in it that make a processor."""


@dataclass(frozen=True, kw_only=True)
class Access:
    """Who may use a server.

    Attributes:
        tokens: who may: name -> SHA-256 of the token. Empty: whoever reaches it.
        hosts: what requests may call the server (header Host, without the port), in lower case;
            None: anything.
    """

    tokens: Mapping[str, bytes] = field(default_factory=dict)
    hosts: frozenset[str] | None = None

    def share(self, limit: int) -> int:
        """How much of a limit one owner may have: half, rounded up, where there are several.

        So nobody keeps the others out alone, and one who is alone most of the time is not held back
        to the part that a large group would leave everybody.
        """
        return limit if len(self.tokens) < 2 else (limit + 1) // 2

    def owner_of(self, token: str) -> str | None:
        """Whose token this is; None where it is nobody's. Takes as long for any."""
        given = token_digest(token)
        found = None
        for name, known in self.tokens.items():
            if hmac.compare_digest(given, known):
                found = name
        return found


@dataclass(frozen=True)
class Settings(Access):
    """Of one server.

    Attributes:
        folder: where sessions are kept; private to the user.
        limits: see there.
        runtimes: class on the wire -> its `runtime`; a class that is not in it looks for 3DI as it
            always does.
        factories: class on the wire -> "module:name" of what makes a processor.
    """

    folder: Path
    limits: Limits = Limits()
    runtimes: Mapping[str, str] = field(default_factory=dict)
    factories: Mapping[str, str] = field(default_factory=lambda: FACTORIES)


def default_folder() -> Path:
    """Where a server keeps its sessions unless it is told."""
    return Path.home() / ".local" / "share" / "facemake" / "server"


def token_digest(token: str) -> bytes:
    """What is kept of a token."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine only."""
    if host in _LOOPBACK_NAMES:
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def host_name(header: str) -> str:
    """What a Host header calls the server: lower case, without port and brackets."""
    name = header.strip().lower()
    if name.startswith("["):
        return name[1:].partition("]")[0]
    return name.partition(":")[0] if name.count(":") < 2 else name


def read_tokens(path: Path | None, environment: Mapping[str, str] = os.environ) -> dict[str, bytes]:
    """Tokens of a file, one `name token` a line, and of FACEMAKE_SERVER_TOKEN (named `default`).

    Raises:
        FacemakeError: the file cannot be read, others may read it, a line is not one, or a token is
            short.
    """
    tokens: dict[str, str] = {}
    if path is not None:
        try:
            if path.stat().st_mode & 0o077:
                raise FacemakeError(f"{path} can be read by others: chmod 600 {path}")
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise FacemakeError(f"the token file {path} cannot be read: {error}") from None
        for number, line in enumerate(lines, 1):
            words = line.split()
            if not words or words[0].startswith("#"):
                continue
            name, token = ("default", *words) if len(words) == 1 else (words[0], words[-1])
            if len(words) > 2 or not re.fullmatch(r"[A-Za-z0-9._@-]{1,64}", name):
                raise FacemakeError(f"{path}, line {number}: write `name token`")
            if name in tokens or token in tokens.values():
                raise FacemakeError(f"{path}, line {number}: the name or the token stands twice")
            tokens[name] = _strong(token, f"{path}, line {number}")
        if not tokens:
            raise FacemakeError(
                f"{path} has no token; `facemake serve --new-token NAME` prints one"
            )
    if given := environment.get(TOKEN_VARIABLE, ""):
        tokens["default"] = _strong(given, TOKEN_VARIABLE)
    return {name: token_digest(token) for name, token in tokens.items()}


def _strong(token: str, where: str) -> str:
    if len(token) < _SHORTEST_TOKEN or not token.isascii() or not token.isprintable():
        raise FacemakeError(
            f"{where}: a token has at least {_SHORTEST_TOKEN} ASCII characters; "
            "`facemake serve --new-token NAME` prints one"
        )
    return token
