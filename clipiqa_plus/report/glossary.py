"""The terms that pages explain on hover, on focus and in a list at their end."""

from __future__ import annotations

_CHANCE = "Probability of such a difference if both sources were equal, by sign flips"
_DELONG = (
    "DeLong's test as the standard writes it. It treats pairs of pictures as independent though "
    "they share pictures, so it calls equal sources different far too often; no verdict uses it."
)

TERMS = {
    "MOS": "Mean opinion score: the mean of people's ratings of a picture. On the page normalised "
    "to [0, 1], 1 is best.",
    "SRCC": "Spearman's rank correlation of scores with MOS: do both put the pictures in the same "
    "order? 1: the same order, 0: unrelated, -1: the opposite order.",
    "PLCC": "Pearson's correlation of scores with MOS: do the points lie on a rising line?",
    "KRCC": "Kendall's tau: of all pairs of pictures, the share in people's order less the "
    "share ordered the other way.",
    "RMSE": "Root mean square of score less MOS, both on [0, 1]: the typical error.",
    "PLCC_logistic": "PLCC after a monotonic curve (VQEG's four-parameter logistic) was fitted "
    "from scores to MOS.",
    "RMSE_logistic": "RMSE after the logistic curve was fitted.",
    "PLCC_logistic5": "PLCC after Sheikh's logistic of five parameters.",
    "RMSE_logistic5": "RMSE after Sheikh's logistic of five parameters.",
    "SRCC_ceiling": "Noise ceiling of SRCC: what another panel of as many people would reach.",
    "PLCC_ceiling": "Noise ceiling of PLCC: what another panel of as many people would reach.",
    "SRCC_share": "SRCC as a share of its noise ceiling.",
    "PLCC_share": "PLCC as a share of its noise ceiling.",
    "F": "Ratio of the variances of both sources' residuals; above 1 the row's source has the "
    "smaller variance.",
    "p_F": "F-test of the residuals' variances; it treats both sources' residuals as independent.",
    "dRMSE_logistic5": "Difference in RMSE after the logistic of five parameters; below 0 is "
    "better.",
    "p_standard_AUC_DS": _DELONG,
    "p_standard_AUC_BW": _DELONG,
    "p_standard_RMSE": "F-test as ITU-T P.1401 writes it. It takes both sources' errors as "
    "independent, though they are of the same pictures, and decides no verdict.",
    "p_standard_RMSE_star": "F-test as ITU-T P.1401 writes it. It takes the errors as normal and "
    "both sources' as independent, which they are not, and decides no verdict.",
    "p_standard_outlier_ratio": "Test of two proportions as ITU-T P.1401 writes it. It takes both "
    "sources' errors as independent, though they are of the same pictures, and decides no verdict.",
    **dict.fromkeys(
        ("p_AUC_DS", "p_AUC_BW", "p_CC0"), f"{_CHANCE} that allow for shared pictures."
    ),
    **dict.fromkeys(("p_RMSE", "p_RMSE_star", "p_outlier_ratio"), f"{_CHANCE}."),
    "p_residuals": f"{_CHANCE}.",
    "AUC_DS": "Krasula: how well differences of scores tell pairs of pictures that people see as "
    "different from those that they do not; 0.5 is chance.",
    "AUC_BW": "Krasula: how well differences of scores tell which picture of a pair is better; "
    "0.5 is chance.",
    "CC0": "Krasula: share of the different pairs whose better picture has the higher score.",
    "RMSE_star": "ITU-T P.1401: RMSE beyond the 95% interval of each picture's MOS.",
    "outlier_ratio": "ITU-T P.1401: share of pictures whose error exceeds the 95% interval of "
    "their MOS.",
    "grades": "Number of grades of a scale of prompts; 2 is an antonym pair.",
    "EMD": "Earth mover's distance from the predicted distribution over grades to that of the "
    "raters: by how much of the scale ratings would have to move; mean over pictures, 0 is best.",
    "JS": "Jensen-Shannon divergence of the predicted distribution over grades from that of the "
    "raters, in bits; mean over pictures, 0 is best.",
    "std": "Predicted standard deviation of single ratings, on [0, 1]; mean over pictures.",
    "std_raters": "Standard deviation of the raters' ratings, on [0, 1]; mean over pictures.",
    "std_SRCC": "SRCC of predicted and known deviations: does a source know what people disagree "
    "about?",
    "std_RMSE": "Root mean square of predicted less known deviations.",
    "interval": "95% bootstrap interval: pictures, or whole contents where they are known, are "
    "drawn again with replacement, and 95% of the results lie in it.",
    "sign flips": "Paired permutation test: if two sources were equal, exchanging their scores "
    "within a content would change the result only by chance.",
    "dSRCC": "Difference in SRCC from the source it is compared with; above 0 is better.",
    "dPLCC": "Difference in PLCC from the source it is compared with; above 0 is better.",
    "p_SRCC": "Probability of a difference in SRCC at least this large if both sources were equal.",
    "p_PLCC": "Probability of a difference in PLCC at least this large if both sources were equal.",
    "p_holm": "The p-value that decides, after Holm's correction for the number of comparisons: "
    "below 0.05, the difference is called significant.",
    "verdict": "Better or worse where p holm is below 0.05, else not told apart; too few where "
    "there are too few pictures or contents for a test.",
    "difference": "Mean score after less mean score before; above 0 is better.",
    "win_rate": "Share of the pictures whose score is higher after than before; equal scores count "
    "half.",
    "p_williams": "Williams' test of two dependent correlations; it treats pictures as independent "
    "even where they share a content.",
    "accuracy": "Share of decided votes on pairs of pictures that prefer the higher-scoring one; "
    "0.5 is chance.",
    "gain": "Accuracy less that of the first source; above 0 is better.",
    "majority": "Accuracy of following the majority vote on each pair: no scores can do better.",
    "ties": "Votes that call both pictures equally good; they do not count.",
    "resampled": "The units of intervals and tests: whole contents where they are known, since "
    "pictures of one content are alike.",
    "n": "Number of pictures.",
    "content": "What a picture shows: all distorted versions of one photograph share a content.",
    "noise ceiling": "SRCC or PLCC that another panel of as many people would reach with this one: "
    "more than that cannot be told from chance.",
    "critical difference": "Nemenyi's critical difference after Friedman's test: mean ranks over "
    "data sets, if closer than this, are not told apart (Demsar 2006).",
    "gMAD": "Group maximum differentiation: pairs of pictures that one source calls equal and "
    "another sees as far apart as possible. The pair shows which of them is wrong.",
    "calibration": "Mean MOS of the pictures within a bin of scores: a calibrated score equals it.",
    "residuals": "MOS less the score after the logistic fit: what the fit does not explain.",
    "interpolation": "Scores by weighted means of zero-shot and learned text features: is the way "
    "from the words to the learned prompts smooth?",
}
"""Explanations by name: of columns of tables, or of words."""
