"""A recipe over 15 small pictures with a small random CLIP."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from tests.support.models import write_weights


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    return write_weights(path)


@pytest.fixture
def recipe(tmp_path: Path, weights: Path, make_picture: Callable[..., Path]) -> Path:
    """A recipe over 15 small pictures, and a working folder for its runs."""
    for i in range(15):
        make_picture(tmp_path / f"{i}.png", seed=i)
    rng = np.random.default_rng(0)
    pd.DataFrame(
        {
            "image": [f"{i}.png" for i in range(15)],
            "mos": rng.uniform(0, 100, 15).round(2),
            "split": ["train"] * 6 + ["val"] * 5 + ["test"] * 4,
        }
    ).to_csv(tmp_path / "scores.csv", index=False)
    content = {
        "model": {
            "backbone": str(weights),
            "optimizer": {"class_path": "torch.optim.Adam", "init_args": {"lr": 0.01}},
        },
        "data": {
            "class_path": "clipiqa_plus.data.TableData",
            "init_args": {
                "table": str(tmp_path / "scores.csv"),
                "mos_range": [0, 100],
                "batch_size": 2,
                "num_workers": 0,
                "train_views": {"class_path": "clipiqa_plus.data.FlipViews"},
            },
        },
        "trainer": {"max_epochs": 4, "accelerator": "cpu", "enable_progress_bar": False},
        "checkpoint": {"monitor": "val/SRCC", "mode": "max"},
    }
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(content))
    return path
