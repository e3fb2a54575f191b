"""Lightning's options of a trainer do with this module what they do with any other."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping

from clipiqa_plus.clip.backbone import FrozenCLIP
from clipiqa_plus.module import CLIPIQAPlus
from tests.support.feature_training import Features, adam, trainer
from tests.support.tiny_data import Tiny
from tests.support.training_run import run


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({"fast_dev_run": 2}, 2),
        ({"limit_train_batches": 2, "limit_val_batches": 1}, 4),
        ({"limit_train_batches": 0.34, "limit_val_batches": 0}, 2),
        ({"accumulate_grad_batches": 2}, 4),  # 3 batches: a step after 2, a step after the last
        ({"max_epochs": -1, "max_steps": 5}, 5),
        ({"val_check_interval": 1}, 6),
        ({"gradient_clip_val": 1.0}, 6),
    ],
)
def test_options_give_the_steps_they_promise(
    clip: FrozenCLIP, tmp_path: Path, options: dict[str, Any], steps: int
) -> None:
    model = CLIPIQAPlus(clip, optimizer=adam)
    start = model.prompts.ctx.detach().clone()
    trainer(tmp_path, **options).fit(model, Features())
    assert int(model.prompts.steps) == steps
    assert model.prompts.ctx.isfinite().all()
    assert not torch.equal(model.prompts.ctx, start)


def test_overfitting_repeats_the_same_batches(
    clip: FrozenCLIP, tmp_path: Path, make_picture: Callable[..., Path]
) -> None:
    for i in range(10):
        make_picture(tmp_path / f"p/{i}.png", 64, 48, seed=i)
    seen: list[list[list[int]]] = []

    class Watching(CLIPIQAPlus):
        def on_train_epoch_start(self) -> None:
            seen.append([])

        def training_step(self, batch: dict[str, Any], batch_index: int) -> torch.Tensor:
            seen[-1].append(batch["id"].tolist())
            return super().training_step(batch, batch_index)

    model = Watching(clip, optimizer=adam)
    data = Tiny(tmp_path, batch_size=2, num_workers=0)
    trainer(tmp_path, overfit_batches=2, max_epochs=3).fit(model, data)
    assert len(seen) == 3
    assert seen[0] == seen[1] == seen[2]
    assert [len(batch) for batch in seen[0]] == [2, 2]


def test_accumulated_gradients_equal_one_large_batch(clip: FrozenCLIP, tmp_path: Path) -> None:
    def sgd(parameters: Any) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, lr=1.0)

    small, large = CLIPIQAPlus(clip, optimizer=sgd), CLIPIQAPlus(clip, optimizer=sgd)
    trainer(tmp_path, max_epochs=1, accumulate_grad_batches=2).fit(small, Features(batch_size=10))
    trainer(tmp_path, max_epochs=1).fit(large, Features(batch_size=20))
    # MSE of halves of equal size averages to that of the whole; sums in float32 differ in order.
    torch.testing.assert_close(small.prompts.ctx, large.prompts.ctx, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
def test_mixed_precision_learns_finite_context_tokens(
    clip: FrozenCLIP, tmp_path: Path, precision: str
) -> None:
    exact, mixed = CLIPIQAPlus(clip, optimizer=adam), CLIPIQAPlus(clip, optimizer=adam)
    trainer(tmp_path).fit(exact, Features())
    trainer(tmp_path, precision=precision).fit(mixed, Features())
    assert mixed.prompts.ctx.dtype == torch.float32
    # Adam moves each number by 0.01 a step at most: twice 6 steps bound any difference.
    torch.testing.assert_close(mixed.prompts.ctx, exact.prompts.ctx, rtol=0, atol=0.12)
    assert torch.equal(mixed.prompts.steps, exact.prompts.steps)


def test_early_stopping_stops_and_the_run_is_whole(clip: FrozenCLIP, tmp_path: Path) -> None:
    never = EarlyStopping("val/SRCC", mode="max", patience=1, min_delta=2.0)  # SRCC gains 2 at most
    fit = trainer(tmp_path, max_epochs=9, callbacks=[never])
    model = CLIPIQAPlus(clip, optimizer=adam)
    fit.fit(model, Features())
    assert fit.current_epoch == 2
    (metrics,) = fit.test(model, Features(), verbose=False)
    assert -1 <= metrics["test/SRCC"] <= 1


def test_a_module_is_pickled_and_copied_with_its_prompts(clip: FrozenCLIP, tmp_path: Path) -> None:
    model = CLIPIQAPlus(clip, optimizer=adam)
    trainer(tmp_path).fit(model, Features())
    features = Features().features
    scores = model.score_features(features).detach()
    for again in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        torch.testing.assert_close(again.score_features(features).detach(), scores)
        assert again.zero_shot().learned().prompts.learned


@pytest.mark.slow
@pytest.mark.parametrize("option", ["fast_dev_run=true", "limit_train_batches=1"])
def test_short_runs_from_the_command_line(recipe: Path, option: str) -> None:
    run(recipe, f"--trainer.{option}", "--trainer.max_epochs=1")
