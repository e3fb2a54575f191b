"""Benchmarks, user data and the views of their pictures."""

from clipiqa_plus.data.base import IQADataModule, IQADataset
from clipiqa_plus.data.tables import TableData
from clipiqa_plus.data.transforms import AugmentedViews, FlipViews, PlainView

__all__ = [
    "AugmentedViews",
    "FlipViews",
    "IQADataModule",
    "IQADataset",
    "PlainView",
    "TableData",
]
