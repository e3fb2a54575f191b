"""The tables of the page, and their summary in sentences."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from clipiqa_plus.evaluation.comparison import SIGNIFICANT
from clipiqa_plus.evaluation.results import SHARED, printable
from clipiqa_plus.report.picture_charts import number


def summary(results: pd.DataFrame, differences: pd.DataFrame) -> list[tuple[str, str]]:
    """Summarise each comparison in one sentence: did tuning help?

    Args:
        results: Results of an evaluation.
        differences: Its differences, with ``p_holm``.

    Returns:
        Sentences, each with ``better``, ``worse``, or nothing where no difference is significant.
    """
    if differences.empty:
        return [
            (f"On {r.data} ({r.target}), {r.prompts} has SRCC {number(r.SRCC)}.", "")
            for r in results.itertuples()
        ]
    sentences = []
    for row in differences.itertuples():
        where = f"On {row.data} ({row.target}, {row.n} pictures), {row.prompts}"
        verdict = _verdict(row)
        if math.isnan(row.p_holm):
            why = f": {row.note}" if row.note else ""
            sentences.append((f"{where} cannot be compared with {row.against}{why}.", verdict))
            continue
        effect = f"SRCC {row.dSRCC:+.3f}"
        if not math.isnan(row.dSRCC_low):
            effect += f" [{row.dSRCC_low:+.3f}, {row.dSRCC_high:+.3f}]"
        effect += f", p {_p(row.p_holm)} after Holm's correction"
        does = f"ranks {verdict} than" if verdict else "does not differ significantly from"
        sentences.append((f"{where} {does} {row.against}: {effect}.", verdict))
    return sentences


def closing(
    results: pd.DataFrame,
    differences: pd.DataFrame,
    prompts: Mapping[str, str],
    files: str,
) -> list[str]:
    """Return the last three lines of an evaluation: result, files, next command.

    Args:
        results: Results of the evaluation.
        differences: Its differences, with ``p_holm``.
        prompts: Prompt sources by name, as given.
        files: Text for the line on the files.
    """
    sentences = summary(results, differences)
    result = sentences[0][0]
    if len(sentences) > 1:
        kinds = {"better": "better", "worse": "worse", "": "no significant difference"}
        counts = {kinds[k]: [v for _, v in sentences].count(k) for k in kinds}
        whole = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)
        result = f"{len(sentences)} rows" if differences.empty else f"{len(sentences)}: {whole}"
    learned = [name for name, source in prompts.items() if source != "zero_shot"]
    command = "python train.py --config configs/demo.yaml"
    if learned:
        means = results[results["prompts"].isin(learned)].groupby("prompts")["SRCC"].mean()
        best = prompts[str(means.fillna(-1).idxmax())]
        command = f"clipiqa score photos/ --preset clipiqa+ --prompts {shlex.quote(best)}"
        command += " --out scores.csv"
    return [f"result: {result}", f"files: {files}", f"next: {command}"]


def _verdict(row: Any) -> str:
    """``better`` or ``worse`` for a significant row of differences, otherwise empty."""
    if not row.p_holm < SIGNIFICANT:  # also of NaN
        return ""
    return "better" if row.dSRCC > 0 else "worse"


def verdicts(results: pd.DataFrame, differences: pd.DataFrame) -> dict[int, str]:
    """Return marks for significant differences, by row of the results."""
    marks: dict[int, str] = {}
    for row in differences.itertuples():
        if _verdict(row):
            keys = results[["data", "target", "prompts"]]
            at = (keys == [row.data, row.target, row.prompts]).all(axis=1)
            sign = "▲" if row.dSRCC > 0 else "▼"
            marks[int(np.flatnonzero(at)[0])] = f"{sign} {_verdict(row)} than {row.against}"
    return marks


def cells(table: pd.DataFrame, marks: dict[int, str]) -> dict[str, Any]:
    """Return a table for the page.

    Args:
        table: The table.
        marks: See :func:`verdicts`; shown in a column after the prompts.

    Returns:
        ``shared``: values that all rows share, left out of the columns; ``columns``; ``numbers``,
        the numeric columns; ``rows`` of cells with ``text``, ``interval`` and ``key``, the sort
        key.
    """
    sharable = SHARED if "prompts" in table else ()
    shared = [n for n in sharable if n in table and table[n].nunique() == 1 and table[n].iloc[0]]
    texts, values = printable(table).drop(columns=shared, errors="ignore"), table
    if marks:
        marked = [marks.get(at, "") for at in range(len(table))]
        texts.insert(list(texts.columns).index("prompts") + 1, "significant", marked)
        values = table.assign(significant=marked)
    numbers = [n for n in texts.columns if pd.api.types.is_numeric_dtype(values[n])]
    rows = []
    for index, texts_of in texts.iterrows():
        cells = []
        for name, text in texts_of.items():
            key = values.loc[index, name]
            value, _, ends = str(text).partition(" [") if name in numbers else (text, "", "")
            empty = isinstance(key, float) and math.isnan(key)
            cells.append(
                {"text": value, "interval": ends and f"[{ends}", "key": "" if empty else key}
            )
        rows.append(cells)
    return {
        "shared": {name: table[name].iloc[0] for name in shared},
        "columns": list(texts.columns),
        "numbers": numbers,
        "rows": rows,
    }


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"
