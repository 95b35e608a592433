"""3DI and 3DI-lite: programs that a laboratory has installed, run as they are.

Both need an NVIDIA GPU and the Basel Face Model, which each user licenses; nothing of them is in
facemake. `install` finds them (a folder, a Singularity or a Docker image), `runtimes` start one
program there, `programs` is the table of what they are called with, `rawfiles` what they write,
`run` runs a program and takes nothing on trust, `sidecar` is the word beside each file, `model`
asks an install for its mean face and its expressions, `convert` makes columns of tables from raw
files.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class Engine(StrEnum):
    """Which of the two; the word of the config."""

    FULL = "3di"
    LITE = "3dilite"


@dataclass(frozen=True, kw_only=True)
class EngineFacts:
    """What an install of an engine is called and has.

    Attributes:
        name: as files and people call it.
        suffix: of its raw files.
        variable: the environment variable with its folder.
        executable: what an install must hold.
        folder: where it is in an image.
        morphable_model, basis: names of the models that it uses by default.
        n_local: coefficients of the default localized basis.
    """

    name: str
    suffix: str
    variable: str
    executable: str
    folder: str
    morphable_model: str
    basis: str
    n_local: int


FACTS = MappingProxyType(
    {
        Engine.FULL: EngineFacts(
            name="3DI",
            suffix=".3DI",
            variable="BITBOX_3DI",
            executable="video_learn_identity",
            folder="/app/3DI",
            morphable_model="BFMmm-19830",
            basis="0.0.1.F591-cd-K32d",
            n_local=32,
        ),
        Engine.LITE: EngineFacts(
            name="3DI-lite",
            suffix=".3DIl",
            variable="BITBOX_3DI_LITE",
            executable="process_video.py",
            folder="/app/3DI_lite",
            morphable_model="BFMmm-23660",
            basis="local_basis_FacialBasis1.0",
            n_local=50,
        ),
    }
)
"""Of compsygroup/3DI v0.3 and sariyanidi/FacialBasis, as bitbox installs them."""

LICENCE = "the user's own 3DI install, with the Basel Face Model 2009 (each user's own)"

CITATIONS = MappingProxyType(
    {
        Engine.FULL: "Sariyanidi, Zampella, Schultz & Tunc, Inequality-Constrained 3D Morphable "
        "Face Model Fitting, IEEE TPAMI 46(2) (2024) 1305-1318, "
        "https://doi.org/10.1109/TPAMI.2023.3334948",
        Engine.LITE: "Sariyanidi et al., Beyond FACS: Data-driven Facial Expression Dictionaries, "
        "with Application to Predicting Autism, FG (2025), "
        "https://doi.org/10.1109/FG61629.2025.11099288",
    }
)
"""What to cite for each engine."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """How an engine is run; what the config and the Python interface may choose.

    Attributes:
        engine: which.
        camera: field of view across the picture's width in degrees, or the path of the camera's
            calibration file as 3DI writes it.
        landmark_model: names the landmark configuration.
        morphable_model, basis: names of models in the install; "" takes the engine's default.
        fast: the faster, less steady configuration (3DI alone has one).
        normalize: whether localized expressions are normalised by the engine's own statistics.
    """

    engine: Engine
    camera: int | float | str = 30
    landmark_model: str = "global4"
    morphable_model: str = ""
    basis: str = ""
    fast: bool = False
    normalize: bool = True

    def __post_init__(self) -> None:
        """Fill in the engine's own names."""
        facts = FACTS[self.engine]
        object.__setattr__(self, "morphable_model", self.morphable_model or facts.morphable_model)
        object.__setattr__(self, "basis", self.basis or facts.basis)

    @property
    def config_file(self) -> str:
        """The landmark configuration, relative to the install: cfg1 is accurate, cfg2 fast."""
        number = 2 if self.fast and self.engine is Engine.FULL else 1
        return f"configs/{self.morphable_model}.cfg{number}.{self.landmark_model}.txt"

    @property
    def undistorts(self) -> bool:
        """Whether the camera is a calibration file, so that the video is undistorted first."""
        return isinstance(self.camera, str)
