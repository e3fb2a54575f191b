"""``clipiqa rate``: pictures to rate next, and what people said."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from cyclopts import App

from clipiqa_plus.commands.options import NOTHING, Stated

app = App("rate", help="Choose pictures for people to rate, and read what they said.")


@app.command
def suggest(
    pictures: str,
    /,
    *,
    prompts: Sequence[str],
    kind: Literal["stars", "pairs"] = "stars",
    count: int = 100,
    out: str = "rate.html",
    backbone: str | None = None,
    stated: Stated = NOTHING,
    device: str | None = None,
    overwrite: bool = False,
) -> None:
    """Write a page with the pictures on which prompts disagree most, for people to rate.

    The page opens offline, on a phone too, and saves a CSV for 'clipiqa rate import'. Near
    duplicates are left out.

    Args:
        pictures: Folder of pictures, searched recursively.
        prompts: Prompt files, runs or ensembles to compare, with at least two contexts in all.
        kind: stars: people give one to five; pairs: they choose the better of two.
        count: Largest number of pictures, or of pairs.
        out: HTML file to write.
        backbone: Name or weights file (default: the prompt file's).
        stated: About its weights.
        device: Such as cpu, cuda or cuda:1 (default: the GPU if there is one).
        overwrite: Replace the page if it exists.
    """
    from pathlib import Path

    import torch

    from clipiqa_plus.evaluation import load_sources, rating
    from clipiqa_plus.report import write_rating_page

    if Path(out).exists() and not overwrite:
        raise FileExistsError(f"{out} exists; --overwrite replaces it")
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    sources = load_sources(prompts, stated.about(backbone))
    found = rating.suggest(sources, pictures, kind, count, device)
    page, side = write_rating_page(found, pictures, out)
    what = "pictures" if kind == "stars" else "pairs"
    size = page.stat().st_size / 1e6
    print(
        f"chosen: {len(found.chosen)} {what} of {len(found.names):,} pictures, by "
        f"{len(found.members)} members\npage:   {page}, {size:.1f} MB, at most {side} pixels\n"
        f"next:   clipiqa rate import ratings.csv --page {page} --root {pictures}"
    )


@app.command(name="import")
def import_(
    ratings: Sequence[str],
    /,
    *,
    page: str,
    root: str,
    out: str = "ratings.csv",
    overwrite: bool = False,
) -> None:
    """Check the CSV files saved from a rating page, and write a table that training reads.

    Stars become mos, mos_std, n_ratings and counts per grade; choices become votes.

    Args:
        ratings: The CSV files.
        page: The page that people rated on.
        root: Folder of the pictures, as given to 'clipiqa rate suggest'.
        out: CSV file to write.
        overwrite: Replace the file if it exists.
    """
    from pathlib import Path

    from clipiqa_plus.evaluation import rating
    from clipiqa_plus.training.run_folder import write_text

    path = Path(out)
    if path.exists() and not overwrite:
        raise FileExistsError(f"{out} exists; --overwrite replaces it")
    if str(path.resolve()) in {str(Path(file).resolve()) for file in ratings}:
        raise ValueError(f"{out} is one of the files of ratings; name another with --out")
    kind, table = rating.import_ratings(ratings, page, root)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, table.to_csv(index=False))
    recipe, options = "csv", f"--data.table {out} --data.mos_range '[1, 5]'"
    if kind == "pairs":
        recipe, options = "votes", f"--data.votes {out}"
    print(
        f"{len(table):,} {'pictures' if kind == 'stars' else 'votes'} in {out}\n"
        f"next: clipiqa train --config {recipe} {options} --data.root {root}"
    )
