"""The way the official CLIP-IQA code and pyiqa do it, told with the parts of openai-clip.

Every step encodes its pictures again. The image tower is openai-clip's: NCHW, BatchNorm a layer of
its own, and all queries of the attention pool computed although one is kept. A prompt has all 77
positions and passes through nn.MultiheadAttention. Only what the two methods need beyond
openai-clip is written here: no positional embedding in the pool (the paper, section 3.2), and
context tokens in place of token embeddings.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clipiqa_plus.clip.backbone import FrozenCLIP, TextPrecision
from clipiqa_plus.clip.image_tower import Precision
from clipiqa_plus.clip.weights import Architecture, random_clip
from clipiqa_plus.module import CLIPIQAPlus
from clipiqa_plus.prompts.sources import ContextPrompts

if TYPE_CHECKING:
    from clip.model import CLIP, AttentionPool2d

MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1)
STD = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1)

TOY = Architecture(32, 64, (1, 1, 1, 1), 8, None, 32, 2, transformer_layers=2)


class Peer(nn.Module):
    """CLIP-IQA+ for one antonym pair around an openai-clip ResNet.

    Args:
        clip: The model, frozen, in fp32.
        ids: Token ids of the two prompts, int64 [2, 77], the context tokens' places zero.
        slots: Positions of the context tokens, int64 [n_ctx].
        ctx: Context tokens to start from, float32 [n_ctx, W].
    """

    ids: Tensor
    slots: Tensor
    words: Tensor

    def __init__(self, clip: CLIP, ids: Tensor, slots: Tensor, ctx: Tensor) -> None:
        super().__init__()
        self.clip = clip
        self.register_buffer("ids", ids)
        self.register_buffer("slots", slots)
        self.ctx = nn.Parameter(ctx.detach().clone())
        self.register_buffer("words", clip.token_embedding(ids).detach())

    @torch.no_grad()
    def image_features(self, images: Tensor) -> Tensor:
        """Encode pictures [B, 3, H, W] with values in [0, 1] to unit features [B, D]."""
        visual = self.clip.visual
        x = (images - MEAN.to(images.device)) / STD.to(images.device)
        x = visual.relu1(visual.bn1(visual.conv1(x)))
        x = visual.relu2(visual.bn2(visual.conv2(x)))
        x = visual.relu3(visual.bn3(visual.conv3(x)))
        x = visual.avgpool(x)
        x = visual.layer4(visual.layer3(visual.layer2(visual.layer1(x))))
        return F.normalize(_pool_all_queries(visual.attnpool, x), dim=-1)

    def text_features(self) -> Tensor:
        """Encode the two prompts to unit features [2, D]."""
        embeddings = self.words.index_copy(1, self.slots, self.ctx.expand(2, -1, -1))
        x = embeddings + self.clip.positional_embedding
        x = self.clip.transformer(x.permute(1, 0, 2)).permute(1, 0, 2)  # NLD -> LND -> NLD
        x = self.clip.ln_final(x)
        x = x[torch.arange(2), self.ids.argmax(dim=-1)] @ self.clip.text_projection
        return F.normalize(x, dim=-1)

    def forward(self, images: Tensor) -> Tensor:
        """Score pictures [B, 3, H, W] as a training step does, text included: [B, 1]."""
        return self.score(images, self.text_features())

    def score(self, images: Tensor, text: Tensor) -> Tensor:
        """Score pictures [B, 3, H, W] with text features [2, D]: float32 [B, 1]."""
        return self.score_features(self.image_features(images), text)

    def score_features(self, features: Tensor, text: Tensor) -> Tensor:
        """Score image features [B, D] with text features [2, D]: float32 [B, 1]."""
        logits = self.clip.logit_scale.exp() * features @ text.T  # [B, 2]
        return logits.softmax(dim=-1)[:, :1]


def _pool_all_queries(pool: AttentionPool2d, x: Tensor) -> Tensor:
    x = x.flatten(2).permute(2, 0, 1)  # [hw, B, C]
    x = torch.cat([x.mean(dim=0, keepdim=True), x])
    pooled, _ = F.multi_head_attention_forward(
        query=x,
        key=x,
        value=x,
        embed_dim_to_check=x.shape[-1],
        num_heads=pool.num_heads,
        in_proj_weight=None,
        in_proj_bias=torch.cat([pool.q_proj.bias, pool.k_proj.bias, pool.v_proj.bias]),
        bias_k=None,
        bias_v=None,
        add_zero_attn=False,
        dropout_p=0.0,
        out_proj_weight=pool.c_proj.weight,
        out_proj_bias=pool.c_proj.bias,
        training=False,
        need_weights=False,
        use_separate_proj_weight=True,
        q_proj_weight=pool.q_proj.weight,
        k_proj_weight=pool.k_proj.weight,
        v_proj_weight=pool.v_proj.weight,
    )
    return pooled[0]


def make_pair(
    quick: bool = False,
    precision: Precision = "fp32",
    text_precision: TextPrecision = "fp32",
    compile_text: bool = False,
    device: str = "cpu",
) -> tuple[CLIPIQAPlus, Peer]:
    """Return our module and the peer with the same random RN50, or a toy of its kind.

    Random weights cost what trained ones do, and so do random context tokens.
    """
    clip = random_clip(TOY if quick else "RN50", seed=0)
    theirs = copy.deepcopy(clip)  # ours folds its BatchNorm in place
    frozen = FrozenCLIP(clip, "random", "0" * 64, "none", precision, text_precision, compile_text)
    ours = CLIPIQAPlus(frozen).eval()
    prompts = ours.prompts
    assert isinstance(prompts, ContextPrompts)
    prompts.steps += 1  # taken as learned; random ones are refused
    ids = F.pad(prompts.ids[0], (0, theirs.context_length - prompts.ids.shape[-1]))
    slots = prompts.is_slot[0, 0].nonzero().flatten()
    return ours.to(device), Peer(theirs, ids, slots, prompts.ctx).to(device)


def pictures(count: int, width: int, height: int, seed: int = 0) -> torch.Tensor:
    """Return random pictures [B, 3, H, W] in [0, 1] that differ in colour, contrast and detail."""
    generator = torch.Generator().manual_seed(seed)
    found = torch.zeros(count, 3, height, width)
    for cell in (4, 16, 64):
        shape = (count, 3, -(-height // cell), -(-width // cell))
        noise = F.interpolate(torch.randn(shape, generator=generator), (height, width))
        found += noise * torch.rand(count, 1, 1, 1, generator=generator)
    found += torch.randn(count, 3, 1, 1, generator=generator)
    return found.sigmoid()
