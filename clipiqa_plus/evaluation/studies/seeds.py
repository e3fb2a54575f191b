"""Effect of the seed: the spread of SRCC over seeds, and the gain of an ensemble of them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import torch

from clipiqa_plus.evaluation.studies.inputs import StudyInputs
from clipiqa_plus.evaluation.studies.saved import StudyFits
from clipiqa_plus.metrics.conformal import interval_facts
from clipiqa_plus.prompts.files import save_prompts
from clipiqa_plus.training.fits import Fit, Fitted
from clipiqa_plus.training.run_folder import data_facts


def study_seeds(
    inputs: StudyInputs, seeds: int, bags: bool = False, saved: StudyFits | None = None
) -> tuple[pd.DataFrame, list[Fitted]]:
    """Fit the training part from several seeds.

    Args:
        inputs: Inputs of the study.
        seeds: Number of seeds.
        bags: Train each on a bootstrap bag of the training part.
        saved: Keeps each fit as it ends, and holds those of a study that was stopped.

    Returns:
        One row per seed: ``seeds`` (number of seeds so far), ``SRCC`` of this seed alone, and
        ``ensemble``, SRCC of the mean score of all seeds so far; and the fits in order.

    Raises:
        ValueError: If there are fewer than 2 seeds.
    """
    if seeds < 2:
        raise ValueError(f"{seeds} seeds; a spread needs at least 2")
    found = {seed: fit for seed in range(seeds) if saved and (fit := saved.get(seed))}
    left = [seed for seed in range(seeds) if seed not in found]
    fits = []
    for seed in left:
        rows = inputs.train
        if bags:
            drawn = torch.Generator().manual_seed(seed)
            rows = rows[torch.randint(len(rows), (len(rows),), generator=drawn)]
        fits.append(Fit(inputs.prompts(seed=seed).ctx.detach(), rows, inputs.val))
    for number, fit in inputs.fit(inputs.prompts(), fits):
        found[left[number]] = fit
        if saved:
            saved.add(left[number], fit)
    fitted = [found[seed].to(inputs.clip.device) for seed in range(seeds)]
    scores = torch.stack([inputs.score(fit.text, inputs.test) for fit in fitted])  # [M, N, T]
    rows_of_table = []
    for seed in range(seeds):
        together = scores[: seed + 1].mean(dim=0)
        alone = inputs.srcc(scores[seed], inputs.test)
        rows_of_table.append((seed + 1, alone, inputs.srcc(together, inputs.test)))
    return pd.DataFrame(rows_of_table, columns=["seeds", "SRCC", "ensemble"]), fitted


def save_ensemble(path: Path, inputs: StudyInputs, fitted: list[Fitted]) -> Path:
    """Write all contexts into one prompt file, with intervals from the validation part."""
    prompts = fitted[0].prompts(inputs.prompts())
    prompts.set_members(torch.stack([fit.ctx for fit in fitted]))
    each = [inputs.score(fit.text, inputs.val) for fit in fitted]
    scores, mos = torch.stack(each).mean(dim=0).cpu(), inputs.mos[inputs.val].cpu()
    data = inputs.data
    return save_prompts(
        path,
        prompts,
        inputs.clip,
        reduction="mean" if inputs.mean else "none",
        intervals=interval_facts(scores, mos, data.mos_range, data.higher_is_better),
        **data_facts(data),
    )


def sentence(table: pd.DataFrame) -> str:
    """Return a sentence on the spread over seeds and the gain of their ensemble."""
    mean, std = table["SRCC"].mean(), table["SRCC"].std()
    last = table["ensemble"].iloc[-1]
    return (
        f"Over {len(table)} seeds SRCC is {mean:.3f} with a standard deviation of {std:.4f}; the "
        f"ensemble of all has {last:.3f}, {last - mean:+.4f} over the average seed."
    )
