"""What a learner minimises on one micro-batch: its share of the whole batch's loss, and sums for the metrics.

Every share is weighted by the size of the whole batch, so the sum over micro-batches and ranks is the same for any
split. The final mask decides which tokens there are.

Notation: N = trained tokens of the micro-batch, sequence after sequence.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rlreason.algorithms import kl, losses, preference
from rlreason.paths import find_function
from rlreason.types import BatchSize, PolicyLoss, PreferenceLoss, TrainSequence, UserError, ValueLoss

Sums = dict[str, Tensor]


def policy_objective(
    loss: PolicyLoss, logprob_N: Tensor, entropy_N: Tensor, micro_batch: list[TrainSequence], size: BatchSize
) -> tuple[Tensor, Sums]:
    """The loss's share, and sums over tokens by the metric's key; of an empty micro-batch 0 and {}."""
    if not micro_batch:
        return logprob_N.sum(), {}
    current_N = logprob_N.detach()
    sequence_N = sequence_numbers(micro_batch, logprob_N.device)
    columns = {name: column(micro_batch, name, logprob_N.device) for name in COLUMNS}
    behaviour_N, advantage_N = columns["logprobs"], columns["advantages"]
    old_N = current_N if columns["old_logprobs"] is None else columns["old_logprobs"]
    assert advantage_N is not None
    loss_N, is_clipped_N = _policy_loss(loss, logprob_N, old_N, advantage_N, sequence_N)
    sums = {"policy/entropy": entropy_N.detach().sum(), "policy/clip_fraction": is_clipped_N.sum()}
    if behaviour_N is not None:
        sums["mismatch/logprob_gap_mean"] = (current_N - behaviour_N).abs().sum()
        sums["mismatch/kl"] = kl.k3(behaviour_N, current_N).sum()
    reference_N = columns["reference_logprobs"]
    if reference_N is not None:
        sums["policy/kl"] = kl.k3(current_N, reference_N).sum()
        if loss.kl == "k2":
            loss_N = loss_N + loss.kl_coef * kl.k2(logprob_N, reference_N)
        elif loss.kl == "k3":
            loss_N = loss_N + loss.kl_coef * kl.corrected_k3(logprob_N, old_N, reference_N)
    if columns["weights"] is not None:
        loss_N = loss_N * columns["weights"]
    if loss.entropy_coef:
        loss_N = loss_N - loss.entropy_coef * entropy_N
    weight_N = losses.token_weights(
        sequence_N,
        loss.aggregation,
        num_tokens=size.num_tokens,
        num_sequences=size.num_sequences,
        divisor=loss.divisor,
    )
    return (loss_N * weight_N).sum(), sums


def value_objective(
    loss: ValueLoss, value_N: Tensor, micro_batch: list[TrainSequence], size: BatchSize
) -> tuple[Tensor, Sums]:
    """The critic's: see `policy_objective`."""
    if not micro_batch:
        return value_N.sum(), {}
    old_N, return_N = (column(micro_batch, name, value_N.device) for name in ("values", "returns"))
    assert old_N is not None and return_N is not None
    loss_N, is_clipped_N = losses.value_loss(value_N, old_N, return_N, clip=loss.clip)
    return loss_N.sum() / size.num_tokens, {"critic/clip_fraction": is_clipped_N.sum()}


def preference_objective(
    loss: PreferenceLoss, said_N: Tensor, micro_batch: list[TrainSequence], size: BatchSize
) -> tuple[Tensor, Sums]:
    """On whole rows, S answers: see `policy_objective`. In the metrics each row weighs the same.

    `said_N`: a reward model's score of each answer, or with `beta` the policy's logprobs of their tokens.
    """
    if not micro_batch:
        return said_N.sum(), {}
    score_S = said_N if loss.beta is None else loss.beta * _log_ratios(said_N, micro_batch)
    numbers = {group: number for number, group in enumerate(dict.fromkeys(s.group for s in micro_batch))}
    row_S = torch.tensor([numbers[sequence.group] for sequence in micro_batch], device=score_S.device)
    place_S = torch.tensor([sequence.place for sequence in micro_batch], device=score_S.device)
    if loss.name == "plackett_luce":
        loss_R = preference.plackett_luce(score_S, row_S, place_S)
    else:
        margin_S = torch.tensor([sequence.margin for sequence in micro_batch], device=score_S.device)
        loss_R = preference.bradley_terry(score_S, row_S, place_S, margin_S, label_smoothing=loss.label_smoothing)
    if loss.centring:
        loss_R = loss_R + loss.centring * preference.centring(score_S, row_S)
    accuracy_R, gap_R = preference.row_accuracy(score_S.detach(), row_S, place_S)
    # What is summed here is divided by the batch's tokens later on.
    tokens_per_row = size.num_tokens / size.num_groups
    sums = {"preference/accuracy": accuracy_R.sum() * tokens_per_row, "preference/gap": gap_R.sum() * tokens_per_row}
    return loss_R.sum() / size.num_groups, sums


def _log_ratios(logprob_N: Tensor, micro_batch: list[TrainSequence]) -> Tensor:
    """[S] log of policy over reference of each sequence's trained tokens."""
    reference_N = column(micro_batch, "reference_logprobs", logprob_N.device)
    assert reference_N is not None
    sequence_N = sequence_numbers(micro_batch, logprob_N.device)
    return logprob_N.new_zeros(len(micro_batch)).index_add(0, sequence_N, logprob_N - reference_N)


COLUMNS = ("logprobs", "old_logprobs", "reference_logprobs", "advantages", "weights")


def column(micro_batch: list[TrainSequence], name: str, device: torch.device) -> Tensor | None:
    """[N] a column's values at the trained tokens; None where no sequence has it."""
    found = [getattr(sequence, name) for sequence in micro_batch]
    if not any(len(column) for column in found):
        return None
    values = [
        np.asarray(column, np.float32)[1:][np.asarray(sequence.mask[1:], bool)]
        for sequence, column in zip(micro_batch, found, strict=True)
    ]
    return torch.from_numpy(np.concatenate(values)).to(device)


def sequence_numbers(micro_batch: list[TrainSequence], device: torch.device) -> Tensor:
    """[N] the place in the micro-batch of each token's sequence."""
    lengths = torch.tensor([sequence.num_trained_tokens for sequence in micro_batch], dtype=torch.long)
    return torch.arange(len(micro_batch)).repeat_interleave(lengths).to(device)


def _policy_loss(
    loss: PolicyLoss, logprob_N: Tensor, old_N: Tensor, advantage_N: Tensor, sequence_N: Tensor
) -> tuple[Tensor, Tensor]:
    """loss_N and is_clipped_N. UserError where a user's function returns something else."""
    match loss.name:
        case "ppo_clip":
            return losses.ppo_clip(logprob_N, old_N, advantage_N, **loss.constants)
        case "cispo":
            return losses.cispo(logprob_N, old_N, advantage_N, **loss.constants)
        case "gspo":
            return losses.gspo(logprob_N, old_N, advantage_N, sequence_N, **loss.constants)
        case "gmpo":
            return losses.gmpo(logprob_N, old_N, advantage_N, sequence_N, **loss.constants)
        case "reinforce":
            return losses.reinforce(logprob_N, advantage_N)
    loss_N = _function(loss.name)(logprob_N, old_N, advantage_N, sequence_N, **loss.constants)
    if not isinstance(loss_N, Tensor) or loss_N.shape != logprob_N.shape:
        what = f"shape {list(loss_N.shape)}" if isinstance(loss_N, Tensor) else type(loss_N).__name__
        raise UserError(f"algorithm.loss `{loss.name}`: returned {what}, expected a tensor of {len(logprob_N)} numbers")
    return loss_N, torch.zeros_like(logprob_N, dtype=torch.bool)


@lru_cache
def _function(path: str) -> Callable[..., Any]:
    return find_function(path)
