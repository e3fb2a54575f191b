"""Scores for users: presets, scorers, picture files at scale, export and the Hub.

In: a preset or a prompt file, and pictures as paths, PIL images, arrays or tensors. Out: scores in
[0, 1], files of scores, exported models. Public: ``scorer.load`` and ``score``,
``presets.PRESETS``, ``metric.CLIPIQAScore``, ``export.export_scorer``, ``hub.from_pretrained`` and
``push_to_hub``, and the package ``bulk``.
"""
