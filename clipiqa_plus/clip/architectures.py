"""The sizes of a CLIP, and openai-clip's model class built from them."""

import difflib
import functools
import warnings
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from clipiqa_plus.clip.conventions import Activation

if TYPE_CHECKING:
    from clip.model import CLIP


@dataclass(frozen=True)
class Architecture:
    """The sizes of a CLIP: the constructor arguments of `clip.model.CLIP`.

    Attributes:
        embed_dim: Width D of the image and text features.
        image_resolution: Side in pixels of the square image that fits the positional embedding.
        vision_layers: Blocks per stage of the four stages (ResNet), or number of layers (ViT).
        vision_width: Channels of the first stage (ResNet), or token width (ViT, at least 64).
        vision_patch_size: Side of a patch in pixels (ViT); None for a ResNet.
        transformer_width: Token width W of the text encoder.
        transformer_heads: Attention heads of the text encoder.
        transformer_layers: Layers of the text encoder.
        context_length: Maximum number of tokens of a text.
        vocab_size: Number of tokens in the vocabulary.
    """

    embed_dim: int
    image_resolution: int
    vision_layers: tuple[int, int, int, int] | int
    vision_width: int
    vision_patch_size: int | None
    transformer_width: int
    transformer_heads: int
    transformer_layers: int = 12
    context_length: int = 77
    vocab_size: int = 49408


ARCHITECTURES: dict[str, Architecture] = {
    "RN50": Architecture(1024, 224, (3, 4, 6, 3), 64, None, 512, 8),
    "RN101": Architecture(512, 224, (3, 4, 23, 3), 64, None, 512, 8),
    "RN50x4": Architecture(640, 288, (4, 6, 10, 6), 80, None, 640, 10),
    "RN50x16": Architecture(768, 384, (6, 8, 18, 8), 96, None, 768, 12),
    "RN50x64": Architecture(1024, 448, (3, 15, 36, 10), 128, None, 1024, 16),
    "ViT-B/32": Architecture(512, 224, 12, 768, 32, 512, 8),
    "ViT-B/16": Architecture(512, 224, 12, 768, 16, 512, 8),
    "ViT-L/14": Architecture(768, 224, 24, 1024, 14, 768, 12),
    "ViT-L/14@336px": Architecture(768, 336, 24, 1024, 14, 768, 12),
}
"""The nine CLIP models published by OpenAI."""

# Wider ones of others have heads of 80, 88 or 104 channels instead of 64.
_WIDEST_VIT = 1024


@functools.cache
def import_clip() -> ModuleType:
    """Import openai-clip without the deprecation warning of the pkg_resources it uses.

    Returns:
        The package `clip`, with `clip.clip` and `clip.model` imported.

    Raises:
        ImportError: It is not installed, or the installed setuptools is too new for it.
    """
    with warnings.catch_warnings():
        # A DeprecationWarning or a UserWarning, depending on the version of setuptools.
        warnings.filterwarnings("ignore", message="(?s).*pkg_resources")
        try:
            import clip.clip
            import clip.model
        except ImportError as error:
            raise ImportError(
                f"openai-clip cannot be imported ({error}). It needs a setuptools that still "
                "has pkg_resources: pip install openai-clip==1.0.1 'setuptools>=77.0.3,<82'"
            ) from error
    return clip


def architecture_of(state_dict: Mapping[str, Tensor]) -> Architecture:
    """Derive the sizes of a CLIP from its weights.

    The number of heads does not show in them: it is one per 64 channels, as in OpenAI's models.

    Args:
        state_dict: Tensors by openai-clip's keys.

    Raises:
        ValueError: Keys that every CLIP has are missing.
    """
    vit = "visual.proj" in state_dict
    grid_key = f"visual.{'' if vit else 'attnpool.'}positional_embedding"
    needed = ["visual.conv1.weight", grid_key, "token_embedding.weight", "positional_embedding"]
    needed += ["ln_final.weight", "text_projection"]
    if missing := [key for key in needed if key not in state_dict]:
        found = ", ".join(list(state_dict)[:3]) or "none"
        raise ValueError(
            f"holds no CLIP in openai-clip's key layout: {_listed(missing)} missing, "
            f"its first keys are {found}"
        )
    shapes = {key: tuple(state_dict[key].shape) for key in needed}
    grid = round((shapes[grid_key][0] - 1) ** 0.5)  # one extra row: the class or mean token
    vision: dict[str, Any]
    if vit:
        width, _, patch, _ = shapes["visual.conv1.weight"]
        if width > _WIDEST_VIT:
            raise ValueError(
                f"holds a ViT of width {width}, whose number of heads does not show: load it by "
                "its name in open_clip, open_clip:ARCHITECTURE"
            )
        vision = {
            "image_resolution": grid * patch,
            "vision_layers": _count(state_dict, "visual.transformer.resblocks."),
            "vision_width": width,
            "vision_patch_size": patch,
        }
    else:
        vision = {
            "image_resolution": grid * 32,  # the stride of the ResNets
            "vision_layers": tuple(_count(state_dict, f"visual.layer{i}.") for i in (1, 2, 3, 4)),
            "vision_width": 2 * shapes["visual.conv1.weight"][0],  # the stem starts at half of it
            "vision_patch_size": None,
        }
    text_width = shapes["ln_final.weight"][0]
    return Architecture(
        embed_dim=shapes["text_projection"][1],
        transformer_width=text_width,
        transformer_heads=max(1, text_width // 64),
        transformer_layers=_count(state_dict, "transformer.resblocks."),
        context_length=shapes["positional_embedding"][0],
        vocab_size=shapes["token_embedding.weight"][0],
        **vision,
    )


def activation_of(model: "CLIP") -> Activation:
    """Return the activation of a model's transformers."""
    gelu = model.transformer.resblocks[0].mlp.gelu
    if not isinstance(gelu, nn.GELU):
        return "quickgelu"
    return "gelu_tanh" if gelu.approximate == "tanh" else "gelu"


def set_activation(model: "CLIP", activation: Activation) -> None:
    """Give the transformers of a model an activation, in place; openai-clip's own is QuickGELU."""
    quick = import_clip().model.QuickGELU
    made = {"quickgelu": quick, "gelu": nn.GELU, "gelu_tanh": partial(nn.GELU, "tanh")}
    for module in model.modules():
        if isinstance(getattr(module, "gelu", None), nn.GELU | quick):
            module.gelu = made[activation]()


def empty_clip(state_dict: Mapping[str, Tensor]) -> "CLIP":
    """Build the model for these weights on the meta device: shapes without memory.

    Args:
        state_dict: Tensors by openai-clip's keys.

    Raises:
        ValueError: The tensors are not those of one CLIP: a key is missing or unknown, or a tensor
            has another shape or holds integers.
    """
    architecture = architecture_of(state_dict)
    try:
        with torch.device("meta"):
            model: CLIP = import_clip().model.CLIP(**asdict(architecture))
    except (AssertionError, ValueError, ZeroDivisionError) as error:
        raise ValueError(f"has sizes that openai-clip cannot build: {architecture}") from error
    # BatchNorm's step counters have no effect here, and older files lack them.
    expected = {k: v for k, v in model.state_dict().items() if not k.endswith("_batches_tracked")}
    given = {k: v for k, v in state_dict.items() if not k.endswith("_batches_tracked")}
    shared = expected.keys() & given.keys()
    faults = {
        "missing": [k for k in expected if k not in shared],
        "unknown": [k for k in given if k not in shared],
        "of another shape": [
            k for k in expected if k in shared and given[k].shape != expected[k].shape
        ],
        "not floating-point": [
            k for k in expected if k in shared and not given[k].is_floating_point()
        ],
    }
    if found := "; ".join(f"{_listed(keys)} {fault}" for fault, keys in faults.items() if keys):
        raise ValueError(f"does not fit openai-clip's model: {found}")
    return model


def random_clip(name_or_architecture: str | Architecture, seed: int = 0) -> "CLIP":
    """Build a CLIP with random weights, for tests and timings: float32, eval, without gradients.

    Weights that openai-clip initialises to zero, one or small values (norms, attention biases, the
    positional embedding of the image tower) are random too. Every part of the model then affects
    the features, and the features of different pictures or texts differ.

    Args:
        name_or_architecture: One of `ARCHITECTURES`, or other sizes.
        seed: The same seed gives the same weights; the global random state is not changed.

    Raises:
        ValueError: Unknown name.
    """
    architecture = name_or_architecture
    if isinstance(architecture, str):
        if architecture not in ARCHITECTURES:
            raise unknown_name(architecture)
        architecture = ARCHITECTURES[architecture]
    with torch.random.fork_rng(devices=[]), torch.device("cpu"), torch.no_grad():
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed CUDA too
        model: CLIP = import_clip().model.CLIP(**asdict(architecture))
        _liven(model)
    return model.eval().requires_grad_(False)


def unknown_name(name: str) -> ValueError:
    """Return the error for an unknown CLIP name; it lists the known names."""
    close = difflib.get_close_matches(name, ARCHITECTURES, n=1)
    guess = f" Did you mean {close[0]}?" if close else ""
    return ValueError(f"{name!r} is not the name of a CLIP.{guess} Names: {_listed(ARCHITECTURES)}")


def _liven(model: "CLIP") -> None:
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d | nn.LayerNorm):
            module.weight.uniform_(0.5, 1.5)
            module.bias.normal_(std=0.1)
        if isinstance(module, nn.MultiheadAttention):
            module.in_proj_bias.normal_(std=0.1)
            module.out_proj.bias.normal_(std=0.1)
    for name, tensor in [*model.visual.named_parameters(), *model.visual.named_buffers()]:
        if name.endswith("running_mean"):
            tensor.normal_(std=0.1)
        if name.endswith("running_var"):  # torch's initial convolutions give about 1/6
            tensor.uniform_(0.1, 0.3)
        if name.startswith("layer") and name.endswith("bn3.weight"):
            tensor.mul_(0.3)  # without this, activations explode with depth
        if name.endswith("positional_embedding"):
            tensor.normal_(std=0.5)


def _count(state_dict: Mapping[str, Tensor], prefix: str) -> int:
    """Count the blocks that are numbered right after `prefix`."""
    return len({k[len(prefix) :].split(".")[0] for k in state_dict if k.startswith(prefix)})


def _listed(keys: Collection[str], limit: int = 9) -> str:
    rest = len(keys) - limit
    return ", ".join(list(keys)[:limit]) + (f" and {rest} more" if rest > 0 else "")
