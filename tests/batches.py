"""Random batches, losses and layouts for the property tests of the learner. Loaded by path, as a user's function is.

hypothesis draws what has edges: lengths, masks, splits, options. The numbers come from a seeded generator: drawn ones
would sit on the kinks of the clipped losses, where rounding alone decides on a token's gradient.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor

from rlreason.algorithms.off_policy import MismatchSums
from rlreason.config.algorithm import OffPolicyConfig
from rlreason.engines.shard import Shard
from rlreason.types import Moments, PolicyLoss, Sample, TokenArrays, TokenCredit, TrainSequence

VOCABULARY = 32
OWN_LOSS = f"{__file__}:own_loss"
CONSTANTS: dict[str, dict[str, float | None]] = {
    "ppo_clip": {"clip_low": 0.2, "clip_high": 0.28, "dual_clip": 3.0},
    "gspo": {"clip_low": 0.2, "clip_high": 0.28},  # wide, so that not every sequence is clipped
    "cispo": {"clip_low": None, "clip_high": 0.5},
    "gmpo": {"clip_low": 0.4, "clip_high": 0.4},
    "reinforce": {},
    OWN_LOSS: {"power": 0.5},
}
AGGREGATIONS = ("token_mean", "sequence_mean", "sequence_sum")


def token_arrays(rows: Sequence[tuple[Sequence[int], Sequence[int], Sequence[float]]]) -> TokenArrays:
    """Tokens, mask and logprobs of each sample."""
    tokens, mask, logprobs = zip(*rows, strict=True)
    return TokenArrays(
        tokens=np.concatenate([np.array(one, np.int32) for one in tokens]),
        mask=np.concatenate([np.array(one, bool) for one in mask]),
        logprobs=np.concatenate([np.array(one, np.float32) for one in logprobs]),
        starts=np.cumsum([0, *map(len, tokens)]),
    )


class Learners:
    """The batch part of a learner fleet in this process: real shards, and numbers in place of a model."""

    def __init__(self, numbers: Mapping[str, Callable[[TrainSequence], Sequence[float]]], num_ranks: int = 1) -> None:
        """`numbers`: by pass (policy, reference, value), of the tokens of one sample."""
        self.numbers, self.num_ranks = numbers, num_ranks

    def load(self, samples: Sequence[Sample], *, num_parts: int = 1) -> None:
        self.owners = [index % self.num_ranks for index in range(len(samples))]
        self.origins = [sample.origin for sample in samples]
        self.shards = [
            Shard.of([(at, one.row, one.origin) for at, one in enumerate(mine)], [one.arrays for one in mine])
            for mine in self._split(samples)
        ]

    def compute(self, what: str, temperature: float) -> None:
        for shard in self.shards:
            places = range(len(shard.sequences))
            shard.keep(what, places, [self.numbers[what](one) for one in shard.sequences])

    def penalties(self) -> list[float]:
        return self._join([shard.penalties() for shard in self.shards])

    def set_advantages(self, advantage_S: Sequence[float]) -> None:
        for shard, part in zip(self.shards, self._split(advantage_S), strict=True):
            shard.broadcast(part)

    def credit(self, credit: TokenCredit, reward_S: Sequence[float]) -> dict[str, Moments]:
        parts = [shard.credit(credit, part) for shard, part in zip(self.shards, self._split(reward_S), strict=True)]
        zero = Moments(count=0, mean=0.0, squares=0.0)
        merged = {name: sum((part[name] for part in parts), start=zero) for name in parts[0]}
        for shard in self.shards:
            shard.normalise(merged["advantage"])
        return merged

    def beyond(self, limit: float) -> tuple[str, float] | None:
        found = [(rank, bad) for rank, shard in enumerate(self.shards) if (bad := shard.beyond(limit))]
        return (self._split(self.origins)[found[0][0]][found[0][1][0]], found[0][1][1]) if found else None

    def correct(self, config: OffPolicyConfig) -> list[MismatchSums]:
        return [shard.correct(config) for shard in self.shards]

    def column(self, name: Any) -> tuple[str, list[Any]]:
        parts = [shard.column(name) for shard in self.shards]
        cuts = [np.split(part, shard.length_S.cumsum(0)[:-1]) for part, shard in zip(parts, self.shards, strict=True)]
        return name, self._join(cuts)

    def take(self, column: tuple[Any, list[Any]]) -> None:
        name, of_samples = column
        for shard, mine in zip(self.shards, self._split(of_samples), strict=True):
            shard.take(name, [(at, 0) for at in range(len(mine))], mine)

    def settle(self, *, is_on_policy: bool) -> list[int]:
        for shard in self.shards:
            shard.settle(is_on_policy=is_on_policy)
        return self._join([shard.counts() for shard in self.shards])

    def sequences(self) -> list[TrainSequence]:
        """What would be trained on, in the order of the batch."""
        return self._join([shard.sequences for shard in self.shards])

    def _split(self, values: Sequence[Any]) -> list[list[Any]]:
        return [
            [value for value, owner in zip(values, self.owners, strict=True) if owner == rank]
            for rank in range(self.num_ranks)
        ]

    def _join(self, parts: Sequence[Sequence[Any]]) -> list[Any]:
        iterators = [iter(part) for part in parts]
        return [next(iterators[owner]) for owner in self.owners]


def own_loss(logprob_N: Tensor, old_N: Tensor, advantage_N: Tensor, sequence_N: Tensor, *, power: float) -> Tensor:
    """What a user may write."""
    return -advantage_N * (power * (logprob_N - old_N)).exp()


@st.composite
def sequences(draw: st.DrawFn) -> list[TrainSequence]:
    """1 to 7 of 1 to 12 tokens; masks have holes, some are empty, not all. Out of the mask every number is NaN."""
    mask = st.lists(st.integers(0, 1), min_size=1, max_size=12)
    masks = draw(st.lists(mask, min_size=1, max_size=7).filter(lambda found: any(any(mask[1:]) for mask in found)))
    numbers = torch.Generator().manual_seed(draw(st.integers(0, 2**32 - 1)))
    without = draw(st.sets(st.sampled_from(["old_logprobs", "reference_logprobs", "weights", "logprobs"])))

    def column(mask: list[int], shift: float, spread: float) -> tuple[float, ...]:
        drawn_T = shift + spread * torch.randn(len(mask), generator=numbers)
        return tuple(drawn_T.where(torch.tensor(mask, dtype=torch.bool), torch.nan).tolist())

    found = []
    for mask in masks:
        tokens = torch.randint(VOCABULARY, (len(mask),), generator=numbers).tolist()
        # Logprobs around -ln 32 = -3.5, those of a model that knows little.
        columns = {name: column(mask, -3.5, 0.4) for name in ("logprobs", "old_logprobs", "reference_logprobs")}
        columns |= {name: column(mask, 0.0, 1.0) for name in ("advantages", "values", "returns")}
        columns["weights"] = column(mask, 1.0, 0.2)
        kept = {name: values for name, values in columns.items() if name not in without}
        found.append(TrainSequence(tokens=tuple(tokens), mask=tuple(mask), **kept))
    return found


@st.composite
def rankings(draw: st.DrawFn) -> list[TrainSequence]:
    """1 to 4 rows of 2 to 4 answers, each with places that decide something; read at the last token, as a reward
    model's are."""
    found = []
    numbers = torch.Generator().manual_seed(draw(st.integers(0, 2**32 - 1)))
    places = st.lists(st.integers(1, 3), min_size=2, max_size=4).filter(lambda drawn: len(set(drawn)) > 1)
    for group, row in enumerate(draw(st.lists(places, min_size=1, max_size=4))):
        margin = draw(st.sampled_from([0.0, 0.5]))
        for place in row:
            length = draw(st.integers(2, 12))
            tokens = tuple(torch.randint(VOCABULARY, (length,), generator=numbers).tolist())
            mask = (0,) * (length - 1) + (1,)
            reference = (0.0,) * (length - 1) + (float(-3.5 + 0.4 * torch.randn(1, generator=numbers)),)
            found.append(
                TrainSequence(
                    tokens=tokens, mask=mask, group=group, place=place, margin=margin, reference_logprobs=reference
                )
            )
    return found


@st.composite
def policy_loss(draw: st.DrawFn, name: str, aggregation: Any) -> PolicyLoss:
    return PolicyLoss(
        name=name,
        constants=CONSTANTS[name],
        aggregation=aggregation,
        divisor=16.0,
        temperature=draw(st.sampled_from([1.0, 0.7])),
        entropy_coef=draw(st.sampled_from([0.0, 0.1])),
        kl=draw(st.sampled_from([None, "k2", "k3"])),
        kl_coef=0.5,
    )


@st.composite
def layout(draw: st.DrawFn, known: list[TrainSequence], num_ranks: int) -> list[list[list[TrainSequence]]]:
    """[rank][micro-batch]: any split, in any order, as many micro-batches on each rank, some of them empty. The answers
    of a preference row stay together."""
    num_micro_batches = draw(st.integers(1, 3))
    found: list[list[list[TrainSequence]]] = [[[] for _ in range(num_micro_batches)] for _ in range(num_ranks)]
    rows: dict[int, list[TrainSequence]] = {}
    for index, sequence in enumerate(known):
        rows.setdefault(-1 - index if sequence.group is None else sequence.group, []).append(sequence)
    for row in draw(st.permutations(list(rows.values()))):
        rank, place = draw(st.integers(0, num_ranks - 1)), draw(st.integers(0, num_micro_batches - 1))
        found[rank][place] += row
    return found
