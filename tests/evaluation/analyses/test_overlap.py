"""Duplicates between tested pictures and those of the training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from clipiqa_plus.clip import FrozenCLIP
from clipiqa_plus.commands.main import main
from clipiqa_plus.data.tables import TableData
from clipiqa_plus.evaluation.analyses import overlap
from clipiqa_plus.evaluation.analyses.overlap import (
    ALIKE,
    Pictures,
    duplicates,
    overlap_note,
    pictures_of,
    training_data,
    training_overlaps,
)
from clipiqa_plus.evaluation.evaluation import compare_evaluated, evaluate
from clipiqa_plus.features import FeatureCache
from clipiqa_plus.module import CLIPIQAPlus, PromptConfig
from clipiqa_plus.prompts.files import save_prompts
from clipiqa_plus.prompts.sources import ContextPrompts


def invented(
    names: str, features: torch.Tensor, looks: str, known: list[bool] | None = None
) -> Pictures:
    """Pictures whose contents are their names; equal looks are equal pixels."""
    noise = {
        look: np.random.default_rng(ord(look)).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        for look in looks
    }
    return Pictures(
        np.array(list(names), object),
        list(names),
        torch.nn.functional.normalize(features, dim=1),
        np.array(known or [True] * len(names)),
        lambda at: noise[looks[at]],
    )


def test_identical_and_near_duplicates_by_hand() -> None:
    eye = torch.eye(4)
    trained = invented("abc", eye[:3], "123")
    near = eye[1] + 0.1 * eye[3]  # cosine 1 / sqrt(1.01) with b
    features = torch.stack([eye[0], near, near, eye[3], eye[2]])
    # x is near b and looks like it; y is near only; z looks like c, but its feature is unknown.
    tested = invented("axywz", features, "12843", [True, True, True, True, False])
    found, left = duplicates(tested, trained)
    assert left == 0
    assert found[["image", "trained_on", "kind"]].to_numpy().tolist() == [
        ["a", "a", "identical"],
        ["x", "b", "near duplicate"],
    ]
    np.testing.assert_allclose(found["cosine"], [1, 1.01**-0.5], rtol=1e-6)
    np.testing.assert_allclose(found["pixels"], [1, 1])
    few, left = duplicates(tested, trained, most=0)
    assert few["image"].tolist() == ["a"]
    assert left == 9  # all three of the training for x, y and w
    unknown = invented("abc", eye[:3], "123", [False] * 3)
    alone, left = duplicates(tested, unknown)
    assert alone["image"].tolist() == ["a"]
    note = overlap_note(alone, left, tested, unknown)
    assert "of these 5 pictures 1 are identical" in note
    assert "3 of its 3 training pictures have no cached features" in note
    assert overlap_note(found[:0], 0, tested, trained) == ""
    assert "7 pairs of near features not looked at" in overlap_note(found, 7, tested, trained)
    with pytest.raises(ValueError, match="alike is 0; a correlation above 0"):
        duplicates(tested, trained, alike=0)


def table(folder: Path, names: list[str]) -> Path:
    frame = pd.DataFrame({"image": names, "mos": np.linspace(1, 5, len(names))})
    frame.to_csv(folder / "scores.csv", index=False)
    recipe = folder / "recipe.yaml"
    recipe.write_text(
        "data:\n  class_path: clipiqa_plus.data.TableData\n  init_args:\n"
        f"    table: {folder / 'scores.csv'}\n    mos_range: [1, 5]\n    split: whole\n"
        "    num_workers: 0\n"
    )
    return recipe


@pytest.fixture
def recipes(tmp_path: Path, make_picture: Callable[..., Path]) -> tuple[Path, Path]:
    """A data set, and one that shares a file and a JPEG of another picture with it."""
    for i in range(4):
        make_picture(tmp_path / f"one/{i}.png", 96, 96, seed=i)
        make_picture(tmp_path / f"two/{i}.png", 96, 96, seed=10 + i)
    (tmp_path / "two/copy.png").write_bytes((tmp_path / "one/1.png").read_bytes())
    with Image.open(tmp_path / "one/2.png") as image:
        image.save(tmp_path / "two/saved again.jpg", quality=92)
    one = table(tmp_path / "one", [f"{i}.png" for i in range(4)])
    names = [*(f"{i}.png" for i in range(4)), "copy.png", "saved again.jpg"]
    return one, table(tmp_path / "two", names)


def test_duplicates_are_found_across_data_sets(
    recipes: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = map(str, recipes)
    out = tmp_path / "found.csv"
    command = ["data", "overlap", two, one, "--train-part", "test", "--out", str(out)]
    assert main([*command, "--device", "cpu"]) == 0
    assert "2 of 6 pictures have a duplicate: 1 identical, 1 near" in capsys.readouterr().out
    found = pd.read_csv(out)
    assert found["image"].tolist() == ["copy.png", "saved again.jpg"]
    assert found["trained_on"].tolist() == ["1.png", "2.png"]
    assert found["kind"].tolist() == ["identical", "near duplicate"]
    assert ALIKE <= found["pixels"][1] < 1


def test_what_is_not_cached_is_compared_by_content(
    recipes: tuple[Path, Path], clip: FrozenCLIP, tmp_path: Path
) -> None:
    data = [TableData(str(r.parent / "scores.csv"), (1, 5), split="whole") for r in recipes]
    cache = FeatureCache(str(tmp_path / "features"))
    for module in data:
        module.num_workers = 0
        module.setup()
    trained, tested = (pictures_of(module, "test", clip, cache) for module in data)
    assert not trained.known.any()
    assert duplicates(tested, trained)[0]["image"].tolist() == ["copy.png"]
    known = pictures_of(data[0], "test", clip, cache, encode=True)
    assert known.known.all()
    expected = cache.tables(clip, data[0], ["test"])["test"]
    torch.testing.assert_close(known.features, expected.features.float())


def test_training_data_is_that_of_the_run(recipes: tuple[Path, Path], tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "prompts.safetensors").touch()
    assert training_data(str(run / "prompts.safetensors")) is None
    (run / "config.yaml").write_text(recipes[0].read_text())
    data = training_data(str(run / "prompts.safetensors"))
    assert data is not None
    assert data.annotations["image"].tolist() == [f"{i}.png" for i in range(4)]


def test_an_evaluation_counts_and_lists_duplicates_of_its_training(
    recipes: tuple[Path, Path], clip: FrozenCLIP, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    prompts = ContextPrompts(clip, seed=5)
    prompts.steps += 1
    file = save_prompts(run / "prompts.safetensors", prompts, clip, reduction="mean")
    half = recipes[1].read_text().replace("whole", "random\n    fractions: [0.5, 0, 0.5]")
    (run / "config.yaml").write_text(half)
    learned = training_data(str(file))
    assert learned is not None
    seen = learned.annotations["image"].iloc[learned.rows("train")].tolist()
    source = CLIPIQAPlus(clip, prompts=PromptConfig(file=str(file))).eval()
    data = TableData(str(recipes[1].parent / "scores.csv"), (1, 5), split="whole", num_workers=0)
    found = evaluate({"learned": source}, data, cache=FeatureCache(str(tmp_path / "features")))
    listed = found.overlap[found.overlap["kind"] == "identical"]
    assert listed["image"].tolist() == sorted(seen, key=data.annotations["image"].tolist().index)
    assert set(listed["prompts"]) == {"learned"}
    note = f"of these 6 pictures {len(seen)} are identical to pictures of its training"
    assert note in found.about["sources"]["learned"]["overlap"]
    results = compare_evaluated(found).results
    assert note in results["note"][0]
    looked = Mock(wraps=duplicates)
    monkeypatch.setattr(overlap, "duplicates", looked)
    both = {"learned": source, "again": source}
    table, notes = training_overlaps(both, data, "test", FeatureCache(str(tmp_path / "features")))
    assert notes["again"] == notes["learned"]
    assert table["prompts"].value_counts().nunique() == 1
    assert looked.call_count == 1  # the same training is compared once
    (recipes[1].parent / "0.png").unlink()  # the training's pictures are gone
    _, notes = training_overlaps({"learned": source}, data, "test", FeatureCache())
    assert "its training pictures are not compared with these" in notes["learned"]
