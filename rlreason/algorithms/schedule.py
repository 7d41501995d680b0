"""Learning-rate schedules: pure functions of the step."""

from math import cos, pi
from typing import Literal


def lr_at(
    step: int,
    *,
    peak: float,
    total_steps: int,
    warmup_steps: int = 0,
    shape: Literal["constant", "linear", "cosine"] = "constant",
    min_ratio: float = 0.0,
) -> float:
    """Learning rate of optimizer step `step`, counted from 0.

    Linear rise over `warmup_steps` (the first step is not zero), then constant, or down to `min_ratio * peak`
    at the last step along a line or half a cosine.
    """
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    if shape == "constant":
        return peak
    progress = min(1.0, (step - warmup_steps) / max(1, total_steps - 1 - warmup_steps))
    share = 1.0 - progress if shape == "linear" else 0.5 * (1.0 + cos(pi * progress))
    return peak * (min_ratio + (1.0 - min_ratio) * share)
