"""Many fits at once: a planted target is found, and company changes nothing."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from clipiqa_plus.clip.backbone import FrozenCLIP
from clipiqa_plus.metrics.functional import srcc
from clipiqa_plus.prompts.sources import ContextPrompts
from clipiqa_plus.scoring import pair_probability
from clipiqa_plus.training.fits import Fit, Fitted, fit_contexts


def planted(clip: FrozenCLIP, rows: int, pairs: int = 1) -> tuple[Tensor, Tensor]:
    """Features and the MOS that a hidden context gives them, with noise."""
    generator = torch.Generator().manual_seed(5)
    features = F.normalize(torch.randn(rows, clip.dim, generator=generator), dim=-1)
    names = ["quality", "sharpness"][:pairs]
    with torch.no_grad():
        hidden = ContextPrompts(clip, names, seed=99)
        hidden.ctx.mul_(10)
        text = hidden(clip)
        scores = pair_probability(features, text, clip.logit_scale)
    noise = 0.05 * torch.randn(scores.shape, generator=generator)
    return features, (scores + noise).clamp(0, 1)


def fits_of(prompts: list[ContextPrompts], rows: int) -> list[Fit]:
    order = torch.arange(rows)
    split = rows * 3 // 4
    return [Fit(p.ctx.detach(), order[:split], order[split:]) for p in prompts]


def run(prompts: ContextPrompts, clip: FrozenCLIP, *args, **options) -> list[Fitted]:
    found = dict(fit_contexts(prompts, clip, *args, **options))
    return [found[number] for number in range(len(found))]


@pytest.mark.slow
def test_a_planted_target_is_found(clip: FrozenCLIP) -> None:
    features, mos = planted(clip, 400)
    prompts = ContextPrompts(clip)
    (fitted,) = run(prompts, clip, features, mos, fits_of([prompts], 400))
    with torch.no_grad():
        learned = fitted.prompts(prompts)
        assert learned.learned
        torch.testing.assert_close(learned(clip), fitted.text, atol=1e-5, rtol=0)
        scores = pair_probability(features, fitted.text, clip.logit_scale)
    test = float(srcc(scores[300:, 0], mos[300:, 0]))
    assert test == pytest.approx(fitted.srcc, abs=1e-6)  # the rows that chose the state
    start = pair_probability(features, prompts(clip).detach(), clip.logit_scale)
    assert test > 0.9 > abs(float(srcc(start[300:, 0], mos[300:, 0])))
    assert not prompts.learned


@pytest.mark.slow
@pytest.mark.parametrize("class_specific", [False, True])
def test_company_changes_nothing(clip: FrozenCLIP, class_specific: bool) -> None:
    features, mos = planted(clip, 200, pairs=2)
    make = [
        ContextPrompts(clip, ["quality", "sharpness"], class_specific=class_specific, seed=s)
        for s in range(5)
    ]
    options = {"mean": False, "max_iterations": 6, "patience": 6}
    fits = fits_of(make, 200)
    together = run(make[0], clip, features, mos, fits, at_once=3, **options)
    for fit, found in zip(fits, together, strict=True):
        (alone,) = run(make[0], clip, features, mos, [fit], **options)
        # The same arithmetic in batches of another size: rounding, carried through 6 iterations.
        assert found.loss == pytest.approx(alone.loss, abs=1e-5)
        assert found.srcc == pytest.approx(alone.srcc, abs=1e-3)
        assert found.iterations == alone.iterations


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["mse", "plcc", "mse_plcc", "rank"])
def test_every_loss_falls(clip: FrozenCLIP, loss: str) -> None:
    features, mos = planted(clip, 120)
    prompts = ContextPrompts(clip)
    fits = fits_of([prompts], 120)
    (short,) = run(prompts, clip, features, mos, fits, loss=loss, max_iterations=1)
    (longer,) = run(prompts, clip, features, mos, fits, loss=loss, max_iterations=15)
    assert longer.loss < short.loss


def test_patience_keeps_the_best_state(clip: FrozenCLIP) -> None:
    features, mos = planted(clip, 60)
    mos = mos[torch.randperm(60, generator=torch.Generator().manual_seed(1))]  # nothing to learn
    prompts = ContextPrompts(clip)
    (fitted,) = run(
        prompts, clip, features, mos, fits_of([prompts], 60), patience=3, max_iterations=100
    )
    assert fitted.ended == "no better validation SRCC in 3 iterations"
    assert fitted.iterations < 100


def test_without_validation_the_last_state_is_kept(clip: FrozenCLIP) -> None:
    features, mos = planted(clip, 60)
    prompts = ContextPrompts(clip)
    fit = Fit(prompts.ctx.detach(), torch.arange(60), torch.arange(0))
    (fitted,) = run(prompts, clip, features, mos, [fit], max_iterations=8)
    assert fitted.srcc != fitted.srcc  # NaN
    scores = pair_probability(features, fitted.text, clip.logit_scale)
    assert float(F.mse_loss(scores, mos)) == pytest.approx(fitted.loss, abs=1e-6)
