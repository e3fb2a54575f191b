"""Training losses: on scores, on pairs of pictures, on distributions over grades.

In: what a model predicts and what raters said, see :class:`Predicted` and :class:`Labels`. Out: a
scalar. Every loss is computed per target and averaged over the targets; half precision is converted
to float32 first. Pictures are compared within a group only, such as one data set of a mixture.
"""

from clipiqa_plus.losses.common import Labels, Predicted
from clipiqa_plus.losses.grades import cross_entropy_loss, emd_loss, grade_targets, soft_grades
from clipiqa_plus.losses.names import GRADE_LOSSES, LOSSES, LossName, check_loss, training_loss
from clipiqa_plus.losses.pairs import PAIR_BLOCK, fidelity_loss, rank_loss, vote_loss
from clipiqa_plus.losses.scores import mse, mse_plcc, plcc_loss

__all__ = [
    "GRADE_LOSSES",
    "LOSSES",
    "PAIR_BLOCK",
    "Labels",
    "LossName",
    "Predicted",
    "check_loss",
    "cross_entropy_loss",
    "emd_loss",
    "fidelity_loss",
    "grade_targets",
    "mse",
    "mse_plcc",
    "plcc_loss",
    "rank_loss",
    "soft_grades",
    "training_loss",
    "vote_loss",
]
