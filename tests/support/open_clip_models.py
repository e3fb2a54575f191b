"""Small models of open_clip's own classes with random weights, as files that a hub would hold."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import open_clip
import timm
import torch
from safetensors.torch import save_file
from timm.models import register_model
from timm.models.eva import Eva
from timm.models.naflexvit import NaFlexVit, NaFlexVitCfg
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer
from torch import nn

WORDS = ["good", "bad", "photo", "sharp", "blurry", "a", "of", "picture", "quality"]

TEXT = {"context_length": 24, "width": 64, "heads": 2, "layers": 2}
SIGLIP_TEXT = {
    **TEXT,
    "vocab_size": 32,
    "hf_tokenizer_name": "timm/not-to-be-had",
    "tokenizer_kwargs": {"clean": "canonicalize"},
    "no_causal_mask": True,
    "proj_bias": True,
    "pool_type": "last",
    "norm_kwargs": {"eps": 1e-6},
    "act_kwargs": {"approximate": "tanh"},
}
"""As in open_clip's configurations of SigLIP2, but for the sizes."""

_SMALL = {"img_size": 64, "patch_size": 16, "embed_dim": 64, "depth": 2, "num_heads": 2}


def _timm_model(kind: type[nn.Module], **fixed: Any) -> Any:
    def make(pretrained: bool = False, **options: Any) -> nn.Module:
        for key in ("pretrained_cfg", "pretrained_cfg_overlay", "cache_dir", "features_only"):
            options.pop(key, None)
        model: Any = kind(**(fixed | options))
        model.default_cfg = {}  # what timm's own builder sets
        return model

    return make


def _named(name: str, make: Any) -> str:
    make.__name__ = name
    make.__module__ = "timm.models.vision_transformer"
    if not timm.is_model(name):
        register_model(make)
    return name


def _naflex(pretrained: bool = False, **options: Any) -> nn.Module:
    for key in ("pretrained_cfg", "pretrained_cfg_overlay", "cache_dir", "features_only"):
        options.pop(key, None)
    cfg = NaFlexVitCfg(
        patch_size=16, embed_dim=64, depth=2, num_heads=2, class_token=False, reg_tokens=0,
        pos_embed_grid_size=(4, 4), global_pool=options.pop("global_pool", "map"),
    )  # fmt: skip
    return NaFlexVit(cfg, **options)


def _timm_vision(name: str, **how: Any) -> dict[str, Any]:
    return {"timm_model_name": name, "timm_model_pretrained": False, "image_size": 64, **how}


def configurations() -> dict[str, dict[str, Any]]:
    """The ``model_cfg`` of each kind of model."""
    siglip = _named("small_siglip", _timm_model(VisionTransformer, **_SMALL, class_token=False))
    eva = _named("small_eva", _timm_model(Eva, **_SMALL, use_rot_pos_emb=True))
    naflex = _named("small_naflex", _naflex)
    own = {"image_size": 64, "layers": 2, "width": 160, "patch_size": 16, "head_width": 80}
    mapped = {"timm_pool": "map", "timm_proj": "none"}
    common = {"embed_dim": 64, "custom_text": True, "init_logit_bias": -10}
    return {
        "siglip2": {
            **common,
            "vision_cfg": _timm_vision(siglip, **mapped),
            "text_cfg": SIGLIP_TEXT,
        },
        "naflex": {**common, "vision_cfg": _timm_vision(naflex, **mapped), "text_cfg": SIGLIP_TEXT},
        "eva": {
            "embed_dim": 48,
            "custom_text": True,
            "vision_cfg": _timm_vision(eva, timm_pool="token", timm_proj="linear"),
            "text_cfg": TEXT,
        },
        "convnext": {
            "embed_dim": 48,
            "vision_cfg": _timm_vision("test_convnext", timm_pool="", timm_proj="linear"),
            "text_cfg": TEXT,
        },
        "wide heads": {"embed_dim": 48, "vision_cfg": own, "text_cfg": TEXT},
    }


def fixed_size() -> dict[str, Any]:
    """The ``model_cfg`` of a Swin transformer, which takes pictures of 64x64 only."""
    sizes = {"patch_size": 4, "embed_dim": 16, "depths": (1, 1), "num_heads": (1, 2)}
    swin = _named("small_swin", _timm_model(SwinTransformer, img_size=64, window_size=4, **sizes))
    vision = _timm_vision(swin, timm_pool="", timm_proj="linear")
    return {"embed_dim": 48, "vision_cfg": vision, "text_cfg": TEXT}


def build(config: dict[str, Any], seed: int = 0) -> Any:
    """open_clip's model with random weights that spread, at a logit scale of 100."""
    config = json.loads(json.dumps(config))
    kind = open_clip.CustomTextCLIP if config.pop("custom_text", False) else open_clip.CLIP
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model = kind(**config).eval()
        for name, tensor in model.named_parameters():
            if tensor.ndim < 2 or "pos" in name:
                tensor.add_(torch.randn_like(tensor) * 0.1)
        model.logit_scale.fill_(math.log(100))
    return model.requires_grad_(False)


def publish(folder: Path, config: dict[str, Any], seed: int = 0) -> Any:
    """Write weights, configuration and tokenizer as open_clip's repositories hold them."""
    model = build(config, seed)
    folder.mkdir(parents=True, exist_ok=True)
    state = {key: value.contiguous() for key, value in model.state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")
    half = [0.5, 0.5, 0.5]
    content = {"model_cfg": config, "preprocess_cfg": {"mean": half, "std": half}}
    (folder / "open_clip_config.json").write_text(json.dumps(content))
    if "hf_tokenizer_name" in config["text_cfg"]:
        write_tokenizer(folder)
    return model


def write_tokenizer(folder: Path) -> None:
    """Write a tokenizer of a few words: padding 0, end 1, unknown 2; no start token."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: i for i, word in enumerate(["<pad>", "<eos>", "<unk>", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <eos>", special_tokens=[("<eos>", 1)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    ).save_pretrained(folder)
