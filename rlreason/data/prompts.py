"""Prompts: tasks encoded for a model, and the sets that training and evaluation draw from."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rlreason.config.data import TaskConfig
from rlreason.config.schema import RolloutConfig
from rlreason.data.chat import encode_prompt
from rlreason.data.rows import origin
from rlreason.data.tasks import load_tasks
from rlreason.types import EVALUATION, PromptTask, Task, UserError

Sets = dict[str, list[PromptTask]]
"""The prompts of each evaluation set."""


def task_sets(sets: Mapping[str, TaskConfig], rollout: RolloutConfig, tokenizer: Any) -> Sets:
    """UserError for a set whose tasks could be taken for those of an evaluation."""
    for name in sets:
        if name.startswith(EVALUATION):
            raise UserError(f"tasks.{name}: a name that begins with `{EVALUATION}` is for evaluation; choose another")
    return {name: prompt_tasks(load_tasks(data, name), data, rollout, tokenizer) for name, data in sets.items()}


def evaluation_sets(sets: Mapping[str, TaskConfig], rollout: RolloutConfig, tokenizer: Any) -> Sets:
    """With ids that no set of training has, which may be called the same."""
    return {
        name: [replace(one, task=replace(one.task, id=f"{EVALUATION}{one.task.id}")) for one in prompts]
        for name, prompts in task_sets(sets, rollout, tokenizer).items()
    }


def prompt_tasks(tasks: list[Task], data: TaskConfig, rollout: RolloutConfig, tokenizer: Any) -> list[PromptTask]:
    """Tasks with their encoded prompts; each leaves room for a whole response in the context."""
    kept = []
    for task in tasks:
        text, tokens = encode_prompt(tokenizer, task, data.system, chat=data.chat)
        if len(tokens) > rollout.context_tokens - rollout.response_tokens:
            if data.too_long == "drop":
                continue
            raise UserError(
                f"task {task.id}: a prompt of {len(tokens)} tokens and a response of {rollout.response_tokens} do "
                f"not fit the context of {rollout.context_tokens}; raise rollout.max_context_tokens, lower "
                "rollout.max_response_tokens, or set `too_long: drop`"
            )
        kept.append(PromptTask(task=task, text=text, tokens=tokens))
    if not kept:
        raise UserError(f"data `{origin(data)}`: every prompt is longer than the context")
    return kept
