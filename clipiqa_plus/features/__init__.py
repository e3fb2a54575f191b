"""The cache of image features: every view of every picture is encoded once.

In come a backbone and a data module; out go unit features [N, V, D], read from disk where they are
known and encoded where they are not.

- :class:`FeatureCache`: what a trainer, an evaluation or the command line uses.
- :class:`FeatureStore`: one folder of features; what a feature's key is made of.
- :func:`info`, :func:`verify`, :func:`prune`: looking after a cache folder.
"""

from clipiqa_plus.features.cache import FeatureCache, SpotCheck
from clipiqa_plus.features.store import FeatureStore, StorageDtype, cache_dir
from clipiqa_plus.features.table import FeatureTable
from clipiqa_plus.features.upkeep import Damage, Pruned, StoreInfo, info, prune, verify

__all__ = [
    "Damage",
    "FeatureCache",
    "FeatureStore",
    "FeatureTable",
    "Pruned",
    "SpotCheck",
    "StorageDtype",
    "StoreInfo",
    "cache_dir",
    "info",
    "prune",
    "verify",
]
