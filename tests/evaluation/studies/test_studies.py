"""Studies on features with a planted target: what they find is known beforehand."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
import yaml
from scipy import stats

from clipiqa_plus.commands.main import main
from clipiqa_plus.evaluation.studies import inputs as studies_inputs
from clipiqa_plus.evaluation.studies import labels, layouts, seeds
from clipiqa_plus.evaluation.studies.inputs import StudyInputs, hold_out, load_inputs
from clipiqa_plus.evaluation.studies.saved import StudyFits, StudyRows
from clipiqa_plus.inference.scorer import load
from clipiqa_plus.prompts.config import PromptConfig
from clipiqa_plus.prompts.files import read_prompts, save_prompts
from clipiqa_plus.training.fits import Fit, fit_contexts
from tests.support.feature_data import Few, draw
from tests.support.models import small_clip

SIZES = (40, 20, 60)


@pytest.fixture
def inputs(tmp_path: Path) -> StudyInputs:
    """Unit features of 120 pictures whose MOS a line gives, and a little noise."""
    names = [f"{i}.png" for i in range(10)]
    for index, name in enumerate(names):
        draw(tmp_path / name, index)
    generator = torch.Generator().manual_seed(0)
    clip = small_clip()
    features = F.normalize(torch.randn(sum(SIZES), clip.dim, generator=generator), dim=-1)
    noise = 0.1 * torch.randn(sum(SIZES), 1, generator=generator)
    mos = torch.sigmoid(3 * features[:, :1] + noise)
    rows = torch.arange(sum(SIZES)).split(SIZES)
    return StudyInputs(
        clip, PromptConfig(n_ctx=4), Few(tmp_path, names, val=2), "mse", True, features, mos,
        *(rows[0], rows[1], rows[2]), np.arange(sum(SIZES)),
    )  # fmt: skip


@pytest.mark.slow
def test_labels_end_where_more_change_nothing_and_go_on_after_a_stop(
    inputs: StudyInputs, tmp_path: Path
) -> None:
    counts = labels.rating_counts(inputs, 3)
    assert counts == [25, 39, 60]
    how = (labels.COLUMNS, 3, {"a": 1})
    with StudyRows(tmp_path / "s", *how) as rows:
        labels.study_labels(inputs, counts, 2, rows)
        whole = rows.table()
    assert len(whole) == 1 + 2 * 3 * 2
    lines = (tmp_path / "s/rows.csv").read_bytes().splitlines(keepends=True)
    (tmp_path / "s/rows.csv").write_bytes(b"".join(lines[:9]) + b"prompts,2")  # killed in a line
    with StudyRows(tmp_path / "s", *how) as rows:
        labels.study_labels(inputs, counts, 2, rows)
        again = rows.table()
    key = ["source", "ratings", "draw"]
    first, second = (table.sort_values(key, ignore_index=True) for table in (whole, again))
    pd.testing.assert_frame_equal(first[key], second[key])
    kept = whole.iloc[:8].merge(again, on=key)  # those learned anew had other company
    assert (kept["SRCC_x"] == kept["SRCC_y"]).all()
    probe = whole[(whole["source"] == "probe") & (whole["ratings"] == 60)]["SRCC"]
    assert probe.min() > 0.8
    assert probe.nunique() == 1  # of all ratings there is one set
    with pytest.raises(ValueError, match="study with other settings"):
        StudyRows(tmp_path / "s", labels.COLUMNS, 3, {"a": 2})


@pytest.mark.slow
def test_a_start_from_another_set_helps_with_few_ratings(
    inputs: StudyInputs, tmp_path: Path
) -> None:
    """The start was learned on other pictures with the same line from features to MOS."""
    generator = torch.Generator().manual_seed(9)
    other = F.normalize(torch.randn(300, inputs.clip.dim, generator=generator), dim=-1)
    mos = torch.sigmoid(3 * other[:, :1])
    begin, rows = inputs.prompts(seed=7), torch.arange(300)
    fit = Fit(begin.ctx.detach(), rows[:250], rows[250:])
    ((_, fitted),) = fit_contexts(begin, inputs.clip, other, mos, [fit])
    path = tmp_path / "other.safetensors"
    save_prompts(path, fitted.prompts(begin), inputs.clip, reduction="mean")
    counts = labels.few_counts(inputs, [60, 15, 15])
    assert counts == [15, 60]
    with StudyRows(tmp_path / "s", labels.COLUMNS, 3, {}) as rows_:
        starts = {"other": inputs.start(str(path))}
        labels.study_labels(inputs, counts, 4, rows_, starts)
        done = rows_.table()
    assert len(done) == 2 + 3 * 4 * 2
    text = fitted.text
    untrained = done.set_index("source").loc["other, no ratings", "SRCC"]
    # Once through the batch of fits, once through the file: rounding of the text tower.
    expected = inputs.srcc(inputs.score(text, inputs.test), inputs.test)
    assert untrained == pytest.approx(expected, abs=1e-3)
    gained = labels.gains(done).set_index("ratings")
    assert gained.loc[15, "gain"] > 0.2
    assert gained.loc[15, "gain_low"] > 0
    assert gained.loc[60, "gain"] < gained.loc[15, "gain"]
    wide = done.pivot(index=["ratings", "draw"], columns="source", values="SRCC")
    by_hand = (wide["from other"] - wide["prompts"]).loc[15]
    ends = stats.t.interval(0.95, 3, by_hand.mean(), stats.sem(by_hand))
    assert gained.loc[15, ["gain_low", "gain_high"]].tolist() == pytest.approx(ends)
    assert labels.gain_sentence(labels.gains(done)).startswith(
        f"Starting from other instead of at random changes SRCC by {by_hand.mean():+.3f} ["
    )
    table = labels.over_draws(done)
    assert set(table["source"]) == {
        *("zero_shot", "probe", "prompts", "from other", "other, no ratings"),
    }


@pytest.mark.slow
def test_a_start_is_on_the_page_and_in_the_terminal(
    inputs: StudyInputs,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(studies_inputs, "load_inputs", lambda *_args, **_options: inputs)
    begin = inputs.prompts(seed=7)
    begin.steps += 1
    path = save_prompts(tmp_path / "p.safetensors", begin, inputs.clip, reduction="mean")
    out = tmp_path / "out"
    given = ["study", "labels", "--config", "mine", "--out", str(out), "--draws", "2"]
    given += ["--shots", "15", "20", "--start"]
    assert main([*given, f"there={path}"]) == 0
    printed = capsys.readouterr().out
    assert "result: Starting from there instead of at random changes SRCC by " in printed
    assert "there, no ratings" in printed
    page = (out / "report.html").read_text()
    assert "from there" in page
    assert "Starting from there instead of at random" in page
    assert pd.read_csv(out / "gains.csv")["ratings"].tolist() == [15, 20]
    begin.steps += 1
    with torch.no_grad():
        begin.ctx.mul_(2)
    save_prompts(path, begin, inputs.clip, reduction="mean")
    assert main([*given, f"there={path}"]) == 1  # another file of that name
    assert "study with other settings" in capsys.readouterr().err


def test_starts_and_shots_that_do_not_go(inputs: StudyInputs, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="5 ratings: give 15 at least, and at most the 60"):
        labels.few_counts(inputs, [5])
    with pytest.raises(ValueError, match="100 ratings: give 15 at least"):
        labels.few_counts(inputs, [20, 100])
    longer = inputs.prompts(n_ctx=5)
    longer.steps += 1
    path = save_prompts(tmp_path / "p.safetensors", longer, inputs.clip, reduction="mean")
    with pytest.raises(ValueError, match=r"n_ctx 5, but the recipe has 4; .* one layout"):
        inputs.start(str(path))
    both = inputs.prompts()
    both.steps += 1
    both.set_members(torch.stack([both.ctx, both.ctx]))
    save_prompts(path, both, inputs.clip, reduction="mean")
    with pytest.raises(ValueError, match="an ensemble has no single context"):
        inputs.start(str(path))


def test_sentence_names_the_number_after_which_nothing_is_gained() -> None:
    curve = {25: 0.3, 50: 0.4, 100: 0.401, 200: 0.404}
    table = pd.DataFrame(
        [("prompts", n, s) for n, s in curve.items()]
        + [("probe", n, n / 1000) for n in curve]
        + [("zero_shot", n, 0.2) for n in curve],
        columns=["source", "ratings", "SRCC"],
    )
    assert labels.sentence(table) == (
        "With prompts, more than 50 ratings gain less than 0.005 (SRCC 0.400, 0.404 from 200); "
        "probe: still a gain of 0.005 or more at 200 (SRCC 0.200); zero-shot has 0.200."
    )


def test_interval_over_draws_is_students() -> None:
    rows = pd.DataFrame(
        [("zero_shot", 0, 0, 0.1)] + [("probe", 25, d, v) for d, v in enumerate((0.1, 0.2, 0.3))],
        columns=labels.COLUMNS,
    )
    table = labels.over_draws(rows).set_index("source")
    # t of 2 degrees of freedom at 0.975 is 4.3027; the deviation 0.1.
    assert table.loc["probe", "SRCC_high"] == pytest.approx(0.2 + 4.3027 * 0.1 / 3**0.5, abs=1e-4)
    assert table.loc["zero_shot", ["ratings", "SRCC"]].tolist() == [25, 0.1]


def test_contents_are_held_out_whole() -> None:
    contents = np.array([0, 0, 0, 1, 1, 2, 2, 3, 3, 3])
    stay, held = hold_out(torch.randperm(10, generator=torch.Generator().manual_seed(0)), contents)
    assert sorted([*stay.tolist(), *held.tolist()]) == list(range(10))
    assert not set(contents[stay]) & set(contents[held])
    assert len(held)
    assert len(stay)


@pytest.mark.slow
def test_seeds_differ_and_their_ensemble_is_the_mean_score(
    inputs: StudyInputs, tmp_path: Path
) -> None:
    table, fitted = seeds.study_seeds(inputs, 3)
    assert table["SRCC"].nunique() > 1
    assert table["ensemble"].iloc[0] == table["SRCC"].iloc[0]
    path = seeds.save_ensemble(tmp_path / "e.safetensors", inputs, fitted)
    scorer = load("clipiqa+", path, inputs.clip, interval=0.8)
    features = inputs.features[inputs.test]
    each = torch.stack([inputs.score(fit.text, inputs.test) for fit in fitted])
    ours = scorer.score_features(features)
    torch.testing.assert_close(ours, each.mean(dim=0), atol=1e-5, rtol=0)
    assert inputs.srcc(ours, inputs.test) == pytest.approx(table["ensemble"].iloc[-1], abs=1e-4)
    assert scorer.columns == ["score", "spread", "mos_low", "mos_high"]
    assert f"ensemble of all has {table['ensemble'].iloc[-1]:.3f}" in seeds.sentence(table)


@pytest.mark.slow
def test_seeds_resume_and_refuse_other_settings(inputs: StudyInputs, tmp_path: Path) -> None:
    whole, _ = seeds.study_seeds(inputs, 3)
    saved = StudyFits(tmp_path, {"a": 1})
    seeds.study_seeds(inputs, 2, saved=saved)
    first = saved.get(1)
    assert first is not None
    again, fitted = seeds.study_seeds(inputs, 3, saved=StudyFits(tmp_path, {"a": 1}))
    assert torch.equal(fitted[1].ctx, first.ctx)  # taken from disk, bit for bit
    assert fitted[1].ended == first.ended
    # A fit among others differs from a lone one by rounding, which iterations may enlarge.
    pd.testing.assert_frame_equal(whole, again, atol=0.05)
    with pytest.raises(ValueError, match="study with other settings"):
        StudyFits(tmp_path, {"a": 2})
    assert StudyFits(tmp_path, {"a": 2}, overwrite=True).get(0) is None


def test_a_fit_that_cannot_move_is_warned_of(
    inputs: StudyInputs, capsys: pytest.CaptureFixture[str]
) -> None:
    still = dataclasses.replace(inputs, features=torch.zeros_like(inputs.features))
    seeds.study_seeds(still, 2)
    warned = " ".join(capsys.readouterr().err.split())
    assert "fit 2 of 2 has not moved (the gradient vanishes)" in warned


def test_fewer_ratings_than_asked_are_one_error(inputs: StudyInputs) -> None:
    with pytest.raises(ValueError, match="fewer than 100"):
        labels.rating_counts(inputs, 4, most=100)
    small = dataclasses.replace(inputs, train=inputs.train[:3])
    with pytest.raises(ValueError, match="fewer than 25"):
        labels.rating_counts(small, 4)


@pytest.mark.slow
def test_from_the_command_line(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--config", str(recipe), "--out", str(tmp_path / "out")]
    assert main(["study", "seeds", *given, "--count=2"]) == 0
    assert "result: Over 2 seeds SRCC is" in capsys.readouterr().out
    assert "this seed alone" in (tmp_path / "out/report.html").read_text()
    own = ["--pair", "Crisp photo.", "Soft photo."]
    assert main(["study", "seeds", *given, "--count=2", "--overwrite", *own]) == 0
    facts = read_prompts(tmp_path / "out/ensemble.safetensors")[1]
    assert facts["pairs"] == [["Crisp photo.", "Soft photo."]]
    assert main(["study", "labels", *given]) == 1
    assert "11 ratings" in capsys.readouterr().err
    content = yaml.safe_load(recipe.read_text())
    content["data"]["init_args"] |= {"split": "random", "fractions": [0.8, 0, 0.2]}
    recipe.write_text(yaml.safe_dump(content))
    with pytest.raises(ValueError, match="has no val part"):
        load_inputs(str(recipe))


def layout_rows(values: dict[int, list[tuple[float, float]]]) -> pd.DataFrame:
    """Rows of layouts that differ in n_ctx, from validation and test SRCC by fold."""
    fixed = {
        "position": "middle",
        "pairs": "q",
        "class_specific": False,
        "loss": "mse",
        "init": "r",
    }
    return pd.DataFrame(
        [
            {**fixed, "n_ctx": n, "fold": fold, "val_SRCC": val, "SRCC": test}
            for n, folds in values.items()
            for fold, (val, test) in enumerate(folds)
        ]
    )[layouts.COLUMNS]


def test_selection_is_honest_and_noise_is_warned_of() -> None:
    rows = layout_rows(
        {
            4: [(0.9, 0.1), (0.2, 0.9), (0.8, 0.3)],
            8: [(0.3, 0.8), (0.8, 0.2), (0.1, 0.7)],
            16: [(0.1, 0.05), (0.1, 0.85), (0.1, 0.25)],
        }
    )
    # By validation 4, 8, 4 win: what they have on their test folds is low, not the best of each.
    assert layouts.honest(rows) == pytest.approx(0.2)
    table = layouts.over_folds(rows)
    assert table["n_ctx"].tolist() == [4, 8, 16]
    assert table["noise"].tolist() == [False, True, False]  # 16 is 0.05 behind in every fold
    assert layouts.sentence(rows) == (
        "Best is n_ctx 4; expect SRCC 0.200 when choosing this way (warning: 1 of 2 others are "
        "within noise of it)."
    )


@pytest.mark.slow
def test_layouts_are_compared_by_folds_that_keep_contents_together(
    inputs: StudyInputs, tmp_path: Path
) -> None:
    inputs = dataclasses.replace(inputs, contents=np.arange(sum(SIZES)) // 4)
    folds = layouts.folds_of(inputs, 5)
    assert sorted(torch.cat(folds).tolist()) == list(range(60))  # never the test part
    each = [set(inputs.contents[fold]) for fold in folds]
    assert sum(map(len, each)) == len(set.union(*each))
    fixed = {"pairs": [["quality"]], "class_specific": [False], "init": ["random"]}
    grid = layouts.grid(n_ctx=[2, 4], position=["middle"], loss=["mse"], **fixed)
    with StudyRows(tmp_path, layouts.COLUMNS, 7, {}) as rows:
        layouts.study_layouts(inputs, grid, 3, rows)
        table = rows.table()
        layouts.study_layouts(inputs, grid, 3, rows)  # nothing is left to do
        pd.testing.assert_frame_equal(table, rows.table())
    assert len(table) == 6
    assert table["SRCC"].between(-1, 1).all()
    with pytest.raises(ValueError, match="15 samples or contents"):
        layouts.folds_of(inputs, 16)
    with pytest.raises(ValueError, match="2 folds; one trains"):
        layouts.folds_of(inputs, 2)
