"""Training curves: what logs beside a prompt file say, resumed runs included."""

from __future__ import annotations

from pathlib import Path

from clipiqa_plus.training.curves import sparkline, training_curves

FIRST = "lr-SGD,step,train/loss,val/SRCC,test/SRCC\n0.1,,,,\n,0,0.5,,\n,1,,0.6,\n,2,0.4,,\n"
RESUMED = "step,train/loss,val/SRCC,test/SRCC\n2,0.3,,\n4,0.2,,\n5,,0.8,\n5,,,0.9\n"


def write(run: Path, version: int, text: str) -> None:
    folder = run / f"logs/version_{version}"
    folder.mkdir(parents=True)
    (folder / "metrics.csv").write_text(text)


def test_a_resumed_run_is_one_curve(tmp_path: Path) -> None:
    write(tmp_path / "a", 9, FIRST)
    write(tmp_path / "a", 10, RESUMED)  # behind 9, which a sort by name would not do
    prompts = str(tmp_path / "a/prompts.safetensors")
    curves = training_curves(
        {"zero_shot": "zero_shot", "a": prompts, "b": str(tmp_path / "b/prompts.safetensors")}
    )
    assert curves["prompts"].unique().tolist() == ["a"]
    loss = curves[curves["metric"] == "train/loss"]
    assert loss["step"].tolist() == [0, 2, 4]
    assert loss["value"].tolist() == [0.5, 0.3, 0.2]
    assert curves.loc[curves["metric"] == "val/SRCC", "value"].tolist() == [0.6, 0.8]
    assert set(curves["metric"]) == {"train/loss", "val/SRCC"}


def test_without_logs_there_is_no_curve(tmp_path: Path) -> None:
    assert training_curves({"a": str(tmp_path / "prompts.safetensors")}).empty


def test_sparkline() -> None:
    assert sparkline([0, 7, 3.5, 7]) == "▁█▅█"
    assert sparkline([1, 1, 1]) == "▁▁▁"
    assert sparkline([]) == ""
    assert sparkline(range(100), 8) == "▁▂▃▄▅▆▇█"
