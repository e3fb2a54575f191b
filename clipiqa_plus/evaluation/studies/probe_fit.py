"""Fit a probe to a recipe's data and write it."""

from __future__ import annotations

from pathlib import Path

from clipiqa_plus.clip.conventions import BackboneSpec
from clipiqa_plus.evaluation.studies.inputs import check_ratings, plain_features
from clipiqa_plus.features.probes import ProbeKind, fit_mlp, fit_ridge
from clipiqa_plus.inference.probes import save_probe
from clipiqa_plus.metrics.conformal import interval_facts
from clipiqa_plus.metrics.functional import plcc, srcc
from clipiqa_plus.training.recipes import data_of, read_recipe
from clipiqa_plus.training.run_folder import data_facts


def fit_probe(
    recipe: str,
    out: str,
    kind: ProbeKind = "ridge",
    backbone: str | BackboneSpec | None = None,
    dir: str | None = None,
    seed: int = 0,
    device: str | None = None,
    licence: str | None = None,
) -> tuple[Path, dict[str, float]]:
    """Fit a probe to the plain pictures of the training part and write it.

    Args:
        recipe: Recipe, or the short name of a benchmark.
        out: The file.
        kind: ``ridge`` or ``mlp``.
        backbone: Name or weights file; None takes the recipe's, or RN50.
        dir: Folder of the features.
        seed: Seed of an MLP.
        device: Device to encode and fit on; None takes the GPU if there is one.
        licence: Licence of the probe.

    Returns:
        The file, and SRCC and PLCC on the validation and test part, as ``val/SRCC``.

    Raises:
        ValueError: If the data are unusable (constant MOS), or an MLP has no validation part.
    """
    content = read_recipe(recipe)
    data = data_of(content, recipe)
    data.setup()
    parts = [part for part in ("train", "val", "test") if len(data.rows(part))]
    if kind == "mlp" and "val" not in parts:
        raise ValueError(
            f"{data.label}: an MLP is stopped on the validation part, and the split has none; "
            "choose ridge, or give a split with a validation part"
        )
    check_ratings(data)
    clip, features = plain_features(content, data, parts, backbone, dir, device)
    mos = {part: data.mos[data.rows(part)].to(clip.device) for part in parts}
    if kind == "ridge":
        probe, strength = fit_ridge(features["train"], mos["train"])
        facts: dict[str, object] = {"strength": strength}
    else:
        probe = fit_mlp(features["train"], mos["train"], features["val"], mos["val"], seed=seed)
        facts = {"seed": seed}
    metrics = {}
    for part in parts[1:]:
        scores = probe(features[part])
        for index, target in enumerate(data.targets):
            suffix = f"_{target}" if len(data.targets) > 1 else ""
            for name, metric in (("SRCC", srcc), ("PLCC", plcc)):
                value = float(metric(scores[:, index], mos[part][:, index]))
                metrics[f"{part}/{name}{suffix}"] = value
    if "val" in parts:
        scale = data.mos_range, data.higher_is_better
        facts["intervals"] = interval_facts(probe(features["val"]), mos["val"], *scale)
    facts |= {"metrics": metrics, **data_facts(data)}
    path = save_probe(out, probe, clip, data.targets, licence, **facts)
    return path, metrics
