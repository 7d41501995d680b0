"""Scores gold, corrupted and tricky responses, and says whether a reward tells gold from corrupted ones.

Runs the function as a run would, in a child with its deadline. Judges by the first rows only, as many as its time
allows, and does not know how good a reward is for training. What tricky responses earn is told and not judged.
"""

import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rlreason.config.rewards import SHIPPED, RewardConfig
from rlreason.rewards.dryrun.probes import (
    GARBAGE,
    TRICKS,
    Form,
    Probe,
    Row,
    corrupted,
    forms_for,
    tricky,
)
from rlreason.rewards.runtime.load import Attempt, Traits
from rlreason.rewards.runtime.reward_set import RewardSet
from rlreason.types import FAILED_STATUSES, Score, Task, UserError

MOSTLY = 0.9
FULL_VALUE = 1.0
CHARS_PER_TOKEN = 4
"""A guess, for rewards that read `num_tokens` or token ids, which are all 0: no tokenizer is loaded."""
_NOT_ABOUT_GOLD = ("knows:abstains", "knows:honest", "refusal:", "format:", "length:", "repetition:", "language:")
"""Shipped rewards that do not ask whether the gold was found."""
_NUM_FORM_ROWS = 5
_NUM_REPEATED = 10
_NUM_TRICKY_ROWS = 50
_NUM_SECOND_CHANCES = 3
"""Timeouts that are tried again: a busy machine is not the reward's fault."""
_FOR_CORRUPTED = 0.85
"""Fraction of the time after which corrupted answers leave the rest to tricky ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the reward said to one probe."""

    probe: Probe
    score: Score
    duration_s: float


@dataclass(slots=True, kw_only=True)
class DryRun:
    """All that was found out."""

    accepted: dict[str, str] = field(default_factory=dict)
    """Form: how many of the first golds scored in it, such as "5/5"."""
    reward: RewardConfig
    traits: Traits
    form: Form | None = None
    """The form that the gold answers were scored in; None where the rows have no gold."""
    verdicts: list[Verdict] = field(default_factory=list)
    num_rows: int = 0
    wants_bare_gold: bool = False
    """Golds fail as the data has them, and score where the task holds only what follows `####`."""
    changed: list[tuple[Verdict, Verdict]] = field(default_factory=list)
    """First and second verdict on golds, where they differ."""

    def of(self, *, gold: bool) -> list[Verdict]:
        """Verdicts on gold responses, or on those that are wrong."""
        return [v for v in self.verdicts if (v.probe.kind == "gold") == gold and v.probe.kind not in TRICKS]

    def on_tricks(self) -> list[Verdict]:
        return [verdict for verdict in self.verdicts if verdict.probe.kind in TRICKS]

    def broken(self) -> list[Verdict]:
        """Verdicts that are none, those on gold first. A response that is not gold may be too expensive to judge."""
        costs_zero = self.reward.action("timeout") == "zero"
        gold = [v for v in self.of(gold=True) if v.score.status in FAILED_STATUSES]
        others = [v for v in self.verdicts if v.probe.kind != "gold" and v.score.status in FAILED_STATUSES]
        return gold + [v for v in others if not (costs_zero and v.score.status == "timeout")]


class _OutOfTime(Exception):
    pass


class _Scorer:
    """Scores at least once, then until `deadline`; a call that has begun is left to its own deadline."""

    def __init__(self, rewards: RewardSet, deadline: float) -> None:
        self.rewards = rewards
        self.deadline = deadline
        self.golds: dict[tuple[str, str], Verdict] = {}
        """By task and response, so that the search for the form costs nothing twice."""
        self.num_second_chances = _NUM_SECOND_CHANCES
        self.has_worked = False

    def gold(self, response: str, task: Task, kind: str = "gold") -> Verdict:
        if (task.id, response) not in self.golds:
            self.golds[task.id, response] = self(Probe(kind=kind, response=response, task=task))
        return self.golds[task.id, response]

    def __call__(self, probe: Probe) -> Verdict:
        if self.golds and time.monotonic() > self.deadline:
            raise _OutOfTime
        num_tokens = len(probe.response) // CHARS_PER_TOKEN
        attempt = Attempt(
            response=probe.response,
            task=probe.task,
            num_tokens=num_tokens,
            truncated=probe.truncated,
            prompt_ids=(0,) * (len(str(probe.task.prompt)) // CHARS_PER_TOKEN),
            completion_ids=(0,) * num_tokens,
        )
        score, duration_s = self._timed(attempt)
        if score.status == "timeout" and self.has_worked and self.num_second_chances:
            self.num_second_chances -= 1
            score, duration_s = self._timed(attempt)
        self.has_worked |= score.status != "timeout"
        return Verdict(probe=probe, score=score, duration_s=duration_s)

    def _timed(self, attempt: Attempt) -> tuple[Score, float]:
        start = time.perf_counter()
        (scores,) = self.rewards.score_many([attempt])
        return next(iter(scores.values())), time.perf_counter() - start


def options_of(text: str) -> dict[str, Any]:
    """The keyword arguments that `--args` gives as JSON."""
    try:
        options = json.loads(text)
    except ValueError as error:
        raise UserError(f"--args is not JSON: {error}") from error
    if not isinstance(options, dict):
        raise UserError('--args must be a JSON object, such as {"ignore_case": true}')
    return options


def try_out(rewards: RewardSet, rows: Sequence[Row], seconds: float) -> DryRun:
    """Find the gold form that scores best, then score all rows in it, gold, corrupted and tricky.

    rewards: one reward, which applies to all rows. UserError where the first row has no gold.
    """
    start = time.monotonic()
    score = _Scorer(rewards, start + seconds / 2)
    found = _begun(rewards)
    found.accepted, form = _best_form(score, rows[:_NUM_FORM_ROWS], forms_for(rows))
    found.form, score.deadline = form, start + _FOR_CORRUPTED * seconds
    try:
        for index, row in enumerate(rows):
            gold = form.gold(row)
            if gold is None:
                continue
            found.verdicts.append(score.gold(gold, row.task))
            found.num_rows += 1
            if found.num_rows <= _NUM_REPEATED:
                first, again = found.verdicts[-1], score(found.verdicts[-1].probe)
                if (first.score.value, first.score.status) != (again.score.value, again.score.status):
                    found.changed.append((first, again))
            for wrong in corrupted(rows, index, form):
                found.verdicts.append(score(wrong))
    except _OutOfTime:
        pass
    score.deadline = start + seconds
    try:
        for index in range(min(_NUM_TRICKY_ROWS, len(rows))):
            for trick in tricky(rows, index, form):
                found.verdicts.append(score(trick))
    except _OutOfTime:
        pass
    found.wants_bare_gold = _wants_bare_gold(rewards, rows[0], found.verdicts[0].score)
    return found


def try_garbage(rewards: RewardSet, rows: Sequence[Row], seconds: float) -> DryRun:
    """What rows without a gold can show: whether the reward works at all."""
    score, found = _Scorer(rewards, time.monotonic() + seconds), _begun(rewards)
    try:
        for row in rows:
            found.verdicts.append(score.gold(GARBAGE, row.task, kind="garbage"))
            found.num_rows += 1
    except _OutOfTime:
        pass
    return found


def _begun(rewards: RewardSet) -> DryRun:
    (reward,) = rewards.rewards
    return DryRun(reward=reward, traits=rewards.traits()[reward.name])


def _best_form(score: _Scorer, rows: Sequence[Row], forms: Sequence[Form]) -> tuple[dict[str, str], Form]:
    """How many golds each form earns in full, and the first form with the highest mean."""
    accepted: dict[str, str] = {}
    means: dict[str, float] = {}
    for form in forms:
        golds = [(gold, row.task) for row in rows if (gold := form.gold(row)) is not None]
        try:
            values = [score.gold(gold, task).score.value for gold, task in golds]
        except _OutOfTime:
            break
        accepted[form.name] = f"{sum(value >= FULL_VALUE for value in values)}/{len(values)}"
        means[form.name] = sum(values) / len(values)
    return accepted, max(forms, key=lambda form: means.get(form.name, float("-inf")))


def _wants_bare_gold(rewards: RewardSet, row: Row, score: Score) -> bool:
    """Asked where the first gold failed and its answer holds the working too, as GSM8K's does."""
    bare = row.bare_answer
    if score.value >= FULL_VALUE or score.status in FAILED_STATUSES or row.answer is None or bare == row.answer:
        return False
    bare_task = replace(row.task, answer=bare)
    return _Scorer(rewards, 0.0).gold(row.answer, bare_task).score.value >= FULL_VALUE


def conclude(found: DryRun) -> tuple[int, str]:
    """Exit status and one line."""
    gold, wrong = found.of(gold=True), found.of(gold=False)
    if broken := found.broken():
        num_gold = sum(verdict.probe.kind == "gold" for verdict in broken)
        statuses = Counter(verdict.score.status for verdict in broken)
        return 1, (
            f"THE REWARD BREAKS: {num_gold} of {len(gold)} gold and {len(broken) - num_gold} of "
            f"{len(found.verdicts) - len(gold)} other responses have no verdict "
            f"({', '.join(f'{status} {count}' for status, count in statuses.items())}), the first is above"
        )
    if found.changed:
        first, again = found.changed[0]
        return 1, (
            f"NOT DETERMINISTIC: {first.probe.task.id} scored {first.score.value:g} ({first.score.status}), "
            f"then {again.score.value:g} ({again.score.status}) for the same response"
        )
    if found.form is None:
        return 0, f"IT WORKS: {len(wrong)} responses have a verdict; the rows have no gold to tell from other answers"
    num_full = _num_full(gold)
    if num_full < MOSTLY * len(gold):
        why = "the reward or the data is wrong, or it rewards something else than the answer"
        if found.wants_bare_gold:
            why = "it scores with the bare answer as gold: keep only what follows `####` in that column"
        elif found.traits.form == "TRL" and not isinstance(gold[0].probe.task.prompt, str):
            why += '; these prompts are chats, so its completions are too: the text is completion[0]["content"]'
        return 1, (
            f"GOLD DOES NOT SCORE: {num_full} of {len(gold)} gold answers reach 1.0 (mean {mean(gold):.2f}, corrupted "
            f"{mean(wrong):.2f}): {why}"
        )
    num_fooled = _num_full(wrong)
    if num_fooled > (1 - MOSTLY) * len(wrong) or mean(wrong) > 0.5:
        kinds = {kind: _num_full([v for v in wrong if v.probe.kind == kind]) for kind in kinds_of(wrong)}
        worst = max(kinds, key=lambda kind: kinds[kind])
        return 1, (
            f"WRONG ANSWERS SCORE: {num_fooled} of {len(wrong)} corrupted answers reach 1.0 "
            f"(mean {mean(wrong):.2f}), most of all `{worst}`"
        )
    return 0, f"OK: {num_full} of {len(gold)} gold and {num_fooled} of {len(wrong)} corrupted answers score 1.0"


def conclude_all(results: Sequence[tuple[str, str, DryRun]], sets: Sequence[str]) -> tuple[int, str]:
    """Exit status and one line for rewards of a stage: (reward, task set, dry run).

    None may break. A set with golds needs one that tells them from corrupted answers, unless none of its rewards is
    about them.
    """
    for reward, name, found in results:
        status, conclusion = conclude(found)
        if status and (found.broken() or found.changed):
            return 1, f"{reward} on {name}: {conclusion}"
    with_gold = [
        name for name in sets if any(n == name and found.form and reads_gold(found.reward) for _, n, found in results)
    ]
    for name in with_gold:
        those = [(reward, found) for reward, where, found in results if where == name and reads_gold(found.reward)]
        if those and all(conclude(found)[0] for _, found in those):
            told = "; ".join(f"{reward}: {conclude(found)[1]}" for reward, found in those)
            return 1, f"NO REWARD TELLS GOLD FROM CORRUPTED ANSWERS on {name}: {told}"
    told = f", and golds are told from corrupted answers on {', '.join(with_gold)}" if with_gold else ""
    return 0, f"OK: no reward breaks{told}"


def reads_gold(reward: RewardConfig) -> bool:
    """It asks whether the gold was found, as far as is known."""
    return not reward.path.startswith(tuple(SHIPPED + name for name in _NOT_ABOUT_GOLD))


def kinds_of(verdicts: Sequence[Verdict]) -> list[str]:
    """In the order of their first appearance."""
    return list(dict.fromkeys(verdict.probe.kind for verdict in verdicts))


def mean(verdicts: Sequence[Verdict]) -> float:
    """Of the values; 0.0 where there are none."""
    return sum(verdict.score.value for verdict in verdicts) / len(verdicts) if verdicts else 0.0


def _num_full(verdicts: Sequence[Verdict]) -> int:
    return sum(verdict.score.value >= FULL_VALUE for verdict in verdicts)
