"""What people should rate next, and what they said.

In: pictures and prompts that disagree on them; or a page of pictures and the CSV files that were
saved from it. Out: the chosen pictures or pairs; or a table of scores or votes that training reads.
"""

from clipiqa_plus.evaluation.rating.choice import choose_pairs, choose_pictures
from clipiqa_plus.evaluation.rating.ratings import import_ratings, read_task
from clipiqa_plus.evaluation.rating.suggestions import Suggestions, suggest

__all__ = [
    "Suggestions",
    "choose_pairs",
    "choose_pictures",
    "import_ratings",
    "read_task",
    "suggest",
]
