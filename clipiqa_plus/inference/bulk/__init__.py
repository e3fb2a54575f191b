"""Scoring of many picture files: find them, decode ahead of the model, write scores as they come.

In: files, folders, globs, tar shards or lists. Out: one file of scores and one of failures.
"""

from clipiqa_plus.inference.bulk.devices import name_devices
from clipiqa_plus.inference.bulk.pictures import SizeLimit
from clipiqa_plus.inference.bulk.ray_data import score_with_ray
from clipiqa_plus.inference.bulk.run import Summary, score_files, score_pictures

__all__ = [
    "SizeLimit",
    "Summary",
    "name_devices",
    "score_files",
    "score_pictures",
    "score_with_ray",
]
