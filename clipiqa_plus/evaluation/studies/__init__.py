"""Experiments on cached features: probes, numbers of ratings, layouts, seeds, words.

In come a recipe and cached image features, out go a table, a page with a chart and one sentence.
"""
