"""Signs that a policy is optimised against its reward model beyond what the reward is worth. Pure; state is JSON.

The gold score falls while the reward model's rises (Gao et al. 2022, arXiv 2210.10760, figure 1); before that answers
often become repetitive, all alike, longer or shorter, and reward models cease to agree.
"""

import copy
import math
import statistics
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from rlreason.config.guard import GuardConfig

DISTINCT, COMPRESSION, LENGTH, DISAGREEMENT, KL = (
    "guard/distinct_2",
    "guard/compression_ratio",
    "response/tokens_mean",
    "guard/disagreement",
    "policy/kl",
)


def distinct_2(responses: Sequence[Sequence[int]]) -> float:
    """Mean over responses, as token ids, of distinct pairs of neighbours over all pairs; 1 for fewer than two tokens.

    Example: [[1, 2, 1, 2, 1]] has the pairs (1, 2), (2, 1), each twice: 0.5.
    """
    shares = [len(set(pairs)) / len(pairs) if (pairs := list(pairwise(tokens))) else 1.0 for tokens in responses]
    return statistics.fmean(shares)


def compression_ratio(responses: Sequence[str]) -> float:
    """Bytes of all responses over their bytes when zlib has packed them as one text: larger for what repeats itself or
    another response. It depends on how many there are, so compare batches of one size.
    """
    text = "\n".join(responses).encode("utf-8", "surrogatepass")
    return len(text) / len(zlib.compress(text)) if text else 1.0


def disagreement(scores: Sequence[Mapping[str, float]]) -> float | None:
    """Mean over samples of the standard deviation over models of their scores, each standardised in the batch.

    `scores`: of each sample, by model; those that two or more models scored count, None where there are none. 0 where
    they rank alike at the same distances; a model whose scores are all equal says nothing and counts as 0 throughout.
    """
    shared = [of_sample for of_sample in scores if len(of_sample) > 1]
    if not shared:
        return None
    scale = {}
    for name in {name for of_sample in shared for name in of_sample}:
        of_model = [of_sample[name] for of_sample in shared if name in of_sample]
        scale[name] = (statistics.fmean(of_model), statistics.pstdev(of_model))

    def standardised(name: str, score: float) -> float:
        mean, std = scale[name]
        return (score - mean) / std if std else 0.0

    return statistics.fmean(statistics.pstdev(standardised(*one) for one in of.items()) for of in shared)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A limit that is exceeded."""

    what: str
    message: str
    """One line, with the numbers."""
    is_new: bool
    """It was not when the figure was judged before."""


class Guard:
    """Example: guard = Guard(GuardConfig(gold="reward/gold/mean")); guard.observe(1, {"reward/gold/mean": 0.5})"""

    def __init__(self, config: GuardConfig, state: Mapping[str, Any] | None = None) -> None:
        self._config = config
        begin: dict[str, Any] = {"first": {}, "gold_first": None, "best": None, "best_step": None, "num_below": 0}
        self._state: dict[str, Any] = {**begin, "exceeded": [], **copy.deepcopy(dict(state or {}))}

    @property
    def best_step(self) -> int | None:
        """The step of the best gold score so far."""
        step: int | None = self._state["best_step"]
        return step

    @property
    def is_below(self) -> bool:
        """The last gold score was below the best by more than the tolerance."""
        return bool(self._state["num_below"])

    def observe(self, step: int, figures: Mapping[str, float]) -> list[Finding]:
        """What the figures of a step or an evaluation exceed. Those that are not there, or NaN, are not judged."""
        figures = {key: value for key, value in figures.items() if not math.isnan(value)}
        found = [self._gold(step, figures), self._kl(figures)]
        found.append(self._drift("repetition", DISTINCT, figures, low=self._config.min_distinct))
        found.append(self._drift("repetition", COMPRESSION, figures, high=self._config.max_compression))
        longest = self._config.max_length
        found.append(self._drift("length", LENGTH, figures, low=longest and 1 / longest, high=longest))
        found.append(self._drift("disagreement", DISAGREEMENT, figures, high=self._config.max_disagreement))
        return [finding for finding in found if finding is not None]

    def begin_anew(self, key: str) -> None:
        """Later values of a figure are no longer comparable with those so far."""
        self._state["first"].pop(key, None)
        self._state["exceeded"] = [other for other in self._state["exceeded"] if other != key]
        if key == self._config.gold:
            self._state.update(gold_first=None, best=None, best_step=None, num_below=0)

    def state(self) -> dict[str, Any]:
        return copy.deepcopy(self._state)

    def _gold(self, step: int, figures: Mapping[str, float]) -> Finding | None:
        key, state = self._config.gold, self._state
        if key is None or key not in figures:
            return None
        value = figures[key]
        if state["best"] is None:
            state.update(gold_first=value)
        if state["best"] is None or value > state["best"]:
            state.update(best=value, best_step=step, num_below=0)
        # Of the best too, so that the noise of a figure that has gained nothing yet is no fall.
        whole = max(state["best"] - state["gold_first"], abs(state["best"]))
        is_below = value < state["best"] - self._config.gold_tolerance * whole
        state["num_below"] = state["num_below"] + 1 if is_below else 0
        message = f"{key} fell to {value:.4g}, from {state['best']:.4g} at step {state['best_step']}"
        return self._judged("gold", key, state["num_below"] >= self._config.patience, message)

    def _kl(self, figures: Mapping[str, float]) -> Finding | None:
        limit = self._config.max_kl
        if limit is None or KL not in figures:
            return None
        message = f"{KL} is {figures[KL]:.4g} nats a token, above max_kl {limit:g}"
        return self._judged("kl", KL, figures[KL] > limit, message)

    def _drift(
        self, what: str, key: str, figures: Mapping[str, float], *, low: float | None = None, high: float | None = None
    ) -> Finding | None:
        """A figure outside its multiples of the first steps' mean."""
        if key not in figures or (low is None and high is None):
            return None
        first = self._state["first"].setdefault(key, [])
        if len(first) < self._config.baseline_steps:
            first.append(figures[key])
            return None
        value, mean = figures[key], statistics.fmean(first)
        is_outside = (low is not None and value < low * mean) or (high is not None and value > high * mean)
        return self._judged(what, key, is_outside, f"{key} is {value:.4g}, in the first steps it was {mean:.4g}")

    def _judged(self, what: str, key: str, is_exceeded: bool, message: str) -> Finding | None:
        exceeded: list[str] = self._state["exceeded"]
        was_exceeded = key in exceeded
        if is_exceeded and not was_exceeded:
            exceeded.append(key)
        elif was_exceeded and not is_exceeded:
            exceeded.remove(key)
        return Finding(what=what, message=message, is_new=not was_exceeded) if is_exceeded else None
