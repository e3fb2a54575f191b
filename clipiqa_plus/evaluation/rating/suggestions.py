"""Suggestions: the scores of every member of an ensemble on a folder, and the choice by them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import torch

from clipiqa_plus.data.base import IQADataModule
from clipiqa_plus.evaluation.rating.choice import Floats, Rows, choose_pairs, choose_pictures
from clipiqa_plus.features import FeatureCache
from clipiqa_plus.inference.bulk.inputs import find_files
from clipiqa_plus.inference.probes import ProbeSource, Source

Kind = Literal["stars", "pairs"]
Members = dict[str, torch.Tensor | None]
"""Text features of each member of a source by its name; None for a probe."""
"""What people do on the page: give one to five stars, or choose the better of two."""


class UnratedPictures(IQADataModule):
    """The pictures of a folder without any opinion scores; all are in the test part.

    Args:
        root: The folder, searched recursively.
    """

    title = "unrated pictures"
    mos_range = (0.0, 1.0)

    def __init__(self, root: str | os.PathLike[str]) -> None:
        super().__init__(root, split="whole")

    def read_annotations(self) -> pd.DataFrame:
        """List the pictures.

        Raises:
            NotADirectoryError: If there is no such folder.
            ValueError: If it has fewer than two pictures.
        """
        if not self.root.is_dir():
            raise NotADirectoryError(f"{self.root}: no such folder; give a folder of pictures")
        names = [os.path.relpath(path, self.root) for path in find_files([str(self.root)])]
        if len(names) < 2:
            raise ValueError(f"{self.root}: {len(names)} pictures; there is nothing to choose from")
        return pd.DataFrame({"image": [Path(name).as_posix() for name in names], "mos": np.nan})

    @property
    def annotations(self) -> pd.DataFrame:
        """One row for each picture; there are no MOS (NaN)."""
        if self._annotations is None:
            self._annotations = self.read_annotations()
        return self._annotations


@dataclass(frozen=True)
class Suggestions:
    """What to rate.

    Attributes:
        kind: Stars or pairs.
        names: Paths of all pictures below the folder.
        chosen: Rows of the chosen pictures, [C], or pairs, [C, 2].
        members: Names of the members that were asked.
    """

    kind: Kind
    names: list[str]
    chosen: Rows
    members: list[str]


def suggest(
    sources: Mapping[str, Source],
    folder: str | os.PathLike[str],
    kind: Kind = "stars",
    count: int = 100,
    device: str | torch.device = "cpu",
    cache: FeatureCache | None = None,
) -> Suggestions:
    """Choose the pictures or pairs of a folder on which sources disagree most.

    Args:
        sources: Prompts by name; each context of an ensemble file is a member of its own.
        folder: Folder of pictures.
        kind: ``stars`` chooses pictures, ``pairs`` pairs.
        count: Largest number of pictures or pairs.
        device: Where to compute.
        cache: Feature cache; None takes the usual one.

    Raises:
        RuntimeError: If a source's context tokens are random.
        ValueError: If there are fewer than two members, one has several scores, or members agree.
    """
    if count < 1:
        raise ValueError(f"{count} pictures; choose at least 1")
    asked: dict[str, Members] = {}
    for name, source in sources.items():
        source.require_learned()
        asked[name] = _members(name, source.to(device))
    names = [member for members in asked.values() for member in members]
    if len(names) < 2:
        raise ValueError(
            f"{', '.join(names)}: a single prompt cannot disagree with itself; name several "
            "prompt files, such as runs of several seeds, or an ensemble"
        )
    data = UnratedPictures(folder)
    data.setup()
    rows = torch.from_numpy(data.rows("test"))
    tables: dict[int, torch.Tensor] = {}
    scores: list[Floats] = []
    for name, source in sources.items():
        clip = source.backbone
        if id(clip) not in tables:
            table = (cache or FeatureCache()).tables(clip, data, ["test"])["test"]
            tables[id(clip)] = table(rows, torch.zeros_like(rows))
        scores += [_scores(m, source, tables[id(clip)], text) for m, text in asked[name].items()]
    features = next(iter(tables.values())).double().cpu().numpy()
    choose = choose_pictures if kind == "stars" else choose_pairs
    chosen = choose(np.stack(scores), features, count)
    if not len(chosen):
        raise ValueError("all members agree on the order of all pictures: nothing to ask")
    return Suggestions(kind, data.annotations["image"].tolist(), chosen, names)


def _members(name: str, source: Source) -> Members:
    """The members of a source by name."""
    if isinstance(source, ProbeSource):
        return {name: None}
    with torch.inference_mode():
        text = source.text_features()
    return {name: text} if text.ndim == 3 else {f"{name}-{i}": t for i, t in enumerate(text)}


def _scores(
    member: str, source: Source, features: torch.Tensor, text: torch.Tensor | None
) -> Floats:
    """Scores [N] of a member."""
    with torch.inference_mode():
        if isinstance(source, ProbeSource):
            scores = source.score_features(features)
        else:
            scores = source.score_features(features, text)
    if scores.shape[1] != 1:
        raise ValueError(f"{member}: {scores.shape[1]} scores for each picture; give one")
    found: Floats = scores[:, 0].double().cpu().numpy()
    return found
