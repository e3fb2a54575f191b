"""The cache of image features: every view of every picture is encoded once.

Takes a backbone and a data module; returns unit features [N, V, D], read from disk if cached and
encoded otherwise.

- :class:`FeatureCache`: used by trainers, evaluations and the command line.
- :class:`FeatureStore`: one folder of features.
- :func:`info`, :func:`verify`, :func:`prune`: maintenance of a cache folder.
"""

from clipiqa_plus.features.cache import FeatureCache, SpotCheck
from clipiqa_plus.features.store import FeatureStore, StorageDtype, cache_dir
from clipiqa_plus.features.table import FeatureTable
from clipiqa_plus.features.maintenance import Damage, Pruned, StoreInfo, info, prune, verify

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
