"""Probes against closed forms computed row by row, and against a planted target."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from clipiqa_plus.features.probes import STRENGTHS, Probe, fit_mlp, fit_ridge


def planted(rows: int, dim: int = 8, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    features = F.normalize(torch.randn(rows, dim, generator=generator), dim=-1)
    direction = torch.randn(dim, 2, generator=torch.Generator().manual_seed(9))
    noise = 0.3 * torch.randn(rows, 2, generator=generator)
    return features, torch.sigmoid(features @ direction + noise)


def ridge_by_hand(x: np.ndarray, z: np.ndarray, strength: float) -> tuple[np.ndarray, np.ndarray]:
    """Weights and bias from the normal equations."""
    centred = x - x.mean(axis=0)
    gram = centred.T @ centred + strength * np.eye(x.shape[1])
    weight = np.linalg.solve(gram, centred.T @ (z - z.mean(axis=0)))
    return weight, z.mean(axis=0) - x.mean(axis=0) @ weight


def test_strength_and_weights_are_those_of_leaving_out_each_row_in_turn() -> None:
    features, mos = planted(30)
    x, y = features.double().numpy(), mos.double().numpy()
    z = np.log(y / (1 - y))
    errors = []
    for strength in STRENGTHS.tolist():
        squares = []
        for row in range(len(x)):
            rest = np.arange(len(x)) != row
            weight, bias = ridge_by_hand(x[rest], z[rest], strength)
            squares.append((1 / (1 + np.exp(-(x[row] @ weight + bias))) - y[row]) ** 2)
        errors.append(np.mean(squares))
    probe, strength = fit_ridge(features, mos)
    assert strength == STRENGTHS[int(np.argmin(errors))]
    weight, bias = ridge_by_hand(x, z, strength)
    expected = 1 / (1 + np.exp(-(x @ weight + bias)))
    # float32 weights against float64 ones.
    np.testing.assert_allclose(probe(features).numpy(), expected, atol=1e-6)


def test_more_dimensions_than_rows_are_fine() -> None:
    features, mos = planted(20, dim=64)
    probe, strength = fit_ridge(features, mos)
    assert strength > STRENGTHS[0]
    assert probe(features).isfinite().all()


def test_a_score_at_the_end_of_the_scale_stays_finite() -> None:
    features, mos = planted(20)
    mos[0], mos[1] = 0.0, 1.0
    assert fit_ridge(features, mos)[0](features).isfinite().all()


@pytest.mark.slow
def test_mlp_learns_what_a_line_cannot() -> None:
    generator = torch.Generator().manual_seed(0)
    features = F.normalize(torch.randn(600, 4, generator=generator), dim=-1)
    mos = features[:, :1].abs()  # even: no linear relation
    val = features[500:], mos[500:]
    mlp = fit_mlp(features[:500], mos[:500], *val, hidden=32, steps=400)
    ridge, _ = fit_ridge(features[:500], mos[:500])
    error = float(F.mse_loss(mlp(val[0]), val[1]))
    assert error < 0.2 * float(F.mse_loss(ridge(val[0]), val[1]))
    again = fit_mlp(features[:500], mos[:500], *val, hidden=32, steps=400)
    assert torch.equal(again(val[0]), mlp(val[0]))  # one seed, one result


def test_mlp_keeps_its_best_state() -> None:
    features, mos = planted(40, dim=32)
    noise = torch.rand(20, 2, generator=torch.Generator().manual_seed(1))
    val = planted(20, dim=32, seed=3)[0], noise  # nothing to learn: more steps only hurt
    short = fit_mlp(features, mos, *val, steps=5)
    longer = fit_mlp(features, mos, *val, steps=300)
    assert float(F.mse_loss(longer(val[0]), noise)) <= float(F.mse_loss(short(val[0]), noise))


@pytest.mark.parametrize(
    ("mos", "message"),
    [(torch.rand(2, 1), "2 rated pictures are too few"), (torch.ones(9, 1), "is constant")],
)
def test_nothing_to_fit_is_an_error(mos: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_ridge(torch.rand(len(mos), 4), mos)


def test_scores_are_between_0_and_1() -> None:
    assert Probe(4, 3)(torch.randn(5, 4)).shape == (5, 3)
    assert ((Probe(4, hidden=8)(100 * torch.randn(5, 4)) - 0.5).abs() <= 0.5).all()
