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
    data = UnratedPictures(folder)
    data.setup()
    rows = torch.from_numpy(data.rows("test"))
    tables: dict[int, torch.Tensor] = {}
    members: dict[str, Floats] = {}
    for name, source in sources.items():
        source.require_learned()
        clip = source.to(device).backbone
        if id(clip) not in tables:
            table = (cache or FeatureCache()).tables(clip, data, ["test"])["test"]
            tables[id(clip)] = table(rows, torch.zeros_like(rows))
        members |= _member_scores(name, source, tables[id(clip)])
    if len(members) < 2:
        raise ValueError(
            f"{', '.join(members)}: a single prompt cannot disagree with itself; name several "
            "prompt files, such as runs of several seeds, or an ensemble"
        )
    scores = np.stack(list(members.values()))
    features = next(iter(tables.values())).double().cpu().numpy()
    choose = choose_pictures if kind == "stars" else choose_pairs
    chosen = choose(scores, features, count)
    if not len(chosen):
        raise ValueError("all members agree on the order of all pictures: nothing to ask")
    return Suggestions(kind, data.annotations["image"].tolist(), chosen, list(members))


def _member_scores(name: str, source: Source, features: torch.Tensor) -> dict[str, Floats]:
    """Scores [N] of each member of a source."""
    with torch.inference_mode():
        if isinstance(source, ProbeSource):
            found = {name: source.score_features(features)}
        else:
            text = source.text_features()
            texts = (
                {name: text} if text.ndim == 3 else {f"{name}-{i}": t for i, t in enumerate(text)}
            )
            found = {n: source.score_features(features, t) for n, t in texts.items()}
    for member, scores in found.items():
        if scores.shape[1] != 1:
            raise ValueError(f"{member}: {scores.shape[1]} scores for each picture; give one")
    return {member: scores[:, 0].double().cpu().numpy() for member, scores in found.items()}
