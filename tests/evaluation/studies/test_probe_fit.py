"""Probes from the command line: fitted, compared beside zero-shot and prompts, scored by."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

import evaluate
from clipiqa_plus.clip.backbone import FrozenCLIP
from clipiqa_plus.commands.main import main
from clipiqa_plus.features.probes import Probe
from clipiqa_plus.inference.probes import load_probe, read_facts, read_probe, save_probe
from clipiqa_plus.inference.scorer import load
from clipiqa_plus.prompts.files import save_prompts
from clipiqa_plus.prompts.sources import ContextPrompts
from tests.support.models import small_clip


@pytest.fixture
def probe_file(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    out = tmp_path / "ridge.safetensors"
    assert main(["probe", "fit", "--config", str(recipe), "--out", str(out)]) == 0
    assert "result: val/SRCC" in capsys.readouterr().out
    return out


@pytest.mark.slow
def test_zero_shot_prompts_and_probe_stand_in_one_table(
    probe_file: Path, recipe: Path, weights: Path, tmp_path: Path
) -> None:
    clip = FrozenCLIP.from_name(str(weights))
    prompts = ContextPrompts(clip, seed=5)
    prompts.steps += 1
    learned = save_prompts(tmp_path / "plus.safetensors", prompts, clip, reduction="mean")
    out = tmp_path / "out"
    given = ["--prompts", "zero_shot", str(learned), str(probe_file), "--data", str(recipe)]
    results = evaluate.main([*given, f"--out={out}", "--device=cpu", f"--backbone={weights}"])
    assert results["prompts"].tolist() == ["zero_shot", "plus", "ridge"]
    saved = load_file(probe_file)
    scores = pd.read_parquet(out / "tiny" / "scores.parquet")
    image = torch.stack([torch.from_numpy(_pixels(tmp_path / n)) for n in scores["image"]])
    features = clip.encode_image(image)
    linear = features @ saved["layers.0.weight"].T + saved["layers.0.bias"]
    # float32 against float32, encoded in another batch.
    np.testing.assert_allclose(scores["ridge"], torch.sigmoid(linear)[:, 0], atol=1e-5)
    page = (out / "report.html").read_text()
    assert "probe, ridge" in page
    assert read_facts(probe_file)["dataset"] == "table"


def _pixels(path: Path) -> np.ndarray:
    from PIL import Image

    return np.array(Image.open(path).convert("RGB")).transpose(2, 0, 1)


@pytest.mark.slow
def test_scorer_takes_a_probe(
    probe_file: Path, tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "3.png"
    given = ["--preset=clipiqa+", f"--prompts={probe_file}", f"--backbone={weights}"]
    assert main(["score", str(picture), *given]) == 0
    clip = FrozenCLIP.from_name(str(weights))
    probe, _ = read_probe(probe_file)
    feature = clip.encode_image(torch.from_numpy(_pixels(picture))[None])
    assert capsys.readouterr().out.strip() == f"{float(probe(feature)):.4f}"
    assert load("clipiqa+", probe_file, str(weights)).settings["probe"] == "ridge"


@pytest.mark.slow
def test_mlp_survives_the_disk(recipe: Path, tmp_path: Path, weights: Path) -> None:
    out = tmp_path / "mlp.safetensors"
    assert main(["probe", "fit", "--config", str(recipe), "--out", str(out), "--kind=mlp"]) == 0
    source = load_probe(out, FrozenCLIP.from_name(str(weights)))
    assert (source.probe.kind, source.probe.hidden) == ("mlp", 64)


def test_a_probe_of_other_weights_is_refused(tmp_path: Path) -> None:
    path = save_probe(tmp_path / "p.safetensors", Probe(32), small_clip(seed=1), ["mos"])
    with pytest.raises(ValueError, match=r"was learned on small-resnet-1 .* small-resnet-0"):
        load_probe(path, small_clip(seed=0))


def test_several_scores_bear_the_names_of_their_targets(tmp_path: Path) -> None:
    clip = small_clip()
    path = save_probe(tmp_path / "p.safetensors", Probe(32, 2), clip, ["mos", "sharpness"])
    assert load("clipiqa+", path, backbone=clip).names == ["mos", "sharpness"]


def test_what_is_no_probe_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.safetensors"
    save_file({"ctx": torch.zeros(2, 2)}, path)
    with pytest.raises(ValueError, match="not a probe of this package"):
        read_probe(path)
    clip, probe = small_clip(), Probe(32)
    with torch.no_grad():
        probe.layers[-1].bias.fill_(float("nan"))
    with pytest.raises(ValueError, match=r"layers\.0\.bias is NaN"):
        read_probe(save_probe(path, probe, clip, ["mos"]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.assign(mos=50.0), "mos is constant over the training part"),
        (lambda table: table.assign(split=["train"] * 2 + ["test"] * 13), "2 rated pictures"),
    ],
)
def test_data_that_do_not_serve_are_one_error(
    change: object, message: str, recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = Path(yaml.safe_load(recipe.read_text())["data"]["init_args"]["table"])
    change(pd.read_csv(table)).to_csv(table, index=False)  # type: ignore[operator]
    out = tmp_path / "p.safetensors"
    assert main(["probe", "fit", "--config", str(recipe), "--out", str(out)]) == 1
    assert message in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.slow
def test_score_gives_intervals_on_the_scale_of_the_mos(
    probe_file: Path, tmp_path: Path, weights: Path
) -> None:
    out, given = tmp_path / "s.csv", ["--preset=clipiqa+", f"--prompts={probe_file}"]
    given += [f"--backbone={weights}", f"--out={out}", "--interval=0.6"]
    assert main(["score", str(tmp_path / "3.png"), *given]) == 0
    row = pd.read_csv(out).iloc[0]
    # 5 pictures validate: the 4th smallest residual, on scores from 0 to 100.
    width = read_facts(probe_file)["intervals"]["half_widths"][0][10]
    assert row["mos_low"] == pytest.approx(max(0, 100 * (row["score"] - width)), abs=1e-3)
    assert row["mos_high"] == pytest.approx(min(100, 100 * (row["score"] + width)), abs=1e-3)


def test_an_interval_of_a_file_without_one_is_one_error(
    tmp_path: Path,
    weights: Path,
    make_picture: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    make_picture(tmp_path / "a.png")
    path = save_probe(tmp_path / "p.safetensors", Probe(32), small_clip(), ["mos"])
    given = ["--preset=clipiqa+", f"--prompts={path}", "--interval=0.9", "--out=s.csv"]
    assert main(["score", str(tmp_path), *given]) == 1
    assert "p.safetensors has no intervals" in capsys.readouterr().err
    assert main(["score", str(tmp_path), "--interval=0.9", "--out=s.csv"]) == 1
    assert "preset clipiqa has no intervals" in capsys.readouterr().err
