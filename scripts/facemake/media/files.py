"""Which files make a sample, in which order, and what each of them is."""

from __future__ import annotations

import re
from pathlib import Path

from facemake.media.frame import Kind, MediaError
from facemake.status import SampleStatus

PICTURE_SUFFIXES = frozenset(
    f".{suffix}"
    for suffix in (
        *("jpg", "jpeg", "jpe", "jfif", "mpo", "png", "apng", "tif", "tiff", "webp", "avif"),
        *("heic", "heif", "bmp", "dib", "gif", "ppm", "pgm", "pbm", "pnm", "jp2", "j2k"),
    )
)
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"mif1", b"msf1")
_PICTURE = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n|GIF8[79]a|BM.{4}\x00\x00|II\x2a\x00|MM\x00\x2a|RIFF.{4}WEBP"
    rb"|P[1-6]\s|\x00\x00\x00\x0cjP  |\xff\x4f\xff\x51|.{4}ftyp(?:avif|avis|"
    + b"|".join(HEIF_BRANDS)
    + rb")",
    re.DOTALL,
)
_VIDEO = re.compile(
    rb".{4}ftyp|.{4}(?:moov|mdat|wide|free)|\x1a\x45\xdf\xa3|RIFF.{4}AVI |FLV\x01|OggS"
    rb"|\x30\x26\xb2\x75|\x00\x00\x01[\xb3\xba]",
    re.DOTALL,
)


def begins_as_picture(start: bytes) -> bool:
    """Whether these first bytes are those of a picture."""
    return _PICTURE.match(start) is not None


def begins_as_video(start: bytes) -> bool:
    """Whether these first bytes are those of a container of videos."""
    return _VIDEO.match(start) is not None


def natural_key(name: str) -> tuple[list[str | int], str]:
    """A sort key that puts img2 before img10, upper and lower case together, ties by the name."""
    parts = re.split(r"([0-9]+)", name.casefold())  # text, number, text, …: always comparable
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], name


def head(path: Path, size: int = 64) -> bytes:
    """The first bytes of a file.

    Raises:
        MediaError: no permission to read it, or it is nothing that has bytes.
        OSError: the disk or the network fails, or the file is gone: no property of the data.
    """
    try:
        if not path.is_file() and path.exists():
            raise MediaError(SampleStatus.UNREADABLE, f"{path.name} is neither a file nor a folder")
        with path.open("rb") as file:
            return file.read(size)
    except PermissionError as error:
        raise no_permission(path) from error


def no_permission(path: Path) -> MediaError:
    """The error that says how to get the permission."""
    what, flags = ("the folder", "u+rx") if _is_dir(path) else ("the file", "u+r")
    return MediaError(
        SampleStatus.NO_PERMISSION,
        f"no permission to read {what} {path.name}: ask its owner, or run `chmod {flags}` on it "
        "and on the folders above it",
    )


def _is_dir(path: Path) -> bool:
    try:
        return path.is_dir()
    except PermissionError:
        return False


def classify(path: Path) -> Kind:
    """What a path holds, by its first bytes; by its extension where they say nothing.

    Raises:
        MediaError: no permission to look.
        OSError: the path is not there, or the disk fails.
    """
    try:
        if path.is_dir():
            return Kind.IMAGES
    except PermissionError as error:
        raise no_permission(path) from error
    start, suffix = head(path), path.suffix.lower()
    if suffix in {".mjpg", ".mjpeg"}:  # JPEGs one after the other begin as one JPEG does
        return Kind.VIDEO
    if begins_as_picture(start) or (suffix in PICTURE_SUFFIXES and not begins_as_video(start)):
        return Kind.IMAGE
    return Kind.VIDEO


def pictures(folder: Path) -> list[Path]:
    """A folder's pictures in natural order: by extension, first level only, none hidden.

    A link to nothing or a file that cannot be read stays in the list: it is a frame that
    failed, and no later frame may take its index.

    Raises:
        MediaError: no permission to list the folder.
    """
    try:
        found = [
            entry
            for entry in folder.iterdir()
            if not entry.name.startswith(".")
            and entry.suffix.lower() in PICTURE_SUFFIXES
            and not entry.is_dir()
        ]
    except PermissionError as error:
        raise no_permission(folder) from error
    return sorted(found, key=lambda path: natural_key(path.name))


def content_files(path: Path) -> list[Path]:
    """The files whose bytes make a sample: itself, or a folder's pictures in natural order.

    Raises:
        MediaError: no permission to look.
    """
    try:
        is_folder = path.is_dir()
    except PermissionError as error:
        raise no_permission(path) from error
    return pictures(path) if is_folder else [path]


def declared_bytes(path: Path) -> int:
    """How long a file must be by its own header (Matroska, WebM, AVI); 0 where it does not say."""
    start = head(path, 4096)
    if start[:4] == b"RIFF":
        size = int.from_bytes(start[4:8], "little")
        return size + 8 if size != 0xFFFFFFFF else 0
    if start[:4] != b"\x1a\x45\xdf\xa3":
        return 0
    size, at = _ebml_size(start, 4)
    if start[at + size : at + size + 4] != b"\x18\x53\x80\x67":  # the Segment, all the rest
        return 0
    size, at = _ebml_size(start, at + size + 4)
    return at + size if size else 0


def _ebml_size(data: bytes, at: int) -> tuple[int, int]:
    """An EBML size (0 where unknown) and where its content begins."""
    first = data[at] if at < len(data) else 0
    length = 9 - first.bit_length()
    ones = (1 << 7 * length) - 1
    size = int.from_bytes(data[at : at + length], "big") & ones
    return (0 if size == ones else size), at + length
