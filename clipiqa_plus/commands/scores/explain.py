"""``clipiqa explain``: which preset and size does a table of scores come from?"""

from __future__ import annotations

from pathlib import Path

from cyclopts import App

app = App("explain")


@app.default
def explain(
    table: str,
    /,
    *,
    pictures: str,
    column: str | None = None,
    backbone: str | None = None,
    prompts: list[str] | None = None,
    sizes: list[str] | None = None,
    most: int = 50,
    fetch: bool = False,
    out: str | None = None,
    device: str | None = None,
) -> int:
    """Find out which preset and size a table of scores comes from.

    The pictures are scored again under every preset that is at hand and at several sizes; presets
    that are not at hand are listed.

    Args:
        table: Scores of any program: CSV, JSON lines or Parquet, with names of pictures.
        pictures: Folder of the pictures.
        column: The column of scores (default: the only numeric one, or score).
        backbone: Name or weights file, instead of RN50 in presets that are not bound to a file.
        prompts: Further prompt files to try.
        sizes: Sizes to try (default: native, "short side 224", "224x224 centre", 384, 448, 512).
        most: Largest number of pictures to score, spread over the table.
        fetch: Download the files of published presets that are not at hand.
        out: Also write the comparison to this CSV file.
        device: Such as cpu or cuda (default: the GPU if there is one).

    Returns:
        The exit code: 1 if the scores come from none of the presets that were tried.
    """
    import sys

    from clipiqa_plus.evaluation.results import printable
    from clipiqa_plus.evaluation.terminal import FittedTable, print_table
    from clipiqa_plus.inference.explain import SIZES, read_table
    from clipiqa_plus.inference.explain import explain as compare
    from clipiqa_plus.training.run_folder import write_text

    scores = read_table(Path(table), column)
    found = compare(
        scores,
        Path(pictures),
        backbone=backbone,
        prompts=prompts or (),
        sizes=sizes or tuple(SIZES),
        most=most,
        fetch=fetch,
        device=device,
    )
    note = f"absolute differences of scores over {found.pictures} pictures: their mean, the largest"
    shown = FittedTable(printable(found.table), f"{table} compared", [note])
    print_table(shown)
    for name, reason in found.missing.items():
        print(f"not tried: {name}: {reason}", file=sys.stderr)
    if out is not None:
        write_text(Path(out), found.table.to_csv(index=False))
        print(f"files: {out}")
    print(f"result: {found.sentence()}.")
    return 1 if found.same.empty else 0
