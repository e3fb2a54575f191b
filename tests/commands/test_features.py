"""clipiqa features: the cache listed, verified and pruned."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from clipiqa_plus.clip.backbone import FrozenCLIP
from clipiqa_plus.commands.main import main
from clipiqa_plus.data.demo import DemoIQA
from clipiqa_plus.features import FeatureCache, FeatureStore


def test_features_commands(
    tmp_path: Path, clip: FrozenCLIP, capsys: pytest.CaptureFixture[str]
) -> None:
    store = FeatureStore(tmp_path, clip.describe(), clip.dim)
    shard = store.write([bytes(32)], torch.randn(1, clip.dim))
    assert main(["features", "info", "--dir", str(tmp_path)]) == 0
    assert clip.name in capsys.readouterr().out
    assert main(["features", "verify", "--dir", str(tmp_path)]) == 0
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    assert main(["features", "verify", "--dir", str(tmp_path)]) == 1
    assert shard.name in capsys.readouterr().out
    assert main(["features", "prune", "--dir", str(tmp_path), "--dry-run"]) == 0
    assert shard.exists()
    assert main(["features", "prune", "--dir", str(tmp_path)]) == 0
    assert not shard.exists()


@pytest.mark.slow
def test_features_are_compared_with_fresh_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "features"
    data = DemoIQA(num_workers=0)
    data.setup()
    FeatureCache(str(folder)).tables(FrozenCLIP.from_name("demo"), data, ["test"])
    recipe = str(Path(__file__).parents[2] / "configs/demo.yaml")
    command = ["features", "verify", "--dir", str(folder), "--recipe", recipe, "--samples", "5"]
    assert main(command) == 0
    assert "5 features re-encoded" in capsys.readouterr().out
    encode = FrozenCLIP.encode_image
    monkeypatch.setattr(FrozenCLIP, "encode_image", lambda self, x: encode(self, x.flip(-2)))
    assert main(command) == 1
    assert "NOT those of these pictures" in capsys.readouterr().out
