"""The protocol of k splits: what is trained, what is tested, and the numbers over all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

import evaluate
from clipiqa_plus.clip.backbone import FrozenCLIP
from clipiqa_plus.evaluation.evaluation import load_sources
from clipiqa_plus.evaluation.random_splits import over_repeats, repeated, split_kind
from clipiqa_plus.prompts.files import save_prompts
from clipiqa_plus.prompts.sources import ContextPrompts
from clipiqa_plus.training.recipes import data_of, read_recipe
from tests.support.models import write_weights


@pytest.fixture
def recipes(tmp_path: Path, make_picture: Callable[..., Path]) -> tuple[Path, Path, Path]:
    """A recipe of training, one of 20 pictures of 10 contents, and weights."""
    weights = tmp_path / "small.safetensors"
    write_weights(weights)
    for i in range(20):
        make_picture(tmp_path / f"{i}.png", seed=i)
    frame = pd.DataFrame({"image": [f"{i}.png" for i in range(20)]})
    frame["mos"] = np.random.default_rng(0).uniform(0, 100, 20)
    frame["content"] = [f"c{i // 2}" for i in range(20)]
    frame.to_csv(tmp_path / "scores.csv", index=False)
    options = {
        "table": str(tmp_path / "scores.csv"),
        "mos_range": [0, 100],
        "fractions": [0.6, 0, 0.4],
        "num_workers": 0,
    }
    section = {"class_path": "clipiqa_plus.data.TableData", "init_args": options}
    data = tmp_path / "mine.yaml"
    data.write_text(yaml.safe_dump({"data": section}))
    train = tmp_path / "train.yaml"
    content = {
        "model": {"backbone": str(weights)},
        "data": section,
        "trainer": {"max_epochs": 2, "accelerator": "cpu", "enable_progress_bar": False},
    }
    train.write_text(yaml.safe_dump(content))
    return train, data, weights


@pytest.mark.slow
def test_each_split_is_learned_and_tested_on_its_own_parts(
    recipes: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    train, recipe, weights = recipes
    sources = load_sources(["zero_shot"], backbone=str(weights))
    results = repeated(recipe, sources, 3, str(train), tmp_path / "out")
    assert results["prompts"].tolist() == ["zero_shot", "learned_per_split"] * 3
    assert results["n"].tolist() == [8] * 6
    assert set(results["split"]) == {"content"}
    splits = [(tmp_path / f"out/repeat-{r}/split.json").read_text() for r in range(3)]
    assert len(set(splits)) == 3
    saved = pd.read_csv(tmp_path / "out/repeats.csv", keep_default_na=False)
    pd.testing.assert_frame_equal(saved, results)
    for repeat in range(3):
        data = data_of(read_recipe(recipe), recipe, split="content", repeat=repeat)
        data.setup()
        learned = data_of(
            read_recipe(recipe), recipe, split=str(tmp_path / f"out/repeat-{repeat}/split.json")
        )
        learned.setup()
        assert data.rows("test").tolist() == learned.rows("test").tolist()


def test_pictures_of_the_training_are_warned_of(
    recipes: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    _, recipe, weights = recipes
    clip = FrozenCLIP.from_name(str(weights))
    prompts = ContextPrompts(clip)
    prompts.steps += 1
    file = save_prompts(tmp_path / "run/prompts.safetensors", prompts, clip, reduction="mean")
    data = data_of(read_recipe(recipe), recipe, split="content", repeat=0)
    data.setup()
    data.split.save(file.parent / "split.json")
    trained = set(data.rows("train"))
    data = data_of(read_recipe(recipe), recipe, split="content", repeat=1)
    data.setup()
    seen = len(trained & set(data.rows("test")))
    assert seen
    said = f"trained on {seen} of these 8 pictures"
    sources = load_sources(["zero_shot", f"mine={file}"], str(weights))
    with pytest.warns(UserWarning, match=f"in 1 of 2 splits mine is tested on .*{said}"):
        results = repeated(recipe, sources, 2, None, tmp_path / "out")
    assert results["note"].tolist() == ["", "", "", said]


def test_numbers_over_splits_by_hand() -> None:
    first, second = [0.1, 0.4, 0.6, 0.3, 0.2], [0.2, 0.6, 0.9, 0.7, 0.7]
    rows = [
        {"target": "mos", "prompts": name, "SRCC": value, "PLCC": value / 2}
        for name, values in (("a", first), ("b", second))
        for value in values
    ]
    one, two = over_repeats(pd.DataFrame(rows)).to_dict("records")
    assert one["SRCC_median"] == 0.3
    assert one["SRCC_mean"] == pytest.approx(1.6 / 5)
    assert one["PLCC_std"] == pytest.approx(np.std(first, ddof=1) / 2)
    assert one["splits"] == 5
    # All five differences are of one sign: 2 of the 2^5 sign patterns are as extreme.
    assert two["p_wilcoxon"] == pytest.approx(2 / 32)


def test_a_metric_that_is_missing_in_a_split_is_not_summarised() -> None:
    rows = [{"target": "mos", "prompts": "a", "SRCC": v, "PLCC": 0.5} for v in (0.1, float("nan"))]
    (found,) = over_repeats(pd.DataFrame(rows)).to_dict("records")
    assert np.isnan(found["SRCC_mean"])
    assert found["PLCC_mean"] == 0.5


@pytest.mark.slow
def test_a_recipe_that_stops_early_gets_a_validation_part(
    recipes: tuple[Path, Path, Path], tmp_path: Path, make_picture: Callable[..., Path]
) -> None:
    train, recipe, weights = recipes
    for i in range(20, 40):
        make_picture(tmp_path / f"{i}.png", seed=i)
    frame = pd.DataFrame({"image": [f"{i}.png" for i in range(40)], "mos": range(40)})
    frame.to_csv(tmp_path / "scores.csv", index=False)
    content = yaml.safe_load(train.read_text())
    content["data"]["init_args"]["fractions"] = [0.8, 0, 0.2]
    recipe.write_text(yaml.safe_dump({"data": content["data"]}))
    stop = "lightning.pytorch.callbacks.EarlyStopping"
    monitor = {"monitor": "val/SRCC", "mode": "max"}
    content["trainer"]["callbacks"] = [{"class_path": stop, "init_args": monitor}]
    train.write_text(yaml.safe_dump(content))
    sources = load_sources(["zero_shot"], backbone=str(weights))
    results = repeated(recipe, sources, 2, str(train), tmp_path / "out")
    assert results["n"].tolist() == [8] * 4
    for repeat in range(2):
        file = str(tmp_path / f"out/repeat-{repeat}/split.json")
        learned = data_of(read_recipe(recipe), recipe, split=file)
        learned.setup()
        assert [len(learned.rows(part)) for part in ("train", "val", "test")] == [28, 4, 8]


def test_kind_of_split_follows_the_contents(recipes: tuple[Path, Path, Path]) -> None:
    _, recipe, _ = recipes
    assert split_kind(recipe) == "content"
    table = recipe.parent / "scores.csv"
    pd.read_csv(table).drop(columns="content").to_csv(table, index=False)
    assert split_kind(recipe) == "random"


def test_requests_without_sense_are_refused(
    recipes: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    _, recipe, _ = recipes
    with pytest.raises(ValueError, match="at least 2"):
        repeated(recipe, {}, 1, None, tmp_path)
    with pytest.raises(ValueError, match="nothing to test"):
        repeated(recipe, {}, 2, None, tmp_path)


def test_command_line_of_repeats(
    recipes: tuple[Path, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, recipe, weights = recipes
    out = tmp_path / "out"
    evaluate.main(
        f"--data {recipe} --repeats 2 --backbone {weights} --device cpu --out {out}".split()
    )
    assert "mine: test parts of random splits (by content)" in capsys.readouterr().out
    assert len(pd.read_csv(out / "mine/repeats.csv")) == 2
    with pytest.raises(ValueError, match="--part and --repeats do not go together"):
        evaluate.main(f"--data {recipe} --repeats 2 --part val --out {out}".split())
