"""Image quality assessment by prompting CLIP: zero-shot CLIP-IQA and learned CLIP-IQA+."""

__version__ = "0.1.0"
