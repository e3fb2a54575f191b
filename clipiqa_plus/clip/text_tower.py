"""The text tower of a frozen CLIP as one function from token embeddings to text features."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from clip.model import CLIP, Transformer


def encode_embeddings(clip: CLIP, embeddings: Tensor, eot: Tensor, shared: int = 0) -> Tensor:
    """Encode prompts without reading tensor values on the host, so without waiting for a GPU.

    Args:
        clip: Model of openai-clip, frozen.
        embeddings: float32 [N, L, W] or [M, N, L, W], see
            :meth:`~clipiqa_plus.clip.backbone.FrozenCLIP.encode_text`.
        eot: int64 [N], position of each prompt's end-of-text token, less than L.
        shared: Length of the prefix that the N prompts share.

    Returns:
        Unit features, float32 [N, D] or [M, N, D].
    """
    length = embeddings.shape[-2]
    x = embeddings + clip.positional_embedding[:length]  # [M, N, L, W] or [N, L, W]
    last = eot.to(x.device)
    if shared:
        x, mask, last = _merge_prompts(x, last, shared)
    else:
        x, last = x.flatten(0, -3), last.expand(x.shape[:-2]).reshape(-1, 1)  # [M N, L, W]
        mask = _additive(torch.ones(length, length, dtype=torch.bool, device=x.device).tril())
    *blocks, final_block = clip.transformer.resblocks
    for block in blocks:
        x = _text_block(block, x, mask)
    x = _text_block(final_block, x, mask, last)
    x = x.reshape(*embeddings.shape[:-2], -1)  # [M, N, W] or [N, W]
    x = F.layer_norm(x, x.shape[-1:], clip.ln_final.weight, clip.ln_final.bias)
    return F.normalize(x @ clip.text_projection, dim=-1)


@cache
def compiled(device: str) -> Callable[[CLIP, Tensor, Tensor, int], Tensor]:
    """Return :func:`encode_embeddings` compiled by torch, for the forward and backward pass.

    The first call compiles, which takes minutes and, on a CPU, requires a C++ compiler. On a GPU
    the mode that replays CUDA graphs is used, which is untested.
    """
    mode = "reduce-overhead" if device == "cuda" else None
    return torch.compile(encode_embeddings, mode=mode, fullgraph=True, dynamic=False)


def use_precision(transformer: Transformer, dtype: torch.dtype) -> None:
    """Convert the matrices of a text transformer in place; its norms stay in fp32."""
    transformer.to(dtype)
    for layer in transformer.modules():
        if isinstance(layer, nn.LayerNorm):
            layer.float()


def _merge_prompts(x: Tensor, last: Tensor, shared: int) -> tuple[Tensor, Tensor, Tensor]:
    """Merge prompts with a common prefix into one sequence: the prefix, then each prompt's rest.

    Args:
        x: [N, L, W], or M such sets [M, N, L, W].
        last: int64 [N], position of the last token of each prompt.
        shared: Length of the prefix.

    Returns:
        One sequence per set, [M, R, W]; their additive mask [R, R], in which each rest attends to
        the prefix and to itself; and the position of each last token in its sequence, [M, N].
    """
    x = x if x.ndim == 4 else x[None]
    count, length = x.shape[1:3]
    sequences = torch.cat([x[:, 0, :shared], x[:, :, shared:].flatten(1, 2)], dim=1)
    order = torch.arange(length, device=x.device)
    position = torch.cat([order[:shared], order[shared:].repeat(count)])
    prompt = torch.arange(count, device=x.device).repeat_interleave(length - shared)
    prompt = torch.cat([prompt.new_full((shared,), -1), prompt])
    visible = (prompt == prompt[:, None]) | (prompt < 0)
    mask = _additive(visible & (position <= position[:, None]))
    offset = torch.arange(count, device=x.device) * (length - shared)
    return sequences, mask, (offset + last).expand(len(x), -1)


def _additive(visible: Tensor) -> Tensor:
    """Turn a boolean attention mask into one that is added to the attention logits."""
    return torch.zeros(visible.shape, device=visible.device).masked_fill(~visible, -math.inf)


def _text_block(block: Any, x: Tensor, mask: Tensor, last: Tensor | None = None) -> Tensor:
    """One residual block of openai-clip's text transformer, with fused attention.

    Norms and the residual sum stay in fp32 whatever the precision of the matrices.

    Args:
        block: Block of openai-clip.
        x: float32 [B, R, W].
        mask: Additive attention mask, [R, R].
        last: int64 [B, K], the rows to compute; None computes all.

    Returns:
        float32 [B, R, W] or [B, K, W].
    """
    attention = block.attn
    dtype = attention.in_proj_weight.dtype
    y = F.layer_norm(x, x.shape[-1:], block.ln_1.weight, block.ln_1.bias).to(dtype)
    qkv = F.linear(y, attention.in_proj_weight, attention.in_proj_bias)
    qkv = qkv.unflatten(-1, (3, attention.num_heads, -1)).permute(2, 0, 3, 1, 4)
    query, keys, values = qkv.unbind()  # [B, heads, R, W / heads] each
    if last is not None:
        x = x.take_along_dim(last[..., None], dim=1)
        query = query.take_along_dim(last[:, None, :, None], dim=2)
        mask = mask[last][:, None]  # [B, 1, K, R]
    y = F.scaled_dot_product_attention(query, keys, values, attn_mask=mask.to(dtype))
    x = x + attention.out_proj(y.transpose(1, 2).flatten(2))
    y = F.layer_norm(x, x.shape[-1:], block.ln_2.weight, block.ln_2.bias).to(dtype)
    y = block.mlp.c_fc(y)
    if isinstance(block.mlp.gelu, nn.GELU):
        return x + block.mlp.c_proj(F.gelu(y, approximate=block.mlp.gelu.approximate))
    return x + block.mlp.c_proj(F.silu(1.702 * y) / 1.702)  # QuickGELU: z * sigmoid(1.702 z)
