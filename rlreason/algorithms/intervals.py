"""Confidence intervals of evaluation figures. Pure functions.

Both treat prompts as the random sample: they say how far the figure would move with other prompts of the same kind, not
with another training run.
"""

import math
from collections.abc import Sequence

Interval = tuple[float, float]
Z95 = 1.959964
"""The normal distribution's 97.5 % point."""


def wilson(share: float, n: float, z: float = Z95) -> Interval:
    """95 % interval of a share of n yes/no outcomes (Wilson 1927, doi 10.1080/01621459.1927.10502953).

    Holds its level near 0 and 1, where the textbook's p ± z·sqrt(p(1-p)/n) has no width at all. n >= 1.
    """
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))


def bootstrap_mean(values: Sequence[float], *, resamples: int = 2000, seed: int = 0) -> Interval:
    """95 % percentile interval of the mean of one value a prompt (Efron 1979, doi 10.1214/aos/1176344552).

    For what is no yes or no: a mean over the k samples of a prompt, a length. At least one value; deterministic.
    """
    import numpy as np

    value_N = np.asarray(values, dtype=np.float64)
    random = np.random.default_rng(seed)
    means = [value_N[random.integers(0, len(value_N), len(value_N))].mean() for _ in range(resamples)]
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)
