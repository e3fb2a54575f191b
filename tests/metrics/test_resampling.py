"""Bootstrap: against scipy resample by resample."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from clipiqa_plus.metrics.resampling import bootstrap, interval, resample_counts


def data(n: int, seed: int = 0, digits: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Two sources and MOS with ties, on quite different scales."""
    rng = np.random.default_rng(seed)
    mos = rng.uniform(size=n).round(digits)
    weak = 1e6 + 100 * (mos + rng.normal(size=n)).round(digits)
    return np.stack([weak, mos + rng.normal(size=n) / 3]), mos


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(n=st.integers(6, 60), seed=st.integers(0, 10**6), digits=st.integers(0, 3))
def test_each_resample_equals_scipy_on_the_same_pictures(n: int, seed: int, digits: int) -> None:
    x, y = data(n, seed, digits)
    found = bootstrap(x, y, resamples=20, seed=seed)
    counts = np.concatenate(list(resample_counts(n, 20, seed)))
    for r, row in enumerate(counts.astype(int)):
        index = np.repeat(np.arange(n), row)
        for s in range(2):
            u, v = x[s][index], y[index]
            # 1e-9: sums in another order, on values of 1e6 that differ by 100.
            assert found["RMSE"][s, r] == pytest.approx(np.sqrt(np.mean((u - v) ** 2)), rel=1e-9)
            if np.ptp(u) == 0 or np.ptp(v) == 0:
                assert np.isnan([found[m][s, r] for m in ("SRCC", "PLCC", "KRCC")]).all()
                continue
            assert found["SRCC"][s, r] == pytest.approx(stats.spearmanr(u, v)[0], abs=1e-9)
            assert found["PLCC"][s, r] == pytest.approx(stats.pearsonr(u, v)[0], abs=1e-9)
            assert found["KRCC"][s, r] == pytest.approx(stats.kendalltau(u, v)[0], abs=1e-12)


@pytest.mark.parametrize("digits", [1, 6])
@pytest.mark.parametrize("n", [63, 64, 65, 128, 700])
def test_kendall_over_several_levels_equals_scipy(n: int, digits: int) -> None:
    x, y = data(n, seed=n, digits=digits)
    groups = np.arange(n) // 3
    found = bootstrap(x, y, groups, resamples=4)["KRCC"]
    for r, row in enumerate(next(resample_counts(n, 4, groups=groups)).astype(int)):
        index = np.repeat(np.arange(n), row)
        for s in range(2):
            expected = stats.kendalltau(x[s][index], y[index]).statistic
            assert found[s, r] == pytest.approx(expected, abs=1e-12)


def test_counts_are_draws_with_replacement_over_all_blocks() -> None:
    blocks = list(resample_counts(1000, 300, seed=1))
    assert len(blocks) > 1
    counts = np.concatenate(blocks)
    assert counts.shape == (300, 1000)
    assert (counts.sum(axis=1) == 1000).all()
    # Binomial(1000, 1/1000): variance 0.999; its error over 300,000 counts is about 0.003.
    assert counts.var() == pytest.approx(0.999, abs=0.02)
    np.testing.assert_array_equal(counts, np.concatenate(list(resample_counts(1000, 300, seed=1))))
    assert (counts != np.concatenate(list(resample_counts(1000, 300, seed=2)))).any()


def test_contents_are_drawn_whole() -> None:
    groups = np.array(["b", "a", "b", "c", "a", "b"])
    counts = np.concatenate(list(resample_counts(6, 50, groups=groups)))
    for name in "abc":
        of_group = counts[:, groups == name]
        assert (of_group == of_group[:, :1]).all()
    firsts = counts[:, [1, 0, 3]]
    assert (firsts.sum(axis=1) == 3).all()


@pytest.mark.slow
def test_interval_agrees_with_scipy_bootstrap() -> None:
    x, y = data(200, digits=6)
    found = interval(bootstrap(x[1], y, resamples=5000)["SRCC"][0])
    peer = stats.bootstrap(
        (x[1], y),
        lambda a, b: stats.spearmanr(a, b).statistic,
        paired=True,
        vectorized=False,
        n_resamples=2000,
        method="percentile",
        rng=np.random.default_rng(5),
    ).confidence_interval
    # Other draws: the ends of 2,000 resamples have an error of about 0.003.
    assert found == pytest.approx((peer.low, peer.high), abs=0.012)


def test_repeating_pictures_within_contents_does_not_narrow_the_interval() -> None:
    x, y = data(40, digits=6)
    alone = interval(bootstrap(x[1], y, resamples=2000)["PLCC"][0])
    x9, y9, contents = np.repeat(x[1], 9), np.repeat(y, 9), np.repeat(np.arange(40), 9)
    by_content = interval(bootstrap(x9, y9, contents, resamples=2000)["PLCC"][0])
    assert by_content == pytest.approx(alone, abs=1e-9)  # the same draws, nine times each
    low, high = interval(bootstrap(x9, y9, resamples=2000)["PLCC"][0])
    assert high - low < 0.5 * (alone[1] - alone[0])  # as if there were 360 pictures: a third


def test_constant_scores_have_no_interval() -> None:
    _, y = data(50)
    samples = bootstrap(np.full(50, 0.1), y, resamples=100)
    assert np.isnan(samples["SRCC"]).all()
    assert np.isnan(samples["PLCC"]).all()
    assert np.isnan(interval(samples["SRCC"][0])).all()
    assert np.isfinite(interval(samples["RMSE"][0])).all()


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"mos \[N\]"):
        bootstrap(np.zeros((2, 5)), np.zeros(4))
    with pytest.raises(ValueError, match="groups"):
        bootstrap(np.zeros((2, 5)), np.zeros(5), groups=np.zeros(4))
