"""Losses. A label that is NaN is missing and counts for nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import nn
from torch.nn import functional

LEAST_SPREAD = 0.1
"""Standard deviation of an intensity (0-5) below which an action unit does not move."""


def known(target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Where labels are, and labels with a number in place of each missing one.

    Returns:
        A boolean mask, and the labels; both of the shape of `target`.
    """
    mask = ~torch.isnan(target)
    return mask, torch.where(mask, target, torch.zeros_like(target))


def masked_mean(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The mean of what counts; 0 where nothing does, and then without a gradient that is NaN."""
    kept = torch.where(mask, values, torch.zeros_like(values))
    return kept.sum() / mask.sum().clamp(min=1)


class WingLoss(nn.Module):
    """Wing loss (Feng et al. 2018, equation 5): steep for small errors, straight for large ones.

    Args:
        w: px, from where on it is straight.
        epsilon: px, how sharply it bends near zero.
    """

    def __init__(self, w: float = 10.0, epsilon: float = 2.0) -> None:
        super().__init__()
        self.w = w
        self.epsilon = epsilon

    def forward(self, pred: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """The mean over all coordinates; both of one shape."""
        mask, wanted = known(target)
        error = (pred - wanted).abs()
        near = self.w * torch.log1p(error / self.epsilon)
        far = error - (self.w - self.w * math.log1p(self.w / self.epsilon))
        return masked_mean(torch.where(error < self.w, near, far), mask)


class LandmarkPoseLoss(nn.Module):
    """Wing loss of landmarks, squared error of pose, absolute error of shape.

    Args:
        landmark_weight: of the first.
        global_params_weight: of the second.
        local_params_weight: of the third.
    """

    def __init__(
        self,
        landmark_weight: float = 1.0,
        global_params_weight: float = 0.1,
        local_params_weight: float = 0.01,
    ) -> None:
        super().__init__()
        self.weights = {
            "landmark": landmark_weight,
            "global_params": global_params_weight,
            "local_params": local_params_weight,
        }
        self.wing_loss = WingLoss()

    def forward(
        self, pred: Mapping[str, torch.Tensor], target: Mapping[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """The losses of a batch.

        Args:
            pred: as `UnifiedLandmarkPoseNet` gives it.
            target: the same keys.

        Returns:
            `total`, and unweighted `landmark`, `global_params`, `local_params`.
        """
        pose_mask, pose = known(target["global_params"])
        shape_mask, shape = known(target["local_params"])
        losses = {
            "landmark": self.wing_loss(pred["landmarks"], target["landmarks"]),
            "global_params": masked_mean((pred["global_params"] - pose) ** 2, pose_mask),
            "local_params": masked_mean((pred["local_params"] - shape).abs(), shape_mask),
        }
        total = torch.stack([self.weights[name] * loss for name, loss in losses.items()]).sum()
        return {"total": total, **losses}


class ConcordanceCorrelationLoss(nn.Module):
    """1 - CCC, the mean over columns (Lin 1989).

    CCC = 2 cov(x, y) / (var(x) + var(y) + (mean(x) - mean(y))^2), over a batch. A column of which
    fewer than two rows have a label counts for nothing.

    Args:
        eps: added to the denominator, so that columns that do not vary have a value.

    Attributes:
        counted: (C,) which columns count; None: all.
    """

    counted: torch.Tensor | None

    def __init__(self, eps: float = 1e-8) -> None:
        super().__init__()
        self.eps = eps
        self.register_buffer("counted", None, persistent=False)

    def forward(self, pred: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """The loss of a batch.

        Args:
            pred: (n, C) or (n,).
            target: the same shape.
        """
        columns = self.columns(pred, target)
        there = ~torch.isnan(columns)
        if self.counted is not None:
            there = there & self.counted
        return masked_mean(1 - columns, there) if len(columns) else pred.sum() * 0

    def columns(self, pred: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """(C,) the CCC of each column; NaN where fewer than two rows have a label."""
        pred, target = (x.reshape(len(x), -1).float() for x in (pred, target))
        mask, wanted = known(target)
        count = mask.sum(dim=0)
        n = count.clamp(min=1)
        x, y = torch.where(mask, pred, torch.zeros_like(pred)), wanted
        mean_x, mean_y = x.sum(dim=0) / n, y.sum(dim=0) / n
        dx, dy = (torch.where(mask, v - m, 0.0) for v, m in ((x, mean_x), (y, mean_y)))
        var_x, var_y = (dx**2).sum(dim=0) / n, (dy**2).sum(dim=0) / n
        covariance = (dx * dy).sum(dim=0) / n
        ccc = 2 * covariance / (var_x + var_y + (mean_x - mean_y) ** 2 + self.eps)
        return torch.where(count >= 2, ccc, torch.full_like(ccc, torch.nan))


class AUPredictionLoss(nn.Module):
    """Smooth absolute error (Girshick 2015), and 1 - CCC.

    Args:
        smooth_l1_weight: of the first.
        ccc_weight: of the second.
        au_weights: of each action unit in the first, in the order of `AU_NAMES`; None: 1 each.
    """

    au_weights: torch.Tensor | None

    def __init__(
        self,
        smooth_l1_weight: float = 1.0,
        ccc_weight: float = 0.5,
        au_weights: Sequence[float] | torch.Tensor | None = None,
    ) -> None:
        super().__init__()
        self.smooth_l1_weight = smooth_l1_weight
        self.ccc_weight = ccc_weight
        self.ccc_loss = ConcordanceCorrelationLoss()
        weights = None if au_weights is None else torch.as_tensor(au_weights, dtype=torch.float32)
        self.register_buffer("au_weights", weights, persistent=False)

    def leave_out(self, spread: torch.Tensor) -> list[int]:
        """Have action units that do not move count for nothing in 1 - CCC.

        The gradient of a CCC is about 1 / the label's standard deviation: that of an action unit
        which is 0 but for noise would be several times that of one that moves.

        Args:
            spread: (17,) standard deviation of the labels to train with; NaN: there are none.

        Returns:
            Which are left out; none where nothing moves.
        """
        moves = spread >= LEAST_SPREAD
        if not moves.any() or moves.all():
            return []
        self.ccc_loss.counted = moves
        return [i for i, does in enumerate(moves.tolist()) if not does]

    def forward(self, pred: torch.Tensor, target: torch.Tensor) -> dict[str, torch.Tensor]:
        """The losses of a batch.

        Args:
            pred: (n, 17).
            target: (n, 17), NaN where there is no label.

        Returns:
            `total`, and unweighted `smooth_l1` and `ccc_loss`.
        """
        mask, wanted = known(target)
        each = functional.smooth_l1_loss(pred, wanted, reduction="none")
        if self.au_weights is not None:
            each = each * self.au_weights
        losses = {"smooth_l1": masked_mean(each, mask), "ccc_loss": self.ccc_loss(pred, target)}
        total = self.smooth_l1_weight * losses["smooth_l1"] + self.ccc_weight * losses["ccc_loss"]
        return {"total": total, **losses}
