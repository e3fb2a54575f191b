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
from clipiqa_plus.data.base import IQADataModule, Rows
from clipiqa_plus.features import FeatureCache
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
    cache: FeatureCache | None = None,
) -> pd.DataFrame:
    """Score the pictures of a part with every source, encoding each picture once per backbone.

    Args:
        sources: The sources by name.
        data: The data module; it is set up if need be.
        part: ``train``, ``val`` or ``test``.
        device: Where to compute.
        cache: Where features are kept for the next time; None encodes and forgets.

    Returns:
        One row per picture and target: ``id`` (row of the annotations), ``image``, ``target``,
        ``mos`` (normalised), ``mos_raw``, ``content``, ``distortion`` and ``level`` where known,
        and the score of each source.

    Raises:
        RuntimeError: If a source's context tokens are random.
        ValueError: If a source has not one score for each target, or the part is empty.
    """
    data.setup()
    for source in sources.values():
        source.require_learned()
    rows = data.rows(part)
    features: dict[int, Tensor] = {}
    columns: dict[str, np.ndarray] = {}
    for name, source in sources.items():
        source.to(device)
        key = id(source.backbone)
        if key not in features:
            features[key] = _features(source.backbone, data, part, cache)
        with torch.inference_mode():
            scores = source.score_features(features[key])
        if scores.shape[1] != len(data.targets):
            raise ValueError(
                f"{name}: {scores.shape[1]} scores for targets {', '.join(data.targets)}; "
                "give one antonym pair for each"
            )
        columns[name] = scores.double().cpu().numpy()
    return _frame(data, rows, columns)


def _features(
    clip: FrozenCLIP, data: IQADataModule, part: str, cache: FeatureCache | None
) -> Tensor:
    """Image features of a part's pictures in order: float32 [N, D], on the backbone's device."""
    loader = data.loader(part)
    if cache is not None:
        table = cache.tables(clip, data, [part])[part]
        rows = torch.from_numpy(data.rows(part))
        return table(rows, torch.zeros_like(rows))
    title = f"{data.title or data.name}: {part}"
    shown = track(loader, description=title, total=len(loader), transient=True)
    return torch.cat([clip.encode_image(batch["image"]) for batch in shown])


def _frame(data: IQADataModule, rows: Rows, columns: Mapping[str, np.ndarray]) -> pd.DataFrame:
    table = data.annotations.iloc[rows]
    known = [c for c in ("image", "content", "distortion", "level") if c in table]
    frames = []
    for index, target in enumerate(data.targets):
        frame = table[known].reset_index(drop=True)
        frame.insert(0, "id", rows)
        frame["target"] = target
        frame["mos"] = data.mos[rows, index].double().numpy()
        frame["mos_raw"] = data.mos_raw[rows, index].numpy()
        for name, values in columns.items():
            frame[name] = values[:, index]
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
    x, y = (torch.tensor(values, dtype=torch.float64) for values in (prediction, mos))
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
    """Return the results as a table for the terminal; what all rows share goes into its title."""
    shared = [c for c in ("data", "target") if c in results and results[c].nunique() == 1]
    title = "  ".join(["prompts compared", *(f"{c}: {results[c].iloc[0]}" for c in shared)])
    table = Table(title=title, caption="RMSE on MOS normalised to [0, 1]")
    shown = results.drop(columns=shared)
    for column in shown.columns:
        number = column in COLUMNS
        heading = column.replace("_", "\n")
        table.add_column(heading, justify="right" if number else "left", no_wrap=number)
    for _, row in shown.iterrows():
        table.add_row(*(f"{v:.4f}" if isinstance(v, float) else str(v) for v in row))
    return table


def save(folder: Path, results: pd.DataFrame, scores: pd.DataFrame) -> None:
    """Write ``results.csv``, ``results.json`` and ``scores.parquet`` to a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    results.to_csv(folder / "results.csv", index=False)
    (folder / "results.json").write_text(json.dumps(results.to_dict("records"), indent=2) + "\n")
    scores.to_parquet(folder / "scores.parquet", index=False)
