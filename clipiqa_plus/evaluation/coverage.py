"""Coverage: the share of a test part's MOS inside the intervals of a prompt file or probe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import torch

from clipiqa_plus.inference.probes import Source, read_facts, source_file
from clipiqa_plus.metrics.conformal import coverage, half_widths
from clipiqa_plus.prompts.files import find_prompts, is_foreign

LEVEL = 0.9


def measured_coverage(name: str, source: Source, scores: pd.DataFrame) -> dict[str, Any]:
    """Measure the coverage of a source's 90% intervals on MOS normalised to [0, 1].

    Args:
        name: Name of the source, a column of the scores.
        source: The source.
        scores: See :func:`~clipiqa_plus.evaluation.evaluation.score`.

    Returns:
        ``coverage``: by target, the share of pictures (``share``), their number (``n``), the
        half-width (``half_width``) and the number of pictures it was measured on (``measured_on``).
        Empty for a source without intervals.
    """
    file = source_file(source)
    if scores["mos"].isna().any():  # pictures of votes
        return {}
    if file is None or is_foreign(path := find_prompts(file)):
        return {}
    facts = read_facts(path)
    try:
        widths = half_widths(facts, LEVEL, file)
    except ValueError:
        return {}
    found = {}
    for (target, part), width in zip(scores.groupby("target", sort=False), widths, strict=True):
        ours, theirs = (torch.tensor(part[c].to_numpy()) for c in (name, "mos"))
        found[str(target)] = {
            "share": coverage(ours, theirs, width),
            "n": len(part),
            "half_width": width,
            "measured_on": facts["intervals"]["n"],
        }
    return {"coverage": found}


def coverage_lines(record: Mapping[str, Any]) -> list[str]:
    """Return a sentence on the coverage of each source with intervals.

    Args:
        record: Record of an evaluation, see
            :func:`~clipiqa_plus.evaluation.results.start_record`.
    """
    lines = []
    for data, about in record["data"].items():
        low, high = about["mos_range"]
        for source, facts in about["sources"].items():
            for target, row in facts.get("coverage", {}).items():
                lines.append(
                    f"{data} ({target}): the {LEVEL:.0%} intervals of {source}, score +- "
                    f"{row['half_width'] * (high - low):.3g} on the MOS scale, contain "
                    f"{row['share']:.1%} of the MOS of {row['n']:,} pictures"
                )
    return lines
