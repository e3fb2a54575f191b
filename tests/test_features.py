from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning.pytorch import LightningModule, Trainer
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from clipiqa_plus.backbone import FrozenCLIP
from clipiqa_plus.data.base import FileReader, IQADataset
from clipiqa_plus.data.transforms import AugmentedViews, FlipViews, PlainView
from clipiqa_plus.features import FeatureCache, FeatureTable, info, prune, verify
from clipiqa_plus.features.identity import Picture
from clipiqa_plus.features.plan import Item, Selection, plan
from clipiqa_plus.features.store import FACTS_FILE, FeatureStore
from clipiqa_plus.module import CLIPIQAPlus, PromptConfig
from tests.conftest import small_clip
from tests.features_data import Few, content, draw, extract_rank, extract_slowly

NAMES = [f"{letter}.png" for letter in "abcdefghijkl"]
ALL = ["train", "test"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder of 12 pictures, one of them of another size."""
    for seed, name in enumerate(NAMES):
        draw(tmp_path / "pictures" / name, seed, (64, 32) if name == "c.png" else (48, 40))
    return tmp_path / "pictures"


@pytest.fixture
def cache(tmp_path: Path) -> FeatureCache:
    return FeatureCache(str(tmp_path / "cache"))


class Counter:
    """Counts the images that are really encoded."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.images = 0
        encode = FrozenCLIP.encode_image

        def counting(clip: FrozenCLIP, images: Any) -> Tensor:
            self.images += len(images)
            return encode(clip, images)

        patch.setattr(FrozenCLIP, "encode_image", counting)

    def since(self) -> int:
        count, self.images = self.images, 0
        return count


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> Counter:
    return Counter(monkeypatch)


@pytest.fixture
def processes() -> Any:
    """Child processes that have imported everything already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.features_data"])
    return context


def direct(clip: FrozenCLIP, path: Path, flip: bool = False) -> Tensor:
    """The feature of a picture by Pillow, numpy and the backbone alone."""
    image = np.asarray(Image.open(path).convert("RGB"))
    image = image[:, ::-1] if flip else image
    return clip.encode_image(torch.from_numpy(image.copy()).movedim(-1, 0)[None])[0]


def names_below(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*.safetensors")}


def shards(cache: FeatureCache) -> list[Path]:
    return sorted(cache.dir.rglob("*.safetensors"))


# ------------------------------------------------------------------ what is looked up


@pytest.mark.parametrize(("dtype", "tolerance"), [("fp32", 1e-5), ("fp16", 3e-4)])
def test_looks_up_what_the_backbone_gives(
    clip: FrozenCLIP, root: Path, tmp_path: Path, dtype: Any, tolerance: float
) -> None:
    data = Few(root, NAMES, train_views=FlipViews())
    cache = FeatureCache(str(tmp_path / "cache"), dtype=dtype, batch_size=5)
    tables = cache.tables(clip, data, ALL)
    for row, view in [(7, 0), (0, 1), (2, 1), (2, 0)]:
        found = tables["train"](torch.tensor([row]), torch.tensor([view]))
        assert found.dtype == torch.float32
        # Another batch size moves the last bits of fp32; fp16 keeps 11 bits of entries below 1.
        expected = direct(clip, root / NAMES[row], flip=view == 1)[None]
        torch.testing.assert_close(found, expected, atol=tolerance, rtol=0)
    batch = tables["test"](torch.tensor([11, 8]), torch.tensor([0, 0]))
    expected = torch.stack([direct(clip, root / NAMES[row]) for row in (11, 8)])
    torch.testing.assert_close(batch, expected, atol=tolerance, rtol=0)


def test_resize_and_random_views_are_those_of_the_data_set(clip: FrozenCLIP, root: Path) -> None:
    views = AugmentedViews([{"RandomCrop": {"height": 36, "width": 36}}], count=3, seed=5)
    data = Few(root, NAMES, train_views=views, resize=38)
    table = FeatureCache(str(root / "cache")).tables(clip, data, ["train"])["train"]
    image = data.dataset("train").picture(4, 2)
    expected = clip.encode_image(torch.from_numpy(image.copy()).movedim(-1, 0)[None])
    assert image.shape == (36, 36, 3)
    found = table(torch.tensor([4]), torch.tensor([2]))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_table_refuses_what_it_does_not_hold() -> None:
    table = FeatureTable(torch.rand(2, 3, 4), np.array([5, 2]))
    torch.testing.assert_close(
        table(torch.tensor([2, 5]), torch.tensor([2, 0])), table.features[[5, 0]]
    )
    for row, view in [(3, 0), (6, 0), (600, 0), (-1, 0), (-7, 0), (5, 3), (5, -1)]:
        with pytest.raises(IndexError, match=f"row {row} with view {view}"):
            table(torch.tensor([2, row]), torch.tensor([0, view]))


# ------------------------------------------------------------------ what is encoded again


def test_encodes_once(clip: FrozenCLIP, root: Path, cache: FeatureCache, encoded: Counter) -> None:
    data = Few(root, NAMES, train_views=FlipViews())
    first = cache.tables(clip, data, ALL)
    assert encoded.since() == 8 * 2 + 4
    second = cache.tables(clip, data, ALL)
    assert encoded.since() == 0
    assert torch.equal(first["train"].features, second["train"].features)


def test_copies_of_a_picture_are_encoded_once(
    clip: FrozenCLIP, root: Path, cache: FeatureCache, encoded: Counter
) -> None:
    shutil.copy(root / "a.png", root / "b.png")  # both in train
    shutil.copy(root / "a.png", root / "l.png")  # in test
    tables = cache.tables(clip, Few(root, NAMES), ALL)
    assert encoded.since() == 10
    a, b = tables["train"](torch.tensor([0, 1]), torch.tensor([0, 0]))
    (last,) = tables["test"](torch.tensor([11]), torch.tensor([0]))
    assert torch.equal(a, b)
    assert torch.equal(a, last)


def test_part_order_and_place_of_a_picture_do_not_matter(
    clip: FrozenCLIP, root: Path, cache: FeatureCache, encoded: Counter, tmp_path: Path
) -> None:
    before = cache.tables(clip, Few(root, NAMES), ALL)
    encoded.since()
    moved = tmp_path / "elsewhere"
    root.rename(moved)
    for name in NAMES[:3]:
        (moved / name).rename(moved / f"new-{name}")
        os.utime(moved / f"new-{name}", (1, 1))
    names = [f"new-{name}" if name in NAMES[:3] else name for name in NAMES][::-1]
    after = cache.tables(clip, Few(moved, names), ALL)
    assert encoded.since() == 0
    # Row 0 was in train; reversed it is row 11, in test.
    was = before["train"](torch.tensor([0]), torch.tensor([0]))
    assert torch.equal(after["test"](torch.tensor([11]), torch.tensor([0])), was)


def test_plain_picture_is_shared_with_the_flips(
    clip: FrozenCLIP, root: Path, cache: FeatureCache, encoded: Counter
) -> None:
    cache.tables(clip, Few(root, NAMES), ALL)
    assert encoded.since() == 12
    cache.tables(clip, Few(root, NAMES, train_views=FlipViews()), ALL)
    assert encoded.since() == 8  # the mirror images of train only
    assert len(content(cache.dir)) == 20


def test_changed_picture_alone_is_encoded_again(
    clip: FrozenCLIP, root: Path, cache: FeatureCache, encoded: Counter
) -> None:
    data = Few(root, NAMES, train_views=FlipViews())
    cache.tables(clip, data, ALL)
    encoded.since()
    path = root / NAMES[1]
    status = path.stat()
    draw(path, 1000)
    path.write_bytes(path.read_bytes().ljust(status.st_size, b"\0"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))  # as cp -p and archives do
    table = cache.tables(clip, data, ALL)["train"]
    assert encoded.since() == 2
    found = table(torch.tensor([1]), torch.tensor([1]))[0]
    torch.testing.assert_close(found, direct(clip, path, flip=True), atol=1e-5, rtol=0)


def test_digests_are_remembered_only_while_a_file_is_unchanged(
    clip: FrozenCLIP, root: Path, cache: FeatureCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    from clipiqa_plus.features import identity

    data = Few(root, NAMES)
    read: list[Path] = []
    digest = identity._digest

    def reading(path: Path) -> Any:
        read.append(path)
        return digest(path)

    monkeypatch.setattr(identity, "_digest", reading)
    for _ in range(2):
        cache.tables(clip, data, ALL)
        assert len(read) == 12  # so young a file may change without a new time
        read.clear()
    monkeypatch.setattr(identity, "_RACY", 0)
    cache.tables(clip, data, ALL)
    read.clear()
    cache.tables(clip, data, ALL)
    assert not read
    path = root / NAMES[2]
    status = path.stat()
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    cache.tables(clip, data, ALL)
    assert read == [path]


def test_other_readers_identify_their_pictures(
    clip: FrozenCLIP, root: Path, cache: FeatureCache, encoded: Counter
) -> None:
    class Painter:
        def __init__(self, shade: int) -> None:
            self.shade = shade

        def __call__(self, row: int) -> Any:
            return np.full((40, 40, 3), 10 * row + self.shade, dtype=np.uint8)

        def identity(self, row: int) -> str:
            return f"shade {10 * row + self.shade}"

    class Painted(Few):
        painter = Painter(0)

        def reader(self) -> Painter:
            return self.painter

    data = Painted(root, NAMES)
    cache.tables(clip, data, ALL)
    assert encoded.since() == 12
    data.painter = Painter(10)  # each shade moves on by one row
    table = cache.tables(clip, data, ALL)["train"]
    assert encoded.since() == 1
    image = torch.full((1, 3, 40, 40), 40, dtype=torch.uint8)
    found = table(torch.tensor([3]), torch.tensor([0]))
    torch.testing.assert_close(found, clip.encode_image(image), atol=1e-5, rtol=0)


def test_more_views_and_another_row_of_random_views(
    clip: FrozenCLIP, root: Path, cache: FeatureCache, encoded: Counter
) -> None:
    def views(count: int, seed: int = 0) -> AugmentedViews:
        return AugmentedViews([{"RandomCrop": {"height": 32, "width": 32}}], count, seed)

    cache.tables(clip, Few(root, NAMES, train_views=views(2)), ["train"])
    assert encoded.since() == 16
    cache.tables(clip, Few(root, NAMES, train_views=views(3)), ["train"])
    assert encoded.since() == 8  # the third view of each
    # A random view depends on the row: rows that moved by one have other views.
    table = cache.tables(clip, Few(root, NAMES[1:], train_views=views(2)), ["train"])["train"]
    assert encoded.since() == 14
    data = Few(root, NAMES[1:], train_views=views(2))
    image = torch.from_numpy(data.dataset("train").picture(3, 1).copy()).movedim(-1, 0)
    torch.testing.assert_close(
        table(torch.tensor([3]), torch.tensor([1])),
        clip.encode_image(image[None]),
        atol=1e-5,
        rtol=0,
    )
    cache.tables(clip, Few(root, NAMES, train_views=views(2, seed=1)), ["train"])
    assert encoded.since() == 17  # 16 of the cache, and the one encoded above


def test_every_fact_of_the_encoding_has_its_own_store(root: Path, tmp_path: Path) -> None:
    def folders(backbone: FrozenCLIP, dtype: Any = "fp32", **options: Any) -> set[str]:
        cache = FeatureCache(str(tmp_path / "cache"), dtype=dtype)
        cache.tables(backbone, Few(root, NAMES, **options), ["test"])
        return {path.parent.name for path in cache.dir.glob(f"*/{FACTS_FILE}")}

    sizes = [len(folders(small_clip()))]
    sizes.append(len(folders(small_clip(seed=1))))
    sizes.append(len(folders(small_clip(pos_embedding=True))))
    weights = "small-resnet-0".ljust(64, "0")
    half = FrozenCLIP(small_clip().clip, "small-resnet-0", weights, precision="bf16")
    sizes.append(len(folders(half)))
    sizes.append(len(folders(small_clip(), resize=36)))
    sizes.append(len(folders(small_clip(), resize=[36, 40])))
    sizes.append(len(folders(small_clip(), dtype="fp16")))
    assert sizes == [1, 2, 3, 4, 5, 6, 7]
    renamed = FrozenCLIP(small_clip().clip, "by-path", weights)
    assert len(folders(renamed)) == 7  # the same weights by another name


def test_decoder_that_gives_other_pixels_has_its_own_store(
    clip: FrozenCLIP, root: Path, cache: FeatureCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.tables(clip, Few(root, NAMES), ["test"])
    monkeypatch.setattr("clipiqa_plus.features.store.pixel_probe", lambda: "other")
    cache.tables(clip, Few(root, NAMES), ["test"])
    assert len(list(cache.dir.glob(f"*/{FACTS_FILE}"))) == 2


def test_encoding_is_the_one_of_this_format() -> None:
    """Stored features must not outlive a change of the encoding.

    If this fails because decoding, resizing or encoding gives other features on purpose: raise
    FORMAT in features/store.py and take the new numbers over.
    """
    y, x = torch.meshgrid(torch.arange(40), torch.arange(56), indexing="ij")
    image = torch.stack([x * 4, y * 6, (x + y) * 2]).to(torch.uint8)
    for clip, expected in [
        (small_clip(), GOLDEN["dropped"]),
        (small_clip(pos_embedding=True), GOLDEN["kept"]),
        (small_clip(vit=True), GOLDEN["vit"]),
    ]:
        found = clip.encode_image(image[None])[0, :4]
        # Machines differ by 1e-6; a changed rule by far more.
        torch.testing.assert_close(found, torch.tensor(expected), atol=1e-4, rtol=0)


GOLDEN = {
    "dropped": [0.18807, 0.06697, -0.1529, -0.13306],
    "kept": [0.21882, 0.0832, -0.18062, -0.07336],
    "vit": [-0.08885, -0.18559, 0.23991, 0.08699],
}


# ------------------------------------------------------------------ damage


@pytest.mark.parametrize("how", ["flipped bit", "cut", "emptied", "foreign"])
def test_damaged_shard_is_named_and_encoded_again(
    clip: FrozenCLIP, root: Path, cache: FeatureCache, encoded: Counter, how: str, tmp_path: Path
) -> None:
    data = Few(root, NAMES)
    good = cache.tables(clip, data, ALL)["train"].features
    encoded.since()
    (shard,) = shards(cache)
    whole = shard.read_bytes()
    if how == "flipped bit":
        shard.write_bytes(whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:])
    elif how == "cut":
        shard.write_bytes(whole[: len(whole) // 2])
    elif how == "emptied":
        shard.write_bytes(b"")
    else:
        other = FeatureCache(str(tmp_path / "other"))
        other.tables(small_clip(seed=1), data, ALL)
        shard.unlink()
        (foreign,) = shards(other)
        shard = shard.with_name(foreign.name)
        shutil.copy(foreign, shard)
    assert [damage.path for damage in verify(cache.dir)] == ([] if how == "foreign" else [shard])
    encoded.since()
    with pytest.warns(UserWarning, match=f"{shard.name} is damaged"):
        again = cache.tables(clip, data, ALL)["train"].features
    assert encoded.since() == 12
    assert torch.equal(again, good)
    assert shard not in [path for path in shards(cache) if path.read_bytes() != whole]
    assert verify(cache.dir) == []


def test_store_that_describes_another_is_refused(
    clip: FrozenCLIP, root: Path, cache: FeatureCache
) -> None:
    cache.tables(clip, Few(root, NAMES), ["test"])
    (facts,) = cache.dir.glob(f"*/{FACTS_FILE}")
    text = facts.read_text()
    facts.write_text(text.replace('"dtype": "fp32"', '"dtype": "fp16"'))
    with pytest.raises(ValueError, match=r"store\.json describes another store"):
        cache.tables(clip, Few(root, NAMES), ["test"])
    assert [damage.path for damage in verify(cache.dir)] == [facts]
    facts.write_text(text[:40])
    with pytest.raises(ValueError, match=r"store\.json is damaged"):
        cache.tables(clip, Few(root, NAMES), ["test"])


def test_broken_picture_is_named_and_the_others_are_kept(
    clip: FrozenCLIP, root: Path, cache: FeatureCache, encoded: Counter
) -> None:
    (root / "f.png").write_bytes((root / "f.png").read_bytes()[:200])
    cache = FeatureCache(str(cache.dir), batch_size=1)
    data = Few(root, NAMES)
    with pytest.raises(ValueError, match=r"f\.png: not a readable image"):
        cache.tables(clip, data, ALL)
    done = encoded.since()
    assert len(content(cache.dir)) == done
    draw(root / "f.png", 5)
    cache.tables(clip, data, ALL)
    assert encoded.since() == 12 - done


def test_picture_too_small_is_named(clip: FrozenCLIP, root: Path, cache: FeatureCache) -> None:
    draw(root / "f.png", 0, (48, 20))
    with pytest.raises(ValueError, match=r"f\.png: a picture of 48x20 pixels is too small"):
        cache.tables(clip, Few(root, NAMES), ALL)


def test_picture_that_changes_while_it_is_read(
    clip: FrozenCLIP, root: Path, cache: FeatureCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = FileReader.__call__

    def replacing(reader: FileReader, row: int) -> Any:
        draw(root / "f.png", 99)
        return read(reader, row)

    monkeypatch.setattr(FileReader, "__call__", replacing)
    with pytest.raises(ValueError, match=r"f\.png has changed since the extraction began"):
        cache.tables(clip, Few(root, NAMES), ALL)


def test_features_that_are_not_finite_are_refused(
    clip: FrozenCLIP, root: Path, cache: FeatureCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = FrozenCLIP.encode_image

    def overflowing(self: FrozenCLIP, images: Any) -> Tensor:
        features = encode(self, images)
        if images.shape[-1] == 64:  # c.png
            features[0, 3] = float("nan")
        return features

    monkeypatch.setattr(FrozenCLIP, "encode_image", overflowing)
    with pytest.raises(ValueError, match=r"c\.png: its features are not finite"):
        cache.tables(clip, Few(root, NAMES), ALL)


def test_missing_picture_is_named(clip: FrozenCLIP, root: Path, cache: FeatureCache) -> None:
    data = Few(root, NAMES)
    (root / "b.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"b\.png: no such image"):
        cache.tables(clip, data, ALL)


def test_cache_that_cannot_be_written(clip: FrozenCLIP, root: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="cannot be written"):
        FeatureCache(str(tmp_path / "file" / "cache")).tables(clip, Few(root, NAMES), ALL)


def test_complete_cache_may_be_read_only(
    clip: FrozenCLIP, root: Path, cache: FeatureCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = cache.tables(clip, Few(root, NAMES), ALL)["test"].features

    def refuse(*args: Any, **options: Any) -> None:
        raise PermissionError("read-only")

    for name in ("replace", "utime", "mkdir"):
        monkeypatch.setattr(os, name, refuse)
    monkeypatch.setattr(Path, "write_text", refuse)
    monkeypatch.setattr("filelock.FileLock.acquire", refuse)
    assert torch.equal(cache.tables(clip, Few(root, NAMES), ALL)["test"].features, before)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"batch_size": 0}, "batch_size of the cache is 0"), ({"dtype": "fp8"}, "dtype 'fp8'")],
)
def test_bad_options(
    clip: FrozenCLIP, root: Path, options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        FeatureCache(str(tmp_path / "c"), **options).tables(clip, Few(root, NAMES), ALL)


# ------------------------------------------------------------------ the same bits, always


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


def test_all_processes_name_the_broken_picture(root: Path, tmp_path: Path, processes: Any) -> None:
    (root / "f.png").write_bytes(b"not a picture")
    for result in run_ranks(processes, tmp_path, 2, NAMES):
        assert "f.png: not a readable image" in result["error"]


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


# ------------------------------------------------------------------ as a callback


def module(clip: FrozenCLIP) -> CLIPIQAPlus:
    return CLIPIQAPlus(
        clip,
        prompts=PromptConfig(n_ctx=4),
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.002),
    )


def trainer(cache: FeatureCache | None, folder: Path, **options: Any) -> Trainer:
    return Trainer(
        callbacks=[cache] if cache else [],
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        **options,
    )


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What the batches that the module saw hold: features or image."""
    seen: list[str] = []
    scores = CLIPIQAPlus._scores

    def watching(self: CLIPIQAPlus, batch: dict[str, Any]) -> Tensor:
        seen.append("features" if "features" in batch else "image")
        return scores(self, batch)

    monkeypatch.setattr(CLIPIQAPlus, "_scores", watching)
    yield seen
    seen.clear()


@pytest.mark.parametrize("stage", ["fit", "validate", "test", "predict"])
def test_every_stage_runs_on_features(
    root: Path, cache: FeatureCache, tmp_path: Path, stage: str, batches: list[str]
) -> None:
    data = Few(root, NAMES, val=3, train_views=FlipViews())
    model = module(small_clip()).zero_shot() if stage != "fit" else module(small_clip())
    runner = trainer(cache, tmp_path, max_epochs=1)
    getattr(runner, stage)(model, datamodule=data)
    assert batches
    assert set(batches) == {"features"}
    expected = {"fit": {"train", "val"}, "validate": {"val"}}.get(stage, {"test"})
    assert set(data.features) == expected


def test_cached_and_live_training_give_the_same_tokens(
    root: Path, cache: FeatureCache, tmp_path: Path, batches: list[str]
) -> None:
    tokens = {}
    for name, callback in [("cached", cache), ("live", None)]:
        batches.clear()
        data = Few(root, NAMES, train_views=FlipViews(), batch_size=4)
        model = module(small_clip())
        start = model.prompts.ctx.detach().clone()
        trainer(callback, tmp_path, max_epochs=50).fit(model, datamodule=data)  # 100 steps
        assert len(batches) == 100
        assert set(batches) == {"features" if callback else "image"}
        tokens[name] = model.prompts.ctx.detach()
        assert (tokens[name] - start).abs().max() > 1e-3, "nothing was learned"
    # The batches that features are encoded in differ, and with them the last bits.
    torch.testing.assert_close(tokens["cached"], tokens["live"], atol=1e-5, rtol=0)


def test_endless_views_are_encoded_live(
    root: Path, cache: FeatureCache, tmp_path: Path, batches: list[str], caplog: Any
) -> None:
    views = AugmentedViews([{"RandomCrop": {"height": 32, "width": 32}}])
    data = Few(root, NAMES, val=3, train_views=views)
    with caplog.at_level("INFO"):
        trainer(cache, tmp_path, max_epochs=1, num_sanity_val_steps=0).fit(
            module(small_clip()), datamodule=data
        )
    assert batches == ["image", "features"]  # training live, validation by its features
    assert "the views of train are endless" in caplog.text


def test_says_what_it_does(clip: FrozenCLIP, root: Path, cache: FeatureCache, caplog: Any) -> None:
    data = Few(root, NAMES, train_views=FlipViews())
    with caplog.at_level("INFO"):
        cache.tables(clip, data, ALL)
    assert "train 8 pictures x 2 views, test 4 pictures x 1 view; 0 cached, 20 to" in caplog.text
    caplog.clear()
    with caplog.at_level("INFO"):
        cache.tables(clip, data, ALL)
    assert "20 cached, 0 to encode" in caplog.text


@pytest.mark.parametrize("how", ["off", "fast_dev_run"])
def test_without_a_cache_nothing_is_left_from_before(
    root: Path, cache: FeatureCache, tmp_path: Path, how: str, batches: list[str]
) -> None:
    data = Few(root, NAMES)
    model = module(small_clip()).zero_shot()
    trainer(cache, tmp_path).test(model, datamodule=data)
    assert set(data.features) == {"test"}
    batches.clear()
    if how == "off":
        runner = trainer(FeatureCache(str(cache.dir), enabled=False), tmp_path)
    else:
        runner = trainer(cache, tmp_path, fast_dev_run=True)
    runner.test(model, datamodule=data)
    assert set(batches) == {"image"}


def test_another_backbone_gets_its_own_features(
    root: Path, cache: FeatureCache, tmp_path: Path
) -> None:
    data = Few(root, NAMES)
    for seed in (0, 1):
        model = module(small_clip(seed=seed)).zero_shot()
        trainer(cache, tmp_path).test(model, datamodule=data)
        found = data.features["test"](torch.tensor([9]), torch.tensor([0]))[0]
        expected = direct(model.backbone, root / NAMES[9])
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_foreign_modules_and_data(root: Path, cache: FeatureCache, tmp_path: Path) -> None:
    data = Few(root, NAMES)
    model = module(small_clip()).zero_shot()
    trainer(cache, tmp_path).test(model, dataloaders=data.test_dataloader())  # encodes live

    class Other(LightningModule):
        def test_step(self, batch: Any, index: int) -> None: ...

    with pytest.raises(TypeError, match="Other has no FrozenCLIP"):
        trainer(cache, tmp_path).test(Other(), datamodule=data)


# ------------------------------------------------------------------ upkeep


def test_info(clip: FrozenCLIP, root: Path, cache: FeatureCache) -> None:
    with pytest.raises(FileNotFoundError, match="no such folder"):
        info(cache.dir)
    before = time.time()
    cache.tables(clip, Few(root, NAMES, train_views=FlipViews()), ALL)
    cache.tables(small_clip(seed=1), Few(root, NAMES), ["test"])
    newest, oldest = info(cache.dir)
    assert (oldest.backbone, newest.backbone) == (clip.name, "small-resnet-1")
    assert (oldest.features, newest.features) == (20, 4)
    assert oldest.facts["weights_sha256"] == clip.fingerprint
    assert oldest.bytes == sum(p.stat().st_size for p in oldest.path.glob("*.safetensors"))
    assert before - 1 < oldest.created <= oldest.last_used + 1
    assert oldest.stale is None


def test_prune(
    clip: FrozenCLIP, root: Path, cache: FeatureCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = Few(root, NAMES)
    cache.tables(clip, data, ["test"])
    (used,) = shards(cache)
    cache.tables(small_clip(seed=1), data, ["test"])
    (unused,) = (path for path in shards(cache) if path != used)
    old = time.time() - 40 * 86400
    for shard in (used, unused):
        os.utime(shard, (old, old))
    cache.tables(clip, data, ["test"])  # reading is use
    part = used.with_name(".x.safetensors.1.part")
    part.write_bytes(b"half")
    assert {item.path for item in prune(cache.dir, dry_run=True)} == {part}
    assert part.exists()
    removed = prune(cache.dir, unused_days=30)
    assert {item.path for item in removed} == {part, unused}
    assert not part.exists()
    assert not unused.parent.exists()  # nothing is left of that store
    assert used.exists()
    used.write_bytes(used.read_bytes()[:-1])
    assert [item.path for item in prune(cache.dir)] == [used]
    cache.tables(clip, data, ["test"])
    monkeypatch.setattr("clipiqa_plus.features.upkeep.FORMAT", 10**6)
    assert info(cache.dir)[0].stale
    (item,) = prune(cache.dir)
    assert "format" in item.reason
    assert info(cache.dir) == []
    with pytest.raises(ValueError, match="unused_days is -1"):
        prune(cache.dir, unused_days=-1)


def test_prune_passes_over_a_store_at_work(
    clip: FrozenCLIP, root: Path, cache: FeatureCache
) -> None:
    data = Few(root, NAMES)
    cache.tables(clip, data, ["test"])
    store = cache._store(clip, data)
    with store.lock:
        assert prune(cache.dir, unused_days=0) == []
    assert len(prune(cache.dir, unused_days=0)) == 1


def test_spot_check(
    clip: FrozenCLIP,
    root: Path,
    cache: FeatureCache,
    monkeypatch: pytest.MonkeyPatch,
    make_picture: Callable[..., Path],
) -> None:
    data = Few(root, NAMES, train_views=FlipViews())
    cache.tables(clip, data, ALL)
    check = cache.spot_check(clip, data, "train", samples=5)
    assert (check.compared, check.missing) == (10, 0)
    assert check.difference < 1e-5
    draw(root / NAMES[0], 321)
    check = cache.spot_check(clip, data, "train", samples=100)
    assert (check.compared, check.missing) == (14, 2)
    # Other code behind the same facts is found out.
    encode = FrozenCLIP.encode_image
    monkeypatch.setattr(FrozenCLIP, "encode_image", lambda self, x: encode(self, x.flip(-2)))
    assert cache.spot_check(clip, data, "train", samples=5).difference > 1e-3


def test_views_of_evaluation_are_plain(root: Path) -> None:
    assert isinstance(Few(root, NAMES).dataset("test").views, PlainView)
