"""AUPredictionNet: intensities of action units of an aligned face in one pass."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from facemake.nn.action_units import NUM_AUS
from facemake.nn.backbones import EfficientNetLiteBackbone, set_bias

OUTPUTS = ("au_intensities",)
"""By the name of the training set's field."""

HIGHEST = 5.0
"""Of an intensity."""


class AUHead(nn.Module):
    """(n, features) to (n, 17), 0 and more.

    Args:
        features: of the backbone.
        dropout: share of features that are left out at random in training.
    """

    def __init__(self, features: int, dropout: float) -> None:
        super().__init__()
        self.fc = nn.Sequential(
            nn.Linear(features, 256),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(256, 128),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(128, NUM_AUS),
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """See the class."""
        found: torch.Tensor = self.fc(features)
        return found


class AUPredictionNet(nn.Module):
    """EfficientNet-Lite with one head; 7,388,669 parameters at a width of 1.

    Parts are called as in pyfaceau, whose checkpoints load.

    Args:
        width_mult: of the backbone's channels.
        dropout: see `AUHead`.
    """

    def __init__(self, width_mult: float = 1.0, dropout: float = 0.3) -> None:
        super().__init__()
        self.backbone = EfficientNetLiteBackbone(width_mult)
        self.au_head = AUHead(self.backbone.last_channel, dropout)

    def start_from(self, means: Mapping[str, torch.Tensor]) -> None:
        """Have a new network give about the mean labels: `au_intensities` (17,), NaN for none."""
        set_bias(self.au_head.fc[-1], means["au_intensities"])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Predict.

        Args:
            x: (n, 3, 112, 112) float32 RGB in [0, 1].

        Returns:
            (n, 17) in [0, 5], in the order of `AU_NAMES`; in training what is below 0 or above 5
            stays so, since the loss can pull back only what it sees.
        """
        raw: torch.Tensor = self.au_head(self.backbone(x))
        return raw if self.training else raw.clamp(0.0, HIGHEST)
