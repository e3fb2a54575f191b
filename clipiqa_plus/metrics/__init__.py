"""Agreement of scores with opinion scores: pure functions, and torchmetrics classes around them.

In: one score and one MOS per picture. Out: SRCC, PLCC, KRCC and RMSE with their intervals and
p-values. Public: ``functional``, ``classes.iqa_metrics``, ``resampling``, ``significance``.
"""
