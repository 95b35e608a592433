from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from facemake import nn  # noqa: E402

NAN = float("nan")


def test_wing_loss_is_the_papers():
    loss = nn.WingLoss(w=10, epsilon=2)
    target = torch.zeros(1, 2)
    near = 10 * math.log(1 + 3 / 2)
    far = 14 - (10 - 10 * math.log(1 + 10 / 2))
    pred = torch.tensor([[3.0, -14.0]])
    assert loss(pred, target).item() == pytest.approx((near + far) / 2, rel=1e-6)
    edge = torch.tensor([[9.99999, 10.00001]])
    a, b = (loss(edge[:, i : i + 1], target[:, :1]).item() for i in (0, 1))
    assert a == pytest.approx(b, abs=1e-3)


def test_ccc_is_lins():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(2, 40, 3))
    y = 0.7 * x + 0.3 * y + 0.2
    ccc = [
        2 * np.cov(a, b, bias=True)[0, 1] / (a.var() + b.var() + (a.mean() - b.mean()) ** 2)
        for a, b in zip(x.T, y.T, strict=True)
    ]
    found = nn.ConcordanceCorrelationLoss()(torch.tensor(x), torch.tensor(y))
    assert found.item() == pytest.approx(1 - np.mean(ccc), abs=1e-6)


def test_missing_labels_count_for_nothing_and_leave_gradients_whole():
    generator = torch.Generator().manual_seed(2)
    pred = torch.rand(8, 17, generator=generator)
    target = torch.rand(8, 17, generator=generator)
    holes = target.clone()
    holes[:3, 4], holes[:, 7], holes[5] = NAN, NAN, NAN
    loss = nn.AUPredictionLoss()
    given = pred.clone().requires_grad_()
    losses = loss(given, holes)
    losses["total"].backward()
    assert torch.isfinite(given.grad).all()
    assert (given.grad[:, 7] == 0).all() and (given.grad[5] == 0).all()
    other = pred.clone()
    other[5], other[:, 7] = 99, 99
    assert loss(other, holes)["total"] == losses["total"]
    kept = ~torch.isnan(holes)
    smooth = torch.nn.functional.smooth_l1_loss(pred[kept], target[kept])
    assert losses["smooth_l1"].item() == pytest.approx(smooth.item(), rel=1e-6)
    nothing = loss(given, torch.full_like(pred, NAN))
    assert nothing["total"].item() == 0


def test_what_does_not_move_is_no_part_of_the_correlation():
    generator = torch.Generator().manual_seed(3)
    target = torch.rand(32, 17, generator=generator)
    target[:, 4] = 0.0
    target[7, 4] = 0.1  # noise
    given = (target + 0.1 * torch.randn(32, 17, generator=generator)).requires_grad_()
    loss = nn.AUPredictionLoss(0.0, 1.0)
    loss(given, target)["total"].backward()
    size = given.grad.norm(dim=0)
    assert size.argmax() == 4  # what is left out for
    given.grad = None
    spread = target.std(dim=0)
    assert loss.leave_out(torch.full((17,), 0.5)) == []
    assert loss.leave_out(torch.where(torch.arange(17) == 9, torch.nan, spread)) == [4, 9]
    losses = loss(given, target)
    losses["total"].backward()
    assert (given.grad[:, [4, 9]] == 0).all() and (given.grad[:, 5] != 0).any()
    each = loss.ccc_loss.columns(given, target)
    kept = [i for i in range(17) if i not in (4, 9)]
    assert losses["ccc_loss"].item() == pytest.approx((1 - each[kept]).mean().item())
    assert loss.state_dict() == {}
    still = nn.AUPredictionLoss()
    assert still.leave_out(torch.zeros(17)) == []  # a training set in which nothing moves
    assert torch.isfinite(still(given, target)["total"])


def test_weights_of_action_units():
    pred, target = torch.zeros(4, 17), torch.ones(4, 17)
    weights = [0.0] * 16 + [17.0]
    plain, weighted = (nn.AUPredictionLoss(1.0, 0.0, w)(pred, target) for w in (None, weights))
    assert plain["total"] == weighted["total"] == 0.5
    assert nn.AUPredictionLoss(au_weights=weights).state_dict() == {}


def test_landmarks_pose_and_shape_are_weighed():
    shapes = {"landmarks": (2, 68, 2), "global_params": (2, 6), "local_params": (2, 34)}
    pred = {name: torch.full(shape, 1.0) for name, shape in shapes.items()}
    target = {name: torch.full(shape, 3.0) for name, shape in shapes.items()}
    losses = nn.LandmarkPoseLoss(1.0, 0.1, 0.01)(pred, target)
    wing = 10 * math.log(2)
    assert losses["landmark"].item() == pytest.approx(wing, rel=1e-6)
    assert losses["global_params"].item() == 4 and losses["local_params"].item() == 2
    assert losses["total"].item() == pytest.approx(wing + 0.4 + 0.02, rel=1e-6)
