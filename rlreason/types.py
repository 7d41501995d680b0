"""What moves between workers, and the two errors that a user sees. No torch, no Ray, no I/O.

`tokens`, `mask` and `logprobs` are flat and aligned: position t of each speaks about token t. There is no
prompt/response split in training data; the mask says which tokens the policy wrote.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

if TYPE_CHECKING:
    import numpy as np

Message = Mapping[str, str]
"""One chat turn: {"role": "system" | "user" | "assistant", "content": text}."""

ScoreStatus = Literal["ok", "wrong", "unparseable", "timeout", "verifier_error", "sandbox_error"]
"""`ok` and `wrong`: the checker worked. The others: it did not, and `Score.detail` says why."""

FAILED_STATUSES: frozenset[str] = frozenset({"timeout", "verifier_error", "sandbox_error"})
"""Statuses that are no judgement of the answer. What each costs, and whether it counts in `reward/error_rate`, is the
configuration's `on_status`."""


class UserError(ValueError):
    """The user's input is wrong. One line: what, where, how to mend it. Exit status 2."""


class UserErrors(UserError):
    """Several mistakes, told together so that they can be mended together."""

    def __init__(self, errors: Iterable[UserError]) -> None:
        self.lines = [line for error in errors for line in lines_of(error)]
        """One for each mistake."""
        super().__init__("; ".join(self.lines))


def lines_of(error: UserError) -> list[str]:
    """What a user reads, one line for each mistake."""
    return error.lines if isinstance(error, UserErrors) else [str(error)]


def raise_all(errors: Sequence[UserError]) -> None:
    """Raises the only one as it is, several as one; nothing where there is none."""
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise UserErrors(errors)


class RunError(RuntimeError):
    """The run failed for a reason outside the user's input (disk full, worker lost). Exit status 1."""


class NotFinite(RunError):
    """A loss, gradient, weight or logprob of a learner is NaN or infinite. What the learner holds must not be saved."""

    def __init__(self, message: str, batch: tuple[str, ...] = ()) -> None:
        """`batch`: the origins of all sequences that may be to blame."""
        super().__init__(message)
        self.batch = batch


class Lost(RunError):
    """A process that the run needs has ended."""


class Stuck(Lost):
    """Workers did not answer in time."""

    def __init__(self, message: str, processes: tuple[dict[str, Any], ...] = ()) -> None:
        """`processes`: what each process of theirs was doing, as JSON values."""
        super().__init__(message)
        self.processes = processes


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


EVALUATION = "eval/"
"""What the ids of evaluation tasks begin with, since a set of training may have the same name."""


def read_json(text: str) -> Any:
    """As `json.loads`, with integers of any length, which Python reads up to 4,300 digits."""
    return json.loads(text, parse_int=lambda digits: int(digits if len(digits) < 4300 else Decimal(digits)))


def read_tests(value: Any, where: str) -> tuple[Mapping[str, Any], ...]:
    """`Task.tests` of a row's `tests` column: a list, JSON text of one as some hub data sets keep it, or nothing.

    UserError for anything else; `where` names the row.
    """
    try:
        found = read_json(value) if isinstance(value, str) and value.strip() else value
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: `tests` is text that is no JSON: {error}") from None
    if found is None or found == "":
        return ()
    if not isinstance(found, list | tuple) or not all(isinstance(test, Mapping) for test in found):
        raise UserError(f'{where}: `tests` is not a list of tests such as {{"type": "stdio", "input": ..., ...}}')
    return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenArrays:
    """The tokens of several samples, one after another, each its prompt and then its response: 9 bytes a token.

    Stays in the object store of the node that wrote it. Learner ranks fetch it, and rewards that read token ids; the
    driver holds a reference.

    Example: prompt ids (5, 6), response ids (7, 2) give tokens [5, 6, 7, 2], mask [0, 0, 1, 1], starts [0, 4].
    """

    tokens: "np.ndarray[Any, Any]"
    """[T] int32, end-of-sequence tokens included."""
    mask: "np.ndarray[Any, Any]"
    """[T] bool: the policy wrote the token."""
    logprobs: "np.ndarray[Any, Any]"
    """[T] float32, nats, under the distribution that was sampled from (temperature applied); 0.0 where mask is 0."""
    starts: "np.ndarray[Any, Any]"
    """[S + 1] int64: where each sample begins, and the end of the last."""

    def __post_init__(self) -> None:
        lengths = {len(self.tokens), len(self.mask), len(self.logprobs), int(self.starts[-1])}
        assert len(lengths) == 1, f"tokens, mask, logprobs and starts differ in length: {sorted(lengths)}"

    def row(self, number: int) -> "tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]":
        """Tokens, mask and logprobs of one sample: views."""
        part = slice(int(self.starts[number]), int(self.starts[number + 1]))
        return self.tokens[part], self.mask[part], self.logprobs[part]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One response of the policy to one task: its text and numbers, and where its tokens are."""

    task_id: str
    index: int
    """Position within the task's group, from 0."""
    policy_version: int
    """Version of the weights at the request's start."""
    prompt: str
    """The prompt as the model saw it, chat template applied."""
    response: str
    """Decoded response without its end-of-sequence token."""
    num_prompt_tokens: int
    num_response_tokens: int
    """End-of-sequence token included."""
    finish_reason: Literal["stop", "length"]
    """`length`: cut off at the token limit."""
    arrays: Any = field(default=None, repr=False, compare=False)
    """The TokenArrays that hold it, or a reference to them in the object store."""
    row: int = field(default=0, compare=False)
    """Its number there."""

    @property
    def num_tokens(self) -> int:
        return self.num_prompt_tokens + self.num_response_tokens

    @property
    def origin(self) -> str:
        """How messages name it."""
        return f"{self.task_id} sample {self.index}"


@dataclass(frozen=True, slots=True)
class Score:
    """A verdict on one response.

    Example: Score(1.0), or Score(value=1.0, status="ok", detail="equal as rationals")
    """

    value: float
    """0.0 to 1.0 for verifiers; any finite number for shaped rewards."""
    status: ScoreStatus = None  # type: ignore[assignment]
    """Left out: `ok` if the value is above 0, else `wrong`, as for a plain number."""
    detail: str = ""
    """Why; for a broken checker the traceback."""

    def __post_init__(self) -> None:
        if self.status is None:
            object.__setattr__(self, "status", "ok" if self.value > 0 else "wrong")


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptTask:
    """A task with its prompt as the model sees it."""

    task: Task
    text: str
    """Chat template applied."""
    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A sample and what its verdicts come to, settled once, where they arrive (`rewards.runtime.combine.Judge`)."""

    sample: Sample
    scores: Mapping[str, Score]
    """Verdicts by reward, in the order of the rewards; only of those that apply to the task."""
    reward: float | None
    """The combined reward; None where a check did not work."""
    left_out: str = ""
    """Why the sample is not trained on; "" where it is."""
    values: Mapping[str, float] = field(default_factory=dict)
    """What each reward counts with. A check that did not work is absent, unless the configuration makes it a zero."""
    broken: tuple[str, ...] = ()
    """Rewards whose checker is to blame for the missing verdict."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """All samples of one task, judged."""

    task: Task
    judged: tuple[Judged, ...]
    greedy: Judged | None = None
    """The greedy response to the same prompt, where the advantage compares with it."""

    @property
    def samples(self) -> tuple[Sample, ...]:
        return tuple(one.sample for one in self.judged)

    @property
    def kept(self) -> tuple[Judged, ...]:
        """The samples that are trained on."""
        return tuple(one for one in self.judged if not one.left_out)


T = TypeVar("T")
Column: TypeAlias = "Sequence[T] | np.ndarray[Any, Any]"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSequence:
    """One sequence as a learner sees it, for any stage. A column that the loss does not need is empty. Any column may
    be an array.

    Example: TrainSequence(tokens=(5, 6, 7), mask=(0, 1, 1)) for SFT.
    """

    tokens: "Column[int]"
    """[T]"""
    mask: "Column[int]"
    """[T] 1 where the token is trained on. mask[0] has no effect: nothing predicts the first token."""
    logprobs: "Column[float]" = ()
    """[T] of the behaviour policy, in nats, as the rollout engine reported them."""
    old_logprobs: "Column[float]" = ()
    """[T] the ratio's denominator; empty where the sequence was sampled by exactly the weights that are updated: the
    ratio is then 1 by definition, not up to kernel noise."""
    reference_logprobs: "Column[float]" = ()
    """[T] of the reference policy."""
    advantages: "Column[float]" = ()
    """[T]"""
    weights: "Column[float]" = ()
    """[T] off-policy corrections; empty: 1 throughout."""
    values: "Column[float]" = ()
    """[T] the critic's before the batch's updates: of the text before each token."""
    returns: "Column[float]" = ()
    """[T] what the critic is to learn."""
    group: int = -1
    """Number of the preference row, whose answers stay in one micro-batch; -1: of none."""
    place: int = 0
    """In the row's ranking, from 1, the best; ties share one."""
    margin: float = 0.0
    """By how much the score of a better answer is to exceed that of a worse one."""
    origin: str = field(default="", compare=False)
    """Where it comes from, for messages: a data set and row, or a task and sample."""

    def __post_init__(self) -> None:
        assert len(self.tokens) == len(self.mask), "tokens and mask differ in length"
        columns = (
            self.logprobs, self.old_logprobs, self.reference_logprobs, self.advantages, self.weights, self.values,
            self.returns,
        )  # fmt: skip
        assert all(len(column) in (0, len(self.tokens)) for column in columns), "a column differs from tokens in length"

    @property
    def num_trained_tokens(self) -> int:
        import numpy as np

        return int(np.count_nonzero(np.asarray(self.mask)[1:]))


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSize:
    """Of a whole batch, all micro-batches and ranks, by the final mask: what losses divide by."""

    num_tokens: int
    num_sequences: int
    """Those with a trained token."""
    num_groups: int = 0
    """Preference rows."""

    @classmethod
    def of_counts(cls, counts: Iterable[int]) -> "BatchSize":
        """counts: trained tokens of each sequence."""
        trained = [count for count in counts if count]
        return cls(num_tokens=sum(trained), num_sequences=len(trained))

    @classmethod
    def of(cls, sequences: Iterable[TrainSequence]) -> "BatchSize":
        trained = [(sequence, count) for sequence in sequences if (count := sequence.num_trained_tokens)]
        groups = {sequence.group for sequence, _ in trained} - {-1}
        return cls(num_tokens=sum(count for _, count in trained), num_sequences=len(trained), num_groups=len(groups))


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossEntropyLoss:
    """Next-token prediction: minus the mean logprob, in nats a token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyLoss:
    """A policy-gradient loss and its constants.

    Example: PolicyLoss(name="ppo_clip", constants={"clip_low": 0.2, "clip_high": 0.28})
    """

    name: str
    """A function of algorithms/losses.py, or `FILE.py:FUNCTION`."""
    constants: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments of the function."""
    aggregation: Literal["token_mean", "sequence_mean", "sequence_sum"] = "token_mean"
    divisor: float = 1.0
    """Of `sequence_sum`: tokens."""
    temperature: float = 1.0
    """Of sampling."""
    entropy_coef: float = 0.0
    kl: Literal["k2", "k3"] | None = None
    """Penalty in the loss, on sequences with `reference_logprobs`."""
    kl_coef: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueLoss:
    """Squared error of the critic's values, token mean."""

    clip: float | None
    """Farthest that a value moves from `TrainSequence.values`; None: any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreferenceLoss:
    """On ranked answers: of a reward model, or with `beta` DPO's, on sequences with `reference_logprobs`."""

    name: Literal["bradley_terry", "plackett_luce"] = "bradley_terry"
    label_smoothing: float = 0.0
    centring: float = 0.0
    """Coefficient of a pull of the scores towards 0."""
    beta: float | None = None
    """An answer's score is so many times its log ratio to the reference; None: what the model's head says."""


Loss = CrossEntropyLoss | PolicyLoss | ValueLoss | PreferenceLoss


Head = Literal["language", "value", "score"]
"""What a learner's model ends in: next-token logits, or one number a position, for a critic or a reward model."""

Scored = Literal["policy", "reference", "value"]
"""Logprobs by the weights that are trained or by the reference policy, in nats; or what the head says: values of a
critic, scores of a reward model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenCredit:
    """An advantage that differs from token to token, and its constants."""

    name: Literal["gae", "reinforce_pp"]
    gamma: float
    lam: float = 1.0
    """Of `gae`."""
    kl_coef: float = 0.0
    """Weight of the k1 estimate of KL to the reference, which each token's reward is less by; 0: none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """Number, mean and summed squared deviation of numbers; those of parts add up."""

    count: int
    mean: float
    squares: float
    """Sum of squared deviations from the mean."""

    def __add__(self, other: "Moments") -> "Moments":
        """Chan et al. 1983: exact but for rounding; of equal numbers the deviation stays exactly 0."""
        count = self.count + other.count
        if not self.count or not other.count:
            return self if self.count else other
        apart = other.mean - self.mean
        squares = self.squares + other.squares + apart**2 * self.count * other.count / count
        return Moments(count=count, mean=self.mean + apart * other.count / count, squares=squares)

    @property
    def variance(self) -> float:
        return self.squares / self.count if self.count else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateStats:
    """One rank's part of an update; the caller adds ranks."""

    loss: float
    """Already divided by the whole batch's count: add, do not divide."""
    sums: Mapping[str, float]
    """Sums over trained tokens by the metric's key: add, then divide by `num_tokens`."""
    num_tokens: int
    grad_norm: float
    """Global, before clipping, the same on all ranks. Not finite where a gradient is not."""
    lr: float
    largest_weight: float
    """Largest absolute value of this rank's trained weights after the step. Not finite where one of them is not."""
    suspects: tuple[str, ...] = ()
    """Origins of the sequences in this rank's micro-batches whose loss is not finite."""
