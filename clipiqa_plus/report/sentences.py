"""Results in words: the verdict of a page, each comparison, the last lines of an evaluation."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from markupsafe import Markup

from clipiqa_plus.evaluation.comparison import SIGNIFICANT
from clipiqa_plus.report.charts import number

_NAMED = 4
"""Most sources that the verdict names."""


def headline(results: pd.DataFrame, differences: pd.DataFrame) -> Markup:
    """Return the verdict of an evaluation in one sentence, with the names in bold.

    Args:
        results: Results of an evaluation.
        differences: Its differences, with ``p_holm``.
    """
    groups = list(results.groupby(["data", "target"], sort=False))
    if differences.empty:
        return _alone(groups)
    if len(groups) == 1:
        return _one(str(groups[0][0][0]), results, differences)
    return _several(results, differences)


def _alone(groups: Sequence[Any]) -> Markup:
    """A single source."""
    tables = [table.iloc[0] for _, table in groups]
    name = _bold([tables[0].prompts])
    if len(tables) == 1:
        row = tables[0]
        ends = "" if math.isnan(row.SRCC_low) else f" [{row.SRCC_low:.3f}, {row.SRCC_high:.3f}]"
        text = "{} ranks {} pictures of {} with SRCC {} against MOS."
        return Markup(text).format(name, f"{row.n:,}", _bold([row.data]), number(row.SRCC) + ends)
    srcc = pd.Series([row.SRCC for row in tables])
    values = map(number, (srcc.min(), srcc.max(), srcc.mean()))
    text = "{} has SRCC {} to {} on {}, {} on average."
    low, high, mean = values
    return Markup(text).format(name, low, high, _units(groups), mean)


def _one(data: str, results: pd.DataFrame, differences: pd.DataFrame) -> Markup:
    """Several sources on one data set and target."""
    srcc = {row.prompts: number(row.SRCC) for row in results.itertuples()}
    first = differences["against"].iloc[0]
    if len(differences) == 1:
        (row,) = differences.itertuples()
        named = {"data": _bold([data]), "other": _bold([row.prompts]), "first": _bold([first])}
        kind = "none" if math.isnan(row.p_holm) else verdict_of(row) or "same"
        text = {
            "better": "{other} ranks the pictures of {data} better than {first}: {numbers}",
            "worse": "{other} ranks the pictures of {data} worse than {first}: {numbers}",
            "same": "On {data}, {other} and {first} are not told apart: {numbers}",
            "none": "On {data}, {other} cannot be compared with {first}{why}.",
        }[kind]
        numbers = Markup("SRCC {} against {} <span>({}).</span>").format(
            srcc[row.prompts], srcc[first], _effect(row)
        )
        return Markup(text).format(**named, numbers=numbers, why=f": {row.note}" * bool(row.note))
    phrases: list[Markup] = []
    for kind, rows in _by_kind(differences).items():
        names = _bold([row.prompts for row in rows], [srcc[row.prompts] for row in rows])
        reference = _bold([first], [] if phrases else [srcc[first]])
        one = len(rows) == 1
        text = {
            "better": f"{{}} rank{'s' * one} the pictures better than {{}}",
            "worse": f"{{}} rank{'s' * one} the pictures worse than {{}}",
            "same": f"{{}} {'is' if one else 'are'} not told apart from {{}}",
            "none": "{} cannot be compared with {}",
        }[kind]
        phrases.append(Markup(text).format(names, reference))
    return Markup("On {}, {}.").format(_bold([data]), Markup("; ").join(phrases))


def _several(results: pd.DataFrame, differences: pd.DataFrame) -> Markup:
    """Several sources on several data sets or targets: counts."""
    first = differences["against"].iloc[0]
    means = results.groupby("prompts")["SRCC"].mean().fillna(-1)
    others = sorted(differences["prompts"].unique(), key=lambda name: -means[name])
    groups = list(results.groupby(["data", "target"], sort=False))
    same: dict[tuple[tuple[str, int], ...], list[str]] = {}  # sources with the same counts
    for other in others[:_NAMED]:
        kinds = _by_kind(differences[differences["prompts"] == other])
        same.setdefault(tuple((k, len(rows)) for k, rows in kinds.items()), []).append(other)
    phrases = [
        Markup("{} {}").format(_bold(names), _counted(counts, len(groups), len(names) == 1))
        for counts, names in same.items()
    ]
    more = len(others) - _NAMED
    rest = f"; {more} more below" if more > 0 else ""
    text = Markup("Compared with {} on {}, {}{}.")
    return text.format(_bold([first]), _units(groups), Markup("; ").join(phrases), rest)


def _counted(counts: Sequence[tuple[str, int]], total: int, one: bool) -> str:
    """On how many data sets a source is better, worse, not told apart, not compared."""
    ranks, is_ = ("ranks", "is") if one else ("rank", "are")
    verbs = {
        "better": f"{ranks} pictures better on",
        "worse": f"{ranks} pictures worse on",
        "same": f"{is_} not told apart on",
        "none": "cannot be compared on",
    }
    if len(counts) == 1 and counts[0][1] == total:
        (kind, _) = counts[0]
        return f"{verbs[kind]} any" if kind == "same" else f"{verbs[kind]} all {total}"
    parts = [f"{verbs[kind]} {count}" for kind, count in counts]
    return " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))


def _by_kind(differences: pd.DataFrame) -> dict[str, list[Any]]:
    """Rows by verdict: better, worse, same, and none where there is no p-value."""
    found: dict[str, list[Any]] = {"better": [], "worse": [], "same": [], "none": []}
    for row in differences.itertuples():
        kind = "none" if math.isnan(row.p_holm) else verdict_of(row) or "same"
        found[kind].append(row)
    return {kind: rows for kind, rows in found.items() if rows}


def _units(groups: Sequence[Any]) -> str:
    """What results are of: data sets, or targets of them."""
    names = [data for (data, _), _ in groups]
    if len(set(names)) == len(names):
        return f"{len(names)} data sets"
    return f"{len(names)} targets of {names[0] if len(set(names)) == 1 else 'all data sets'}"


def _bold(names: Sequence[str], numbers: Sequence[str] = ()) -> Markup:
    """Names in bold, joined by commas and "and", each with its number."""
    texts = [
        Markup("<strong>{}</strong>{}").format(name, f" ({numbers[i]})" if i < len(numbers) else "")
        for i, name in enumerate(names)
    ]
    start = Markup(", ").join(texts[:-1])
    return Markup(" and ").join([*([start] if start else []), texts[-1]])


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
        verdict = verdict_of(row)
        if math.isnan(row.p_holm):
            why = f": {row.note}" if row.note else ""
            sentences.append((f"{where} cannot be compared with {row.against}{why}.", verdict))
            continue
        does = f"ranks {verdict} than" if verdict else "is not told apart from"
        effect = f"SRCC {_effect(row)} after Holm's correction"
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
        result = f"{len(sentences)} rows"
        if len(differences):
            counts = differences["verdict"].value_counts()
            whole = ", ".join(f"{count} {word}" for word, count in counts.items())
            result = f"{len(differences)} comparisons: {whole}"
    learned = [name for name, source in prompts.items() if source != "zero_shot"]
    command = "python train.py --config configs/demo.yaml"
    if learned:
        means = results[results["prompts"].isin(learned)].groupby("prompts")["SRCC"].mean()
        best = prompts[str(means.fillna(-1).idxmax())]
        command = f"clipiqa score photos/ --preset clipiqa+ --prompts {shlex.quote(best)}"
        command += " --out scores.csv"
    return [f"result: {result}", f"files: {files}", f"next: {command}"]


def verdict_of(row: Any) -> str:
    """Return ``better`` or ``worse`` for a significant row of differences, otherwise nothing."""
    if not row.p_holm < SIGNIFICANT:  # also of NaN
        return ""
    return "better" if row.dSRCC > 0 else "worse"


def _effect(row: Any) -> str:
    effect = f"{row.dSRCC:+.3f}"
    if not math.isnan(row.dSRCC_low):
        effect += f" [{row.dSRCC_low:+.3f}, {row.dSRCC_high:+.3f}]"
    return f"{effect}, p {'< 0.001' if row.p_holm < 0.001 else f'= {row.p_holm:.3f}'}"
