"""Benchmarks, user data and the views of their pictures."""

from clipiqa_plus.data.base import IQADataModule, IQADataset
from clipiqa_plus.data.benchmarks import KonIQ10k
from clipiqa_plus.data.demo import DemoIQA
from clipiqa_plus.data.tables import TableData
from clipiqa_plus.data.transforms import AugmentedViews, FlipViews, PlainView

__all__ = [
    "AugmentedViews",
    "DemoIQA",
    "FlipViews",
    "IQADataModule",
    "IQADataset",
    "KonIQ10k",
    "PlainView",
    "TableData",
]
