"""Small networks that the training set is for: landmarks with pose, and action units.

What is offered here is imported when it is first asked for. The networks themselves need PyTorch;
predictors compute ONNX files without it.
"""

from types import MappingProxyType

from facemake.lazy import offered

_OFFERED = MappingProxyType(
    {
        "AUPredictionLoss": "facemake.nn.losses",
        "AUPredictionNet": "facemake.nn.au_prediction_net",
        "AU_DESCRIPTIONS": "facemake.nn.action_units",
        "AU_NAMES": "facemake.nn.action_units",
        "AUPredictor": "facemake.nn.au_prediction_inference",
        "ConcordanceCorrelationLoss": "facemake.nn.losses",
        "LandmarkPoseLoss": "facemake.nn.losses",
        "LandmarkPosePredictor": "facemake.nn.landmark_pose_inference",
        "NUM_AUS": "facemake.nn.action_units",
        "TrainingDataset": "facemake.nn.loader",
        "UnifiedLandmarkPoseNet": "facemake.nn.landmark_pose_net",
        "WingLoss": "facemake.nn.losses",
        "export_au_to_coreml": "facemake.nn.export",
        "export_au_to_onnx": "facemake.nn.export",
        "export_to_coreml": "facemake.nn.export",
        "export_to_onnx": "facemake.nn.export",
        "load_au_predictor": "facemake.nn.au_prediction_inference",
        "load_predictor": "facemake.nn.landmark_pose_inference",
    }
)
"""Name -> the module that has it."""

__all__ = [*_OFFERED]
__getattr__, __dir__ = offered(__name__, _OFFERED, {"torch": "facemake.backends.torch_model"})
