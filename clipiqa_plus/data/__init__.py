"""Benchmarks, user data and the views of their pictures.

In: label files and pictures as distributed. Out: tables of opinion scores in [0, 1], splits by
content, and batches of views [B, 3, H, W], uint8.
"""

from clipiqa_plus.data import annotations, benchmarks, check, fetch, get, images, splits
from clipiqa_plus.data.base import FileReader, IQADataModule, IQADataset, Reader, Rows
from clipiqa_plus.data.benchmarks import (
    AGIQA1K,
    AGIQA3K,
    AVA,
    BID,
    BIQ2021,
    CGIQA6K,
    CID2013,
    CLIVE,
    CSIQ,
    FLIVE,
    LIVE,
    PIPAL,
    PIQ23,
    SPAQ,
    TID2013,
    UHDIQA,
    FLIVEPatches,
    KADID10k,
    KonIQ10k,
    KonIQPlusPlus,
)
from clipiqa_plus.data.demo import DemoIQA
from clipiqa_plus.data.hugging_face import HuggingFaceData
from clipiqa_plus.data.tables import TableData
from clipiqa_plus.data.transforms import (
    EVALUATION_VIEWS,
    AugmentedViews,
    CropViews,
    FlipViews,
    PlainView,
    ScaleViews,
    Views,
    evaluation_views,
    resize,
)

__all__ = [
    "AGIQA1K",
    "AGIQA3K",
    "AVA",
    "BID",
    "BIQ2021",
    "CGIQA6K",
    "CID2013",
    "CLIVE",
    "CSIQ",
    "EVALUATION_VIEWS",
    "FLIVE",
    "LIVE",
    "PIPAL",
    "PIQ23",
    "SPAQ",
    "TID2013",
    "UHDIQA",
    "AugmentedViews",
    "CropViews",
    "DemoIQA",
    "FLIVEPatches",
    "FileReader",
    "FlipViews",
    "HuggingFaceData",
    "IQADataModule",
    "IQADataset",
    "KADID10k",
    "KonIQ10k",
    "KonIQPlusPlus",
    "PlainView",
    "Reader",
    "Rows",
    "ScaleViews",
    "TableData",
    "Views",
    "annotations",
    "benchmarks",
    "check",
    "evaluation_views",
    "fetch",
    "get",
    "images",
    "resize",
    "splits",
]
