"""The cache as a callback of the Trainer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from clipiqa_plus.clip.backbone import FrozenCLIP
from clipiqa_plus.data.transforms import AugmentedViews, FlipViews
from clipiqa_plus.features import FeatureCache
from clipiqa_plus.module import CLIPIQAPlus, PromptConfig
from tests.support.feature_data import (
    ALL,
    NAMES,
    Counter,
    Few,
    direct,
)
from tests.support.models import small_clip


def module(clip: FrozenCLIP) -> CLIPIQAPlus:
    return CLIPIQAPlus(
        clip,
        prompts=PromptConfig(n_ctx=4),
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.002),
    )


def trainer(cache: FeatureCache, folder: Path, **options: Any) -> Trainer:
    return Trainer(
        callbacks=[cache],
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        **options,
    )


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What the batches that the module saw hold: features or image."""
    seen: list[str] = []
    scores = CLIPIQAPlus._scores

    def watching(self: CLIPIQAPlus, batch: dict[str, Any], *text: Tensor) -> Tensor:
        seen.append("features" if "features" in batch else "image")
        return scores(self, batch, *text)

    monkeypatch.setattr(CLIPIQAPlus, "_scores", watching)
    yield seen
    seen.clear()


@pytest.mark.parametrize("stage", ["fit", "validate", "test", "predict"])
def test_every_stage_runs_on_features(
    root: Path, cache: FeatureCache, tmp_path: Path, stage: str, batches: list[str]
) -> None:
    data = Few(root, NAMES, val=3, train_views=FlipViews())
    model = module(small_clip()).zero_shot() if stage != "fit" else module(small_clip())
    runner = trainer(cache, tmp_path, max_epochs=1)
    getattr(runner, stage)(model, datamodule=data)
    assert batches
    assert set(batches) == {"features"}
    expected = {"fit": {"train", "val"}, "validate": {"val"}}.get(stage, {"test"})
    assert set(data.features) == expected


@pytest.mark.slow
def test_cached_and_live_training_give_the_same_tokens(
    root: Path, cache: FeatureCache, tmp_path: Path, batches: list[str]
) -> None:
    tokens = {}
    for name, callback in [("cached", cache), ("live", FeatureCache(enabled=False))]:
        batches.clear()
        data = Few(root, NAMES, train_views=FlipViews(), batch_size=4)
        model = module(small_clip())
        start = model.prompts.ctx.detach().clone()
        trainer(callback, tmp_path, max_epochs=50).fit(model, datamodule=data)  # 100 steps
        assert len(batches) == 100
        assert set(batches) == {"features" if callback.enabled else "image"}
        tokens[name] = model.prompts.ctx.detach()
        assert (tokens[name] - start).abs().max() > 1e-3, "nothing was learned"
    # The batches that features are encoded in differ, and with them the last bits.
    torch.testing.assert_close(tokens["cached"], tokens["live"], atol=1e-5, rtol=0)


@pytest.mark.parametrize("enabled", [True, False])
def test_a_plain_trainer_encodes_each_view_once(
    root: Path, tmp_path: Path, encoded: Counter, enabled: bool
) -> None:
    data = Few(root, NAMES, val=3, train_views=FlipViews())
    counts = []
    for epochs in (3, 1):
        Trainer(
            max_epochs=epochs,
            num_sanity_val_steps=0,
            callbacks=None if enabled else FeatureCache(enabled=False),
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            default_root_dir=tmp_path,
        ).fit(module(small_clip()), data)
        counts.append(encoded.since())
    # 5 pictures with 2 views and 3 to validate, once; or 8 pictures in each epoch.
    assert counts == ([5 * 2 + 3, 0] if enabled else [3 * 8, 8])


def test_endless_views_are_encoded_live(
    root: Path, cache: FeatureCache, tmp_path: Path, batches: list[str], caplog: Any
) -> None:
    views = AugmentedViews([{"RandomCrop": {"height": 32, "width": 32}}])
    data = Few(root, NAMES, val=3, train_views=views)
    with caplog.at_level("INFO"):
        trainer(cache, tmp_path, max_epochs=1, num_sanity_val_steps=0).fit(
            module(small_clip()), datamodule=data
        )
    assert batches == ["image", "features"]  # training live, validation by its features
    assert "the views of train are endless" in caplog.text


def test_says_what_it_does(clip: FrozenCLIP, root: Path, cache: FeatureCache, caplog: Any) -> None:
    data = Few(root, NAMES, train_views=FlipViews())
    with caplog.at_level("INFO"):
        cache.tables(clip, data, ALL)
    assert "train 8 pictures x 2 views, test 4 pictures x 1 view; 0 cached, 20 to" in caplog.text
    caplog.clear()
    with caplog.at_level("INFO"):
        cache.tables(clip, data, ALL)
    assert "20 cached, 0 to encode" in caplog.text


@pytest.mark.parametrize("how", ["off", "fast_dev_run"])
def test_without_a_cache_nothing_is_left_from_before(
    root: Path, cache: FeatureCache, tmp_path: Path, how: str, batches: list[str]
) -> None:
    data = Few(root, NAMES)
    model = module(small_clip()).zero_shot()
    trainer(cache, tmp_path).test(model, datamodule=data)
    assert set(data.features) == {"test"}
    batches.clear()
    if how == "off":
        runner = trainer(FeatureCache(str(cache.dir), enabled=False), tmp_path)
    else:
        runner = trainer(cache, tmp_path, fast_dev_run=True)
    runner.test(model, datamodule=data)
    assert set(batches) == {"image"}


def test_another_backbone_gets_its_own_features(
    root: Path, cache: FeatureCache, tmp_path: Path
) -> None:
    data = Few(root, NAMES)
    for seed in (0, 1):
        model = module(small_clip(seed=seed)).zero_shot()
        trainer(cache, tmp_path).test(model, datamodule=data)
        found = data.features["test"](torch.tensor([9]), torch.tensor([0]))[0]
        expected = direct(model.backbone, root / NAMES[9])
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_foreign_modules_and_data(root: Path, cache: FeatureCache, tmp_path: Path) -> None:
    data = Few(root, NAMES)
    model = module(small_clip()).zero_shot()
    trainer(cache, tmp_path).test(model, dataloaders=data.test_dataloader())  # encodes live

    class Other(LightningModule):
        def test_step(self, batch: Any, index: int) -> None: ...

    with pytest.raises(TypeError, match="Other has no FrozenCLIP"):
        trainer(cache, tmp_path).test(Other(), datamodule=data)
