"""One learner rank's samples of a batch, and what is computed of their tokens before the first update.

Old and reference logprobs, values, advantages, corrections and the final mask stay here; the driver sends and gets one
number a sample, or sums where a statistic is of the whole batch.

Notation: S = samples of this rank, N = their tokens that the policy wrote, sample after sample. Statistics in float64.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from rlreason.algorithms import advantages, kl, off_policy
from rlreason.config.algorithm import OffPolicyConfig
from rlreason.types import Moments, TokenArrays, TokenCredit, TrainSequence

ColumnName = Literal["values", "returns", "keep"]
"""Columns that one model's ranks compute for another's; `keep`: the final mask."""
STORED = {"policy": "old_logprobs", "reference": "reference_logprobs", "value": "values"}
"""Where the numbers of a pass go."""


class Shard:
    """Example: shard = Shard([TrainSequence(tokens=(5, 6, 7), mask=(0, 1, 1), logprobs=(0.0, -0.1, -0.2))])"""

    def __init__(self, sequences: Sequence[TrainSequence]) -> None:
        """`sequences`: with the logprobs of the policy that wrote them."""
        self.sequences = list(sequences)
        self._wrote = [np.asarray(sequence.mask, bool)[1:] for sequence in sequences]
        self.length_S = torch.tensor([int(wrote.sum()) for wrote in self._wrote], dtype=torch.int64)
        self.sequence_N = torch.arange(len(self.sequences)).repeat_interleave(self.length_S)
        self.behaviour_N = self._flat([sequence.logprobs for sequence in sequences])
        self.columns: dict[str, Tensor] = {}
        """[N] by the name of the TrainSequence's column; `advantages` too."""
        self.keep_N = torch.ones(len(self.sequence_N), dtype=torch.bool)

    @classmethod
    def of(cls, rows: Sequence[tuple[int, int, str]], chunks: Sequence[TokenArrays]) -> "Shard":
        """`rows`: number of the chunk, row in it and origin of each sample."""
        sequences = []
        for chunk, row, origin in rows:
            tokens, mask, logprobs = chunks[chunk].row(row)
            sequences.append(TrainSequence(tokens=tokens, mask=mask, logprobs=logprobs, origin=origin))
        return cls(sequences)

    def keep(self, what: str, places: Sequence[int], scores: Sequence[Sequence[float]]) -> None:
        """Stores what a pass gave for the samples at `places`, which are all of them in some order."""
        by_place = dict(zip(places, scores, strict=True))
        numbers = [value for place in range(len(self.sequences)) for value in by_place[place]]
        self.columns[STORED[what]] = torch.tensor(numbers, dtype=torch.float64)

    def penalties(self) -> list[float]:
        """[S] k1 estimate of the KL to the reference, summed over each sample's tokens, in nats."""
        return self._sums(kl.k1(self.behaviour_N, self.columns["reference_logprobs"]))

    def broadcast(self, advantage_S: Sequence[float]) -> None:
        """One advantage a sample."""
        column = torch.tensor(list(advantage_S), dtype=torch.float64)
        self.columns["advantages"] = column.repeat_interleave(self.length_S)

    def credit(self, credit: TokenCredit, reward_S: Sequence[float]) -> dict[str, Moments]:
        """An advantage for each token, not normalised yet; moments of it and, with a critic, of its numbers."""
        penalty_N = None
        if credit.kl_coef:
            penalty_N = credit.kl_coef * kl.k1(self.behaviour_N, self.columns["reference_logprobs"])
        reward_N = advantages.token_rewards(torch.tensor(list(reward_S), dtype=torch.float64), self.length_S, penalty_N)
        if credit.name == "reinforce_pp":
            advantage_N = advantages.returns_to_go(reward_N, self.length_S, gamma=credit.gamma)
            self.columns["advantages"] = advantage_N
            return {"advantage": moments(advantage_N)}
        value_N = self.columns["values"]
        advantage_N, return_N = advantages.gae(reward_N, value_N, self.length_S, gamma=credit.gamma, lam=credit.lam)
        self.columns |= {"advantages": advantage_N, "returns": return_N}
        return {
            "advantage": moments(advantage_N),
            "value": moments(value_N),
            "return": moments(return_N),
            "residual": moments(return_N - value_N),
        }

    def normalise(self, batch: Moments) -> None:
        """Advantages less their mean over the batch, over their standard deviation; equal ones become 0."""
        std = batch.variance**0.5
        deviation_N = self.columns["advantages"] - batch.mean
        zeros_N = torch.zeros_like(deviation_N)
        self.columns["advantages"] = deviation_N / (std + advantages.EPSILON) if std > 0 else zeros_N

    def beyond(self, limit: float) -> tuple[int, float] | None:
        """Place and advantage of the first sample with one that is not within +-limit; None where all are."""
        bad_N = ~(self.columns["advantages"].abs() <= limit)
        if not bad_N.any():
            return None
        first = int(bad_N.nonzero()[0])
        return int(self.sequence_N[first]), float(self.columns["advantages"][first])

    def correct(self, config: OffPolicyConfig) -> off_policy.MismatchSums:
        """Weighs the tokens, or takes them out, by how far the policy that wrote them is from the learner's."""
        log_ratio_N = self.columns["old_logprobs"] - self.behaviour_N
        weight_N, self.keep_N = correction(log_ratio_N, self.sequence_N, config)
        self.columns["weights"] = weight_N
        return off_policy.MismatchSums.of(log_ratio_N, weight_N, self.keep_N)

    def counts(self) -> list[int]:
        """[S] tokens of each sample that are trained on, by the final mask."""
        return [int(count) for count in self._sums(self.keep_N.double())]

    def column(self, name: ColumnName) -> "np.ndarray[Any, Any]":
        """[N] float32, for the ranks of another model."""
        return (self.keep_N if name == "keep" else self.columns[name]).to(torch.float32).numpy()

    def take(
        self, name: ColumnName, picks: Sequence[tuple[int, int]], columns: "Sequence[np.ndarray[Any, Any]]"
    ) -> None:
        """`picks`: for each sample the number of the column that has it, and where it begins there."""
        parts = [
            columns[number][start : start + int(length)]
            for (number, start), length in zip(picks, self.length_S, strict=True)
        ]
        column_N = torch.from_numpy(np.concatenate([np.zeros(0, np.float32), *parts])).double()
        if name == "keep":
            self.keep_N = column_N > 0
        else:
            self.columns[name] = column_N

    def settle(self, *, is_on_policy: bool) -> None:
        """Puts the columns into the sequences. is_on_policy: the weights that wrote them are those of the only update,
        so that the ratio is 1 by definition, not up to kernel noise.
        """
        columns = dict(self.columns)
        columns.setdefault("old_logprobs", self.behaviour_N)
        if is_on_policy:
            del columns["old_logprobs"]
        aligned = {name: self._aligned(value_N.to(torch.float32).numpy()) for name, value_N in columns.items()}
        masks = self._aligned(self.keep_N.numpy())
        for place, sequence in enumerate(self.sequences):
            own: Mapping[str, Any] = {name: found[place] for name, found in aligned.items()}
            self.sequences[place] = replace(sequence, mask=masks[place], **own)

    def _flat(self, columns: Sequence[Any]) -> Tensor:
        parts = [np.asarray(column)[1:][wrote] for column, wrote in zip(columns, self._wrote, strict=True)]
        return torch.from_numpy(np.concatenate([np.zeros(0), *parts]).astype(np.float64))

    def _aligned(self, value_N: "np.ndarray[Any, Any]") -> "list[np.ndarray[Any, Any]]":
        """Columns aligned with the tokens, one a sample; 0 where the policy did not write."""
        found, start = [], 0
        for wrote, length in zip(self._wrote, self.length_S.tolist(), strict=True):
            column = np.zeros(len(wrote) + 1, value_N.dtype)
            column[1:][wrote] = value_N[start : start + length]
            found.append(column)
            start += length
        return found

    def _sums(self, value_N: Tensor) -> list[float]:
        summed: list[float] = (
            torch.zeros(len(self.sequences), dtype=torch.float64).index_add(0, self.sequence_N, value_N).tolist()
        )
        return summed


def moments(value_N: Tensor) -> Moments:
    """From the least value on, so that equal ones have exactly no deviation."""
    if not len(value_N):
        return Moments(count=0, mean=0.0, squares=0.0)
    least = value_N.min()
    above_N = value_N - least
    mean = above_N.mean()
    return Moments(count=len(value_N), mean=float(least + mean), squares=float((above_N - mean).square().sum()))


def correction(log_ratio_N: Tensor, sequence_N: Tensor, config: OffPolicyConfig) -> tuple[Tensor, Tensor]:
    """weight_N and keep_N. `log_ratio_N`: proximal less behaviour logprobs."""
    match config.correction:
        case "token_truncate":
            assert config.cap is not None
            return off_policy.token_truncated(log_ratio_N, cap=config.cap)
        case "sequence_truncate":
            assert config.cap is not None
            return off_policy.sequence_truncated(log_ratio_N, sequence_N, cap=config.cap)
        case "token_mask":
            assert config.low is not None and config.high is not None
            return off_policy.token_masked(log_ratio_N, low=config.low, high=config.high)
        case "sequence_reject":
            assert config.low is not None and config.high is not None
            return off_policy.sequence_rejected(log_ratio_N, sequence_N, low=config.low, high=config.high)
    return torch.ones_like(log_ratio_N), torch.ones_like(log_ratio_N, dtype=torch.bool)
