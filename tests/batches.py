"""Random batches, losses and layouts for the property tests of the learner. Loaded by path, as a user's function is.

hypothesis draws what has edges: lengths, masks, splits, options. The numbers come from a seeded generator: drawn ones
would sit on the kinks of the clipped losses, where rounding alone decides on a token's gradient.
"""

from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from rlreason.types import PolicyLoss, TrainSequence

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
