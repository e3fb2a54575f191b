"""From features to scores: the probability of the first word of every antonym pair.

CLIP-IQA (Wang, Chan and Loy, AAAI 2023, arXiv 2207.12396, eq. 3) takes the softmax over the two
cosines of an image with an antonym pair; CLIP's logit scale multiplies the cosines.
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
    if image_features.ndim != 2:
        raise ValueError(
            f"image features must be [B, D], got {list(image_features.shape)}; "
            "a single image is a batch of one"
        )
    if text_features.ndim not in (3, 4) or text_features.shape[-2] != 2:
        raise ValueError(
            f"text features must be [P, 2, D], got {list(text_features.shape)}; "
            "a single antonym pair is [1, 2, D]"
        )
    if image_features.shape[1] != text_features.shape[-1]:
        raise ValueError(
            f"image features have {image_features.shape[1]} dimensions, text features "
            f"{text_features.shape[-1]}; both must come from the same backbone"
        )
    if isinstance(logit_scale, Tensor) and logit_scale.numel() != 1:
        raise ValueError(f"logit scale must hold one element, got shape {list(logit_scale.shape)}")

    dtype = torch.promote_types(image_features.dtype, text_features.dtype)
    dtype = torch.promote_types(dtype, torch.float32)
    # Autocast would run the product in half precision, whatever the dtype of its operands.
    with torch.autocast(image_features.device.type, enabled=False):
        text = text_features.to(dtype)
        direction = text[..., 0, :] - text[..., 1, :]  # [(M,) P, D]
        difference = image_features.to(dtype) @ direction.mT  # [(M,) B, P], cosine differences
        if isinstance(logit_scale, Tensor):
            logit_scale = logit_scale.to(dtype).reshape(())
        return torch.sigmoid(logit_scale * difference)
