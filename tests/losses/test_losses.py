"""Losses against scipy, loops written out by hand, and numerical derivatives."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable

import pytest
import torch
from scipy import stats
from torch import Tensor

from clipiqa_plus.losses import LOSSES, PAIR_BLOCK, mse, mse_plcc, plcc_loss, rank_loss
from tests.support.tensor_sizes import Largest

Loss = Callable[[Tensor, Tensor], Tensor]
each_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())


def batch(size: int, targets: int = 1, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Related predictions and MOS in [0, 1], float64, with some MOS tied."""
    generator = torch.Generator().manual_seed(seed)
    pred = torch.rand(size, targets, generator=generator, dtype=torch.float64)
    noise = torch.rand(size, targets, generator=generator, dtype=torch.float64)
    return pred, ((pred + noise) / 2 * 10).round() / 10


def test_names() -> None:
    expected = {"mse": mse, "plcc": plcc_loss, "mse_plcc": mse_plcc, "rank": rank_loss}
    assert expected == LOSSES


def test_mse_by_hand() -> None:
    pred, mos = batch(7, 3)
    total = sum(
        (p - m) ** 2 for p, m in zip(pred.flatten().tolist(), mos.flatten().tolist(), strict=True)
    )
    assert mse(pred, mos).item() == pytest.approx(total / 21, abs=1e-14)


def test_plcc_loss_equals_scipy_per_target() -> None:
    pred, mos = batch(20, 3)
    expected = [(1 - stats.pearsonr(pred[:, t], mos[:, t]).statistic) / 2 for t in range(3)]
    assert plcc_loss(pred, mos).item() == pytest.approx(sum(expected) / 3, abs=1e-14)


def test_plcc_loss_spans_zero_to_one() -> None:
    _, mos = batch(9)
    assert plcc_loss(3 * mos + 1, mos).item() == pytest.approx(0, abs=1e-14)
    assert plcc_loss(1 - mos, mos).item() == pytest.approx(1, abs=1e-14)


def test_mse_plcc_is_the_sum() -> None:
    pred, mos = batch(12, 2)
    expected = mse(pred, mos) + plcc_loss(pred, mos)
    assert torch.equal(mse_plcc(pred, mos), expected)


def test_rank_loss_equals_a_loop_over_pairs() -> None:
    pred, mos = batch(10, 3, seed=1)
    per_target = []
    for p, m in zip(pred.T.tolist(), mos.T.tolist(), strict=True):
        costs = [
            math.log1p(math.exp(-10 * (p[i] - p[j])))
            for i, j in itertools.permutations(range(10), 2)
            if m[i] > m[j]
        ]
        assert 0 < len(costs) < 45  # some pairs, and some ties left out
        per_target.append(sum(costs) / len(costs))
    assert rank_loss(pred, mos).item() == pytest.approx(sum(per_target) / 3, abs=1e-14)


def test_rank_loss_ignores_tied_pairs() -> None:
    mos = torch.tensor([[0.2], [0.2], [0.8]], dtype=torch.float64)
    pred = torch.tensor([[0.1], [0.9], [0.5]], dtype=torch.float64)
    good, bad = math.log1p(math.exp(-10 * 0.4)), math.log1p(math.exp(10 * 0.4))
    assert rank_loss(pred, mos).item() == pytest.approx((good + bad) / 2, abs=1e-14)


def test_rank_loss_sees_only_the_order_of_mos() -> None:
    pred, mos = batch(10)
    assert torch.equal(rank_loss(pred, mos), rank_loss(pred, mos.exp()))


def test_rank_loss_does_not_overflow() -> None:
    pred = torch.tensor([[0.0], [1.0]])
    assert rank_loss(pred, 1 - pred, sharpness=1e4).item() == pytest.approx(1e4)
    assert rank_loss(pred, pred, sharpness=1e4).item() == 0.0


@each_loss
def test_gradient(loss: Loss) -> None:
    pred, mos = batch(6, 2, seed=2)
    assert torch.autograd.gradcheck(lambda p: loss(p, mos), pred.requires_grad_())


@each_loss
def test_perfect_order_is_no_worse_than_any_other(loss: Loss) -> None:
    mos = torch.tensor([[0.1], [0.4], [0.6], [0.9]], dtype=torch.float64)
    best = loss(mos, mos)
    for order in itertools.permutations(range(4)):
        assert loss(mos[list(order)], mos) >= best


@each_loss
def test_half_precision_is_computed_in_float32(loss: Loss) -> None:
    pred, mos = (values.bfloat16() for values in batch(16, 2))
    value = loss(pred, mos.float())
    assert value.dtype == torch.float32
    # float32 sums of 32 terms of size 1.
    assert value.item() == pytest.approx(loss(pred.double(), mos.double()).item(), abs=1e-6)


@pytest.mark.parametrize("constant", [0.0, 0.1, 0.7, 1.0])
@pytest.mark.parametrize("which", ["pred", "mos"])
def test_plcc_loss_of_a_constant_target_is_half_without_gradient(
    constant: float, which: str
) -> None:
    pred, mos = (values.float() for values in batch(7, 2))
    (pred if which == "pred" else mos)[:, 0] = constant
    pred.requires_grad_()
    value = plcc_loss(pred, mos)
    value.backward()
    other = stats.pearsonr(pred[:, 1].detach().double(), mos[:, 1].double()).statistic
    # float32 arithmetic.
    assert value.item() == pytest.approx((0.5 + (1 - other) / 2) / 2, abs=1e-6)
    assert pred.grad is not None
    assert torch.equal(pred.grad[:, 0], torch.zeros(7))
    assert bool(pred.grad.isfinite().all())
    assert bool((pred.grad[:, 1] != 0).any())


def test_plcc_loss_treats_rounding_noise_as_constant() -> None:
    """Predictions that differ in the last bit only: the gradient would be of the order of 1e7."""
    pred = torch.full((8, 1), 0.5)
    pred[3] = torch.nextafter(pred[3], torch.ones(1))
    pred.requires_grad_()
    plcc_loss(pred, torch.rand(8, 1, generator=torch.Generator().manual_seed(0))).backward()
    assert pred.grad is not None
    assert torch.equal(pred.grad, torch.zeros(8, 1))


def test_plcc_loss_keeps_a_small_but_real_spread() -> None:
    _, mos = batch(8)
    assert plcc_loss((0.5 + 1e-4 * mos).float(), mos.float()).item() < 1e-5


@pytest.mark.parametrize(("loss", "value"), [(plcc_loss, 0.5), (rank_loss, 0.0)])
def test_batch_of_one_warns_and_has_no_gradient(loss: Loss, value: float) -> None:
    pred = torch.tensor([[0.3, 0.6]], requires_grad=True)
    with pytest.warns(UserWarning, match="batch of one") as caught:
        result = loss(pred, torch.tensor([[0.5, 0.5]]))
    assert len(caught) == 1
    assert result.item() == value
    result.backward()
    assert pred.grad is not None
    assert torch.equal(pred.grad, torch.zeros(1, 2))


def test_mse_plcc_of_a_batch_of_one_still_learns_from_mse() -> None:
    pred = torch.tensor([[0.3]], requires_grad=True)
    with pytest.warns(UserWarning, match="batch of one"):
        mse_plcc(pred, torch.tensor([[0.5]])).backward()
    assert pred.grad is not None
    assert pred.grad.item() == pytest.approx(2 * (0.3 - 0.5))


def test_rank_loss_with_every_mos_tied_is_zero_without_gradient() -> None:
    pred = torch.rand(5, 1, requires_grad=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        value = rank_loss(pred, torch.full((5, 1), 0.5))
    assert value.item() == 0.0
    value.backward()
    assert pred.grad is not None
    assert torch.equal(pred.grad, torch.zeros(5, 1))


@each_loss
@pytest.mark.parametrize(
    ("pred", "mos"), [((4,), (4,)), ((4,), (4, 1)), ((4, 1), (4,)), ((4, 1), (4, 2)), ((0, 1),) * 2]
)
def test_wrong_shapes_are_named(loss: Loss, pred: tuple[int, ...], mos: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"one shape \[B, T\] with B >= 1, got \["):
        loss(torch.zeros(pred), torch.zeros(mos))


def test_rank_loss_in_blocks_is_the_loop_over_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    pred, mos = batch(37, 2, seed=3)
    pred.requires_grad_()
    whole = rank_loss(pred, mos)
    (expected,) = torch.autograd.grad(whole, pred)
    monkeypatch.setattr("clipiqa_plus.losses.pairs.PAIR_BLOCK", 100)  # 2 rows of 37 at a time
    blocks = rank_loss(pred, mos)
    assert blocks.item() == pytest.approx(whole.item(), abs=1e-14)
    (gradient,) = torch.autograd.grad(blocks, pred)
    torch.testing.assert_close(gradient, expected, atol=1e-14, rtol=0)


def test_rank_loss_never_holds_all_pairs() -> None:
    pred, mos = batch(2000)
    with Largest() as largest:
        torch.autograd.grad(rank_loss(pred.requires_grad_(), mos), pred)
    assert largest.elements <= PAIR_BLOCK < 2000**2 / 10
