"""Votes: which of two pictures is better.

In: a CSV or JSON file of votes on pairs of pictures. Out: a data module of those pictures, without
opinion scores, whose training batches also list the votes between their pictures.
"""

from clipiqa_plus.data.votes.module import VoteData
from clipiqa_plus.data.votes.pairs import PairVotes
from clipiqa_plus.data.votes.table import VOTES, check_votes, read_votes

__all__ = ["VOTES", "PairVotes", "VoteData", "check_votes", "read_votes"]
