"""``clipiqa probe``: regressions on image features, the baseline of learned prompts."""

from __future__ import annotations

from typing import Literal

from cyclopts import App

from clipiqa_plus.commands.options import NOTHING, Stated

app = App("probe", help="Fit a regression on image features, the baseline of learned prompts.")


@app.command
def fit(
    *,
    config: str,
    out: str,
    kind: Literal["ridge", "mlp"] = "ridge",
    backbone: str | None = None,
    stated: Stated = NOTHING,
    dir: str | None = None,
    seed: int = 0,
    device: str | None = None,
    licence: str | None = None,
) -> None:
    """Fit a probe to the training part of a recipe's data, on its cached features.

    Args:
        config: Recipe with a data section, or the short name of a benchmark.
        out: Probe file (.safetensors), accepted by evaluate.py --prompts and clipiqa score.
        kind: A ridge regression with the penalty chosen by leave-one-out, or an MLP with one hidden
            layer and early stopping on the validation part.
        backbone: Name or weights file (default: the recipe's).
        stated: About its weights.
        dir: Folder of the features (default: as in training).
        seed: Seed of the MLP's initial weights.
        device: Where to encode and to fit (default: the GPU if there is one).
        licence: Licence of the probe, such as CC-BY-4.0.
    """
    from clipiqa_plus.evaluation.studies.probe_fit import fit_probe

    tower = stated.about(backbone)
    path, metrics = fit_probe(config, out, kind, tower, dir, seed, device, licence)
    summary = ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())
    print(f"result: {summary or 'no validation or test part'}\nfiles: {path}")
    print(f"next: clipiqa evaluate --prompts zero_shot {path} --data {config}")
