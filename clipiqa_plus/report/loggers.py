"""An evaluation to Weights & Biases and to TensorBoard, from its saved files.

Both get the same: tables, score against MOS of each source, and the pictures that tuning helped and
hurt most; Weights & Biases also the prompt files, as an artifact.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import vl_convert
from PIL import Image

from clipiqa_plus.evaluation.rank_changes import Moved, moved_pictures
from clipiqa_plus.evaluation.results import (
    CROSS_SET,
    DIFFERENCES,
    RECORD,
    RESULTS,
    SCORES,
    THUMBNAILS,
    load_table,
    markdown,
)
from clipiqa_plus.prompts.files import find_prompts
from clipiqa_plus.report.picture_charts import POINTS, picture_charts, picture_table, records, shown

MOVED_COLUMNS = ("picture", "id", "tuning", "prompts", "against", "MOS", "score", "before", "gain")
"""Of the table of pictures that tuning helped and hurt; ``gain`` as in
:class:`~clipiqa_plus.evaluation.rank_changes.Moved`."""


class _Group(NamedTuple):
    """Scores of one data set and target."""

    name: str
    scores: pd.DataFrame
    sources: list[str]
    jpegs: dict[int, bytes]


def log_evaluation(
    folder: str | Path, wandb_project: str | None = None, tensorboard: str | None = None
) -> None:
    """Log a saved evaluation where it is asked for.

    Args:
        folder: The ``--out`` of ``evaluate.py``.
        wandb_project: Project at Weights & Biases (offline with ``WANDB_MODE=offline``).
        tensorboard: Folder of TensorBoard's event files.

    Raises:
        ImportError: If TensorBoard is asked for and not installed.
    """
    if wandb_project:
        log_wandb(Path(folder), wandb_project)
    if tensorboard:
        log_tensorboard(Path(folder), tensorboard)


def log_wandb(folder: Path, project: str) -> None:
    """Log a saved evaluation as a run of a project at Weights & Biases.

    Args:
        folder: The ``--out`` of ``evaluate.py``.
        project: The project.
    """
    import wandb

    record = json.loads((folder / RECORD).read_text())
    config = {name: record[name] for name in ("command", "versions", "resamples")}
    with wandb.init(
        project=project, name=folder.name, job_type="evaluation", dir=folder, config=config
    ) as run:
        logged: dict[str, Any] = {k: wandb.Table(dataframe=t) for k, t in _tables(folder).items()}
        for group in _groups(folder):
            pictures = _scatters(group).items()
            logged[f"{group.name}/scatter"] = [wandb.Image(p, caption=s) for s, p in pictures]
            table = wandb.Table(columns=["image", *MOVED_COLUMNS])
            for row, jpeg in _moved(group):
                thumbnail = wandb.Image(Image.open(io.BytesIO(jpeg))) if jpeg else None
                table.add_data(thumbnail, *row.values())
            logged[f"{group.name}/moved"] = table
        run.log(logged)
        files = _prompt_files(record)
        if files:
            digests = {name: digest for name, (_, digest) in files.items()}
            artifact = wandb.Artifact("evaluated-prompts", "prompts", metadata=digests)
            for name, (file, _) in files.items():
                path = find_prompts(file)
                artifact.add_file(str(path), f"{name}{path.suffix}")
            run.log_artifact(artifact)


def log_tensorboard(folder: Path, logs: str) -> None:
    """Log a saved evaluation to a folder of TensorBoard's.

    Args:
        folder: The ``--out`` of ``evaluate.py``.
        logs: The folder of event files.

    Raises:
        ImportError: If TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ImportError(
            "--tensorboard needs tensorboard: pip install 'clipiqa-plus[tensorboard]'"
        ) from error
    tables = _tables(folder)
    with SummaryWriter(logs) as writer:
        for name, table in tables.items():
            writer.add_text(name, markdown(table))
        for row in tables[RESULTS].dropna(subset="SRCC").itertuples():
            writer.add_scalar(f"{row.data}/{row.target}/SRCC/{row.prompts}", row.SRCC)
        for group in _groups(folder):
            for source, picture in _scatters(group).items():
                place = f"{group.name}/scatter/{source}"
                writer.add_image(place, np.asarray(picture), dataformats="HWC")
            told = []
            for row, jpeg in _moved(group):
                told.append(row)
                if jpeg:
                    place = f"{group.name}/{row['tuning']}/{row['prompts']}/{row['picture']}"
                    image = np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB"))
                    writer.add_image(place, image, dataformats="HWC")
            if told:
                writer.add_text(f"{group.name}/moved", markdown(pd.DataFrame(told)))


def _tables(folder: Path) -> dict[str, pd.DataFrame]:
    """Those that are saved and not empty."""
    names = (RESULTS, DIFFERENCES, CROSS_SET)
    found = {n: load_table(folder / f"{n}.json") for n in names if (folder / f"{n}.json").is_file()}
    return {name: table for name, table in found.items() if len(table)}


def _groups(folder: Path) -> Iterator[_Group]:
    results = load_table(folder / f"{RESULTS}.json")
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
    charts = picture_charts(group.name, table, group.sources)
    found = {}
    for source, chart in zip(group.sources, charts, strict=False):  # scatter plots come first
        spec: dict[str, Any] = {**chart.spec, "width": 400, "background": "white"}
        spec |= {"title": chart.caption, "datasets": {POINTS: records(shown(table))}}
        png = vl_convert.vegalite_to_png(spec, scale=1.5)
        found[source] = Image.open(io.BytesIO(png)).convert("RGB")
    return found


def _moved(group: _Group) -> Iterator[tuple[dict[str, Any], bytes | None]]:
    """Pictures that each source helped and hurt, with their thumbnails where they were kept."""
    first, *others = group.sources

    def row(tuning: str, other: str, moved: Moved) -> dict[str, Any]:
        values = (moved.image, moved.id, tuning, other, first)
        numbers = (moved.mos, moved.other, moved.first, moved.gain)
        return dict(zip(MOVED_COLUMNS, (*values, *map(float, numbers)), strict=True))

    for other in others:
        helped, hurt = moved_pictures(group.scores, first, other)
        for tuning, pictures in (("helped", helped), ("hurt", hurt)):
            for moved in pictures:
                yield row(tuning, other, moved), group.jpegs.get(moved.id)


def _prompt_files(record: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Prompt files and their SHA-256, by source."""
    sources = [about["sources"] for about in record["data"].values()]
    return {
        name: (facts["file"], facts["file_sha256"])
        for part in sources
        for name, facts in part.items()
        if facts.get("file")
    }
