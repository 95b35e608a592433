"""The other side: an engine on another machine, as the processors use it by `server={...}`.

    session = RemoteSession({"host": "gpu.example.org", "port": 8000, "token": "..."})
    session.prepare(video, sha256)
    files = session.execute("FaceProcessor3DI", "fit", config, {}, folder, "clip")

It speaks to `facemake serve`, and by `/execute` alone to a server of 3DI's wrapper. What a server
sends is unpacked with distrust (`zips`), into the one folder that was named.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import requests

from facemake import rawkinds
from facemake.server import wire
from facemake.server.address import token_of, url_of
from facemake.server.options import as_of_old, for_wire
from facemake.server.remote_error import RemoteError, RemoteStatusError
from facemake.server.sending import PIECE, Bearer, Form, KeptAlive, refusal
from facemake.server.settings import is_loopback
from facemake.server.wire import BASE, CAMERA_SUFFIXES, SUFFIXES
from facemake.zips import ZipError, read_zip

__all__ = ["Progress", "RemoteError", "RemoteSession", "RemoteStatusError"]

logger = logging.getLogger(__name__)

Progress = Callable[[str, float | None], None]
"""Told what a job says, and how much of it is done (0 to 1) where that is known."""

_CONNECT_SECONDS = 10.0
_ANSWER_SECONDS = 60.0
_UPLOAD_SECONDS = 600.0  # from the last byte to the answer: the server hashes
_SECONDS_AWAY = 300.0
"""That a server may be away (it is restarted) while we wait for a job."""
_MOST_TRIES = 3
_SLOWEST_LOOK = 5.0
_MOST_FILES = 64
_LEAST_RESULT = 2 * 10**9
"""Bytes that a result may have, whatever the video; a video in it may be 20 times the sent one."""
_MOST_RATIO = 1100.0  # tables of zeros compress as far as deflate can
# what the methods make, and nothing else: a member `input_file.mp4` would be the user's own video
_RESULT = re.compile(
    rf"{BASE}_(({'|'.join(rawkinds.ALL)})\.(3DI|3DIl|fmk)"
    rf"|preprocessed({'|'.join(map(re.escape, SUFFIXES))}))(\.json)?"
)


class RemoteSession:
    """A session on a server.

    Args:
        server: `host` (a name, an address, or a whole http:// or https:// address), `port`, and,
            where the server wants one, `token` or `token_file` (a file that holds nothing else).

    Attributes:
        url: of the server, ending in a slash.
        provenance: name of each file of the last result -> how it was made, as the server's sidecar
            says; empty with a server of 3DI's wrapper.

    Raises:
        RemoteError: `server` is not one.
    """

    def __init__(self, server: Mapping[str, Any]) -> None:
        self.url = url_of(server)
        self._token = token_of(server)
        self.provenance: dict[str, dict[str, Any]] = {}
        self._version: dict[str, Any] | None = None
        self._plain = False
        self._upload: tuple[Path, str, Path | None] | None = None
        self._session: str | None = None
        self._http = requests.Session()
        self._http.auth = Bearer(self._token)
        self._http.mount("http://", KeptAlive())
        self._http.mount("https://", KeptAlive())
        parts = urlsplit(self.url)
        self._proxies: dict[str, str] = {}
        if is_loopback(parts.hostname or ""):
            # a proxy of the environment is no way to this machine
            self._proxies = {"no_proxy": parts.hostname or ""}
        elif self._token is not None and parts.scheme == "http":
            warnings.warn(
                f"the token and the videos go to {parts.hostname} unencrypted: use an https:// "
                "address, or an SSH tunnel",
                stacklevel=2,
            )

    def check(self) -> dict[str, Any]:
        """See that the server is there and takes our token.

        Returns:
            What it says of itself; of a server of 3DI's wrapper, an empty dictionary.

        Raises:
            RemoteError: it is not there, refuses, or is too new.
        """
        if self._version is None:
            try:
                version = self._json("GET", "version")
            except RemoteStatusError as error:
                if error.status not in (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED):
                    raise
                self._request("GET", "").close()
                self._plain, version = True, {}
            if not self._plain and version.get("protocol") != 1:
                raise RemoteError(
                    f"{self.url} speaks another protocol ({version.get('protocol')!r}): install "
                    "the same version of facemake on both sides"
                )
            self._version = version
        return self._version

    def prepare(self, path: Path, sha256: str, camera: Path | None = None) -> None:
        """Send a video; it is streamed, and its own name stays here.

        Args:
            path: the video.
            sha256: its hash, in hexadecimal digits.
            camera: a calibration file, which `camera_model` then stands for.

        Raises:
            RemoteError: the server does not take it.
        """
        version = self.check()
        known = wire.suffix(path.name, SUFFIXES)
        if known is None:
            raise RemoteError(f"{path.name} is no video that a server takes: {', '.join(SUFFIXES)}")
        size = path.stat().st_size
        if size > version.get("upload_bytes", size):
            raise RemoteError(
                f"{path.name} has {size} bytes, and {self.url} takes {version['upload_bytes']}: "
                "start the server with a larger --max-upload, or send a smaller video"
            )
        fields, files = {"file_hash": sha256}, {"input_file": (f"{BASE}{known}", path)}
        if not self._plain:
            fields["reuse"] = "1"
        if camera is not None:
            if self._plain:
                raise RemoteError(f"{self.url} takes no calibration file; give the field of view")
            ending = wire.suffix(camera.name, CAMERA_SUFFIXES)
            if ending is None:
                raise RemoteError(f"{camera.name} is no calibration: {', '.join(CAMERA_SUFFIXES)}")
            files["camera_file"] = (f"camera{ending}", camera)
        form = Form(fields, files)
        answer = self._json(
            "POST",
            "prepare_session",
            data=form,
            headers={"Content-Type": form.content_type},
            timeout=(_CONNECT_SECONDS, _UPLOAD_SECONDS),
        )
        identifier = answer.get("session_id")
        if not isinstance(identifier, str | int):
            raise RemoteError(f"{self.url} gave no session: is it a server of facemake or 3DI?")
        self._session, self._upload = str(identifier), (path, sha256, camera)

    def execute(
        self,
        processor_class: str,
        method: str,
        config: Mapping[str, Any],
        arguments: Mapping[str, Any],
        output_dir: Path,
        base_name: str,
        progress: Progress | None = None,
    ) -> list[Path]:
        """Call a method on the server and bring its files here.

        Interrupted (Ctrl-C), the job is cancelled. A server that is restarted meanwhile is waited
        for, a session that has expired is made again.

        Args:
            processor_class: whose method.
            method: what to call.
            config: options of the processor's constructor.
            arguments: of the method: `normalize`, `k`, `undistort`.
            output_dir: where the files go; made if it is not there.
            base_name: what they are named after.
            progress: told how it goes.

        Returns:
            The files, sorted by name. A file of the same name is replaced.

        Raises:
            RemoteError: the server failed, or what it sent is not a result.
        """
        if self._session is None or self._upload is None:
            raise RemoteError("no video was sent: call prepare first")
        if not base_name or "/" in base_name or "\0" in base_name:
            raise RemoteError(f"{base_name!r} is no name of a file")
        say = as_of_old if self._plain else for_wire
        form = {
            "processor_class": processor_class,
            "method": method,
            "config": json.dumps(say(processor_class, config)),
        }
        if not self._plain:
            form["arguments"] = json.dumps(dict(arguments))
        elif method == "localized_expressions" and arguments.get("normalize") is False:
            raise RemoteError(f"{self.url} is a server of 3DI's wrapper: it always normalizes")
        tell = progress or (lambda text, fraction: None)
        output_dir.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=".remote-", dir=output_dir))
        try:
            archive = beside / "result.zip"
            self.provenance = {}
            if self._plain:
                data = {"session_id": self._session, **form}
                with self._request("POST", "execute", data=data, read_seconds=None) as answer:
                    self._save(answer, archive)
            else:
                self._fetch(form, archive, tell)
            return self._unpack(archive, beside / "files", output_dir, base_name)
        finally:
            shutil.rmtree(beside, ignore_errors=True)

    def close(self) -> None:
        """End the session on the server, whose files of it are then removed."""
        if self._session is not None and not self._plain:
            with _unless_away():
                self._request("DELETE", f"sessions/{quote(self._session, safe='')}").close()
        self._session = None
        self._http.close()

    # A job

    def _fetch(self, form: Mapping[str, str], archive: Path, tell: Progress) -> None:
        for last in [*[False] * (_MOST_TRIES - 1), True]:
            job = self._start(form, tell)
            path = f"jobs/{quote(job, safe='')}"
            try:
                state = self._wait(path, tell)
                if state.get("state") == "done":
                    provenance = state.get("provenance")
                    self.provenance = provenance if isinstance(provenance, dict) else {}
                    with self._request("GET", f"{path}/result") as answer:
                        self._save(answer, archive)
                    return
            except KeyboardInterrupt:
                with _unless_away():
                    self._request("DELETE", path).close()
                raise
            except RemoteStatusError as error:
                if error.status != HTTPStatus.NOT_FOUND or last:
                    raise
                continue  # its session is gone; `_start` makes another
            if state.get("state") != "interrupted" or state.get("status") == HTTPStatus.CONFLICT:
                raise RemoteError(f"{self.url} failed: {state.get('error')}")
            tell("interrupted, asked for again", None)
        raise RemoteError(f"{self.url} was interrupted {_MOST_TRIES} times: look at its log")

    def _start(self, form: Mapping[str, str], tell: Progress) -> str:
        """Ask for a job, when the queue has room for it; its identifier."""
        sent_again = False
        while True:
            try:
                data = {"session_id": self._session, **form}
                answer = self._json("POST", "jobs", patient=True, data=data)
            except RemoteStatusError as error:
                if error.status == HTTPStatus.NOT_FOUND and not sent_again:
                    assert self._upload is not None
                    tell("the session has expired, the video is sent again", None)
                    self.prepare(*self._upload)
                    sent_again = True
                    continue
                if error.status != HTTPStatus.SERVICE_UNAVAILABLE or error.retry_after is None:
                    raise
                tell(str(error), None)
                time.sleep(min(error.retry_after, 60.0))
                continue
            job = answer.get("job_id")
            if not isinstance(job, str):
                raise RemoteError(f"{self.url} gave no job")
            return job

    def _wait(self, path: str, tell: Progress) -> dict[str, Any]:
        """Look at a job until it is over, at longer and longer intervals."""
        pause, said = 0.05, None
        while True:
            state = self._json("GET", path, patient=True)
            now = (str(state.get("progress", "")), state.get("fraction"))
            if now != said:
                fraction = now[1] if isinstance(now[1], int | float) else None
                tell(now[0], fraction)
                said = now
            if state.get("state") not in ("queued", "running"):
                return state
            time.sleep(pause)
            pause = min(_SLOWEST_LOOK, pause * 1.3)

    # What it sends

    def _save(self, answer: requests.Response, archive: Path) -> None:
        if "application/zip" not in answer.headers.get("Content-Type", ""):
            raise RemoteError(f"{self.url} sent no archive: is it a server of facemake or 3DI?")
        left = self._most_bytes()
        try:
            with archive.open("wb") as file:
                for data in answer.iter_content(PIECE):
                    left -= len(data)
                    if left < 0:
                        raise RemoteError(f"the result of {self.url} is too large to be one")
                    file.write(data)
        except requests.RequestException as error:
            raise RemoteError(f"{self.url} did not send all of its result: {error}") from None

    def _unpack(self, archive: Path, folder: Path, output_dir: Path, base: str) -> list[Path]:
        try:
            files = read_zip(
                archive,
                folder,
                max_files=_MOST_FILES,
                max_bytes=self._most_bytes(),
                max_ratio=_MOST_RATIO,
                names=lambda name: name if _RESULT.fullmatch(name) else None,
            )
        except ZipError as error:
            raise RemoteError(f"the result of {self.url} is refused: {error}") from None
        # sidecars say where files were on the server; ours say where they are
        files = sorted(path for path in files if path.suffix != ".json")
        named = {path.name: base + path.name.removeprefix(BASE) for path in files}
        self.provenance = {
            named[name]: dict(said)
            for name, said in self.provenance.items()
            if name in named and isinstance(said, dict)
        }
        for name in named.values():
            # a recording may itself be called as a result is, `clip_preprocessed.mp4`
            if any(_is_same(output_dir / name, sent) for sent in self._sent()):
                raise RemoteError(f"the result of {self.url} is refused: {name} is what was sent")
        for path in files:
            path.replace(output_dir / named[path.name])
        return [output_dir / named[path.name] for path in files]

    def _sent(self) -> list[Path]:
        assert self._upload is not None
        video, _, camera = self._upload
        return [video] if camera is None else [video, camera]

    def _most_bytes(self) -> int:
        assert self._upload is not None
        return _LEAST_RESULT + 20 * self._upload[0].stat().st_size

    # Requests

    def _json(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        with self._request(method, path, **options) as answer:
            try:
                document = json.loads(_body(answer, 10_000_000))
            except ValueError:
                raise RemoteError(
                    f"{self.url} gave an answer that is not one of a server of facemake or 3DI"
                ) from None
        if not isinstance(document, dict):
            raise RemoteError(f"{self.url} gave an answer that is no JSON object")
        return document

    def _request(
        self,
        method: str,
        path: str,
        *,
        read_seconds: float | None = _ANSWER_SECONDS,
        patient: bool = False,
        **options: Any,
    ) -> requests.Response:
        """Ask; where `patient`, a server that is away or stops is asked again for a while."""
        options.setdefault("timeout", (_CONNECT_SECONDS, read_seconds))
        options["proxies"] = self._proxies
        until = time.monotonic() + _SECONDS_AWAY
        pause, place = 0.2, urlsplit(self.url).netloc
        is_away = False
        while True:
            try:
                answer = self._http.request(
                    method, self.url + path, stream=True, allow_redirects=False, **options
                )
                break
            except requests.RequestException as error:
                if not patient or time.monotonic() > until:
                    raise RemoteError(self._away(error)) from None
                if not is_away:
                    left = max(0.0, until - time.monotonic())
                    clock = time.strftime("%H:%M:%S", time.localtime(time.time() + left))
                    logger.warning("%s does not answer, trying again until %s", place, clock)
                    is_away = True
                time.sleep(pause)
                pause = min(_SLOWEST_LOOK, pause * 1.5)
        if is_away:
            logger.warning("%s answers again", place)
        if answer.status_code < HTTPStatus.MULTIPLE_CHOICES:
            return answer
        with answer:
            raise self._refusal(answer)

    def _refusal(self, answer: requests.Response) -> RemoteError:
        status, where = answer.status_code, self.url
        if status < HTTPStatus.BAD_REQUEST:
            to = answer.headers.get("Location", "")
            return RemoteError(f"{where} sends requests on to {to}: name that server instead")
        text = _body(answer, 65_536).decode("utf-8", "replace")
        return refusal(where, answer, text, self._token is not None)

    def _away(self, error: requests.RequestException) -> str:
        if isinstance(error, requests.exceptions.SSLError):
            return (
                f"{self.url} has no certificate that this machine trusts; one of your own is "
                f"trusted by REQUESTS_CA_BUNDLE=FILE: {error}"
            )
        if isinstance(error, requests.Timeout):
            return f"{self.url} does not answer in time: look whether it is busy, or its log"
        return (
            f"{self.url} cannot be reached: start `facemake serve` there, and see that host and "
            f"port are right and no firewall is between ({type(error).__name__})"
        )


@contextmanager
def _unless_away() -> Iterator[None]:
    """Nothing is lost where a server cannot be told to forget something."""
    try:
        yield
    except RemoteError as error:
        logger.info("%s", error)


def _is_same(path: Path, other: Path) -> bool:
    """Whether two paths are one file, by whatever names."""
    try:
        return path.samefile(other)
    except OSError:
        return path.resolve() == other.resolve()


def _body(answer: requests.Response, most: int) -> bytes:
    data = b""
    try:
        for piece in answer.iter_content(65_536):
            data += piece
            if len(data) > most:
                raise RemoteError(f"{answer.url} gave an answer that is too long")
    except requests.RequestException as error:
        raise RemoteError(f"{answer.url} did not finish its answer: {error}") from None
    return data
