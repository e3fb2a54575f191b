"""``clipiqa probe``: regressions on image features, the baseline of learned prompts."""

from __future__ import annotations

from typing import Literal

from cyclopts import App

app = App("probe", help="Fit a regression on image features, the baseline of learned prompts.")


@app.command
def fit(
    *,
    config: str,
    out: str,
    kind: Literal["ridge", "mlp"] = "ridge",
    backbone: str | None = None,
    dir: str | None = None,
    seed: int = 0,
    device: str | None = None,
    licence: str | None = None,
) -> None:
    """Fit a probe to the training part of a recipe's data, on its cached features.

    Args:
        config: Recipe with a data section, or the short name of a benchmark.
        out: The probe, a .safetensors: a source for evaluate.py --prompts and clipiqa score.
        kind: A ridge regression, its strength chosen by leave-one-out, or an MLP of one hidden
            layer, stopped on the validation part.
        backbone: Name or weights file (default: the recipe's).
        dir: Folder of the features (default: as in training).
        seed: Of the MLP's first weights.
        device: Where to encode and to fit (default: the GPU if there is one).
        licence: Of the probe, such as CC-BY-4.0.
    """
    from clipiqa_plus.evaluation.studies.probe_fit import fit_probe

    path, metrics = fit_probe(config, out, kind, backbone, dir, seed, device, licence)
    summary = ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())
    print(f"result: {summary or 'no validation or test part'}\nfiles: {path}")
    print(f"next: clipiqa evaluate --prompts zero_shot {path} --data {config}")
