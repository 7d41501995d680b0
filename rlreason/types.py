"""What moves between workers, and the two errors that a user sees. No torch, no Ray, no I/O.

`tokens`, `mask` and `logprobs` are flat and aligned: position t of each speaks about token t. There is no
prompt/response split in training data; the mask says which tokens the policy wrote.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Message = Mapping[str, str]
"""One chat turn: {"role": "system" | "user" | "assistant", "content": text}."""

ScoreStatus = Literal["ok", "wrong", "unparseable", "timeout", "verifier_error", "sandbox_error"]
"""`ok` and `wrong`: the checker worked. The others: it did not, and `Score.detail` says why."""

FAILED_STATUSES: frozenset[str] = frozenset({"timeout", "verifier_error", "sandbox_error"})
"""Statuses that are no judgement of the answer. What each costs, and whether it counts in `reward/error_rate`, is the
configuration's `on_status`."""


class UserError(ValueError):
    """The user's input is wrong. One line: what, where, how to mend it. Exit status 2."""


class RunError(RuntimeError):
    """The run failed for a reason outside the user's input (disk full, worker lost). Exit status 1."""


def first_line(error: BaseException) -> str:
    """Of what a library says of its error, often a page; the error's class where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One problem for the policy to solve.

    Example: Task(id="chains:7", prompt="3+4*7=", answer="9", source="chains")
    """

    id: str
    """Unique within a run and stable over runs: request seeds and resume depend on it."""
    prompt: str | tuple[Message, ...]
    """Text, or a chat that ends in the user's turn."""
    answer: str | tuple[str, ...] | None = None
    """Gold answer; several mean that any one is right. None where the tests decide."""
    tests: tuple[Mapping[str, Any], ...] = ()
    """Program tests: {"type": "stdio" | "assert" | "call", ...}."""
    source: str = ""
    """The data set that it came from; metrics are also kept per source."""
    columns: Mapping[str, Any] = field(default_factory=dict)
    """All other columns of the row; rewards may read them."""


def read_tests(value: Any, where: str) -> tuple[Mapping[str, Any], ...]:
    """`Task.tests` of a row's `tests` column: a list, JSON text of one as some hub data sets keep it, or nothing.

    UserError for anything else; `where` names the row.
    """
    try:
        found = json.loads(value) if isinstance(value, str) and value.strip() else value
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: `tests` is text that is no JSON: {error}") from None
    if found is None or found == "":
        return ()
    if not isinstance(found, list | tuple) or not all(isinstance(test, Mapping) for test in found):
        raise UserError(f'{where}: `tests` is not a list of tests such as {{"type": "stdio", "input": ..., ...}}')
    return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One answer of the policy to one task, as the rollout engine wrote it.

    Example: prompt ids (5, 6), answer ids (7, 2) give tokens=(5, 6, 7, 2), mask=(0, 0, 1, 1).
    """

    task_id: str
    index: int
    """Place within the task's group, from 0."""
    policy_version: int
    """Version of the weights at the request's start."""
    tokens: tuple[int, ...]
    """[T] prompt then response, end-of-sequence token included."""
    mask: tuple[int, ...]
    """[T] 1 where the policy wrote the token, else 0."""
    logprobs: tuple[float, ...]
    """[T] nats, under the distribution that was sampled from (temperature applied); 0.0 where mask is 0."""
    prompt: str
    """The prompt as the model saw it, chat template applied."""
    response: str
    """Decoded response without its end-of-sequence token."""
    finish_reason: Literal["stop", "length"]
    """`length`: cut off at the token limit."""

    def __post_init__(self) -> None:
        lengths = {len(self.tokens), len(self.mask), len(self.logprobs)}
        assert len(lengths) == 1, f"tokens, mask and logprobs differ in length: {sorted(lengths)}"

    @property
    def num_response_tokens(self) -> int:
        return sum(self.mask)


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """A verdict on one response.

    Example: Score(value=1.0, status="ok", detail="equal as rationals")
    """

    value: float
    """0.0 to 1.0 for verifiers; any finite number for shaped rewards."""
    status: ScoreStatus
    detail: str = ""
    """Why; for a broken checker the traceback."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptTask:
    """A task with its prompt as the model sees it."""

    task: Task
    text: str
    """Chat template applied."""
    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """All samples of one task, judged.

    Example: Group(task=task, samples=(a, b), scores=({"math": Score(...)}, {"math": Score(...)}))
    """

    task: Task
    samples: tuple[Sample, ...]
    scores: tuple[Mapping[str, Score], ...]
    """One mapping a sample: reward name to verdict."""

    def __post_init__(self) -> None:
        assert len(self.samples) == len(self.scores), "samples and scores differ in number"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSequence:
    """One sequence as the learner sees it, for any stage.

    Pretraining and SFT: logprobs are zeros and advantage is 1.0.
    """

    tokens: tuple[int, ...]
    """[T]"""
    mask: tuple[int, ...]
    """[T] 1 where the token is trained on. mask[0] has no effect: nothing predicts the first token."""
    logprobs: tuple[float, ...] = ()
    """[T] behaviour logprobs in nats, or empty where the loss needs none."""
    advantage: float = 1.0

    def __post_init__(self) -> None:
        assert len(self.tokens) == len(self.mask), "tokens and mask differ in length"
        assert len(self.logprobs) in (0, len(self.tokens)), "tokens and logprobs differ in length"

    @property
    def num_trained_tokens(self) -> int:
        return sum(self.mask[1:])


@dataclass(frozen=True, slots=True, kw_only=True)
class LossSpec:
    """Which loss, and its constants.

    Example: LossSpec(name="policy_gradient", temperature=1.0, clip_low=0.2, clip_high=0.28, on_policy=True)
    """

    name: Literal["cross_entropy", "policy_gradient"]
    temperature: float = 1.0
    """Of sampling."""
    clip_low: float = 0.2
    clip_high: float = 0.28
    kl_coef: float = 0.0
    """Weight of the k2 penalty that holds the policy near the reference; 0: no reference is needed."""
    on_policy: bool = False
    """The batch was sampled by exactly these weights: the ratio is 1 by definition, not up to kernel noise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateStats:
    """Sums over one rank's trained tokens; the caller adds ranks and divides by `num_tokens`."""

    loss: float
    """Already divided by the global count: add, do not divide."""
    entropy: float | None
    """None for cross_entropy, which does not pay for it."""
    logprob_gap: float
    """Sum of |learner - behaviour| logprobs in nats."""
    mismatch_kl: float
    """Sum of the k3 estimates of KL(behaviour || learner)."""
    num_clipped: float
    kl: float | None
    """Sum of the k3 estimates of KL(policy || reference); None without a reference."""
    num_tokens: int
    grad_norm: float
    """Global, before clipping, the same on all ranks."""
    lr: float
