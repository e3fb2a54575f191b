"""Prompts x data sets -> a score per picture -> a table of SRCC, PLCC, KRCC and RMSE.

Every number comes from the table of scores per picture, which is saved beside the results.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from rich.progress import track
from rich.table import Table
from torch import Tensor

from clipiqa_plus.backbone import FrozenCLIP
from clipiqa_plus.data.base import IQADataModule
from clipiqa_plus.metrics import krcc, logistic_mapping, plcc, rmse, srcc
from clipiqa_plus.module import CLIPIQAPlus, PromptConfig, Reduction
from clipiqa_plus.prompt_files import read_prompts

ZERO_SHOT = "zero_shot"
COLUMNS = ("SRCC", "PLCC", "KRCC", "RMSE", "PLCC_logistic", "RMSE_logistic", "n")
"""Of a result: as measured, after the logistic mapping, and the number of pictures."""


def load_sources(
    specs: Sequence[str],
    backbone: str | None = None,
    fallback: str | None = None,
    pos_embedding: bool = False,
    pairs: Sequence[str | list[str]] = ("quality",),
) -> dict[str, CLIPIQAPlus]:
    """Load prompt sources to compare.

    Args:
        specs: Each ``zero_shot`` or the path of a prompt file.
        backbone: Backbone of all sources; None takes the one that each prompt file names, and
            for zero-shot that of the first of them.
        fallback: Backbone of zero-shot if neither is there.
        pos_embedding: For zero-shot without prompt files: keep the positional embedding of a
            ResNet's attention pool.
        pairs: Antonym pairs of zero-shot; one gives one score, several one score for each target.

    Returns:
        The sources by name. Sources of one backbone share it.

    Raises:
        ValueError: If a source is given twice or its backbone is not known.
        FileNotFoundError: If a prompt file does not exist.
    """
    files = {spec: read_prompts(spec)[1] for spec in specs if spec != ZERO_SHOT}
    if len(set(specs)) < len(specs):
        raise ValueError(f"prompt sources {list(specs)} name one twice")
    loaded: dict[tuple[str, bool], FrozenCLIP] = {}

    def clip(name: str, keep: bool) -> FrozenCLIP:
        if (name, keep) not in loaded:
            loaded[name, keep] = FrozenCLIP.from_name(name, keep)
        return loaded[name, keep]

    first = next(iter(files.values()), {})
    sources = {}
    for spec in specs:
        facts = files.get(spec)
        if facts is None:
            name = backbone or first.get("backbone") or fallback
            if name is None:
                raise ValueError("zero-shot needs a backbone: name one, such as RN50")
            keep = bool(first.get("pos_embedding", pos_embedding))
            config = PromptConfig(mode="zero_shot", pairs=list(pairs))
            reduction: Reduction = "mean" if len(pairs) == 1 else "none"
        else:
            name, keep = backbone or facts["backbone"], facts["pos_embedding"]
            config = PromptConfig(file=spec)
            reduction = facts["reduction"]
        sources[spec] = CLIPIQAPlus(clip(name, keep), prompts=config, reduction=reduction).eval()
    return sources


def score(
    sources: Mapping[str, CLIPIQAPlus],
    data: IQADataModule,
    part: str = "test",
    device: str | torch.device = "cpu",
) -> pd.DataFrame:
    """Score the pictures of a part with every source, encoding each picture once per backbone.

    Args:
        sources: The sources by name.
        data: The data module; it is set up if need be.
        part: ``train``, ``val`` or ``test``.
        device: Where to compute.

    Returns:
        One row per picture and target: ``id`` (row of the annotations), ``image``, ``target``,
        ``mos`` (normalised), ``mos_raw``, ``content`` and ``distortion`` where known, and the
        score of each source.

    Raises:
        ValueError: If a source has not one score for each target.
    """
    data.setup()
    for source in sources.values():
        source.to(device)
        source.require_learned()
    collected: dict[str, list[Tensor]] = {name: [] for name in ("id", *sources)}
    loader = data.loader(part)
    title = f"{data.title or data.name}: {part}"
    for batch in track(loader, description=title, total=len(loader), transient=True):
        collected["id"].append(batch["id"])
        features: dict[int, Tensor] = {}
        for name, source in sources.items():
            key = id(source.backbone)
            if key not in features:
                given = batch.get("features")
                features[key] = (
                    source.backbone.encode_image(batch["image"])
                    if given is None
                    else given.to(device)
                )
            with torch.inference_mode():
                scores = source.score_features(features[key])
            if scores.shape[1] != len(data.targets):
                raise ValueError(
                    f"{name}: {scores.shape[1]} scores for targets {', '.join(data.targets)}; "
                    "give one antonym pair for each"
                )
            collected[name].append(scores.double().cpu())
    return _frame(data, {name: torch.cat(parts) for name, parts in collected.items()})


def _frame(data: IQADataModule, columns: Mapping[str, Tensor]) -> pd.DataFrame:
    rows = columns["id"].cpu().numpy()
    table = data.annotations
    frames = []
    for index, target in enumerate(data.targets):
        frame = pd.DataFrame({"id": rows, "image": table["image"].to_numpy()[rows]})
        frame["target"] = target
        frame["mos"] = data.mos[rows, index].double().numpy()
        frame["mos_raw"] = data.mos_raw[rows, index].numpy()
        for known in ("content", "distortion", "level"):
            if known in table:
                frame[known] = table[known].to_numpy()[rows]
        for name, values in columns.items():
            if name != "id":
                frame[name] = values[:, index].numpy()
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def correlations(prediction: np.ndarray, mos: np.ndarray) -> dict[str, float]:
    """Compare scores with MOS.

    Args:
        prediction: Scores, [N].
        mos: Normalised MOS, [N].

    Returns:
        The numbers of :data:`COLUMNS`; NaN where one does not exist (constant scores, too few
        pictures).
    """
    x = torch.as_tensor(prediction, dtype=torch.float64)
    y = torch.as_tensor(mos, dtype=torch.float64)
    found = {"SRCC": srcc(x, y), "PLCC": plcc(x, y), "KRCC": krcc(x, y), "RMSE": rmse(x, y)}
    mapped = logistic_mapping(x, y)
    fitted = bool(mapped.isfinite().all())
    found["PLCC_logistic"] = plcc(mapped, y) if fitted else mapped.new_tensor(float("nan"))
    found["RMSE_logistic"] = rmse(mapped, y) if fitted else mapped.new_tensor(float("nan"))
    return {name: float(value) for name, value in found.items()} | {"n": len(x)}


def compare(scores: pd.DataFrame, sources: Iterable[str]) -> pd.DataFrame:
    """Compute the table of results from scores per picture.

    Args:
        scores: What :func:`score` returned.
        sources: Names of the sources.

    Returns:
        One row per target and source with :data:`COLUMNS`.
    """
    rows = []
    for target, group in scores.groupby("target", sort=False):
        for source in sources:
            found = correlations(group[source].to_numpy(), group["mos"].to_numpy())
            rows.append({"target": target, "prompts": source, **found})
    return pd.DataFrame(rows)


def render(results: pd.DataFrame) -> Table:
    """Return the results as a table for the terminal."""
    table = Table(title="CLIP-IQA: prompts compared", caption="RMSE on MOS normalised to [0, 1]")
    for column in results.columns:
        table.add_column(str(column), justify="right" if column in COLUMNS else "left")
    for _, row in results.iterrows():
        table.add_row(*(f"{v:.4f}" if isinstance(v, float) else str(v) for v in row))
    return table


def save(folder: Path, results: pd.DataFrame, scores: pd.DataFrame) -> None:
    """Write ``results.csv``, ``results.json`` and ``scores.parquet`` to a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    results.to_csv(folder / "results.csv", index=False)
    (folder / "results.json").write_text(json.dumps(results.to_dict("records"), indent=2) + "\n")
    scores.to_parquet(folder / "scores.parquet", index=False)
