"""Split-conformal intervals: coverage by simulation, and the numbers that files hold."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from clipiqa_plus.metrics.conformal import (
    LEVELS,
    coverage,
    half_width,
    half_widths,
    interval_facts,
    mos_interval,
)


def test_half_width_is_the_conformal_rank() -> None:
    mos = torch.linspace(0, 1, 19)[:, None]
    scores = mos + torch.arange(1, 20)[torch.randperm(19)][:, None] / 100
    # ceil(20 * 0.9) = 18th of the residuals 0.01 to 0.19.
    assert half_width(scores[:, 0], mos[:, 0], 0.9) == pytest.approx(0.18, abs=1e-6)
    assert half_width(scores[:, 0], mos[:, 0], 0.95) == pytest.approx(0.19, abs=1e-6)
    assert half_width(scores[:, 0], mos[:, 0], 0.96) == math.inf  # it takes 24 pictures


@pytest.mark.parametrize("level", [0.6, 0.9])
def test_coverage_over_many_draws_is_the_level(level: float) -> None:
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(400):
        noise = torch.tensor(rng.standard_t(3, 100 + 200))  # heavy tails: no Gaussian formula
        width = half_width(noise[:100], torch.zeros(100), level)
        covered.append(coverage(noise[100:], torch.zeros(200), width))
    # Exact in expectation between level and level + 1 / 101; four standard errors are 0.008.
    assert level - 0.008 < np.mean(covered) < level + 1 / 101 + 0.008


def test_files_give_ends_on_the_scale_of_the_mos() -> None:
    scores = torch.tensor([[0.5], [0.95]])
    val = torch.rand(200, 1, generator=torch.Generator().manual_seed(0))
    facts = {"intervals": interval_facts(val + 0.1, val, (1, 5))}
    widths = half_widths(facts, 0.9, "file")
    low, high = mos_interval(scores, widths, facts["intervals"]["scale"])
    torch.testing.assert_close(low, torch.tensor([[2.6], [4.4]]), atol=1e-4, rtol=0)
    torch.testing.assert_close(high, torch.tensor([[3.4], [5.0]]), atol=1e-4, rtol=0)  # cut at 5


def test_where_low_opinions_are_good_the_ends_stay_in_order() -> None:
    val = torch.rand(200, 1)
    facts = {"intervals": interval_facts(val + 0.1, val, (0, 100), higher_is_better=False)}
    low, high = mos_interval(torch.tensor([[0.7]]), half_widths(facts, 0.9, "f"), [100.0, 0.0])
    assert float(low) == pytest.approx(20, abs=1e-3)
    assert float(high) == pytest.approx(40, abs=1e-3)


def test_what_cannot_be_given_is_one_error() -> None:
    with pytest.raises(ValueError, match=r"a\.safetensors has no intervals"):
        half_widths({}, 0.9, "a.safetensors")
    few = {"intervals": interval_facts(torch.rand(5, 1), torch.rand(5, 1), (0, 1))}
    with pytest.raises(ValueError, match="5 pictures is too small for an interval"):
        half_widths(few, 0.9, "f")
    assert half_widths(few, 0.8, "f")[0] > 0
    with pytest.raises(ValueError, match=r"from 0\.5 to 0\.99"):
        half_widths(few, 0.999, "f")
    assert (LEVELS[0], LEVELS[-1]) == (0.5, 0.99)
