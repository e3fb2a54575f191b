"""Training on random features, without pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from lightning.pytorch import LightningDataModule, Trainer
from torch.utils.data import DataLoader

from clipiqa_plus.data.base import BatchSampler, IQADataset
from clipiqa_plus.data.transforms import PlainView


class Features(LightningDataModule):
    """Random unit features with MOS; ids are row numbers."""

    def __init__(self, n: int = 20, targets: int = 1, dim: int = 32, batch_size: int = 8) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.features = F.normalize(torch.randn(n, dim, generator=generator), dim=-1)
        self.mos = torch.rand(n, targets, generator=generator)
        self.targets = ["mos", "sharpness", "contrast"][:targets]
        self.batch_size = batch_size

    def loader(self, shuffle: bool = False) -> DataLoader:
        dataset = IQADataset(
            reader=None,  # type: ignore[arg-type]
            mos=self.mos,
            mos_raw=self.mos.double(),
            views=PlainView(),
            features=lambda rows, views: self.features[rows],
        )
        rows = np.arange(len(self.mos))
        sampler = BatchSampler(
            rows, self.batch_size, shuffle=shuffle, epoch=lambda: self.trainer.current_epoch
        )
        return DataLoader(dataset, batch_size=None, sampler=sampler)

    def train_dataloader(self) -> DataLoader:
        return self.loader(shuffle=True)

    def val_dataloader(self) -> DataLoader:
        return self.loader()

    test_dataloader = predict_dataloader = val_dataloader


def trainer(folder: Path, **options: Any) -> Trainer:
    defaults: dict[str, Any] = {
        "max_epochs": 2,
        "accelerator": "cpu",
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "default_root_dir": folder,
    }
    return Trainer(**(defaults | options))


def adam(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, lr=0.01)
