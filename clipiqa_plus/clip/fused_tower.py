"""FusedTower: a ResNet's convolutions on a CPU, fused with the operations that follow them.

oneDNN applies ReLU and adds the residual branch while the output of a convolution is still in
cache, and stores weights in the layout that its kernels read. torch's compiler uses both; here they
are called directly, without a compiler and for pictures of any size.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from clip.model import ModifiedResNet

PIXELS = 1024 * 384
"""Maximum number of pixels encoded together: more would be slower and take more memory."""


class FusedTower:
    """A frozen ResNet up to its attention pool, without gradients.

    It uses private operators of torch: check :func:`is_offered` first.

    Args:
        visual: Image tower of openai-clip in fp32 on the CPU, with its BatchNorm folded. It is not
            changed; after the first run a copy of its convolution weights is kept.
    """

    def __init__(self, visual: ModifiedResNet) -> None:
        self.visual = visual
        self._stem = [_Conv(conv) for conv in (visual.conv1, visual.conv2, visual.conv3)]
        layers = (visual.layer1, visual.layer2, visual.layer3, visual.layer4)
        self._blocks = [_Block(block) for layer in layers for block in layer]

    def __reduce__(self) -> tuple[Any, ...]:
        # Weights in oneDNN's layout can be neither copied nor pickled: they are rebuilt.
        return FusedTower, (self.visual,)

    def __call__(self, images: Tensor) -> Tensor:
        """Return the last feature map: float32 [B, 3, H, W], channels last -> [B, C, h, w]."""
        together = max(1, PIXELS // (images.shape[2] * images.shape[3]))
        parts = -(-len(images) // together)
        return torch.cat([self._encode(part) for part in images.tensor_split(parts)])

    def _encode(self, x: Tensor) -> Tensor:
        for conv in self._stem:
            x = conv(x, relu=True)
        x = F.avg_pool2d(x, 2)
        for block in self._blocks:
            x = block(x)
        return x


class _Block:
    """A residual block; it may overwrite its input."""

    def __init__(self, block: Any) -> None:
        self.stride: int = block.stride
        self.conv1, self.conv2, self.conv3 = map(_Conv, (block.conv1, block.conv2, block.conv3))
        self.shortcut = None if block.downsample is None else _Conv(block.downsample[1])

    def __call__(self, x: Tensor) -> Tensor:
        y = self.conv2(self.conv1(x, relu=True), relu=True)
        if self.stride > 1:
            x, y = F.avg_pool2d(x, self.stride), F.avg_pool2d(y, self.stride)
        if self.shortcut is not None:
            x = self.shortcut(x)
        return self.conv3.add_relu_(y, x)


class _Conv:
    """A convolution with its weights in the layout for the last input shape.

    oneDNN would convert weights laid out for another shape in every call, which costs many times
    as much as reordering them once.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        self.conv = conv
        self.geometry = (conv.padding, conv.stride, conv.dilation, conv.groups)
        self._shape: torch.Size | None = None
        self._weight = conv.weight

    def __call__(self, x: Tensor, relu: bool = False) -> Tensor:
        attribute = "relu" if relu else "none"
        return torch.ops.mkldnn._convolution_pointwise(
            x, self._weight_for(x), self.conv.bias, *self.geometry, attribute, [], ""
        )

    def add_relu_(self, x: Tensor, other: Tensor) -> Tensor:
        """Compute relu(conv(x) + other) in place, in ``other``, and return it."""
        operator = torch.ops.mkldnn._convolution_pointwise_.binary
        return operator(
            other, x, self._weight_for(x), self.conv.bias, *self.geometry, "add", 1, "relu", [], ""
        )

    def _weight_for(self, x: Tensor) -> Tensor:
        if x.shape != self._shape:
            self._weight = torch.ops.mkldnn._reorder_convolution_weight(
                self.conv.weight, *self.geometry, x.shape
            )
            self._shape = x.shape
        return self._weight


@lru_cache(maxsize=1)
def is_offered() -> bool:
    """Whether this torch has the operators for this CPU and their results are correct.

    Tested once on a small convolution, since private operators may change between releases.
    """
    if not torch.backends.cpu.get_cpu_capability().startswith("AVX"):
        return False
    ramp = torch.linspace(-1, 1, 8 * 3 * 3 * 3, device="cpu")
    with torch.no_grad(), torch.device("cpu"):
        plain = nn.Conv2d(3, 8, 3, padding=1)
        plain.weight.copy_(ramp.view(8, 3, 3, 3).sin())
        plain.bias.copy_(ramp[:8])  # type: ignore[union-attr]
        plain.to(memory_format=torch.channels_last)
        x = ramp[:192].view(1, 3, 8, 8).cos().contiguous(memory_format=torch.channels_last)
        try:
            once = _Conv(plain)(x, relu=True)
            twice = _Conv(plain).add_relu_(x, once.clone())
        except (AttributeError, NotImplementedError, RuntimeError, TypeError):
            return False
        expected = plain(x).relu()
        pairs = ((once, expected), (twice, (plain(x) + expected).relu()))
        return all(torch.allclose(found, wanted, atol=1e-5) for found, wanted in pairs)
