"""Losses on people's preferences: scores of the answers to a prompt and their places in a ranking; one loss a row.

A score is a reward model's number, or what DPO takes for one: beta times the log ratio of policy and reference
(Rafailov et al. 2023, arXiv 2305.18290, eq. 5). Each row weighs the same, however many answers it ranks.

Notation: S = answers, those of a row together; R = rows, numbered 0..R-1; `row_S` int64: the row of each answer;
`place_S` int64: its place in the row's ranking, 1 the best, ties share one.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def bradley_terry(
    score_S: Tensor, row_S: Tensor, place_S: Tensor, margin_S: Tensor, *, label_smoothing: float = 0.0
) -> Tensor:
    """[R] minus log sigmoid(better - worse - margin), in nats, mean over the row's decided pairs (Ouyang et al. 2022,
    arXiv 2203.02155, eq. 1; the margin: Touvron et al. 2023, arXiv 2307.09288, eq. 2). A row of ties gives 0.

    `margin_S` is the better answer's. `label_smoothing`: the share of pairs that are taken to be the wrong way round
    (Mitchell 2023, conservative DPO, eq. 3).

    Example: scores 1 and 0, the first is better: log(1 + exp(-1)) = 0.313.
    """
    gap_SS = score_S[:, None] - score_S[None, :] - margin_S[:, None]
    loss_SS = -(1 - label_smoothing) * F.logsigmoid(gap_SS) - label_smoothing * F.logsigmoid(-gap_SS)
    decided_SS = decided_pairs(row_S, place_S)
    return _mean_of_rows((loss_SS * decided_SS).sum(1), decided_SS.sum(1), row_S)


def plackett_luce(score_S: Tensor, row_S: Tensor, place_S: Tensor) -> Tensor:
    """[R] minus the log of the probability that a person who picks the best of what is left, again and again, picks
    the ranking (Plackett 1975; Rafailov et al., appendix A.3), in nats, mean over the picks.

    The answers of the last place are not picked. Tied answers are each picked from all of their place and below
    (Breslow's likelihood of ties, 1974). Of two answers it is `bradley_terry`.

    Example: scores 2, 1, 0 in that order: (log(1 + e^-1 + e^-2) + log(1 + e^-1)) / 2 = 0.361.
    """
    same_SS = row_S[:, None] == row_S[None, :]
    left_SS = same_SS & (place_S[:, None] <= place_S[None, :])
    rest_S = score_S[None, :].expand_as(left_SS).masked_fill(~left_SS, -torch.inf).logsumexp(1)
    picked_S = (same_SS & (place_S[:, None] < place_S[None, :])).any(1)
    return _mean_of_rows((rest_S - score_S) * picked_S, picked_S, row_S)


def centring(score_S: Tensor, row_S: Tensor) -> Tensor:
    """[R] (2 x the row's mean score)^2, of a pair the square of its sum: keeps scores, of which the losses above see
    only differences, near 0 (Eisenstein et al. 2023, arXiv 2312.09244, section 2).
    """
    return (2 * _mean_of_rows(score_S, torch.ones_like(score_S), row_S)) ** 2


def decided_pairs(row_S: Tensor, place_S: Tensor) -> Tensor:
    """[S, S] whether the one answer is better than the other one of its row."""
    return (row_S[:, None] == row_S[None, :]) & (place_S[:, None] < place_S[None, :])


def row_accuracy(score_S: Tensor, row_S: Tensor, place_S: Tensor) -> tuple[Tensor, Tensor]:
    """[R] the share of a row's decided pairs in which the better answer has the higher score (equal scores: half), and
    the mean gap between better and worse.
    """
    decided_SS = decided_pairs(row_S, place_S)
    gap_SS = score_S[:, None] - score_S[None, :]
    right_SS = (gap_SS > 0).float() + 0.5 * (gap_SS == 0)
    num_S = decided_SS.sum(1)
    return (
        _mean_of_rows((right_SS * decided_SS).sum(1), num_S, row_S),
        _mean_of_rows((gap_SS * decided_SS).sum(1), num_S, row_S),
    )


def _mean_of_rows(total_S: Tensor, count_S: Tensor, row_S: Tensor) -> Tensor:
    """[R] the rows' sums of totals over their sums of counts; 0 where there is nothing to count."""
    num_rows = int(row_S.max()) + 1
    total_R = total_S.new_zeros(num_rows).index_add(0, row_S, total_S)
    count_R = total_S.new_zeros(num_rows).index_add(0, row_S, count_S.to(total_S.dtype))
    return total_R / count_R.clamp(min=1)
