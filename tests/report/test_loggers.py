"""What Weights & Biases and TensorBoard are given is read back from their own files."""

from __future__ import annotations

import builtins
import io
import json
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from clipiqa_plus.evaluation.rank_changes import largest_rank_changes
from clipiqa_plus.evaluation.results import load_table
from clipiqa_plus.report.loggers import log_evaluation, require_loggers
from tests.support.saved_evaluation import evaluation, pictures
from tests.support.wandb_files import wandb_artifacts, wandb_records


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An evaluation of a prompt file, "a", which tuning made better for some pictures."""
    folder = evaluation(tmp_path / "an evaluation", pictures(60), resamples=20)
    record = json.loads((folder / "evaluation.json").read_text())
    prompts = tmp_path / "a.safetensors"
    prompts.write_bytes(b"context tokens")
    record["data"]["mine"]["sources"]["a"] |= {"file": str(prompts), "file_sha256": "d4"}
    (folder / "evaluation.json").write_text(json.dumps(record))
    return folder


@pytest.mark.slow
def test_wandb_offline_gets_tables_pictures_and_prompts(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    page = tmp_path / "page.html"
    page.write_text("<p>the report</p>")
    log_evaluation(folder, wandb_project="mine", page=page)
    (run,) = (folder / "wandb").glob("offline-run-*")
    (results,) = run.glob("files/media/table/results_*.table.json")
    table = json.loads(results.read_text())
    saved = load_table(folder / "results.json")
    assert table["columns"] == list(saved.columns)
    srcc = table["columns"].index("SRCC")
    assert [row[srcc] for row in table["data"]] == saved["SRCC"].tolist()
    assert len(list(run.glob("files/media/images/mine/mos/scatter_*.png"))) == 3

    scores = pd.read_parquet(folder / "mine/scores.parquet")
    moved = [
        m
        for other in "ab"
        for part in largest_rank_changes(scores, "zero_shot", other)
        for m in part
    ]
    (listed,) = run.glob("files/media/table/mine/mos/moved_*.table.json")
    rows = json.loads(listed.read_text())["data"]
    assert [row[1] for row in rows] == [picture.image for picture in moved]
    assert {row[3] for row in rows} == {"helped", "hurt"}

    (log,) = run.glob("*.wandb")
    artifacts = wandb_artifacts(log)
    (prompts,) = [a for a in artifacts if a.type == "prompts"]
    assert [entry.path for entry in prompts.manifest.contents] == ["a.safetensors"]
    assert prompts.manifest.contents[0].size == len(b"context tokens")
    assert json.loads(prompts.metadata)["file_sha256"] == "d4"
    assert prompts.name == f"{tmp_path.name}-a"
    config = {
        update.key: json.loads(update.value_json)
        for record in wandb_records(log)
        if record.WhichOneof("record_type") == "run"
        for update in record.run.config.update
    }
    assert config["prompts_sha256"] == {"a": "d4"}
    (logged,) = run.glob("files/media/html/report_*.html")
    assert "the report" in logged.read_text()
    scalars = {
        "/".join(item.nested_key) or item.key: json.loads(item.value_json)
        for record in wandb_records(log)
        if record.WhichOneof("record_type") == "history"
        for item in record.history.item
    }
    assert scalars["mine/mos/SRCC/a"] == pytest.approx(saved["SRCC"][1])
    assert scalars["mine/mos/PLCC/zero_shot"] == pytest.approx(saved["PLCC"][0])
    (images,) = [a for a in artifacts if "moved" in a.name]
    kept = {picture.id for picture in moved if picture.id < 5}  # those with thumbnails
    names = [entry.path for entry in images.manifest.contents if entry.path.startswith("media/")]
    assert len(kept) == len(names) > 0


@pytest.mark.slow
def test_tensorboard_gets_tables_and_pictures(folder: Path, tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    log_evaluation(folder, tensorboard=str(tmp_path / "logs"))
    every = dict.fromkeys(("images", "tensors", "scalars"), 0)
    events = accumulator.EventAccumulator(str(tmp_path / "logs"), every).Reload()
    tags = events.Tags()
    text = events.Tensors("results/text_summary")[0].tensor_proto.string_val[0].decode()
    assert text == (folder / "results.md").read_text()
    assert "differences/text_summary" in tags["tensors"]
    assert "mine/mos/moved/text_summary" in tags["tensors"]
    saved = load_table(folder / "results.json")
    (scalar,) = events.Scalars("mine/mos/SRCC/a")
    assert scalar.value == pytest.approx(saved["SRCC"][1], abs=1e-6)  # float32
    scatters = [tag for tag in tags["images"] if tag.startswith("mine/mos/scatter/")]
    assert len(scatters) == 3
    (blue,) = [tag for tag in scatters if tag.endswith("/a")]
    picture = Image.open(io.BytesIO(events.Images(blue)[0].encoded_image_string))
    colours = picture.convert("RGB").getcolors(10**6)
    assert colours is not None
    assert max(colours)[1] == (255, 255, 255)
    # Dots are drawn: without data a chart has axes and nothing in its colour.
    assert sum(n for n, (red, _, blue) in colours if blue > red + 40) > 500
    sheets = {tag for tag in tags["images"] if not tag.startswith("mine/mos/scatter/")}
    assert sheets
    # One tag for each source, however many pictures: tags with names of pictures do not scale.
    assert sheets <= {f"mine/mos/{tuning}/{s}" for tuning in ("helped", "hurt") for s in "ab"}
    sheet = Image.open(io.BytesIO(events.Images(min(sheets))[0].encoded_image_string))
    assert sheet.width == 5 * 160
    assert len(sheet.convert("RGB").getcolors(10**6) or []) > 2  # more than a white page


def test_missing_tensorboard_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = builtins.__import__

    def without(name: str, *args: object) -> object:
        if name == "torch.utils.tensorboard":
            raise ImportError("no module named tensorboard")
        return plain(name, *args)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"pip install '\.\[tensorboard\]'"):
        log_evaluation(folder, tensorboard="logs")
    with pytest.raises(ImportError, match=r"pip install '\.\[tensorboard\]'"):
        require_loggers(None, "logs")


def test_nothing_is_logged_unasked(folder: Path) -> None:
    before = sorted(folder.rglob("*"))
    log_evaluation(folder)
    assert sorted(folder.rglob("*")) == before
