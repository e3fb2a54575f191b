"""Recompute a published number from weights, prompts and pictures, and write a card."""

from __future__ import annotations

import difflib
import hashlib
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import torch

from clipiqa_plus.clip.backbone import FrozenCLIP
from clipiqa_plus.data.base import IQADataModule
from clipiqa_plus.data.check import check
from clipiqa_plus.data.fetch.download import sha256_of
from clipiqa_plus.data.splits import official_split
from clipiqa_plus.evaluation.comparison import correlations
from clipiqa_plus.evaluation.evaluation import score
from clipiqa_plus.evaluation.published import PUBLISHED, Number, Published
from clipiqa_plus.features import FeatureCache
from clipiqa_plus.module import CLIPIQAPlus, PromptConfig
from clipiqa_plus.training.recipes import data_of, find_recipe, read_recipe
from clipiqa_plus.training.run_folder import versions, write_json, write_text

_SOURCE = "scores"
"""Name of the only prompt source."""

_T = TypeVar("_T")


@dataclass(frozen=True)
class Reproduction:
    """Recomputed numbers beside the published ones.

    Attributes:
        published: The entry.
        here: SRCC and PLCC as computed.
        card: Everything that the numbers depend on, JSON values.
        scores: Scores per picture, see :func:`~clipiqa_plus.evaluation.evaluation.score`.
    """

    published: Published
    here: dict[str, float]
    card: dict[str, Any]
    scores: pd.DataFrame

    @property
    def ok(self) -> bool:
        """True if every published number is reproduced within its tolerance."""
        expected = self.published.expected
        return all(number.holds(self.here[metric]) for metric, number in expected.items())


def find_published(name: str) -> Published:
    """Return a published result.

    Raises:
        ValueError: If the name is unknown; the message suggests similar names.
    """
    if name in PUBLISHED:
        return PUBLISHED[name]
    alike = difflib.get_close_matches(name, PUBLISHED, n=3, cutoff=0.4)
    meant = f"; did you mean {' or '.join(alike)}?" if alike else "."
    raise ValueError(
        f"no published result {name!r}{meant} 'clipiqa reproduce list' shows all of them"
    )


def reproduce(
    entry: Published,
    root: str | os.PathLike[str] = "data",
    prompts: str | os.PathLike[str] | None = None,
    backbone: str | None = None,
    device: str | torch.device = "cpu",
    cache: FeatureCache | None = None,
) -> Reproduction:
    """Recompute a published result.

    Args:
        entry: The published result.
        root: Folder that holds the folders of the benchmarks.
        prompts: File of learned prompts; None looks for it by name, see
            :func:`prompts_path`.
        backbone: Weights file, if not found by name; it must hold the same weights.
        device: Where to compute.
        cache: Feature cache; None encodes without saving.

    Raises:
        FileNotFoundError: If weights, prompts or pictures are missing; one message lists all of
            them, each with its remedy.
        ValueError: If the prompts or the weights are not the published ones.
    """
    began = time.monotonic()
    missing: list[str] = []
    folder = Path(root) / entry.data
    problem = check(entry.data, folder, **_checked_options(entry)).problem
    if problem:
        missing.append(f"pictures: {problem}. They belong in {folder} (--root names its parent)")
    file = _gather(missing, lambda: _prompts(entry, prompts))
    clip = _gather(missing, lambda: _backbone(entry, backbone))
    if missing or clip is None:
        listed = "".join(f"\n  {number}. {text}" for number, text in enumerate(missing, start=1))
        raise FileNotFoundError(f"{entry.name} needs what is not here:{listed}")
    config = PromptConfig(mode="zero_shot", pairs=[_pair(pair) for pair in entry.pairs])
    if file is not None:
        config = PromptConfig(file=str(file))
    model = CLIPIQAPlus(clip, prompts=config).eval()
    data = _data(entry, folder)
    scores = score({_SOURCE: model}, data, "test", device, cache)
    here = correlations(scores[_SOURCE], scores["mos"])
    card = {
        **_outcome(entry, here),
        "data": _data_facts(entry, data, scores),
        "backbone": clip.describe(),
        "prompts": {
            "pairs": [list(pair) for pair in model.prompts.pairs],
            "file": None if file is None else str(file),
            "file_sha256": None if file is None else sha256_of(file),
        },
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": str(device),
        "seconds": round(time.monotonic() - began, 1),
        "versions": versions(),
    }
    return Reproduction(entry, here, card, scores)


def prompts_path(entry: Published) -> Path | None:
    """Return the path where an entry's prompt file is expected; None for zero-shot.

    A name alone is one in the folder of the weights: ``$CLIPIQA_CACHE``, else
    ``~/.cache/clipiqa_plus``.
    """
    if entry.prompts is None:
        return None
    if len(Path(entry.prompts.file).parts) > 1:
        return Path(entry.prompts.file)
    folder = Path(os.environ.get("CLIPIQA_CACHE") or "~/.cache/clipiqa_plus").expanduser()
    return folder / entry.prompts.file


def comparison(result: Reproduction) -> list[tuple[str, str, str, str, str, str]]:
    """Return a row for each metric: name, published, here, difference, accepted, within."""
    rows = []
    for metric, number in result.published.expected.items():
        value = result.here[metric]
        within = "yes" if number.holds(value) else "NO"
        difference = f"{value - number.published:+.4f}"
        rows.append(
            (metric, f"{number.published:g}", f"{value:.4f}", difference, _range(number), within)
        )
    return rows


def save_card(result: Reproduction, folder: Path) -> tuple[Path, Path]:
    """Write ``card.json``, ``card.md`` and ``scores.parquet``.

    Returns:
        The paths of the two cards.
    """
    folder.mkdir(parents=True, exist_ok=True)
    result.scores.to_parquet(folder / "scores.parquet", index=False)
    write_json(folder / "card.json", result.card)
    write_text(folder / "card.md", markdown_card(result))
    return folder / "card.json", folder / "card.md"


def markdown_card(result: Reproduction) -> str:
    """Return the card as a page in Markdown."""
    entry, card = result.published, result.card
    lines = [
        f"# {entry.name}: {'within' if result.ok else 'outside'} the tolerance",
        f"{entry.summary}. Published in: {entry.source}.",
        _table(
            ("metric", "published", "here", "difference", "accepted", "within"), comparison(result)
        ),
        f"Tolerance: {entry.reason}.",
        _table(
            ("what", "value"),
            [(key, str(value)) for key, value in _flat(card).items() if key not in _ABOVE],
        ),
    ]
    return "\n\n".join(lines) + "\n"


_ABOVE = {"name", "summary", "source", "tolerance", "within"}
"""Entries of the card that the page shows above the table."""


def _table(head: tuple[str, ...], rows: list[Any]) -> str:
    cells = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(c.replace("|", r"\|") for c in row) + " |" for row in cells)


def _flat(card: dict[str, Any], above: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in card.items():
        name = f"{above}{key}"
        found |= _flat(value, f"{name}.") if isinstance(value, dict) else {name: value}
    return found


def _range(number: Number) -> str:
    return f"{number.lowest:g} to {number.highest:g}"


def _gather(missing: list[str], step: Callable[[], _T]) -> _T | None:
    """Run a step; collect the message of a missing file instead of raising it."""
    try:
        return step()
    except FileNotFoundError as error:
        missing.append(str(error))
        return None


def _prompts(entry: Published, given: str | os.PathLike[str] | None) -> Path | None:
    wanted = entry.prompts
    if wanted is None:
        if given is not None:
            raise ValueError(f"{entry.name} is zero-shot: it takes no --prompts")
        return None
    path = Path(given) if given is not None else prompts_path(entry)
    assert path is not None
    if not path.is_file():
        raise FileNotFoundError(
            f"prompts: no file {path}. {wanted.obtain}. Put it there, or name it with --prompts"
        )
    digest = sha256_of(path)
    if not digest.startswith(wanted.sha256):
        raise ValueError(
            f"{path} is not {wanted.file}: its SHA-256 is {digest}, not "
            f"{wanted.sha256}... . {wanted.obtain}"
        )
    return path


def _backbone(entry: Published, given: str | None) -> FrozenCLIP:
    try:
        clip = FrozenCLIP.from_name(given or entry.backbone, entry.pos_embedding)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"weights: {error}; --backbone names the file") from error
    if clip.name != entry.backbone:
        raise ValueError(
            f"--backbone {given} holds other weights than {entry.backbone}, which {entry.name} "
            f"needs (SHA-256 {clip.fingerprint})"
        )
    return clip


def _checked_options(entry: Published) -> dict[str, Any]:
    """Options that determine which files are read."""
    recipe = read_recipe(entry.data)["data"]["init_args"] | dict(entry.options)
    return {key: value for key, value in recipe.items() if key != "root"}


def _data(entry: Published, folder: Path) -> IQADataModule:
    path = find_recipe(entry.data)
    data = data_of(read_recipe(path), path, root=str(folder), **entry.options)
    data.setup()
    if entry.sample is not None:
        ids = data.annotations["image"]
        order = list(range(len(ids)))
        random.Random(0).shuffle(order)
        parts = pd.Series([None] * len(ids), dtype=object)
        parts[order[: entry.sample]] = "test"
        data.split = official_split(ids, parts, kind="whole")
    return data


def _pair(pair: str | tuple[str, str]) -> str | list[str]:
    return pair if isinstance(pair, str) else list(pair)


def _outcome(entry: Published, here: dict[str, float]) -> dict[str, Any]:
    numbers = {
        metric: {
            "published": number.published,
            "here": round(here[metric], 6),
            "accepted": [number.lowest, number.highest],
            "within": number.holds(here[metric]),
        }
        for metric, number in entry.expected.items()
    }
    return {
        "name": entry.name,
        "summary": entry.summary,
        "source": entry.source,
        "within": all(number["within"] for number in numbers.values()),
        "numbers": numbers,
        "tolerance": entry.reason,
    }


def _data_facts(entry: Published, data: IQADataModule, scores: pd.DataFrame) -> dict[str, Any]:
    labels = scores[["image", "mos_raw"]].to_csv(index=False)
    return {
        "dataset": data.title,
        "part": "test",
        "pictures": len(scores),
        "skipped": len(data.skipped("test")),
        "options": dict(entry.options),
        "resize": data.resize,
        "split": data.split_kind,
        "split_sha256": data.split.digest,
        "labels_sha256": hashlib.sha256(labels.encode()).hexdigest(),
    }
