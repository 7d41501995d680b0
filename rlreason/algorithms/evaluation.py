"""Figures of merit over k samples a problem. Pure Python.

Notation: K = samples of one problem; `correct_K` are booleans, `answer_K` what equal answers share (None: no answer).
"""

from collections import Counter
from collections.abc import Hashable, Sequence


def avg_at_k(correct_K: list[bool]) -> float:
    """Share of right samples."""
    return sum(correct_K) / len(correct_K)


def pass_at_k(correct_K: list[bool]) -> float:
    """1.0 if any of the k samples is right: pass@k with n = k (Chen et al. 2021, arXiv 2107.03374)."""
    return float(any(correct_K))


def maj_at_k(correct_K: list[bool], answer_K: Sequence[Hashable]) -> float:
    """1.0 if the most frequent answer is right (Wang et al. 2022, arXiv 2203.11171).

    Samples without an answer do not vote; of equally frequent answers the first one counts.
    """
    votes = Counter(answer for answer in answer_K if answer is not None)
    if not votes:
        return 0.0
    winner = votes.most_common(1)[0][0]
    return float(correct_K[answer_K.index(winner)])
