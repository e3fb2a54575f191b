"""Scales of K words: the pair is K = 2, and five words go from the recipe to the prompt file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from scipy import stats
from torch import Tensor

from clipiqa_plus.clip.backbone import FrozenCLIP
from clipiqa_plus.clip.weights import import_clip
from clipiqa_plus.losses import Labels, Predicted, training_loss
from clipiqa_plus.metrics.distributions import earth_movers_distance
from clipiqa_plus.module import CLIPIQAPlus
from clipiqa_plus.prompts.config import PromptConfig, prompt_source, summary
from clipiqa_plus.prompts.files import load_prompts, save_prompts
from clipiqa_plus.prompts.scales import SCALES, check_grades, resolve_scales
from clipiqa_plus.prompts.sources import ContextPrompts, ZeroShotPrompts
from clipiqa_plus.scoring import (
    expected_grade,
    grade_deviation,
    grade_probabilities,
    pair_probability,
)
from clipiqa_plus.training.fits import Fit, fit_contexts

ACR = list(SCALES["acr"])


@pytest.fixture
def features() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return F.normalize(torch.randn(9, 32, generator=generator), dim=-1)


def of_backbone(clip: FrozenCLIP, count: int = 9) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return F.normalize(torch.randn(count, clip.dim, generator=generator), dim=-1)


def test_zero_shot_equals_openai_clip_on_the_words(clip: FrozenCLIP) -> None:
    image = of_backbone(clip)
    with torch.no_grad():
        words = F.normalize(clip.clip.encode_text(import_clip().tokenize(ACR)), dim=-1)
        expected = (float(clip.logit_scale) * image @ words.T).softmax(dim=-1)  # best grade first
        model = CLIPIQAPlus(clip, prompts=PromptConfig(mode="zero_shot", scales=["acr"]))
        grades = model.grade_features(image)
        scores = model.score_features(image)
    assert grades.shape == (9, 1, 5)
    torch.testing.assert_close(grades[:, 0].flip(-1), expected, atol=1e-5, rtol=0)
    by_hand = expected @ torch.tensor([1.0, 0.75, 0.5, 0.25, 0.0])
    torch.testing.assert_close(scores[:, 0], by_hand, atol=1e-5, rtol=0)


@pytest.mark.parametrize("class_specific", [False, True])
def test_a_scale_of_two_is_the_antonym_pair(clip: FrozenCLIP, class_specific: bool) -> None:
    image = of_backbone(clip)
    layout = {"class_specific": class_specific, "seed": 3}
    words = ["Good photo.", "Bad photo."]
    scores, grades = [], []
    for config in (PromptConfig(**layout), PromptConfig(scales=[words], **layout)):
        model = CLIPIQAPlus(clip, prompts=config)
        with torch.no_grad():
            scores.append(model.score_features(image))
            grades.append(model.grade_features(image))
    assert torch.equal(*scores)
    torch.testing.assert_close(grades[1][..., 1], scores[0], atol=1e-6, rtol=0)
    torch.testing.assert_close(grades[1][..., 0], 1 - scores[0], atol=1e-6, rtol=0)


@pytest.mark.parametrize("class_specific", [False, True])
def test_contexts_of_five_grades_encode_at_once_as_alone(
    clip: FrozenCLIP, class_specific: bool
) -> None:
    prompts = ContextPrompts(clip, ["acr"], n_ctx=4, class_specific=class_specific)
    shape = (1, 5, 4, clip.width) if class_specific else (4, clip.width)
    assert prompts.ctx.shape == shape
    with torch.no_grad():
        alone = prompts(clip)
        together = prompts.encode_contexts(clip, torch.stack([prompts.ctx, prompts.ctx.flip(-1)]))
    assert alone.shape == (1, 5, clip.dim)
    torch.testing.assert_close(together[0], alone, atol=1e-6, rtol=0)
    assert (together[1] - alone).abs().max() > 1e-5


def test_a_prompt_file_keeps_the_scale(clip: FrozenCLIP, tmp_path: Path) -> None:
    prompts = ContextPrompts(clip, ["acr"], n_ctx=4, class_specific=True, seed=1)
    prompts.steps += 1
    path = save_prompts(tmp_path / "p.safetensors", prompts, clip, reduction="mean")
    again = load_prompts(path, clip)
    assert again.pairs == [tuple(ACR)]
    assert torch.equal(again.ctx, prompts.ctx)
    assert len(summary(again)) == 1
    assert "'Excellent photo.' (" in summary(again)[0]


def test_scales_by_name_and_in_words(clip: FrozenCLIP) -> None:
    own = ["Sharp photo.", "Soft photo.", "Blurry photo."]
    source = prompt_source(PromptConfig(mode="zero_shot", scales=[own]), clip)
    assert source.pairs == [tuple(own)]
    assert resolve_scales(["acr"]) == [SCALES["acr"]]
    assert ZeroShotPrompts(["acr", ["1", "2", "3", "4", "5"]])(clip).shape == (2, 5, clip.dim)


@pytest.mark.parametrize(
    ("scales", "message"),
    [
        ([], "no scale given"),
        ("acr", "no scale given"),
        (["mos"], "unknown scale 'mos'; built in is acr"),
        ([["Good photo."]], "two prompts or more"),
        ([["Good photo.", " "]], "two prompts or more"),
        ([["Good photo.", "Bad photo.", "Good photo. "]], "two of its prompts are the same"),
        (["acr", ["Good.", "Bad."]], "scales of 5, 2 prompts; give all of them the same number"),
    ],
)
def test_wrong_scales_are_named(scales: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        resolve_scales(scales)


@pytest.mark.parametrize(
    ("grades", "message"),
    [
        ([1, 0], "grades 1, 0: give one for each of the 3 prompts"),
        ([1, 0.5, -0.1], "between 0 and 1"),
        ([1, float("nan"), 0], "between 0 and 1"),
        ([0, 0.5, 1], "must fall: list the best prompt first"),
        ([1, 0.5, 0.5], "must fall"),
    ],
)
def test_wrong_grades_are_named(grades: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_grades(grades, 3)


def test_grades_of_ones_own_move_the_score(clip: FrozenCLIP, tmp_path: Path) -> None:
    assert check_grades([1, 0.5, 0], 3) is None
    image, words = of_backbone(clip), ["Sharp photo.", "Soft photo.", "Blurry photo."]
    own = PromptConfig(mode="zero_shot", scales=[words], grades=[0.9, 0.7, 0.2])
    model = CLIPIQAPlus(clip, prompts=own)
    with torch.no_grad():
        grades, scores = model.grade_features(image), model.score_features(image)
    levels = torch.tensor([0.2, 0.7, 0.9])
    torch.testing.assert_close(scores, grades @ levels, atol=1e-6, rtol=0)
    by_hand = (grades @ levels.square() - scores.square()).sqrt()
    torch.testing.assert_close(grade_deviation(grades, levels), by_hand, atol=1e-4, rtol=0)
    learned = CLIPIQAPlus(clip, prompts=PromptConfig(scales=[words], grades=own.grades))
    learned.prompts.steps += 1
    facts = learned.prompts.describe()
    assert facts["grades"] == own.grades
    path = save_prompts(tmp_path / "p.safetensors", learned.prompts, clip, reduction="mean")
    again = CLIPIQAPlus(clip, prompts=PromptConfig(file=str(path)))
    with torch.no_grad():
        assert torch.equal(again.score_features(image), learned.score_features(image))
    assert not torch.equal(
        learned.zero_shot().score_features(image), learned.learned().score_features(image)
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"grades": [1.0, 0.0]}, "those of a scale: give prompts.scales too"),
        ({"scales": ["acr"], "grades": [1.0, 0.0]}, "one for each of the 5 prompts"),
        ({"scales": ["acr"], "file": "p.safetensors"}, "leave out scales and grades"),
    ],
)
def test_options_that_contradict_each_other(
    clip: FrozenCLIP, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        prompt_source(PromptConfig(**options), clip)


@pytest.mark.parametrize("loss", ["mse", "plcc", "cross_entropy", "emd"])
def test_gradients_of_the_pair_and_of_its_scale_are_equal(clip: FrozenCLIP, loss: Any) -> None:
    """The pair takes the sigmoid, the scale the softmax over two."""
    image, mos = of_backbone(clip), torch.linspace(0.1, 0.9, 9)[:, None]
    prompts = ContextPrompts(clip, ["quality"], n_ctx=4, seed=3)
    logit_scale = prompts.logit_scale(clip)
    found = []
    for kind in ("pair", "scale"):
        text = prompts(clip)
        grades = grade_probabilities(image, text, logit_scale)
        if kind == "pair":
            scores = pair_probability(image, text, logit_scale)
            grades = torch.stack([1 - scores, scores], dim=-1)
        else:
            scores = expected_grade(grades)
        predicted = Predicted(scores, grades)
        (gradient,) = torch.autograd.grad(training_loss(loss, predicted, Labels(mos)), prompts.ctx)
        found.append((scores.detach(), gradient / gradient.abs().max()))
    torch.testing.assert_close(found[0][0], found[1][0], atol=1e-6, rtol=0)
    torch.testing.assert_close(found[0][1], found[1][1], atol=1e-4, rtol=0)  # through 12 layers


def test_a_batch_is_graded_as_each_alone(clip: FrozenCLIP) -> None:
    image = of_backbone(clip)
    model = CLIPIQAPlus(clip, prompts=PromptConfig(mode="zero_shot", scales=["acr"]))
    with torch.no_grad():
        together = model.grade_features(image)
        alone = torch.cat([model.grade_features(one[None]) for one in image])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)  # 100 x rounding of a cosine


def test_learning_takes_a_planted_distribution(clip: FrozenCLIP) -> None:
    """Grades drawn from hidden prompts: the loss on counts finds their deviations too."""
    generator = torch.Generator().manual_seed(4)
    image = F.normalize(torch.randn(300, clip.dim, generator=generator), dim=-1)
    hidden = ContextPrompts(clip, ["acr"], n_ctx=4, class_specific=True, seed=8)
    with torch.no_grad():
        truth = grade_probabilities(image, hidden(clip), clip.logit_scale)[:, 0]
    counts = torch.stack(
        [
            torch.bincount(row.multinomial(40, True, generator=generator), minlength=5)
            for row in truth
        ]
    ).float()
    labels = Labels(expected_grade(counts / 40)[:, None], counts=counts)
    start = ContextPrompts(clip, ["acr"], n_ctx=4, class_specific=True, seed=1)
    rows = torch.arange(300)
    fit = Fit(start.ctx.detach(), rows[:200], rows[:0])
    how = {"loss": "cross_entropy", "max_iterations": 40}
    ((_, fitted),) = fit_contexts(start, clip, image, labels, [fit], **how)
    with torch.no_grad():
        before = grade_probabilities(image[200:], start(clip), clip.logit_scale)[:, 0]
        after = grade_probabilities(image[200:], fitted.text, clip.logit_scale)[:, 0]
    far, near = (earth_movers_distance(p, truth[200:]).mean() for p in (before, after))
    assert near < far / 2
    correlation = stats.spearmanr(grade_deviation(after), grade_deviation(truth[200:])).statistic
    assert correlation > 0.5
