"""How well scores agree with people's rankings: accuracy, calibration, and what length has to do with it."""

import math
from collections.abc import Hashable, Sequence
from itertools import chain, combinations

from rlreason.algorithms.intervals import wilson

NUM_BINS = 10
"""Of the calibration error: ten bins of confidence between a half and one."""

FEW = 5
"""Prompts with a wrong pair, or with a right one, below which pairs of a prompt count as one."""


def preference_figures(
    scores: Sequence[Sequence[float]],
    places: Sequence[Sequence[int]],
    lengths: Sequence[Sequence[int]],
    prompts: Sequence[Hashable],
) -> dict[str, float]:
    """Figures of rows, each with scores, places (1 the best) and lengths in tokens of its answers, and its prompt.

    accuracy: the share of decided pairs whose better answer has the higher score; an equal score counts half.
    accuracy_low, accuracy_high: its 95 % interval. Pairs of a prompt are not independent, whoever ranked them, so
    prompts are clusters (Cameron and Miller 2015, section II): Wilson's interval of as many pairs as would have that
    variance if they were independent (as Korn and Graubard 1998 do for surveys). log_loss: mean -log sigmoid of the
    gap, in nats.
    calibration_error: mean distance between confidence, the sigmoid of the gap, and accuracy in ten bins, weighted by
    their pairs (Guo et al. 2017, arXiv 1706.04599, eq. 3). length_correlation: Pearson's, of score and length, both
    less their row's mean. longer_chosen, longer_scored: of the pairs of different length, the share in which people and
    scores prefer the longer answer. gap: mean score of better less worse.

    Raises ZeroDivisionError where no pair is decided.
    """
    pairs = [_decided(*row) for row in zip(scores, places, lengths, strict=True)]
    gaps = [gap for row in pairs for gap, _ in row]
    rights = [[_right(gap) for gap, _ in row] for row in pairs]
    accuracy = math.fsum(chain(*rights)) / len(gaps)
    low, high = wilson(accuracy, _effective_size(accuracy, rights, prompts))
    longer = [(gap, longer) for gap, longer in chain(*pairs) if longer]
    return {
        "accuracy": accuracy,
        "accuracy_low": low,
        "accuracy_high": high,
        "log_loss": math.fsum(_softplus(-gap) for gap in gaps) / len(gaps),
        "calibration_error": _calibration_error(gaps),
        "gap": math.fsum(gaps) / len(gaps),
        "length_correlation": _correlation(scores, lengths),
        "longer_chosen": _share([1.0 if sign > 0 else 0.0 for _, sign in longer]),
        "longer_scored": _share([_right(gap * sign) for gap, sign in longer]),
        "num_pairs": float(len(gaps)),
    }


def _effective_size(accuracy: float, rights: Sequence[Sequence[float]], prompts: Sequence[Hashable]) -> float:
    """Independent pairs whose accuracy varies as much; where there is no variance to be seen, one for each prompt."""
    residuals: dict[Hashable, float] = {}
    for row, prompt in zip(rights, prompts, strict=True):
        if row:
            residuals[prompt] = residuals.get(prompt, 0.0) + math.fsum(row) - accuracy * len(row)
    num, num_pairs = len(residuals), sum(map(len, rights))
    squares = math.fsum(residual**2 for residual in residuals.values())
    if num < 2 or squares < 1e-12:
        return float(num)
    variance = num / (num - 1) * squares / num_pairs**2
    # A few wrong pairs, or right ones, do not show whether those of a prompt go together.
    mixed = [[one for one, row in zip(prompts, rights, strict=True) if value in row] for value in (0.0, 1.0)]
    most = num_pairs if min(len(set(found)) for found in mixed) >= FEW else num
    return min(max(accuracy * (1 - accuracy) / variance, 1.0), float(most))


def _decided(scores: Sequence[float], places: Sequence[int], lengths: Sequence[int]) -> list[tuple[float, int]]:
    """Of each pair: score of the better less the worse; 1 where the better is the longer, -1 the shorter, 0 neither."""
    found = []
    for one, other in combinations(range(len(places)), 2):
        if places[one] != places[other]:
            better, worse = (one, other) if places[one] < places[other] else (other, one)
            sign = (lengths[better] > lengths[worse]) - (lengths[better] < lengths[worse])
            found.append((scores[better] - scores[worse], sign))
    return found


def _right(gap: float) -> float:
    return 1.0 if gap > 0 else 0.5 if gap == 0 else 0.0


def _softplus(value: float) -> float:
    return max(value, 0.0) + math.log1p(math.exp(-abs(value)))


def _calibration_error(gaps: Sequence[float]) -> float:
    bins: list[list[tuple[float, float]]] = [[] for _ in range(NUM_BINS)]
    for gap in gaps:
        confidence = 1 / (1 + math.exp(-min(abs(gap), 700.0)))
        bins[min(int((2 * confidence - 1) * NUM_BINS), NUM_BINS - 1)].append((confidence, _right(gap)))
    return sum(abs(sum(c for c, _ in found) - sum(r for _, r in found)) for found in bins) / len(gaps)


def _correlation(scores: Sequence[Sequence[float]], lengths: Sequence[Sequence[int]]) -> float:
    """0 where either never differs within a row."""
    ones, others = [_centred(rows) for rows in (scores, lengths)]
    spread = math.sqrt(math.fsum(x * x for x in ones) * math.fsum(y * y for y in others))
    return math.fsum(x * y for x, y in zip(ones, others, strict=True)) / spread if spread else 0.0


def _centred(rows: Sequence[Sequence[float]]) -> list[float]:
    return [value - math.fsum(row) / len(row) for row in rows for value in row]


def _share(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else 0.5
