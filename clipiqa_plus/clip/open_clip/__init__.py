"""Backbones of open_clip: SigLIP, SigLIP2, NaFlex, EVA, ConvNeXt; by the extra open-clip.

Takes a name such as ``open_clip:ViT-B-16-SigLIP2-384/webli``; returns a FrozenCLIP with the same
face as openai-clip's: pictures of any size to unit features, token embeddings to text features.
Public: ``loading.load_open_clip``.
"""
