"""`rlreason check-reward`: tries a reward, or all rewards of a stage, on the rows that a run would read.

Rows and golds come from the loader of a run. Loads no Ray or torch, and starts no model: a reward model is not tried.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlreason.config.data import TaskConfig
from rlreason.config.load import load_stage
from rlreason.config.rewards import RewardConfig
from rlreason.config.schema import RLConfig, StageConfig
from rlreason.data.rows import load_rows
from rlreason.data.tasks import has_column, load_tasks, tasks_of
from rlreason.rewards.dryrun.dry_run import DryRun, conclude, conclude_all, options_of, try_garbage, try_out
from rlreason.rewards.dryrun.probes import ANSWER_COLUMNS, PROMPT_COLUMNS, RESPONSE_COLUMNS, Columns, Row, has_gold
from rlreason.rewards.dryrun.report import show, summary
from rlreason.rewards.runtime.reward_set import RewardSet
from rlreason.types import Task, UserError

SOURCE = "tasks"
"""What a run calls a set without a name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What both forms of the command share."""

    columns: Columns
    limit: int
    """Rows that are read, of all sets together."""
    seconds: float
    """Scoring, of all rewards together."""
    timeout_s: float | None
    """Of one response; None: as configured, else the reward's own."""


def check_reward(function: str, data: str | Path, *, options: Options, args: str = "{}") -> int:
    """Print the report of a dry run. 0: gold scores and corrupted does not; 1: not so. UserError for bad input.

    args: the function's keyword arguments as a JSON object.
    """
    name = function.rpartition(":")[2]
    reward = RewardConfig(name=name, path=function, timeout_s=options.timeout_s, args=options_of(args))
    rows = read_rows(data, options.columns, options.limit)
    found = _try(reward, rows, options.seconds, needs_gold=True)
    status, conclusion = conclude(found)
    show(found, f"{function} on {data}", len(rows), conclusion)
    return status


def check_stage(path: Path, data: str | Path | None = None, *, options: Options) -> int:
    """`check_reward` for each reward of the stage in `path`, on its task sets or with their columns on `data`.

    0: no reward breaks, and on each set one at least tells gold from corrupted; 1: not so. UserError for bad input.
    """
    config = load_stage(path)
    if not isinstance(config, StageConfig) or not config.rewards:
        raise UserError(f"{path}: the stage has no `rewards` to try")
    sets = _with_columns(_sets(config, path, data), options.columns)
    rows = {name: _rows_of(tasks, options.columns.response) for name, tasks in _load(sets, options.limit).items()}
    for source in dict.fromkeys(row.task.source for those in rows.values() for row in those):
        if not any(reward.applies_to(source) for reward in config.rewards):
            raise UserError(f"{path}: no reward is for the tasks of source `{source}`; add it to the `sources` of one")
    functions = [reward for reward in config.rewards if reward.model is None]
    pairs = [(reward, name, found) for reward in functions for name, found in _applicable(reward, rows)]
    results: list[tuple[str, str, DryRun]] = []
    for reward, name, found in pairs:
        if options.timeout_s is not None:
            reward = reward.model_copy(update={"timeout_s": options.timeout_s})
        result = _try(reward, found, options.seconds / len(pairs), needs_gold=False)
        results.append((reward.name, name, result))
        title = f"{reward.name} ({reward.path}) on {name} ({sets[name].path or sets[name].generate})"
        show(result, title, len(found), conclude(result)[1])
        print()
    idle = {reward.name: "is for no source of these tasks" for reward in functions if not _applicable(reward, rows)}
    models = {reward.name: "is a reward model, which is not tried here" for reward in config.rewards if reward.model}
    status, conclusion = conclude_all(results, list(rows))
    summary(results, idle | models, conclusion)
    return status


def read_rows(data: str | Path, columns: Columns, limit: int) -> list[Row]:
    """The first `limit` rows as a run reads them. Columns that are not named are found by their usual names."""
    config = TaskConfig(path=str(data), limit=limit)
    rows = load_rows(config)
    first: Mapping[str, Any] = rows[0]
    named = _named(columns, first, f"data `{data}`")
    config = config.model_copy(update={"prompt_column": named.prompt, "answer_column": named.answer})
    return _rows_of(tasks_of(rows, config, SOURCE), named.response)


def _named(columns: Columns, row: Mapping[str, Any], where: str) -> Columns:
    """With the names that the user left open. UserError for a column that the first row lacks."""
    known = ", ".join(map(str, row))
    for name in (columns.prompt, columns.answer, columns.response):
        if name is not None and not has_column(row, name):
            raise UserError(f"{where}: no column `{name}`; its columns are {known}")
    prompt = columns.prompt or next((name for name in PROMPT_COLUMNS if name in row), None)
    answer = columns.answer or next((name for name in ANSWER_COLUMNS if has_column(row, name)), None)
    response = columns.response or next((name for name in RESPONSE_COLUMNS if name in row), None)
    if answer is None and response == "solution" and not row.get("tests") and columns.response is None:
        answer = response  # TRL's name for the gold
    if prompt is None:
        raise UserError(f"{where}: which column is the prompt? Its columns are {known}; use --prompt-column")
    if answer is None and response is None:
        raise UserError(f"{where}: no gold: its columns are {known}; use --answer-column or --response-column")
    return Columns(prompt=prompt, answer=answer, response=response)


def _sets(config: StageConfig, path: Path, data: str | Path | None) -> dict[str, TaskConfig]:
    """The stage's task sets, of training and of evaluation."""
    sets = dict(config.tasks) if isinstance(config, RLConfig) else {}
    sets |= {f"eval/{name}": tasks for name, tasks in (config.eval.tasks if config.eval else {}).items()}
    if not sets:
        raise UserError(f"{path}: the stage has no `tasks` to try its rewards on")
    if data is None:
        return sets
    name, first = next(iter(sets.items()))
    elsewhere: dict[str, Any] = {"path": str(data), "generate": None, "args": {}, "name": None, "split": "train"}
    return {name: first.model_copy(update=elsewhere)}


def _with_columns(sets: Mapping[str, TaskConfig], columns: Columns) -> dict[str, TaskConfig]:
    """Columns that the command line names hold for every set."""
    given = {"prompt_column": columns.prompt, "answer_column": columns.answer}
    update = {key: value for key, value in given.items() if value is not None}
    return {name: tasks.model_copy(update=update) for name, tasks in sets.items()}


def _load(sets: Mapping[str, TaskConfig], limit: int) -> dict[str, list[Task]]:
    share = max(1, limit // len(sets))
    return {
        name: load_tasks(
            tasks.model_copy(update={"limit": min(share, tasks.limit or share)}), name.removeprefix("eval/")
        )
        for name, tasks in sets.items()
    }


def _rows_of(tasks: Sequence[Task], response: str | None) -> list[Row]:
    """`response`: the column of good responses or programs; None: one of the usual names."""
    names = RESPONSE_COLUMNS if response is None else (response,)
    found = [next((task.columns[name] for name in names if name in task.columns), None) for task in tasks]
    return [
        Row(task=task, solution=solution if isinstance(solution, str) else None)
        for task, solution in zip(tasks, found, strict=True)
    ]


def _applicable(reward: RewardConfig, rows: Mapping[str, list[Row]]) -> list[tuple[str, list[Row]]]:
    """The sets that the reward is for, with their rows."""
    found = {name: [row for row in those if reward.applies_to(row.task.source)] for name, those in rows.items()}
    return [(name, those) for name, those in found.items() if those]


def _try(reward: RewardConfig, rows: Sequence[Row], seconds: float, *, needs_gold: bool) -> DryRun:
    rewards = RewardSet([reward])
    try:
        rewards.check([row.task for row in rows])
        return (try_out if needs_gold or has_gold(rows) else try_garbage)(rewards, rows, seconds)
    finally:
        rewards.close()
