"""The LightningModule: what is trained, what is refused, what a checkpoint holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch import Callback, Trainer

from clipiqa_plus.clip.backbone import FrozenCLIP
from clipiqa_plus.clip.weights import random_clip
from clipiqa_plus.metrics.classes import plcc, srcc
from clipiqa_plus.module import CLIPIQAPlus, PromptConfig
from clipiqa_plus.prompts.files import read_prompts
from tests.support.feature_training import Features, adam, trainer
from tests.support.models import small_clip


class StopAfter(Callback):
    """Ends the training after some epochs, as a kill between two epochs would."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        trainer.should_stop = trainer.current_epoch + 1 == self.epochs


@pytest.fixture
def model(clip: FrozenCLIP) -> CLIPIQAPlus:
    return CLIPIQAPlus(clip, optimizer=adam)


def test_training_changes_the_context_tokens_and_nothing_else(
    model: CLIPIQAPlus, tmp_path: Path
) -> None:
    frozen = {k: v.clone() for k, v in model.backbone.clip.state_dict().items()}
    ctx = model.prompts.ctx.detach().clone()
    assert [n for n, p in model.named_parameters() if p.requires_grad] == ["prompts.ctx"]
    trainer(tmp_path).fit(model, Features())
    assert not torch.equal(model.prompts.ctx, ctx)
    assert int(model.prompts.steps) == 6  # 2 epochs of 3 batches
    for name, value in model.backbone.clip.state_dict().items():
        assert torch.equal(value, frozen[name]), name
    assert all(p.grad is None for p in model.backbone.clip.parameters())


def test_logged_loss_is_the_mean_over_the_epoch(clip: FrozenCLIP, tmp_path: Path) -> None:
    """At a learning rate of 0 the loss of an epoch can be computed beside the training."""
    model = CLIPIQAPlus(clip, optimizer=lambda p: torch.optim.SGD(p, lr=0.0))
    data, fit = Features(), trainer(tmp_path, max_epochs=1)
    fit.fit(model, data)
    with torch.no_grad():
        expected = F.mse_loss(model.score_features(data.features), data.mos)
    # Batches of 8, 8 and 4 in float32.
    assert float(fit.callback_metrics["train/loss"]) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("loss", ["mse", "emd"])
def test_a_training_step_runs_the_text_tower_once(
    clip: FrozenCLIP, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loss: str
) -> None:
    model = CLIPIQAPlus(clip, optimizer=adam, loss=loss)
    passes = []
    text = model.text_features
    monkeypatch.setattr(model, "text_features", lambda: passes.append(1) or text())
    trainer(tmp_path, max_epochs=1, limit_val_batches=0).fit(model, Features())
    assert len(passes) == 3  # batches


@pytest.mark.slow
def test_training_lowers_the_loss(clip: FrozenCLIP, tmp_path: Path) -> None:
    model, data = CLIPIQAPlus(clip, optimizer=adam), Features(batch_size=20)
    losses = []
    model.log = lambda name, value, **_: losses.append(float(value))  # type: ignore[method-assign,assignment]
    model.on_validation_epoch_end = lambda: None  # type: ignore[method-assign]
    trainer(tmp_path, max_epochs=40).fit(model, data)
    assert losses[-1] < losses[0]


def test_scores_equal_the_softmax_by_hand(clip: FrozenCLIP) -> None:
    model = CLIPIQAPlus(clip, prompts=PromptConfig(mode="zero_shot"))
    images = torch.rand(3, 3, 64, 64)
    image, text = clip.encode_image(images), model.prompts(clip)[0]
    expected = (clip.logit_scale * image @ text.T).softmax(dim=-1)[:, :1]
    torch.testing.assert_close(model(images), expected, atol=1e-6, rtol=0)


def test_mean_of_pairs_and_one_score_per_pair(clip: FrozenCLIP) -> None:
    pairs = PromptConfig(mode="zero_shot", pairs=["quality", "sharpness", "contrast"])
    images = torch.rand(3, 3, 64, 64)
    each = CLIPIQAPlus(clip, prompts=pairs, reduction="none")(images)
    mean = CLIPIQAPlus(clip, prompts=pairs)(images)
    assert each.shape == (3, 3)
    torch.testing.assert_close(mean, each.mean(dim=1, keepdim=True))


def test_regressor_starts_as_the_mean_and_is_trained(clip: FrozenCLIP, tmp_path: Path) -> None:
    pairs = PromptConfig(pairs=["quality", "sharpness"])
    model = CLIPIQAPlus(clip, prompts=pairs, reduction="regressor", optimizer=adam)
    mean = CLIPIQAPlus(clip, prompts=pairs)
    features = Features().features
    torch.testing.assert_close(model.score_features(features), mean.score_features(features))
    trainer(tmp_path).fit(model, Features())
    assert not torch.equal(model.regressor.weight, torch.full((1, 2), 0.5))


def test_random_context_tokens_refuse_to_predict(model: CLIPIQAPlus, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"context tokens are random: .*zero_shot"):
        model(torch.rand(1, 3, 64, 64))
    for run in ("validate", "test", "predict"):
        with pytest.raises(RuntimeError, match="context tokens are random"):
            getattr(trainer(tmp_path), run)(model, Features())


def test_learned_context_tokens_predict(model: CLIPIQAPlus, tmp_path: Path) -> None:
    data = Features()
    fit = trainer(tmp_path)
    fit.fit(model, data)
    batches = fit.predict(model, data)
    assert torch.cat([b["id"] for b in batches]).tolist() == list(range(20))
    assert torch.cat([b["score"] for b in batches]).shape == (20, 1)


def test_zero_shot_switch_uses_the_same_module_and_loaders(
    model: CLIPIQAPlus, tmp_path: Path
) -> None:
    data = Features()
    fit = trainer(tmp_path)
    fit.fit(model, data)
    learned = model.score_features(data.features)
    assert model.zero_shot() is model
    fixed = model.score_features(data.features)
    assert not torch.allclose(learned, fixed)
    reference = CLIPIQAPlus(model.backbone, prompts=PromptConfig(mode="zero_shot"))
    torch.testing.assert_close(fixed, reference.score_features(data.features))
    (metrics,) = trainer(tmp_path).test(model, data, verbose=False)
    assert metrics["test/SRCC"] == pytest.approx(float(srcc(fixed[:, 0], data.mos[:, 0])))
    assert "prompts.ctx" not in dict(model.named_parameters())
    assert model.zero_shot().learned() is model  # twice zero-shot loses nothing either
    assert torch.equal(model.score_features(data.features), learned)
    assert model.learned() is model
    with pytest.raises(RuntimeError, match="always been zero-shot"):
        reference.learned()


def test_zero_shot_has_nothing_to_train(clip: FrozenCLIP, tmp_path: Path) -> None:
    model = CLIPIQAPlus(clip, prompts=PromptConfig(mode="zero_shot"))
    with pytest.raises(RuntimeError, match="nothing to train"):
        trainer(tmp_path).fit(model, Features())


def test_validation_logs_srcc_and_plcc_of_the_whole_part(
    model: CLIPIQAPlus, tmp_path: Path
) -> None:
    data = Features()
    fit = trainer(tmp_path)
    fit.fit(model, data)
    with torch.no_grad():
        scores = model.score_features(data.features)[:, 0]
    mos = data.mos[:, 0]
    assert float(fit.callback_metrics["val/SRCC"]) == pytest.approx(float(srcc(scores, mos)))
    # Logged values are float32.
    assert float(fit.callback_metrics["val/PLCC"]) == pytest.approx(float(plcc(scores, mos)))


def test_targets_are_logged_by_name(clip: FrozenCLIP, tmp_path: Path) -> None:
    pairs = PromptConfig(pairs=["quality", "sharpness"])
    model = CLIPIQAPlus(clip, prompts=pairs, reduction="none", optimizer=adam)
    fit = trainer(tmp_path)
    fit.fit(model, Features(targets=2))
    assert {"val/SRCC_mos", "val/PLCC_sharpness"} <= set(fit.callback_metrics)


def test_scores_and_targets_of_unequal_number_are_refused(
    model: CLIPIQAPlus, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="1 scores for 2 target columns"):
        trainer(tmp_path).fit(model, Features(targets=2))


def test_text_features_follow_every_change_of_the_context_tokens(model: CLIPIQAPlus) -> None:
    with torch.no_grad():
        first = model.text_features()
        assert model.text_features() is first
        model.prompts.ctx.add_(0.1)
        second = model.text_features()
    assert not torch.equal(first, second)
    state = model.state_dict()
    state["prompts.ctx"] = state["prompts.ctx"] - 0.1
    model.load_state_dict(state)
    with torch.no_grad():
        torch.testing.assert_close(model.text_features(), first, atol=1e-5, rtol=0)


def test_checkpoint_is_small_and_holds_no_clip_weight(model: CLIPIQAPlus, tmp_path: Path) -> None:
    fit = trainer(tmp_path)
    fit.fit(model, Features())
    fit.save_checkpoint(tmp_path / "a.ckpt")
    checkpoint = torch.load(tmp_path / "a.ckpt", weights_only=True)
    assert set(checkpoint["state_dict"]) == {"prompts.ctx", "prompts.steps"}
    assert checkpoint["clipiqa_plus"]["weights_sha256"] == model.backbone.fingerprint
    assert (tmp_path / "a.ckpt").stat().st_size < 30_000


@pytest.mark.slow
def test_checkpoint_of_a_true_rn50_is_below_200_kb(tmp_path: Path) -> None:
    clip = FrozenCLIP(random_clip("RN50", 0), "RN50", "0" * 64)
    model = CLIPIQAPlus(clip, optimizer=adam)
    fit = trainer(tmp_path, max_epochs=1)
    fit.fit(model, Features(dim=1024, n=8))
    fit.save_checkpoint(tmp_path / "a.ckpt")
    size = (tmp_path / "a.ckpt").stat().st_size
    assert 16 * 512 * 4 < size < 200_000


class Rates(Callback):
    """Collects the learning rate of each step."""

    def __init__(self) -> None:
        self.rates: list[float] = []

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])


@pytest.mark.slow
def test_cosine_over_a_period_that_is_longer_than_the_training(
    clip: FrozenCLIP, tmp_path: Path
) -> None:
    """The released configuration in small: 80 of 300 steps, 0.002 down to 1e-7."""
    model, rates = CLIPIQAPlus(clip, period=300, min_lr=1e-7), Rates()
    trainer(tmp_path, max_epochs=-1, max_steps=80, callbacks=[rates]).fit(model, Features())
    expected = [1e-7 + (0.002 - 1e-7) * (1 + np.cos(np.pi * t / 300)) / 2 for t in range(80)]
    # The scheduler goes from step to step; its rounding errors add up.
    np.testing.assert_allclose(rates.rates, expected, rtol=1e-9)
    assert rates.rates[-1] == pytest.approx(0.00167, abs=1e-5)


def test_cosine_without_a_period_ends_at_the_least_rate(clip: FrozenCLIP, tmp_path: Path) -> None:
    model = CLIPIQAPlus(clip, min_lr=1e-4)
    fit = trainer(tmp_path)
    fit.fit(model, Features())
    assert fit.optimizers[0].param_groups[0]["lr"] == pytest.approx(1e-4)


@pytest.mark.parametrize(
    ("period", "limits"), [(5, {"max_epochs": 2}), (None, {"max_epochs": -1, "max_steps": -1})]
)
def test_training_beyond_the_cosine_is_refused(
    clip: FrozenCLIP, tmp_path: Path, period: int | None, limits: dict[str, int]
) -> None:
    model = CLIPIQAPlus(clip, period=period)
    with pytest.raises(ValueError, match=r"cosine schedule a period of .*trainer\.max_steps"):
        trainer(tmp_path, **limits).fit(model, Features())


@pytest.mark.slow
def test_resumed_training_equals_uninterrupted(clip: FrozenCLIP, tmp_path: Path) -> None:
    whole = CLIPIQAPlus(clip, optimizer=adam)
    trainer(tmp_path, max_epochs=4).fit(whole, Features())

    first = CLIPIQAPlus(clip, optimizer=adam)
    stop = trainer(tmp_path, max_epochs=4, callbacks=[StopAfter(2)])
    stop.fit(first, Features())
    stop.save_checkpoint(tmp_path / "half.ckpt")
    second = CLIPIQAPlus(clip, optimizer=adam)
    resumed = trainer(tmp_path, max_epochs=4)
    resumed.fit(second, Features(), ckpt_path=tmp_path / "half.ckpt")
    assert int(second.prompts.steps) == int(whole.prompts.steps) == 12
    assert torch.equal(second.prompts.ctx, whole.prompts.ctx)


def test_checkpoint_of_another_backbone_or_layout_is_refused(
    model: CLIPIQAPlus, tmp_path: Path
) -> None:
    fit = trainer(tmp_path)
    fit.fit(model, Features())
    path = tmp_path / "a.ckpt"
    fit.save_checkpoint(path)
    other = CLIPIQAPlus(small_clip(seed=1))
    with pytest.raises(ValueError, match=r"small-resnet-0 .* backbone is small-resnet-1"):
        trainer(tmp_path).test(other, Features(), ckpt_path=path)
    shorter = CLIPIQAPlus(model.backbone, prompts=PromptConfig(n_ctx=4))
    with pytest.raises(ValueError, match="n_ctx 16, the module has 4"):
        trainer(tmp_path).test(shorter, Features(), ckpt_path=path)


@pytest.mark.slow
def test_checkpoint_with_a_boolean_of_earlier_versions(tmp_path: Path) -> None:
    model = CLIPIQAPlus("demo", pos_embedding="grid")
    fit = trainer(tmp_path, max_epochs=1)
    fit.fit(model, Features(dim=model.backbone.dim))
    path = tmp_path / "a.ckpt"
    fit.save_checkpoint(path)
    checkpoint = torch.load(path, weights_only=True)
    for recorded in (checkpoint["hyper_parameters"], checkpoint["clipiqa_plus"]):
        assert recorded["pos_embedding"] == "grid"
        recorded["pos_embedding"] = True
    torch.save(checkpoint, path)
    assert read_prompts(path)[1]["pos_embedding"] == "grid"
    again = CLIPIQAPlus.load_from_checkpoint(path, weights_only=True)
    assert again.backbone.pos_embedding == "grid"
    assert torch.equal(again.prompts.ctx, model.prompts.ctx)
    other = CLIPIQAPlus("demo", pos_embedding="table")
    with pytest.raises(ValueError, match=r"pos_embedding grid, but .* pos_embedding table"):
        trainer(tmp_path).test(other, Features(), ckpt_path=path)


def test_summary_names_what_is_trained_and_what_is_frozen(model: CLIPIQAPlus) -> None:
    text = model.summary()
    assert f"{model.backbone.parameter_count:,} weights" in text
    assert "16 x 32 = 512 parameters" in text
    assert "'Good photo.' (21 tokens)" in text


def test_unknown_loss_is_refused(clip: FrozenCLIP) -> None:
    with pytest.raises(ValueError, match="choose from mse"):
        CLIPIQAPlus(clip, loss="mae")  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["learned", "zero_shot"])
def test_module_made_in_inference_mode_scores(mode: str) -> None:
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))

    def scores() -> torch.Tensor:
        module = CLIPIQAPlus(small_clip(), prompts=PromptConfig(mode=mode))
        if mode == "learned":
            module.prompts.steps += 1
        return module(images)

    with torch.no_grad():
        expected = scores()
    with torch.inference_mode():
        torch.testing.assert_close(scores(), expected, atol=1e-6, rtol=0)  # rounding of fp32
