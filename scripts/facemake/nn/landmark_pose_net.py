"""UnifiedLandmarkPoseNet: landmarks, pose and shape of an aligned face in one pass."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import nn
from torch.nn import functional

from facemake.nn.backbones import MobileNetV2Backbone, set_bias

OUTPUTS = ("landmarks", "global_params", "local_params")
"""By the names of the training set's fields."""

_SMALLEST_SCALE = 0.1
_TRANSLATION = 100.0
"""px: the order of tx and ty, the middle of the face in the crop."""


class LandmarkHead(nn.Module):
    """(n, features) to (n, 2 * num_landmarks) in [0, 1] of the crop.

    Args:
        features: of the backbone.
        num_landmarks: points.
    """

    def __init__(self, features: int, num_landmarks: int) -> None:
        super().__init__()
        self.fc = nn.Sequential(
            *_layer(features, 512),
            nn.Dropout(0.2),
            *_layer(512, 256),
            nn.Linear(256, num_landmarks * 2),
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """See the class."""
        return torch.sigmoid(self.fc(features))


class ParamsHead(nn.Module):
    """(n, features) to (n, number), of any size.

    Args:
        features: of the backbone.
        number: of parameters.
    """

    def __init__(self, features: int, number: int) -> None:
        super().__init__()
        self.fc = nn.Sequential(
            *_layer(features, 256), nn.Dropout(0.2), *_layer(256, 128), nn.Linear(128, number)
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """See the class."""
        found: torch.Tensor = self.fc(features)
        return found


class GlobalParamsHead(ParamsHead):
    """(n, features) to (n, 6) scale, rx, ry, rz, tx, ty.

    The scale is positive, angles are within a quarter turn, the translation is of any size.

    Args:
        features: of the backbone.
    """

    def __init__(self, features: int) -> None:
        super().__init__(features, 6)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """See the class."""
        raw = super().forward(features)
        scale = functional.softplus(raw[:, :1]) + _SMALLEST_SCALE
        angles = torch.tanh(raw[:, 1:4]) * (math.pi / 2)
        return torch.cat([scale, angles, raw[:, 4:] * _TRANSLATION], dim=1)


def _layer(before: int, after: int) -> tuple[nn.Module, nn.Module]:
    return nn.Linear(before, after), nn.ReLU(inplace=True)


class UnifiedLandmarkPoseNet(nn.Module):
    """MobileNetV2 with three heads; 3,772,848 parameters at a width of 1.

    Parts are called as in pyfaceau, whose checkpoints load.

    Args:
        width_mult: of the backbone's channels.
        num_landmarks: points; 68 for iBUG-68.
        num_local_params: modes of the point distribution model.
        image_size: px, the side of the crop.
    """

    def __init__(
        self,
        width_mult: float = 1.0,
        num_landmarks: int = 68,
        num_local_params: int = 34,
        image_size: int = 112,
    ) -> None:
        super().__init__()
        self.image_size = image_size
        self.num_landmarks = num_landmarks
        self.backbone = MobileNetV2Backbone(width_mult)
        features = self.backbone.last_channel
        self.landmark_head = LandmarkHead(features, num_landmarks)
        self.global_params_head = GlobalParamsHead(features)
        self.local_params_head = ParamsHead(features, num_local_params)

    def start_from(self, means: Mapping[str, torch.Tensor]) -> None:
        """Have a new network give about the mean labels, before it sees any difference.

        Args:
            means: `landmarks` (68, 2) px, `global_params` (6,), `local_params` (34,); NaN where
                there is no label, which leaves what is there.
        """
        share = (means["landmarks"].flatten() / self.image_size).clamp(0.01, 0.99)
        scale, angles, shift = means["global_params"].split([1, 3, 2])
        above = (scale - _SMALLEST_SCALE).clamp(min=1e-3)
        raw = (
            above.expm1().log(),  # of softplus
            (angles / (math.pi / 2)).clamp(-0.99, 0.99).atanh(),
            shift / _TRANSLATION,
        )
        for head, wanted in (
            (self.landmark_head, share.logit()),
            (self.global_params_head, torch.cat(raw)),
            (self.local_params_head, means["local_params"]),
        ):
            set_bias(head.fc[-1], wanted)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Predict.

        Args:
            x: (n, 3, image_size, image_size) float32 RGB in [0, 1].

        Returns:
            `landmarks` (n, num_landmarks, 2) in [0, image_size], crop pixels; `global_params`
            (n, 6) scale (px/mm), rx, ry, rz (rad), tx, ty (crop px); `local_params`
            (n, num_local_params), mm along the modes of the training set's model.
        """
        features = self.backbone(x)
        points = self.landmark_head(features) * self.image_size
        return {
            "landmarks": points.view(-1, self.num_landmarks, 2),
            "global_params": self.global_params_head(features),
            "local_params": self.local_params_head(features),
        }
