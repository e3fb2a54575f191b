"""FrozenCLIP: the openai-clip model as a fixed feature extractor for pictures and prompts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clipiqa_plus.clip.architectures import activation_of
from clipiqa_plus.clip.conventions import OPENAI, RGB, BackboneSpec, Conventions, backbone_spec
from clipiqa_plus.clip.full_precision import full_precision
from clipiqa_plus.clip.fused_tower import FusedTower, is_offered
from clipiqa_plus.clip.image_tower import (
    DTYPES,
    PosEmbedding,
    Precision,
    check_images,
    encode_normalised,
    feature_map,
    pool_first_query,
    position_name,
    prepare,
)
from clipiqa_plus.clip.text_tower import compiled, encode_embeddings, use_precision
from clipiqa_plus.clip.tiles import PIECE_PIXELS, halo_of, map_in_tiles
from clipiqa_plus.clip.tokenizers import CLIP_TOKENIZER, Tokenizer
from clipiqa_plus.clip.weights import build_clip, load_weights

if TYPE_CHECKING:
    from clip.model import CLIP

TextPrecision = Literal["fp32", "bf16"]


class FrozenCLIP(nn.Module):
    """A frozen CLIP: no gradients, always in evaluation mode, not saved in checkpoints.

    The openai-clip model is not registered as a submodule. Therefore ``parameters()``,
    ``state_dict()`` and ``train()`` of a module that contains a FrozenCLIP skip it, and a
    distributed wrapper neither broadcasts nor synchronises its 100 million weights.
    ``to(device)`` still moves it.

    Args:
        clip: Model of the openai-clip class in fp32; it is frozen in place.
        name: Name for messages and metadata.
        fingerprint: SHA-256 of the weights.
        pos_embedding: How the image tower's positional embedding is treated, see
            :data:`~clipiqa_plus.clip.image_tower.PosEmbedding`. None selects the default: ``none``
            on a ResNet, as in the paper, which suits pictures of any size, and ``grid`` on a ViT.
            Booleans of earlier recipes and files keep their meaning, see
            :func:`~clipiqa_plus.clip.image_tower.position_name`.
        precision: Number format of the image tower. Features are always returned in fp32.
        text_precision: Number format of the matrix products in the text tower's blocks.
        compile_text: Compile the text pass of a training step, see
            :func:`~clipiqa_plus.clip.text_tower.compiled`.
        mean: Mean of the pictures that the weights were trained on, RGB in [0, 1].
        std: Standard deviation of the same.

    Attributes:
        conventions: The activation of ``clip``, mean and deviation.
    """

    def __init__(
        self,
        clip: CLIP,
        name: str,
        fingerprint: str,
        pos_embedding: PosEmbedding | bool | None = None,
        precision: Precision = "fp32",
        text_precision: TextPrecision = "fp32",
        compile_text: bool = False,
        mean: RGB = OPENAI.mean,
        std: RGB = OPENAI.std,
    ) -> None:
        super().__init__()
        if precision not in DTYPES:
            raise ValueError(f"precision {precision!r}; choose from {', '.join(DTYPES)}")
        if text_precision not in get_args(TextPrecision):
            raise ValueError(
                f"text_precision {text_precision!r}; choose from "
                f"{', '.join(get_args(TextPrecision))}"
            )
        self.is_vit = hasattr(clip.visual, "class_embedding")
        prepare(clip.visual, precision)
        use_precision(clip.transformer, DTYPES[text_precision])
        position = position_name(pos_embedding, self.is_vit)
        self._keep(clip, name, fingerprint, Conventions(activation_of(clip), mean, std), position)
        self.precision = precision
        self.text_precision = text_precision
        self.compile_text = compile_text
        if not self.is_vit and precision == "fp32" and is_offered():
            self._fused = FusedTower(clip.visual)

    def _keep(
        self,
        clip: Any,
        name: str,
        fingerprint: str,
        conventions: Conventions,
        pos_embedding: PosEmbedding,
    ) -> None:
        """Freeze a model and keep it without registering it."""
        clip.eval().requires_grad_(False)
        self.__dict__["clip"] = clip  # nn.Module.__setattr__ would register it
        self.name = name
        self.fingerprint = fingerprint
        self.conventions = conventions
        self.pos_embedding: PosEmbedding = pos_embedding
        self.precision = "fp32"
        self.text_precision = "fp32"
        self.compile_text = False
        self.piece_pixels = PIECE_PIXELS
        """Most pixels that a ResNet encodes in one piece. Larger pictures are encoded in tiles,
        with the same features up to rounding, see :mod:`~clipiqa_plus.clip.tiles`."""
        self.logit_scale = math.exp(float(clip.logit_scale))
        """Factor from cosine to logit, about 100 (already exponentiated)."""
        self._has_text = True
        self._fused = None

    precision: Precision
    text_precision: TextPrecision
    _fused: FusedTower | None

    if TYPE_CHECKING:
        clip: CLIP

    @classmethod
    def from_name(
        cls,
        name: str | Mapping[str, Any] | BackboneSpec,
        pos_embedding: PosEmbedding | bool | None = None,
        precision: Precision = "fp32",
        text_precision: TextPrecision = "fp32",
        compile_text: bool = False,
    ) -> FrozenCLIP:
        """Load weights by name or path and freeze them.

        Args:
            name: One of the names of openai-clip, ``photo`` or ``demo`` (embedded), the path of
                a weights file, or ``open_clip:ARCHITECTURE/TAG``; with what is stated about the
                weights, if nothing records that.
            pos_embedding: See the class.
            precision: See the class.
            text_precision: See the class.
            compile_text: See the class.

        Raises:
            ValueError: If the name is unknown, the file does not hold CLIP weights, or activation,
                mean or deviation are neither recorded nor stated.
            FileNotFoundError: If the file does not exist or cannot be downloaded.
        """
        spec = backbone_spec(name)
        if spec.name.startswith("open_clip:"):
            from clipiqa_plus.clip.open_clip.loading import load_open_clip

            how = (pos_embedding, precision, text_precision, compile_text)
            return load_open_clip(spec, *how)
        weights = load_weights(spec.name)
        facts = spec.settle(weights.recorded, weights.path)
        clip = build_clip(weights, facts.activation, release=True)
        inputs = (facts.mean, facts.std)
        how = (pos_embedding, precision, text_precision, compile_text)
        return cls(clip, weights.name, weights.sha256, *how, *inputs)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> FrozenCLIP:
        # The model follows device moves but not dtype changes: its precision is fixed.
        def move(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        super()._apply(fn, recurse)
        self.clip._apply(move)
        return self

    @property
    def tiles(self) -> bool:
        """Whether large pictures can be encoded in tiles: those of a ViT attend to each other."""
        return hasattr(self.clip.visual, "attnpool")

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
        """Maximum number of tokens of a prompt."""
        return cast(int, self.clip.positional_embedding.shape[0])

    @property
    def device(self) -> torch.device:
        """Device of the model."""
        return cast(torch.device, self.clip.logit_scale.device)

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer that belongs to the weights."""
        return CLIP_TOKENIZER

    @property
    def least_size(self) -> int:
        """Smallest side in pixels that the image tower accepts."""
        return cast(int, self.clip.visual.conv1.kernel_size[0]) if self.is_vit else 32

    @property
    def only_size(self) -> tuple[int, int] | None:
        """The one height and width that the image tower accepts; None for any."""
        return None

    @property
    def parameter_count(self) -> int:
        """Number of frozen weights."""
        return sum(p.numel() for p in self.clip.parameters())

    def describe(self) -> dict[str, Any]:
        """Return what determines the features.

        Name, weights and their conventions, positional embedding, precision.
        """
        return {
            "backbone": self.name,
            "weights_sha256": self.fingerprint,
            **self.conventions.describe(),
            "pos_embedding": self.pos_embedding,
            "precision": self.precision,
        }

    def encode_image(
        self, images: Tensor | Sequence[Tensor], differentiable: bool = False
    ) -> Tensor:
        """Encode pictures of any size.

        Args:
            images: [B, 3, H, W], or B pictures [3, H, W] of different sizes; pictures of equal
                size are encoded together. RGB, uint8 in 0 to 255 or floating point in [0, 1].
            differentiable: Let gradients flow to the pictures if autograd is enabled.

        Returns:
            Unit features, float32 [B, D].

        Raises:
            ValueError: If the shape, the range or the size is not supported.
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
            same = [images[i] for i in members]
            # A picture alone is not copied.
            features[members] = self._encode_batch(torch.stack(same) if same[1:] else same[0][None])
        return features

    def _encode_batch(self, images: Tensor) -> Tensor:
        check_images(images, self.least_size)
        if self._is_tiled(images):  # one map at a time in memory
            maps = (self._map_in_tiles(image[None]) for image in images)
            pool = self.clip.visual.attnpool
            features = torch.cat([pool_first_query(pool, x, self.pos_embedding) for x in maps])
        else:
            features = self._run_image_tower(self._normalise(images))
        return F.normalize(features, dim=-1)

    def _normalise(self, images: Tensor) -> Tensor:
        images = images.to(self.device)
        mean = torch.tensor(self.conventions.mean, device=images.device).view(3, 1, 1)
        std = torch.tensor(self.conventions.std, device=images.device).view(3, 1, 1)
        if images.dtype == torch.uint8:
            images = images.float().div_(255).sub_(mean).div_(std)  # in place: a new tensor anyway
        else:
            images = (images.float() - mean) / std
        return images.to(DTYPES[self.precision], memory_format=torch.channels_last)

    def _run_image_tower(self, images: Tensor) -> Tensor:
        """Features, float32 [B, D], of normalised pictures [B, 3, H, W]."""
        visual = self.clip.visual
        if self.is_vit:
            return encode_normalised(visual, images, self.pos_embedding)
        return pool_first_query(visual.attnpool, self._feature_map(images), self.pos_embedding)

    def _feature_map(self, images: Tensor) -> Tensor:
        """Last feature map, [B, C, h, w], of normalised pictures [B, 3, H, W]: ResNets only."""
        if self._fused and images.device.type == "cpu" and not torch.is_grad_enabled():
            return self._fused(images)
        return feature_map(self.clip.visual, images)

    def feature_map(self, images: Tensor) -> Tensor:
        """Return the last feature map of a ResNet, which its attention pool turns into features.

        Args:
            images: [B, 3, H, W], see :meth:`encode_image`.

        Returns:
            float32 [B, C, H // 32, W // 32], without gradients.

        Raises:
            ValueError: If the backbone has no attention pool, as a ViT; or see
                :meth:`encode_image`.
        """
        self._require_pool()
        check_images(images, self.least_size)
        with torch.no_grad(), full_precision(self.device.type):
            if self._is_tiled(images):
                return torch.cat([self._map_in_tiles(image[None]) for image in images]).float()
            return self._feature_map(self._normalise(images)).float()

    def pool_map(self, cells: Tensor) -> Tensor:
        """Pool feature maps, or windows of one: [B, C, h, w] -> unit features, float32 [B, D]."""
        self._require_pool()
        with full_precision(self.device.type):
            pool = self.clip.visual.attnpool
            return F.normalize(pool_first_query(pool, cells, self.pos_embedding), dim=-1)

    def _require_pool(self) -> None:
        # open_clip's ResNets name their layers differently.
        if type(self) is not FrozenCLIP or self.is_vit:
            raise ValueError(
                f"{self.name} has no attention pool of openai-clip's; take a ResNet such as RN50"
            )

    def _is_tiled(self, images: Tensor) -> bool:
        """Whether pictures are too large for one piece; gradients need all of it at once."""
        large = images.shape[2] * images.shape[3] > self.piece_pixels
        return large and self.tiles and not torch.is_grad_enabled()

    def _map_in_tiles(self, picture: Tensor) -> Tensor:
        def run(part: Tensor) -> Tensor:
            return self._feature_map(self._normalise(part))

        return map_in_tiles(run, picture, halo_of(self.clip.visual), self.piece_pixels)

    def drop_text_tower(self) -> None:
        """Free the text tower, 250 MB of RN50's 400; only pictures can be encoded afterwards."""
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
        """Encode prompts given as token embeddings; only these receive gradients.

        With the causal mask no token attends to later ones. Positions after the last end-of-text
        token therefore change nothing and can be omitted: a prompt of 16 context tokens takes 21
        positions, not 77. For the same reason a prefix that all prompts share is the same in every
        layer and is computed once.

        Args:
            embeddings: float32 [N, L, W], without positional embedding; or M sets of prompts
                [M, N, L, W], which differ only in their embeddings.
            eot: int64 [N], position of each prompt's end-of-text token.
            shared: Number of leading positions, fewer than any ``eot``, that hold the same tokens
                in the N prompts. Their gradient goes to the first prompt's embeddings.

        Returns:
            Unit features, float32 [N, D] or [M, N, D].

        Raises:
            ValueError: If a prompt is longer than the model's context.
        """
        self._require_text()
        if embeddings.shape[-2] > self.context_length:
            raise ValueError(
                f"a prompt has {embeddings.shape[-2]} tokens, but the model takes at most "
                f"{self.context_length}; use fewer context tokens or words"
            )
        learning = torch.is_grad_enabled() and embeddings.requires_grad
        run = compiled(self.device.type) if self.compile_text and learning else encode_embeddings
        return run(self.clip, embeddings, eot, shared)
