import json
import os

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipiqa_plus.data.splits import (
    PARTS,
    kfold_split,
    load_split,
    make_split,
    official_split,
    random_split,
)


def names(split, ids):
    """The sample ids of each part."""
    ids = np.asarray(ids, dtype=object)
    return {part: set(ids[getattr(split, part)]) for part in PARTS}


def table(n=100, contents=10):
    return pd.DataFrame(
        {
            "image": [f"{i:04d}.jpg" for i in range(n)],
            "content": [f"I{i % contents:02d}" for i in range(n)],
        }
    )


# Sizes of the literature's protocols: SPAQ, AGIQA-3K (images), KonIQ-10k at 7:1:2; references of
# TID2013, CSIQ and LIVE.
@pytest.mark.parametrize(
    ("n", "fractions", "sizes"),
    [
        (11_125, (0.8, 0.0, 0.2), (8_900, 0, 2_225)),
        (2_982, (0.8, 0.0, 0.2), (2_385, 0, 597)),
        (10_073, (0.7, 0.1, 0.2), (7_051, 1_007, 2_015)),
        (25, (0.8, 0.0, 0.2), (20, 0, 5)),
        (30, (0.8, 0.0, 0.2), (24, 0, 6)),
        (29, (0.8, 0.0, 0.2), (23, 0, 6)),
        (10, (0.9, 0.1, 0.0), (9, 1, 0)),
        (10, (1.0, 0.0, 0.0), (10, 0, 0)),
    ],
)
def test_sizes_of_random_split(n, fractions, sizes):
    split = random_split(table(n)["image"], fractions)
    assert (len(split.train), len(split.val), len(split.test)) == sizes
    together = np.concatenate([split.train, split.val, split.test])
    assert sorted(together) == list(range(n))


def test_random_split_is_the_documented_draw():
    # By hand: rank the raw PCG64 numbers, deal the sorted ids in that order.
    ids = ["d", "a", "c", "b", "e"]
    raw = np.random.PCG64(np.random.SeedSequence([7, 2])).random_raw(5)
    dealt = [sorted(ids)[k] for k in np.argsort(raw)]
    got = names(random_split(ids, (0.6, 0.2, 0.2), seed=7, repeat=2), ids)
    assert got == {"train": set(dealt[:3]), "val": {dealt[3]}, "test": {dealt[4]}}


def test_same_split_on_every_machine():
    # Frozen values: another numpy, pandas or platform must give the same split.
    frame = table(50, contents=7)
    assert list(make_split(frame, "random", seed=3).test) == FROZEN_RANDOM
    assert make_split(frame, "content", seed=3, repeat=4).digest == FROZEN_CONTENT
    assert make_split(frame, "kfold", seed=3, repeat=1).digest == FROZEN_KFOLD


FROZEN_RANDOM = [2, 15, 21, 24, 27, 33, 40, 43, 46, 48]
FROZEN_CONTENT = "332d14e81a7e4da976cc137c9eb85b7298ae7f9764e0ebdb5811eed1420ccfd2"
FROZEN_KFOLD = "bbbfff9119410bd85805272b84315d3bcecb5ae0b8b52be675a1d62afd8ab3c6"


@pytest.mark.parametrize("kind", ["random", "content", "kfold", "kfold_content", "whole"])
def test_row_order_does_not_matter(kind):
    frame = table()
    mixed = frame.sample(frac=1, random_state=0)
    one, two = make_split(frame, kind, seed=1), make_split(mixed, kind, seed=1)
    assert names(one, frame["image"]) == names(two, mixed["image"])
    assert one.digest == two.digest


def test_repeats_and_seeds_differ():
    frame = table()
    digests = {
        make_split(frame, "random", seed=s, repeat=r).digest for s in range(3) for r in range(10)
    }
    assert len(digests) == 30


@settings(deadline=None, max_examples=60)
@given(
    contents=st.lists(st.sampled_from(["I01", "i01", "I02", "i03", "I03", "4", "5"]), min_size=30),
    seed=st.integers(0, 2**32),
    fractions=st.sampled_from([(0.5, 0.0, 0.5), (0.4, 0.3, 0.3), (0.6, 0.4, 0.0)]),
)
def test_no_content_in_two_parts(contents, seed, fractions):
    if len({c.casefold() for c in contents}) < 4:
        return
    ids = [f"{i}.bmp" for i in range(len(contents))]
    for split in (
        random_split(ids, fractions, seed, contents=contents),
        kfold_split(ids, 3, 1, seed, contents=contents),
    ):
        folded = np.array([c.casefold() for c in contents])
        parts = [set(folded[getattr(split, part)]) for part in PARTS]
        assert not parts[0] & parts[1] | parts[0] & parts[2] | parts[1] & parts[2]
        assert sum(len(getattr(split, part)) for part in PARTS) == len(ids)


def test_content_split_shares_out_contents_not_samples():
    # One content with most of the samples: 2 of 10 contents test, whatever their size.
    contents = ["big"] * 91 + [f"c{i}" for i in range(9)]
    split = random_split([str(i) for i in range(100)], contents=contents, seed=0)
    assert len({contents[i] for i in split.test}) == 2


@pytest.mark.parametrize("kind", ["kfold", "kfold_content"])
def test_folds_test_every_sample_once(kind):
    frame = table(103, contents=10)
    splits = [make_split(frame, kind, folds=4, repeat=fold, seed=2) for fold in range(4)]
    tested = np.concatenate([split.test for split in splits])
    assert sorted(tested) == list(range(103))
    for split in splits:
        assert sorted([*split.train, *split.test]) == list(range(103))
    if kind == "kfold":
        assert sorted(len(split.test) for split in splits) == [25, 26, 26, 26]


def test_official_split_takes_the_column_and_leaves_out_empty_ones():
    frame = table(6).assign(split=["train", "val", "test", "", None, "train"])
    split = make_split(frame, "official")
    assert [list(part) for part in (split.train, split.val, split.test)] == [[0, 5], [1], [2]]


def test_whole_set_tests():
    assert len(make_split(table(7), "whole").test) == 7


@pytest.mark.parametrize("kind", ["official", "random", "content", "kfold"])
def test_saved_split_loads_equal_for_any_row_order(kind, tmp_path):
    frame = table().assign(split=["train", "val", "test", ""] * 25)
    saved = make_split(frame, kind, seed=4, fractions=(0.7, 0.1, 0.2))
    saved.save(tmp_path / "runs" / "split.json")
    mixed = frame.sample(frac=1, random_state=1)
    loaded = load_split(tmp_path / "runs" / "split.json", mixed["image"])
    assert names(loaded, mixed["image"]) == names(saved, frame["image"])
    assert loaded.digest == saved.digest
    assert (loaded.kind, loaded.seed, loaded.fractions) == (kind, saved.seed, saved.fractions)
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["split.json"]
    assert make_split(mixed, str(tmp_path / "runs" / "split.json")).digest == saved.digest


def test_split_file_is_small(tmp_path):
    random_split([f"images/{i}.jpg" for i in range(50_000)]).save(tmp_path / "split.json")
    assert (tmp_path / "split.json").stat().st_size < 51_000


def test_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "split.json"
    random_split(["a", "b", "c"], (0.5, 0, 0.5)).save(path)
    old = path.read_bytes()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        random_split(["a", "b"], (0.5, 0, 0.5)).save(path)
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


def test_split_by_hand(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"parts": {"train": ["b", "a"], "test": ["d"]}}))
    split = load_split(path, ["a", "b", "c", "d"])
    assert [list(part) for part in (split.train, split.val, split.test)] == [[0, 1], [], [3]]


class TestBadInput:
    def test_altered_file(self, tmp_path):
        path = tmp_path / "split.json"
        random_split(list("abcdefgh"), (0.5, 0, 0.5)).save(path)
        content = json.loads(path.read_text())
        content["parts"] = content["parts"][::-1]
        path.write_text(json.dumps(content))
        with pytest.raises(ValueError, match=r"split\.json: the split was altered"):
            load_split(path, list("abcdefgh"))

    def test_truncated_file(self, tmp_path):
        path = tmp_path / "split.json"
        random_split(list("abcdefgh"), (0.5, 0, 0.5)).save(path)
        path.write_text(path.read_text()[:100])
        with pytest.raises(ValueError, match=r"split\.json: not a split file"):
            load_split(path, list("abcdefgh"))

    @pytest.mark.parametrize("text", ["[]", "3", "{}", '{"parts": {}}', '{"parts": {"train": []}}'])
    def test_not_a_split_file(self, tmp_path, text):
        path = tmp_path / "split.json"
        path.write_text(text)
        with pytest.raises(ValueError, match=r"split\.json"):
            load_split(path, ["a"])

    def test_split_of_other_samples(self, tmp_path):
        random_split(list("abcdefgh"), (0.5, 0, 0.5)).save(tmp_path / "split.json")
        with pytest.raises(ValueError, match=r"made for 8 other sample ids .* has 7"):
            load_split(tmp_path / "split.json", list("abcdefg"))

    def test_unknown_sample_ids(self, tmp_path):
        path = tmp_path / "mine.json"
        path.write_text(json.dumps({"parts": {"train": ["a", "x"], "test": ["b", "y"]}}))
        with pytest.raises(ValueError, match=r"2 of 4 sample ids are not in the data set \(x, y\)"):
            load_split(path, ["a", "b"])

    def test_sample_in_two_parts(self, tmp_path):
        path = tmp_path / "mine.json"
        path.write_text(json.dumps({"parts": {"train": ["a"], "test": ["b", "a"]}}))
        with pytest.raises(ValueError, match="'a' is listed twice, in train and test"):
            load_split(path, ["a", "b"])

    def test_unknown_part(self, tmp_path):
        path = tmp_path / "mine.json"
        path.write_text(json.dumps({"parts": {"training": ["a"]}}))
        with pytest.raises(ValueError, match="use train, val, test"):
            load_split(path, ["a"])

    def test_no_such_kind_or_file(self):
        with pytest.raises(FileNotFoundError, match="by_reference: no such split file; a split is"):
            make_split(table(), "by_reference")

    def test_repeated_sample_ids(self):
        with pytest.raises(ValueError, match="'b' is in rows 2 and 4"):
            random_split(["a", "b", "c", "b"])

    def test_no_samples(self):
        with pytest.raises(ValueError, match="no samples"):
            random_split([])

    def test_missing_columns(self):
        frame = table()[["image"]]
        with pytest.raises(ValueError, match="'content' needs a column 'content'"):
            make_split(frame, "content")
        with pytest.raises(ValueError, match="'official' needs a column 'split'"):
            make_split(frame, "official")

    def test_empty_content(self):
        with pytest.raises(ValueError, match="row 2 has no content"):
            random_split(["a", "b"], contents=["I01", None])

    def test_unknown_official_part(self):
        with pytest.raises(ValueError, match=r"row 2 \(b\): split is 'training'"):
            official_split(["a", "b"], ["train", "training"])

    @pytest.mark.parametrize("fractions", [(0.8, 0.2), (0.8, 0.1, 0.2), (1.2, -0.2, 0.0)])
    def test_fractions_that_do_not_add_up(self, fractions):
        with pytest.raises(ValueError, match="add up to 1"):
            random_split(list("abcdef"), fractions)

    def test_empty_part(self):
        with pytest.raises(ValueError, match=r"of 3 contents give part sizes \(2, 0, 1\)"):
            random_split(list("abcdef"), (0.8, 0.1, 0.1), contents=list("aabbcc"))

    def test_folds(self):
        with pytest.raises(ValueError, match="11 folds of 10"):
            make_split(table(), "kfold_content", folds=11)
        with pytest.raises(ValueError, match="fold 5 of 5"):
            make_split(table(), "kfold", folds=5, repeat=5)


@pytest.mark.slow
def test_a_million_samples():
    ids = pd.Series(np.arange(1_000_000).astype(str))
    split = random_split(ids, (0.8, 0.1, 0.1), seed=0)
    assert (len(split.train), len(split.val), len(split.test)) == (800_000, 100_000, 100_000)
    assert split.train.dtype == np.int64
