"""Krippendorff's alpha: how far labellers agree beyond chance. Missing labels are allowed."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

Level = Literal["nominal", "ordinal", "interval"]


def krippendorff_alpha(units: Iterable[Sequence[float]], level: Level = "ordinal") -> float:
    """1 - observed disagreement / disagreement expected by chance (Krippendorff 2011, "Computing Krippendorff's
    Alpha-Reliability"). `units`: what each labeller who judged it said of a unit. Units of one label say nothing.

    1: they agree throughout; 0: as by chance. NaN where nothing can disagree: no unit has two labels, or all labels are
    the same.

    Example: krippendorff_alpha([(1, 1), (2, 2), (1, 2)], "nominal") == 1 - 5 * 2 / 18
    """
    paired = [values for values in map(list, units) if len(values) > 1]
    coincidences: Counter[tuple[float, float]] = Counter()
    for values in paired:
        for at, one in enumerate(values):
            for other_at, other in enumerate(values):
                if at != other_at:
                    coincidences[one, other] += 1 / (len(values) - 1)  # type: ignore[assignment]
    totals: dict[float, float] = {}
    for (one, _), count in coincidences.items():
        totals[one] = totals.get(one, 0.0) + count
    total = math.fsum(totals.values())
    distance = _distance(level, totals)
    observed = math.fsum(count * distance(one, other) for (one, other), count in coincidences.items())
    expected = math.fsum(
        totals[one] * totals[other] * distance(one, other) for one in totals for other in totals if one != other
    )
    return 1 - (total - 1) * observed / expected if expected else math.nan


def pairwise_labels(rankings: Iterable[Sequence[int]]) -> list[tuple[int, ...]]:
    """Units of pairs of answers to one prompt, from its labellers' places of the same answers: 1 where the first is
    better, -1 the second, 0 a tie.

    Each pair stands in both orders: which answer is the first means nothing, and in one order alone people who always
    prefer it would seem to agree by chance.
    """
    found = [tuple(places) for places in rankings]
    num = len(found[0]) if found else 0
    return [
        tuple((places[one] < places[other]) - (places[one] > places[other]) for places in found)
        for one in range(num)
        for other in range(num)
        if one != other
    ]


def _distance(level: Level, totals: dict[float, float]) -> Callable[[float, float], float]:
    """Squared, as the paper's section C has it."""
    if level == "nominal":
        return lambda one, other: float(one != other)
    if level == "interval":
        return lambda one, other: (one - other) ** 2

    def ordinal(one: float, other: float) -> float:
        low, high = min(one, other), max(one, other)
        between = math.fsum(count for value, count in totals.items() if low <= value <= high)
        return (between - (totals[one] + totals[other]) / 2) ** 2

    return ordinal
