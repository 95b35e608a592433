"""Pictures as frames: right side up, eight bits, and none half decoded."""

from __future__ import annotations

import struct
import warnings
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from facemake.media import MediaError, images, open_media, read_frames
from facemake.media.images import read_picture
from facemake.samples import Sample
from facemake.status import FrameStatus, SampleStatus
from makemedia import noise, pattern


def frames(path: Path):
    with open_media(Sample("s", path, "s")) as media:
        return list(media)


def png(path: Path, pixels: np.ndarray, bits: int, size: tuple[int, int] | None = None) -> Path:
    """A PNG written by hand: Pillow writes no 16-bit colour, and no size that is a lie."""
    channels = {1: 0, 2: 4, 3: 2, 4: 6}[1 if pixels.ndim == 2 else pixels.shape[2]]
    width, height = size or (pixels.shape[1], pixels.shape[0])
    rows = pixels.astype(">u2" if bits == 16 else "u1")
    raw = b"".join(b"\0" + row.tobytes() for row in rows)

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    header = struct.pack(">IIBBBBB", width, height, bits, channels, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(raw))
        + chunk(b"IEND", b"")
    )
    return path


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("single_face.jpg", (572, 562)),
        ("multi_face.jpg", (1000, 667)),
        ("Image_with_alpha.png", (1524, 1036)),
        ("free-mountain-vector-01.jpg", (1920, 1080)),
    ],
)
def test_real_pictures(shared: Path, name: str, size: tuple[int, int]) -> None:
    (frame,) = frames(shared / "data" / name)
    assert frame.index == 0 and frame.time is None and frame.status is FrameStatus.OK
    assert (frame.width, frame.height) == size
    assert frame.rgb.shape == (size[1], size[0], 3) and frame.rgb.dtype == np.uint8
    assert frame.rgb.flags.writeable and frame.rgb is frame.rgb
    reference = np.asarray(Image.open(shared / "data" / name).convert("RGB"))
    assert np.array_equal(frame.rgb, reference)  # the alpha channel of that one is opaque


@pytest.mark.parametrize("value", range(1, 9))
def test_exif_orientation(tmp_path: Path, value: int) -> None:
    upright = pattern(2)
    stored = {  # by EXIF's words: where row 0 and column 0 of the stored picture are seen
        1: upright,
        2: upright[:, ::-1],  # top, right
        3: upright[::-1, ::-1],  # bottom, right
        4: upright[::-1],  # bottom, left
        5: upright.transpose(1, 0, 2),  # left, top
        6: np.rot90(upright, 1),  # right, top
        7: np.rot90(upright, 1)[:, ::-1],  # right, bottom
        8: np.rot90(upright, -1),  # left, bottom
    }[value]
    exif = Image.Exif()
    exif[0x0112] = value
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "a.png", exif=exif)
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "a.jpg", exif=exif, quality=95)
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "a.tif", exif=exif)
    for name in ("a.png", "a.tif"):
        (frame,) = frames(tmp_path / name)
        assert np.array_equal(frame.rgb, upright), name
        assert (frame.width, frame.height) == (64, 48)
    with open_media(Sample("s", tmp_path, "s")) as media:
        assert list(media.sizes()) == [(64, 48)] * 3
    (frame,) = frames(tmp_path / "a.jpg")
    assert np.abs(frame.rgb[4:20, 4:20].astype(int) - (255, 0, 0)).mean() < 10
    assert frame.rgb.flags.c_contiguous
    assert (
        frame.orientation.degrees
        == {1: 0, 2: 0, 3: 180, 4: 180, 5: 270, 6: 90, 7: 90, 8: 270}[value]
    )


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0XX*\0\0\0\0\0", b"Exif\0\0II*\0\x08\0\0\0\xff\xff", b"Exif\0\0II*\0"]
)
def test_damaged_exif_is_no_reason_to_lose_a_picture(tmp_path: Path, exif: bytes) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(pattern()).save(path, exif=exif)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (frame,) = frames(path)
    assert frame.status is FrameStatus.OK and frame.rgb.shape == (48, 64, 3)


def test_sixteen_bits_are_scaled_not_clipped(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 48 * 64).round().astype(np.uint16).reshape(48, 64)
    exact = ramp / 257.0
    png(tmp_path / "grey.png", ramp, 16)
    Image.fromarray(ramp).save(tmp_path / "grey.tif")
    colour = np.stack([ramp, ramp[::-1], ramp[:, ::-1]], -1)
    png(tmp_path / "colour.png", colour, 16)
    for name in ("grey.png", "grey.tif"):
        (frame,) = frames(tmp_path / name)
        for channel in range(3):
            assert np.abs(frame.rgb[:, :, channel] - exact).max() <= 0.5
        assert frame.rgb.min() == 0 and frame.rgb.max() == 255
    (frame,) = frames(tmp_path / "colour.png")
    assert np.abs(frame.rgb - colour / 257.0).max() <= 1.0


def test_grey_palette_bits_and_cmyk(tmp_path: Path) -> None:
    grey = noise(1)[:, :, 0]
    Image.fromarray(grey).save(tmp_path / "grey.png")
    assert np.array_equal(frames(tmp_path / "grey.png")[0].rgb, np.stack([grey] * 3, -1))
    Image.fromarray(pattern(1)).quantize(8).save(tmp_path / "palette.png")
    assert np.abs(frames(tmp_path / "palette.png")[0].rgb.astype(int) - pattern(1)).max() <= 2
    Image.fromarray(grey > 128).save(tmp_path / "bits.png")
    bits = frames(tmp_path / "bits.png")[0].rgb
    assert np.array_equal(bits[:, :, 0] == 255, grey > 128) and set(np.unique(bits)) == {0, 255}
    Image.fromarray(pattern(1)).convert("CMYK").save(tmp_path / "cmyk.jpg", quality=95)
    cmyk = frames(tmp_path / "cmyk.jpg")[0].rgb
    for (y, x), colour in {(6, 6): (255, 0, 0), (6, 58): (0, 255, 0), (42, 58): (255,) * 3}.items():
        assert cmyk[y, x] == pytest.approx(colour, abs=12)


def test_what_is_transparent_is_blended_over_black(tmp_path: Path) -> None:
    colour = np.full((48, 64, 3), (200, 100, 50), np.uint8)
    alpha = np.tile(np.linspace(0, 255, 64).round().astype(np.uint8), (48, 1))
    Image.fromarray(np.dstack([colour, alpha])).save(tmp_path / "a.png")
    (frame,) = frames(tmp_path / "a.png")
    exact = colour * (alpha[:, :, None] / 255.0)
    assert np.abs(frame.rgb - exact).max() <= 0.5
    palette = Image.fromarray(pattern(0)).quantize(8)
    hidden = palette.getpixel((2, 2))
    palette.save(tmp_path / "p.png", transparency=hidden)
    (frame,) = frames(tmp_path / "p.png")
    assert (frame.rgb[2, 2] == 0).all() and frame.rgb[46, 62].min() > 250


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "CMYK", "I;16"])
@pytest.mark.parametrize("transparent", [False, True])
def test_large_pictures_are_converted_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, transparent: bool
) -> None:
    rng = np.random.default_rng(3)
    rgba = rng.integers(0, 256, (61, 40, 4)).astype(np.uint8)
    if mode == "I;16":
        picture = Image.fromarray(rng.integers(0, 65536, (61, 40)).astype(np.uint16))
    else:
        picture = Image.fromarray(rgba, "RGBA").convert(mode)
    path = tmp_path / ("x.tif" if mode == "CMYK" else "x.png")
    picture.save(path, **({"transparency": 7} if transparent and mode in "LP" else {}))
    whole = read_picture(path)[0]
    pieces = []
    conversion = images._band_rgb
    monkeypatch.setattr(images, "_PIXELS_AT_ONCE", 400)
    monkeypatch.setattr(
        images, "_band_rgb", lambda image, wide: pieces.append(image) or conversion(image, wide)
    )
    np.testing.assert_array_equal(read_picture(path)[0], whole)
    assert [piece.size for piece in pieces] == [(40, 10)] * 6 + [(40, 1)]


def test_thirty_two_bits_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.ones((8, 8), np.float32)).save(tmp_path / "a.tif")
    (frame,) = frames(tmp_path / "a.tif")
    assert frame.status is FrameStatus.DECODE_ERROR and "32-bit" in str(frame.error)
    cv2.imwrite(str(tmp_path / "b.tif"), np.ones((8, 8, 3), np.float32))  # which Pillow knows not
    (frame,) = frames(tmp_path / "b.tif")
    assert "b.tif begins as a picture and cannot be read as one" in str(frame.error)


def test_folder_in_natural_order_with_mixed_sizes(tmp_path: Path) -> None:
    for i, name in enumerate(["img1.png", "IMG2.png", "img10.png", "img010.png"]):
        Image.fromarray(pattern(i, 64 + 2 * i, 48)).save(tmp_path / name)
    Image.fromarray(pattern()).save(tmp_path / ".hidden.png")
    (tmp_path / "notes.txt").write_text("not a picture")
    (tmp_path / "Thumbs.db").write_bytes(b"\0" * 100)
    (tmp_path / "inner").mkdir()
    Image.fromarray(pattern()).save(tmp_path / "inner" / "img3.png")
    (tmp_path / "img5.png").mkdir()
    got = frames(tmp_path)
    assert [f.index for f in got] == [0, 1, 2, 3]
    # img010 and img10 are equal by number: the name decides.
    assert [f.width for f in got] == [64, 66, 70, 68]
    assert {f.time for f in got} == {None}


def test_a_broken_picture_is_one_frame(tmp_path: Path) -> None:
    for i in range(4):
        Image.fromarray(noise(i)).save(tmp_path / f"{i}.jpg")
    data = (tmp_path / "1.jpg").read_bytes()
    (tmp_path / "1.jpg").write_bytes(data[: len(data) // 2])
    (tmp_path / "2.jpg").unlink()
    (tmp_path / "2.jpg").symlink_to(tmp_path / "gone.jpg")
    got = frames(tmp_path)
    assert [f.status.value for f in got] == ["ok", "decode_error", "decode_error", "ok"]
    assert "1.jpg" in str(got[1].error) and "2.jpg" in str(got[2].error)
    assert (got[1].width, got[1].height) == (0, 0)
    with pytest.raises(ValueError, match="no pixels"):
        _ = got[1].rgb


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.jpg", {}),
        ("a.jpg", {"progressive": True}),
        ("a.png", {}),
        ("a.webp", {}),
        ("a.tif", {}),
        ("a.bmp", {}),
        ("a.gif", {}),
    ],
)
def test_a_picture_cut_anywhere_never_passes(tmp_path: Path, name: str, options: dict) -> None:
    path = tmp_path / name
    Image.fromarray(noise(0, 160, 120)).save(path, **options)
    data = path.read_bytes()
    assert frames(path)[0].status is FrameStatus.OK
    whole = frames(path)[0].rgb
    for keep in (0.05, 0.3, 0.5, 0.8, 0.95):
        path.write_bytes(data[: int(len(data) * keep)])
        (frame,) = frames(path)
        # Some formats end in what is not the picture: cut there, all its pixels may be whole.
        assert frame.status is FrameStatus.DECODE_ERROR or np.array_equal(frame.rgb, whole), keep
        assert frame.status is FrameStatus.DECODE_ERROR or keep > 0.9


def test_sizes(tmp_path: Path) -> None:
    Image.new("L", (12_000, 7_500), 7).save(tmp_path / "wide.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (frame,) = frames(tmp_path / "wide.png")
    assert (frame.width, frame.height) == (12_000, 7_500)
    png(tmp_path / "bomb.png", np.zeros((4, 4), np.uint8), 8, size=(60_000, 60_000))
    (frame,) = frames(tmp_path / "bomb.png")
    assert frame.status is FrameStatus.DECODE_ERROR and "refused" in str(frame.error)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jpg", b"", "empty"),
        ("a.jpg", b"a letter", "not a picture"),
        ("a.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
        ("a.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a picture"),
    ],
)
def test_what_is_no_picture(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    (frame,) = frames(tmp_path / name)
    assert frame.status is FrameStatus.DECODE_ERROR
    assert said in str(frame.error) and name in str(frame.error)
    assert str(tmp_path) not in str(frame.error)


def test_a_folder_without_pictures(tmp_path: Path) -> None:
    (tmp_path / "film.mp4").write_bytes(b"x")
    with pytest.raises(MediaError) as caught:
        frames(tmp_path)
    assert caught.value.status is SampleStatus.NO_IMAGES


def test_pictures_have_no_time_range(tmp_path: Path) -> None:
    Image.fromarray(pattern()).save(tmp_path / "a.png")
    with pytest.raises(MediaError, match="remove start and end"):
        open_media(Sample("s", tmp_path / "a.png", "s", start=1.0))


def test_chosen_pictures_touch_no_other_file(tmp_path: Path) -> None:
    for i in range(5):
        Image.fromarray(pattern(i)).save(tmp_path / f"{i}.png")
    for i in (0, 2, 4):
        (tmp_path / f"{i}.png").unlink()
        (tmp_path / f"{i}.png").symlink_to(tmp_path / "gone")
    got = list(read_frames(Sample("s", tmp_path, "s"), [1, 3]))
    assert [f.index for f in got] == [1, 3]
    assert all(np.array_equal(f.rgb, pattern(f.index)) for f in got)
    with pytest.raises(ValueError, match="no picture 5"):
        list(read_frames(Sample("s", tmp_path, "s"), [5]))


def test_sizes_are_read_without_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, width in (("a.jpg", 40), ("b.png", 50), ("c.webp", 60)):
        Image.fromarray(pattern(width=width)).save(tmp_path / name)
    (tmp_path / "d.jpg").write_bytes(b"no picture")
    (tmp_path / "e.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:400])
    with open_media(Sample("s", tmp_path, "s")) as media:
        found = [(frame.width, frame.height) for frame in media]
        assert found == [(40, 48), (50, 48), (60, 48), (0, 0), (0, 0)]
        monkeypatch.setattr("facemake.media.images.read_picture", None)
        assert list(media.sizes())[:4] == found[:4]
