"""FrozenOpenCLIP: a model of open_clip behind FrozenCLIP's face."""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clipiqa_plus.clip.backbone import FrozenCLIP
from clipiqa_plus.clip.conventions import Conventions
from clipiqa_plus.clip.open_clip.towers import image_tower
from clipiqa_plus.clip.tokenizers import Tokenizer


class FrozenOpenCLIP(FrozenCLIP):
    """A frozen model of open_clip whose layout is not openai-clip's, in fp32.

    A model with a logit bias (SigLIP) gives P(match) = sigmoid(s f.t + b) for one prompt. Within an
    antonym pair the bias cancels: both logits have it, and their difference, s f.(t0 - t1), is what
    the softmax over the pair depends on.

    Args:
        model: ``CLIP`` or ``CustomTextCLIP`` of open_clip; it is frozen in place.
        name: Name for messages and metadata.
        fingerprint: SHA-256 of the weights.
        architecture: Name of its architecture, which the weights may share with another.
        tokenizer: The tokenizer of the weights.
        conventions: Activation of the text tower, mean and deviation of the pictures.
    """

    def __init__(
        self,
        model: Any,
        name: str,
        fingerprint: str,
        architecture: str,
        tokenizer: Tokenizer,
        conventions: Conventions,
    ) -> None:
        nn.Module.__init__(self)
        self._tokenizer = tokenizer
        self.architecture = architecture
        self._image = image_tower(model.visual)
        # The class CLIP keeps the parts of its text tower itself.
        self.__dict__["text"] = getattr(model, "text", model)
        self._dim = _text_dim(self.text)
        position = self._image.pos_embedding
        self._keep(model, name, fingerprint, conventions, position)
        self.is_vit = position != "none"

    text: Any

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer that belongs to the weights."""
        return self._tokenizer

    @property
    def dim(self) -> int:
        """Length D of image and text features."""
        return self._dim

    @property
    def width(self) -> int:
        """Length W of a token embedding."""
        return cast(int, self.text.token_embedding.weight.shape[1])

    @property
    def context_length(self) -> int:
        """Maximum number of tokens of a prompt."""
        return cast(int, self.text.positional_embedding.shape[0])

    @property
    def least_size(self) -> int:
        """Smallest side in pixels that the image tower accepts."""
        return self._image.least

    @property
    def only_size(self) -> tuple[int, int] | None:
        """The one height and width that the image tower accepts; None for any."""
        return self._image.only

    def describe(self) -> dict[str, Any]:
        """Return what determines the features, the architecture among it."""
        return {**super().describe(), "architecture": self.architecture}

    def _run_image_tower(self, images: Tensor) -> Tensor:
        only = self.only_size
        if only is not None and tuple(images.shape[2:]) != only:
            raise ValueError(
                f"{self.name} takes pictures of {only[1]}x{only[0]} pixels only, not of "
                f"{images.shape[3]}x{images.shape[2]}: resize them, or use another backbone"
            )
        return self._image(self.clip.visual, images)

    def drop_text_tower(self) -> None:
        """Free the text tower; only pictures can be encoded afterwards."""
        self.text.transformer = nn.Identity()
        self.text.token_embedding = nn.Embedding(0, self.width, device=self.device)
        self._has_text = False

    def token_embedding(self, ids: Tensor) -> Tensor:
        """Look up token embeddings: int64 [...] -> float32 [..., W]."""
        self._require_text()
        return cast(Tensor, self.text.token_embedding(ids.to(self.device)))

    def encode_text(self, embeddings: Tensor, eot: Tensor, shared: int = 0) -> Tensor:
        """Encode prompts given as token embeddings; only these receive gradients.

        Without a causal mask every position sees the padding too: the prompts then have the full
        length that the tokenizer pads them to.

        Args:
            embeddings: float32 [N, L, W] or [M, N, L, W], without positional embedding.
            eot: int64 [N], position of the text feature in each prompt.
            shared: Length of the common prefix; not used, it only saves time in openai-clip's.

        Returns:
            Unit features, float32 [N, D] or [M, N, D].

        Raises:
            ValueError: If a prompt is too long, or too short for a tower without a causal mask.
        """
        self._require_text()
        text, length = self.text, embeddings.shape[-2]
        if length > self.context_length or (self.tokenizer.padded and length < self.context_length):
            raise ValueError(
                f"prompts of {length} tokens; {self.name} takes "
                f"{'exactly' if self.tokenizer.padded else 'at most'} {self.context_length}"
            )
        x = embeddings + text.positional_embedding[:length]
        x = x.flatten(0, -3)  # [M N, L, W]
        mask = None if text.attn_mask is None else text.attn_mask[:length, :length]
        x = text.ln_final(text.transformer(x, attn_mask=mask))
        ends = eot.to(x.device).expand(embeddings.shape[:-2]).reshape(-1)
        x = x[torch.arange(len(x), device=x.device), ends]
        projection = text.text_projection
        if projection is not None:
            x = projection(x) if isinstance(projection, nn.Linear) else x @ projection
        return F.normalize(x, dim=-1).reshape(*embeddings.shape[:-2], -1)


def _text_dim(text: Any) -> int:
    projection = text.text_projection
    if projection is None:
        return cast(int, text.ln_final.weight.shape[0])
    return cast(int, getattr(projection, "out_features", None) or projection.shape[1])
