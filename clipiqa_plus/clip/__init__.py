"""The frozen CLIP: architectures, weights, and the towers that encode pictures and prompts.

In come the name of a backbone or its weights file, pictures [B, 3, H, W] and token embeddings; out
go unit image features [B, D] and text features. Public: ``backbone.FrozenCLIP``,
``architectures.ARCHITECTURES`` and ``random_clip``, ``weights.load_weights``.
"""
