"""Commands for people who want scores: score pictures, export a scorer, list the presets.

In come pictures and the name of a scorer, out go scores and files that hold them.
"""
