"""Checkpoints serve as prompt files, and what could run code in them is refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from clipiqa_plus.clip.backbone import FrozenCLIP
from clipiqa_plus.inference.scorer import load
from clipiqa_plus.module import CLIPIQAPlus, PromptConfig
from clipiqa_plus.prompts.checkpoints import read_torch
from clipiqa_plus.prompts.files import find_prompts, load_prompts, read_prompts
from tests.support.feature_training import Features, adam, trainer
from tests.support.malicious_pickle import Evil
from tests.support.models import small_clip


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[CLIPIQAPlus, Path]:
    """A module with a regressor after 6 steps, and its checkpoint."""
    folder = tmp_path_factory.mktemp("trained")
    config = PromptConfig(pairs=["quality", "sharpness"])
    model = CLIPIQAPlus(small_clip(), prompts=config, reduction="regressor", optimizer=adam)
    fit = trainer(folder)
    fit.fit(model, Features())
    fit.save_checkpoint(folder / "epoch=1.ckpt")
    return model, folder / "epoch=1.ckpt"


def test_a_checkpoint_gives_its_prompts(
    clip: FrozenCLIP, trained: tuple[CLIPIQAPlus, Path]
) -> None:
    model, path = trained
    tensors, facts = read_prompts(path)
    assert facts["backbone"] == clip.name
    assert facts["steps"] == 6
    prompts = load_prompts(path, clip)
    assert torch.equal(prompts.ctx, model.prompts.ctx)
    assert prompts.pairs == model.prompts.pairs
    assert torch.equal(tensors["regressor.weight"], model.regressor.weight)
    again = CLIPIQAPlus(clip, prompts=PromptConfig(file=str(path)), reduction="regressor")
    features = Features().features
    torch.testing.assert_close(again.score_features(features), model.score_features(features))


def test_a_checkpoint_scores_pictures(clip: FrozenCLIP, trained: tuple[CLIPIQAPlus, Path]) -> None:
    model, path = trained
    images = torch.rand(2, 3, 64, 64)
    scorer = load("clipiqa+", prompts=path, backbone=clip)
    torch.testing.assert_close(scorer(images), model(images).detach())


def test_another_backbone_is_refused(trained: tuple[CLIPIQAPlus, Path]) -> None:
    with pytest.raises(ValueError, match=r"epoch=1\.ckpt was learned on small-resnet-0"):
        load_prompts(trained[1], small_clip(seed=1))


def test_untrained_and_incomplete_checkpoints_are_refused(
    trained: tuple[CLIPIQAPlus, Path], tmp_path: Path
) -> None:
    content = read_torch(trained[1])
    content["state_dict"]["prompts.steps"] *= 0
    torch.save(content, tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match=r"a\.ckpt: .* untrained"):
        read_prompts(tmp_path / "a.ckpt")
    del content["state_dict"]["prompts.ctx"], content["clipiqa_plus"]["pairs"]
    torch.save(content, tmp_path / "b.ckpt")
    with pytest.raises(ValueError, match=r"b\.ckpt: a checkpoint without pairs, prompts\.ctx"):
        read_prompts(tmp_path / "b.ckpt")
    torch.save({"weight": torch.zeros(1)}, tmp_path / "c.ckpt")
    with pytest.raises(ValueError, match=r"c\.ckpt: not a prompt file or checkpoint"):
        read_prompts(tmp_path / "c.ckpt")


def test_context_tokens_of_another_shape_than_stated_are_refused(
    clip: FrozenCLIP, trained: tuple[CLIPIQAPlus, Path], tmp_path: Path
) -> None:
    content = read_torch(trained[1])
    content["state_dict"]["prompts.ctx"] = torch.zeros(1, clip.width)  # would be broadcast
    torch.save(content, tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match=r"shape \[1, 32\], but its metadata describe n_ctx 16"):
        load_prompts(tmp_path / "a.ckpt", clip)


@pytest.mark.parametrize("zipped", [True, False])
def test_python_objects_are_refused_by_name_and_never_loaded(
    clip: FrozenCLIP, trained: tuple[CLIPIQAPlus, Path], tmp_path: Path, zipped: bool
) -> None:
    content = read_torch(trained[1]) | {"callbacks": Evil(tmp_path / "ran")}
    path = tmp_path / "evil.ckpt"
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    named = r"evil\.ckpt: refused, because it holds Python objects \((posix|nt)\.system\)"
    with pytest.raises(ValueError, match=named):
        load_prompts(path, clip)
    with pytest.raises(ValueError, match=named):
        CLIPIQAPlus.load_from_checkpoint(path, backbone=clip)
    assert not (tmp_path / "ran").exists()
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"evil\.ckpt: (damaged|refused)"):
        load_prompts(path, clip)
    assert not (tmp_path / "ran").exists()


def test_a_module_comes_back_from_its_checkpoint(
    clip: FrozenCLIP, trained: tuple[CLIPIQAPlus, Path]
) -> None:
    model, path = trained
    again = CLIPIQAPlus.load_from_checkpoint(path, backbone=clip)
    assert torch.equal(again.prompts.ctx, model.prompts.ctx)
    assert int(again.prompts.steps) == 6
    with pytest.raises(FileNotFoundError, match=r"none\.ckpt: no such file"):
        CLIPIQAPlus.load_from_checkpoint(path.with_name("none.ckpt"), backbone=clip)


def test_the_folder_of_a_killed_run_points_to_its_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/last.ckpt").touch()
    with pytest.raises(FileNotFoundError, match=r"cut short.*--ckpt_path last.*last\.ckpt"):
        find_prompts(tmp_path)
