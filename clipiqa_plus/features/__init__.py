"""The cache of image features: every view of every picture is encoded once.

Takes a backbone and a data module; returns unit features [N, V, D], read from disk if cached and
encoded otherwise.

- :class:`FeatureCache`: used by trainers, evaluations and the command line.
- :class:`FeatureStore`: one folder of features.
- :func:`info`, :func:`verify`, :func:`prune`: maintenance of a cache folder.
- :class:`Probe`, :func:`fit_ridge`, :func:`fit_mlp`: regressions on features.
"""

from clipiqa_plus.features.cache import FeatureCache, SpotCheck
from clipiqa_plus.features.maintenance import Damage, Pruned, StoreInfo, info, prune, verify
from clipiqa_plus.features.probes import Probe, ProbeKind, fit_mlp, fit_ridge
from clipiqa_plus.features.store import FeatureStore, StorageDtype, cache_dir
from clipiqa_plus.features.table import FeatureTable

__all__ = [
    "Damage",
    "FeatureCache",
    "FeatureStore",
    "FeatureTable",
    "Probe",
    "ProbeKind",
    "Pruned",
    "SpotCheck",
    "StorageDtype",
    "StoreInfo",
    "cache_dir",
    "fit_mlp",
    "fit_ridge",
    "info",
    "prune",
    "verify",
]
