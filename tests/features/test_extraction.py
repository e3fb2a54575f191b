"""The same bits however extraction runs: batches, kills, processes, workers."""

from __future__ import annotations

import random
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from clipiqa_plus.clip.backbone import FrozenCLIP
from clipiqa_plus.data.base import IQADataset
from clipiqa_plus.data.transforms import AugmentedViews, FlipViews
from clipiqa_plus.features import FeatureCache
from clipiqa_plus.features.identity import Picture
from clipiqa_plus.features.plan import Item, Selection, plan
from clipiqa_plus.features.store import FeatureStore
from tests.support.feature_data import (
    ALL,
    NAMES,
    Few,
    content,
    direct,
    draw,
    extract_rank,
    extract_slowly,
    names_below,
)

sizes = st.tuples(st.sampled_from([0, 64, 2000]), st.sampled_from([0, 48, 1500]))


@given(
    st.lists(sizes, min_size=1, max_size=25),
    st.integers(1, 3),
    st.integers(1, 9),
    st.randoms(use_true_random=False),
)
@settings(max_examples=100, deadline=None)
def test_batches_stay_the_same_when_some_are_done(
    sizes: list[tuple[int, int]], views: int, batch_size: int, rng: random.Random
) -> None:
    augment = AugmentedViews([{"HorizontalFlip": {}}], count=views)
    dataset = IQADataset(lambda row: None, torch.empty(0), torch.empty(0), augment)  # type: ignore[arg-type]
    pictures = [Picture(row, f"{row}", *size) for row, size in enumerate(sizes)]
    selection = Selection.of(dataset, pictures)
    shuffled = Selection.of(dataset, rng.sample(pictures, len(pictures)))

    def keys(batches: list[list[Item]]) -> list[tuple[bytes, ...]]:
        return [sum((item.keys for item in batch), ()) for batch in batches]

    whole = keys(plan([selection], set(selection.flat_keys), batch_size))
    assert sorted(key for batch in whole for key in batch) == sorted(selection.flat_keys)
    assert all(len(batch) <= max(batch_size, views) for batch in whole)
    left = [batch for batch in whole if rng.random() < 0.5]
    missing = {key for batch in left for key in batch}
    assert keys(plan([shuffled], missing, batch_size)) == left


@pytest.mark.slow
def test_killed_at_random_moments(tmp_path: Path, processes: Any) -> None:
    names = [f"{number}.png" for number in range(30)]
    for seed, name in enumerate(names):
        draw(tmp_path / "pictures" / name, seed, (48, 40) if seed % 5 else (56, 40))

    def start(cache: str) -> Any:
        arguments = (tmp_path / cache, tmp_path / "pictures", names, FlipViews())
        child = processes.Process(target=extract_slowly, args=arguments)
        child.start()
        return child

    child = start("whole")
    child.join()
    assert child.exitcode == 0
    rng = random.Random(0)
    stored = 0
    for _ in range(4):
        # A random moment from the start on: so many shards later, and up to 30 ms after that.
        target = stored + rng.randint(0, 3)
        child = start("killed")
        while child.is_alive() and len(list((tmp_path / "killed").rglob("*.safetensors"))) < target:
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.03))
        child.kill()
        child.join()
        assert child.exitcode == -signal.SIGKILL
        stored = len(list((tmp_path / "killed").rglob("*.safetensors")))
    assert stored > 0
    child = start("killed")
    child.join()
    assert child.exitcode == 0
    whole = content(tmp_path / "whole")
    assert len(whole) == 26 * 2 + 4
    assert stored < len(list((tmp_path / "whole").rglob("*.safetensors")))
    assert content(tmp_path / "killed") == whole
    # Even the files are the same: with a shard for every batch, their names say so.
    assert names_below(tmp_path / "killed") == names_below(tmp_path / "whole")
    assert not list((tmp_path / "killed").rglob("*.part"))


def run_ranks(
    processes: Any, folder: Path, size: int, names: list[str], batch_size: int = 2
) -> list[dict[str, Any]]:
    """Let some ranks extract together; return what each wrote and got, or its error."""
    out = Path(tempfile.mkdtemp(dir=folder))
    places = (out / "meeting", folder / "cache", folder / "pictures", names, out)
    children = [
        processes.Process(target=extract_rank, args=(rank, size, batch_size, *places))
        for rank in range(size)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join(120)
        assert child.exitcode == 0
    return [torch.load(out / f"{rank}.pt") for rank in range(size)]


@pytest.mark.slow
def test_processes_share_the_work(
    clip: FrozenCLIP, root: Path, tmp_path: Path, processes: Any
) -> None:
    first, second = run_ranks(processes, tmp_path, 2, NAMES)
    assert len(first["written"]) + len(second["written"]) == 12
    assert not set(first["written"]) & set(second["written"])
    assert min(len(first["written"]), len(second["written"])) >= 4
    for part in ALL:
        assert torch.equal(first["features"][part], second["features"][part])
    found = first["features"]["train"][5]
    torch.testing.assert_close(found, direct(clip, root / NAMES[5]), atol=1e-5, rtol=0)
    # Another number of processes finds all of it, and encodes what is new or damaged.
    draw(root / "a.png", 500)
    damaged, *_ = (tmp_path / "cache").rglob("*.safetensors")
    lost = len(load_file(damaged)["keys"])
    damaged.write_bytes(damaged.read_bytes()[:-1])
    results = run_ranks(processes, tmp_path, 3, NAMES)
    written = [key for result in results for key in result["written"]]
    assert len(written) == len(set(written))
    assert len(written) in (lost, lost + 1)  # the new one's forerunner may be among the lost
    found = results[2]["features"]["train"][0]
    torch.testing.assert_close(found, direct(clip, root / "a.png"), atol=1e-5, rtol=0)


@pytest.mark.slow
def test_all_processes_take_a_mended_shard_up(root: Path, tmp_path: Path, processes: Any) -> None:
    run_ranks(processes, tmp_path, 2, NAMES, batch_size=16)  # one batch, one shard for each
    for shard in sorted((tmp_path / "cache").rglob("*.safetensors")):
        whole = shard.read_bytes()
        shard.write_bytes(whole[:-1])
        results = run_ranks(processes, tmp_path, 2, NAMES, batch_size=16)
        assert all("features" in result for result in results), results
        assert shard.read_bytes() == whole


def test_shard_removed_while_it_is_looked_at_is_found_when_it_comes_back(
    clip: FrozenCLIP, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a second process sees while the first one mends a damaged shard."""
    writer, reader = (FeatureStore(tmp_path, clip.describe(), clip.dim) for _ in range(2))
    key, features = bytes(32), torch.randn(1, clip.dim)
    shard = writer.write([key], features)
    read_keys = FeatureStore._keys

    def removed_first(store: FeatureStore, path: Path) -> list[bytes]:
        path.unlink()
        return read_keys(store, path)

    monkeypatch.setattr(FeatureStore, "_keys", removed_first)
    assert reader.missing([key]) == {key}
    monkeypatch.setattr(FeatureStore, "_keys", read_keys)
    assert writer.write([key], features) == shard
    assert reader.missing([key]) == set()
    assert torch.equal(reader.read([key]), features)


@pytest.mark.slow
def test_all_processes_name_the_broken_picture(root: Path, tmp_path: Path, processes: Any) -> None:
    (root / "f.png").write_bytes(b"not a picture")
    for result in run_ranks(processes, tmp_path, 2, NAMES):
        assert "f.png: not a readable image" in result["error"]


@pytest.mark.slow
def test_runs_at_the_same_time_do_the_work_once(root: Path, tmp_path: Path, processes: Any) -> None:
    arguments = (tmp_path / "cache", root, NAMES, FlipViews())
    children = [processes.Process(target=extract_slowly, args=arguments) for _ in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join(120)
        assert child.exitcode == 0
    assert len(content(tmp_path / "cache")) == 20
    assert (tmp_path / "cache.encoded").stat().st_size == 20


def test_workers_give_the_same_bits_and_leave_the_generator_alone(
    clip: FrozenCLIP, root: Path, tmp_path: Path
) -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    for workers in (0, 2):
        cache = FeatureCache(str(tmp_path / f"cache{workers}"), num_workers=workers)
        cache.tables(clip, Few(root, NAMES, train_views=FlipViews()), ALL)
    assert torch.equal(torch.rand(3), expected)
    assert content(tmp_path / "cache0") == content(tmp_path / "cache2")
