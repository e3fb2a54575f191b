"""MixedData: a data module of data modules."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import torch
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Sampler

from clipiqa_plus.data.base import PARTS, IQADataModule
from clipiqa_plus.data.batches import BatchIndex, FeatureLookup, IQADataset, Rows, VoteLookup
from clipiqa_plus.data.benchmarks import Benchmark
from clipiqa_plus.data.mixed.dataset import MixedDataset, MixedFeatures, MixedReader, Offsets
from clipiqa_plus.data.mixed.sampling import (
    MixedBatches,
    MixedWholePart,
    Part,
    SameMixedBatches,
    SameMixedWholePart,
    Sampling,
    shares,
)
from clipiqa_plus.data.splits import official_split
from clipiqa_plus.data.votes import PairVotes, VoteData


class MixedData(IQADataModule):
    """Several data sets in one training.

    Each set keeps its own scale, split, size and training views; scores are normalised by the scale
    that the set declares. Losses compare pictures within a set only, validation and test report
    every metric per set (``val/SRCC_<set>``) and as the mean over sets (``val/SRCC_mean``). Among
    the sets may be votes (:class:`~clipiqa_plus.data.votes.VoteData`), which are learned with the
    fidelity loss beside the MOS of the others (``val/accuracy_<set>``).

    Args:
        sets: The data modules by name. Batch size, workers and order are those of the mixture.
        root: Folder of the benchmarks among the sets: a relative ``root`` of theirs starts here.
        sampling: Share of each set in an epoch, which has as many draws as there are training
            pictures: ``size``, ``equal``, or a weight for each set. With ``batch_size: all`` it
            weights the sets' losses.
        present_only: Leave out sets whose folder does not exist, and list them, instead of an
            error.
        batch_size: Pictures (or features) per batch and process; ``all`` trains on all views of
            all training parts as one batch of cached features.
        num_workers: Decoding processes; None uses one per CPU core, at most 8.
        order_seed: Seed of the order and the views in training.

    Raises:
        ValueError: If a set declares no scale or the sets have different numbers of targets.
    """

    name = "mixed"
    title = "mixture"
    mos_range = (0.0, 1.0)

    def __init__(
        self,
        sets: dict[str, IQADataModule],
        root: str | os.PathLike[str] | None = None,
        sampling: Sampling = "size",
        present_only: bool = False,
        batch_size: int | Literal["all"] = 64,
        num_workers: int | None = None,
        order_seed: int = 0,
    ) -> None:
        super().__init__(root or ".", batch_size, num_workers, order_seed=order_seed)
        for module in sets.values():
            if root is not None and isinstance(module, Benchmark) and not module.root.is_absolute():
                module.root = Path(root) / module.root
        absent = {n: str(m.root) for n, m in sets.items() if present_only and not m.root.is_dir()}
        self.absent: dict[str, str] = absent
        """Sets that were left out, each with the folder that does not exist."""
        self.sets: dict[str, IQADataModule] = {n: m for n, m in sets.items() if n not in absent}
        """The sets in use by name."""
        if isinstance(sampling, Mapping):
            sampling = {name: share for name, share in sampling.items() if name not in absent}
        self.sampling: Sampling = sampling
        if not sets:
            raise ValueError("a mixture needs at least one set; name them under sets")
        _check_scales(sets)
        self.targets = _common_targets(sets)
        for name, module in self.sets.items():
            if self.batch_size == "all" and module.train_views.count is None:
                raise ValueError(
                    f"batch_size all needs a finite number of views; give those of {name} a count "
                    "(train_views.init_args.count), or a number as batch_size"
                )

    @property
    def label(self) -> str:
        """Names of the sets, for error messages."""
        return f"mixture of {', '.join(self.sets)}"

    def prepare_data(self) -> None:
        """Prepare the data of every set.

        Raises:
            FileNotFoundError: If no set is present.
        """
        if not self.sets:
            raise FileNotFoundError(
                f"no set of the mixture is present: {self._looked()}; name the folder that holds "
                "them as root, 'clipiqa data list' lists where each is offered"
            )
        for module in self.sets.values():
            module.prepare_data()

    def _looked(self) -> str:
        return "; ".join(f"{name}: no folder {path}" for name, path in self.absent.items())

    def read_annotations(self) -> pd.DataFrame:
        """Put the tables of the sets one after the other; sample ids begin with the set."""
        tables = []
        for name, module in self.sets.items():
            table = module.annotations.assign(set=name)
            for column in {"image", "content"} & set(table.columns):
                table[column] = f"{name}/" + table[column].astype(str)
            if getattr(module, "split", None) is not None:
                parts = np.full(len(table), "", dtype=object)
                for part in PARTS:
                    # Of votes split by pair a picture is in several parts; the last is recorded.
                    votes = isinstance(module, VoteData)
                    parts[module.rows(part) if votes else getattr(module.split, part)] = part
                table["split"] = parts
            tables.append(table)
        return pd.concat(tables, ignore_index=True)

    @property
    def annotations(self) -> pd.DataFrame:
        """The tables of all sets, each validated by its own scale."""
        if self._annotations is None:
            self._annotations = self.read_annotations()
        return self._annotations

    def setup(self, stage: str | None = None) -> None:
        """Set up every set; runs only once."""
        if hasattr(self, "split"):
            return
        if not self.sets:
            self.prepare_data()  # says what is absent
        if self.absent:
            rank_zero_warn(f"absent sets are left out: {self._looked()}")
        for module in self.sets.values():
            module.setup(stage)
        modules = list(self.sets.values())
        lengths = [len(module.annotations) for module in modules]
        self.offsets = Offsets(lengths)
        self.mos = torch.cat([module.mos for module in modules])
        self.mos_raw = torch.cat([module.mos_raw for module in modules])
        self.ratings = _joined([module.ratings for module in modules], lengths)
        self.ratings |= self._memberships()
        sizes = {name: len(module.rows("train")) for name, module in self.sets.items()}
        self.shares = shares(self.sampling, sizes)
        if self.batch_size == "all":
            self.ratings["weight"] = self._weights()
        names, table = list(self.sets), self.annotations
        self.split = official_split(table["image"], table["split"], kind="mixed")
        self.split_kind = "mixed"
        parts = ", ".join(
            f"{name} {size:,} ({share:.0%})"
            for (name, size), share in zip(sizes.items(), self.shares, strict=True)
        )
        rank_zero_info(f"{len(names)} sets, training pictures and shares: {parts}")

    def _memberships(self) -> dict[str, Tensor]:
        """Number of the set of each row, and of the group within which it may be compared."""
        sets, groups, used = [], [], 0
        for number, module in enumerate(self.sets.values()):
            count = len(module.annotations)
            group = module.ratings.get("group", torch.zeros(count, dtype=torch.long))
            sets.append(torch.full((count,), number))
            groups.append(group + used)
            used += int(group.max()) + 1
        return {"set": torch.cat(sets), "group": torch.cat(groups)}

    def _weights(self) -> Tensor:
        """Weight of each row where the whole part is one batch: the sets get their shares."""
        weights = []
        for share, module in zip(self.shares, self.sets.values(), strict=True):
            entries = len(module.rows("train")) * (module.train_views.count or 0)
            weight = share / entries if entries else 0.0
            weights.append(torch.full((len(module.annotations),), weight))
        return torch.cat(weights)

    def rows(self, part: str) -> Rows:
        """Return the row numbers of ``train``, ``val`` or ``test``, set by set."""
        starts = self.offsets.starts
        found = [m.rows(part) + s for m, s in zip(self.sets.values(), starts, strict=False)]
        return np.concatenate(found)

    def set_names(self, part: str) -> dict[int, str]:
        """Return the names of the sets that have pictures in a part, by number."""
        sets = enumerate(self.sets.items())
        return {number: name for number, (name, module) in sets if len(module.rows(part))}

    def _voted(self, part: str) -> dict[int, PairVotes]:
        """The votes of each set that has any, by number, with the rows of the mixture."""
        total = int(self.offsets.starts[-1])
        return {
            number: PairVotes.joined([module.pair_votes(part)], [start], total)
            for number, (module, start) in enumerate(
                zip(self.sets.values(), self.offsets.starts, strict=False)
            )
            if isinstance(module, VoteData) and len(module.rows(part))
        }

    def vote_lookup(self, part: str) -> VoteLookup | None:
        """Return what finds the votes between the pictures of a batch; None without votes."""
        voted = list(self._voted(part).values())
        return PairVotes.joined(voted, [0] * len(voted), voted[0].rows) if voted else None

    def vote_counts(self, part: str) -> dict[int, tuple[Rows, NDArray[np.float64]]]:
        """Return the votes of a part by the number of their set; empty without votes."""
        return {n: (votes.pairs, votes.wins) for n, votes in self._voted(part).items()}

    def skipped(self, part: str) -> dict[str, str]:
        """Return the pictures that are excluded from a part, each with the reason."""
        return {
            f"{name}/{image}": reason
            for name, module in self.sets.items()
            for image, reason in module.skipped(part).items()
        }

    def check_pictures(self) -> None:
        """Do nothing: every set checks its own."""

    def reader(self) -> MixedReader:
        """Return the reader that decodes the picture of a row."""
        return MixedReader([module.reader() for module in self.sets.values()], self.offsets)

    def dataset(self, part: str) -> IQADataset:
        """Return the data set of a part, indexed by row numbers of the whole table."""
        return MixedDataset(
            [module.dataset(part) for module in self.sets.values()],
            self.offsets,
            mos=self.mos,
            mos_raw=self.mos_raw,
            features=self.features.get(part),
            extras=self.ratings,
            votes=self.vote_lookup(part) if part == "train" else None,
        )

    def join_features(self, lookups: Mapping[str, FeatureLookup]) -> MixedFeatures:
        """Join the cached features of the sets.

        Args:
            lookups: Cached features by the name of the set.
        """
        numbers = {name: number for number, name in enumerate(self.sets)}
        return MixedFeatures({numbers[n]: lookup for n, lookup in lookups.items()}, self.offsets)

    def _sampler(self, dataset: IQADataset, rows: Rows, shuffle: bool) -> Sampler[BatchIndex]:
        if not shuffle:
            return super()._sampler(dataset, rows, shuffle)
        voted = self._voted("train")
        parts = [
            Part(
                module.rows("train") + start,
                module.train_views.count,
                voted[number].pairs if number in voted else None,
            )
            for number, (module, start) in enumerate(
                zip(self.sets.values(), self.offsets.starts, strict=False)
            )
        ]
        if self.batch_size == "all":
            if dataset.features is None:
                raise ValueError(
                    "batch_size all needs cached features: keep the feature cache enabled "
                    "(features.enabled true, no fast_dev_run), or give a number as batch_size"
                )
            return (SameMixedWholePart if self._overfits() else MixedWholePart)(parts)
        sampler = SameMixedBatches if self._overfits() else MixedBatches
        seed, epoch = self.order_seed, self._epoch
        return sampler(parts, self.shares, self.batch_size, seed=seed, epoch=epoch)


def single_sets(name: str, data: IQADataModule) -> dict[str, IQADataModule]:
    """Return the sets of a mixture by name, or a single set under the given name.

    Args:
        name: Name of a single set.
        data: A mixture or a single set.
    """
    return data.sets if isinstance(data, MixedData) else {name: data}


def _check_scales(sets: Mapping[str, IQADataModule]) -> None:
    """Refuse a set whose class leaves the scale undeclared: its MOS cannot be normalised."""
    for name, module in sets.items():
        kinds = [kind for kind in type(module).__mro__ if kind is not IQADataModule]
        if not any("mos_range" in vars(holder) for holder in (module, *kinds)):
            raise ValueError(
                f"set {name!r}: {type(module).__name__} declares no mos_range; sets on unlike "
                "scales can only be mixed if each declares the lowest and the highest score"
            )


def _common_targets(sets: Mapping[str, IQADataModule]) -> list[str]:
    targets = {name: module.targets for name, module in sets.items()}
    first = next(iter(targets.values()))
    for name, own in targets.items():
        if len(own) != len(first):
            raise ValueError(
                f"set {name!r} has targets {', '.join(own)}, but {next(iter(targets))!r} has "
                f"{', '.join(first)}; give all sets the same number of targets"
            )
    return first


def _joined(ratings: Sequence[dict[str, Tensor]], sizes: Sequence[int]) -> dict[str, Tensor]:
    """Join what is known of the ratings; NaN where a set does not know it or has fewer grades."""
    joined = {}
    for name in ("mos_std", "n_ratings", "counts"):
        known = [own[name] for own in ratings if name in own]
        if not known:
            continue
        shape = max(tensor.shape[1:] for tensor in known)
        parts = []
        for own, size in zip(ratings, sizes, strict=True):
            part = torch.full((size, *shape), torch.nan)
            if name in own and own[name].ndim == 1:
                part[:] = own[name]
            elif name in own:
                part[:, : own[name].shape[1]] = own[name]
            parts.append(part)
        joined[name] = torch.cat(parts)
    return joined
