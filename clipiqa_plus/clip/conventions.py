"""What the tensors of a CLIP do not show: its activation, and the mean and deviation of its input.

Weights trained with GELU have the keys and shapes of weights trained with QuickGELU. Computed with
the other activation, or normalised by another mean, they give wrong features without any sign. So
these are facts of a weights file: recorded in it or beside it, known by its SHA-256, or stated by
the user, and never assumed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

if TYPE_CHECKING:
    from clipiqa_plus.clip.architectures import Architecture

Activation = Literal["gelu", "quickgelu", "gelu_tanh"]
"""``gelu``: x Phi(x), exact (Hendrycks and Gimpel, 2016); ``quickgelu``: x sigmoid(1.702 x);
``gelu_tanh``: the same paper's approximation of x Phi(x) by tanh."""

RGB = tuple[float, float, float]

MEAN: RGB = (0.48145466, 0.4578275, 0.40821073)
"""Mean of OpenAI's training pictures, RGB in [0, 1] (openai-clip, clip.py)."""
STD: RGB = (0.26862954, 0.26130258, 0.27577711)
"""Standard deviation of the same."""

CONFIG = "open_clip_config.json"
"""Name of the file beside the weights in which open_clip's repositories record these facts."""


@dataclass(frozen=True)
class Conventions:
    """The facts of a weights file that its tensors do not show.

    Attributes:
        activation: Activation of the transformers. The image tower of a ResNet has none of them,
            but its text tower has.
        mean: Mean of the pictures that the weights were trained on, RGB in [0, 1].
        std: Standard deviation of the same.
    """

    activation: Activation
    mean: RGB = MEAN
    std: RGB = STD

    def describe(self) -> dict[str, Any]:
        """Return the facts as JSON values."""
        return {"activation": self.activation, "mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def recorded(cls, facts: Mapping[str, Any]) -> Conventions:
        """Return the conventions in the metadata of a prompt file, checkpoint or evaluation.

        Files of versions before 0.2 record none: every backbone was computed with OpenAI's.

        Raises:
            ValueError: If they are damaged.
        """
        known = OPENAI.describe() | {k: v for k, v in facts.items() if k in _FACTS and v}
        return cls(**_checked(known, "the metadata"))


OPENAI = Conventions("quickgelu", MEAN, STD)
"""The conventions of all models that OpenAI published."""

_FACTS = tuple(field.name for field in fields(Conventions))


@dataclass(frozen=True)
class BackboneSpec:
    """A backbone, with what is stated about its weights where no file records it.

    Stated facts must agree with recorded ones.
    """

    name: str
    """Name of a CLIP, or path of a weights file."""
    activation: Activation | None = None
    """Activation that the weights were trained with."""
    mean: RGB | None = None
    """Mean of the pictures that they were trained on, RGB in [0, 1]."""
    std: RGB | None = None
    """Standard deviation of the same."""
    weights: str | None = None
    """Weights file of a model of open_clip that is named by its architecture."""

    def __post_init__(self) -> None:
        for key, value in _checked(self._stated(), "the backbone").items():
            object.__setattr__(self, key, value)
        if self.weights is not None and not self.name.startswith("open_clip:"):
            raise ValueError(
                f"weights {self.weights}: {self.name} is no architecture of open_clip; name the "
                "file itself as the backbone"
            )

    def _stated(self) -> dict[str, Any]:
        return {key: value for key in _FACTS if (value := getattr(self, key)) is not None}

    @property
    def section(self) -> str | dict[str, Any]:
        """The backbone as in a recipe: its name alone if nothing is stated."""
        stated = self._stated() | ({} if self.weights is None else {"weights": self.weights})
        plain = {k: list(v) if isinstance(v, tuple) else v for k, v in stated.items()}
        return {"name": self.name, **plain} if plain else self.name

    @classmethod
    def recorded(cls, facts: Mapping[str, Any]) -> BackboneSpec:
        """Return the backbone in the metadata of a prompt file, checkpoint or probe."""
        stated = {key: facts[key] for key in _FACTS if facts.get(key)}
        return cls(str(facts["backbone"]), **stated)

    def settle(self, recorded: Mapping[str, Mapping[str, Any]], path: Path) -> Conventions:
        """Return the conventions of a weights file.

        Args:
            recorded: What is recorded, by the place of the record.
            path: The weights file.

        Raises:
            ValueError: If a fact is missing, or two places contradict each other.
        """
        settled: dict[str, Any] = {}
        source: dict[str, str] = {}
        for place, facts in {"what is stated": self._stated(), **recorded}.items():
            for key, value in _checked(facts, f"{path}: {place}").items():
                if settled.setdefault(key, value) != value:
                    raise ValueError(
                        f"{path}: {key} is {_shown(value)} by {place}, but {_shown(settled[key])} "
                        f"by {source[key]}; use the former"
                    )
                source.setdefault(key, place)
        if missing := [key for key in _FACTS if key not in settled]:
            raise ValueError(_demand(path, missing))
        return Conventions(**settled)


def backbone_spec(given: str | Mapping[str, Any] | BackboneSpec) -> BackboneSpec:
    """Return a backbone given as a name, a path, a section of a recipe, or a specification.

    Raises:
        ValueError: If a section has no name or an unknown key.
    """
    if isinstance(given, BackboneSpec):
        return given
    if isinstance(given, str):
        return BackboneSpec(given)
    known = [field.name for field in fields(BackboneSpec)]
    if "name" not in given or (unknown := [key for key in given if key not in known]):
        wrong = f"unknown {unknown[0]}" if "name" in given else "no name"
        raise ValueError(f"backbone {dict(given)}: {wrong}; it takes {', '.join(known)}")
    return BackboneSpec(**given)


def recorded_facts(
    path: Path, metadata: Mapping[str, str], architecture: Architecture
) -> dict[str, dict[str, Any]]:
    """Return what a weights file and the file beside it record, by place.

    Args:
        path: The weights file.
        metadata: Its safetensors metadata; ``mean`` and ``std`` are lists in JSON.
        architecture: Its sizes.

    Raises:
        ValueError: If the file beside it is damaged or describes another model.
    """
    found = {}
    if own := {key: _decoded(metadata[key]) for key in _FACTS if key in metadata}:
        found["its metadata"] = own
    config = path.with_name(CONFIG)
    if config.is_file():
        found[CONFIG] = _open_clip_facts(config, path, architecture)
    return found


# What a configuration of open_clip may contain for openai-clip's class to compute that model.
_SIZES = {
    "vision_cfg": {
        "image_size": "image_resolution",
        "layers": "vision_layers",
        "width": "vision_width",
        "patch_size": "vision_patch_size",
    },
    "text_cfg": {
        "context_length": "context_length",
        "vocab_size": "vocab_size",
        "width": "transformer_width",
        "heads": "transformer_heads",
        "layers": "transformer_layers",
    },
}
_NEUTRAL = {"head_width": 64, "mlp_ratio": 4.0}


def foreign_keys(model: Mapping[str, Any]) -> list[str]:
    """Return what in open_clip's configuration of a model openai-clip's class does not compute.

    Args:
        model: The section ``model_cfg``.
    """
    found = [key for key in model if key not in ("embed_dim", "quick_gelu", *_SIZES)]
    for name, known in _SIZES.items():
        own = model[name].items()
        found += [f"{name}.{k}" for k, v in own if k not in known and v != _NEUTRAL.get(k)]
    text = model["text_cfg"]
    if {"heads", "width"} <= text.keys() and text["width"] != 64 * text["heads"]:
        found.append("text_cfg.heads")
    return found


def _open_clip_facts(config: Path, path: Path, architecture: Architecture) -> dict[str, Any]:
    try:
        content = json.loads(config.read_text(encoding="utf-8"))
        model, preprocess = content["model_cfg"], content["preprocess_cfg"]
        sections = {name: dict(model[name]) for name in _SIZES}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{config} is damaged ({error!r}); download it again") from error
    if model.get("embed_dim") != architecture.embed_dim:
        raise _other_model(config, path, "embed_dim", model.get("embed_dim"))
    for name, known in _SIZES.items():
        for key, value in sections[name].items():
            stated = value is not None and key in known
            if stated and _plain(value) != getattr(architecture, known[key]):
                raise _other_model(config, path, f"{name}.{key}", value)
    if others := foreign_keys(model):
        raise ValueError(
            f"{path}: {CONFIG} describes a model that openai-clip's class does not compute "
            f"({', '.join(others)}); load it by its name in open_clip: open_clip:ARCHITECTURE"
        )
    facts = {"activation": "quickgelu" if model.get("quick_gelu") else "gelu"}
    return facts | {key: preprocess[key] for key in ("mean", "std") if key in preprocess}


def _other_model(config: Path, path: Path, key: str, value: Any) -> ValueError:
    return ValueError(
        f"{config} describes another model than {path.name}: its {key} is {value}. Put each "
        "weights file in a folder with its own"
    )


def _plain(value: Any) -> Any:
    """A list of stages as in an Architecture; a square size as its side."""
    if not isinstance(value, list):
        return value
    return value[0] if len(value) == 2 and value[0] == value[1] else tuple(value)


def _decoded(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _checked(facts: Mapping[str, Any], place: str) -> dict[str, Any]:
    checked = dict(facts)
    if "activation" in checked and checked["activation"] not in get_args(Activation):
        raise ValueError(
            f"{place} gives activation {checked['activation']!r}; known are "
            f"{', '.join(get_args(Activation))}"
        )
    for key in ("mean", "std"):
        if key in checked:
            try:
                checked[key] = _rgb(checked[key])
            except (TypeError, ValueError):
                raise ValueError(
                    f"{place} gives {key} {checked[key]!r}; expected three numbers, for red, "
                    "green and blue in [0, 1]"
                ) from None
    if "std" in checked and min(checked["std"]) <= 0:
        raise ValueError(f"{place} gives std {_shown(checked['std'])}; expected positive numbers")
    return checked


def _rgb(values: Sequence[float]) -> RGB:
    if isinstance(values, str) or len(values) != 3:
        raise ValueError
    return cast(RGB, tuple(float(value) for value in values))


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _demand(path: Path, missing: Sequence[str]) -> str:
    ways = {
        "activation": "--activation gelu or quickgelu",
        "mean": f"--mean ({_shown(MEAN)} for OpenAI's)",
        "std": f"--std ({_shown(STD)} for OpenAI's)",
    }
    return (
        f"{path}: nothing records {' and '.join(missing)} of these weights, which their tensors do "
        f"not show and scores depend on. Put their {CONFIG} beside them, or state what they were "
        f"trained with: {', '.join(ways[key] for key in missing)}; in a recipe, model.backbone: "
        f"{{name: {path.name}, {', '.join(f'{key}: ...' for key in missing)}}}"
    )
