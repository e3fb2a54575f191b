"""How well scores agree with opinion scores: pure functions, and torchmetrics classes around them.

In come scores and MOS, one each for a picture; out go SRCC, PLCC, KRCC, RMSE, their intervals and
p-values. Public: ``functional``, ``classes.iqa_metrics``, ``resampling``, ``significance``.
"""
