"""Votes as data: which votes a part and a batch hold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from clipiqa_plus.data import MixedData, TableData, VoteData
from clipiqa_plus.data.base import PARTS
from clipiqa_plus.data.votes import PairVotes
from tests.support.votes import thurstone_votes, write_votes

COUNT = 20
THIRDS = (0.5, 0.25, 0.25)


@pytest.fixture
def file(tmp_path: Path, make_picture: Callable[..., Path]) -> Path:
    votes = thurstone_votes(np.linspace(0, 1, COUNT), 150, 0.2, raters=6)
    return write_votes(tmp_path, votes, COUNT, make_picture)


def data(file: Path, **options: object) -> VoteData:
    module = VoteData(str(file), num_workers=0, **{"fractions": THIRDS, **options})  # type: ignore[arg-type]
    module.setup()
    return module


def brute_force(module: VoteData, part: str, rows: list[int]) -> dict[tuple[int, int], list[int]]:
    """Votes of a part between some pictures, counted one by one."""
    names = module.annotations["image"].tolist()
    found: dict[tuple[int, int], list[int]] = {}
    for vote in module.part_votes(part).itertuples():
        pair = names.index(vote.first), names.index(vote.second)
        if not set(pair) <= set(rows):
            continue
        wins = found.setdefault((min(pair), max(pair)), [0, 0])
        better = pair[0] if vote.vote == "first" else pair[1]
        wins[int(better == max(pair))] += vote.n
    return found


def test_by_default_no_picture_is_in_two_parts(file: Path) -> None:
    module = data(file)
    rows = [set(module.rows(part).tolist()) for part in PARTS]
    assert not rows[0] & rows[1] | rows[0] & rows[2] | rows[1] & rows[2]
    assert 0 < sum(len(module.part_votes(part)) for part in PARTS) < 150


def test_split_by_pairs_uses_every_vote_and_keeps_those_on_one_pair_together(file: Path) -> None:
    module = data(file, split="pairs")
    pairs = []
    for part in PARTS:
        votes = module.part_votes(part)
        rows = np.sort(votes[["row_first", "row_second"]].to_numpy(), axis=1)
        pairs.append({tuple(pair) for pair in rows.tolist()})
    assert sum(len(module.part_votes(part)) for part in PARTS) == 150
    assert not pairs[0] & pairs[1] | pairs[0] & pairs[2] | pairs[1] & pairs[2]


def test_contents_stay_together(file: Path) -> None:
    votes = pd.read_csv(file)
    group = votes["first"].str.removesuffix(".png").astype(int) // 4
    same = group == votes["second"].str.removesuffix(".png").astype(int) // 4
    votes[same].assign(content=group[same]).to_csv(file, index=False)
    module = data(file, fractions=(0.6, 0.2, 0.2))
    assert module.split_kind == "content"
    assert sum(len(module.part_votes(part)) for part in PARTS) == same.sum()  # none is left out
    contents = [set(module.part_votes(part)["content"]) for part in PARTS]
    assert not contents[0] & contents[1] | contents[0] & contents[2] | contents[1] & contents[2]


@pytest.mark.parametrize("size", [8, "all"])
def test_a_batch_lists_exactly_the_votes_between_its_pictures(file: Path, size: int | str) -> None:
    module = data(file, batch_size=size, split="pairs")
    module.features["train"] = lambda rows, views: torch.zeros(len(rows), 3)
    seen: set[tuple[int, int]] = set()
    for batch in module.train_dataloader():
        ids = batch["id"].tolist()
        expected = brute_force(module, "train", ids)
        found = {}
        for (i, j), share, n in zip(
            batch["voted"].tolist(), batch["preferred"], batch["votes"], strict=True
        ):
            found[ids[i], ids[j]] = [round(float(share * n)), round(float((1 - share) * n))]
        assert found == expected
        assert bool(batch["mos"].isnan().all())
        seen |= set(found)
    assert seen == set(brute_force(module, "train", list(range(COUNT))))


def test_each_view_is_compared_with_the_same_view() -> None:
    votes = PairVotes.counted(np.array([[2, 0], [0, 1]]), ["first", "same"], [1, 2], 3)
    assert votes.wins.tolist() == [[0, 0, 2], [0, 1, 0]]
    rows, views = torch.tensor([0, 1, 2, 0, 2]), torch.tensor([0, 1, 0, 1, 1])
    found = votes(rows, views)
    assert sorted(found["voted"].tolist()) == [[0, 2], [3, 1], [3, 4]]
    assert found["preferred"][found["votes"] == 2].tolist() == [0.5]


def test_odd_batches_and_parts_without_votes_are_refused(file: Path) -> None:
    with pytest.raises(ValueError, match="give an even number"):
        data(file, batch_size=5).train_dataloader()
    with pytest.raises(ValueError, match="no vote has both pictures in the val part"):
        data(file, fractions=(0.9, 0.05, 0.05))


def test_votes_about_pictures_that_are_not_there(file: Path) -> None:
    (file.parent / "3.png").unlink()
    votes = pd.read_csv(file)
    about = (votes["first"] == "3.png") | (votes["second"] == "3.png")
    row = int(np.flatnonzero(about)[0]) + 1
    with pytest.raises(FileNotFoundError, match=rf"votes.csv: row {row}: .*3.png does not exist"):
        data(file)


def test_a_vote_with_an_unreadable_picture_is_left_out(file: Path) -> None:
    (file.parent / "3.png").write_bytes(b"no picture")
    with pytest.warns(UserWarning, match="1 of 20 pictures cannot be decoded"):
        module = data(file, skip_unreadable=True, split="pairs")
    named = pd.concat([module.part_votes(part) for part in PARTS])[["first", "second"]]
    assert not (named == "3.png").any(axis=None)
    assert any("3.png" in module.skipped(part) for part in PARTS)


def test_official_split_and_contradicting_parts(file: Path) -> None:
    votes = pd.read_csv(file)
    pair = votes["first"].where(votes["first"] < votes["second"], votes["second"])
    parts = pd.Series(np.where(pair.str.len() > 5, "train", "test"))
    votes.assign(split=parts).to_csv(file, index=False)
    module = data(file)
    assert module.split_kind == "official"
    assert len(module.part_votes("train")) == (parts == "train").sum()
    again = votes.assign(split=parts)
    turned = again.iloc[[0]].rename(columns={"first": "second", "second": "first"})
    turned = turned.assign(split="val", vote="same")
    pd.concat([again, turned]).to_csv(file, index=False)
    with pytest.raises(ValueError, match=r"row 1: votes on .* are in several parts"):
        data(file)


@pytest.mark.parametrize("size", [6, "all"])
def test_mixed_batches_hold_votes_and_mos(
    file: Path, make_picture: Callable[..., Path], size: int | str
) -> None:
    folder = file.parent / "rated"
    names = [f"{i}.png" for i in range(15)]
    for i, name in enumerate(names):
        make_picture(folder / name, seed=50 + i)
    table = pd.DataFrame({"image": names, "mos": np.linspace(1, 5, 15)})
    table.to_csv(folder / "mos.csv", index=False)
    rated = TableData(str(folder / "mos.csv"), (1, 5), fractions=(0.6, 0.2, 0.2))
    module = MixedData(
        {"rated": rated, "voted": data(file)}, batch_size=size, num_workers=0, sampling="equal"
    )
    module.setup()
    module.features["train"] = lambda rows, views: torch.zeros(len(rows), 3)
    kinds = {0: 0, 1: 0}
    for batch in module.train_dataloader():
        rated_rows = batch["mos"].isfinite()[:, 0]
        assert torch.equal(rated_rows, batch["set"] == 0)
        assert not rated_rows[batch["voted"]].any()
        # Every picture of the votes has its partner in the batch.
        assert set(batch["voted"].unique().tolist()) <= set(range(len(batch["id"])))
        assert set(batch["id"][batch["voted"]].unique().tolist()) == set(
            batch["id"][~rated_rows].tolist()
        )
        for number in kinds:
            kinds[number] += int((batch["set"] == number).sum())
    assert min(kinds.values()) > 0
    assert set(module.vote_counts("test")) == {1}
