"""Scores of many picture files: found, decoded ahead of the model, written as they come."""

from clipiqa_plus.scores.gallery import write_gallery
from clipiqa_plus.scores.run import Summary, score_files

__all__ = ["Summary", "score_files", "write_gallery"]
