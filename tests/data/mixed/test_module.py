"""A mixture of small sets: each keeps its scale, size, split and views."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from clipiqa_plus.clip.backbone import FrozenCLIP
from clipiqa_plus.data import CLIVE, KADID10k, MixedData
from clipiqa_plus.data.base import IQADataModule
from clipiqa_plus.data.mixed import single_sets
from clipiqa_plus.data.transforms import AugmentedViews, FlipViews
from clipiqa_plus.features import FeatureCache


class Small(IQADataModule):
    """Pictures of two sizes with scores over the scale, in the parts 4, 2, 2."""

    title = "Small"
    mos_range = (1.0, 5.0)
    columns: dict[str, Any] = {}  # noqa: RUF012

    def read_annotations(self) -> pd.DataFrame:
        parts = ["train"] * 4 + ["val"] * 2 + ["test"] * 2
        mos = np.linspace(*self.mos_range, 8)
        images = [f"{i}.png" for i in range(8)]
        return pd.DataFrame({"image": images, "mos": mos, "split": parts} | self.columns)


class Large(Small):
    title = "Large"
    mos_range = (0.0, 100.0)
    higher_is_better = False
    columns = {"mos_std": 20.0, "count_1": 1, "count_2": 1}  # noqa: RUF012
    mean_of_grades = False

    def read_annotations(self) -> pd.DataFrame:
        return super().read_annotations().assign(mos_std=50.0)


class Scenes(Small):
    title = "Scenes"
    within_content = True
    columns = {"content": [f"s{i // 4}" for i in range(8)]}  # noqa: RUF012


class Undeclared(IQADataModule):
    read_annotations = Small.read_annotations
    columns: dict[str, Any] = {}  # noqa: RUF012


@pytest.fixture
def folders(tmp_path: Path, make_picture: Callable[..., Path]) -> dict[str, Path]:
    for name in ("a", "b", "c"):
        for i in range(8):
            seed, width = 100 * ord(name) + i, 48 + 16 * (i % 2)
            make_picture(tmp_path / name / f"{i}.png", width=width, seed=seed)
    return {name: tmp_path / name for name in ("a", "b", "c")}


def mixture(folders: dict[str, Path], **options: Any) -> MixedData:
    sets = {
        "a": Small(folders["a"], train_views=FlipViews()),
        "b": Large(folders["b"], resize=40),
        "c": Scenes(folders["c"]),
    }
    data = MixedData(sets, **({"num_workers": 0, "batch_size": 5} | options))
    data.setup()
    return data


def test_rows_scores_and_parts_are_those_of_the_sets(folders: dict[str, Path]) -> None:
    data = mixture(folders)
    a, b, c = data.sets.values()
    assert data.rows("train").tolist() == [0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19]
    assert data.rows("test").tolist() == [6, 7, 14, 15, 22, 23]
    assert torch.equal(data.mos, torch.cat([a.mos, b.mos, c.mos]))
    assert data.mos[8:16, 0].tolist() == pytest.approx(np.linspace(1, 0, 8).tolist())
    assert torch.equal(data.mos_raw[8:16], b.mos_raw)
    assert data.annotations["image"][9] == "b/1.png"
    assert data.split.train.tolist() == data.rows("train").tolist()
    assert data.ratings["set"].tolist() == [0] * 8 + [1] * 8 + [2] * 8
    # A set whose scores are comparable only within a scene is compared within its scenes.
    assert data.ratings["group"].tolist() == [0] * 8 + [1] * 8 + [2] * 4 + [3] * 4
    assert data.set_names("test") == {0: "a", 1: "b", 2: "c"}


def test_what_raters_said_is_known_only_for_its_set(folders: dict[str, Path]) -> None:
    data = mixture(folders)
    std, counts = data.ratings["mos_std"], data.ratings["counts"]
    assert std[8:16].eq(0.5).all()
    assert std[:8].isnan().all()
    assert counts[8].tolist() == [1, 1]
    assert counts[16].isnan().all()
    (batch,) = [b for b in data.test_dataloader() if len(b["id"]) == 1]
    assert set(batch) >= {"set", "group", "mos_std", "counts", "n_ratings"}


def test_pictures_have_their_sets_size_and_views(folders: dict[str, Path]) -> None:
    data = mixture(folders)
    a, b, _ = data.sets.values()
    dataset = data.dataset("train")
    batch = dataset[np.array([1, 1, 9]), np.array([0, 1, 0])]
    assert torch.equal(batch["image"][0], batch["image"][1].flip(-1))
    assert min(batch["image"][2].shape[1:]) == 40
    expected = b.dataset("train").picture(1, 0)
    assert np.array_equal(batch["image"][2].movedim(0, -1).numpy(), expected)
    assert np.array_equal(data.reader()(1), a.reader()(1))
    assert data.reader().identity(9) == b.reader().identity(1)


@pytest.mark.slow
def test_features_are_those_of_each_sets_own_training(
    folders: dict[str, Path], clip: FrozenCLIP, tmp_path: Path
) -> None:
    from lightning.pytorch import Trainer

    from clipiqa_plus.module import CLIPIQAPlus

    cache = FeatureCache(str(tmp_path / "cache"))
    data = mixture(folders, batch_size="all")
    trainer = Trainer(logger=False, enable_checkpointing=False, accelerator="cpu")
    trainer.datamodule = data  # type: ignore[attr-defined]
    cache.setup(trainer, CLIPIQAPlus(clip), "fit")
    (batch,) = data.train_dataloader()
    assert len(batch["id"]) == 4 * 2 + 4 + 4
    encoded = []
    encode = FrozenCLIP.encode_image
    FrozenCLIP.encode_image = lambda *args: encoded.append(1) or encode(*args)  # type: ignore
    try:
        for number, module in enumerate(data.sets.values()):
            table = cache.tables(clip, module, ["train"])["train"]
            here = batch["set"] == number
            own = table(batch["id"][here] - 8 * number, batch["view"][here])
            assert torch.equal(batch["features"][here], own)
    finally:
        FrozenCLIP.encode_image = encode  # type: ignore[method-assign]
    assert not encoded  # one cache: nothing is encoded again for a set alone


def test_the_whole_part_weights_sets_by_their_shares(folders: dict[str, Path]) -> None:
    data = mixture(folders, batch_size="all", sampling="equal")
    data.features["train"] = lambda rows, views: torch.zeros(len(rows), 3)
    (batch,) = data.train_dataloader()
    for number in range(3):
        total = batch["weight"][batch["set"] == number].sum()
        assert total.item() == pytest.approx(1 / 3)  # also of the set with two views


def test_endless_views_are_refused_for_the_whole_part(folders: dict[str, Path]) -> None:
    endless = AugmentedViews([{"HorizontalFlip": {"p": 0.5}}])
    assert endless.count is None
    with pytest.raises(ValueError, match="give those of b a count"):
        MixedData({"b": Small(folders["b"], train_views=endless)}, batch_size="all")


def test_a_set_without_a_declared_scale_is_refused(folders: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match="set 'u': Undeclared declares no mos_range; sets on"):
        MixedData({"a": Small(folders["a"]), "u": Undeclared(folders["b"])})
    own = Undeclared(folders["b"])
    own.mos_range = (1.0, 5.0)
    MixedData({"a": Small(folders["a"]), "u": own})


def test_sets_have_as_many_targets(folders: dict[str, Path]) -> None:
    two = Small(folders["b"], targets=["mos", "sharpness"])
    with pytest.raises(ValueError, match="set 'b' has targets mos, sharpness, but 'a' has mos"):
        MixedData({"a": Small(folders["a"]), "b": two})
    with pytest.raises(ValueError, match="at least one set"):
        MixedData({})


def test_absent_sets_are_left_out_and_named(folders: dict[str, Path], tmp_path: Path) -> None:
    sets = {"a": Small(folders["a"]), "kadid10k": KADID10k("kadid10k"), "clive": CLIVE("clive")}
    data = MixedData(sets, root=tmp_path, present_only=True, sampling={"a": 1, "kadid10k": 2})
    assert list(data.sets) == ["a"]
    with pytest.warns(UserWarning, match=r"absent .*kadid10k: no folder .*/kadid10k; clive: no"):
        data.setup()
    assert data.shares.tolist() == [1]
    none = MixedData({"clive": CLIVE("clive")}, root=tmp_path, present_only=True)
    with pytest.raises(FileNotFoundError, match=r"no set of the mixture is present: clive: no fol"):
        none.prepare_data()
    with pytest.raises(FileNotFoundError, match="name the folder that holds them as root"):
        none.setup()
    with pytest.raises(FileNotFoundError, match="no folder"):
        MixedData({"clive": CLIVE("clive")}, root=tmp_path).setup()


def test_single_sets(folders: dict[str, Path]) -> None:
    alone = Small(folders["a"])
    assert single_sets("mine", alone) == {"mine": alone}
    assert single_sets("mine", MixedData({"a": alone})) == {"a": alone}
