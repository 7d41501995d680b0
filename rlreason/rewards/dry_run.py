"""`rlreason check-reward`: scores gold and corrupted responses, and says whether the reward tells them apart.

Runs the function as a run would, in a child with its deadline. Loads no Ray, torch or `datasets`. Judges by the first
rows only, as many as its time allows, and does not know how good a reward is for training.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rlreason.config.rewards import RewardConfig
from rlreason.rewards.probes import Columns, Form, Probe, Row, corrupted, forms_for, read_rows
from rlreason.rewards.reward_set import RewardSet
from rlreason.types import FAILED_STATUSES, Score, Task, UserError

MOSTLY = 0.9
FULL_VALUE = 1.0
CHARS_PER_TOKEN = 4
"""A guess, for rewards that read `num_tokens`: no tokenizer is loaded."""
_NUM_FORM_ROWS = 5
_NUM_REPEATED = 10


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
    form: Form
    """The form that the gold answers were scored in."""
    verdicts: list[Verdict] = field(default_factory=list)
    num_rows: int = 0
    wants_bare_gold: bool = False
    """Golds fail as the data has them, and score where the task holds only what follows `####`."""
    changed: list[tuple[Verdict, Verdict]] = field(default_factory=list)
    """First and second verdict on golds, where they differ."""

    def of(self, *, gold: bool) -> list[Verdict]:
        return [verdict for verdict in self.verdicts if (verdict.probe.kind == "gold") == gold]


class _OutOfTime(Exception):
    pass


class _Scorer:
    """Scores at least once, then until `deadline`; a call that has begun is left to its own deadline."""

    def __init__(self, rewards: RewardSet, deadline: float) -> None:
        self.rewards = rewards
        self.deadline = deadline
        self.golds: dict[tuple[str, str], Verdict] = {}
        """By task and response, so that the search for the form costs nothing twice."""

    def gold(self, response: str, task: Task) -> Verdict:
        if (task.id, response) not in self.golds:
            self.golds[task.id, response] = self(Probe(kind="gold", response=response, task=task))
        return self.golds[task.id, response]

    def __call__(self, probe: Probe) -> Verdict:
        if self.golds and time.monotonic() > self.deadline:
            raise _OutOfTime
        num_tokens = len(probe.response) // CHARS_PER_TOKEN
        start = time.perf_counter()
        scores = self.rewards.score(probe.response, probe.task, num_tokens=num_tokens, truncated=probe.truncated)
        return Verdict(probe=probe, score=next(iter(scores.values())), duration_s=time.perf_counter() - start)


def check_reward(
    function: str,
    data: Path,
    *,
    columns: Columns,
    limit: int,
    seconds: float,
    timeout_s: float,
    args: str,
) -> int:
    """Print the report of a dry run. 0: gold scores and corrupted does not; 1: not so. UserError for bad input.

    limit: rows to read; seconds: of scoring; timeout_s: of one response; args: the function's options as a JSON object.
    """
    rows = read_rows(data, columns, limit)
    options = _options(args)
    name = function.rpartition(":")[2]
    rewards = RewardSet([RewardConfig(name=name, path=function, timeout_s=timeout_s, args=options)])
    try:
        rewards.check()
        found = try_out(rewards, rows, seconds)
    finally:
        rewards.close()
    from rlreason.rewards.dry_run_report import show

    status, conclusion = conclude(found)
    show(found, f"{function} on {data}", len(rows), conclusion)
    return status


def _options(text: str) -> dict[str, Any]:
    try:
        options = json.loads(text)
    except ValueError as error:
        raise UserError(f"--args is not JSON: {error}") from error
    if not isinstance(options, dict):
        raise UserError('--args must be a JSON object, such as {"ignore_case": true}')
    return options


def try_out(rewards: RewardSet, rows: Sequence[Row], seconds: float) -> DryRun:
    """Find the gold form that scores best, then score all rows in it, gold and corrupted."""
    start = time.monotonic()
    score = _Scorer(rewards, start + seconds / 2)
    accepted, form = _best_form(score, rows[:_NUM_FORM_ROWS], forms_for(rows))
    score.deadline = start + seconds
    found = DryRun(accepted=accepted, form=form)
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
    found.wants_bare_gold = _wants_bare_gold(rewards, rows[0], found.verdicts[0].score)
    return found


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
    if found.changed:
        first, again = found.changed[0]
        return 1, (
            f"NOT DETERMINISTIC: {first.probe.task.id} scored {first.score.value:g} ({first.score.status}), "
            f"then {again.score.value:g} ({again.score.status}) for the same response"
        )
    num_broken = sum(verdict.score.status in FAILED_STATUSES for verdict in gold)
    if num_broken > (1 - MOSTLY) * len(gold):
        return (
            1,
            f"THE REWARD BREAKS: {num_broken} of {len(gold)} gold answers have no verdict, the first is above",
        )
    num_full = _num_full(gold)
    if num_full < MOSTLY * len(gold):
        why = "the reward or the data is wrong, or it rewards something else than the answer"
        if found.wants_bare_gold:
            why = "it scores with the bare answer as gold: keep only what follows `####` in that column"
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


def kinds_of(verdicts: Sequence[Verdict]) -> list[str]:
    """In the order of their first appearance."""
    return list(dict.fromkeys(verdict.probe.kind for verdict in verdicts))


def mean(verdicts: Sequence[Verdict]) -> float:
    """Of the values; 0.0 where there are none."""
    return sum(verdict.score.value for verdict in verdicts) / len(verdicts) if verdicts else 0.0


def _num_full(verdicts: Sequence[Verdict]) -> int:
    return sum(verdict.score.value >= FULL_VALUE for verdict in verdicts)
