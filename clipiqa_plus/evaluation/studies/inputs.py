"""Inputs of a study: the data of a recipe and the features of its plain pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from clipiqa_plus.clip.backbone import FrozenCLIP
from clipiqa_plus.clip.conventions import BackboneSpec
from clipiqa_plus.data.base import IQADataModule
from clipiqa_plus.data.mixed import MixedData
from clipiqa_plus.features import FeatureCache
from clipiqa_plus.losses import Labels, LossName
from clipiqa_plus.metrics.functional import srcc
from clipiqa_plus.prompts.config import PromptConfig, prompt_source
from clipiqa_plus.prompts.files import load_prompts
from clipiqa_plus.prompts.sources import ContextPrompts
from clipiqa_plus.prompts.words import Words, name_pairs
from clipiqa_plus.scoring import scale_score
from clipiqa_plus.training.fits import Fit, Fitted, fit_contexts
from clipiqa_plus.training.recipes import data_of, read_recipe

MAX_ITERATIONS, PATIENCE = 200, 20
"""Of each fit of a study: with fewer the seed decides more than the ratings do."""


@dataclass(frozen=True)
class StudyInputs:
    """Backbone, prompts and rated pictures of a recipe.

    Attributes:
        clip: The backbone.
        config: The recipe's prompts.
        data: The recipe's data, set up.
        loss: Name of the recipe's loss.
        mean: True if the pairs are averaged into one score.
        features: Unit features of the pictures, float32 [R, D]: train, val and test part.
        mos: Their normalised MOS, float32 [R, T].
        train: Rows of ``features`` in the training part.
        val: Rows in the validation part.
        test: Rows in the test part.
        contents: Content number of each row; without known contents, one per picture, [R].
        ratings: What else is known of the ratings of all rows, see
            :class:`~clipiqa_plus.losses.Labels`.
    """

    clip: FrozenCLIP
    config: PromptConfig
    data: IQADataModule
    loss: LossName
    mean: bool
    features: Tensor
    mos: Tensor
    train: Tensor
    val: Tensor
    test: Tensor
    contents: np.ndarray
    ratings: dict[str, Tensor] = field(default_factory=dict)

    @property
    def rated(self) -> Tensor:
        """Rows available for learning: training and validation parts."""
        return torch.cat([self.train, self.val])

    def prompts(self, **changes: Any) -> ContextPrompts:
        """Return the recipe's prompts, with changes.

        Args:
            changes: Fields of the prompts' configuration to change.

        Raises:
            ValueError: If the configuration does not fit the backbone, or is zero-shot.
        """
        if changes.get("pairs", self.config.pairs) != self.config.pairs:
            changes |= {"scales": None}  # other words than the recipe's
        config = PromptConfig(**{**vars(self.config), **changes})
        source = prompt_source(config, self.clip)
        if not isinstance(source, ContextPrompts) or source.members is not None:
            raise ValueError("a study learns single contexts: set prompts.mode to learned")
        if source.temperature != 1:
            raise ValueError(f"a study learns at temperature 1, not {source.temperature:g}")
        if source.grades is not None:
            raise ValueError("a study learns scales of evenly spaced grades; leave out the grades")
        return source.to(self.clip.device)

    def start(self, file: str) -> ContextPrompts:
        """Return learned prompts to start from, as ``prompts.file`` does in training.

        Args:
            file: Prompt file, checkpoint or run, learned on any data set.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it was learned on another backbone, is an ensemble, or has other words or
                another layout than the recipe's, with which it is compared.
        """
        source, own = load_prompts(file, self.clip), self.prompts()
        if source.members is not None:
            raise ValueError(f"{file}: an ensemble has no single context to start from")
        theirs, ours = source.describe(), own.describe()
        for key in theirs | ours:
            if key != "init" and theirs.get(key) != ours.get(key):
                raise ValueError(
                    f"{file}: {key} {theirs.get(key)}, but the recipe has {ours.get(key)}; a study "
                    "compares starts of one layout: give the recipe that of the file"
                )
        return source.to(self.clip.device)

    def fit(
        self, prompts: ContextPrompts, fits: Sequence[Fit], loss: LossName | None = None
    ) -> Iterator[tuple[int, Fitted]]:
        """Fit contexts to the pictures, see :func:`~clipiqa_plus.training.fits.fit_contexts`.

        Args:
            prompts: Pairs and layout.
            fits: Starts and rows of the fits.
            loss: Name of the loss; None takes the recipe's.
        """
        found = fit_contexts(
            prompts,
            self.clip,
            self.features,
            Labels(self.mos, **self.ratings),
            fits,
            loss=loss or self.loss,
            mean=self.mean,
            max_iterations=MAX_ITERATIONS,
            patience=PATIENCE,
        )
        console = Console(stderr=True)
        for number, fitted in track(found, "fits", total=len(fits), console=console):
            if not fitted.iterations:
                console.print(
                    f"warning: fit {number + 1} of {len(fits)} has not moved ({fitted.ended}): its "
                    "result is that of the random start; try other starting words or more tokens"
                )
            yield number, fitted

    def score(self, text: Tensor, rows: Tensor) -> Tensor:
        """Score rows by text features [P, K, D]: float32 [N, T]."""
        scores = scale_score(self.features[rows], text, self.clip.logit_scale)
        return scores.mean(dim=1, keepdim=True) if self.mean else scores

    def srcc(self, scores: Tensor, rows: Tensor) -> float:
        """SRCC of scores [N, T] of rows with their MOS, the mean over targets."""
        columns = zip(scores.T, self.mos[rows].T, strict=True)
        return float(torch.stack([srcc(ours, theirs) for ours, theirs in columns]).mean())

    def zero_shot(self) -> float:
        """SRCC of the fixed words on the test rows."""
        with torch.no_grad():
            text = self.prompts().in_words(self.clip)(self.clip)
        return self.srcc(self.score(text, self.test), self.test)

    def facts(self) -> dict[str, Any]:
        """Return what the results depend on: JSON values."""
        return {
            **self.clip.describe(),
            "dataset": self.data.title or self.data.name,
            "split_sha256": self.data.split.digest,
            "prompts": vars(self.config),
            "loss": self.loss,
        }


def load_inputs(
    recipe: str,
    backbone: str | BackboneSpec | None = None,
    dir: str | None = None,
    device: str | None = None,
    fewest: int = 3,
    pairs: Words | None = None,
) -> StudyInputs:
    """Read a recipe, check that its data are usable, and encode what is not cached.

    Args:
        recipe: Recipe, or the short name of a benchmark.
        backbone: Name or weights file; None takes the recipe's, or RN50.
        dir: Folder of the features.
        device: Where to compute; None takes the GPU if there is one.
        fewest: Fewest rated pictures in the training part.
        pairs: Antonym pairs instead of the recipe's.

    Raises:
        ValueError: If the data are unusable, see :func:`check_ratings`, or there is no validation
            or test part.
    """
    content = read_recipe(recipe)
    data = data_of(content, recipe)
    if isinstance(data, MixedData):
        raise ValueError(f"{recipe}: a study takes one data set, and this is a {data.label}")
    data.setup()
    check_ratings(data, fewest)
    parts = ["train", "val", "test"]
    for part in parts:
        if not len(data.rows(part)):
            raise ValueError(
                f"{data.label}: the {data.split_kind} split has no {part} part, which a study "
                "needs; give a split that has one, as --data.fractions or a column split does"
            )
    model = content.get("model") or {}
    prompts = dict(model.get("prompts") or {})
    if pairs is not None:
        if prompts.get("file"):
            raise ValueError(f"{recipe}: prompts.file determines the words; own pairs need none")
        prompts |= {"scales": None, "grades": None}
        prompts["pairs"] = [list(pair) for pair in name_pairs(pairs).values()]
    clip, features = plain_features(content, data, parts, backbone, dir, device)
    rows = np.concatenate([data.rows(part) for part in parts])
    sizes = [len(data.rows(part)) for part in parts]
    by_part = torch.arange(len(rows)).split(sizes)
    table = data.annotations
    names = table["content"] if "content" in table else table["image"]
    return StudyInputs(
        clip,
        PromptConfig(**prompts),
        data,
        model.get("loss", "mse"),
        model.get("reduction", "mean") != "none",
        torch.cat([features[part] for part in parts]),
        data.mos[rows].to(clip.device),
        *(by_part[0], by_part[1], by_part[2]),
        pd.factorize(names.astype(str).str.casefold())[0][rows],
        {
            name: values[rows].to(clip.device)
            for name, values in data.ratings.items()
            if name in ("mos_std", "counts", "group")
        },
    )


def hold_out(rows: Tensor, contents: np.ndarray, share: float = 0.2) -> tuple[Tensor, Tensor]:
    """Split rows, keeping contents whole.

    Args:
        rows: Rows in random order, int64 [N].
        contents: Content of every row of the inputs.
        share: Share of the rows to hold out; at least one content is held out and one stays.

    Returns:
        The rows that stay and those held out.
    """
    of_row = contents[rows.numpy()]
    order = list(dict.fromkeys(of_row.tolist()))
    sizes = np.array([(of_row == content).sum() for content in order]).cumsum()
    last = int(np.searchsorted(sizes, (1 - share) * len(rows), side="right"))
    stays = torch.from_numpy(np.isin(of_row, order[: min(max(last, 1), max(len(order) - 1, 1))]))
    return rows[stays], rows[~stays]


def check_ratings(data: IQADataModule, fewest: int = 3) -> None:
    """Refuse data from which nothing can be learned.

    Args:
        data: The data, set up.
        fewest: Fewest rated pictures in the training part.

    Raises:
        ValueError: If the training part is smaller, or the MOS of a target is constant in it.
    """
    mos = data.mos[data.rows("train")]
    if len(mos) < fewest:
        raise ValueError(
            f"{data.label}: {len(mos)} rated pictures in training; at least {fewest} are needed"
        )
    for index, target in enumerate(data.targets):
        if (mos[:, index] == mos[0, index]).all():
            raise ValueError(
                f"{data.label}: {target} is constant over the training part: there is nothing to "
                "learn; correct the label file"
            )


def plain_features(
    recipe: Mapping[str, Any],
    data: IQADataModule,
    parts: list[str],
    backbone: str | BackboneSpec | None = None,
    dir: str | None = None,
    device: str | None = None,
) -> tuple[FrozenCLIP, dict[str, Tensor]]:
    """Return the backbone of a recipe and the features of the plain pictures of its data.

    Args:
        recipe: The recipe.
        data: Its data, set up; its training views are replaced by the plain one.
        parts: Parts to take.
        backbone: Name or weights file; None takes the recipe's, or RN50.
        dir: Folder of the features.
        device: Device to encode and keep them on; None takes the GPU if there is one.

    Returns:
        The backbone, and the features of each part, float32 [N, D] in the order of its rows.
    """
    model = recipe.get("model") or {}
    fixed = {key: model[key] for key in ("pos_embedding", "precision") if key in model}
    name = backbone or model.get("backbone", "RN50")
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    clip = FrozenCLIP.from_name(name, **fixed).to(device)
    data.train_views = data.eval_views
    cache = FeatureCache(**{**(recipe.get("features") or {}), **({"dir": dir} if dir else {})})
    tables = cache.tables(clip, data, parts)
    return clip, {part: tables[part].features.float() for part in parts}
