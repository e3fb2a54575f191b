"""The loss of votes against its formula, and what is learned from votes of a known order."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import Tensor

from clipiqa_plus.losses import Labels, Predicted, fidelity_loss, mse, training_loss, vote_loss
from clipiqa_plus.losses.pairs import USUAL_STD
from clipiqa_plus.metrics.functional import srcc
from clipiqa_plus.metrics.votes import vote_accuracy
from tests.support.votes import best_accuracy, thurstone_votes


def labels(**known: Tensor) -> Labels:
    return Labels(torch.full((4, 1), torch.nan), **known)


VOTED = torch.tensor([[0, 1], [2, 1], [3, 0]])
PREFERRED, VOTES = torch.tensor([1.0, 0.25, 0.5]), torch.tensor([1.0, 4.0, 2.0])


def test_vote_loss_equals_its_formula() -> None:
    pred = torch.tensor([[0.2], [0.7], [0.4], [0.9]], dtype=torch.float64)
    expected = []
    for (i, j), p in zip(VOTED.tolist(), PREFERRED.tolist(), strict=True):
        model = norm.cdf(float(pred[i] - pred[j]) / (np.sqrt(2) * USUAL_STD))
        expected.append(1 - np.sqrt(p * model) - np.sqrt((1 - p) * (1 - model)))
    value = float(np.average(expected, weights=VOTES))
    assert float(vote_loss(pred, VOTED, PREFERRED, VOTES)) == pytest.approx(value, abs=1e-7)
    found = training_loss(
        "mse", Predicted(pred), labels(voted=VOTED, preferred=PREFERRED, votes=VOTES)
    )
    assert float(found) == pytest.approx(value, abs=1e-7)


def test_gradient_stays_finite_far_from_the_votes() -> None:
    pred = torch.tensor([[-9.0], [9.0]], requires_grad=True)
    vote_loss(pred, torch.tensor([[0, 1]]), torch.ones(1), torch.ones(1)).backward()
    assert pred.grad is not None
    assert bool(pred.grad.isfinite().all())
    assert torch.autograd.gradcheck(
        lambda p: vote_loss(p, VOTED, PREFERRED, VOTES),
        torch.rand(4, 1, dtype=torch.float64, requires_grad=True),
    )


def test_votes_beside_mos_each_within_its_set() -> None:
    """Two pictures have MOS, three votes: the mean of both losses by the weight of the pictures."""
    pred = torch.tensor([[0.2], [0.7], [0.4], [0.9], [0.1]])
    mos = torch.tensor([[0.3], [0.5], [torch.nan], [torch.nan], [torch.nan]])
    voted, preferred, votes = (
        torch.tensor([[2, 3], [4, 3]]),
        torch.tensor([1.0, 0.0]),
        torch.ones(2),
    )
    found = training_loss(
        "mse",
        Predicted(pred),
        Labels(
            mos,
            group=torch.tensor([0, 0, 1, 1, 1]),
            voted=voted,
            preferred=preferred,
            votes=votes,
        ),
    )
    expected = 2 / 5 * mse(pred[:2], mos[:2]) + 3 / 5 * vote_loss(pred, voted, preferred, votes)
    assert float(found) == pytest.approx(float(expected), abs=1e-7)


def test_labels_of_some_pictures_keep_the_votes_between_them() -> None:
    known = labels(voted=VOTED, preferred=PREFERRED, votes=VOTES).rows(torch.tensor([3, 0, 1]))
    assert known.voted is not None
    assert known.voted.tolist() == [[1, 2], [0, 1]]
    assert known.votes is not None
    assert known.votes.tolist() == [1, 2]


def fitted(features: Tensor, loss: object) -> Tensor:
    """Scores of a linear model on features, fitted by L-BFGS; a sigmoid, as CLIP's scores are."""
    model = torch.nn.Linear(features.shape[1], 1)
    torch.nn.init.zeros_(model.weight)
    torch.nn.init.zeros_(model.bias)
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        value: Tensor = loss(torch.sigmoid(model(features)))  # type: ignore[operator]
        value.backward()
        return value

    optimizer.step(closure)  # type: ignore[arg-type]
    return torch.sigmoid(model(features)).detach()


def planted(seed: int, count: int = 600, width: int = 16) -> tuple[Tensor, Tensor]:
    """Features, and qualities in [0, 1] that are a function of them."""
    random = torch.Generator().manual_seed(seed)
    features = torch.randn(count, width, generator=random)
    quality = torch.sigmoid(features @ torch.randn(width, 1, generator=random) / 4)
    return features, quality


def test_votes_of_a_known_order_are_learned_up_to_their_noise() -> None:
    """Accuracy on new votes about new pictures, above 0.9 of the true order's."""
    features, quality = planted(0)
    seen, unseen = quality[:400, 0].tolist(), quality[400:, 0].tolist()
    train, test = thurstone_votes(seen, 2000, 0.1), thurstone_votes(unseen, 1000, 0.1, seed=1)
    voted = torch.from_numpy(train[["first", "second"]].to_numpy(copy=True))
    preferred = torch.tensor((train["vote"] == "first").tolist()).float()
    scores = fitted(
        features[:400], lambda s: vote_loss(s, voted, preferred, torch.ones(len(voted)))
    )
    assert float(srcc(scores[:, 0], quality[:400, 0])) > 0.95
    # The same model on the unseen pictures: its weights follow from scores and features.
    logits = torch.logit(scores.double().clamp(1e-6, 1 - 1e-6))
    design = torch.cat([features[:400].double(), torch.ones(400, 1).double()], dim=1)
    weights = torch.linalg.lstsq(design, logits).solution
    new = features[400:].double() @ weights[:-1] + weights[-1]
    first = (test["vote"] == "first").to_numpy()
    wins = np.stack([first, ~first], axis=1)
    reached = vote_accuracy(new[:, 0].numpy(), test[["first", "second"]].to_numpy(), wins)
    allowed = best_accuracy(unseen, 0.1, test)
    assert 0.7 < allowed < 0.9
    assert reached > 0.9 * allowed


@pytest.mark.slow
def test_true_deviations_help_the_fidelity_loss() -> None:
    """Half of the pictures are judged with 20 times the noise of the others, by 5 raters each."""
    gains = [gain_of_deviations(seed) for seed in range(5)]
    assert min(gains) > 0
    assert np.mean(gains) > 0.02


def gain_of_deviations(seed: int) -> float:
    """SRCC on 540 unseen pictures with the deviations of 60, less SRCC without them."""
    features, quality = planted(10 + seed)
    rng = np.random.default_rng(seed)
    std = torch.from_numpy(rng.choice([0.02, 0.4], len(quality))).float()[:, None]
    mos = quality + torch.from_numpy(rng.normal(size=std.shape)).float() * std / 5**0.5

    def reached(known: Tensor | None) -> float:
        model = fitted_weights(features[:60], lambda s: fidelity_loss(s, mos[:60], known))
        return float(srcc((features[60:] @ model)[:, 0], quality[60:, 0]))

    return reached(std[:60]) - reached(None)


def fitted_weights(features: Tensor, loss: object) -> Tensor:
    """Weights of the linear model whose scores :func:`fitted` returns."""
    logits = torch.logit(fitted(features, loss).double().clamp(1e-9, 1 - 1e-9))
    design = torch.cat([features.double(), torch.ones(len(features), 1).double()], dim=1)
    return torch.linalg.lstsq(design, logits).solution[:-1].float()
