"""Probes as files and as sources of scores, next to zero-shot and learned prompts."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from clipiqa_plus import __version__
from clipiqa_plus.clip.backbone import FrozenCLIP
from clipiqa_plus.data.fetch.download import sha256_of
from clipiqa_plus.features.probes import Probe
from clipiqa_plus.module import CLIPIQAPlus
from clipiqa_plus.prompts.files import (
    check_backbone,
    decode_facts,
    find_prompts,
    read_prompts,
    write_prompts,
    written_by_torch,
)

PROBE_FORMAT = "clipiqa_plus probe 1"


class ProbeSource(nn.Module):
    """A probe with its backbone; scores pictures like a :class:`CLIPIQAPlus`.

    Args:
        backbone: The backbone whose features the probe was fitted to.
        probe: The probe.
        file: The file that it was read from.
        names: Names of the T scores, as in the data that it was fitted to.
    """

    def __init__(
        self,
        backbone: FrozenCLIP,
        probe: Probe,
        file: str | None = None,
        names: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.probe = probe
        self.file = file
        self.names = list(names) or [f"target {i + 1}" for i in range(probe.targets)]

    def score_features(self, features: Tensor) -> Tensor:
        """Return scores, float32 [B, T] in (0, 1), of unit image features, float32 [B, D]."""
        scores: Tensor = self.probe(features)
        return scores

    def forward(self, images: Tensor | Sequence[Tensor]) -> Tensor:
        """Score pictures, see :meth:`CLIPIQAPlus.forward`."""
        return self.score_features(self.backbone.encode_image(images))

    def require_learned(self) -> None:
        """Do nothing: a probe is always fitted."""


Source = CLIPIQAPlus | ProbeSource
"""A model that scores the image features of a backbone."""


def source_file(source: Source) -> str | None:
    """Return the file that a source was loaded from, as given; None for zero-shot prompts."""
    return source.file if isinstance(source, ProbeSource) else source.config.file


def file_facts(source: Source) -> dict[str, str | None]:
    """Return the file that a source was loaded from, as given, and its SHA-256."""
    file = source_file(source)
    digest = None if file is None else sha256_of(find_prompts(file))
    return {"file": file, "file_sha256": digest}


def scoring_facts(source: Source) -> dict[str, Any]:
    """Return how a source scores: by which antonym pairs or scales, or by which kind of probe."""
    if isinstance(source, ProbeSource):
        return {"probe": source.probe.kind}
    words = {"pairs": [list(prompts) for prompts in source.prompts.pairs]}
    grades = source.prompts.grades
    return words if grades is None else {**words, "grades": list(grades)}


def save_probe(
    path: str | PathLike[str],
    probe: Probe,
    clip: FrozenCLIP,
    names: Sequence[str],
    licence: str | None = None,
    **facts: Any,
) -> Path:
    """Write a probe with all metadata that is needed to use it.

    Args:
        path: File to write; replaced only when complete.
        probe: The probe.
        clip: The backbone whose features it was fitted to.
        names: Names of its T scores.
        licence: Licence of the probe; None if not stated.
        facts: Further metadata to record (data set, split, metrics, ...), JSON values.

    Returns:
        The path.
    """
    described = {
        "format": PROBE_FORMAT,
        **clip.describe(),
        "kind": probe.kind,
        "dim": probe.dim,
        "hidden": probe.hidden,
        "targets": probe.targets,
        "names": list(names),
        "licence": licence,
        "version": __version__,
        **facts,
    }
    tensors = {name: t.detach().float().cpu() for name, t in probe.state_dict().items()}
    return write_prompts(path, tensors, described)


def is_probe(path: str | PathLike[str]) -> bool:
    """Whether a file is a probe that :func:`save_probe` wrote.

    Args:
        path: The file.
    """
    if written_by_torch(path):
        return False
    try:
        with safe_open(path, framework="pt") as file:
            return (file.metadata() or {}).get("format") == PROBE_FORMAT
    except SafetensorError:
        return False


def read_probe(path: str | PathLike[str]) -> tuple[Probe, dict[str, Any]]:
    """Read a probe.

    Args:
        path: A file that :func:`save_probe` wrote.

    Returns:
        The probe and its metadata.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a probe, or damaged.
    """
    path = find_prompts(path)
    if not is_probe(path):
        raise ValueError(f"{path}: not a probe of this package; 'clipiqa probe fit' makes one")
    with safe_open(path, framework="pt") as file:
        facts = decode_facts(file.metadata())
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if broken := [name for name, tensor in tensors.items() if not tensor.isfinite().all()]:
        raise ValueError(f"{path}: {broken[0]} is NaN or infinite; fit the probe again")
    if missing := [key for key in ("backbone", "pos_embedding") if key not in facts]:
        raise ValueError(f"{path}: its metadata are damaged: {missing[0]} is missing")
    try:
        probe = Probe(facts["dim"], facts["targets"], facts["hidden"], facts["kind"])
        probe.load_state_dict(tensors)
    except (KeyError, TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path}: damaged, fit the probe again ({reason})") from error
    return probe.requires_grad_(False).eval(), facts


def load_probe(path: str | PathLike[str], clip: FrozenCLIP) -> ProbeSource:
    """Load a probe on the backbone whose features it was fitted to.

    Args:
        path: A file that :func:`save_probe` wrote.
        clip: The backbone; its weights must be the ones in the file's metadata.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a probe, or belongs to another backbone.
    """
    probe, facts = read_probe(path)
    check_backbone(facts, clip, f"probe {path}")
    return ProbeSource(clip, probe.to(clip.device), str(path), facts.get("names") or ())


def read_facts(path: str | PathLike[str]) -> dict[str, Any]:
    """Return the metadata of a prompt file, a checkpoint or a probe.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is none of these.
    """
    path = find_prompts(path)
    return read_probe(path)[1] if is_probe(path) else read_prompts(path)[1]
