"""Prompt sources times data sets: scores per picture, and the tables that compare them.

In come prompt sources and data modules; out go a score for each picture, correlations with
intervals, paired differences, and the folder from which the report is made. Public:
``evaluation.load_sources`` and ``evaluate``, ``comparison.compare_sources``, ``results.save``.
"""
