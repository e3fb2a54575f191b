"""Several data sets in one training.

In: data modules, each with its own scale, split, size and views. Out: one data module whose batches
hold pictures of all sets; each row has the number of its set, so that nothing is compared across
sets.
"""

from clipiqa_plus.data.mixed.module import MixedData, single_sets

__all__ = ["MixedData", "single_sets"]
