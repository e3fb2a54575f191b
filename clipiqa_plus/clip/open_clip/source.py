"""Where a backbone of open_clip comes from: configuration, weights, and what they record."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from clipiqa_plus.clip.conventions import CONFIG, Activation, BackboneSpec

PREFIX = "open_clip:"

_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
"""Names of the weights in open_clip's repositories, the preferred one first."""


@dataclass(frozen=True)
class Source:
    """A model of open_clip before its weights are read.

    Attributes:
        name: As the user gave it, with the prefix.
        config: The ``model_cfg`` of open_clip: sizes and layout of both towers.
        path: The weights file.
        recorded: What is known of activation, mean and deviation, by the place of the record.
    """

    name: str
    config: dict[str, Any]
    path: Path
    recorded: dict[str, dict[str, Any]]


@cache
def import_open_clip() -> ModuleType:
    """Import open_clip.

    Raises:
        ImportError: If it is missing.
    """
    try:
        import open_clip
    except ImportError as error:
        raise ImportError(
            f"a backbone of open_clip needs it ({error}): pip install '.[open-clip]'"
        ) from error
    return open_clip


def find_source(spec: BackboneSpec) -> Source:
    """Find configuration and weights; weights named by a tag are downloaded by open_clip.

    Args:
        spec: ``open_clip:ARCHITECTURE/TAG``; ``open_clip:ARCHITECTURE`` with a weights file; or
            ``open_clip:FOLDER``, a folder with ``open_clip_config.json`` and weights, as a
            repository on the Hugging Face Hub has them.

    Raises:
        ValueError: If architecture or tag are unknown, or no weights are named.
        FileNotFoundError: If a file is missing or cannot be downloaded.
        ImportError: If open_clip is missing.
    """
    identifier = spec.name.removeprefix(PREFIX)
    if (folder := Path(identifier).expanduser()).is_dir():
        return _from_folder(spec, folder)
    library = import_open_clip()
    architecture, _, tag = identifier.partition("/")
    config = library.get_model_config(architecture)
    if config is None:
        raise _unknown(library, architecture)
    if tag and spec.weights:
        raise ValueError(f"{spec.name}: both a tag and the weights file {spec.weights}; give one")
    if tag:
        return _from_tag(spec, config, architecture, tag)
    if spec.weights is None:
        tags = ", ".join(library.list_pretrained_tags_by_model(architecture)) or "none is published"
        raise ValueError(
            f"{spec.name}: whose weights? Name a tag, {PREFIX}{architecture}/TAG ({tags}), or "
            "a file, --weights FILE"
        )
    path = _existing(Path(spec.weights).expanduser())
    recorded = {f"the architecture {architecture}": {"activation": activation_of(config)}}
    beside = path.with_name(CONFIG)
    if beside.is_file():
        recorded[CONFIG] = _facts(*read_config(beside))
    return Source(spec.name, config, path, recorded)


def _from_folder(spec: BackboneSpec, folder: Path) -> Source:
    model, preprocess = read_config(_existing(folder / CONFIG))
    if spec.weights:
        path = _existing(Path(spec.weights).expanduser())
    else:
        named = [folder / name for name in _FILES if (folder / name).is_file()]
        if not named:
            raise FileNotFoundError(
                f"{folder}: holds no {' or '.join(_FILES)}; name the file, --weights FILE"
            )
        path = named[0]
    return Source(spec.name, model, path, {CONFIG: _facts(model, preprocess)})


def _from_tag(spec: BackboneSpec, config: dict[str, Any], architecture: str, tag: str) -> Source:
    library = import_open_clip()
    published: dict[str, Any] = library.get_pretrained_cfg(architecture, tag)
    if not published:
        tags = ", ".join(library.list_pretrained_tags_by_model(architecture)) or "none"
        raise ValueError(f"{spec.name}: no tag {tag!r} of {architecture}; there are {tags}")
    # The tag's weights decide: RN50 is published with QuickGELU, its configuration has GELU.
    config["quick_gelu"] = bool(published.get("quick_gelu", False))
    where = published.get("hf_hub") or published.get("url")
    try:
        path = Path(library.download_pretrained(published))
    except Exception as error:  # of the Hub's client, of urllib, and of open_clip itself
        reason = " ".join(str(error).split())[:300]
        raise FileNotFoundError(
            f"{spec.name}: its weights could not be downloaded from {where} ({reason}). Offline, "
            f"give the file: --backbone {PREFIX}{architecture} --weights FILE"
        ) from error
    facts = {"activation": activation_of(config), "mean": published["mean"]}
    return Source(spec.name, config, path, {f"the tag {tag}": facts | {"std": published["std"]}})


def read_config(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the sections ``model_cfg`` and ``preprocess_cfg`` of a configuration file.

    Raises:
        ValueError: If it is damaged.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        model = content["model_cfg"]
        assert isinstance(model["vision_cfg"], dict)
        assert isinstance(model["text_cfg"], dict)
        return model, dict(content.get("preprocess_cfg") or {})
    except (ValueError, KeyError, TypeError, AssertionError) as error:
        raise ValueError(f"{path} is damaged ({error!r}); download it again") from error


def activation_of(config: Mapping[str, Any]) -> Activation:
    """Return the activation of the text tower; timm's image towers have their own."""
    if config.get("quick_gelu"):
        return "quickgelu"
    tanh = (config["text_cfg"].get("act_kwargs") or {}).get("approximate") == "tanh"
    return "gelu_tanh" if tanh else "gelu"


def _facts(model: Mapping[str, Any], preprocess: Mapping[str, Any]) -> dict[str, Any]:
    known = {key: preprocess[key] for key in ("mean", "std") if key in preprocess}
    return {"activation": activation_of(model), **known}


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    return path


def _unknown(library: ModuleType, architecture: str) -> ValueError:
    names = library.list_models()
    near = difflib.get_close_matches(architecture, names, n=3) or names
    listed = ", ".join(near[:9])
    return ValueError(
        f"{architecture!r} is no architecture of open_clip {library.__version__} and no folder. "
        f"There are, among others: {listed}"
    )
