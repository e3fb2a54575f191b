"""Zero-shot by pair, backbone and data set against scores and correlations by hand."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from scipy import stats

import clipiqa_plus as ciq
from clipiqa_plus.commands.main import main
from clipiqa_plus.evaluation.studies.zero_shot import by_data, sentence


@pytest.mark.slow
def test_a_row_for_each_pair_backbone_and_data_set(
    recipe: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    command = ["study", "words", "--data", str(recipe), "--backbones", "demo", str(weights)]
    command += ["--backbones", "absent.pt", "--device", "cpu", "--out", str(out)]
    command += ["--pair", "Crisp photo.", "Soft photo.", "--pair", "Good photo.", "Bad photo."]
    assert main(command) == 0
    printed = capsys.readouterr()
    assert "not tried: absent.pt: absent.pt: no such weights file" in printed.err
    rows = pd.read_csv(out / "rows.csv")
    assert len(rows) == 4
    table = pd.read_csv(tmp_path / "scores.csv")
    table = table[table["split"] == "test"]
    for row in rows.itertuples():
        pair = ("Good photo.", "Bad photo.") if row.pair == "quality" else row.pair.split(" / ")
        scorer = ciq.load(backbone=row.backbone, pairs=[pair], device="cpu")
        scores = scorer([tmp_path / name for name in table["image"]])[:, 0].numpy()
        expected = [f(scores, table["mos"])[0] for f in (stats.spearmanr, stats.pearsonr)]
        # Batches of other sizes sum in another order, which moves PLCC.
        assert pytest.approx(expected, abs=1e-3) == [row.SRCC, row.PLCC]
        assert row.n == 4
    assert "<svg" in (out / "report.html").read_text()
    before = (out / "rows.csv").read_bytes()
    assert main(command) == 0  # nothing is left to do
    assert (out / "rows.csv").read_bytes() == before


def test_the_best_mean_comes_first() -> None:
    found = {"a p": (0.2, 0.4), "a q": (0.5, 0.3), "b p": (0.1, 0.1), "b q": (0.3, 0.1)}
    rows = pd.DataFrame(
        [
            (*key.split(), data, v)
            for key, two in found.items()
            for data, v in zip("xy", two, strict=True)
        ],
        columns=["backbone", "pair", "data", "SRCC"],
    )
    table = by_data(rows)
    assert list(table.columns) == ["backbone", "pair", "x", "y", "mean"]
    assert table["mean"].tolist() == pytest.approx([0.4, 0.3, 0.2, 0.1])
    assert sentence(table) == (
        "Best is q on a (SRCC 0.400), mean over 2 data sets; then q on b (SRCC 0.200)."
    )
