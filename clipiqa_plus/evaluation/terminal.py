"""Result tables for the terminal: at any width no name is broken and no number cut.

In a pipe or a log every row is one plain line.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd
from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from clipiqa_plus.evaluation.results import SHARED, TEXT_COLUMNS, printable

PIPE_WIDTH = 10_000
"""Width of a console that is no terminal: no line is wrapped and no column left out."""
_NAMES = ("data", "target", "prompts", "against")
_ONLY_SAVED = (
    *("KRCC_low", "KRCC_high", "RMSE_low", "RMSE_high"),
    *("SRCC_ceiling", "SRCC_ceiling_low", "SRCC_ceiling_high"),
    *("PLCC_ceiling", "PLCC_ceiling_low", "PLCC_ceiling_high", "PLCC_share"),
    *("PLCC_logistic5", "RMSE_logistic5", "F", "p_F"),
    *("dRMSE_logistic5", "dRMSE_logistic5_low", "dRMSE_logistic5_high", "p_residuals"),
)
"""Columns for which 80 characters have no room."""
ALWAYS = {"SRCC", "PLCC", "dSRCC", "dPLCC", "p_SRCC", "p_holm", *TEXT_COLUMNS}
"""Columns that are shown even where they hold no number."""
_CAPTIONS = {
    "RMSE": "[95% bootstrap interval], of KRCC and RMSE in the files; RMSE on MOS in [0, 1]",
    "dSRCC": "[95% interval] and p by sign flips; p holm: p SRCC corrected over all rows",
}


def console() -> Console:
    """Return the console for results: in a pipe, a log or with NO_COLOR without colours."""
    terminal = sys.stdout.isatty()
    plain = not terminal or bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
    width = None if terminal else PIPE_WIDTH
    return Console(color_system=None if plain else "auto", width=width, highlight=not plain)


def print_table(table: Table | FittedTable) -> None:
    """Print a table: fitted to a terminal, and elsewhere with one plain line for each row."""
    screen = console()
    if isinstance(table, Table) and screen.width >= PIPE_WIDTH:
        print(*_plain(table), sep="\n")
        return
    for column in table.columns if isinstance(table, Table) else ():
        column.overflow = "fold"  # a long address goes on in the next line
    screen.print(table)


def _plain(table: Table) -> Iterator[str]:
    """Title, header and rows of a table without its box, a line for each, in columns."""
    columns = [[column.header, *column.cells] for column in table.columns]
    texts = [["; ".join(_text(cell).split("\n")) for cell in column] for column in columns]
    if table.title:
        yield _text(table.title)
    for row in list(zip(*texts, strict=True))[0 if table.show_header else 1 :]:
        cells = zip(row, (max(map(len, column)) for column in texts), strict=True)
        yield "  ".join(text.ljust(width) for text, width in cells).rstrip()


def _text(cell: RenderableType) -> str:
    return cell.plain if isinstance(cell, Text) else Text.from_markup(str(cell)).plain


@dataclass
class FittedTable:
    """A table of text that numbers its long names, and then omits columns from the right.

    Numbers are never cut and names never broken; omitted columns are named below the table.
    """

    cells: pd.DataFrame
    """Text by row; columns of :data:`~clipiqa_plus.evaluation.results.TEXT_COLUMNS` are kept
    at any width."""
    title: str
    notes: Sequence[str] = ()
    """Lines below the table."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if options.max_width >= PIPE_WIDTH:
            yield Text("\n".join(self._lines()))
            return
        cells, names, left_out = self.cells, [str(name) for name in self.cells], list[str]()

        def fits() -> bool:
            whole = options.update(width=PIPE_WIDTH)
            table = self._table(cells[names], left_out, options.max_width)
            return Measurement.get(console, whole, table).maximum <= options.max_width

        if not fits():
            cells, legend = _numbered(cells, options.max_width // 4)
            yield from legend
        while not fits():
            numbers = [name for name in names if name not in TEXT_COLUMNS]
            if len(numbers) < 2:
                break
            names.remove(numbers[-1])
            left_out.insert(0, numbers[-1])
        yield self._table(cells[names], left_out, options.max_width)

    def _table(self, cells: pd.DataFrame, left_out: Sequence[str], width: int) -> Table:
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
        for name in map(str, cells):
            number = name not in TEXT_COLUMNS
            ours = name.startswith("p_") or name.endswith(("_logistic", "_share"))
            table.add_column(
                Text(name.replace("_", "\n") if ours else name),
                justify="right" if number else "left",
                no_wrap=number or name in _NAMES,
                overflow="fold",
                max_width=None if number or name in _NAMES else max(width // 2, 8),
            )
        for row in cells.itertuples(index=False):
            table.add_row(*(Text(str(value).replace(" [", "\n[", 1)) for value in row))
        return table

    def _lines(self) -> Iterator[str]:
        """Title, header, rows and notes, a line for each, in columns."""
        rows = [[str(name) for name in self.cells], *self.cells.astype(str).to_numpy().tolist()]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        yield self.title
        for row in rows:
            cells = zip(map(str, self.cells), row, widths, strict=True)
            text = [v.ljust(w) if name in TEXT_COLUMNS else v.rjust(w) for name, v, w in cells]
            yield "  ".join(text).rstrip()
        yield from self.notes
        yield ""


def _numbered(cells: pd.DataFrame, longest: int) -> tuple[pd.DataFrame, list[Text]]:
    """Replace long names by numbers, in all columns alike, and return the list of them."""
    columns = [name for name in _NAMES if name in cells]
    names = [str(name) for column in columns for name in cells[column]]
    long = list(dict.fromkeys(name for name in names if len(name) > longest))
    number = {name: f"({at})" for at, name in enumerate(long, 1)}
    shown = cells.assign(
        **{column: cells[column].astype(str).replace(number) for column in columns}
    )
    return shown, [Text(f"{number[name]} {name}", overflow="fold") for name in long]


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
    empty = [name for name in part if name not in ALWAYS and part[name].isna().all()]
    shown = part.drop(columns=[*shared, *_ONLY_SAVED, *empty, "note"], errors="ignore")
    return FittedTable(printable(shown), heading, _limits(part))


def _limits(part: pd.DataFrame) -> list[str]:
    """The notes of a table, each prefixed with its source unless all are equal."""
    if "note" not in part:
        return []
    notes = part["note"].tolist()
    if len(set(notes)) == 1:
        return notes[:1]
    return [f"{name}: {note}" for name, note in zip(part["prompts"], notes, strict=True) if note]
