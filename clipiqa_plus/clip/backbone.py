"""FrozenCLIP: the openai-clip model as a fixed function from pictures and prompts to features."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from clipiqa_plus.clip.full_precision import full_precision
from clipiqa_plus.clip.fused_tower import FusedTower, is_offered
from clipiqa_plus.clip.text_tower import compiled, encode_embeddings, use_precision
from clipiqa_plus.clip.weights import build_clip, load_weights

if TYPE_CHECKING:
    from clip.model import CLIP, AttentionPool2d, ModifiedResNet, VisionTransformer

Precision = Literal["fp32", "bf16", "fp16"]
TextPrecision = Literal["fp32", "bf16"]

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

MEAN = (0.48145466, 0.4578275, 0.40821073)
"""Mean of CLIP's training pictures, RGB in [0, 1] (openai-clip, clip.py)."""
STD = (0.26862954, 0.26130258, 0.27577711)
"""Standard deviation of the same."""


class FrozenCLIP(nn.Module):
    """A CLIP that nothing changes: no gradient, evaluation mode, no entry in a checkpoint.

    The openai-clip model is held outside of the module registry. Therefore ``parameters()``,
    ``state_dict()`` and ``train()`` of any module that contains a FrozenCLIP pass it by, and a
    distributed wrapper neither broadcasts nor synchronises its 100 million weights, while
    ``to(device)`` still moves it.

    Args:
        clip: Model of the openai-clip class in fp32; it is frozen in place.
        name: Name for messages and metadata.
        fingerprint: SHA-256 of the weights.
        pos_embedding: For ResNets: add the attention pool's positional embedding, interpolated
            bicubically to the grid of the picture. CLIP-IQA drops it (paper, section 3.2), which
            is what lets a ResNet take any size well. ViTs cannot do without theirs.
        precision: Number format of the image tower. Features are returned in fp32 always.
        text_precision: Number format of the matrix products in the text tower's blocks.
        compile_text: Compile the text pass of a training step, see :func:`text_pass.compiled`.
    """

    def __init__(
        self,
        clip: CLIP,
        name: str,
        fingerprint: str,
        pos_embedding: bool = False,
        precision: Precision = "fp32",
        text_precision: TextPrecision = "fp32",
        compile_text: bool = False,
    ) -> None:
        super().__init__()
        if precision not in _DTYPES:
            raise ValueError(f"precision {precision!r}; choose from {', '.join(_DTYPES)}")
        if text_precision not in get_args(TextPrecision):
            raise ValueError(
                f"text_precision {text_precision!r}; choose from "
                f"{', '.join(get_args(TextPrecision))}"
            )
        clip.eval()
        _fold_batchnorm(clip.visual)
        clip.eval().requires_grad_(False)
        clip.visual.to(_DTYPES[precision], memory_format=torch.channels_last)
        for layer in clip.visual.modules():
            if isinstance(layer, nn.LayerNorm):  # openai-clip's LayerNorm computes in fp32
                layer.float()
        use_precision(clip.transformer, _DTYPES[text_precision])
        self.__dict__["clip"] = clip  # past nn.Module.__setattr__, which would register it
        self.name = name
        self.fingerprint = fingerprint
        self.precision: Precision = precision
        self.text_precision: TextPrecision = text_precision
        self.compile_text = compile_text
        self.logit_scale = math.exp(float(clip.logit_scale))
        """Factor from cosine to logit, about 100 (the exponential is taken)."""
        self.is_vit = hasattr(clip.visual, "class_embedding")
        self.pos_embedding = pos_embedding or self.is_vit
        self._has_text = True
        self._fused: FusedTower | None = None
        if not self.is_vit and precision == "fp32" and is_offered():
            self._fused = FusedTower(clip.visual)

    if TYPE_CHECKING:
        clip: CLIP

    @classmethod
    def from_name(
        cls,
        name: str,
        pos_embedding: bool = False,
        precision: Precision = "fp32",
        text_precision: TextPrecision = "fp32",
        compile_text: bool = False,
    ) -> FrozenCLIP:
        """Load weights by name or path and freeze them.

        Args:
            name: One of the names of openai-clip, ``demo``, or the path of a weights file.
            pos_embedding: See the class.
            precision: See the class.
            text_precision: See the class.
            compile_text: See the class.

        Raises:
            ValueError: If the name is unknown or the file is not CLIP's.
            FileNotFoundError: If the file is not there, or no source of the weights answers.
        """
        weights = load_weights(name)
        clip = build_clip(weights, release=True)
        facts = (weights.name, weights.sha256)
        return cls(clip, *facts, pos_embedding, precision, text_precision, compile_text)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> FrozenCLIP:
        # Device moves reach the model; a change of dtype does not: precision is chosen once.
        def move(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        super()._apply(fn, recurse)
        self.clip._apply(move)
        return self

    @property
    def dim(self) -> int:
        """Length D of image and text features."""
        return cast(int, self.clip.text_projection.shape[1])

    @property
    def width(self) -> int:
        """Length W of a token embedding."""
        return cast(int, self.clip.token_embedding.weight.shape[1])

    @property
    def context_length(self) -> int:
        """Most tokens that a prompt may have."""
        return cast(int, self.clip.positional_embedding.shape[0])

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return cast(torch.device, self.clip.logit_scale.device)

    @property
    def least_size(self) -> int:
        """Shortest side in pixels that the image tower can take."""
        return cast(int, self.clip.visual.conv1.kernel_size[0]) if self.is_vit else 32

    @property
    def parameter_count(self) -> int:
        """Number of frozen weights."""
        return sum(p.numel() for p in self.clip.parameters())

    def describe(self) -> dict[str, Any]:
        """Return what fixes this function: name, weights, positional embedding, precision."""
        return {
            "backbone": self.name,
            "weights_sha256": self.fingerprint,
            "pos_embedding": self.pos_embedding,
            "precision": self.precision,
        }

    def encode_image(
        self, images: Tensor | Sequence[Tensor], differentiable: bool = False
    ) -> Tensor:
        """Encode pictures of any size.

        Args:
            images: [B, 3, H, W], or B pictures [3, H, W] of unequal sizes, of which those of one
                size are encoded together; RGB, uint8 in 0 to 255 or floating point in [0, 1].
            differentiable: Let gradients flow to the pictures, where the caller records them.

        Returns:
            Unit features, float32 [B, D].

        Raises:
            ValueError: If the shape, the range or the size does not fit.
        """
        with (
            torch.set_grad_enabled(differentiable and torch.is_grad_enabled()),
            full_precision(self.device.type),
        ):
            return self._encode(images)

    def _encode(self, images: Tensor | Sequence[Tensor]) -> Tensor:
        if isinstance(images, Tensor):
            return self._encode_batch(images)
        buckets: dict[torch.Size, list[int]] = {}
        for index, image in enumerate(images):
            buckets.setdefault(image.shape, []).append(index)
        features = torch.empty(len(images), self.dim, device=self.device)
        for members in buckets.values():
            features[members] = self._encode_batch(torch.stack([images[i] for i in members]))
        return features

    def _encode_batch(self, images: Tensor) -> Tensor:
        check_images(images, self.least_size)
        visual = self.clip.visual
        dtype = _DTYPES[self.precision]
        images = images.to(self.device)
        images = images.float() / 255 if images.dtype == torch.uint8 else images.float()
        mean = images.new_tensor(MEAN).view(3, 1, 1)
        std = images.new_tensor(STD).view(3, 1, 1)
        images = ((images - mean) / std).to(dtype, memory_format=torch.channels_last)
        if self._fused and images.device.type == "cpu" and not torch.is_grad_enabled():
            features = _pool_first_query(visual.attnpool, self._fused(images), self.pos_embedding)
        else:
            features = encode_normalised(visual, images, self.pos_embedding)
        return F.normalize(features.float(), dim=-1)

    def drop_text_tower(self) -> None:
        """Give up the text tower, 250 MB of RN50's 400; only pictures can be encoded then."""
        self.clip.transformer = nn.Identity()
        self.clip.token_embedding = nn.Embedding(0, self.width, device=self.device)
        self._has_text = False

    def _require_text(self) -> None:
        if not self._has_text:
            raise RuntimeError(
                f"this backbone ({self.name}) has dropped its text tower: load it without "
                "image_only"
            )

    def token_embedding(self, ids: Tensor) -> Tensor:
        """Look up token embeddings: int64 [...] -> float32 [..., W]."""
        self._require_text()
        return self.clip.token_embedding(ids.to(self.device))

    def encode_text(self, embeddings: Tensor, eot: Tensor, shared: int = 0) -> Tensor:
        """Encode prompts given as token embeddings, differentiable in them alone.

        Under the causal mask no token sees what follows it. Therefore positions behind the last
        end of text change nothing and need not be given: a prompt of 16 context tokens costs 21
        positions, not 77. For the same reason a beginning that all prompts share is the same in
        every layer and is computed once.

        Args:
            embeddings: float32 [N, L, W], without positional embedding; or M sets of prompts
                [M, N, L, W], which differ in their embeddings alone.
            eot: int64 [N], position of each prompt's end-of-text token.
            shared: Number of leading positions, fewer than any ``eot``, that hold the same tokens
                in the N prompts. Their gradient arrives at the first prompt's embeddings.

        Returns:
            Unit features, float32 [N, D] or [M, N, D].

        Raises:
            ValueError: If a prompt is longer than the model's context.
        """
        self._require_text()
        if embeddings.shape[-2] > self.context_length:
            raise ValueError(
                f"a prompt has {embeddings.shape[-2]} tokens and the model takes "
                f"{self.context_length}; use fewer context tokens or words"
            )
        learning = torch.is_grad_enabled() and embeddings.requires_grad
        run = compiled(self.device.type) if self.compile_text and learning else encode_embeddings
        return run(self.clip, embeddings, eot, shared)


def _fold_batchnorm(visual: nn.Module) -> None:
    """Fold each BatchNorm of a frozen ResNet into the convolution before it.

    With fixed statistics the two are one affine map; this changes the rounding and saves a pass
    over every feature map. openai-clip names them ``convN``, ``bnN``, or ``0``, ``1`` in a
    downsampling branch. The weights are replaced, not written over: their tensors may be those of
    a state dict that is used again.
    """
    for module in visual.modules():
        for name, norm in list(module.named_children()):
            if isinstance(norm, nn.BatchNorm2d):
                before = name.replace("bn", "conv") if name.startswith("bn") else "0"
                _fold(cast(nn.Conv2d, getattr(module, before)), norm)
                setattr(module, name, nn.Identity())


def _fold(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    weight, conv.bias = fuse_conv_bn_weights(
        conv.weight,
        conv.bias,
        cast(Tensor, norm.running_mean),
        cast(Tensor, norm.running_var),
        norm.eps,
        norm.weight,
        norm.bias,
    )
    # The layout that CPU and GPU convolutions are fastest in; at once, so that the whole tower is
    # never in memory twice.
    conv.weight = nn.Parameter(
        weight.detach().contiguous(memory_format=torch.channels_last), requires_grad=False
    )


def check_images(images: Tensor, least_size: int) -> None:
    """Refuse anything but RGB pictures [B, 3, H, W] as uint8 or as floats in [0, 1].

    Raises:
        ValueError: Saying what was given and what is expected.
    """
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"pictures of shape {tuple(images.shape)}; expected [B, 3, H, W], RGB")
    if min(images.shape[2:]) < least_size:
        raise ValueError(
            f"a picture of {images.shape[3]}x{images.shape[2]} pixels is too small: this backbone "
            f"takes sides of {least_size} or more"
        )
    if images.dtype == torch.uint8:
        return
    if not images.is_floating_point():
        raise ValueError(f"pictures of type {images.dtype}; expected uint8, or floats in [0, 1]")
    low, high = images.aminmax()
    # Resampling may overshoot by rounding; 0-255 floats and CLIP-normalised input must not pass.
    if not (low >= -1e-3 and high <= 1 + 1e-3):
        raise ValueError(
            f"float pictures range from {low:g} to {high:g}; expected [0, 1] (divide 0-255 by 255, "
            "and do not apply CLIP's mean and standard deviation: encode_image does)"
        )


def encode_normalised(
    visual: ModifiedResNet | VisionTransformer, images: Tensor, pos_embedding: bool
) -> Tensor:
    """Run the image tower by plain operations of torch, which every exporter knows.

    Args:
        visual: Image tower of openai-clip.
        images: [B, 3, H, W] in the tower's dtype, normalised by :data:`MEAN` and :data:`STD`.
        pos_embedding: See :class:`FrozenCLIP`.

    Returns:
        Features [B, D] in the tower's dtype, of any length.
    """
    if hasattr(visual, "class_embedding"):
        return _encode_vit(visual, images)
    return _encode_resnet(visual, images, pos_embedding)


def _encode_resnet(visual: ModifiedResNet, images: Tensor, pos_embedding: bool) -> Tensor:
    x = visual.relu1(visual.bn1(visual.conv1(images)))
    x = visual.relu2(visual.bn2(visual.conv2(x)))
    x = visual.relu3(visual.bn3(visual.conv3(x)))
    x = visual.avgpool(x)
    x = visual.layer4(visual.layer3(visual.layer2(visual.layer1(x))))  # [B, C, h, w]
    return _pool_first_query(visual.attnpool, x, pos_embedding)


def _pool_first_query(pool: AttentionPool2d, x: Tensor, pos_embedding: bool) -> Tensor:
    """Attention pooling for the mean token only: openai-clip computes all queries, keeps one."""
    height, width = x.shape[2:]
    x = x.flatten(2).transpose(1, 2)  # [B, hw, C]
    x = torch.cat([x.mean(dim=1, keepdim=True), x], dim=1)  # [B, 1 + hw, C]
    if pos_embedding:
        x = x + _interpolate_grid(pool.positional_embedding, height, width).to(x.dtype)
    # The projections of keys and values move from the 1 + hw tokens to the one query and the one
    # result: q . (K x) = (K^T q) . x, and the sum of a_i (V x_i) is V (sum of a_i x_i). The bias
    # of the keys shifts all logits of a head alike, which the softmax does not see.
    heads = pool.num_heads
    query = pool.q_proj(x[:, 0]).unflatten(-1, (heads, -1))  # [B, heads, C / heads]
    key_map = pool.k_proj.weight.unflatten(0, (heads, -1))  # [heads, C / heads, C]
    value_map = pool.v_proj.weight.unflatten(0, (heads, -1))
    query = torch.einsum("bhd,hdc->bhc", query * query.shape[-1] ** -0.5, key_map)
    logits = query @ x.transpose(1, 2)  # [B, heads, 1 + hw]
    mean = logits.softmax(dim=-1, dtype=torch.float32).to(x.dtype) @ x  # [B, heads, C]
    pooled = torch.einsum("bhc,hdc->bhd", mean, value_map).flatten(1) + pool.v_proj.bias
    return pool.c_proj(pooled)


def _encode_vit(visual: VisionTransformer, images: Tensor) -> Tensor:
    x = visual.conv1(images)  # [B, C, h, w]; pixels beyond the last whole patch are left out
    height, width = x.shape[2:]
    x = x.flatten(2).transpose(1, 2)  # [B, hw, C]
    x = torch.cat([visual.class_embedding.to(x.dtype).expand(x.shape[0], 1, -1), x], dim=1)
    x = x + _interpolate_grid(visual.positional_embedding, height, width).to(x.dtype)
    x = visual.transformer(visual.ln_pre(x).transpose(0, 1))  # LND
    return visual.ln_post(x[0]) @ visual.proj


def _interpolate_grid(embedding: Tensor, height: int, width: int) -> Tensor:
    """Interpolate a positional embedding [1 + g*g, C] bicubically to [1 + height*width, C]."""
    side = math.isqrt(len(embedding) - 1)
    first, grid = embedding[:1], embedding[1:]
    grid = grid.T.reshape(1, -1, side, side).float()
    grid = F.interpolate(grid, (height, width), mode="bicubic", align_corners=False)
    return torch.cat([first, grid[0].flatten(1).T.to(embedding.dtype)])
