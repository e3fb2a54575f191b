"""The page on which people rate pictures.

In: chosen pictures or pairs. Out: one HTML file that opens offline and saves a CSV.
"""

from clipiqa_plus.report.rating.page import write_rating_page

__all__ = ["write_rating_page"]
