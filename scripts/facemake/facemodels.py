"""Face models that a user built: where their files are, and that they are still what they were.

`facemake models build NAME FOLDER` makes `NAME.npz` from the files of the model's maker, which some
licences let nobody pass on. Such a file is in no registry: its SHA-256 is pinned beside it
(`facemake.pins`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from facemake.errors import ModelError
from facemake.pins import verify_pin

SOURCES: Mapping[str, str] = MappingProxyType(
    {
        "ict-facekit": "the folder FaceXModel of https://github.com/ICT-VGL/ICT-FaceKit (MIT)",
        "bfm2009": "01_MorphableModel.mat, which needs a licence of your own, from "
        "https://faces.dmi.unibas.ch/bfm/ with Exp_Pca.bin and std_exp.txt from "
        "https://github.com/Juyong/3DFace, or the prepared folder of a 3DI install",
        "openface-pdm": "In-the-wild_aligned_PDM_68.txt of "
        "https://github.com/TadasBaltrusaitis/OpenFace (academic licence)",
    }
)
"""Name in the config (`fit.model`) -> the files that it is built from, and where they are."""


@dataclass(frozen=True)
class BuiltModel:
    """A model file of the user's.

    Attributes:
        name: in the config; its file is `{name}.npz`.
        path: of the file.
        sha256: of its bytes, as pinned.
        licence, citation: as the file says.
        pdm: along which modes its 34 local parameters are, in words.
    """

    name: str
    path: Path
    sha256: str
    licence: str
    citation: str
    pdm: str

    @property
    def provenance(self) -> dict[str, str]:
        """What a recipe says of the model."""
        return {
            "name": self.name,
            "sha256": self.sha256,
            "licence": self.licence,
            "citation": self.citation,
            "pdm": self.pdm,
        }


def default_folder() -> Path:
    """Where `facemake models build` puts models."""
    return Path.home() / ".local" / "share" / "facemake" / "models"


def folders(models_dir: str | Path | None = None) -> list[Path]:
    """Where built models are looked for: `models_dir`, FACEMAKE_MODELS, the default folder."""
    named = [str(Path(models_dir).expanduser().absolute())] if models_dir else []
    named += [p for p in os.environ.get("FACEMAKE_MODELS", "").split(os.pathsep) if p]
    return [Path(p) for p in dict.fromkeys([*named, str(default_folder())])]


def find(name: str, models_dir: str | Path | None = None) -> BuiltModel:
    """The verified file of a built model.

    Args:
        name: of SOURCES.
        models_dir: as the config has it; stages find it in FACEMAKE_MODELS already.

    Raises:
        ModelError: it is not there, has another SHA-256 than the one pinned beside it, or is no
            face model file. The message says what to run.
    """
    for folder in folders(models_dir):
        path = folder / f"{name}.npz"
        if path.is_file():
            sha256 = verify_pin(path)
            words = describe(path)
            return BuiltModel(name, path, sha256, words["licence"], words["citation"], words["pdm"])
    looked = ", ".join(str(folder) for folder in folders(models_dir))
    raise ModelError(
        f"the face model {name} is not built: there is no {name}.npz in {looked}; run "
        f"`facemake models build {name} FOLDER`, where FOLDER has {SOURCES[name]}"
    )


def present() -> list[str]:
    """The names of SOURCES of which there is a file, verified or not."""
    return [n for n in SOURCES if any((f / f"{n}.npz").is_file() for f in folders())]


def describe(path: Path) -> dict[str, str]:
    """Name, licence, citation and `pdm` of a face model file, read without its shapes.

    Raises:
        ModelError: it is no face model file.
    """
    import zipfile  # both here: a cluster job parses this module and reads no model

    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as archive:
            words = {key: str(archive[key]) for key in ("name", "licence", "citation")}
            own = str(archive["pdm_name"]) if "pdm_name" in archive.files else ""
    except (ValueError, OSError, EOFError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise ModelError(f"{path} is not a face model file of facemake: {error}") from None
    return {**words, "pdm": own or f"34 modes derived from {words['name']}"}
