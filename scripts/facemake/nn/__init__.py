"""Small networks that the training set is for: landmarks with pose, and action units.

What is offered here is imported when it is first asked for; the networks need PyTorch.
"""

from importlib import import_module
from types import MappingProxyType

_OFFERED = MappingProxyType(
    {
        "AUPredictionLoss": "facemake.nn.losses",
        "AUPredictionNet": "facemake.nn.au_prediction_net",
        "AU_DESCRIPTIONS": "facemake.nn.action_units",
        "AU_NAMES": "facemake.nn.action_units",
        "ConcordanceCorrelationLoss": "facemake.nn.losses",
        "LandmarkPoseLoss": "facemake.nn.losses",
        "NUM_AUS": "facemake.nn.action_units",
        "UnifiedLandmarkPoseNet": "facemake.nn.landmark_pose_net",
        "WingLoss": "facemake.nn.losses",
    }
)
"""Name -> the module that has it."""

__all__ = [*_OFFERED]


def __getattr__(name: str) -> object:
    """Import a name that is offered when it is first asked for."""
    if name not in _OFFERED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(_OFFERED[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_OFFERED})
