"""How faces are cut, by name: templates and what goes with them. Nothing heavy is imported here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType

from facemake.backends import Backend
from facemake.backends.detect import DETECTORS, DetectorBackend
from facemake.backends.eyes import EYE_FINDERS
from facemake.backends.landmarks import LANDMARKERS
from facemake.errors import ConfigError
from facemake.template import CROP_SIZE

FORMATS = ("jpg", "png")
QUALITY = 95

DINO_SIZE = 256
DINO_PADDING = 0.2

SMALLEST_TILE = 128
"""px: the least that the config's `detect.tile` takes."""


def check_whole(name: str, value: int, least: int, most: int | None = None) -> None:
    """Refuse what is no whole number of a range.

    Raises:
        ConfigError: with the range.
    """
    whole = isinstance(value, int) and not isinstance(value, bool)
    if whole and least <= value and (most is None or value <= most):
        return
    wanted = f"{least} or more" if most is None else f"{least} to {most}"
    raise ConfigError(f"{name} must be a whole number, {wanted}, not {value!r}")


@dataclass(frozen=True)
class Template:
    """A template's row.

    Attributes:
        name: in configs, tables and calls.
        says: what it is, in a line.
        needs: `eyes` (the points of the detector, at least both eyes), `landmarks`, or nothing.
        size: px, of its square; None: that of the box.
        padding: share of the box that is added on each side; None: it is no cut of the box.
    """

    name: str
    says: str
    needs: str = ""
    size: int | None = CROP_SIZE
    padding: float | None = None


TEMPLATES = MappingProxyType(
    {
        one.name: one
        for one in (
            Template(
                "arcface112",
                "112 x 112 px, aligned by eyes, nose and mouth corners, as face recognition "
                "networks expect it",
                needs="eyes",
            ),
            Template(
                "openface112",
                "112 x 112 px, aligned by the landmarks of nose and eye corners, as in the "
                "training set, at OpenFace 2.0's scale (0.7 px/mm)",
                needs="landmarks",
            ),
            Template(
                "dino256",
                "the box plus 20 % on each side, squashed to 256 x 256 px, as DINOv3 takes it",
                size=DINO_SIZE,
                padding=DINO_PADDING,
            ),
            Template("raw", "the pixels of the box", size=None, padding=0.0),
        )
    }
)
DEFAULT = "arcface112"


@dataclass(frozen=True)
class CropSettings:
    """How faces are cut.

    Attributes:
        template: of `TEMPLATES`.
        padding: share of the box on each side; None: the template's own.
        format: of `FORMATS`.
        quality: of JPEG.
        landmarks: the network that finds the landmarks of `openface112`.
    """

    template: str
    padding: float | None
    format: str
    quality: int
    landmarks: str = "mediapipe478"

    def __post_init__(self) -> None:
        """Refuse what does not go together.

        Raises:
            ConfigError: with the cure.
        """
        if self.template not in TEMPLATES:
            raise ConfigError(
                f"there is no template {self.template}; there are {', '.join(TEMPLATES)}"
            )
        if self.format not in FORMATS:
            raise ConfigError(f"crops are {' or '.join(FORMATS)}, not {self.format}")
        check_whole("the quality of JPEG", self.quality, 1, 100)
        able = [name for name, row in LANDMARKERS.items() if not row.given]
        if self.landmarks not in able:
            raise ConfigError(
                f"there are no landmarks {self.landmarks}; there are {', '.join(able)}"
            )
        if self.padding is not None:
            if TEMPLATES[self.template].padding is None:
                raise ConfigError(
                    f"the template {self.template} fixes how large a face is: it takes no padding"
                )
            if not isinstance(self.padding, float | int) or not 0 <= self.padding <= 10:
                raise ConfigError(
                    f"the padding is a share of the box on each side, 0 to 10, not {self.padding!r}"
                )

    @property
    def rule(self) -> Template:
        """The template, with the padding."""
        row = TEMPLATES[self.template]
        return row if self.padding is None else replace(row, padding=float(self.padding))

    def backends(self, backend: str) -> tuple[Backend, ...]:
        """Whom, besides the detector, crops of its faces may need."""
        needs = self.rule.needs
        if needs == "landmarks":
            return (LANDMARKERS[self.landmarks],)
        name = self.eyes(DETECTORS[backend])
        return (EYE_FINDERS[name],) if name else ()

    def eyes(self, detector: DetectorBackend) -> str:
        """Who finds the eyes of a detector's faces where the template needs them; "": nobody."""
        return detector.eyes if self.rule.needs == "eyes" else ""
