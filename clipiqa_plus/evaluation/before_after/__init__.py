"""The same pictures through two pipelines: paired scores, differences, win rate.

In come two folders and a scorer, out go tables of pictures and of scores. ``statistics`` compares,
``folders`` pairs and scores, ``files`` writes and tells.
"""
