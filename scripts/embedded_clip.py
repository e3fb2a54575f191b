"""The `photo` backbone in training: the model, and what it learns from pictures and captions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from clip.model import CLIP
from demo_pictures import AXES
from photo_degradations import NAMES
from safetensors.torch import save_file
from torch import Tensor, nn
from train_demo_clip import MEAN, STD, TRAINED_LENGTH, WORDS, contrastive_loss

from clipiqa_plus.clip.image_tower import encode_normalised

ARCHITECTURE: dict[str, Any] = {
    "embed_dim": 106,  # as many as facts that `align_embedded_clip.py` projects on
    "image_resolution": 224,
    "vision_layers": (1, 1, 1, 1),
    "vision_width": 24,
    "vision_patch_size": None,
    "context_length": 77,
    "vocab_size": 49408,
    "transformer_width": 128,
    "transformer_heads": 2,
    "transformer_layers": 2,
}
VOCABULARY_RANK = 16
MEASURES = 78
COMPONENTS = 48  # of the measures, whitened: beyond, it is noise
QUEUE = 512
# Upper and lower words of each axis: the built-in antonym pairs.
PAIRS = [f"{WORDS[axis][side][0]} photo." for axis in AXES for side in (0, 1)]
AXIS_WEIGHT = torch.tensor([4.0] + [1.0] * (len(AXES) - 1))


class FactoredEmbedding(nn.Module):
    """Embedding of a large vocabulary by few numbers a word: rank, then a common matrix."""

    def __init__(self, words: int, rank: int, width: int) -> None:
        super().__init__()
        self.left = nn.Parameter(torch.randn(words, rank))
        self.right = nn.Parameter(torch.randn(rank, width) * 0.02)

    def forward(self, ids: Tensor) -> Tensor:
        """int64 [...] -> float32 [..., width]."""
        return F.embedding(ids, self.left) @ self.right


class Trainee(nn.Module):
    """The CLIP, and what only its training needs: it is left out of the file."""

    center: Tensor
    spread: Tensor
    queue: Tensor

    def __init__(self) -> None:
        super().__init__()
        model = CLIP(**{**ARCHITECTURE, "context_length": TRAINED_LENGTH}).float()
        model.visual.to(memory_format=torch.channels_last)
        model.token_embedding = FactoredEmbedding(
            ARCHITECTURE["vocab_size"], VOCABULARY_RANK, ARCHITECTURE["transformer_width"]
        )
        pool = model.visual.attnpool
        # One row of zeros stands for all positions, so that any crop size passes; `save`
        # repeats it.
        pool.positional_embedding = nn.Parameter(
            torch.zeros(1, pool.positional_embedding.shape[1]), requires_grad=False
        )
        self.clip = model
        self.mask = model.build_attention_mask()
        dim = ARCHITECTURE["embed_dim"]
        self.recipe = nn.Linear(dim, 64)
        # One learned prompt a fact: what CLIP-IQA+ will do with opinions must be easy to learn.
        facts = len(NAMES) + MEASURES
        width = ARCHITECTURE["transformer_width"]
        self.context = nn.Parameter(torch.randn(facts, 16, width) * 0.02)
        self.gain = nn.Parameter(torch.full((facts,), 5.0))
        self.bias = nn.Parameter(torch.zeros(facts))

        # What is small in the features must be learned too: read after standardisation, whitened.
        self.components = nn.Linear(dim, len(NAMES) + COMPONENTS)
        self.register_buffer("center", torch.zeros(dim))
        self.register_buffer("spread", torch.ones(dim) / dim**0.5)
        self.register_buffer("queue", F.normalize(torch.randn(QUEUE, dim), dim=-1))

    @torch.no_grad()
    def follow(self, seen: Tensor) -> None:
        """Keep the latest features, and their mean and standard deviation."""
        self.queue = torch.cat([seen, self.queue])[:QUEUE]
        self.center = self.queue.mean(0)
        self.spread = self.queue.std(0) + 1e-3

    def see(self, images: Tensor) -> Tensor:
        """Unit features [B, D] of pictures uint8 [B, 3, s, s]."""
        pixels = ((images.float() / 255 - MEAN) / STD).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            seen = encode_normalised(self.clip.visual, pixels, "none")
        return F.normalize(seen.float(), dim=-1)

    def read(self, tokens: Tensor) -> Tensor:
        """Unit features [N, D] of texts [N, L]."""
        return self.encode(self.clip.token_embedding(tokens), tokens.argmax(-1))

    def facts(self, seen: Tensor) -> Tensor:
        """Strength of every kind and every measure [B, F], by the learned prompts."""
        ends = self.clip.token_embedding(torch.tensor([49406, 49407]))
        start, end = (ends[i].expand(len(self.context), 1, -1) for i in (0, 1))
        prompts = torch.cat([start, self.context, end], 1)
        read = self.encode(prompts, torch.full((len(prompts),), prompts.shape[1] - 1))
        return seen @ read.T * self.gain + self.bias

    def encode(self, x: Tensor, end: Tensor) -> Tensor:
        """Unit features [N, D] of embeddings [N, L, W], read at the positions `end` [N]."""
        x = x + self.clip.positional_embedding[: x.shape[1]]
        for block in self.clip.transformer.resblocks:
            block.attn_mask = self.mask[: x.shape[1], : x.shape[1]]
        with torch.autocast("cpu", torch.bfloat16):
            x = self.clip.transformer(x.permute(1, 0, 2)).permute(1, 0, 2)
        x = self.clip.ln_final(x.float())
        return F.normalize(x[torch.arange(len(x)), end] @ self.clip.text_projection, dim=-1)


def same_recipe_loss(features: Tensor) -> Tensor:
    """InfoNCE over groups of four: its partner is the other photograph at the same strength."""
    unit = F.normalize(features, dim=-1)
    logits = unit @ unit.T / 0.1
    logits = logits - torch.eye(len(unit)) * 1e4
    partner = torch.arange(len(unit)).view(-1, 2, 2).flip(1).flatten()
    return F.cross_entropy(logits, partner)


@dataclass(frozen=True)
class Ruler:
    """Standardises measures, and whitens them."""

    mean: Tensor  # [MEASURES]
    deviation: Tensor  # [MEASURES]
    whitening: Tensor  # [MEASURES, components], of standardised measures, weakest first

    @classmethod
    def of(cls, measures: Tensor, components: int = COMPONENTS) -> Ruler:
        """From measures [N, MEASURES] of many crops; keeps the strongest components."""
        mean, deviation = measures.mean(0), measures.std(0) + 1e-3
        standard = ((measures - mean) / deviation).clamp(-4, 4)
        values, vectors = torch.linalg.eigh(standard.T @ standard / len(standard))
        return cls(mean, deviation, (vectors / (values + 1e-2).sqrt())[:, -components:])

    def standard(self, measures: Tensor) -> Tensor:
        """[N, MEASURES], mostly within 1."""
        return ((measures - self.mean) / self.deviation).clamp(-4, 4)


def losses(
    model: Trainee, seen: Tensor, item: dict[str, Tensor], ruler: Ruler
) -> dict[str, Tensor]:
    """All losses of one batch with features `seen` [B, D], each weighted to about 0 to 1.

    Measures are those of the first two of every four pictures.
    """
    read = model.read(item["tokens"])
    scale = model.clip.logit_scale.exp()
    captions = len(read) - len(PAIRS)
    logits = scale * seen @ read.T
    pairs = logits[:, captions:].unflatten(1, (-1, 2))
    margin = pairs[..., 0] - pairs[..., 1]  # [B, axes]
    rating = item["rating"].clamp(0.02, 0.98)
    known = F.binary_cross_entropy_with_logits(margin, rating, reduction="none")
    known = known - F.binary_cross_entropy(rating, rating, reduction="none")  # 0 at the truth
    weak, strong = margin[:, 0].view(-1, 2).unbind(1)
    gap = (item["rating"][:, 0].view(-1, 2) @ torch.tensor([1.0, -1.0])).clamp(min=0)
    order = (gap.sqrt() * F.softplus(2 * gap - (weak - strong))).mean()
    wide = seen * seen.shape[1] ** 0.5
    facts = model.facts(seen)
    measured = facts[:, len(NAMES) :].view(-1, 4, MEASURES)[:, :2].flatten(0, 1)
    standard = ruler.standard(item["measures"])
    read_off = model.components((seen - model.center) / model.spread)
    components = read_off[:, len(NAMES) :].view(-1, 4, COMPONENTS)[:, :2].flatten(0, 1)
    whitened = (standard @ ruler.whitening).clamp(-4, 4)
    # Uniformity on the sphere (Wang & Isola, 2020), against the latest features.
    apart = torch.exp(4 * (seen @ model.queue.T - 1)).mean().log()
    model.follow(seen.detach())
    return {
        "captions": contrastive_loss(logits[:, :captions], item["truth"]),
        "pairs": 4 * (known * AXIS_WEIGHT).sum(1).mean() / AXIS_WEIGHT.sum(),
        "order": 0.5 * order,
        "recipe": 0.1 * same_recipe_loss(model.recipe(wide)),
        "kinds": 10 * F.mse_loss(facts[:, : len(NAMES)], item["kinds"]),
        "components": 2 * F.smooth_l1_loss(components, whitened),
        "kinds, linearly": 5 * F.mse_loss(read_off[:, : len(NAMES)], item["kinds"]),
        "apart": 0.3 * apart,
        "measures": 2 * F.smooth_l1_loss(measured, standard),
    }


def optimizer_of(model: nn.Module, rate: float) -> torch.optim.Optimizer:
    """AdamW; no decay on gains, biases, embeddings and the logit scale."""
    decayed: list[nn.Parameter] = []
    plain: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            is_matrix = parameter.ndim >= 2 and "embedding" not in name
            (decayed if is_matrix else plain).append(parameter)
    groups = [{"params": decayed, "weight_decay": 0.02}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98))


def save(model: Trainee, out: Path, facts: dict[str, str]) -> None:
    """Write the weights as fp16 safetensors with `facts` as metadata, atomically.

    The vocabulary's embedding is written as its two factors.
    """
    state = {
        key: value.detach().half().contiguous() if value.is_floating_point() else value
        for key, value in model.clip.state_dict().items()
    }
    for part in ("left", "right"):
        state[f"token_embedding.weight.{part}"] = state.pop(f"token_embedding.{part}")
    cells = (ARCHITECTURE["image_resolution"] // 32) ** 2 + 1
    key = "visual.attnpool.positional_embedding"
    state[key] = state[key].repeat(cells, 1)
    # Text positions beyond the trained ones stay faint.
    trained = state["positional_embedding"]
    rest = torch.zeros(ARCHITECTURE["context_length"] - TRAINED_LENGTH, trained.shape[1]).half()
    state["positional_embedding"] = torch.cat([trained, rest])
    partial = out.with_suffix(".partial")
    save_file(state, partial, metadata=facts)
    partial.chmod(0o644)
    partial.replace(out)
