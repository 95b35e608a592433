"""A video that arrives: written to disk, counted and hashed while it comes."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from starlette.requests import Request

from facemake.media.files import begins_as_video
from facemake.server.forms import Form, Sink, read_form
from facemake.server.refusal import RefusedError
from facemake.server.settings import Limits
from facemake.server.store import Store, Upload
from facemake.server.wire import CAMERA_SUFFIXES, SUFFIXES, suffix

_PIECE = 1 << 20
_HEAD = 64  # bytes, that tell what a file is
_LONGEST_FIELD = 256  # bytes
_MOST_PARTS = 8
_FIELDS = ("file_hash", "reuse")
_FILES = ("input_file", "camera_file")
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")


@dataclass
class Received:
    """What a request to `/prepare_session` brought.

    Attributes:
        sha256, suffix: of the video.
        camera, camera_sha256: suffix and hash of the calibration file, None without one.
        reuse: whether an older session of the same files would do.
    """

    sha256: str
    suffix: str
    camera: str | None = None
    camera_sha256: str | None = None
    reuse: bool = False


@dataclass
class _File:
    path: Path
    suffix: str
    limit: int
    what: str
    size: int = 0
    pending: bytearray = field(default_factory=bytearray)
    head: bytes = b""
    digest: hashlib._Hash = field(default_factory=hashlib.sha256)

    def add(self, data: bytes) -> None:
        self.size += len(data)
        if self.size > self.limit:
            raise RefusedError(
                413, f"{self.what} is larger than the {self.limit} bytes that are taken"
            )
        self.pending += data
        if len(self.head) < _HEAD:
            self.head += data[: _HEAD - len(self.head)]

    def write(self) -> None:
        """Put what is pending onto the disk."""
        self.digest.update(self.pending)
        with self.path.open("ab") as file:
            file.write(self.pending)
        self.pending.clear()

    def finish(self) -> str:
        """Make sure that it is on the disk; its SHA-256."""
        self.write()
        with self.path.open("rb") as file:
            os.fsync(file.fileno())
        return self.digest.hexdigest()


class _Form(Form):
    """Of the two files and the two words that an upload is."""

    def __init__(self, upload: Upload, limits: Limits) -> None:
        super().__init__(_MOST_PARTS)
        self._upload = upload
        self._limits = limits
        self.files: dict[str, _File] = {}
        self.fields: dict[str, bytearray] = {}

    def part(self, name: str, file_name: str | None) -> Sink:
        """A field begins; see `Form`."""
        if name in self.files or name in self.fields:
            raise RefusedError(422, f"{name} stands twice")
        if name in _FIELDS and file_name is None:
            field = self.fields[name] = bytearray()

            def add(data: bytes) -> None:
                field.extend(data)
                if len(field) > _LONGEST_FIELD:
                    raise RefusedError(422, f"a field has at most {_LONGEST_FIELD} bytes")

            return add
        if name in _FILES and file_name is not None:
            file = self.files[name] = self._file(name, file_name)
            return file.add
        raise RefusedError(
            422, "the form's fields are input_file, file_hash, camera_file and reuse"
        )

    def _file(self, name: str, file_name: str) -> _File:
        # of the name, its suffix is all that is ever used
        video = name == "input_file"
        allowed = SUFFIXES if video else CAMERA_SUFFIXES
        known = suffix(file_name, allowed)
        if known is None:
            raise RefusedError(415, f"the name of {name} ends in one of {', '.join(allowed)}")
        if video:
            limit = self._limits.upload_bytes
            return _File(self._upload.video, known, limit, "the video")
        return _File(self._upload.camera, known, self._limits.camera_bytes, "the calibration file")


async def receive(request: Request, upload: Upload, store: Store) -> Received:
    """Take the form of `/prepare_session` from the wire to the disk.

    Raises:
        RefusedError: it is too large or too slow, no video, damaged, or no such form.
    """
    limits = store.settings.limits
    length = request.headers.get("content-length", "")
    if length.isdecimal():
        if int(length) > limits.upload_bytes + limits.camera_bytes + limits.form_bytes:
            raise RefusedError(413, f"the server takes {limits.upload_bytes} bytes at most")
        await asyncio.to_thread(store.check_room, upload.owner, int(length), uploads=True)
    form = _Form(upload, limits)
    unwritten = 0
    kind = request.headers.get("content-type")
    async for size in read_form(form, kind, _in_time(request, limits)):
        unwritten += size
        if unwritten >= _PIECE:
            upload.bytes += unwritten
            unwritten = 0
            await asyncio.to_thread(_write, form, upload, store)
    return await asyncio.to_thread(_check, form)


def _write(form: _Form, upload: Upload, store: Store) -> None:
    store.check_room(upload.owner, uploads=True)
    for file in form.files.values():
        _check_head(file)
        file.write()


def _check_head(file: _File) -> None:
    if file.what == "the video" and not begins_as_video(file.head):
        # playlists and the like, which would make a decoder open other files, are none either
        raise RefusedError(415, "the file is no video of a kind that is known here")


def _check(form: _Form) -> Received:
    try:
        video = form.files["input_file"]
        given = form.fields["file_hash"].decode("ascii", "replace")
    except KeyError as error:
        raise RefusedError(422, f"the form has no {error.args[0]}") from None
    if not _SHA256.fullmatch(given):
        raise RefusedError(422, "file_hash is the SHA-256 of the video, in hexadecimal digits")
    _check_head(video)
    sha256 = video.finish()
    if sha256 != given.lower():
        raise RefusedError(
            422, "the video arrived with another SHA-256 than file_hash: send it again"
        )
    reuse = bytes(form.fields.get("reuse", b"0"))
    if reuse not in (b"0", b"1"):
        raise RefusedError(422, "reuse is 0 or 1")
    received = Received(sha256, video.suffix, reuse=reuse == b"1")
    if camera := form.files.get("camera_file"):
        received.camera, received.camera_sha256 = camera.suffix, camera.finish()
    return received


async def _in_time(request: Request, limits: Limits) -> AsyncIterator[bytes]:
    """The body's pieces, within the limits of time."""
    until = time.monotonic() + limits.upload_seconds
    stream = request.stream()
    while True:
        left = min(limits.idle_seconds, until - time.monotonic())
        try:
            yield await asyncio.wait_for(anext(stream), max(0.0, left))
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise RefusedError(408, "the upload took too long") from None
