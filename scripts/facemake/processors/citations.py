"""What to cite for what a processor did."""

from __future__ import annotations

from facemake.backends.threedi import CITATIONS, FACTS, Engine, Options
from facemake.version import __version__

BFM = (
    "Paysan, Knothe, Amberg, Romdhani & Vetter, A 3D Face Model for Pose and Illumination "
    "Invariant Face Recognition, IEEE AVSS (2009) 296-301, https://doi.org/10.1109/AVSS.2009.58"
)
LANDMARKS = (
    "Sariyanidi, Zampella, Schultz & Tunc, Can Facial Pose and Expression Be Separated with Weak "
    "Perspective Camera?, IEEE/CVF CVPR (2020) 7173-7182, "
    "https://doi.org/10.1109/CVPR42600.2020.00720"
)
IBUG = (
    "Sagonas, Tzimiropoulos, Zafeiriou & Pantic, 300 Faces in-the-Wild Challenge, IEEE ICCV "
    "Workshops (2013) 397-403, https://doi.org/10.1109/ICCVW.2013.59"
)
FACEMAKE = f"facemake {__version__}: see CITATION.cff, which comes with it"


def citation(options: Options) -> str:
    """Words for a paper that used 3DI or 3DI-lite, and its references."""
    name = FACTS[options.engine].name
    if options.engine is Engine.FULL and options.undistorts:
        camera = "the camera was calibrated and the videos were undistorted"
    elif options.engine is Engine.FULL:
        camera = f"a field of view of {options.camera:g} degrees was assumed"
    else:
        camera = "no camera was assumed"
    references = [FACEMAKE, CITATIONS[options.engine], BFM, LANDMARKS]
    basis = 2
    if options.engine is Engine.FULL:
        references.append(CITATIONS[Engine.LITE])  # whose paper has the Facial Basis
        basis = len(references)
    return _text(
        f"Faces were analysed by {name} [2], driven by facemake [1], with the Basel Face Model "
        f"2009 [3] as its face model and 51 landmarks in iBUG's scheme [4]; {camera}.",
        f"Where localized expressions are used: they are of the Facial Basis [{basis}].",
        references,
    )


def native_citation(model: str, model_citation: str) -> str:
    """Words for a paper that used facemake's own engine, and its references."""
    return _text(
        f"Faces were analysed by facemake [1]: its linear face model {model} [2] was fitted to "
        "landmarks, of which 51 in iBUG's scheme [3] are given.",
        "Every table names the models that it rests on, with their licences and citations: "
        "facemake provenance FILE.",
        [FACEMAKE, model_citation, IBUG],
    )


def _text(what: str, more: str, references: list[str]) -> str:
    listed = [f"[{i}] {reference}" for i, reference in enumerate(references, start=1)]
    return "\n".join([what, more, "", *listed])
