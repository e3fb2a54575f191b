"""Several processes: the scores of one, whatever dies."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd
import pytest

from clipiqa_plus.inference.bulk import SizeLimit, name_devices, score_files
from clipiqa_plus.inference.bulk.batches import batched
from clipiqa_plus.inference.bulk.devices import score_on_devices
from clipiqa_plus.inference.bulk.pictures import NO_LIMIT, Picture
from clipiqa_plus.inference.scorer import Scorer
from tests.support.scoring_process import load_cramped, load_mortal, load_nothing, load_small


@pytest.mark.slow
def test_a_dead_process_is_one_error_and_the_run_goes_on_to_the_scores_of_one(
    tmp_path: Path,
    scorer: Scorer,
    make_picture: Callable[..., Path],
    make_shard: Callable[..., Path],
) -> None:
    files = []
    for index in range(40):
        path = make_picture(tmp_path / f"in/{index:02}.png", 40 + index % 3, 40, index)
        files.append((path.name, path.read_bytes()))
    (tmp_path / "in/07.png").write_bytes(b"damaged")
    make_shard(tmp_path / "in/s.tar", files)
    make_shard(tmp_path / "in/t.tgz", files[:9], "gz")
    here, there = tmp_path / "here.csv", tmp_path / "there.csv"
    sources, two = [str(tmp_path / "in")], ("cpu", "cpu")
    mortal = partial(load_mortal, tmp_path / "died")
    with pytest.raises(RuntimeError, match="run the same command to resume"):
        score_files(scorer, sources, there, 4, devices=two, load=mortal)
    assert (tmp_path / "died").exists()
    before = pd.read_csv(there)
    assert len(before) > 0
    done = score_files(scorer, sources, there, 4, devices=two, load=load_small)
    assert done.earlier >= len(before)
    assert score_files(scorer, sources, here, 4).scored == done.scored == 88
    one, both = pd.read_csv(here), pd.read_csv(there)
    assert list(both["image"]) == list(one["image"])
    # Blocks begin elsewhere after resuming, and the processes share the threads: fp32 sums in
    # another order.
    assert list(both["score"]) == pytest.approx(list(one["score"]), abs=1e-6)
    failures = [path.with_suffix(".failed.csv").read_text() for path in (here, there)]
    assert failures[0] == failures[1]


@pytest.mark.slow
def test_tiles_in_two_processes_are_those_of_one(
    tmp_path: Path, scorer: Scorer, make_picture: Callable[..., Path]
) -> None:
    for index in range(5):
        size = (40, 50) if index % 2 else (390 + 10 * index, 300)
        make_picture(tmp_path / f"in/{index}.png", *size, index)
    sources, limit = [str(tmp_path / "in")], SizeLimit(30_000)
    whole = [float(scorer(str(path))) for path in sorted((tmp_path / "in").iterdir())]
    before = scorer.backbone.piece_pixels
    try:
        score_files(scorer, sources, tmp_path / "here.csv", 2, limit=limit)
    finally:
        scorer.backbone.piece_pixels = before
    two = ("cpu", "cpu")
    there = tmp_path / "there.csv"
    score_files(scorer, sources, there, 2, limit=limit, devices=two, load=load_small)
    one, both = pd.read_csv(tmp_path / "here.csv"), pd.read_csv(there)
    assert list(both["image"]) == list(one["image"])
    # The processes share the threads: fp32 sums in another order.
    assert list(both["score"]) == pytest.approx(list(one["score"]), abs=1e-6)
    # Tiles sum in another order than one piece, and the logit scale is 100.
    assert list(one["score"]) == pytest.approx(whole, abs=1e-5)


@pytest.mark.slow
def test_a_run_that_stops_ends_processes_whose_threads_wait_for_room(
    tmp_path: Path, make_picture: Callable[..., Path]
) -> None:
    paths = [make_picture(tmp_path / f"{index}.png", 40, 40, index) for index in range(40)]
    pictures = iter([Picture(path.name, str(path)) for path in paths])
    batches = batched(pictures, 4)
    rows = score_on_devices(load_cramped, ["cpu"], batches, 3, 2, NO_LIMIT)
    assert len(next(rows)) == 4
    stopped = threading.Thread(target=rows.close, daemon=True)
    stopped.start()
    stopped.join(60)
    assert not stopped.is_alive()


@pytest.mark.slow
def test_what_hinders_loading_is_told(folder: Path, tmp_path: Path, scorer: Scorer) -> None:
    with pytest.raises(ValueError, match="no weights there"):
        score_files(scorer, [str(folder)], tmp_path / "s.csv", devices=("cpu",), load=load_nothing)


def test_devices_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    assert name_devices(2, "cpu") == ["cpu", "cpu"]
    assert name_devices(1, "cuda:1") == ["cuda:1"]
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert name_devices(2, None) == ["cuda:0", "cuda:1"]
    with pytest.raises(ValueError, match="devices 3: this machine has 2 GPUs"):
        name_devices(3, "cuda")
    with pytest.raises(ValueError, match="cuda:1: this is a single device"):
        name_devices(2, "cuda:1")
    with pytest.raises(ValueError, match="devices 0"):
        name_devices(0, None)
