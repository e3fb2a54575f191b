"""Result tables for the terminal: columns are shown whole or omitted, at any width."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from clipiqa_plus.evaluation.results import SHARED, TEXT_COLUMNS, printable

_ONLY_SAVED = ("KRCC_low", "KRCC_high", "RMSE_low", "RMSE_high")
"""Columns for which 80 characters have no room."""
_CAPTIONS = {
    "RMSE": "[95% bootstrap interval], of KRCC and RMSE in the files; RMSE on MOS in [0, 1]",
    "dSRCC": "[95% interval] and p by sign flips; p holm: p SRCC corrected over all rows",
}


@dataclass
class FittedTable:
    """A table of text that omits columns from the right if the terminal is too narrow.

    Numbers are never cut; omitted columns are named below the table.
    """

    cells: pd.DataFrame
    """Text by row; columns of :data:`~clipiqa_plus.evaluation.results.TEXT_COLUMNS` are kept
    at any width."""
    title: str
    notes: Sequence[str] = ()
    """Lines below the table."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        names = [str(name) for name in self.cells]
        left_out: list[str] = []
        table = self._table(names, left_out, options.max_width)
        while Measurement.get(console, options.update(width=10**4), table).maximum > (
            options.max_width
        ):
            numbers = [name for name in names if name not in TEXT_COLUMNS]
            if len(numbers) < 2:
                break
            names.remove(numbers[-1])
            left_out.insert(0, numbers[-1])
            table = self._table(names, left_out, options.max_width)
        yield table

    def _table(self, names: Sequence[str], left_out: Sequence[str], width: int) -> Table:
        missing = [f"too narrow for {', '.join(left_out)}: see the files"] if left_out else []
        table = Table(
            title=Text(self.title, "table.title"),
            title_justify="left",
            caption=Text("\n".join([*self.notes, *missing]), "table.caption"),
            caption_justify="left",
            box=box.SIMPLE_HEAD,
            collapse_padding=True,
            pad_edge=False,
        )
        for name in names:
            number = name not in TEXT_COLUMNS
            table.add_column(
                Text(name.replace("_", "\n")),
                justify="right" if number else "left",
                no_wrap=number,
                overflow="fold",
                max_width=None if number else max(width // 2, 8),
            )
        for row in self.cells[list(names)].itertuples(index=False):
            table.add_row(*(Text(str(value).replace(" [", "\n[", 1)) for value in row))
        return table


def render(table: pd.DataFrame, title: str = "results") -> Group:
    """Return a table for the terminal: one for each data set and target, readable at 80 columns.

    Values shared by all rows are in the heading, notes below the table.

    Args:
        table: One of :func:`~clipiqa_plus.evaluation.results.named`.
        title: Its title.
    """
    by = [column for column in ("data", "target") if column in table]
    parts = [part for _, part in table.groupby(by, sort=False)] if by else [table]
    captions = [Text(text, "italic") for column, text in _CAPTIONS.items() if column in table]
    return Group(*(_fitted(part, title) for part in parts), *captions)


def _fitted(part: pd.DataFrame, title: str) -> FittedTable:
    shared = [c for c in SHARED if c in part and part[c].nunique() == 1 and part[c].iloc[0]]
    heading = "  ".join([title, *(f"{name}: {part[name].iloc[0]}" for name in shared)])
    shown = printable(part.drop(columns=[*shared, *_ONLY_SAVED, "note"], errors="ignore"))
    return FittedTable(shown, heading, _limits(part))


def _limits(part: pd.DataFrame) -> list[str]:
    """The notes of a table, each prefixed with its source unless all are equal."""
    if "note" not in part:
        return []
    notes = part["note"].tolist()
    if len(set(notes)) == 1:
        return notes[:1]
    return [f"{name}: {note}" for name, note in zip(part["prompts"], notes, strict=True) if note]
