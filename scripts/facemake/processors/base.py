"""What all processors share: the recording and the folder, words, the cache."""

from __future__ import annotations

import json
import logging
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from facemake.backends.threedi.offer import SUFFIX, Offer, offer
from facemake.errors import FacemakeError
from facemake.media import Kind, MediaError, classify, content_files, open_media
from facemake.processors.cache import Cache
from facemake.processors.debug import log_to_standard_error
from facemake.processors.dicts import Table
from facemake.processors.lock import Lock
from facemake.provenance import digest, file_sha256
from facemake.runtime.atomic import write_text
from facemake.samples import Sample
from facemake.status import DECODABLE

if TYPE_CHECKING:
    from facemake.server.client import RemoteSession

ReturnOutput = Literal["dict", "file"] | None
Tables = tuple[Table, ...]
Files = tuple[str, ...]

PRIVATE = ".facemake"
"""Folder in the output folder for what is not a result."""

_LONGEST_NAME = 255 - len("_landmarks_canonicalized.3DIl.json") - len("..part")

logger = logging.getLogger(__name__)


class ProcessorError(FacemakeError, ValueError):
    """What bitbox's users catch as a ValueError: the message has the cure."""


class NotReadyError(ProcessorError):
    """A method was called before what it builds on."""


class InputError(ProcessorError):
    """The recording cannot be used, or the output folder not be written to."""


class NoFaceError(ProcessorError):
    """There is no face in any frame, so there is nothing to fit."""


@dataclass(frozen=True)
class Input:
    """A recording and where its files go.

    Attributes:
        path: the video, picture or folder of pictures, whole.
        base: what the names of its files begin with.
        folder: of all that is made from it, whole.
        sha256: of its bytes; of a folder, over the names and hashes of its pictures.
    """

    path: Path
    base: str
    folder: Path
    sha256: str

    @property
    def sample(self) -> Sample:
        """As the library's readers want it."""
        return Sample(sample="input", path=self.path, subject="input", sha256=self.sha256)


class BaseProcessor(ABC):
    """The recording, the output folder, and what is said.

    Attributes:
        cache: how long files are used again.
        return_output, verbose, debug: as given.
        output_dir: the output folder; None before `io`.
    """

    engine: ClassVar[str]
    """Name for people."""

    def __init__(
        self,
        return_output: ReturnOutput,
        server: Mapping[str, Any] | None,
        verbose: bool,
        debug: bool,
    ) -> None:
        if return_output not in ("dict", "file", None):
            raise ProcessorError(
                f"return_output is {return_output!r}; it is 'dict' (tables), 'file' (paths) or None"
            )
        self.return_output = return_output
        self.verbose = verbose
        self.debug = debug
        self.cache = Cache()
        self.output_dir: str | None = None
        self._server = dict(server) if server is not None else None
        self._remote: RemoteSession | None = None
        self._sent: Input | None = None
        self._given: Input | None = None
        self._lock: Lock | None = None
        self._offer: Offer | None = None
        if self._server is not None:
            with as_value_errors(), self._heard():
                self._session().check()
                self._say(f"Connected to {self._session().url}")

    def io(self, input_file: str | Path, output_dir: str | Path) -> None:
        """Say what to work on, and where its files go.

        Args:
            input_file: a video of any kind that FFmpeg reads, a picture, or a folder of pictures.
            output_dir: a folder; made where it is not there.

        Raises:
            InputError: the recording is not there or cannot be read, or the folder not be made.
        """
        path, folder = Path(input_file).expanduser().absolute(), Path(output_dir).expanduser()
        if not path.exists():
            raise InputError(f"{path} is not there: check the path")
        base = path.name if path.is_dir() else path.stem
        if len(os.fsencode(base)) > _LONGEST_NAME:
            raise InputError(f"{path.name} is too long a name for the files made of it: shorten it")
        try:
            with open_media(Sample("input", path, "input")):
                pass
            sha256 = _hash(path)
        except (MediaError, OSError) as error:
            raise InputError(f"{path} cannot be used: {error}") from None
        folder = folder.absolute()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{folder} cannot be made: {error.strerror}") from None
        if not os.access(folder, os.W_OK | os.X_OK):
            raise InputError(f"{folder} cannot be written to: check its permissions")
        self._given = Input(path, base, folder, sha256)
        self.output_dir = str(folder)
        # of the recording, not of the engine: engines share the undistorted video
        self._lock = Lock(self._private.parent / "lock", self._say)
        self._offer = None

    @abstractmethod
    def detect_faces(self) -> Table | str | None:
        """Find the face in every frame."""

    @abstractmethod
    def detect_landmarks(self) -> Table | str | None:
        """Find the 51 landmarks of the face in every frame."""

    @abstractmethod
    def fit(self, normalize: bool = False, k: float = 1) -> Tables | Files | None:
        """Fit the face model."""

    @abstractmethod
    def localized_expressions(self, normalize: bool = True) -> Table | str | None:
        """Expression coefficients that each move one region."""

    @abstractmethod
    def _noise(self, wanted: bool, k: float) -> object:
        """What expressions are normalised by, where that is wanted; refuses what cannot be."""

    def run_all(self, normalize: bool = True, k: float = 1) -> Tables | Files | None:
        """All of it: detect_faces, detect_landmarks, fit and localized_expressions.

        Args:
            normalize: of `fit`.
            k: of `fit`.

        Returns:
            The tables of rectangles, landmarks, expressions, pose, canonical landmarks and
            localized expressions; or all paths, flat, in that order of methods; or None.
        """
        with self._at_work():
            self._noise(normalize, k)  # before hours of work: where it is missing, say so now
            results = (
                self.detect_faces(),
                self.detect_landmarks(),
                *(self.fit(normalize=normalize, k=k) or ()),
                self.localized_expressions(normalize=True),
            )
            return results if self.return_output else None

    @property
    def _input(self) -> Input:
        if self._given is None:
            raise NotReadyError("Say first what to work on: processor.io(input_file, output_dir)")
        return self._given

    @property
    def _private(self) -> Path:
        """Folder for what is no result: of this recording and engine."""
        return self._input.folder / PRIVATE / self._input.base / self.engine

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        """Hold the lock; let old `except ValueError` see what goes wrong."""
        self._input  # noqa: B018
        assert self._lock is not None
        with as_value_errors(), self._heard(), self._lock:
            yield

    def _heard(self) -> AbstractContextManager[None]:
        """Show what is logged meanwhile, where `debug` wants that."""
        return log_to_standard_error() if self.debug else nullcontext()

    def _say(self, text: str, end: str = "\n") -> None:
        if self.verbose:
            print(text, end=end, flush=True)

    @contextmanager
    def _running(self, what: str) -> Iterator[None]:
        """Say what runs, and how long it took."""
        began = time.monotonic()
        self._say(f"Running {what}...", end="\n" if self.debug else "")
        try:
            yield
        except BaseException:
            self._say(" failed")
            raise
        self._say(f" (took {time.monotonic() - began:.2f} s)")

    def _offered(self) -> Offer:
        """What an engine is given of the recording; frames are counted by decoding, once."""
        # whoever works on another recording of this name takes its video away
        if self._offer is None or (self._offer.prepared and not self._prepared.is_file()):
            given = self._input
            note = self._private / "frames.json"
            known = _noted(note, given.sha256)
            if known is None or (known.prepared and not self._prepared.is_file()):
                for old in self._private.glob(f"prepared*{SUFFIX}"):
                    old.unlink(missing_ok=True)
                self._say("Counting frames...", end="")
                known = _look(given, self._prepared)
                self._say(f" {known.n_frames - known.padding}")
                document = {"sha256": given.sha256, "offer": asdict(known)}
                write_text(note, json.dumps(document, indent=1))
            self._offer = known
        return self._offer

    def _session(self) -> RemoteSession:
        """The session on the server; imported here: most use no server."""
        if self._remote is None:
            from facemake.server.client import RemoteSession

            assert self._server is not None
            self._remote = RemoteSession(self._server)
        return self._remote

    def _ask_server(
        self,
        method: str,
        config: Mapping[str, Any],
        arguments: Mapping[str, Any],
        camera: Path | None = None,
    ) -> list[Path]:
        """Have the server call a method; the files that it made, in the output folder.

        Args:
            method: of the class of the same name there.
            config: of the constructor there.
            arguments: of the method.
            camera: a calibration file.

        Raises:
            RemoteError: the server failed.
        """
        given = self._input
        if self._sent != given:
            if self._sent is not None:
                self._session().close()
                self._remote = None
            path, sha256 = given.path, given.sha256
            if classify(path) is not Kind.VIDEO:
                self._offered()
                path = self._prepared
                sha256 = file_sha256(path)
            self._say(f"Sending {path.name} to {self._session().url}")
            self._session().prepare(path, sha256, camera)
            self._sent = given
        name = type(self).__name__
        return self._session().execute(
            name, method, config, arguments, given.folder, given.base, self._tell
        )

    def _tell(self, said: str, done: float | None) -> None:
        if self.debug and said:
            print(f"Server: {said}" + (f" ({done:.0%})" if done is not None else ""), flush=True)

    @property
    def _prepared(self) -> Path:
        """Where a video is that was made for an engine.

        The name says of which recording: another one of the same name is never taken for it.
        """
        return self._private / f"prepared-{self._input.sha256[:16]}{SUFFIX}"

    @property
    def _n_frames(self) -> int:
        """Frames of the recording itself."""
        offered = self._offered()
        return offered.n_frames - offered.padding


def _look(given: Input, video: Path) -> Offer:
    from facemake.stages.probe import probe_sample

    try:
        row = probe_sample(given.sample)
        if row.status not in DECODABLE or not row.n_frames:
            raise InputError(f"{given.path} cannot be used: {row.reason or 'it has no frame'}")
        video.parent.mkdir(parents=True, exist_ok=True)
        return offer(given.sample, asdict(row), video)
    except (MediaError, OSError) as error:
        raise InputError(f"{given.path} cannot be used: {error}") from None


def _noted(path: Path, sha256: str) -> Offer | None:
    """What was found out of this recording before."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return Offer(**document["offer"]) if document["sha256"] == sha256 else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _hash(path: Path) -> str:
    """SHA-256 of a file; of a folder, over its pictures, by name and hash."""
    if not path.is_dir():
        return file_sha256(path)
    return digest([[p.name, file_sha256(p)] for p in content_files(path)])


def _both(kind: type[FacemakeError]) -> type[FacemakeError]:
    """A class of errors as this one, which is a ValueError too."""
    return type(kind.__name__, (kind, ValueError), {"__module__": kind.__module__})


@contextmanager
def as_value_errors() -> Iterator[None]:
    """Raise each FacemakeError so that `except ValueError`, which bitbox's users write, sees it."""
    try:
        yield
    except FacemakeError as error:
        if isinstance(error, ValueError):
            raise
        kind = _both(type(error))
        same = kind.__new__(kind, *error.args)  # whatever its constructor wants
        same.__dict__ |= error.__dict__
        raise same from error
