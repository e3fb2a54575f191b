"""Encoding a picture is in full precision, whatever the process and the training ask for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from clipiqa_plus.clip import full_precision as module
from clipiqa_plus.clip.full_precision import full_precision
from tests.support.models import small_clip


@pytest.fixture
def tf32() -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    yield
    torch.set_float32_matmul_precision(before)


def state() -> tuple[str, str]:
    return torch.backends.cudnn.conv.fp32_precision, torch.backends.cuda.matmul.fp32_precision


renamed = pytest.mark.skipif(
    not hasattr(torch.backends, "fp32_precision"), reason="this torch has the older flags alone"
)


@renamed
def test_tf32_is_off_inside_and_back_outside(tf32: None) -> None:
    outside = state()
    assert outside == ("tf32", "tf32")
    with full_precision("cuda" if torch.cuda.is_available() else "cpu"):
        assert state() == ("ieee", "ieee")
    assert state() == outside
    assert torch.get_float32_matmul_precision() == "high"


@renamed
def test_an_error_inside_restores_them_too(tf32: None) -> None:
    with pytest.raises(ValueError, match="too small"):
        small_clip().encode_image(torch.rand(1, 3, 8, 8))
    assert state() == ("tf32", "tf32")


@renamed
def test_encoding_is_what_it_covers(tf32: None, monkeypatch: pytest.MonkeyPatch) -> None:
    clip, seen = small_clip(), []
    inner = clip._encode_batch
    monkeypatch.setattr(clip, "_encode_batch", lambda x: (seen.append(state()), inner(x))[1])
    clip.encode_image(torch.rand(1, 3, 64, 64))
    assert seen == [("ieee", "ieee")]


def test_flags_of_an_older_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    class Older:
        class cudnn:
            allow_tf32 = True

        class cuda:
            class matmul:
                allow_tf32 = True

    monkeypatch.setattr(module.torch, "backends", Older)
    with full_precision("cpu"):
        assert not Older.cudnn.allow_tf32
        assert not Older.cuda.matmul.allow_tf32
    assert Older.cudnn.allow_tf32
    assert Older.cuda.matmul.allow_tf32


@pytest.mark.parametrize("vit", [False, True])
def test_autocast_around_it_changes_nothing(vit: bool) -> None:
    clip = small_clip(vit=vit)
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    expected = clip.encode_image(images)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(clip.encode_image(images), expected)
