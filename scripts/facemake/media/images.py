"""Pictures as frames: one file, or a folder of them in natural order.

How each kind becomes RGB, 8 bit: grey is repeated; 16-bit grey is divided by 257 and rounded
(65535 is white); of 16-bit colour the high byte counts; what is transparent is blended over
black, as the rim of a crop is; of an animated picture the first image counts. Colour profiles
are not applied. 32-bit and floating-point pictures are refused: nothing says which value is
white.
"""

from __future__ import annotations

import errno
import io
import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import (  # those that Pillow does not load at once register themselves
    AvifImagePlugin,  # noqa: F401
    Image,
    Jpeg2KImagePlugin,  # noqa: F401
    TiffImagePlugin,  # noqa: F401
    UnidentifiedImageError,
    WebPImagePlugin,  # noqa: F401
)

from facemake.media.files import HEIF_BRANDS, begins_as_picture, head, pictures
from facemake.media.frame import Frame, Kind, Media, MediaError, Orientation, Pixels
from facemake.status import SampleStatus

# JPEG brings MPO along. Pillow knows more, among them EPS, which starts Ghostscript on a file.
FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "BMP", "DIB", "GIF", "PPM", "JPEG2000", "AVIF")
_EXIF_ORIENTATION = 0x0112
_PIXELS_AT_ONCE = 4 << 20
"""That are converted together: of a large picture some rows, since a conversion has copies."""
# What Pillow's decoders raise on damaged bytes (caught around them alone).
_DAMAGE = (SyntaxError, ValueError, EOFError, IndexError, RuntimeError, struct.error, zlib.error)


class ImageMedia(Media):
    """One picture, or the pictures of a folder. A picture that fails is one frame that says so."""

    codec = None

    def __init__(self, path: Path) -> None:
        """Lists the pictures.

        Raises:
            MediaError: no permission, or a folder without a picture.
        """
        self.kind = Kind.IMAGES if path.is_dir() else Kind.IMAGE
        self.paths: Sequence[Path] = pictures(path) if self.kind is Kind.IMAGES else [path]
        if not self.paths:
            raise MediaError(
                SampleStatus.NO_IMAGES,
                f"the folder {path.name} has no picture at its first level (JPEG, PNG, TIFF, "
                "WebP, …; folders inside it and hidden files do not count)",
            )
        if self.kind is Kind.IMAGE:
            head(path)  # says at once, as for a video, that it may not be read

    def __iter__(self) -> Iterator[Frame]:
        return self.pick(list(range(len(self.paths))), None)

    def pick(self, wanted: list[int], times: list[float] | None) -> Iterator[Frame]:
        """The pictures of these indices; no other file is touched, and times are not used."""
        for index in wanted:
            if index >= len(self.paths):
                raise ValueError(f"there is no picture {index}: the folder has {len(self.paths)}")
            yield picture_frame(self.paths[index], index)

    def sizes(self) -> Iterator[tuple[int, int]]:
        """By what the files say of themselves: no picture is decoded for it."""
        for path in self.paths:
            try:
                yield picture_size(path)
            except MediaError:
                yield 0, 0

    def close(self) -> None:
        """Nothing is held open between pictures."""


def picture_frame(path: Path, index: int = 0) -> Frame:
    """One picture, decoded; where that fails, a frame of status `decode_error`."""
    try:
        pixels, orientation, codec = read_picture(path)
    except MediaError as error:
        return Frame(index, None, error=error)
    height, width = pixels.shape[:2]
    return Frame(
        index, lambda: pixels, width=width, height=height, orientation=orientation, codec=codec
    )


def read_picture(path: Path) -> tuple[Pixels, Orientation, str]:
    """Upright RGB pixels (H, W, 3) uint8, the orientation undone in them, and the format.

    Raises:
        MediaError: `unreadable` or `no_permission`, with the reason.
        OSError: the disk or the network fails.
    """
    return _read(path, path.name)


def decode_picture(data: bytes, name: str) -> Pixels:
    """Upright RGB pixels (H, W, 3) uint8 of a picture's file in memory.

    Args:
        data: the whole file.
        name: what a reason calls it.

    Raises:
        MediaError: `unreadable`, with the reason.
    """
    return _read(data, name)[0]


def picture_size(path: Path) -> tuple[int, int]:
    """Upright width and height by a picture's header: those of what `read_picture` gives.

    A picture that is damaged further on has a size all the same.

    Raises:
        MediaError: `unreadable` or `no_permission`, with the reason.
        OSError: the disk or the network fails.
    """
    return _size(path, path.name)


def encoded_size(data: bytes, name: str) -> tuple[int, int]:
    """The same of a picture's file in memory; see `decode_picture`."""
    return _size(data, name)


def _read(source: Path | bytes, name: str) -> tuple[Pixels, Orientation, str]:
    with warnings.catch_warnings():
        # Damaged EXIF data, and large pictures: they are welcome up to Pillow's refusal, at 179
        # million pixels.
        warnings.simplefilter("ignore")
        with _opened(source, name) as image:
            orientation = _orientation(image)
            pixels = orientation.apply(_rgb(image, name))
            return pixels, orientation, (image.format or "").lower()


def _size(source: Path | bytes, name: str) -> tuple[int, int]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with _opened(source, name, whole=False) as image:
            width, height = image.size
            # Pillow gives the upright size of a TIFF file, and of no other
            turned = image.format != "TIFF" and _orientation(image).transpose
            return (height, width) if turned else (width, height)


def _opened(source: Path | bytes, name: str, *, whole: bool = True) -> Image.Image:
    """A picture, decoded if the `whole` is wanted, every error of its data put into words."""
    start = b""
    try:
        start = head(source) if isinstance(source, Path) else source[:64]
        image = Image.open(
            source if isinstance(source, Path) else io.BytesIO(source), formats=FORMATS
        )
        try:
            if whole:
                image.load()
        except BaseException:
            image.close()
            raise
        return image
    except FileNotFoundError as error:
        raise _unreadable(f"{name} is a link to nothing") from error
    except UnidentifiedImageError as error:
        raise _unreadable(_unidentified(name, start)) from error
    except Image.DecompressionBombError as error:
        raise _unreadable(f"{name} is refused: {error}") from error
    except OSError as error:
        if error.errno not in (None, errno.EINVAL):  # the system speaks, and not of the picture
            raise
        raise _unreadable(f"{name} is damaged or cut short: {error}") from error
    except _DAMAGE as error:
        raise _unreadable(f"{name} is damaged: {error}") from error


def _unreadable(reason: str) -> MediaError:
    return MediaError(SampleStatus.UNREADABLE, reason)


def _unidentified(name: str, start: bytes) -> str:
    if not start:
        return f"{name} is empty (0 bytes): copy it again from where it came"
    if start[4:8] == b"ftyp" and start[8:12] in HEIF_BRANDS:
        return f"{name} is a HEIC picture, which is not read: export it as JPEG or PNG"
    if begins_as_picture(start):
        return (
            f"{name} begins as a picture and cannot be read as one: it is damaged, or of a kind "
            "that is not read (as a TIFF with 32 bit a colour): save it as PNG or JPEG"
        )
    return f"{name} is not a picture, whatever its name says, or its beginning is damaged"


def _orientation(image: Image.Image) -> Orientation:
    """As EXIF has it; damaged EXIF data are no reason to lose a picture."""
    try:
        return Orientation.from_exif(image.getexif().get(_EXIF_ORIENTATION))
    except (OSError, *_DAMAGE):
        return Orientation()


def _rgb(image: Image.Image, name: str) -> Pixels:
    """The picture as it is stored, (H, W, 3) uint8."""
    # Pillow's own conversion of 16 bit to 8 bit clips at 255.
    wide = image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM"))
    if image.mode in ("I", "F") and not wide:
        raise _unreadable(
            f"{name} is a 32-bit picture, which does not say what value is white: save it "
            "with 8 or 16 bit"
        )
    width, height = image.size
    rows = max(1, _PIXELS_AT_ONCE // max(1, width))
    if rows >= height:
        return _band_rgb(image, wide)
    pixels = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, rows):
        band = image.crop((0, top, width, min(top + rows, height)))
        pixels[top : top + rows] = _band_rgb(band, wide)
    return pixels


def _band_rgb(image: Image.Image, wide: bool) -> Pixels:
    """(H, W, 3) uint8 of some rows; `wide`: of a grey picture of 16 bit."""
    if wide:
        grey = ((np.asarray(image).astype(np.uint32) + 128) // 257).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.has_transparency_data:
        layers = np.asarray(image.convert("RGBA"))
        colour, alpha = layers[:, :, :3], layers[:, :, 3:]
        if alpha.min() == 255:
            return np.ascontiguousarray(colour)
        blend = colour.astype(np.uint16) * alpha
        blended: Pixels = ((blend + 127) // 255).astype(np.uint8)
        return blended
    return np.array(image.convert("RGB"))
