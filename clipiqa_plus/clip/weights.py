"""CLIP weights by model name or file: find, verify and read them, and build the model.

A file may be OpenAI's JIT archive, a state dict saved by `torch.save`, or safetensors; it is
recognised by content, not by suffix. Keys follow openai-clip's layout. open_clip's `CLIP` uses the
same, so its files load too. Tensors do not show the activation, mean and deviation they were
trained with; see `conventions`.

A matrix may be stored as two factors, `KEY.left` [n, r] and `KEY.right` [r, m]; otherwise the
embedding of 49,408 tokens would be most of a small CLIP.
"""

import os
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from clipiqa_plus.clip.architectures import (
    ARCHITECTURES,
    Architecture,
    architecture_of,
    empty_clip,
    import_clip,
    random_clip,
    set_activation,
    unknown_name,
)
from clipiqa_plus.clip.conventions import OPENAI, Activation, recorded_facts
from clipiqa_plus.clip.torchscript import read_torchscript
from clipiqa_plus.data.fetch.download import download, sha256_of

if TYPE_CHECKING:
    from clip.model import CLIP

__all__ = [
    "ARCHITECTURES",
    "Architecture",
    "Weights",
    "architecture_of",
    "build_clip",
    "import_clip",
    "load_weights",
    "random_clip",
]

_ASSETS = Path(__file__).parent / "assets"
EMBEDDED = {name: _ASSETS / f"{name}_clip.safetensors" for name in ("photo", "demo")}
"""The models in the package: trained on photographs, and on drawings only (until 0.3)."""

# openai-clip lists one address and the SHA-256. The fallbacks, in order: the storage behind that
# address, and piq's copy of RN50.
_FRONT, _STORAGE = "openaipublic.azureedge.net", "openaipublic.blob.core.windows.net"
_COPIES = {"RN50": "https://github.com/photosynthesis-team/piq/releases/download/v0.7.1/RN50.pt"}
_SIZES = {"RN50": 255_827_503}  # bytes


class _Mirror(NamedTuple):
    """The same model in another file: safetensors in fp32, converted by the authors of timm."""

    repository: str
    revision: str
    sha256: str
    size: int | None = None


# SHA-256 and revision as several public projects pin them, independently of each other. The other
# five models are on the same Hub too; no hash of theirs was found, so they are not listed.
_MIRRORS = {
    "RN50": _Mirror(
        "timm/resnet50_clip.openai",
        "ec3d92cf63a5f9d591f0d611b736895966c73076",
        "da0baa37fb2211eee5729ab69ed587eb10d48f5b7076ceeed01552fc3d4cb4ee",
        408_291_932,
    ),
    "ViT-B/32": _Mirror(
        "timm/vit_base_patch32_clip_224.openai",
        "a6f597a30f7b82c51704746581f9a4e41421e878",
        "e6d1bd7789aa45192b3bf90570a789b478bae1b74ebcce7eddd908e83a2b7c31",
        605_143_284,
    ),
    "ViT-B/16": _Mirror(
        "timm/vit_base_patch16_clip_224.openai",
        "977e3dd0ec55ab8da155f2fbeb6b5f54948b6e3d",
        "4b8699299b1e8997753c64b052ba32031449d5d853f55a039148560ee02b820f",
        598_516_980,
    ),
    "ViT-L/14": _Mirror(
        "timm/vit_large_patch14_clip_224.openai",
        "18d0535469bb561bf468d76c1d73aa35156c922b",
        "9ce2e8a8ebfff3793d7d375ad6d3c35cb9aebf3de7ace0fc7308accab7cd207e",
    ),
}
_HUB = "https://huggingface.co/{repository}/resolve/{revision}/open_clip_model.safetensors"

# Fine-tuned weights of others that keep OpenAI's activation, mean and deviation, by SHA-256.
_FINE_TUNED = {
    "5818e085ac4b3d297cdd183fd2b1d8a4ddb2242e5bb7fd24b2cd66d7d132bc7e": "QualiCLIP (RN50)",
}

# OpenAI's archives store these numbers among the weights.
_CONSTANTS = frozenset({"input_resolution", "context_length", "vocab_size"})
# QualiCLIP's file holds a CLIP under a prefix, and the text features of its prompts beside it.
_PREFIXES, _TEXT_FEATURES = ("module.", "clip_model."), "prompts_features"


@dataclass(frozen=True, eq=False)
class Weights:
    """The weights of one CLIP, from a verified file.

    Attributes:
        name: One of `ARCHITECTURES` or `EMBEDDED`, or the file's name for any other weights.
        state_dict: Tensors by openai-clip's keys, on the CPU, in the precision of the file.
        sha256: SHA-256 of the file, in hex.
        path: The file.
        metadata: Metadata of a safetensors file; empty for other files.
        recorded: What is known of activation, mean and deviation, by the place of the record; see
            :meth:`~clipiqa_plus.clip.conventions.BackboneSpec.settle`.
    """

    name: str
    state_dict: dict[str, Tensor] = field(repr=False)
    sha256: str
    path: Path
    metadata: dict[str, str] = field(default_factory=dict)
    recorded: dict[str, dict[str, Any]] = field(default_factory=dict)


def load_weights(
    name_or_path: str | os.PathLike[str],
    cache_dir: str | os.PathLike[str] | None = None,
    sha256: str | None = None,
) -> Weights:
    """Find, verify and read the weights of a CLIP.

    A name is looked up in the cache, then in openai-clip's own (`~/.cache/clip`), and otherwise
    downloaded into the cache. A file is used only if it has the SHA-256 that openai-clip states, or
    that is pinned here for the same model in timm's repository. A name never refers to a local
    file: write `./RN50` for a file called RN50.

    Args:
        name_or_path: One of `ARCHITECTURES`, one of `EMBEDDED`, or the path of a weights file.
        cache_dir: The cache folder; by default `$CLIPIQA_CACHE`, else `~/.cache/clipiqa_plus`.
        sha256: The SHA-256 that the file must have, in hex.

    Returns:
        The weights. They have the name of a published CLIP only if the file's SHA-256 matches.

    Raises:
        ValueError: An unknown name, another SHA-256, or a file that holds no CLIP.
        FileNotFoundError: No such file, or no mirror has it.
        PermissionError: The cache folder is not writable.
    """
    name, path, digest = _locate(os.fspath(name_or_path), cache_dir)
    if sha256 is not None and digest != sha256.lower():
        raise ValueError(f"{path} is not the expected file: SHA-256 {digest}, not {sha256}")
    content, metadata = _read(path)
    try:
        state_dict = _tensors(content)
        empty_clip(state_dict)
        _finite(state_dict)
    except ValueError as error:
        raise ValueError(f"{path} {error}") from error
    if name in ARCHITECTURES or name in EMBEDDED:
        recorded = {"the model's name": OPENAI.describe()}
    elif digest in _FINE_TUNED:
        recorded = {f"its SHA-256, that of {_FINE_TUNED[digest]}": OPENAI.describe()}
    else:
        recorded = recorded_facts(path, metadata, architecture_of(state_dict))
    return Weights(name, state_dict, digest, path, metadata, recorded)


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a weights file by key, without wrappers and prefixes.

    Raises:
        ValueError: If it is damaged, is no weights file, or holds NaN or infinite weights.
    """
    content, _ = _read(path)
    try:
        return _finite(_tensors(content))
    except ValueError as error:
        raise ValueError(f"{path} {error}") from error


def build_clip(
    weights: Weights | dict[str, Tensor],
    activation: Activation = OPENAI.activation,
    release: bool = False,
) -> "CLIP":
    """Build openai-clip's model from weights: float32, eval, without gradients.

    Args:
        weights: Weights, or their tensors by openai-clip's keys. float32 tensors become the
            parameters of the model as they are, without a copy; others are converted.
        activation: Activation that they were trained with.
        release: Remove each tensor from the weights once it is converted, so that an fp16 file is
            never completely in memory in both formats.

    Raises:
        ValueError: The tensors are not those of one CLIP.
    """
    state_dict = weights.state_dict if isinstance(weights, Weights) else weights
    model = empty_clip(state_dict)
    single = {}
    for key in list(state_dict):
        tensor = state_dict.pop(key) if release else state_dict[key]
        single[key] = tensor.float() if tensor.is_floating_point() else tensor
    model.load_state_dict(single, assign=True)
    # The causal mask is not in the state dict, so it is still on the meta device.
    mask = model.build_attention_mask()
    for block in model.transformer.resblocks:
        block.attn_mask = mask
    set_activation(model, activation)
    return model.eval().requires_grad_(False)


def _locate(name: str, cache_dir: str | os.PathLike[str] | None) -> tuple[str, Path, str]:
    """Return the name, the file and its SHA-256."""
    if embedded := EMBEDDED.get(name):
        if not embedded.is_file():
            raise FileNotFoundError(f"{embedded} is missing: install clipiqa-plus again")
        return name, embedded, sha256_of(embedded)
    if name in ARCHITECTURES:
        return _published_file(name, cache_dir)
    path = Path(name).expanduser()
    if path.is_file():
        digest = sha256_of(path)
        known = path.name in ARCHITECTURES or path.name in EMBEDDED  # not by its content
        return _published_name(digest) or f"./{path.name}" * known or path.name, path, digest
    if path.is_dir():
        raise ValueError(f"{path} is a folder: give the path of the weights file in it")
    if path.suffix or path.is_absolute():
        raise FileNotFoundError(f"{path}: no such weights file")
    raise unknown_name(name)


def _published_name(sha256: str) -> str | None:
    addresses = import_clip().clip._MODELS
    known = {url.split("/")[-2]: name for name, url in addresses.items()}
    known |= {mirror.sha256: name for name, mirror in _MIRRORS.items()}
    return known.get(sha256)


def _published_file(name: str, cache_dir: str | os.PathLike[str] | None) -> tuple[str, Path, str]:
    address: str = import_clip().clip._MODELS[name]
    *_, sha256, filename = address.split("/")
    cache = Path(cache_dir or os.environ.get("CLIPIQA_CACHE") or "~/.cache/clipiqa_plus")
    cached = cache.expanduser() / filename
    mirror = _MIRRORS.get(name)
    mirrored = cached.with_suffix(".timm.safetensors")
    for path in (cached, Path("~/.cache/clip").expanduser() / filename):
        if path.is_file():
            if sha256_of(path) == sha256:
                return name, path, sha256
            warnings.warn(f"{path} is not used: its SHA-256 is not the one of {name}", stacklevel=4)
    if mirror and mirrored.is_file() and sha256_of(mirrored) == mirror.sha256:
        return name, mirrored, mirror.sha256
    urls = [address, address.replace(_FRONT, _STORAGE)]
    urls += [_COPIES[name]] if name in _COPIES else []
    remedy = f"or give the path of the file in place of the name {name}."
    try:
        return name, download(urls, sha256, cached, size=_SIZES.get(name), remedy=remedy), sha256
    except FileNotFoundError as error:
        if mirror is None:
            raise
        url = _HUB.format(**mirror._asdict())
        try:
            found = download([url], mirror.sha256, mirrored, size=mirror.size, remedy=remedy)
        except FileNotFoundError as other:
            raise FileNotFoundError(f"{error}\nNor from its mirror: {other}") from other
        return name, found, mirror.sha256


def _read(path: Path) -> tuple[Any, dict[str, str]]:
    """Return what the file holds, and its metadata."""
    kind = _kind(path)
    try:
        if kind == "safetensors":
            with safe_open(path, "pt") as file:
                return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118
        if kind == "jit":
            return read_torchscript(path), {}
        return torch.load(path, map_location="cpu", weights_only=True), {}
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} is damaged, or holds Python objects beside tensors, which are not loaded: "
            "if you trust it, load it yourself and save only its state dict"
        ) from error
    except (RuntimeError, EOFError, SafetensorError) as error:
        raise ValueError(f"{path} is damaged or truncated ({error}): download it again") from error


def _kind(path: Path) -> str:
    """Return "jit", "torch" or "safetensors", recognised by the content of a file."""
    with path.open("rb") as file:
        head = file.read(64)
    if not head:
        raise ValueError(f"{path} is empty: download it again")
    if head.startswith(b"PK\x03\x04"):
        try:
            with zipfile.ZipFile(path) as archive:
                names = {name.partition("/")[2] for name in archive.namelist()}
        except zipfile.BadZipFile as error:
            raise ValueError(f"{path} is damaged or truncated: download it again") from error
        if "data.pkl" in names:
            return "jit" if "constants.pkl" in names else "torch"
    elif head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 100_000_000:
        return "safetensors"  # the header's length (the format allows 100 MB), then JSON
    elif head.startswith(b"\x80"):  # a pickle: torch.save before version 1.6
        return "torch"
    elif head.lstrip().startswith(b"<"):
        raise ValueError(f"{path} holds a web page instead of weights: download it again")
    raise ValueError(
        f"{path} is not a weights file: it must be OpenAI's archive, a state dict saved by "
        "torch.save, or safetensors"
    )


def _tensors(content: Any) -> dict[str, Tensor]:
    """Return the tensors by key, without wrappers, prefixes and constants."""
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping):
        raise ValueError(f"holds a {type(content).__name__}, not a state dict")
    named = {str(key): value for key, value in content.items() if key != _TEXT_FEATURES}
    for prefix in _PREFIXES:
        named = {key.removeprefix(prefix): value for key, value in named.items()}
    tensors = {key: value for key, value in named.items() if key not in _CONSTANTS}
    if wrong := [key for key, value in tensors.items() if not isinstance(value, Tensor)]:
        raise ValueError(f"holds no state dict: {wrong[0]} is not a tensor")
    for key in [key.removesuffix(".left") for key in tensors if key.endswith(".left")]:
        tensors[key] = _product(key, tensors.pop(f"{key}.left"), tensors.pop(f"{key}.right", None))
    return tensors


def _product(key: str, left: Tensor, right: Tensor | None) -> Tensor:
    if right is None or left.ndim != 2 or right.ndim != 2 or left.shape[1] != right.shape[0]:
        sizes = [tuple(left.shape), None if right is None else tuple(right.shape)]
        raise ValueError(f"holds factors of {key} that do not fit: {sizes[0]} and {sizes[1]}")
    return left.float() @ right.float()


def _finite(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Refuse NaN and infinity."""
    for key, tensor in tensors.items():
        if tensor.is_floating_point() and not _is_finite(tensor):
            raise ValueError(f"holds NaN or infinite weights in {key}")
    return tensors


def _is_finite(tensor: Tensor) -> bool:
    # NaN and infinity show in the extremes; in fp16 this is ten times as fast as isfinite.
    return bool(torch.stack(tensor.aminmax()).isfinite().all())
