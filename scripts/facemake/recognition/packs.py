"""Recognition packs: where their files are, and how they come to be there.

A pack's file is `{folder}/{pack}/{runtime}/{precision}/{detection|recognition}.{onnx|rknn}`, in the
user's folder, else the same path below an address, from which it is downloaded once. No registry
knows these files: the SHA-256 of each is pinned when it is first seen, and a changed one refused
(`facemake.pins`). Of huggingface.co the address is that of the files of a repository,
`.../{pack}/resolve/{revision}/{runtime}/...`; a pack that wants a login is asked for by the package
`huggingface_hub`, if it is installed.
"""

from __future__ import annotations

import fcntl
import http.client
import logging
import os
import urllib.request
from dataclasses import dataclass
from http import HTTPStatus
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError
from urllib.parse import quote, urlsplit

from facemake.errors import ModelError
from facemake.fetching import A_PAGE, is_web_page
from facemake.hashes import private_folder
from facemake.pins import pin_of, verify_pin
from facemake.recognition.config import PRECISIONS, Config, RuntimeKind, is_safe_address
from facemake.version import __version__

logger = logging.getLogger(__name__)

RECOGNITION, DETECTION = "recognition", "detection"
LARGEST = 2 << 30
"""bytes: no ONNX file can be larger."""
_CHUNK = 1 << 20
_HUB = "huggingface.co"


@dataclass(frozen=True)
class Artifact:
    """A file of a pack.

    Attributes:
        path: of the file.
        sha256: its own, which is the pinned one.
    """

    path: Path
    sha256: str


class Pack:
    """The files of a pack.

    Args:
        config: says which.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        base = urlsplit(config.repo_base)
        self._on_hub = base.hostname == _HUB and len(base.path.strip("/").split("/")) == 1
        self._revision = config.extra.get("revision", "main")
        origin = quote(config.repo_base.partition("://")[2], safe="")
        if self._on_hub and self._revision != "main":
            origin += "@" + quote(self._revision, safe="")
        self._cache = config.cache_dir / origin if config.repo_base else None

    def inner_path(
        self, part: str, runtime: RuntimeKind | None = None, precision: str | None = None
    ) -> str:
        """`{pack}/{runtime}/{precision}/{part}.{suffix}`; by default as the config says."""
        config = self.config
        runtime, precision = runtime or config.runtime, precision or config.precision
        return f"{config.model_name}/{runtime}/{precision}/{part}.{runtime.suffix}"

    def address(self, part: str) -> str | None:
        """Where a part is downloaded from; None: nowhere."""
        if not self.config.repo_base:
            return None
        inner = quote(self.inner_path(part))
        if self._on_hub:
            pack, _, rest = inner.partition("/")
            inner = f"{pack}/resolve/{quote(self._revision, safe='')}/{rest}"
        return f"{self.config.repo_base}/{inner}"

    def found(self, part: str) -> Path | None:
        """A part that is on this machine already."""
        for path in self._places(part):
            if path.is_file():
                return path
        return None

    def absent(self) -> str | None:
        """What to do about a pack of which a file is not here and cannot be fetched, in words.

        None: all is here, or may come by a download.
        """
        if self.config.repo_base and not _is_offline():
            return None
        parts = [part for part in (DETECTION, RECOGNITION) if self.found(part) is None]
        return "\n".join(self.missing(part, self._not_asked(part)) for part in parts) or None

    def artifact(self, part: str) -> Artifact:
        """A part, downloaded if need be, whose SHA-256 is the pinned one.

        Args:
            part: `RECOGNITION` or `DETECTION`.

        Raises:
            ModelError: it is nowhere, or has changed; the message says where it was looked for.
        """
        path = self.found(part)
        if path is None:
            path = self._downloaded(part)
        return Artifact(path, self._verified(path))

    def missing(self, part: str, tried: str = "") -> str:
        """What to do about a part that is not here, in words.

        Args:
            part: `RECOGNITION` or `DETECTION`.
            tried: what came of a download.
        """
        config = self.config
        says = [f"not in {path}" for path in self._places(part)] or ["no folder is named"]
        if config.local_dir is not None and not config.local_dir.is_dir():
            says[0] = f"there is no folder {config.local_dir} (LUMEN_FACE_LOCAL_DIR)"
        if tried:
            says.append(tried)
        cures = [f"{self.inner_path(part, *there)} is there" for there in self._others(part)]
        if cures:
            cures[-1] += " (LUMEN_FACE_RUNTIME, LUMEN_FACE_PRECISION)"
        if config.local_dir is None:
            cures.append(
                f"put your own file into a folder as {self.inner_path(part)}, and name the folder "
                "by LUMEN_FACE_LOCAL_DIR"
            )
        else:
            cures.append(f"put your own file there as {self._places(part)[0]}")
        if (address := self.address(part)) and not tried:
            cures.append(f"or let it be downloaded from {address}")
        return (
            f"the pack {config.model_name} has no {part} of runtime {config.runtime} and precision "
            f"{config.precision}: {'; '.join(says)}. Cure: {'; '.join(cures)}"
        )

    def _places(self, part: str, *there: Any) -> list[Path]:
        inner = self.inner_path(part, *there)
        local = self.config.local_dir
        return [folder / inner for folder in (local, self._cache) if folder is not None]

    def _others(self, part: str) -> list[tuple[RuntimeKind, str]]:
        """Runtimes and precisions in which a part is here."""
        kinds = [(runtime, precision) for runtime in RuntimeKind for precision in PRECISIONS]
        return [kind for kind in kinds if any(path.is_file() for path in self._places(part, *kind))]

    def _verified(self, path: Path) -> str:
        """Pinned beside the file, or in the cache where nobody may write beside it."""
        if pin_of(path).is_file() or os.access(path.parent, os.W_OK):
            return verify_pin(path)
        pins = private_folder(self.config.cache_dir) / "pins"
        private_folder(pins)
        return verify_pin(path, pins / f"{quote(str(path.absolute()), safe='')}.sha256")

    def _downloaded(self, part: str) -> Path:
        address = self.address(part)
        if address is None:
            raise ModelError(self.missing(part))
        if _is_offline():
            raise ModelError(self.missing(part, self._not_asked(part)))
        target = self._places(part)[-1]
        try:
            private_folder(self.config.cache_dir)
            target.parent.mkdir(parents=True, exist_ok=True)
            _download(address, target, self.config.timeout)
        except HTTPError as error:
            if error.code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN) and self._on_hub:
                return self._by_hub(part, error)
            raise ModelError(
                self.missing(part, f"{address} says {error.code} {error.reason}")
            ) from None
        except (OSError, http.client.HTTPException, ModelError) as error:
            reason = getattr(error, "reason", None) or error
            raise ModelError(self.missing(part, f"{address} gave nothing ({reason})")) from None
        return target

    def _not_asked(self, part: str) -> str:
        address = self.address(part)
        return f"{address} was not asked, since HF_HUB_OFFLINE is set" if address else ""

    def _by_hub(self, part: str, error: HTTPError) -> Path:
        """With the user's own login at Hugging Face."""
        said = f"{error.geturl()} says {error.code} {error.reason}"
        if find_spec("huggingface_hub") is None:
            login = "a private pack needs `pip install 'facemake[hub]'` and `hf auth login`"
            raise ModelError(self.missing(part, f"{said}; {login}"))
        os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # before it is imported
        import huggingface_hub

        owner = urlsplit(self.config.repo_base).path.strip("/")
        target = self._places(part)[-1]
        inner = self.inner_path(part).partition("/")[2]
        try:
            path: Any = huggingface_hub.hf_hub_download(
                f"{owner}/{self.config.model_name}",
                inner,
                revision=self._revision,
                local_dir=str(target.parents[inner.count("/")]),  # it lies there as any other
            )
        except Exception as failed:  # its errors are those of three libraries
            raise ModelError(
                self.missing(part, f"{said}; with your login: {failed} (`hf auth login`)")
            ) from None
        return Path(path)


def _is_offline() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "").strip().lower() not in ("", "0", "false", "no")


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Only to where a file may be fetched from, and from elsewhere not to this machine's HTTP."""

    def redirect_request(
        self, request: urllib.request.Request, *arguments: Any
    ) -> urllib.request.Request | None:
        """Of urllib; the last argument is the new address."""
        address = arguments[-1]
        _check(address)
        if urlsplit(request.full_url).scheme != urlsplit(address).scheme == "http":
            raise ModelError(f"{request.full_url} sends on to {address}, which is not https://")
        return super().redirect_request(request, *arguments)


def _check(address: str) -> None:
    if not is_safe_address(address):
        raise ModelError(f"{address} is no https:// address (http:// is for this machine alone)")


def _download(address: str, target: Path, timeout: float) -> None:
    """A file, whole under its name and pinned; two processes that want it download it once.

    Raises:
        ModelError: it is too large, a web page, or sent on to an address without HTTPS.
        OSError, http.client.HTTPException: it cannot be had.
    """
    _check(address)
    part = target.with_name(f".{target.name}.part")
    with part.open("ab") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        if target.is_file():
            return
        logger.info("%s is downloaded from %s", target.name, address)
        headers = {"User-Agent": f"facemake/{__version__}", "Accept-Encoding": "identity"}
        request = urllib.request.Request(address, headers=headers)  # noqa: S310
        opener = urllib.request.build_opener(_Redirects)
        handle.truncate(0)  # of a try that was killed
        try:
            with opener.open(request, timeout=timeout) as answer:
                _copy(answer, handle)
            if is_web_page(part):
                raise ModelError(f"what came is {A_PAGE}")
            os.fsync(handle.fileno())
            if pin_of(target).is_file():
                verify_pin(part, pin_of(target))
        except BaseException:
            handle.truncate(0)
            raise
        part.replace(target)


def _copy(answer: http.client.HTTPResponse, handle: IO[bytes]) -> None:
    size, announced = 0, answer.length or 0
    while chunk := answer.read(_CHUNK) if announced <= LARGEST else b"":
        size += len(chunk)
        if size > LARGEST:
            break
        handle.write(chunk)
    if max(size, announced) > LARGEST:
        raise ModelError(f"more than {LARGEST} bytes are sent, which is no network")
    if answer.length:  # what was announced and did not come
        raise http.client.IncompleteRead(b"", answer.length)
    handle.flush()
