"""Running standardisation of a reward model's scores, which have no scale of their own. State is JSON."""

import math
from collections.abc import Mapping, Sequence
from typing import Any


class Normaliser:
    """Score less the running mean, over the running standard deviation, cut at +-clip (Engstrom et al. 2020, arXiv
    2005.12729, section 3). A batch is added before it is normalised, so that the first one has a mean.

    Example: normaliser = Normaliser(clip=5.0); normaliser.add([1.0, 3.0]); normaliser.normalise([3.0]) == [1.0]
    """

    def __init__(self, *, clip: float, state: Mapping[str, Any] | None = None) -> None:
        known = state or {"count": 0, "mean": 0.0, "squares": 0.0}
        self._clip = clip
        self._count: int = known["count"]
        self._mean: float = known["mean"]
        self._squares: float = known["squares"]

    def add(self, scores: Sequence[float]) -> None:
        """Means and sums of squares of two parts become those of the whole (Chan et al. 1983, eq. 1.5)."""
        if not scores:
            return
        count = len(scores)
        mean = math.fsum(scores) / count
        squares = math.fsum((score - mean) ** 2 for score in scores)
        total, gap = self._count + count, mean - self._mean
        self._squares += squares + gap * gap * self._count * count / total
        self._mean += gap * count / total
        self._count = total

    def normalise(self, scores: Sequence[float]) -> list[float]:
        """In the order given; 0 throughout where all scores that were added are equal."""
        std = math.sqrt(self._squares / self._count) if self._count else 0.0
        if std <= 1e-8 * max(1.0, abs(self._mean)):
            return [0.0] * len(scores)
        return [min(max((score - self._mean) / std, -self._clip), self._clip) for score in scores]

    def state(self) -> dict[str, Any]:
        return {"count": self._count, "mean": self._mean, "squares": self._squares}
