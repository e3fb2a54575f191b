"""Data sets and weights over the network: addresses in, verified files out.

A file carries its final name, and a data set its final folder, only once it is whole.
"""

from clipiqa_plus.data.fetch.sources import Archive, GitRepository, Source

__all__ = ["Archive", "GitRepository", "Source"]
