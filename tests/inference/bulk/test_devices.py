"""Several processes: the scores of one, whatever dies."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd
import pytest

from clipiqa_plus.inference.bulk import name_devices, score_files
from clipiqa_plus.inference.scorer import Scorer
from tests.support.scoring_process import load_mortal, load_nothing, load_small


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
