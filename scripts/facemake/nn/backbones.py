"""Backbones: from a picture to 1280 features, by inverted residual blocks.

Both are a stem, stages of blocks and a last convolution before the mean over the picture. How many
channels and blocks a stage has stands in a table as in the papers: MobileNetV2 (Sandler et al.
2018, table 2) and EfficientNet-B0 (Tan & Le 2019, table 1), that one with kernels of 3 px alone,
as pyfaceau has it. Parts are called as in pyfaceau, so that its checkpoints load.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

STEM_CHANNELS = 32
FEATURES = 1280


@dataclass(frozen=True)
class Stage:
    """Blocks of one width.

    Attributes:
        expand: how many times wider a block is inside.
        channels: it gives, at a width of 1.
        blocks: how many.
        stride: of the first one.
        attention: whether its blocks weigh their channels (squeeze and excitation).
    """

    expand: int
    channels: int
    blocks: int
    stride: int
    attention: bool = False


MOBILENET_V2 = (
    Stage(1, 16, 1, 1),
    Stage(6, 24, 2, 2),
    Stage(6, 32, 3, 2),
    Stage(6, 64, 4, 2),
    Stage(6, 96, 3, 1),
    Stage(6, 160, 3, 2),
    Stage(6, 320, 1, 1),
)
EFFICIENTNET_LITE = (
    Stage(1, 16, 1, 1),
    Stage(6, 24, 2, 2),
    Stage(6, 40, 2, 2, attention=True),
    Stage(6, 80, 3, 2, attention=True),
    Stage(6, 112, 3, 1, attention=True),
    Stage(6, 192, 4, 2, attention=True),
    Stage(6, 320, 1, 1, attention=True),
)

Activation = Callable[[], nn.Module]


def _relu6() -> nn.Module:
    return nn.ReLU6(inplace=True)


def _silu() -> nn.Module:
    return nn.SiLU(inplace=True)


class SqueezeExcitation(nn.Module):
    """Weighs each channel by what all of them are on average (Hu et al. 2018).

    Args:
        channels: of the picture.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = max(1, channels // 4)
        self.fc1 = nn.Conv2d(channels, inner, 1)
        self.fc2 = nn.Conv2d(inner, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, C, H, W) to the same."""
        mean = x.mean(dim=(2, 3), keepdim=True)
        return x * torch.sigmoid(self.fc2(torch.relu(self.fc1(mean))))


class InvertedResidual(nn.Module):
    """Wide inside, narrow outside, with a way around where shapes allow it (Sandler et al. 2018).

    Args:
        before: channels that come in.
        after: channels that go out.
        stride: of the convolution over neighbours.
        stage: what else its stage says.
        activation: makes the non-linearity.
    """

    def __init__(
        self, before: int, after: int, stride: int, stage: Stage, activation: Activation
    ) -> None:
        super().__init__()
        self.around = stride == 1 and before == after
        inside = before * stage.expand
        parts: list[nn.Module] = []
        if stage.expand != 1:
            parts += _convolution(before, inside, 1, 1, activation)
        parts += _convolution(inside, inside, 3, stride, activation, groups=inside)
        if stage.attention:
            parts.append(SqueezeExcitation(inside))
        parts += [nn.Conv2d(inside, after, 1, bias=False), nn.BatchNorm2d(after)]
        self.conv = nn.Sequential(*parts)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, before, H, W) to (n, after, H / stride, W / stride)."""
        found: torch.Tensor = self.conv(x)
        return x + found if self.around else found


def _convolution(
    before: int, after: int, size: int, stride: int, activation: Activation, groups: int = 1
) -> list[nn.Module]:
    return [
        nn.Conv2d(before, after, size, stride, size // 2, groups=groups, bias=False),
        nn.BatchNorm2d(after),
        activation(),
    ]


def _blocks(
    stages: tuple[Stage, ...], width_mult: float, activation: Activation
) -> tuple[nn.ModuleList, int]:
    """All blocks in a row, and how many channels the last one gives."""
    channels = _wide(STEM_CHANNELS, width_mult)
    blocks = nn.ModuleList()
    for stage in stages:
        after = _wide(stage.channels, width_mult)
        for number in range(stage.blocks):
            stride = stage.stride if number == 0 else 1
            blocks.append(InvertedResidual(channels, after, stride, stage, activation))
            channels = after
    return blocks, channels


def _wide(channels: int, width_mult: float) -> int:
    wide = int(channels * width_mult)
    if wide < 1:
        raise ValueError(f"width_mult is {width_mult}, which leaves no channel of {channels}")
    return wide


def features_of(width_mult: float) -> int:
    """How many features a backbone gives: fewer channels before are no reason for fewer here."""
    return max(FEATURES, int(FEATURES * width_mult))


def _initialise(network: nn.Module) -> None:
    """As the papers' authors do: He et al. (2015) for convolutions."""
    for part in network.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out")
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def set_bias(layer: nn.Linear, wanted: torch.Tensor) -> None:
    """Give a layer this bias, where it is a number."""
    with torch.no_grad():
        layer.bias.copy_(torch.where(torch.isfinite(wanted), wanted.to(layer.bias), layer.bias))


class _Backbone(nn.Module):
    """A stem, blocks, a last convolution and the mean over the picture.

    Args:
        width_mult: of the number of channels.

    Attributes:
        last_channel: number of features.
    """

    stages: ClassVar[tuple[Stage, ...]]
    activation: ClassVar[Activation]
    ends: ClassVar[tuple[str, str]]
    """What the stem and the last convolution are called."""

    def __init__(self, width_mult: float = 1.0) -> None:
        super().__init__()
        first, last = self.ends
        make = type(self).activation
        stem = _wide(STEM_CHANNELS, width_mult)
        self.add_module(first, nn.Sequential(*_convolution(3, stem, 3, 2, make)))
        self.blocks, channels = _blocks(self.stages, width_mult, make)
        self.last_channel = features_of(width_mult)
        self.add_module(last, nn.Sequential(*_convolution(channels, self.last_channel, 1, 1, make)))
        _initialise(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, 3, H, W) float in [0, 1] to (n, last_channel)."""
        first, last = self.ends
        x = self.get_submodule(first)(x)
        for block in self.blocks:
            x = block(x)
        features: torch.Tensor = self.get_submodule(last)(x).mean(dim=(2, 3))
        return features


class MobileNetV2Backbone(_Backbone):
    """MobileNetV2 without its classifier; see `_Backbone`."""

    stages = MOBILENET_V2
    activation = staticmethod(_relu6)
    ends = ("first_conv", "last_conv")


class EfficientNetLiteBackbone(_Backbone):
    """EfficientNet-B0's stages without its classifier; see `_Backbone`."""

    stages = EFFICIENTNET_LITE
    activation = staticmethod(_silu)
    ends = ("stem", "head")
