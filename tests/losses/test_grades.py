"""Soft grades by their moments, distances between distributions against scipy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from clipiqa_plus.losses import (
    Labels,
    Predicted,
    cross_entropy_loss,
    emd_loss,
    grade_targets,
    soft_grades,
    training_loss,
)


@pytest.mark.parametrize("grades", [2, 3, 5, 10])
@pytest.mark.parametrize("std", [None, 0.0, 0.03, 0.2, 0.45])
def test_the_mean_is_the_mos_for_every_deviation(grades: int, std: float | None) -> None:
    mos = torch.linspace(0, 1, 41, dtype=torch.float64)
    found = soft_grades(mos, None if std is None else torch.full_like(mos, std), grades)
    levels = torch.linspace(0, 1, grades, dtype=torch.float64)
    assert bool((found >= 0).all())
    torch.testing.assert_close(found.sum(dim=-1), torch.ones_like(mos), atol=1e-12, rtol=0)
    # 40 halvings of a slope of 200; at the very ends the slope would have to be infinite.
    torch.testing.assert_close(found @ levels, mos, atol=1e-8, rtol=0)


@pytest.mark.parametrize("std", [0.08, 0.15])
def test_the_deviation_is_that_of_the_ratings(std: float) -> None:
    """Ten grades in the middle of the scale: rounding to grades adds 1/12 of a squared step."""
    mos = torch.tensor([0.5], dtype=torch.float64)
    levels = torch.linspace(0, 1, 10, dtype=torch.float64)
    found = soft_grades(mos, torch.tensor([std], dtype=torch.float64), 10)[0]
    variance = float((found * (levels - 0.5) ** 2).sum())
    assert variance == pytest.approx(std**2 + 1 / 9**2 / 12, rel=0.02)


def test_without_correction_it_is_the_normal_distribution_in_cells() -> None:
    std = 0.15
    found = soft_grades(torch.tensor([0.5]), torch.tensor([std]), 5)[0]  # no tilt by symmetry
    edges = np.array([-np.inf, 0.125, 0.375, 0.625, 0.875, np.inf])
    expected = np.diff(stats.norm.cdf(edges, 0.5, std))
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_an_unknown_deviation_takes_the_two_nearest_grades() -> None:
    mos, std = torch.tensor([0.6, 0.6]), torch.tensor([torch.nan, 0.2])
    found = soft_grades(mos, std, 3)
    torch.testing.assert_close(found[0], torch.tensor([0.0, 0.8, 0.2]))
    assert found[1, 0] > 0


@pytest.mark.parametrize("mos", [0.0, 1e-4, 0.3, 1 - 1e-4, 1.0])
@pytest.mark.parametrize("std", [1e-3, 0.05, 0.5])
def test_extreme_opinions_stay_finite_in_float32(mos: float, std: float) -> None:
    found = soft_grades(torch.tensor([mos]), torch.tensor([std]), 5)
    assert bool(found.isfinite().all())
    levels = torch.linspace(0, 1, 5)
    assert float((found @ levels)[0]) == pytest.approx(mos, abs=1e-5)


def test_counts_are_the_target_where_their_number_of_grades_fits() -> None:
    mos = torch.tensor([[0.5, 0.2], [0.5, 0.2], [0.5, 0.2]])
    counts = torch.tensor([[1.0, 2.0, 1.0, torch.nan], [1.0, 0, 0, 1], [torch.nan] * 4])
    found = grade_targets(mos, None, counts, 3)
    assert found[0, 0].tolist() == [0.25, 0.5, 0.25]
    soft = soft_grades(mos, None, 3)
    assert torch.equal(found[1:], soft[1:])
    assert torch.equal(found[0, 1], soft[0, 1])  # counts belong to the first target
    assert grade_targets(mos, None, counts, 4)[1, 0].tolist() == [0.5, 0, 0, 0.5]


def distributions(seed: int, size: int = 6, grades: int = 5) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).dirichlet(np.ones(grades), (size, 2)))


def test_cross_entropy_less_entropy_is_scipys_divergence() -> None:
    predicted, targets = distributions(0), distributions(1)
    expected = stats.entropy(targets.numpy(), predicted.numpy(), axis=-1).mean()
    assert cross_entropy_loss(predicted, targets).item() == pytest.approx(expected, rel=1e-12)
    assert cross_entropy_loss(targets, targets).item() == pytest.approx(0, abs=1e-14)
    certain = torch.tensor([[[0.0, 1.0]]])
    assert bool(cross_entropy_loss(certain, 1 - certain).isfinite())


def test_emd_is_the_squared_distance_of_cumulative_distributions() -> None:
    predicted, targets = distributions(2), distributions(3)
    gaps = np.cumsum(predicted.numpy() - targets.numpy(), axis=-1)[..., :-1]
    assert emd_loss(predicted, targets).item() == pytest.approx((gaps**2).mean(), rel=1e-12)
    # Two grades apart costs more than one, which cross entropy cannot tell.
    best, near, far = torch.eye(3)[:, None, None]
    assert emd_loss(near, best) < emd_loss(far, best)


@pytest.mark.parametrize("loss", [cross_entropy_loss, emd_loss])
def test_gradients_and_shapes(loss) -> None:  # type: ignore[no-untyped-def]
    logits = torch.randn(4, 2, 5, dtype=torch.float64, requires_grad=True)
    targets = distributions(4, 4)
    assert torch.autograd.gradcheck(lambda x: loss(x.softmax(-1), targets), logits)
    with pytest.raises(ValueError, match=r"one shape \[B, T, K\]"):
        loss(targets, targets[..., :4])


def test_a_pair_is_two_grades_and_cross_entropy_that_of_its_probability() -> None:
    score, mos = torch.rand(2, 5, 1, dtype=torch.float64)
    predicted = Predicted(score, torch.stack([1 - score, score], dim=-1))
    found = training_loss("cross_entropy", predicted, Labels(mos, torch.full_like(mos, 0.2)))
    expected = torch.nn.functional.binary_cross_entropy(score, mos)
    entropy = torch.nn.functional.binary_cross_entropy(mos, mos)
    assert found.item() == pytest.approx((expected - entropy).item(), abs=1e-9)
