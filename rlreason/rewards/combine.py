"""Runs the rewards that a configuration names on one response, and adds their values up.

Users' functions run in a child with a deadline, so a hang or a crash is a typed verdict; `rlreason.rewards.*`
functions bound themselves and run here. Thread-safe; functions run one after the other.
Does not normalise, clip or decide what a failed check costs: the configuration does, per status.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rlreason.rewards.killable import Crashed, KillableFunction, Raised, Returned, TimedOut
from rlreason.rewards.load import ScoreFunction, load_reward, to_score
from rlreason.types import Score, Task, UserError

_OWN_PREFIX = "rlreason.rewards."
_LOADER = "rlreason.rewards.load:load_wire_reward"


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardSpec:
    """One entry of `rewards:` in a configuration.

    Example: RewardSpec(name="mine", path="reward_fns/mine.py:reward", weight=1.0, timeout_s=5.0)
    """

    name: str
    """Unique in the set; names the metric `reward/<name>/mean`."""
    path: str
    """`FILE.py:FUNCTION` or `package.module:FUNCTION`."""
    weight: float
    timeout_s: float
    """Seconds for one response; loading the file is not part of it."""

    def __post_init__(self) -> None:
        if self.timeout_s <= 0:
            raise UserError(f"reward {self.name!r}: timeout_s is {self.timeout_s}, it must be above 0")


class RewardSet:
    """The rewards of one run. Nothing is loaded before `check` or the first `score`."""

    def __init__(self, specs: Sequence[RewardSpec], *, load_timeout_s: float = 60.0) -> None:
        names = [spec.name for spec in specs]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise UserError(f"two rewards are called {twice[0]!r}: give each its own name")
        self.specs = tuple(specs)
        self.weights = {spec.name: spec.weight for spec in specs}
        self._own: dict[str, ScoreFunction] = {}
        self._children = {
            spec.name: KillableFunction(
                _LOADER,
                factory_args=(spec.path, spec.timeout_s),
                timeout_s=spec.timeout_s,
                start_timeout_s=load_timeout_s,
            )
            for spec in specs
            if not spec.path.startswith(_OWN_PREFIX)
        }

    def check(self) -> None:
        """Load every function once. UserError, one line, for the first that does not load."""
        for spec in self.specs:
            if spec.name not in self._children:
                self._own_function(spec)
                continue
            failure = self._children[spec.name].start()
            if failure is not None:
                raise UserError(f"reward {spec.name!r}: {_load_failure(failure, spec.path)}")

    def score(self, response: str, task: Task) -> dict[str, Score]:
        """One Score per reward. Never raises for what a reward does."""
        return {spec.name: self._score_one(spec, response, task) for spec in self.specs}

    def close(self) -> None:
        """Ends the children; a later score starts them anew."""
        for child in self._children.values():
            child.close()

    def _score_one(self, spec: RewardSpec, response: str, task: Task) -> Score:
        if spec.name not in self._children:
            return self._own_function(spec)(response, task)
        match self._children[spec.name].call(response, task):
            case Returned(value=wire):
                return _from_wire(wire)
            case TimedOut(at_load=False, seconds=seconds):
                return Score(value=0.0, status="timeout", detail=f"no verdict within {seconds:g} s")
            case Raised(at_load=False, traceback=text):
                return _broken(text)
            case Crashed(at_load=False, detail=text):
                return _broken(f"the reward's process died: {text}")
            case failure:
                return _broken(_load_failure(failure, spec.path))

    def _own_function(self, spec: RewardSpec) -> ScoreFunction:
        if spec.name not in self._own:
            self._own[spec.name] = load_reward(spec.path, timeout_s=spec.timeout_s)
        return self._own[spec.name]


def combine(scores: Mapping[str, Score], weights: Mapping[str, float]) -> float:
    """Weighted sum of the values. KeyError if a score has no weight."""
    return sum(weights[name] * score.value for name, score in scores.items())


def _load_failure(failure: TimedOut | Crashed | Raised, path: str) -> str:
    match failure:
        case TimedOut(seconds=seconds):
            return f"{path} did not finish loading within {seconds:g} s: its top level must not wait or compute"
        case Crashed(detail=detail):
            return f"{path} ended its process while it was loaded ({detail})"
        case Raised(error="UserError", message=message):
            return message
    return f"{path} could not be loaded: {failure.error}: {' '.join(failure.message.split())}"


def _from_wire(wire: Any) -> Score:
    """A child may have been made to answer anything: check it as a user's value is checked."""
    if not (isinstance(wire, dict) and wire.keys() == {"value", "status", "detail"}):
        return _broken("the reward's process gave no score")
    return to_score(Score(value=wire["value"], status=wire["status"], detail=str(wire["detail"])))


def _broken(detail: str) -> Score:
    return Score(value=0.0, status="verifier_error", detail=detail)
