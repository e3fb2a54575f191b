"""Evaluation: scores per picture and tables against scipy; the command line end to end."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

import evaluate
from clipiqa_plus.clip.backbone import FrozenCLIP
from clipiqa_plus.commands.evaluate import evaluate as clipiqa_evaluate
from clipiqa_plus.data.tables import TableData
from clipiqa_plus.data.transforms import AugmentedViews
from clipiqa_plus.evaluation import evaluation
from clipiqa_plus.evaluation.comparison import RESULTS, compare, compare_sources
from clipiqa_plus.evaluation.evaluation import load_sources, score
from clipiqa_plus.evaluation.results import claimed, load_table
from clipiqa_plus.features import FeatureCache
from clipiqa_plus.inference.scorer import load
from clipiqa_plus.module import CLIPIQAPlus, PromptConfig
from clipiqa_plus.prompts.files import save_prompts
from clipiqa_plus.prompts.sources import ContextPrompts
from tests.support.models import SMALL_VIT, write_weights

N = 12


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    return write_weights(path)


@pytest.fixture
def table(tmp_path: Path, make_picture: Callable[..., Path]) -> Path:
    for i in range(N):
        make_picture(tmp_path / f"{i}.png", width=48 + 16 * (i % 2), seed=i)
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"image": [f"{i}.png" for i in range(N)]})
    frame["mos"] = rng.uniform(1, 5, N)
    frame["sharpness"] = rng.uniform(1, 5, N)
    frame["content"] = [f"c{i // 3}" for i in range(N)]
    frame.to_csv(tmp_path / "scores.csv", index=False)
    return tmp_path / "scores.csv"


@pytest.fixture
def prompt_file(tmp_path: Path, weights: Path) -> Path:
    clip = FrozenCLIP.from_name(str(weights))
    prompts = ContextPrompts(clip, seed=5)
    prompts.steps += 1
    return save_prompts(tmp_path / "prompts.safetensors", prompts, clip, reduction="mean")


@pytest.mark.slow
def test_scores_are_those_of_each_picture_alone(table: Path, clip: FrozenCLIP) -> None:
    source = CLIPIQAPlus(clip, prompts=PromptConfig(mode="zero_shot"))
    data = TableData(str(table), (1, 5), split="whole", batch_size=5, num_workers=0)
    scores = score({"zero_shot": source}, data)
    assert scores["image"].tolist() == data.annotations["image"].tolist()
    assert scores["content"].tolist() == data.annotations["content"].tolist()
    np.testing.assert_allclose(scores["mos"], (scores["mos_raw"] - 1) / 4, atol=1e-7)
    for row in range(N):
        image = torch.from_numpy(data.dataset("test").picture(row, 0)).permute(2, 0, 1)[None]
        alone = float(source(image).detach())
        # A batch of several sums in another order; 100 x cosine amplifies it.
        assert scores["zero_shot"][row] == pytest.approx(alone, abs=1e-5)


def test_what_raters_said_is_beside_the_scores(table: Path, clip: FrozenCLIP) -> None:
    counts = np.random.default_rng(1).integers(1, 9, (N, 5))
    ratings = [np.repeat(np.arange(5), row) for row in counts]
    frame = pd.read_csv(table).assign(mos=[4 - r.mean() for r in ratings])  # on 0 to 4
    for grade in range(5):
        frame[f"count_{grade + 1}"] = counts[:, 4 - grade]
    frame.assign(sharpness=1.0).to_csv(table, index=False)
    pairs = PromptConfig(mode="zero_shot", pairs=["quality", "sharpness"])
    source = CLIPIQAPlus(clip, prompts=pairs, reduction="none")
    options = {"split": "whole", "targets": ["mos", "sharpness"], "num_workers": 0}
    data = TableData(str(table), (0, 4), higher_is_better=False, **options)
    scores = score({"zero_shot": source}, data)
    mos, sharpness = (scores[scores["target"] == target] for target in ("mos", "sharpness"))
    expected = [r.std(ddof=1) / 4 for r in ratings]
    np.testing.assert_allclose(mos["mos_std"], expected, rtol=1e-6)  # float32
    assert mos["n_ratings"].tolist() == counts.sum(axis=1).tolist()
    # Worst grade first: the raw scale was lower = better.
    assert mos[[f"count_{k + 1}" for k in range(5)]].to_numpy().tolist() == counts.tolist()
    grades = mos[[f"count_{k + 1}" for k in range(5)]].to_numpy() @ np.arange(5) / 4
    np.testing.assert_allclose(grades / counts.sum(axis=1), mos["mos"], atol=1e-6)
    assert sharpness[["mos_std", "count_1"]].isna().all(axis=None)


@pytest.mark.slow
def test_one_score_per_target(table: Path, clip: FrozenCLIP) -> None:
    pairs = PromptConfig(mode="zero_shot", pairs=["quality", "sharpness"])
    source = CLIPIQAPlus(clip, prompts=pairs, reduction="none")
    data = TableData(str(table), (1, 5), split="whole", targets=["mos", "sharpness"], num_workers=0)
    scores = score({"zero_shot": source}, data)
    results = compare(scores, ["zero_shot"])
    assert results["target"].tolist() == ["mos", "sharpness"]
    assert results["n"].tolist() == [N, N]
    single = CLIPIQAPlus(clip, prompts=PromptConfig(mode="zero_shot"))
    with pytest.raises(ValueError, match="1 scores for targets mos, sharpness"):
        score({"zero_shot": single}, data)


def test_sources_share_a_backbone_and_each_picture_is_encoded_once(
    table: Path, weights: Path, prompt_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = load_sources(["zero_shot", str(prompt_file)], backbone=str(weights))
    first, second = sources.values()
    assert first.backbone is second.backbone
    encoded = []
    encode = FrozenCLIP.encode_image
    monkeypatch.setattr(
        FrozenCLIP, "encode_image", lambda self, x: encoded.append(len(x)) or encode(self, x)
    )
    score(sources, TableData(str(table), (1, 5), split="whole", num_workers=0))
    assert sum(encoded) == N


@pytest.mark.slow
def test_command_line_prints_and_saves(
    table: Path, weights: Path, prompt_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"table": str(table), "mos_range": [1, 5], "split": "whole", "num_workers": 0}
    data = {"class_path": "clipiqa_plus.data.TableData", "init_args": options}
    recipe = table.parent / "mine.yaml"
    recipe.write_text(yaml.safe_dump({"data": data}))
    out = table.parent / "out"
    results = evaluate.main(
        f"--prompts zero_shot {prompt_file} --data {recipe} "
        f"--backbone {weights} --out {out} --device cpu --thumbnails 3 "
        f"--report {table.parent / 'page.html'} --tensorboard {table.parent / 'logs'}".split()
    )
    name = prompt_file.parent.name
    assert results["prompts"].tolist() == ["zero_shot", name]
    assert "dSRCC" in capsys.readouterr().out
    saved = pd.read_csv(out / "results.csv")
    assert list(saved.columns) == ["data", "target", "prompts", *RESULTS]
    per_picture = pd.read_parquet(out / "mine/scores.parquet")
    again = compare_sources(per_picture, ["zero_shot", name])
    pd.testing.assert_frame_equal(again.results, results.drop(columns="data"))
    differences = load_table(out / "differences.json").drop(columns=["data", "p_holm", "verdict"])
    pd.testing.assert_frame_equal(again.differences, differences, check_dtype=False)
    record = json.loads((out / "evaluation.json").read_text())
    sources = record["data"]["mine"]["sources"]
    assert sources["zero_shot"]["weights_sha256"] == sources[name]["weights_sha256"]
    digest = hashlib.sha256(prompt_file.read_bytes()).hexdigest()
    assert sources[name]["file_sha256"] == digest
    assert len(sources[name]["nearest_words"]) == 16
    assert len(pd.read_parquet(out / "mine/thumbnails.parquet")) == 3
    page = (table.parent / "page.html").read_text()
    assert "context token" in page
    assert "SRCC by interpolation from zero-shot to learned" in page
    assert not (out / "report.html").exists()
    assert list((table.parent / "logs").glob("events.out.tfevents.*"))


@pytest.mark.slow
def test_data_sets_with_ratings_are_pooled_in_krasulas_analysis(
    table: Path, weights: Path, tmp_path: Path
) -> None:
    rated = pd.read_csv(table).assign(mos_std=0.3, n_ratings=20)
    recipes = []
    for name in ("one", "two"):
        rated.to_csv(table.parent / f"{name}.csv", index=False)
        options = {"table": str(table.parent / f"{name}.csv"), "mos_range": [1, 5]}
        options |= {"split": "whole", "num_workers": 0}
        data = {"class_path": "clipiqa_plus.data.TableData", "init_args": options}
        recipes.append(tmp_path / f"{name}.yaml")
        recipes[-1].write_text(yaml.safe_dump({"data": data}))
    out = tmp_path / "out"
    command = f"--data {recipes[0]} {recipes[1]} --backbone {weights} --out {out} --device cpu"
    evaluate.main([*command.split(), "--thumbnails", "0"])
    found = load_table(out / "krasula.json")
    assert found["data"].tolist() == ["one", "two", "all sets"]
    assert found["pairs"][2] == found["pairs"][0] + found["pairs"][1]  # none across the sets
    assert found["note"][2] == "pooled: one, two"
    assert "pooled: one, two" in (out / "report.html").read_text()
    assert (out / "evaluation.json").is_file()


@pytest.mark.slow
def test_skipped_pictures_are_counted_and_listed_in_the_results(
    table: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (table.parent / "7.png").write_bytes(b"not a picture")
    options = {"table": str(table), "mos_range": [1, 5], "split": "whole", "num_workers": 0}
    data = {"class_path": "clipiqa_plus.data.TableData", "init_args": options}
    recipe = table.parent / "mine.yaml"
    recipe.write_text(yaml.safe_dump({"data": data}))
    out = table.parent / "out"
    command = f"--data {recipe} --backbone {weights} --out {out} --device cpu".split()
    with pytest.raises(ValueError, match=r"7\.png"):
        evaluate.main(command)
    options["skip_unreadable"] = True
    recipe.write_text(yaml.safe_dump({"data": data}))
    with pytest.warns(UserWarning, match="1 of 12 pictures cannot be decoded"):
        results = evaluate.main(command)
    assert results["n"].tolist() == [N - 1]
    assert results["note"][0].startswith("pictures left out: 1, see skipped.csv")
    assert "pictures left out: 1" in capsys.readouterr().out.replace("\n", " ")
    assert "pictures left out: 1" in (out / "report.html").read_text()
    skipped = pd.read_csv(out / "mine/skipped.csv").to_dict("records")
    assert [row["image"] for row in skipped] == ["7.png"]
    assert "not a readable image" in skipped[0]["reason"]
    record = json.loads((out / "evaluation.json").read_text())
    assert list(record["data"]["mine"]["skipped"]) == ["7.png"]


@pytest.mark.slow
def test_sources_of_two_backbones_encode_their_own_features_and_it_is_said(
    table: Path, weights: Path, prompt_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(weights.parent)  # a prompt file names weights by their file
    other = weights.parent / "vit.safetensors"
    write_weights(other, SMALL_VIT, seed=1)
    clip = FrozenCLIP.from_name(str(other))
    prompts = ContextPrompts(clip, seed=6)
    prompts.steps += 1
    second = str(save_prompts(table.parent / "second.safetensors", prompts, clip, reduction="mean"))
    sources = load_sources([f"first={prompt_file}", second])
    data = TableData(str(table), (1, 5), split="whole", num_workers=0)
    found = evaluation.evaluate(sources, data, pictures=2)
    both = evaluation.backbones(found.about)
    assert both == {
        "first": "small.safetensors without positional embedding",
        "second": "vit.safetensors with positional embedding (grid)",
    }
    for name, source in sources.items():
        alone = score({name: source}, TableData(str(table), (1, 5), split="whole", num_workers=0))
        np.testing.assert_array_equal(found.scores[name], alone[name])
    ends = found.interpolation[found.interpolation["weight"] == 1]
    for name, part in ends.groupby("source"):
        # 100 x cosine amplifies the rounding of a second normalisation.
        np.testing.assert_allclose(part["score"], found.scores[name], atol=1e-5)
    assert len(found.thumbnails) == 2


def test_bad_requests_are_refused(tmp_path: Path, prompt_file: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such prompt file"):
        load_sources([str(tmp_path / "none.safetensors")])
    with pytest.raises(ValueError, match="zero-shot needs a backbone"):
        load_sources(["zero_shot"])
    with pytest.raises(ValueError, match="name one source twice"):
        load_sources([str(prompt_file), str(prompt_file)])
    with pytest.raises(FileNotFoundError, match="no such recipe"):
        evaluate.main(["--data", str(tmp_path / "none.yaml")])


def test_recipe_with_a_wrong_option_is_named(tmp_path: Path) -> None:
    recipe = tmp_path / "wrong.yaml"
    options = {"table": "x.csv", "mos_range": [0, 1], "batchsize": 3}
    data = {"class_path": "clipiqa_plus.data.TableData", "init_args": options}
    recipe.write_text(yaml.safe_dump({"model": {"backbone": "demo"}, "data": data}))
    with pytest.raises(ValueError, match=r"wrong\.yaml: data section: (?s:.*)batchsize"):
        evaluate.main(["--data", str(recipe)])


def test_scores_within_contents_are_compared_within_them(clip: FrozenCLIP) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"content": np.repeat(["a", "b", "c", "d", "e"], 8), "target": "mos"})
    frame["mos"] = rng.uniform(size=40)
    # Good within each content; an offset per content ruins what is pooled.
    offset = np.repeat([0.0, 5.0, -3.0, 9.0, 2.0], 8)
    frame["one"] = frame["mos"] + offset
    frame["two"] = -frame["mos"] + offset
    frame["within_content"] = True
    results, differences, _ = compare_sources(frame, ["one", "two"])
    assert results["SRCC"].tolist() == pytest.approx([1, -1])
    assert results["note"].tolist() == ["median over 5 contents"] * 2
    assert differences["dSRCC"].tolist() == pytest.approx([-2])
    assert differences["p_SRCC"].tolist() == pytest.approx([2 / 32])  # all 5 signs alike


@pytest.mark.slow
@pytest.mark.parametrize("cached", [False, True])
def test_training_part_is_scored_on_whole_pictures(
    table: Path, clip: FrozenCLIP, cached: bool
) -> None:
    source = CLIPIQAPlus(clip, prompts=PromptConfig(mode="zero_shot"))
    options = {"fractions": (1.0, 0.0, 0.0), "num_workers": 0}
    crops = AugmentedViews([{"RandomCrop": {"height": 32, "width": 32}}])
    cache = FeatureCache() if cached else None
    plain = score({"a": source}, TableData(str(table), (1, 5), **options), "train", cache=cache)
    data = TableData(str(table), (1, 5), train_views=crops, **options)
    data.features["train"] = lambda rows, views: torch.zeros(len(rows), clip.dim)
    found = score({"a": source}, data, "train", cache=cache)
    # The same pictures in batches of the same sizes.
    np.testing.assert_allclose(found["a"], plain["a"], atol=1e-6)
    assert data.train_views is crops


@pytest.fixture
def recipe(table: Path) -> Path:
    options = {"table": str(table), "mos_range": [1, 5], "num_workers": 0}
    data = {"class_path": "clipiqa_plus.data.TableData", "init_args": options}
    path = table.parent / "<script>[bold]'.yaml"
    path.write_text(yaml.safe_dump({"data": data}))
    return path


@pytest.mark.slow
def test_prompts_tested_on_pictures_of_their_training_are_counted_and_warned_of(
    recipe: Path, table: Path, weights: Path, prompt_file: Path
) -> None:
    data = TableData(str(table), (1, 5), split="random", num_workers=0)
    data.setup()
    data.split.save(prompt_file.parent / "split.json")
    by_content = TableData(str(table), (1, 5), split="content", num_workers=0)
    by_content.setup()
    seen = set(data.rows("train")) & set(by_content.rows("test"))
    assert seen
    out = table.parent / "out"
    command = ["--prompts", "zero_shot", f"mine={prompt_file}", "--data", str(recipe)]
    command += ["--backbone", str(weights), "--out", str(out), "--device", "cpu"]
    said = f"trained on {len(seen)} of these {len(by_content.rows('test'))} pictures"
    with pytest.warns(UserWarning, match=f"mine was {said}"):
        results = evaluate.main(command)
    assert results["note"][1].startswith(f"mine: {said}")
    assert "trained" not in results["note"][0]
    assert said in (out / "differences.md").read_text()
    by_content.split.save(prompt_file.parent / "split.json")  # tested on what it has not seen
    assert not evaluate.main(command)["note"].str.contains("trained").any()


@pytest.mark.slow
def test_names_of_data_sets_are_text_in_every_output(
    recipe: Path, table: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = table.parent / "out"
    names = [f"=cmd({i})\n<script>[bold]'{i}.png" for i in range(N)]
    for i, name in enumerate(names):
        (table.parent / f"{i}.png").rename(table.parent / name.replace("/", "_"))
    frame = pd.read_csv(table).assign(image=names)
    frame.to_csv(table, index=False)
    (table.parent / names[3]).write_bytes(b"not a picture")
    content = yaml.safe_load(recipe.read_text())
    content["data"]["init_args"] |= {"split": "whole", "skip_unreadable": True}
    recipe.write_text(yaml.safe_dump(content))
    with pytest.warns(UserWarning, match="cannot be decoded"):
        evaluate.main(["--data", str(recipe), "--backbone", str(weights), "--out", str(out)])
    assert "<script>[bold]'" in capsys.readouterr().out
    page = (out / "report.html").read_text()
    assert "<script>[bold]" not in page
    skipped = pd.read_csv(out / "<script>[bold]'" / "skipped.csv")
    assert skipped["image"].tolist() == [f"./{names[3]}"]


@pytest.mark.slow
def test_html_in_the_metadata_of_prompts_is_text_in_the_page(
    recipe: Path, table: Path, weights: Path
) -> None:
    clip = FrozenCLIP.from_name(str(weights))
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"
    prompts = ContextPrompts(clip, pairs=[(evil, "Bad photo.")])
    prompts.steps += 1
    facts = {"recipe": evil, "dataset": evil, "licence": evil, "metrics": {evil: 0.5}}
    path = table.parent / "run" / "prompts.safetensors"
    save_prompts(path, prompts, clip, reduction="mean", **facts)
    (path.parent / "run.json").write_text(json.dumps({"recipe": evil}))
    out = table.parent / "out"
    command = ["--prompts", "zero_shot", str(path), "--data", str(recipe)]
    evaluate.main([*command, "--backbone", str(weights), "--out", str(out), "--device", "cpu"])
    (about,) = json.loads((out / "evaluation.json").read_text())["data"].values()
    assert about["sources"]["run"]["pairs"][0][0] == evil
    page = (out / "report.html").read_text()
    assert "alert(1)" in page  # as text
    assert "<script>alert" not in page
    assert "<img src=x" not in page


def test_two_evaluations_do_not_share_a_folder(recipe: Path, tmp_path: Path) -> None:
    refused = pytest.raises(FileExistsError, match=r"another evaluation is writing here.*--out")
    with claimed(tmp_path / "out"), refused:
        evaluate.main(["--data", str(recipe), "--out", str(tmp_path / "out")])
    with claimed(tmp_path / "out"):
        pass


@pytest.mark.slow
def test_own_words_of_zero_shot(
    table: Path, weights: Path, prompt_file: Path, tmp_path: Path
) -> None:
    options = {"table": str(table), "mos_range": [1, 5], "split": "whole", "num_workers": 0}
    data = {"class_path": "clipiqa_plus.data.TableData", "init_args": options}
    recipe = table.parent / "mine.yaml"
    recipe.write_text(yaml.safe_dump({"data": data}))
    command = ["--data", str(recipe), "--backbone", str(weights), "--device", "cpu"]
    command += ["--out", str(tmp_path / "out"), "--pair", "Crisp photo.", "Soft photo."]
    evaluate.main([*command, "--prompts", "zero_shot"])
    record = json.loads((tmp_path / "out/evaluation.json").read_text())
    source = record["data"]["mine"]["sources"]["zero_shot"]
    assert source["pairs"] == [["Crisp photo.", "Soft photo."]]
    scores = pd.read_parquet(tmp_path / "out/mine/scores.parquet")["zero_shot"]
    scorer = load(backbone=str(weights), pairs=[("Crisp photo.", "Soft photo.")], device="cpu")
    alone = scorer([table.parent / f"{i}.png" for i in range(N)])[:, 0]
    # Batches of other sizes sum in another order; 100 x cosine amplifies it.
    np.testing.assert_allclose(scores, alone, atol=1e-5)
    with pytest.raises(ValueError, match="--pair and --scale give the words of zero_shot"):
        clipiqa_evaluate(prompts=[str(prompt_file)], pair=[("a", "b")])


@pytest.mark.slow
def test_views_of_an_evaluation_are_cached_and_averaged(
    table: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"table": str(table), "mos_range": [1, 5], "split": "whole", "num_workers": 0}
    data = {"class_path": "clipiqa_plus.data.TableData", "init_args": options}
    recipe = table.parent / "mine.yaml"
    recipe.write_text(yaml.safe_dump({"data": data}))
    command = ["--data", str(recipe), "--backbone", str(weights)]
    command += ["--device", "cpu", "--views", "flip", "--over-views", "mean"]
    results = evaluate.main([*command, "--out", str(tmp_path / "out")])
    assert "zero_shot: mean over flip, not the published score" in results["note"].iloc[0]
    scores = pd.read_parquet(tmp_path / "out/mine/scores.parquet")["zero_shot"]
    scorer = load(backbone=str(weights), views="flip", device="cpu")
    alone = scorer([table.parent / f"{i}.png" for i in range(N)])[:, 0]
    # Batches of other sizes sum in another order; 100 x cosine amplifies it.
    np.testing.assert_allclose(scores, alone, atol=1e-5)
    encoded = []
    monkeypatch.setattr(FrozenCLIP, "encode_image", lambda *given: encoded.append(given))
    evaluate.main([*command, "--out", str(tmp_path / "again")])
    assert not encoded
