"""VoteData: pictures of which people said which of two is better."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from lightning.pytorch.utilities import rank_zero_info
from torch.utils.data import Sampler

from clipiqa_plus.data.base import PARTS, IQADataModule, missing_files
from clipiqa_plus.data.batches import BatchIndex, IQADataset, Rows, VoteLookup
from clipiqa_plus.data.splits import Split, make_split, official_split, random_split
from clipiqa_plus.data.votes.pairs import PairVotes, SameVoteBatches, VoteBatches
from clipiqa_plus.data.votes.table import read_votes

Floats = np.ndarray[Any, np.dtype[np.float64]]


class VoteData(IQADataModule):
    """Votes on pairs of pictures, listed in a CSV, TSV, Parquet or JSON file.

    The columns are described in :mod:`clipiqa_plus.data.votes.table`. The module has the pictures
    that the file names, without MOS: its training batches also list the votes between their
    pictures, which are learned with the fidelity loss
    (:func:`~clipiqa_plus.losses.vote_loss`), whatever the loss for MOS. Validation and test report
    the accuracy on held-out votes (``val/accuracy``).

    By default no picture is in two parts, and no content if contents are given. A vote belongs to
    the part that both of its pictures are in; a vote across parts is left out, and their number is
    logged. With ``split: pairs`` the votes are divided instead, all votes on one pair together:
    every vote is used, but pictures of the test part are also among those of the training part.

    Args:
        votes: The file.
        root: Folder of the pictures; None uses the folder of the file.
        columns: Names that the file has for some of the columns, by ours, such as
            ``{first: image_a, second: image_b}``.
        split: ``random`` (by picture), ``content``, ``pairs``, ``official`` (column ``split``),
            ``kfold``, ``kfold_content``, ``whole``, or a split file of pictures. None uses the
            column ``split`` if there is one, else contents if they are given, else pictures.
        fractions: Shares of train, val and test: of contents, pictures or pairs.
        **options: The arguments of :class:`~clipiqa_plus.data.base.IQADataModule`.
    """

    title = "votes"
    mos_range = (0.0, 1.0)

    def __init__(
        self,
        votes: str,
        root: str | os.PathLike[str] | None = None,
        columns: dict[str, str] | None = None,
        split: str | None = None,
        fractions: tuple[float, float, float] = (0.7, 0.1, 0.2),
        **options: Any,
    ) -> None:
        self.file = Path(votes)
        super().__init__(root or self.file.parent, split=split, fractions=fractions, **options)
        if len(self.targets) != 1:
            raise ValueError(f"{self.file}: votes have one target, not {', '.join(self.targets)}")
        self.columns = columns
        self._split_given = split is not None

    @property
    def label(self) -> str:
        """Name of this data set in error messages."""
        return str(self.file)

    def read_annotations(self) -> pd.DataFrame:
        """Read the votes; return one row for each picture that they name."""
        self.votes = votes = read_votes(self.file, self.columns)
        names = pd.unique(pd.concat([votes["first"], votes["second"]]))
        table = pd.DataFrame({"image": np.sort(names.astype(str)), self.targets[0]: np.nan})
        index = pd.Index(table["image"])
        self.places = np.stack([index.get_indexer(votes[c]) for c in ("first", "second")], axis=1)
        if "content" in votes:
            table["content"] = self._contents(len(table))
        if not self._split_given:
            usual = "content" if "content" in table else "random"
            self.split_kind = "official" if "split" in votes else usual
        return table

    def _contents(self, count: int) -> Any:
        """The content of each picture; refuses pictures of two."""
        contents = np.full(count, None, dtype=object)
        for row, (pair, content) in enumerate(zip(self.places, self.votes["content"], strict=True)):
            if pd.isna(content):
                raise ValueError(f"{self.label}: row {row + 1}: content is empty; fill the column")
            for place in pair:
                if contents[place] not in (None, content):
                    name = self.votes.loc[row, "first" if place == pair[0] else "second"]
                    raise ValueError(
                        f"{self.label}: row {row + 1}: {name} has content {content}, but "
                        f"{contents[place]} in an earlier row; a picture has one content"
                    )
                contents[place] = content
        return contents

    @property
    def annotations(self) -> pd.DataFrame:
        """One row for each picture; there are no MOS (NaN)."""
        if self._annotations is None:
            self._annotations = self.read_annotations()
        return self._annotations

    def check_pictures(self) -> None:
        """Check that the pictures of all votes exist.

        Raises:
            FileNotFoundError: If one is missing; names the first row about it.
        """
        missing = missing_files(self.root, self.annotations["image"])
        if missing:
            about = self.votes[["first", "second"]].isin(missing).any(axis=1)
            row = int(np.flatnonzero(about)[0])
            pair = self.votes.loc[row, ["first", "second"]].tolist()
            name = next(picture for picture in pair if picture in missing)
            raise FileNotFoundError(
                f"{self.label}: row {row + 1}: {self.root / name} does not exist ({len(missing)} "
                f"of {len(self.annotations)} pictures, {int(about.sum())} of {len(about)} votes); "
                "correct root, or remove the votes about pictures that are not there"
            )

    def draw_split(self) -> Split:
        """Split the pictures, or with ``pairs`` and ``official`` the votes.

        Raises:
            ValueError: If a part with a positive share gets no vote.
        """
        table, kind = self.annotations, self.split_kind
        names = table["image"].to_numpy()[np.sort(self.places, axis=1)]
        pairs = pd.Series([f"{first} | {second}" for first, second in names])
        ids, parts = pairs.drop_duplicates(), np.full(len(pairs), -1)
        if kind == "official":
            if "split" not in self.votes:
                raise ValueError(f"{self.label}: an official split needs a column split")
            mixed = self.votes["split"].groupby(pairs).nunique() > 1
            if mixed.any():
                row = int(np.flatnonzero(pairs == mixed.idxmax())[0])
                raise ValueError(
                    f"{self.label}: row {row + 1}: votes on {pairs[row]} are in several parts; "
                    "give all votes on one pair the same split"
                )
            split = official_split(ids, self.votes["split"].loc[ids.index])
        elif kind == "pairs":
            split = random_split(ids, self.fractions, self.seed, self.repeat)
        else:
            options = {"fractions": self.fractions, "repeat": self.repeat, "folds": self.folds}
            split = make_split(table, kind, seed=self.seed, **options)  # type: ignore[arg-type]
        number = pd.Index(ids).get_indexer(pairs)
        for code, part in enumerate(PARTS):
            rows = getattr(split, part)
            if kind in ("official", "pairs"):
                parts[np.isin(number, rows)] = code
            else:
                parts[np.isin(self.places, rows).all(axis=1)] = code
        self.parts = parts
        self._announce(split)
        return split

    def _announce(self, split: Split) -> None:
        """Log the number of votes per part; refuse a part of pictures without any."""
        n = self.votes["n"].to_numpy()
        found = {part: int(n[self.parts == code].sum()) for code, part in enumerate(PARTS)}
        for part, number in found.items():
            if len(getattr(split, part)) and not number:
                raise ValueError(
                    f"{self.label}: no vote has both pictures in the {part} part of the "
                    f"{self.split_kind} split; change fractions, give contents that pairs do not "
                    "cross, or set split to pairs"
                )
        left = int(n[self.parts < 0].sum())
        across = f"; {left:,} across parts left out" if left else ""
        counts = ", ".join(f"{part} {number:,}" for part, number in found.items() if number)
        rank_zero_info(f"{self.label}: votes by {self.split_kind} split: {counts}{across}")

    def part_votes(self, part: str) -> pd.DataFrame:
        """Return the votes of a part whose pictures can be read.

        Returns:
            The rows of the file with two further columns: ``row_first`` and ``row_second``, the row
            numbers of the pictures.
        """
        chosen = self.parts == PARTS.index(part)
        if self.unreadable:
            chosen &= ~np.isin(self.places, list(self.unreadable)).any(axis=1)
        rows = self.places[chosen]
        return self.votes[chosen].assign(row_first=rows[:, 0], row_second=rows[:, 1])

    def vote_lookup(self, part: str) -> VoteLookup | None:
        """Return the votes of a part by pairs."""
        return self.pair_votes(part)

    def pair_votes(self, part: str) -> PairVotes:
        """Return the votes of a part by pairs."""
        votes = self.part_votes(part)
        pairs = votes[["row_first", "row_second"]].to_numpy(np.int64)
        return PairVotes.counted(pairs, votes["vote"], votes["n"], len(self.annotations))

    def vote_counts(self, part: str) -> Mapping[int, tuple[Rows, Floats]]:
        """Return pairs of rows [P, 2] and their votes [P, 3] under the number of this set, 0."""
        votes = self.pair_votes(part)
        return {0: (votes.pairs, votes.wins)}

    def rows(self, part: str) -> Rows:
        """Return the rows of the pictures that a part's votes are about."""
        return self.pair_votes(part).pictures

    def skipped(self, part: str) -> dict[str, str]:
        """Return the unreadable pictures of a part, each with the reason."""
        named = np.unique(self.places[self.parts == PARTS.index(part)])
        images = self.annotations["image"]
        return {images.iloc[r]: why for r, why in self.unreadable.items() if r in named}

    def _sampler(self, dataset: IQADataset, rows: Rows, shuffle: bool) -> Sampler[BatchIndex]:
        if not shuffle or self.batch_size == "all":
            return super()._sampler(dataset, rows, shuffle)
        sampler = SameVoteBatches if self._overfits() else VoteBatches
        options = {"views": dataset.views.count, "seed": self.order_seed, "epoch": self._epoch}
        return sampler(self.pair_votes("train"), self.batch_size, **options)  # type: ignore[arg-type]
