"""``clipiqa reproduce``: published numbers, computed again."""

from __future__ import annotations

from cyclopts import App

app = App("reproduce")


@app.default
def reproduce(
    name: str = "list",
    /,
    *,
    root: str = "data",
    prompts: str | None = None,
    backbone: str | None = None,
    device: str | None = None,
    out: str | None = None,
) -> int:
    """Compute a published number again and compare.

    Args:
        name: Name of the result; 'list' lists all of them with their sources.
        root: Folder of all benchmarks.
        prompts: File of learned prompts (default: found by name beside the cached weights).
        backbone: Weights file (default: found by name, downloaded if necessary).
        device: Such as cpu, cuda or cuda:1 (default: the GPU if there is one).
        out: Folder of the card (default: runs/reproduce/NAME).

    Returns:
        The exit code: 1 if a number is outside its tolerance.
    """
    from pathlib import Path

    from rich.table import Table

    from clipiqa_plus.evaluation.terminal import print_table

    if name == "list":
        from clipiqa_plus.evaluation.published import PUBLISHED

        view = Table("name", "SRCC", "PLCC", "what, and where it is published", show_lines=True)
        view.columns[0].no_wrap = True
        for entry in PUBLISHED.values():
            numbers = [entry.expected.get(metric) for metric in ("SRCC", "PLCC")]
            shown = ["-" if n is None else f"{n.published:g}" for n in numbers]
            view.add_row(entry.name, *shown, f"{entry.summary}\n{entry.source}")
        print_table(view)
        return 0

    import torch

    from clipiqa_plus.evaluation import reproduction
    from clipiqa_plus.features import FeatureCache

    entry = reproduction.find_published(name)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    result = reproduction.reproduce(entry, root, prompts, backbone, device, FeatureCache())
    view = Table("", "published", "here", "difference", "accepted", "within", title=entry.summary)
    for row in reproduction.comparison(result):
        view.add_row(*row)
    print_table(view)
    card, page = reproduction.save_card(result, Path(out or f"runs/reproduce/{name}"))
    print(f"{name}: {'within' if result.ok else 'OUTSIDE'} the tolerance ({entry.reason})")
    print(f"{result.here['n']:,} pictures; card: {page} and {card}")
    return 0 if result.ok else 1
