"""Prompts of CLIP: fixed words or learned context tokens, and the files that hold them.

Takes antonym pairs, prompt files or checkpoints; returns text features [P, 2, D] and prompt files.
Zero-shot and learned prompts differ only in their source object. Public:
``sources.ZeroShotPrompts`` and ``ContextPrompts``, ``config.PromptConfig``, ``files.load_prompts``
and ``save_prompts``, ``importers.import_prompts`` and ``export_pyiqa``.
"""
