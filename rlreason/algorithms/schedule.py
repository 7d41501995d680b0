"""Learning-rate schedules: pure functions of the step."""

from math import cos, pi
from typing import Literal


def lr_at(
    step: int,
    *,
    peak: float,
    total_steps: int,
    warmup_steps: int = 0,
    shape: Literal["constant", "linear", "cosine", "wsd"] = "constant",
    min_ratio: float = 0.0,
    decay_share: float = 0.2,
) -> float:
    """Learning rate of optimizer step `step`, counted from 0.

    Linear rise over `warmup_steps` (the first step is not zero), then constant, or down to `min_ratio * peak`
    at the last step: along a line, along half a cosine, or (wsd: warmup-stable-decay, MiniCPM, arXiv 2404.06395)
    constant until the last `decay_share` of all steps, then along a line.
    """
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    if shape == "constant":
        return peak
    # The last step at the peak. A decay takes one step at least, and waits for the warm-up.
    decay_steps = max(1, round(decay_share * total_steps))
    top = max(warmup_steps, total_steps - 1 - decay_steps) if shape == "wsd" else warmup_steps
    progress = min(1.0, max(0, step - top) / max(1, total_steps - 1 - top))
    share = 0.5 * (1.0 + cos(pi * progress)) if shape == "cosine" else 1.0 - progress
    return peak * (min_ratio + (1.0 - min_ratio) * share)
