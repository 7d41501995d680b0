"""The learner's objective without an engine: a bigram table stands for the model, so that a gradient is one matrix.

Notation: N = trained tokens, V = vocabulary.
"""

import importlib.util
from collections import Counter
from dataclasses import replace
from math import isfinite, log, nan
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rlreason.algorithms.losses import token_logprobs
from rlreason.engines.objective import column, policy_objective, sequence_numbers, value_objective
from rlreason.types import BatchSize, PolicyLoss, TrainSequence, UserError, ValueLoss

spec = importlib.util.spec_from_file_location("batches", Path(__file__).parents[2] / "batches.py")
assert spec is not None and spec.loader is not None
batches = importlib.util.module_from_spec(spec)
spec.loader.exec_module(batches)

of_each_loss = pytest.mark.parametrize("name", batches.CONSTANTS, ids=lambda name: name.rpartition(":")[2])
of_each_aggregation = pytest.mark.parametrize("aggregation", batches.AGGREGATIONS)
TABLE_VV = torch.randn(32, 32, generator=torch.Generator().manual_seed(0))
LOSS = PolicyLoss(name="ppo_clip", constants={"clip_low": 0.2, "clip_high": 0.28})
SEQUENCE = TrainSequence(tokens=(1, 2, 3, 4), mask=(0, 1, 0, 1), advantages=(nan, 1.0, nan, -2.0))


def predictions(table_VV: Tensor, micro_batch: list[TrainSequence]) -> tuple[Tensor, Tensor]:
    """logits_NV, target_N of the trained tokens."""
    pairs = [
        (sequence.tokens[place - 1], sequence.tokens[place])
        for sequence in micro_batch
        for place in range(1, len(sequence.tokens))
        if sequence.mask[place]
    ]
    before_N, target_N = torch.tensor(pairs, dtype=torch.long).reshape(-1, 2).T
    return table_VV[before_N], target_N


def objective(
    loss: PolicyLoss | ValueLoss,
    micro_batches: list[list[TrainSequence]],
    size: BatchSize,
    table_VV: Tensor = TABLE_VV,
) -> tuple[float, dict[str, float], Tensor]:
    """Loss and sums, added over the micro-batches, and the gradient in the table."""
    table_VV = table_VV.clone().requires_grad_()
    total, sums = 0.0, Counter[str]()
    for micro_batch in micro_batches:
        logits_NV, target_N = predictions(table_VV, micro_batch)
        if isinstance(loss, ValueLoss):
            share, parts = value_objective(loss, logits_NV[:, 0], micro_batch, size)
        else:
            logprob_N, entropy_N = token_logprobs(
                logits_NV, target_N, loss.temperature, entropy_gradient=loss.entropy_coef > 0
            )
            share, parts = policy_objective(loss, logprob_N, entropy_N, micro_batch, size)
        share.backward()
        total += share.item()
        sums.update({key: part.item() for key, part in parts.items()})
    assert table_VV.grad is not None
    return total, dict(sums), table_VV.grad


def assert_same(
    found: tuple[float, dict[str, float], Tensor], expected: tuple[float, dict[str, float], Tensor]
) -> None:
    """To 1e-5 of the whole; a loss or a sum whose terms cancel has an absolute error."""
    assert found[0] == pytest.approx(expected[0], rel=1e-5, abs=1e-5)
    assert found[1] == {key: pytest.approx(value, rel=1e-5, abs=1e-5) for key, value in expected[1].items()}
    assert (found[2] - expected[2]).norm() <= 1e-5 * expected[2].norm() + 1e-9


@of_each_aggregation
@of_each_loss
@settings(deadline=None, max_examples=8)
@given(st.data())
def test_the_gradient_is_the_same_for_any_split(name: str, aggregation: str, data: st.DataObject) -> None:
    """Traps 1, 3 and 6: with corrections, a penalty and an entropy bonus; the columns are NaN out of the mask."""
    loss, known = data.draw(batches.policy_loss(name, aggregation)), data.draw(batches.sequences())
    (split,) = data.draw(batches.layout(known, 1))
    size = BatchSize.of(known)
    assert_same(objective(loss, split, size), objective(loss, [known], size))


@pytest.mark.parametrize("clip", [None, 0.2])
@settings(deadline=None, max_examples=30)
@given(st.data())
def test_the_critic_s_gradient_is_the_same_for_any_split(clip: float | None, data: st.DataObject) -> None:
    known = data.draw(batches.sequences())
    (split,) = data.draw(batches.layout(known, 1))
    size = BatchSize.of(known)
    assert_same(objective(ValueLoss(clip=clip), split, size), objective(ValueLoss(clip=clip), [known], size))


@of_each_aggregation
@of_each_loss
@settings(deadline=None, max_examples=3)
@given(st.data())
def test_tokens_out_of_the_mask_change_nothing(name: str, aggregation: str, data: st.DataObject) -> None:
    """Trap 3: longer sequences, so that rows are wider; and trap 4: sequences with nothing left."""
    loss, known = data.draw(batches.policy_loss(name, aggregation)), data.draw(batches.sequences())
    columns = ("logprobs", "old_logprobs", "reference_logprobs", "advantages", "weights", "values", "returns")
    wider = [
        replace(
            sequence,
            tokens=sequence.tokens + (9,) * 5,
            mask=sequence.mask + (0,) * 5,
            **{key: values + (nan,) * 5 for key in columns if (values := getattr(sequence, key))},
        )
        for sequence in known
    ]
    nothing_left = replace(wider[0], mask=(0,) * len(wider[0].tokens))
    wider.append(nothing_left)
    assert BatchSize.of(wider) == BatchSize.of(known)
    found, expected = (objective(loss, [batch], BatchSize.of(batch)) for batch in (wider, known))
    assert found[:2] == expected[:2] and found[2].equal(expected[2])


@of_each_aggregation
@of_each_loss
@pytest.mark.parametrize("micro_batch", [[], [replace(SEQUENCE, mask=(1, 0, 0, 0))]], ids=["empty", "nothing left"])
def test_an_empty_micro_batch_gives_0_with_a_gradient(
    name: str, aggregation: Any, micro_batch: list[TrainSequence]
) -> None:
    """Even where the whole batch is empty."""
    loss = PolicyLoss(
        name=name,
        constants=batches.CONSTANTS[name],
        aggregation=aggregation,
        kl="k3",
        kl_coef=1.0,
        entropy_coef=0.1,
    )
    for size in (BatchSize(num_tokens=8, num_sequences=3), BatchSize(num_tokens=0, num_sequences=0)):
        total, sums, gradient_VV = objective(loss, [micro_batch], size)
        assert total == 0.0 and not any(sums.values()) and not gradient_VV.any()


def test_an_empty_micro_batch_of_the_critic_gives_0_with_a_gradient() -> None:
    total, sums, gradient_VV = objective(ValueLoss(clip=0.2), [[]], BatchSize(num_tokens=8, num_sequences=3))
    assert (total, sums) == (0.0, {}) and not gradient_VV.any()


@of_each_aggregation
@of_each_loss
def test_nan_logits_out_of_the_mask_reach_neither_loss_nor_gradient(name: str, aggregation: Any) -> None:
    """Trap 6: the logits after token 2, of a place that is not trained on."""
    table_VV = TABLE_VV.clone()
    table_VV[2] = nan
    loss = PolicyLoss(
        name=name, constants=batches.CONSTANTS[name], aggregation=aggregation, kl="k2", kl_coef=1.0, entropy_coef=0.1
    )
    known = [replace(SEQUENCE, reference_logprobs=(nan, -1.0, nan, -2.0), weights=(nan, 1.1, nan, 0.9))]
    total, sums, gradient_VV = objective(loss, [known], BatchSize.of(known), table_VV)
    assert isfinite(total) and all(map(isfinite, sums.values())) and gradient_VV.isfinite().all()
    assert gradient_VV[[1, 3]].any(1).all() and not gradient_VV[2].any()


def test_a_penalty_is_weighted_and_an_entropy_bonus_is_not() -> None:
    # Two tokens at even odds: logprob ln 1/2, entropy ln 2; the reference is sure of them, log ratio ln 2.
    #   ratio 1: losses -1 and 2;   k2: (ln 2)**2 / 2 = 0.2402 each;   bonus -0.5 ln 2 = -0.3466 each
    #   3 (-1 + 0.1 * 0.2402) - 0.3466 = -3.2745;   0.5 (2 + 0.1 * 0.2402) - 0.3466 = 0.6654;   their mean -1.3045
    table_VV = torch.full((5, 5), -torch.inf)
    table_VV[1, 1:3] = table_VV[3, 3:5] = 0.0
    known = [replace(SEQUENCE, reference_logprobs=(nan, 0.0, nan, 0.0), weights=(nan, 3.0, nan, 0.5))]
    loss = replace(LOSS, kl="k2", kl_coef=0.1, entropy_coef=0.5)
    total, sums, _ = objective(loss, [known], BatchSize.of(known), table_VV)
    assert total == pytest.approx(-1.30453, abs=1e-5)
    # k3 of a sure reference: 1 / 0.5 - 1 - ln 2 = 0.3069
    assert sums == {
        "policy/entropy": pytest.approx(2 * log(2)),
        "policy/clip_fraction": 0.0,
        "policy/kl": pytest.approx(2 * (1 - log(2))),
    }


def test_the_mismatch_is_to_the_behaviour_policy_and_the_ratio_to_the_proximal_one() -> None:
    # Even odds again. Behaviour 1/4 and 1/2: gaps ln 2 and 0; k3 1/4 over 1/2 and so on: 1 of each, from the old.
    table_VV = torch.full((5, 5), -torch.inf)
    table_VV[1, 1:3] = table_VV[3, 3:5] = 0.0
    known = [replace(SEQUENCE, logprobs=(nan, log(0.25), nan, log(0.5)), old_logprobs=(nan, log(0.5), nan, log(0.25)))]
    total, sums, _ = objective(LOSS, [known], BatchSize.of(known), table_VV)
    # Ratios 1 and 2, the second of a negative advantage: unclipped, (-1 + 2 * 2) / 2.
    assert total == pytest.approx(1.5) and sums["policy/clip_fraction"] == 0.0
    assert sums["mismatch/logprob_gap_mean"] == pytest.approx(log(2))
    # k3(behaviour, learner) at p = 1/4, q = 1/2: 2 - 1 - ln 2
    assert sums["mismatch/kl"] == pytest.approx(1 - log(2))
    total, _, _ = objective(LOSS, [[replace(known[0], old_logprobs=())]], BatchSize.of(known), table_VV)
    assert total == pytest.approx(0.5), "no old logprobs: the ratio is 1, (-1 + 2) / 2"


@pytest.mark.parametrize(
    ("answer", "said"),
    [("logprob_N.sum()", "shape []"), ("logprob_N[:-1]", "shape [1]"), ("0.0", "float"), ("None", "NoneType")],
)
def test_a_loss_of_the_user_s_with_a_wrong_shape_is_an_error(tmp_path: Path, answer: str, said: str) -> None:
    path = tmp_path / "mine.py"
    path.write_text(f"def loss(logprob_N, old_N, advantage_N, sequence_N):\n    return {answer}\n")
    loss = PolicyLoss(name=f"{path}:loss")
    with pytest.raises(UserError) as error:
        objective(loss, [[SEQUENCE]], BatchSize.of([SEQUENCE]))
    assert str(error.value) == f"algorithm.loss `{path}:loss`: returned {said}, expected a tensor of 2 numbers"


def test_columns_and_sequence_numbers_by_hand() -> None:
    """The first token is never trained on, whatever its mask says."""
    first = TrainSequence(tokens=(1, 2, 3), mask=(1, 0, 1), advantages=(5.0, 6.0, 7.0))
    nothing = TrainSequence(tokens=(1, 2), mask=(1, 0), advantages=(3.0, 3.0))
    last = TrainSequence(tokens=(1, 2, 3), mask=(0, 1, 1), advantages=(0.0, 1.0, 2.0))
    device = torch.device("cpu")
    assert column([first, nothing, last], "advantages", device).tolist() == [7.0, 1.0, 2.0]
    assert column([first, nothing, last], "weights", device) is None
    assert sequence_numbers([first, nothing, last], device).tolist() == [0, 2, 2]
    assert sequence_numbers([], device).shape == (0,)
