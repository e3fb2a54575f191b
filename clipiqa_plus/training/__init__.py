"""The command line of training, its recipes and run folders.

In comes a recipe (YAML) with options; out goes a run folder: config, versions, split, logs,
checkpoints, metrics and the learned prompt file. Public: ``cli.TrainCLI``, ``recipes.recipes`` and
``find_recipe``, ``curves.training_curves``.
"""
