"""Sessions as folders: what a server knows stands in files, so that a restart finds it again.

    FOLDER/lock                       held while a server uses the folder
    FOLDER/sessions/KEY/state.json    the session; written when its upload is whole
                        input/        input_file.mp4, camera.txt
                        work/DIGEST/  what the engine wrote, a folder for each set of options
                        jobs/KEY/     state.json, spec.json, log.txt, outcome.json, result.zip

All folders are private to the user that runs the server. An identifier of 256 random bits is what a
client has; a KEY is part of its hash, so that a list of processes lets nobody into a session.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import hmac
import json
import logging
import os
import re
import secrets
import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from facemake.errors import FacemakeError
from facemake.hashes import private_folder
from facemake.runtime.atomic import write_text
from facemake.server.refusal import RefusedError
from facemake.server.settings import Settings
from facemake.server.wire import BASE, request_digest

logger = logging.getLogger(__name__)

QUEUED, RUNNING, DONE = "queued", "running", "done"
FAILED, INTERRUPTED = "failed", "interrupted"
WAITING = (QUEUED, RUNNING)

NO_JOB = "there is no such job, or its session has expired"

_KEY = re.compile(r"[0-9a-f]{32}")
_LONGEST_ID = 128
_SECONDS_BETWEEN_WRITES = 60.0
_FOR_UPLOADS = 0.9
"""Part of the sessions' disk space that uploads may fill; the rest is for what running jobs write,
so that nobody's upload ends somebody else's job."""


@dataclass
class Session:
    """One uploaded video and what is made of it.

    Attributes:
        key: name of its folder.
        identifier: what lets a client in.
        owner: name of the token that made it.
        created, used: seconds since 1970.
        sha256, suffix: of the video.
        camera: suffix of the calibration file, None without one.
        camera_sha256: of that file.
        disk: bytes that its folder has, when it was last looked at.
    """

    key: str
    identifier: str
    owner: str
    created: float
    used: float
    sha256: str
    suffix: str
    camera: str | None = None
    camera_sha256: str | None = None
    disk: int = 0


@dataclass
class Job:
    """One call of a method.

    Attributes:
        key: name of its folder.
        session: key of its session.
        processor_class, method, options, arguments: what is called (see `wire`).
        state: queued, running, done, failed or interrupted.
        created, started, finished: seconds since 1970.
        tries: how often it was asked for.
        error: why it failed, in words.
        status: of HTTP, for the error.
        provenance: of each file of the result, what its sidecar says, paths apart.
    """

    key: str
    session: str
    processor_class: str
    method: str
    options: dict[str, Any]
    arguments: dict[str, Any]
    state: str = QUEUED
    created: float = 0.0
    started: float | None = None
    finished: float | None = None
    tries: int = 0
    error: str | None = None
    status: int = 500
    provenance: dict[str, dict[str, Any]] = field(default_factory=dict)


def key_of(identifier: str) -> str:
    """The key of a session's or a job's identifier."""
    return hashlib.sha256(identifier.encode("utf-8", "surrogatepass")).hexdigest()[:32]


class Upload:
    """A session whose video arrives."""

    def __init__(self, identifier: str, owner: str, folder: Path) -> None:
        self.identifier = identifier
        self.owner = owner
        self.folder = folder
        self.bytes = 0

    @property
    def video(self) -> Path:
        """Where its bytes go while their suffix is not known."""
        return self.folder / "input" / ".upload.part"

    @property
    def camera(self) -> Path:
        """The same for the calibration."""
        return self.folder / "input" / ".camera.part"


class Store:
    """The sessions of one server. Its methods may be called from any thread.

    Args:
        settings: of the server.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.lock = threading.RLock()
        self.sessions: dict[str, Session] = {}
        self.jobs: dict[str, Job] = {}
        self._uploads: set[Upload] = set()
        self._going: set[str] = set()
        self._file: IO[bytes] | None = None
        self._root = settings.folder / "sessions"

    def open(self) -> None:
        """Take the folder and find the sessions of an earlier server in it.

        Jobs that waited wait again; those that ran are `interrupted`, unless their result is there.

        Raises:
            FacemakeError: the folder cannot be used, or another server uses it.
        """
        try:
            private_folder(self.settings.folder)
            private_folder(self._root)
            self._file = (self.settings.folder / "lock").open("wb")
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FacemakeError(
                f"another server uses {self.settings.folder}: end it, or give this one a --folder"
            ) from None
        except OSError as error:
            raise FacemakeError(f"the server's folder cannot be used: {error}") from None
        for folder in sorted(self._root.iterdir()):
            if _KEY.fullmatch(folder.name):
                self._load(folder)

    def close(self) -> None:
        """Let the folder go."""
        if self._file is not None:
            self._file.close()

    def _load(self, folder: Path) -> None:
        if not (folder / "state.json").exists():
            shutil.rmtree(folder, ignore_errors=True)  # its upload was cut off
            return
        try:
            session = Session(**_read(folder / "state.json"))
            jobs = [Job(**_read(path)) for path in sorted(folder.glob("jobs/*/state.json"))]
        except (OSError, ValueError, TypeError) as error:
            logger.warning("session %s is damaged and left alone: %s", folder.name, error)
            return
        self.sessions[session.key] = session
        for job in jobs:
            self.jobs[job.key] = job
            if job.state == RUNNING and not self.take_result(job):
                job.state, job.error = INTERRUPTED, "the server was stopped while the job ran"
                job.status = 503
                self.keep_job(job)
        self.measure(session)

    # Sessions

    @contextmanager
    def upload(self, owner: str) -> Iterator[Upload]:
        """A place for a new session's files; removed unless `accept` was called.

        Raises:
            RefusedError: there are too many sessions, or there is no room.
        """
        identifier = secrets.token_urlsafe(32)
        key = key_of(identifier)
        limit = self.settings.limits.sessions
        with self.lock:
            owners = [session.owner for session in self.sessions.values()]
            owners += [upload.owner for upload in self._uploads]
            if len(owners) >= limit:
                said = "the server has as many sessions as it takes"
            elif owners.count(owner) >= self.settings.share(limit):
                said = f"you have {owners.count(owner)} sessions, as many as one user may"
            else:
                said = ""
            if said:
                raise RefusedError(
                    503, f"{said}; delete one, or wait until one expires", retry_after=300
                )
            upload = Upload(identifier, owner, self._root / key)
            self._uploads.add(upload)
        try:
            self.check_room(owner, uploads=True)
            (upload.folder / "input").mkdir(parents=True, mode=0o700)
            upload.folder.chmod(0o700)
            yield upload
        finally:
            with self.lock:
                self._uploads.discard(upload)
                if key not in self.sessions:
                    shutil.rmtree(upload.folder, ignore_errors=True)

    def accept(
        self,
        upload: Upload,
        sha256: str,
        suffix: str,
        camera: str | None,
        camera_sha256: str | None,
    ) -> str:
        """Make a session of an upload that is whole.

        Returns:
            The session's identifier.
        """
        now = time.time()
        session = Session(
            key=upload.folder.name,
            identifier=upload.identifier,
            owner=upload.owner,
            created=now,
            used=now,
            sha256=sha256,
            suffix=suffix,
            camera=camera,
            camera_sha256=camera_sha256,
        )
        with self.lock:
            if upload not in self._uploads:  # who sent it was given up: its folder is gone
                raise RefusedError(503, "the upload was broken off: send the video again", 1)
            upload.video.replace(self.video(session))
            if camera is not None:
                upload.camera.replace(self.camera(session))
            (upload.folder / "jobs").mkdir(mode=0o700)
            (upload.folder / "work").mkdir(mode=0o700)
            self.measure(session)
            self.sessions[session.key] = session
            try:
                self._write_session(session)
            except BaseException:
                del self.sessions[session.key]
                raise
            self._uploads.discard(upload)  # else it counts twice
        owner = session.owner or "anybody"
        logger.info("session %s of %s: %d bytes", session.key, owner, session.disk)
        return upload.identifier

    def same(self, owner: str, sha256: str, suffix: str, camera_sha256: str | None) -> str | None:
        """The identifier of an owner's session of the same files, the last used one; else None."""
        wanted = (owner, sha256, suffix, camera_sha256)
        with self.lock:
            found = [
                session
                for session in self.sessions.values()
                if (session.owner, session.sha256, session.suffix, session.camera_sha256) == wanted
                and session.key not in self._going
            ]
            if not found:
                return None
            session = max(found, key=lambda session: session.used)
            self.use(session)
            return session.identifier

    def session(self, identifier: str, owner: str) -> Session:
        """The session of an identifier, which is then used.

        Raises:
            RefusedError: there is none, or it is another owner's: the same answer.
        """
        with self.lock:
            session = None
            if len(identifier) <= _LONGEST_ID:
                session = self.sessions.get(key_of(identifier))
            if session is None or session.owner != owner or session.key in self._going:
                raise RefusedError(
                    404, "there is no such session, or it has expired: send the video"
                )
            self.use(session)
            return session

    def use(self, session: Session) -> None:
        """Note that a session is used now."""
        session.used, before = time.time(), session.used
        seconds = min(_SECONDS_BETWEEN_WRITES, self.settings.limits.session_seconds / 10)
        if session.used - before > seconds:
            self._write_session(session)

    def leave(self, session: Session) -> None:
        """Let nobody into a session any more, which is removed once its jobs have ended."""
        with self.lock:
            self._going.add(session.key)

    def remove(self, session: Session) -> None:
        """Remove a session, none of whose jobs runs."""
        with self.lock:
            self.sessions.pop(session.key, None)
            self._going.discard(session.key)
            for key in [key for key, job in self.jobs.items() if job.session == session.key]:
                del self.jobs[key]
        folder = self.folder(session)
        # without its state it is no session, should the rest not be removed now
        (folder / "state.json").unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)

    def expired(self) -> list[Session]:
        """Sessions that nobody used for long and that have nothing to do."""
        before = time.time() - self.settings.limits.session_seconds
        with self.lock:
            busy = {job.session for job in self.jobs.values() if job.state in WAITING}
            return [s for s in self.sessions.values() if s.used < before and s.key not in busy]

    # Places

    def folder(self, session: Session) -> Path:
        """A session's folder."""
        return self._root / session.key

    def video(self, session: Session) -> Path:
        """Its video."""
        return self.folder(session) / "input" / f"{BASE}{session.suffix}"

    def camera(self, session: Session) -> Path:
        """Its calibration file."""
        return self.folder(session) / "input" / f"camera{session.camera}"

    def work(self, session: Session, job: Job) -> Path:
        """Where the engine writes: jobs with the same options share it, and so its cache."""
        digest = request_digest(job.processor_class, "", job.options)
        return self.folder(session) / "work" / digest[:16]

    def job_folder(self, job: Job) -> Path:
        """A job's folder."""
        return self._root / job.session / "jobs" / job.key

    def result(self, job: Job) -> Path:
        """A finished job's archive."""
        return self.job_folder(job) / "result.zip"

    # Room

    def measure(self, session: Session) -> None:
        """Look how much of the disk a session takes."""
        session.disk = _bytes_in(self.folder(session))

    def check_room(self, owner: str, more: int = 0, uploads: bool = False) -> None:
        """See that so many bytes more are in the limits, those of all and those of their owner.

        Args:
            owner: whose they are.
            more: bytes.
            uploads: whether they are a client's: a part of the room is kept for jobs.

        Raises:
            RefusedError: they are not.
        """
        limits = self.settings.limits
        with self.lock:
            sizes = [(session.owner, session.disk) for session in self.sessions.values()]
            sizes += [(upload.owner, upload.bytes) for upload in self._uploads]
        part = _FOR_UPLOADS if uploads else 1
        if sum(size for _, size in sizes) + more > limits.disk_bytes * part:
            raise RefusedError(507, "the sessions have all the disk space that they may have")
        own = sum(size for whose, size in sizes if whose == owner)
        if own + more > self.settings.share(limits.disk_bytes) * part:
            raise RefusedError(
                507, "your sessions have all the disk space that one user may have; delete one"
            )
        if shutil.disk_usage(self._root).free - more < limits.free_bytes:
            raise RefusedError(507, "the server's disk is full")

    # Jobs

    def job_identifier(self, session_identifier: str, digest: str) -> str:
        """The identifier of a job: the same for the same work, and nobody else's to guess."""
        mac = hmac.digest(session_identifier.encode(), digest.encode(), "sha256")
        return base64.urlsafe_b64encode(mac).rstrip(b"=").decode()

    def job(self, identifier: str, owner: str) -> Job:
        """The job of an identifier; its session is then used.

        Raises:
            RefusedError: there is none, or it is another owner's: the same answer.
        """
        with self.lock:
            job = self.jobs.get(key_of(identifier)) if len(identifier) <= _LONGEST_ID else None
            session = self.sessions.get(job.session) if job else None
            # of a session that goes, jobs that ended because of that are nobody's news
            gone = session is None or session.owner != owner or session.key in self._going
            if job is None or session is None or gone:
                raise RefusedError(404, NO_JOB)
            self.use(session)
            return job

    def write_job(self, job: Job) -> None:
        """Keep a job's state."""
        folder = self.job_folder(job)
        if folder.parent.is_dir():  # else its session was removed
            folder.mkdir(exist_ok=True, mode=0o700)
            write_text(folder / "state.json", json.dumps(asdict(job), indent=1))

    def keep_job(self, job: Job) -> None:
        """Keep a job's state where the disk takes it: what ended has ended all the same."""
        try:
            self.write_job(job)
        except OSError as error:
            logger.error("job %s is %s, which cannot be written: %s", job.key, job.state, error)

    def take_result(self, job: Job) -> bool:
        """Take over what a worker left: True where it finished; the job is then done or failed."""
        try:
            outcome = _read(self.job_folder(job) / "outcome.json")
        except (OSError, ValueError):
            return False
        with self.lock:  # who asks for a job that has failed writes its state, too
            if error := outcome.get("error"):
                job.state, job.error, job.status = FAILED, str(error), 500
            elif self.result(job).is_file():
                job.state, job.error, job.status = DONE, None, 200
                job.provenance = outcome["provenance"]
            else:
                return False
            job.finished = time.time()
            self.keep_job(job)
        return True

    def _write_session(self, session: Session) -> None:
        if session.key in self.sessions:  # else it was removed, and would be there again
            write_text(self.folder(session) / "state.json", json.dumps(asdict(session), indent=1))


def _read(path: Path) -> dict[str, Any]:
    document = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(document, Mapping):
        raise ValueError(f"{path.name} is no JSON object")
    return dict(document)


def _bytes_in(folder: Path) -> int:
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(parent, name)).st_size  # noqa: PTH118
            except OSError:
                continue
    return total
