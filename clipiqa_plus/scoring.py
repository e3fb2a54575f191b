"""From features to scores: the probability of the first word of every antonym pair.

CLIP-IQA (Wang, Chan and Loy, AAAI 2023, arXiv 2207.12396, eq. 3) takes the softmax over the two
cosines of an image with an antonym pair; CLIP's logit scale multiplies the cosines. A scale of K
words is the same with K cosines: the softmax is a distribution over K grades, and the score is its
mean, as in LIQE (Zhang et al., CVPR 2023) and Q-Align (Wu et al., ICML 2024). The antonym pair is
its case K = 2.
"""

from __future__ import annotations

import torch
from torch import Tensor


def pair_probability(
    image_features: Tensor, text_features: Tensor, logit_scale: float | Tensor
) -> Tensor:
    """Probability that an image matches the first prompt of each antonym pair.

    The softmax over two logits is the sigmoid of their difference, so for image feature ``f`` and
    text features ``t0``, ``t1``::

        P(first) = sigmoid(logit_scale * f · (t0 - t1))

    which does not overflow and keeps small differences between two nearly equal cosines. It is
    computed in float32 at least, also for half-precision features and under autocast: with a logit
    scale of 100, rounding the cosines to bfloat16 changes a score by 0.1 and more.

    Args:
        image_features: [B, D] unit vectors.
        text_features: [P, 2, D] unit vectors; index 0 of the middle axis is the first prompt
            ("Good photo."), index 1 its antonym. For an ensemble of M members, [M, P, 2, D].
        logit_scale: CLIP's temperature, already exponentiated (100 for OpenAI's weights): a number
            or a tensor of one element.

    Returns:
        [B, P] in [0, 1], or [M, B, P]; float32, or float64 if the features are.

    Raises:
        ValueError: If the shapes do not match.

    Example:
        >>> image = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> pairs = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
        >>> pair_probability(image, pairs, logit_scale=2.0)
        tensor([[0.8808],
                [0.1192]])
    """
    dtype = _checked(image_features, text_features, logit_scale)
    if text_features.shape[-2] != 2:
        raise ValueError(
            f"text features must be [P, 2, D], got {list(text_features.shape)}; "
            "a single antonym pair is [1, 2, D]"
        )
    # Autocast would run the product in half precision, whatever the dtype of its operands.
    with torch.autocast(image_features.device.type, enabled=False):
        text = text_features.to(dtype)
        direction = text[..., 0, :] - text[..., 1, :]  # [(M,) P, D]
        difference = image_features.to(dtype) @ direction.mT  # [(M,) B, P], cosine differences
        if isinstance(logit_scale, Tensor):
            logit_scale = logit_scale.to(dtype).reshape(())
        return torch.sigmoid(logit_scale * difference)


def magnitude_cue(image_features: Tensor) -> Tensor:
    """Quality cue of MA-CLIP: how large the entries of a feature are by their own deviation.

    Mean over the entries of the Box-Cox transform of ``x = |f| / std(|f|)`` at lambda 0.5, which is
    ``2 (sqrt(x + 1) - 1)`` (Liao et al., AAAI 2026, arXiv 2511.09948; ``box_cox`` in pyiqa's
    ``maclip_arch.py``). Scaling ``f`` scales ``|f|`` and its deviation alike, so that unit features
    give the cue of those of any length; pyiqa adds 1e-6 to the deviation, which changes the cue of
    a feature of length 1 and up to 1024 entries by less than 1e-4.

    Args:
        image_features: [B, D], of any length but zero.

    Returns:
        [B], about 1; float32, or float64 if the features are.
    """
    size = image_features.to(torch.promote_types(image_features.dtype, torch.float32)).abs()
    # Of a constant |f| the deviation is 0; the smallest normal number keeps the cue finite.
    deviation = size.std(dim=-1, keepdim=True).clamp(min=torch.finfo(size.dtype).tiny)
    return (2 * ((size / deviation + 1).sqrt() - 1)).mean(dim=-1)


def fuse_cues(
    cosine: Tensor, magnitude: Tensor, base: tuple[float, float] = (1.0, 0.6), alpha: float = 1.0
) -> Tensor:
    """Weighted mean of both cues of MA-CLIP, each weighted by how far it is above the other.

    The weights are the softmax of ``base[0] + alpha d`` and ``base[1] - alpha d`` with
    ``d = cosine - magnitude`` (Liao et al., AAAI 2026; ``fusion`` in pyiqa's ``maclip_arch.py``).

    Args:
        cosine: Probability of the first prompts, [...].
        magnitude: See :func:`magnitude_cue`, [...].
        base: Weights before the softmax where the cues are equal.
        alpha: How much their difference counts.

    Returns:
        [...]; between the two cues.
    """
    difference = cosine - magnitude
    share = torch.sigmoid(base[0] - base[1] + 2 * alpha * difference)  # softmax over two
    return share * cosine + (1 - share) * magnitude


def grade_probabilities(
    image_features: Tensor, text_features: Tensor, logit_scale: float | Tensor
) -> Tensor:
    """Probability of each word of each scale: the softmax over its K cosines.

    Args:
        image_features: [B, D] unit vectors.
        text_features: [P, K, D] unit vectors, the best grade first; [M, P, K, D] for an ensemble.
        logit_scale: See :func:`pair_probability`.

    Returns:
        [B, P, K], **worst grade first**, adding up to 1, or [M, B, P, K]; float32, or float64 if
        the features are.

    Raises:
        ValueError: If the shapes do not match.

    Example:
        >>> image = torch.tensor([[1.0, 0.0]])
        >>> words = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]])
        >>> grade_probabilities(image, words, logit_scale=1.0)
        tensor([[[0.0900, 0.2447, 0.6652]]])
    """
    dtype = _checked(image_features, text_features, logit_scale)
    with torch.autocast(image_features.device.type, enabled=False):
        words = text_features.to(dtype).flatten(-3, -2)  # [(M,) P * K, D]
        cosines = image_features.to(dtype) @ words.mT  # [(M,) B, P * K]
        if isinstance(logit_scale, Tensor):
            logit_scale = logit_scale.to(dtype).reshape(())
        # The cosines to the worst word are subtracted first: small differences keep their digits.
        by_grade = cosines.unflatten(-1, text_features.shape[-3:-1]).flip(-1)
        return torch.softmax(logit_scale * (by_grade - by_grade[..., :1]), dim=-1)


def expected_grade(probabilities: Tensor, levels: Tensor | None = None) -> Tensor:
    """Return the mean of distributions over grades.

    Args:
        probabilities: [..., K], worst grade first.
        levels: The grades in [0, 1], worst first, [K]; None spaces them evenly from 0 to 1.

    Returns:
        [...], in [0, 1].
    """
    return probabilities @ _levels(probabilities, levels)


def grade_deviation(probabilities: Tensor, levels: Tensor | None = None) -> Tensor:
    """Return the standard deviation of distributions over grades.

    Args:
        probabilities: [..., K], worst grade first.
        levels: See :func:`expected_grade`.

    Returns:
        [...], in [0, 0.5].
    """
    levels = _levels(probabilities, levels)
    distance = levels - expected_grade(probabilities, levels)[..., None]
    return (probabilities * distance.square()).sum(dim=-1).sqrt()


def mean_grades(
    image_features: Tensor, text_features: Tensor, logit_scale: float | Tensor, over_scales: bool
) -> Tensor:
    """Return the distributions whose means are the scores.

    Args:
        image_features: [B, D] unit vectors.
        text_features: [P, K, D] unit vectors, the best grade first; [M, P, K, D] for an ensemble,
            over whose members the distributions are averaged.
        logit_scale: See :func:`pair_probability`.
        over_scales: Average over the P scales.

    Returns:
        [B, P, K], or [B, 1, K] over all scales; worst grade first.
    """
    grades = grade_probabilities(image_features, text_features, logit_scale)
    if over_scales:
        grades = grades.mean(dim=-2, keepdim=True)
    return grades if grades.ndim == 3 else grades.mean(dim=0)


def scale_score(
    image_features: Tensor,
    text_features: Tensor,
    logit_scale: float | Tensor,
    levels: Tensor | None = None,
) -> Tensor:
    """Score by antonym pairs (K = 2) or scales of K words: the expected grade.

    Args:
        image_features: [B, D] unit vectors.
        text_features: [P, K, D] unit vectors, the best grade first; [M, P, K, D] for an ensemble.
        logit_scale: See :func:`pair_probability`.
        levels: See :func:`expected_grade`.

    Returns:
        [B, P] in [0, 1], or [M, B, P].

    Raises:
        ValueError: If the shapes do not match.
    """
    if text_features.shape[-2] == 2 and levels is None:
        return pair_probability(image_features, text_features, logit_scale)
    grades = grade_probabilities(image_features, text_features, logit_scale)
    return expected_grade(grades, levels)


def _levels(probabilities: Tensor, levels: Tensor | None) -> Tensor:
    if levels is not None:
        return levels.to(probabilities)
    count, kind = probabilities.shape[-1], probabilities.dtype
    return torch.linspace(0, 1, count, dtype=kind, device=probabilities.device)


def _checked(
    image_features: Tensor, text_features: Tensor, logit_scale: float | Tensor
) -> torch.dtype:
    """Check shapes; return the dtype to compute in, float32 at least."""
    if image_features.ndim != 2:
        raise ValueError(
            f"image features must be [B, D], got {list(image_features.shape)}; "
            "a single image is a batch of one"
        )
    if text_features.ndim not in (3, 4) or text_features.shape[-2] < 2:
        raise ValueError(
            f"text features must be [P, 2, D], got {list(text_features.shape)}; a single antonym "
            "pair is [1, 2, D], a scale of K words [1, K, D]"
        )
    if image_features.shape[1] != text_features.shape[-1]:
        raise ValueError(
            f"image features have {image_features.shape[1]} dimensions, text features "
            f"{text_features.shape[-1]}; both must come from the same backbone"
        )
    if isinstance(logit_scale, Tensor) and logit_scale.numel() != 1:
        raise ValueError(f"logit scale must hold one element, got shape {list(logit_scale.shape)}")
    dtype = torch.promote_types(image_features.dtype, text_features.dtype)
    return torch.promote_types(dtype, torch.float32)
