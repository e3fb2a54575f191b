"""Downloads of data sets and weights, and the progress bar: addresses in, verified files out.

A file gets its final name, and a data set its final folder, only once it is complete.
"""

from clipiqa_plus.data.fetch.sources import Archive, GitRepository, Source

__all__ = ["Archive", "GitRepository", "Source"]
