"""The fidelity loss against a loop with scipy's normal distribution; its pairs stay in a group."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from clipiqa_plus.losses import (
    PAIR_BLOCK,
    Labels,
    LossName,
    Predicted,
    fidelity_loss,
    mse,
    plcc_loss,
    rank_loss,
    training_loss,
)
from clipiqa_plus.losses.pairs import SMALLEST_STD, USUAL_STD
from tests.support.tensor_sizes import Largest


def batch(size: int, targets: int = 1, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Predictions, MOS with ties, and deviations, float64 [B, T]."""
    generator = torch.Generator().manual_seed(seed)
    pred, mos, std = torch.rand(3, size, targets, generator=generator, dtype=torch.float64)
    return pred, (5 * mos).round() / 5, std / 2


def by_loop(pred: Tensor, mos: Tensor, std: Tensor | None) -> float:
    """The mean over pairs, written as in the papers; [B] each."""
    costs = []
    for i, j in itertools.combinations(range(len(pred)), 2):
        if std is None:
            spread = np.sqrt(2) * USUAL_STD
            p = {-1: 0.0, 0: 0.5, 1: 1.0}[int(np.sign(float(mos[i] - mos[j])))]
        else:
            spread = np.sqrt(float(std[i] ** 2 + std[j] ** 2) + 2 * SMALLEST_STD**2)
            p = stats.norm.cdf(float(mos[i] - mos[j]) / spread)
        q = stats.norm.cdf(float(pred[i] - pred[j]) / spread)
        costs.append(1 - np.sqrt(p * q) - np.sqrt((1 - p) * (1 - q)))
    return float(np.mean(costs))


@pytest.mark.parametrize("known", [True, False], ids=["deviations", "order alone"])
def test_fidelity_loss_equals_a_loop_over_pairs(known: bool) -> None:
    pred, mos, std = batch(9, 3)
    expected = [by_loop(pred[:, t], mos[:, t], std[:, t] if known else None) for t in range(3)]
    found = fidelity_loss(pred, mos, std if known else None)
    # Logarithms of the normal distribution differ from scipy by 1e-12.
    assert found.item() == pytest.approx(np.mean(expected), abs=1e-10)


def test_deviations_of_one_target_alone() -> None:
    pred, mos, std = batch(8, 2)
    std[:, 1] = torch.nan
    expected = [by_loop(pred[:, 0], mos[:, 0], std[:, 0]), by_loop(pred[:, 1], mos[:, 1], None)]
    assert fidelity_loss(pred, mos, std).item() == pytest.approx(np.mean(expected), abs=1e-10)


@pytest.mark.parametrize("known", [True, False])
def test_gradient(known: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    pred, mos, std = batch(7, 2, seed=1)
    given = std if known else None
    pred.requires_grad_()
    assert torch.autograd.gradcheck(lambda p: fidelity_loss(p, mos, given), pred)
    (whole,) = torch.autograd.grad(fidelity_loss(pred, mos, given), pred)
    monkeypatch.setattr("clipiqa_plus.losses.pairs.PAIR_BLOCK", 20)  # 2 rows of 7 at a time
    (blocks,) = torch.autograd.grad(fidelity_loss(pred, mos, given), pred)
    torch.testing.assert_close(blocks, whole, atol=1e-14, rtol=0)


def test_the_opinions_themselves_are_the_minimum() -> None:
    _, mos, std = batch(12, seed=2)
    assert fidelity_loss(mos, mos, std).item() == pytest.approx(0, abs=1e-12)
    assert fidelity_loss(mos.flip(0), mos, std).item() > 0.05


def test_raters_who_all_agree_give_finite_gradients_far_from_the_truth() -> None:
    mos = torch.tensor([[0.0], [1.0], [1.0]])
    pred = (1 - mos).requires_grad_()
    value = fidelity_loss(pred, mos, torch.zeros(3, 1))
    (gradient,) = torch.autograd.grad(value, pred)
    assert value.item() == pytest.approx(2 / 3, abs=1e-6)  # both pairs of unlike MOS are wrong
    assert bool(gradient.isfinite().all())


def test_an_uncertain_pair_pulls_less() -> None:
    mos = torch.tensor([[0.4], [0.6]])
    gradients = []
    for std in (0.05, 0.3):
        pred = torch.tensor([[0.5], [0.5]], requires_grad=True)
        fidelity_loss(pred, mos, torch.full((2, 1), std)).backward()
        assert pred.grad is not None
        gradients.append(pred.grad[1].abs().item())
    assert gradients[1] < gradients[0] / 5


@pytest.mark.slow
def test_fidelity_loss_never_holds_all_pairs() -> None:
    pred, mos, std = batch(2000)
    with Largest() as largest:
        torch.autograd.grad(fidelity_loss(pred.requires_grad_(), mos, std), pred)
    assert largest.elements <= PAIR_BLOCK < 2000**2 / 10


@pytest.mark.slow
def test_true_deviations_beat_none() -> None:
    """Half of the pictures have opinions of three raters who differ widely, planted over a plane.

    A linear score is fitted by either loss to noisy opinions; what counts is its correlation with
    the true quality of other pictures.
    """
    gains = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        features = torch.from_numpy(rng.normal(size=(1120, 12)))
        weights = torch.from_numpy(rng.normal(size=12)) / 12**0.5
        quality = 0.5 + 0.1 * features @ weights
        std = torch.from_numpy(np.where(rng.random(1120) < 0.5, 0.02, 0.8))
        mos = quality + std / 3**0.5 * torch.from_numpy(rng.normal(size=1120))
        train, test = slice(120), slice(120, None)

        def correlation(given: Tensor | None) -> float:
            learned = torch.zeros(12, dtype=torch.float64, requires_grad=True)
            optimizer = torch.optim.LBFGS([learned], max_iter=60, line_search_fn="strong_wolfe")

            def closure() -> Tensor:
                optimizer.zero_grad()
                pred = 0.1 * (features[train] @ learned)[:, None]  # noqa: B023 (called here)
                loss = fidelity_loss(pred, mos[train, None], given)  # noqa: B023
                loss.backward()
                return loss

            optimizer.step(closure)
            scores = features[test] @ learned.detach()  # noqa: B023
            return float(stats.spearmanr(scores, quality[test]).statistic)  # noqa: B023

        gains.append(correlation(std[train, None]) - correlation(None))
    assert min(gains) > 0
    assert np.mean(gains) > 0.02


COMPARING: tuple[LossName, ...] = ("rank", "fidelity", "plcc")


def grouped(sizes: list[int]) -> tuple[Tensor, Labels]:
    pred, mos, std = batch(sum(sizes), 2, seed=3)
    group = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    order = torch.randperm(len(pred), generator=torch.Generator().manual_seed(0))
    return pred[order], Labels(mos[order], mos_std=std[order], group=group[order])


@pytest.mark.parametrize("name", COMPARING)
def test_no_pair_crosses_groups(name: LossName) -> None:
    """Moving one set on its scale changes nothing, although every pair across sets turns round."""
    pred, labels = grouped([7, 5])
    assert labels.group is not None
    loss = training_loss(name, Predicted(pred), labels)
    moved = pred + 3.0 * (labels.group == 1)[:, None]
    again = training_loss(name, Predicted(moved), labels)
    torch.testing.assert_close(again, loss, atol=1e-12, rtol=0)
    across = training_loss(name, Predicted(moved), Labels(labels.mos, labels.mos_std))
    assert (across - loss).abs() > 1e-3
    # The gradient of a pair is equal and opposite, so that of a group adds up to nothing.
    moved.requires_grad_()
    (gradient,) = torch.autograd.grad(training_loss(name, Predicted(moved), labels), moved)
    for number in (0, 1):
        assert gradient[labels.group == number].sum(dim=0).abs().max() < 1e-12
    assert gradient.abs().max() > 1e-4


def test_groups_count_by_the_weight_of_their_pictures() -> None:
    pred, labels = grouped([6, 2])
    assert labels.group is not None
    first, second = labels.group == 0, labels.group == 1
    parts = [plcc_loss(pred[rows], labels.mos[rows]) for rows in (first, second)]
    found = training_loss("plcc", Predicted(pred), labels)
    assert found.item() == pytest.approx((6 * parts[0] + 2 * parts[1]).item() / 8, abs=1e-12)
    weight = torch.where(first, 1 / 6, 1 / 2)  # equal shares
    equal = Labels(labels.mos, group=labels.group, weight=weight)
    found = training_loss("plcc", Predicted(pred), equal)
    assert found.item() == pytest.approx((parts[0] + parts[1]).item() / 2, abs=1e-12)
    assert training_loss("mse", Predicted(pred), labels).item() == pytest.approx(
        mse(pred, labels.mos).item(), abs=1e-12
    )


@pytest.mark.filterwarnings("error")
def test_a_group_of_one_picture_is_left_out_of_comparisons() -> None:
    pred, labels = grouped([6, 1])
    assert labels.group is not None
    first = labels.group == 0
    found = training_loss("rank", Predicted(pred), labels)
    expected = rank_loss(pred[first], labels.mos[first])
    assert found.item() == pytest.approx(expected.item(), abs=1e-12)


def test_nothing_but_groups_of_one_warns() -> None:
    labels = Labels(torch.tensor([[0.1], [0.9]]), group=torch.tensor([0, 1]))
    with pytest.warns(UserWarning, match="batch of one"):
        assert training_loss("rank", Predicted(labels.mos), labels) == 0


def test_unknown_loss_and_missing_grades() -> None:
    labels = Labels(torch.rand(3, 1))
    with pytest.raises(ValueError, match="loss 'msee'; choose from mse, plcc, mse_plcc, rank, fid"):
        training_loss("msee", Predicted(labels.mos), labels)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="loss emd needs a distribution over grades"):
        training_loss("emd", Predicted(labels.mos), labels)
