"""CLIPIQAScore keeps torchmetrics' contract."""

from __future__ import annotations

import pytest
import torch

import clipiqa_plus as ciq
from clipiqa_plus.clip.backbone import FrozenCLIP
from clipiqa_plus.prompts.scales import PAIRS

IMAGES = torch.rand(5, 3, 48, 64, generator=torch.Generator().manual_seed(0))


@pytest.mark.slow
def test_batches_give_the_scores_of_all_pictures_in_order(clip: FrozenCLIP) -> None:
    metric = ciq.CLIPIQAScore(backbone=clip)
    expected = ciq.load(backbone=clip)(IMAGES)[:, 0]
    first = metric(IMAGES[:2])
    metric.update(IMAGES[2:])
    # Batches of other sizes: fp32 sums in another order.
    torch.testing.assert_close(first, expected[:2], atol=1e-6, rtol=0)
    torch.testing.assert_close(metric.compute(), expected, atol=1e-6, rtol=0)
    metric.reset()
    metric.update(IMAGES[:1])
    assert metric.compute().shape == ()  # as torchmetrics has it for one picture
    assert metric.state_dict() == {}


def test_data_range(clip: FrozenCLIP) -> None:
    plain, wide = (ciq.CLIPIQAScore(backbone=clip, data_range=r) for r in (1.0, 255))
    eight_bit = (IMAGES * 255).round()
    expected = plain(eight_bit / 255)
    torch.testing.assert_close(wide(eight_bit), expected)
    torch.testing.assert_close(wide(eight_bit.byte()), expected)
    with pytest.raises(ValueError, match="pictures reach 255 but data_range is 1"):
        plain.update(eight_bit)
    with pytest.raises(ValueError, match="data_range is 0"):
        ciq.CLIPIQAScore(backbone=clip, data_range=0)
    with pytest.raises(ValueError, match=r"expected \[B, 3, H, W\]"):
        plain.update(IMAGES.permute(0, 2, 3, 1))


def test_several_scores_come_by_name(clip: FrozenCLIP) -> None:
    metric = ciq.CLIPIQAScore("clipiqa-attributes", backbone=clip)
    metric.update(IMAGES)
    scores = metric.compute()
    assert list(scores) == list(PAIRS)
    assert all(value.shape == (5,) for value in scores.values())


def test_plot(clip: FrozenCLIP) -> None:
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("agg")
    metric = ciq.CLIPIQAScore(backbone=clip)
    _, axis = metric.plot([metric(image[None]) for image in IMAGES])
    assert len(axis.lines[0].get_ydata()) == 5
    pyplot.close("all")


def test_own_words(clip: FrozenCLIP) -> None:
    words = {"crisp": ("Crisp photo.", "Soft photo."), "quality": ("Good photo.", "Bad photo.")}
    metric = ciq.CLIPIQAScore(backbone=clip, pairs=words)
    metric.update(IMAGES)
    scores = metric.compute()
    assert list(scores) == ["crisp", "quality"]
    expected = ciq.load(backbone=clip)(IMAGES)[:, 0]
    torch.testing.assert_close(scores["quality"], expected, atol=1e-6, rtol=0)
