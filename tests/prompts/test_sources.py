"""Prompt sources: the layout token by token, and the text features by openai-clip itself."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from clipiqa_plus.clip.backbone import FrozenCLIP
from clipiqa_plus.clip.weights import import_clip
from clipiqa_plus.prompts.scales import PAIRS, resolve_pairs
from clipiqa_plus.prompts.sources import ContextPrompts, ZeroShotPrompts

START, END, GOOD, PHOTO, STOP, TWO_STOPS = 49406, 49407, 886, 1125, 269, 852


def by_openai_clip(clip: FrozenCLIP, embeddings: torch.Tensor, eot: list[int]) -> torch.Tensor:
    """openai-clip's encode_text from the embeddings on, over all 77 positions."""
    model = clip.clip
    x = torch.zeros(len(embeddings), 77, clip.width)
    x[:, : embeddings.shape[1]] = embeddings
    x = model.transformer((x + model.positional_embedding).transpose(0, 1)).transpose(0, 1)
    x = model.ln_final(x)[range(len(x)), eot] @ model.text_projection
    return F.normalize(x, dim=-1)


def test_zero_shot_equals_openai_clip_on_the_words(clip: FrozenCLIP) -> None:
    tokens = import_clip().tokenize(["Good photo.", "Bad photo.", "Sharp photo.", "Blurry photo."])
    with torch.no_grad():
        expected = F.normalize(clip.clip.encode_text(tokens), dim=-1).unflatten(0, (2, 2))
        got = ZeroShotPrompts(["quality", "sharpness"])(clip)
    torch.testing.assert_close(got, expected, atol=1e-6, rtol=0)


def test_official_layout_merges_the_full_stops_into_one_token(clip: FrozenCLIP) -> None:
    prompts = ContextPrompts(clip)
    ids = prompts.ids[0, 0].tolist()
    assert ids == [START, *[0] * 8, GOOD, PHOTO, TWO_STOPS, *[0] * 8, END]
    assert len(ids) == 21
    assert prompts.is_slot[0, 0].nonzero().flatten().tolist() == [*range(1, 9), *range(12, 20)]
    assert prompts.slots[0, 0][prompts.is_slot[0, 0]].tolist() == list(range(16))


def test_words_without_full_stop_keep_it_behind_the_context_tokens(clip: FrozenCLIP) -> None:
    prompts = ContextPrompts(clip, [["Good photo", "Bad photo"]], n_ctx=4)
    assert prompts.ids[0, 0].tolist() == [START, 0, 0, GOOD, PHOTO, 0, 0, STOP, END]


@pytest.mark.parametrize(
    ("position", "words_at"), [("front", 1), ("middle", 1 + 2), ("end", 1 + 5)]
)
def test_position_of_the_words(clip: FrozenCLIP, position: str, words_at: int) -> None:
    prompts = ContextPrompts(clip, n_ctx=5, position=position)
    assert prompts.ids[0, 0, words_at : words_at + 3].tolist() == [GOOD, PHOTO, TWO_STOPS]
    assert int(prompts.is_slot[0, 0].sum()) == 5


@pytest.mark.parametrize("class_specific", [False, True])
@pytest.mark.parametrize("position", ["front", "middle", "end"])
def test_context_features_equal_openai_clip(
    clip: FrozenCLIP, class_specific: bool, position: str
) -> None:
    pairs = ["quality", ["An extraordinarily blurry photo.", "Sharp."]]
    prompts = ContextPrompts(clip, pairs, 6, position, class_specific, seed=3)
    before = {"front": 0, "middle": 3, "end": 6}[position]
    words = clip.clip.token_embedding.weight
    tokenizer = import_clip().simple_tokenizer.SimpleTokenizer()
    expected = []
    for p, pair in enumerate(prompts.pairs):
        for side, prompt in enumerate(pair):
            ctx = prompts.ctx[p, side] if class_specific else prompts.ctx
            inner = words[tokenizer.encode(prompt + ".")]
            rows = [words[[START]], ctx[:before], inner, ctx[before:], words[[END]]]
            row = torch.cat(rows)[None]
            expected.append(by_openai_clip(clip, row, [row.shape[1] - 1]))
    with torch.no_grad():
        got = prompts(clip).flatten(0, 1)
    torch.testing.assert_close(got, torch.cat(expected).detach(), atol=3e-6, rtol=0)


def test_random_context_is_small_seeded_and_differs_by_seed(clip: FrozenCLIP) -> None:
    first, again, other = (ContextPrompts(clip, seed=s).ctx for s in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert 0.017 < float(first.std()) < 0.023  # 512 draws of N(0, 0.02)


def test_words_start_the_context_tokens(clip: FrozenCLIP) -> None:
    tokens = import_clip().tokenize("a photo of a")[0, 1:5]
    prompts = ContextPrompts(clip, n_ctx=4, init="a photo of a")
    assert torch.equal(prompts.ctx, clip.token_embedding(tokens))
    repeated = ContextPrompts(clip, n_ctx=16, init="X", class_specific=True).ctx
    assert repeated.shape == (1, 2, 16, clip.width)
    assert torch.equal(repeated[0, 1, 7], clip.token_embedding(import_clip().tokenize("X")[0, 1]))


def test_gradient_reaches_every_context_token_and_nothing_else(clip: FrozenCLIP) -> None:
    prompts = ContextPrompts(clip, class_specific=True)
    prompts(clip)[..., 0].sum().backward()
    assert prompts.ctx.grad is not None
    assert bool((prompts.ctx.grad.abs().sum(-1) > 0).all())
    assert all(p.grad is None for p in clip.clip.parameters())


def test_built_in_pairs_are_the_twelve_of_the_paper() -> None:
    names = (
        "quality brightness noisiness colorfulness sharpness contrast "
        "aesthetic happy natural new scary complex"
    )
    assert list(PAIRS) == names.split()
    assert PAIRS["quality"] == ("Good photo.", "Bad photo.")


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([], "no antonym pair"),
        (["qualty"], "unknown antonym pair 'qualty'"),
        ([["only one"]], "must be two prompts"),
        ([["", "Bad photo."]], "must be two prompts"),
        ([["word " * 100, "Bad photo."]], "longer than 77 tokens"),
    ],
)
def test_bad_pairs_are_refused(pairs: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ZeroShotPrompts(pairs)


def test_a_pair_in_words_is_taken_as_it_is() -> None:
    assert resolve_pairs([["High quality.", "Low quality."]]) == [("High quality.", "Low quality.")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_ctx": 0}, "at least one"),
        ({"position": "back"}, "middle, front or end"),
        ({"init": "a photo of a"}, "4 tokens, but n_ctx is 16"),
    ],
)
def test_bad_layouts_are_refused(clip: FrozenCLIP, arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ContextPrompts(clip, **arguments)


def test_common_beginning_is_the_start_and_the_context_before_the_words(clip: FrozenCLIP) -> None:
    pairs = ["quality", "brightness"]
    assert ContextPrompts(clip, pairs).shared == 1 + 8
    assert ContextPrompts(clip, pairs, position="front").shared == 1
    assert ContextPrompts(clip, pairs, position="end", n_ctx=4).shared == 1 + 4
    # Equal numbers are not enough: each prompt's own context tokens are learned apart.
    assert ContextPrompts(clip, pairs, class_specific=True, init="X").shared == 0


@pytest.mark.parametrize("class_specific", [False, True])
@pytest.mark.parametrize("pairs", [["quality"], ["quality", "sharpness"]])
def test_many_contexts_in_one_pass_equal_one_after_the_other(
    clip: FrozenCLIP, pairs: list[str], class_specific: bool
) -> None:
    alone = [ContextPrompts(clip, pairs, class_specific=class_specific, seed=s) for s in range(3)]
    contexts = torch.stack([prompts.ctx.detach() for prompts in alone]).requires_grad_()
    together = alone[0].encode_contexts(clip, contexts)
    assert together.shape == (3, len(pairs), 2, clip.dim)
    weights = torch.randn(together.shape, generator=torch.Generator().manual_seed(0))
    (gradient,) = torch.autograd.grad((together * weights).sum(), contexts)
    for m, prompts in enumerate(alone):
        features = prompts(clip)
        (one,) = torch.autograd.grad((features * weights[m]).sum(), prompts.ctx)
        # fp32 through two blocks; sums of the same numbers in another order.
        torch.testing.assert_close(together[m], features, atol=1e-5, rtol=0)
        torch.testing.assert_close(gradient[m], one, atol=1e-5, rtol=1e-4)
