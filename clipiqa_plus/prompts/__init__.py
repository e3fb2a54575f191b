"""What CLIP is asked: fixed words or learned context tokens, and the files that hold them.

In come antonym pairs, prompt files or checkpoints; out go text features [P, 2, D] and prompt files.
Zero-shot and learned prompts differ in their source object only. Public:
``sources.ZeroShotPrompts`` and ``ContextPrompts``, ``config.PromptConfig``, ``files.load_prompts``
and ``save_prompts``, ``importers.import_prompts`` and ``export_pyiqa``.
"""
