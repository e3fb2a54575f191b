"""Further analyses of saved scores: the standards' statistics, breakdowns, ranks, picture pairs.

In come scores per picture of one or several data sets, out go tables; no model is needed. One
module for each analysis; ``tables.analyse`` computes all of them.
"""
