"""Scores computed with openai-clip's own layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from clipiqa_plus.clip.weights import import_clip

MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1)


STD = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1)


def image_features(clip: Any, image: np.ndarray) -> Tensor:
    """openai-clip's own layers, with the attention pool's positional embedding set to nothing."""
    x = (torch.from_numpy(image).permute(2, 0, 1).float() / 255 - MEAN) / STD
    visual = clip.visual
    x = visual.relu1(visual.bn1(visual.conv1(x[None])))
    x = visual.relu2(visual.bn2(visual.conv2(x)))
    x = visual.avgpool(visual.relu3(visual.bn3(visual.conv3(x))))
    x = visual.layer4(visual.layer3(visual.layer2(visual.layer1(x))))
    pool = visual.attnpool
    x = x.flatten(2).permute(2, 0, 1)
    x = torch.cat([x.mean(dim=0, keepdim=True), x])
    x, _ = torch.nn.functional.multi_head_attention_forward(
        query=x[:1],
        key=x,
        value=x,
        embed_dim_to_check=x.shape[-1],
        num_heads=pool.num_heads,
        q_proj_weight=pool.q_proj.weight,
        k_proj_weight=pool.k_proj.weight,
        v_proj_weight=pool.v_proj.weight,
        in_proj_weight=None,
        in_proj_bias=torch.cat([pool.q_proj.bias, pool.k_proj.bias, pool.v_proj.bias]),
        bias_k=None,
        bias_v=None,
        add_zero_attn=False,
        dropout_p=0,
        out_proj_weight=pool.c_proj.weight,
        out_proj_bias=pool.c_proj.bias,
        use_separate_proj_weight=True,
        training=False,
        need_weights=False,
    )
    return x[0] / x[0].norm(dim=-1, keepdim=True)


def scores_by_hand(clip: Any, images: list[np.ndarray], words: list[str]) -> Tensor:
    """Softmax over each two of the prompts: [B, P]."""
    with torch.no_grad():
        text = clip.encode_text(import_clip().tokenize(words))
        text = text / text.norm(dim=-1, keepdim=True)
        features = torch.cat([image_features(clip, image) for image in images])
        logits = clip.logit_scale.exp() * features @ text.T
    return logits.unflatten(1, (-1, 2)).softmax(dim=-1)[..., 0]


def pictures(sizes: list[tuple[int, int]]) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    made = []
    for height, width in sizes:
        coarse = Image.fromarray(rng.integers(0, 256, (5, 7, 3), dtype=np.uint8))
        made.append(np.array(coarse.resize((width, height), Image.Resampling.BICUBIC)))
    return made
