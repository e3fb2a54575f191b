"""Log a saved evaluation to Weights & Biases and TensorBoard.

Both get the same: tables, metrics as scalars, score against MOS of each source, and the pictures
that tuning helped and hurt most. Weights & Biases also gets the page, and the prompt files as
artifacts that the run uses.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import vl_convert
from PIL import Image

from clipiqa_plus.evaluation.rank_changes import RankChange, largest_rank_changes
from clipiqa_plus.evaluation.results import (
    CROSS_SET,
    DIFFERENCES,
    RECORD,
    RESULTS,
    SCORES,
    THUMBNAILS,
    VOTES,
    load_table,
    markdown,
)
from clipiqa_plus.prompts.files import find_prompts
from clipiqa_plus.report.charts import records
from clipiqa_plus.report.picture_charts import POINTS, picture_table, scatter_charts, shown
from clipiqa_plus.training.tracking import prompt_artifact, require_wandb, start_wandb

RANK_CHANGE_COLUMNS = (
    "picture",
    "id",
    "tuning",
    "prompts",
    "against",
    "MOS",
    "score",
    "before",
    "gain",
)
"""Columns of the table of pictures that tuning helped and hurt; ``gain`` as in
:class:`~clipiqa_plus.evaluation.rank_changes.RankChange`."""


class _Group(NamedTuple):
    """Scores of one data set and target."""

    name: str
    scores: pd.DataFrame
    sources: list[str]
    jpegs: dict[int, bytes]


def log_evaluation(
    folder: str | Path,
    wandb_project: str | None = None,
    tensorboard: str | None = None,
    page: str | Path | None = None,
) -> None:
    """Log a saved evaluation to the given loggers.

    Args:
        folder: The ``--out`` of ``evaluate.py``.
        wandb_project: Project at Weights & Biases (offline with ``WANDB_MODE=offline``).
        tensorboard: Folder of TensorBoard's event files.
        page: The page of the evaluation, for Weights & Biases.

    Raises:
        ImportError: If TensorBoard is requested but not installed.
        ValueError: If Weights & Biases does not start, as without a key.
    """
    if wandb_project:
        log_wandb(Path(folder), wandb_project, page)
    if tensorboard:
        log_tensorboard(Path(folder), tensorboard)


def require_loggers(wandb_project: str | None, tensorboard: str | None) -> None:
    """Check, before an evaluation, that it can be logged.

    Args:
        wandb_project: Project at Weights & Biases.
        tensorboard: Folder of TensorBoard's event files.

    Raises:
        ImportError: If TensorBoard is requested but not installed.
        ValueError: If Weights & Biases has no API key.
    """
    if wandb_project:
        require_wandb()
    if tensorboard:
        _summary_writer()


def log_wandb(folder: Path, project: str, page: str | Path | None = None) -> None:
    """Log a saved evaluation as a run of a project at Weights & Biases.

    Args:
        folder: The ``--out`` of ``evaluate.py``.
        project: The project.
        page: The page of the evaluation.

    Raises:
        ValueError: If the run does not start.
    """
    import wandb

    record = json.loads((folder / RECORD).read_text())
    files = _prompt_files(record)
    config = {name: record[name] for name in ("command", "versions", "resamples")}
    config["prompts_sha256"] = {n: facts["file_sha256"] for n, facts in files.items()}
    options: dict[str, Any] = {"project": project, "name": folder.name, "job_type": "evaluation"}
    with start_wandb(lambda: wandb.init(**options, dir=str(folder), config=config)) as run:
        logged: dict[str, Any] = {k: wandb.Table(dataframe=t) for k, t in _tables(folder).items()}
        for group in _groups(folder):
            pictures = _scatters(group).items()
            logged[f"{group.name}/scatter"] = [wandb.Image(p, caption=s) for s, p in pictures]
            table = wandb.Table(columns=["image", *RANK_CHANGE_COLUMNS])
            for row, jpeg in _moved(group):
                thumbnail = wandb.Image(Image.open(io.BytesIO(jpeg))) if jpeg else None
                table.add_data(thumbnail, *row.values())
            logged[f"{group.name}/moved"] = table
        if page is not None:
            logged["report"] = wandb.Html(str(page))
        run.log(logged | _scalars(folder))
        for facts in files.values():
            artifact = prompt_artifact(find_prompts(facts["file"]), facts)
            # use_artifact needs a connection; logging the same content again makes no new version.
            _ = run.log_artifact(artifact) if run.offline else run.use_artifact(artifact)


def log_tensorboard(folder: Path, logs: str) -> None:
    """Log a saved evaluation to a TensorBoard folder.

    Args:
        folder: The ``--out`` of ``evaluate.py``.
        logs: The folder of event files.

    Raises:
        ImportError: If TensorBoard is not installed.
    """
    tables = _tables(folder)
    with _summary_writer()(logs) as writer:
        for name, table in tables.items():
            writer.add_text(name, markdown(table))
        for name, value in _scalars(folder).items():
            writer.add_scalar(name, value)
        for group in _groups(folder):
            for source, picture in _scatters(group).items():
                tag = f"{group.name}/scatter/{source}"
                writer.add_image(tag, np.asarray(picture), dataformats="HWC")
            moved = list(_moved(group))
            sheets: dict[str, list[bytes]] = {}
            for row, jpeg in moved:
                if jpeg:
                    sheets.setdefault(f"{row['tuning']}/{row['prompts']}", []).append(jpeg)
            for name, jpegs in sheets.items():
                writer.add_image(f"{group.name}/{name}", _sheet(jpegs), dataformats="HWC")
            if moved:
                rows = pd.DataFrame([row for row, _ in moved])
                writer.add_text(f"{group.name}/moved", markdown(rows))


def _summary_writer() -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ImportError(
            "--tensorboard needs tensorboard: pip install '.[tensorboard]'"
        ) from error
    return SummaryWriter


def _scalars(folder: Path) -> dict[str, float]:
    """Each metric of each source on each data set, by name."""
    tables = _tables(folder)
    rows = tables[RESULTS].to_dict("records") if RESULTS in tables else []
    scalars = {
        f"{row['data']}/{row['target']}/{metric}/{row['prompts']}": row[metric]
        for row in rows
        for metric in ("SRCC", "PLCC", "KRCC", "RMSE")
        if pd.notna(row.get(metric))
    }
    votes = tables[VOTES].to_dict("records") if VOTES in tables else []
    return scalars | {f"{row['data']}/accuracy/{row['prompts']}": row["accuracy"] for row in votes}


def _sheet(jpegs: Sequence[bytes], columns: int = 5, side: int = 160) -> np.ndarray:
    """Thumbnails side by side: uint8 [H, W, 3]."""
    rows = -(-len(jpegs) // columns)
    sheet = Image.new("RGB", (columns * side, rows * side), "white")
    for index, jpeg in enumerate(jpegs):
        picture = Image.open(io.BytesIO(jpeg)).convert("RGB")
        picture.thumbnail((side, side))
        sheet.paste(picture, (index % columns * side, index // columns * side))
    return np.asarray(sheet)


def _tables(folder: Path) -> dict[str, pd.DataFrame]:
    """The saved tables that are not empty."""
    names = (RESULTS, DIFFERENCES, CROSS_SET, VOTES)
    found = {n: load_table(folder / f"{n}.json") for n in names if (folder / f"{n}.json").is_file()}
    return {name: table for name, table in found.items() if len(table)}


def _groups(folder: Path) -> Iterator[_Group]:
    results = _tables(folder).get(RESULTS, pd.DataFrame({"data": []}))
    for name in dict.fromkeys(results["data"]):
        scores = pd.read_parquet(folder / name / SCORES)
        small = pd.read_parquet(folder / name / THUMBNAILS)
        jpegs = dict(zip(small["id"].astype(int), small["jpeg"], strict=True))
        sources = list(dict.fromkeys(results.loc[results["data"] == name, "prompts"]))
        for target, group in scores.groupby("target", sort=False):
            yield _Group(f"{name}/{target}", group.reset_index(drop=True), sources, jpegs)


def _scatters(group: _Group) -> dict[str, Image.Image]:
    """Score against MOS of each source, as the page draws it."""
    table = picture_table(group.scores, group.sources)
    points = records(shown(table))
    found = {}
    charts = scatter_charts(group.name, table, group.sources)
    for source, chart in zip(group.sources, charts, strict=True):
        spec: dict[str, Any] = {**chart.spec, "width": 400, "background": "white"}
        spec |= {"title": f"{source}: score against MOS", "datasets": {POINTS: points}}
        png = vl_convert.vegalite_to_png(spec, scale=1.5)
        found[source] = Image.open(io.BytesIO(png)).convert("RGB")
    return found


def _moved(group: _Group) -> Iterator[tuple[dict[str, Any], bytes | None]]:
    """Pictures that each source helped and hurt, with their thumbnails where available."""
    first, *others = group.sources

    def row(tuning: str, other: str, moved: RankChange) -> dict[str, Any]:
        values = (moved.image, moved.id, tuning, other, first)
        numbers = (moved.mos, moved.other, moved.first, moved.gain)
        return dict(zip(RANK_CHANGE_COLUMNS, (*values, *map(float, numbers)), strict=True))

    for other in others:
        helped, hurt = largest_rank_changes(group.scores, first, other)
        for tuning, pictures in (("helped", helped), ("hurt", hurt)):
            for moved in pictures:
                yield row(tuning, other, moved), group.jpegs.get(moved.id)


def _prompt_files(record: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Prompt files by source: ``file``, ``file_sha256`` and the other recorded facts."""
    data = [*record["data"].values(), *record.get("votes", {}).values()]
    sources = [about["sources"] for about in data]
    return {n: facts for part in sources for n, facts in part.items() if facts.get("file")}
