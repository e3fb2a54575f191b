"""The functions against scipy, loops over pairs, and formulas written out."""

from __future__ import annotations

import itertools
import math
import time
import warnings
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats
from torch import Tensor

from clipiqa_plus.metrics import logistic as fits
from clipiqa_plus.metrics.functional import krcc, logistic_mapping, plcc, rmse, srcc

Function = Callable[[Tensor, Tensor], Tensor]
CORRELATIONS = [srcc, plcc, krcc]
ALL = [*CORRELATIONS, rmse]

# float64 arithmetic in another order: a few units in the 16th place, far below 1e-12.
EXACT = 1e-12


def related(size: int, levels: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Predictions and targets that agree partly, both rounded to a number of levels (ties)."""
    generator = np.random.default_rng(seed)
    quality = generator.normal(size=size)
    prediction = np.round((quality + generator.normal(size=size)) * levels)
    target = np.round((quality + generator.normal(size=size)) * levels)
    return torch.from_numpy(prediction), torch.from_numpy(target)


def tau_b(x: list[float], y: list[float]) -> float:
    """Kendall's tau-b over all pairs."""
    concordant = discordant = ties_x = ties_y = 0
    for i, j in itertools.combinations(range(len(x)), 2):
        sign = (x[i] - x[j]) * (y[i] - y[j])
        concordant += sign > 0
        discordant += sign < 0
        ties_x += x[i] == x[j]
        ties_y += y[i] == y[j]
    pairs = len(x) * (len(x) - 1) // 2
    return (concordant - discordant) / math.sqrt((pairs - ties_x) * (pairs - ties_y))


@pytest.mark.parametrize("size", [3, 10, 1000])
@pytest.mark.parametrize("levels", [1, 3, 1000])
def test_equals_scipy(size: int, levels: int) -> None:
    prediction, target = related(size, levels, seed=size)
    x, y = prediction.numpy(), target.numpy()
    assert srcc(prediction, target).item() == pytest.approx(
        stats.spearmanr(x, y).statistic, abs=EXACT
    )
    assert plcc(prediction, target).item() == pytest.approx(
        stats.pearsonr(x, y).statistic, abs=EXACT
    )
    assert krcc(prediction, target).item() == pytest.approx(
        stats.kendalltau(x, y).statistic, abs=EXACT
    )


@pytest.mark.slow
def test_srcc_of_a_million_tied_samples_equals_scipy_and_is_quick() -> None:
    """Squared ranks reach 1e12 and their sums 1e18: float32 is wrong and int32 overflows here."""
    prediction, target = related(1_000_000, 3)
    assert len(target.unique()) < 50
    start = time.process_time()
    value = srcc(prediction, target).item()
    assert time.process_time() - start < 5  # seconds of CPU; takes 0.6
    expected = stats.spearmanr(prediction.numpy(), target.numpy()).statistic
    assert expected > 0.4
    assert value == pytest.approx(expected, abs=EXACT)


@given(
    pairs=st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=3, max_size=12),
)
@settings(derandomize=True, deadline=None)
def test_krcc_and_srcc_of_small_tied_data(pairs: list[tuple[int, int]]) -> None:
    x, y = ([float(pair[i]) for pair in pairs] for i in (0, 1))
    if len(set(x)) == 1 or len(set(y)) == 1:
        return
    prediction, target = torch.tensor(x), torch.tensor(y)
    assert krcc(prediction, target).item() == pytest.approx(tau_b(x, y), abs=EXACT)
    # Ranks by counting: those below, plus half of the tied.
    rank_x, rank_y = (
        [sum(b < a for b in v) + sum(b == a for b in v) / 2 for a in v] for v in (x, y)
    )
    expected = np.corrcoef(rank_x, rank_y)[0, 1]
    assert srcc(prediction, target).item() == pytest.approx(expected, abs=EXACT)


def test_negative_zero_ties_with_zero() -> None:
    signed, target = torch.tensor([-0.0, 0.0, 1.0]), torch.tensor([2.0, 1.0, 3.0])
    for function in CORRELATIONS:
        assert torch.equal(function(signed, target), function(signed.abs(), target))


def test_ranks_tell_neighbouring_float64_apart() -> None:
    prediction = torch.tensor([1 + 1e-15, 1, 1 + 2e-15, 0], dtype=torch.float64)
    assert srcc(prediction, torch.tensor([3, 2, 4, 1])).item() == pytest.approx(1, abs=EXACT)


def test_rmse_by_hand() -> None:
    value = rmse(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([2.0, 2.0, 5.0]))
    assert value.item() == pytest.approx(math.sqrt((1 + 0 + 4) / 3), abs=EXACT)


def test_rmse_of_constant_input_exists() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert rmse(torch.full((4,), 0.5), torch.full((4,), 0.25)).item() == 0.25


@pytest.mark.parametrize("scale", [1e-200, 1e-9, 1.0, 1e9, 1e200])
@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_plcc_of_any_scale(scale: float, offset: float) -> None:
    prediction, target = related(50, 1000)
    expected = stats.pearsonr(prediction.numpy(), target.numpy()).statistic
    value = plcc((prediction + offset) * scale, target)
    # The offset costs three of the sixteen digits.
    assert value.item() == pytest.approx(expected, abs=EXACT)


def test_plcc_of_predictions_that_differ_in_the_last_bits() -> None:
    """Real, if tiny, differences count: here three neighbouring float64 numbers above 0.5."""
    eps = 2.0**-53
    prediction = 0.5 + eps * torch.tensor([0.0, 2.0, 6.0], dtype=torch.float64)
    target = torch.tensor([0.0, 1.0, 3.0])
    assert plcc(prediction, target).item() == pytest.approx(1, abs=EXACT)


@pytest.mark.parametrize("function", ALL)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.int64])
def test_any_dtype_is_computed_in_float64(function: Function, dtype: torch.dtype) -> None:
    prediction, target = (values.to(dtype) for values in related(20, 5))
    value = function(prediction, target)
    assert value.dtype == torch.float64
    assert value.shape == ()
    assert torch.equal(value, function(prediction.double(), target.double()))


@pytest.mark.parametrize("function", ALL)
def test_gradients_are_cut(function: Function) -> None:
    prediction, target = related(20, 5)
    assert not function(prediction.requires_grad_(), target).requires_grad


@pytest.mark.parametrize("function", CORRELATIONS)
@pytest.mark.parametrize("size", [0, 1, 2])
def test_correlation_of_too_few_is_nan_with_one_warning(function: Function, size: int) -> None:
    with pytest.warns(UserWarning, match=f"{size} samples, at least 3 are needed") as caught:
        value = function(torch.arange(size), torch.arange(size))
    assert len(caught) == 1
    assert math.isnan(value)


@pytest.mark.parametrize("size", [0, 1])
def test_rmse_of_too_few_is_nan_with_one_warning(size: int) -> None:
    with pytest.warns(
        UserWarning, match=f"RMSE .* {size} samples, at least 2 are needed"
    ) as caught:
        value = rmse(torch.zeros(size), torch.ones(size))
    assert len(caught) == 1
    assert math.isnan(value)


@pytest.mark.parametrize("function", CORRELATIONS)
@pytest.mark.parametrize("constant", [0.0, 0.1, 1e30])
def test_constant_input_is_nan_with_one_warning(function: Function, constant: float) -> None:
    varied, flat = torch.rand(100, dtype=torch.float64), torch.full((100,), constant)
    for arguments, name in (((flat, varied), "predictions"), ((varied, flat), "targets")):
        with pytest.warns(UserWarning, match=f"all 100 {name} are") as caught:
            value = function(*arguments)
        assert len(caught) == 1
        assert math.isnan(value)


@pytest.mark.parametrize("function", [*ALL, logistic_mapping])
def test_bad_input_is_named(function: Function) -> None:
    good = torch.arange(4.0)
    for bad in (math.nan, math.inf, -math.inf):
        with pytest.raises(ValueError, match=rf"prediction\[2\] is {bad}"):
            function(torch.tensor([0.0, 1.0, bad, 3.0]), good)
        with pytest.raises(ValueError, match=rf"target\[2\] is {bad}"):
            function(good, torch.tensor([0.0, 1.0, bad, 3.0]))
    with pytest.raises(ValueError, match=r"same shape \[N\], got \[4\] and \[3\]"):
        function(good, good[:3])
    with pytest.raises(ValueError, match=r"same shape \[N\], got \[4, 1\] and \[4, 1\]"):
        function(good[:, None], good[:, None])


# --- The logistic mapping ---


def logistic(x: np.ndarray, b1: float, b2: float, b3: float, b4: float) -> np.ndarray:
    return b2 + (b1 - b2) / (1 + np.exp(-(x - b3) / abs(b4)))


@pytest.mark.parametrize("parameters", [(80, 20, 0.6, 0.1), (1, 5, 0.2, 0.5), (1, 0, 0.5, 0.03)])
def test_mapping_recovers_a_logistic(parameters: tuple[float, ...]) -> None:
    x = np.linspace(0, 1, 50)
    y = logistic(x, *parameters)
    mapped = logistic_mapping(torch.from_numpy(x), torch.from_numpy(y))
    assert mapped.dtype == torch.float64
    # The search stops at relative changes of 1e-8.
    np.testing.assert_allclose(mapped.numpy(), y, atol=1e-6 * np.ptp(y))


@pytest.mark.parametrize("seed", range(5))
def test_mapping_is_as_good_as_the_fit_from_vqegs_start(seed: int) -> None:
    generator = np.random.default_rng(seed)
    x = generator.uniform(0, 1, 300)
    y = logistic(x, 80, 20, 0.6, 0.1) + 8 * generator.normal(size=300)
    start = [y.max(), y.min(), x.mean(), x.std() / 4]
    best, _ = optimize.curve_fit(logistic, x, y, p0=start, maxfev=100_000)
    expected = logistic(x, *best)
    mapped = logistic_mapping(torch.from_numpy(x), torch.from_numpy(y)).numpy()
    # Both searches stop at relative changes of 1e-8 of the sum of squares.
    assert np.square(mapped - y).sum() == pytest.approx(np.square(expected - y).sum(), rel=1e-7)
    np.testing.assert_allclose(mapped, expected, atol=1e-2)
    value = plcc(torch.from_numpy(x), torch.from_numpy(y), logistic=True).item()
    assert value == pytest.approx(stats.pearsonr(expected, y).statistic, abs=1e-7)
    value = rmse(torch.from_numpy(x), torch.from_numpy(y), logistic=True).item()
    assert value == pytest.approx(np.sqrt(np.square(expected - y).mean()), rel=1e-7)


@pytest.mark.parametrize("seed", [0, 12, 27, 43, 53])  # from 12 on the best start alone misleads
def test_mapping_is_as_good_as_any_of_a_dense_grid(seed: int) -> None:
    """Weakly related data, where one start alone often ends in a poor local optimum."""
    generator = np.random.default_rng(seed)
    x = generator.normal(size=30)
    y = x + 3 * generator.normal(size=30)
    mapped = logistic_mapping(torch.from_numpy(x), torch.from_numpy(y)).numpy()
    best = math.inf
    for b3 in np.linspace(x.min(), x.max(), 100):
        for b4 in np.geomspace(1e-2, 10, 30):
            curve = np.stack([logistic(x, 1, 0, b3, b4), np.ones(30)], axis=1)
            weights = np.linalg.lstsq(curve, y, rcond=None)[0]
            best = min(best, np.square(curve @ weights - y).mean())
    assert np.square(mapped - y).mean() <= best + 1e-6 * y.var()


@pytest.mark.slow
@given(
    size=st.integers(5, 60),
    shape=st.sampled_from(["noise", "line", "power", "step", "outlier", "ties"]),
    noise=st.sampled_from([0.0, 0.01, 1.0]),
    scale=st.sampled_from([1e-6, 1.0, -1e4]),
    seed=st.integers(0, 999),
)
@settings(derandomize=True, deadline=None, max_examples=60)
def test_mapping_is_never_worse_than_a_line(
    size: int, shape: str, noise: float, scale: float, seed: int
) -> None:
    """A line is the limit of wide logistics, so the best logistic leaves no more than it does."""
    generator = np.random.default_rng(seed)
    x = generator.normal(size=size)
    y = noise * generator.normal(size=size)
    y += {
        "noise": generator.normal(size=size),
        "line": x,
        "power": np.exp(x),
        "step": 1.0 * (x > np.median(x)),
        "outlier": x + 1e3 * (np.arange(size) == 0),
        "ties": np.round(x),
    }[shape]
    if np.ptp(y) == 0:
        return
    x = x * scale + 7
    line = stats.linregress(x, y)
    left_by_line = np.square(y - line.intercept - line.slope * x).mean()
    mapped = logistic_mapping(torch.from_numpy(x), torch.from_numpy(y)).numpy()
    # 1e-6 of the variance: at the widest logistic allowed the curve still bends a little.
    assert np.square(y - mapped).mean() <= left_by_line + 1e-6 * y.var()


@pytest.mark.parametrize("slope", [3.0, -3.0])
def test_perfect_line_converges(slope: float) -> None:
    """Its best logistic is infinitely wide, where a search over all four parameters never ends."""
    x = torch.linspace(0, 1, 200, dtype=torch.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert plcc(x, slope * x, logistic=True).item() == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize(("scale", "offset"), [(1e-3, 5.0), (1e-200, 0.0), (1e200, 0.0)])
def test_mapping_ignores_scale_and_offset(scale: float, offset: float) -> None:
    prediction, target = related(100, 1000)
    mapped = logistic_mapping(prediction, target)
    again = logistic_mapping(prediction * scale + offset, target * 20 - 3)
    # The search stops at relative changes of 1e-8; the targets are thousands.
    torch.testing.assert_close(again, mapped * 20 - 3, rtol=1e-5, atol=1e-2)
    huge = logistic_mapping(prediction, target * scale)
    torch.testing.assert_close(huge / scale, mapped, rtol=1e-5, atol=1e-2)


def test_falling_mapping_turns_the_sign() -> None:
    prediction, target = related(100, 1000)
    assert plcc(-prediction, target).item() < 0
    value = plcc(-prediction, target, logistic=True).item()
    assert value == pytest.approx(plcc(prediction, target, logistic=True).item(), abs=1e-6)


@pytest.mark.parametrize(
    ("prediction", "target", "reason"),
    [
        (torch.arange(4.0), torch.arange(4.0), "4 samples, at least 5 are needed"),
        (torch.ones(6), torch.arange(6.0), "all 6 predictions are 1"),
        (torch.arange(6.0), torch.ones(6), "all 6 targets are 1"),
    ],
)
def test_mapping_that_does_not_exist_is_nan_with_one_warning(
    prediction: Tensor, target: Tensor, reason: str
) -> None:
    for function in (
        logistic_mapping,
        lambda x, y: plcc(x, y, logistic=True),
        lambda x, y: rmse(x, y, logistic=True),
    ):
        with pytest.warns(UserWarning, match=reason) as caught:
            value = function(prediction, target)
        assert len(caught) == 1
        assert bool(value.isnan().all())


@pytest.mark.parametrize("seed", range(4))
def test_five_parameters_fit_as_well_as_a_general_optimiser(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.uniform(size=200)

    def curve(x: np.ndarray, *b: float) -> np.ndarray:
        return b[0] * (0.5 - 1 / (1 + np.exp(b[1] * (x - b[2])))) + b[3] * x + b[4]

    y = curve(x, 40, 15, 0.5, -10 + 10 * seed, 30) + 5 * rng.normal(size=200)
    mapped = logistic_mapping(torch.from_numpy(x), torch.from_numpy(y), 5).numpy()
    error = np.sum((mapped - y) ** 2)
    starts = [(np.ptp(y), slope, centre, 0, y.mean()) for slope in (3, 15) for centre in (0.3, 0.7)]
    best = [optimize.curve_fit(curve, x, y, p0=start, maxfev=100_000)[0] for start in starts]
    assert error <= min(np.sum((curve(x, *b) - y) ** 2) for b in best) * (1 + 1e-6)
    four = logistic_mapping(torch.from_numpy(x), torch.from_numpy(y)).numpy()
    assert error <= np.sum((four - y) ** 2)  # the 4-parameter curve is a special case
    line = torch.arange(20.0)
    np.testing.assert_allclose(logistic_mapping(line, 3 - 2 * line, 5), 3 - 2 * line, atol=1e-9)


def test_only_four_or_five_parameters_and_enough_samples() -> None:
    prediction, target = related(50, 1000)
    with pytest.raises(ValueError, match="logistic with 3 parameters"):
        logistic_mapping(prediction, target, 3)  # type: ignore[arg-type]
    with pytest.warns(UserWarning, match="5 samples, at least 6"):
        assert logistic_mapping(prediction[:5], target[:5], 5).isnan().all()


def test_fit_that_does_not_converge_is_nan_with_one_warning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    failure = SimpleNamespace(success=False, cost=0.0, x=np.zeros(2))
    monkeypatch.setattr(fits.optimize, "least_squares", lambda *_, **__: failure)
    prediction, target = related(50, 1000)
    with pytest.warns(UserWarning, match="does not converge") as caught:
        value = plcc(prediction, target, logistic=True)
    assert len(caught) == 1
    assert math.isnan(value)
