"""The frozen CLIP: architectures, weights, and the towers that encode pictures and prompts.

Takes the name of a backbone or its weights file, pictures [B, 3, H, W] and token embeddings;
returns unit image features [B, D] and text features. Public: ``backbone.FrozenCLIP``,
``architectures.ARCHITECTURES`` and ``random_clip``, ``weights.load_weights``.
"""
