"""Models that are fetched by their address, on a machine that has a network.

`facemake models fetch` and `facemake fetch` alone fetch: no job of the workflow tries the network.
"""

from __future__ import annotations

import errno
import fcntl
import http.client
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from facemake.errors import BusyError, ModelError
from facemake.hashes import private_folder
from facemake.models import Model, fetched_file, fetched_folder, model, model_path
from facemake.provenance import file_sha256
from facemake.version import __version__

SECONDS_OF_SILENCE = 60
SECONDS_BETWEEN_LINES = 10.0
_CHUNK = 1 << 20
_HEAD = 1 << 12
A_PAGE = "a web page, as of a login or a proxy"


def fetch(name: str, say: Callable[[str], None] = lambda words: None) -> Path:
    """The model's verified file, downloaded if it is not on this machine.

    A download that was broken off goes on where it stopped. Under its name a file is whole and has
    the registered SHA-256; the folder is private (0700).

    Args:
        name: in the registry.
        say: is told what is downloaded, and now and then how far it is.

    Raises:
        ModelError: there is no such model; it is gated; it has no address; it cannot be had; or
            what was sent is not it. The message says what to do.
        BusyError: another process downloads it.
    """
    row = model(name)
    try:
        return model_path(name)
    except ModelError:
        if row.url is None or row.gated or row.sha256 is None:
            raise
    assert row.bytes is not None
    target = fetched_file(row)
    part = target.with_name(f".{target.name}.part")
    try:
        private_folder(fetched_folder())
        with part.open("ab") as handle:
            _lock(handle.fileno(), part, name)
            if target.is_file() and file_sha256(target) == row.sha256:
                part.unlink()  # another process had fetched it before this one had the lock
                return target
            say(f"{name}: {row.bytes} bytes from {row.url} ({row.licence})")
            while (found := _downloaded(row, part, say)) is None:
                pass
            if found != row.sha256:
                raise ModelError(_another(row, part, found))
            os.fsync(handle.fileno())
            part.replace(target)
    except OSError as error:  # URLError and time limits are of it
        raise ModelError(_failed(row, error)) from None
    except http.client.HTTPException as error:
        raise ModelError(_failed(row, error)) from None
    return target


_OF_THE_DISK = frozenset(
    getattr(errno, name)
    for name in (
        "EACCES",
        "EDQUOT",
        "EEXIST",
        "EFBIG",
        "EIO",
        "ENOSPC",
        "ENOTDIR",
        "EPERM",
        "EROFS",
    )
)


def _failed(row: Model, error: Exception) -> str:
    if isinstance(error, OSError) and error.errno in _OF_THE_DISK:  # a URLError has no number
        return (
            f"the model {row.name} cannot be written to {fetched_folder()} ({error.strerror}): "
            "make room there, or let it be yours to write (HOME says where it is), and run the "
            "same again, which goes on where it stopped"
        )
    reason = getattr(error, "reason", None) or error
    return (
        f"the model {row.name} cannot be fetched from {row.url}{_through(row)} ({reason}): run the "
        f"same again, which goes on where it stopped, or {_by_other_means(row)}"
    )


def _through(row: Model) -> str:
    """The proxy that the environment names, without the password that may stand in it."""
    scheme, place, *_ = urlsplit(row.url or "")
    proxy = urllib.request.getproxies().get(scheme)
    if proxy is None or urllib.request.proxy_bypass(place):
        return ""
    return f" through the proxy {urlsplit(proxy).netloc.rpartition('@')[2] or proxy}"


def _by_other_means(row: Model) -> str:
    return (
        "fetch that file by other means and put it into models_dir or a folder of FACEMAKE_MODELS "
        f"(SHA-256 {row.sha256})"
    )


def _lock(descriptor: int, part: Path, name: str) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # who had the lock may have given the file its name meanwhile
        if os.path.samestat(os.fstat(descriptor), part.stat()):
            return
    except (BlockingIOError, FileNotFoundError):
        pass
    raise BusyError(f"another process fetches the model {name}; wait for it") from None


def is_web_page(path: Path) -> bool:
    """Whether a file is what a server or a proxy sends people in place of what was asked for."""
    with path.open("rb") as handle:
        return b"<html" in handle.read(_HEAD).lower()


def _another(row: Model, part: Path, found: str) -> str:
    """That it is not the model, which is forgotten with this."""
    size = part.stat().st_size
    what = f": it is {A_PAGE}" if is_web_page(part) else ""
    part.unlink()
    return (
        f"{row.url} is not the model {row.name}{what}: what came has {size} bytes and the SHA-256 "
        f"{found}, registered are {row.bytes} and {row.sha256}; nothing of it was kept; "
        f"{_by_other_means(row)}"
    )


def _downloaded(row: Model, part: Path, say: Callable[[str], None]) -> str | None:
    """Append what `part` lacks; now and then say how far it is.

    Returns:
        The SHA-256 of all that came; None where what was there before was none of it, and it is to
        begin anew.

    Raises:
        ModelError: more is sent than the model has.
        OSError, http.client.HTTPException: it was broken off.
    """
    assert row.url is not None and row.bytes is not None
    if urlsplit(row.url).scheme not in ("https", "http"):
        raise ModelError(f"the address of the model {row.name} is no web address: {row.url}")
    have = part.stat().st_size
    if have >= row.bytes:  # whole, or of another try at something else
        if (found := file_sha256(part)) == row.sha256:
            return found
        have = 0
    headers = {"User-Agent": f"facemake/{__version__}", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    request = urllib.request.Request(row.url, headers=headers)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=SECONDS_OF_SILENCE) as answer:  # noqa: S310
            goes_on = have > 0 and _is_rest(answer, have)
            _append(row, part, have if goes_on else 0, answer, say)
    except urllib.error.HTTPError as error:
        if not have or error.code != http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        goes_on, found = True, ""  # what the server has is shorter than what is here
    else:
        found = file_sha256(part)
    if goes_on and found != row.sha256:
        os.truncate(part, 0)
        return None
    return found


def _is_rest(answer: http.client.HTTPResponse, have: int) -> bool:
    said = answer.headers.get("Content-Range", "")
    return answer.status == http.client.PARTIAL_CONTENT and said.startswith(f"bytes {have}-")


def _append(
    row: Model,
    part: Path,
    have: int,
    answer: http.client.HTTPResponse,
    say: Callable[[str], None],
) -> None:
    assert row.bytes is not None
    with part.open("r+b") as handle:
        handle.seek(have)
        handle.truncate()
        said = time.monotonic()
        # what has come is written, however slowly it comes
        while chunk := answer.read1(_CHUNK):
            if time.monotonic() - said >= SECONDS_BETWEEN_LINES:
                said = time.monotonic()
                say(f"{row.name}: {handle.tell() / 1e6:.1f} of {row.bytes / 1e6:.1f} MB")
            if handle.tell() + len(chunk) > row.bytes:
                part.unlink()
                raise ModelError(
                    f"{row.url} is not the model {row.name}: it is larger than the {row.bytes} "
                    f"bytes that are registered; {_by_other_means(row)}"
                )
            handle.write(chunk)
        size = handle.tell()
    if size < row.bytes and answer.length:
        raise http.client.IncompleteRead(b"", answer.length)
