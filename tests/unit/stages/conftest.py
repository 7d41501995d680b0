"""Judged groups, prompts and a configuration of the RL stage, made by hand."""

from typing import Any

from rlreason.config.rewards import CombineConfig, RewardConfig
from rlreason.config.schema import RLConfig
from rlreason.rewards.runtime.combine import Judge
from rlreason.types import Group, PromptTask, Sample, Score, ScoreStatus, Task
from tests.batches import token_arrays

SUM = CombineConfig()
MATH = [RewardConfig(name="math", path="mine.py:f")]
AB = [RewardConfig(name="a", path="mine.py:a"), RewardConfig(name="b", path="mine.py:b")]


def sample(task_id: str, index: int, num_tokens: int = 2, **fields: Any) -> Sample:
    """Two tokens of prompt, then `num_tokens`: the first tells samples apart, the last ends the sequence."""
    number = 10 * int(task_id) + index
    tokens = fields.pop("tokens", (1, 1, number, *[5] * (num_tokens - 2), 2))
    mask = fields.pop("mask", (0, 0, *[1] * num_tokens))
    logprobs = (0.0, 0.0, *[-0.25] * (num_tokens - 1), -0.5)
    values: dict[str, Any] = {
        "policy_version": 3,
        "prompt": "p",
        "response": rf"\boxed{{{number}}}",
        "num_prompt_tokens": mask.count(0),
        "num_response_tokens": mask.count(1),
        "finish_reason": "stop",
        "arrays": token_arrays([(tokens, mask, logprobs)]),
    }
    return Sample(task_id=task_id, index=index, **{**values, **fields})


def tokens_of(sample: Sample) -> tuple[int, ...]:
    return tuple(sample.arrays.row(sample.row)[0].tolist())


def group(
    number: int,
    values: list[float],
    statuses: list[ScoreStatus] | None = None,
    *,
    num_tokens: list[int] | None = None,
    greedy: float | None = None,
    **fields: Any,
) -> Group:
    """One reward, `math`; `num_tokens` of each response, else 2."""
    found = statuses or ["ok" if value else "wrong" for value in values]
    lengths = num_tokens or [2] * len(values)
    return Judge(MATH).settle(
        Task(id=str(number), prompt="p", answer="7"),
        [sample(str(number), index, length, **fields) for index, length in enumerate(lengths)],
        [{"math": Score(value=value, status=status)} for value, status in zip(values, found, strict=True)],
        None if greedy is None else (sample(str(number), 0), {"math": Score(value=greedy, status="ok")}),
    )


def settled(groups: list[Group], rewards: list[RewardConfig], rule: CombineConfig = SUM) -> list[Group]:
    """The same samples and verdicts under other rewards."""
    judge = Judge(rewards, rule)
    return [
        judge.settle(
            group.task,
            [one.sample for one in group.judged],
            [one.scores for one in group.judged],
            (group.greedy.sample, group.greedy.scores) if group.greedy else None,
        )
        for group in groups
    ]


def two_rewards(number: int, a: list[float], b: list[float], status: ScoreStatus = "ok") -> Group:
    """A group with rewards a and b; `status` is that of the last b."""
    scores = [
        {
            "a": Score(value=one, status="ok"),
            "b": Score(value=two, status=status if index == len(a) - 1 else "ok"),
        }
        for index, (one, two) in enumerate(zip(a, b, strict=True))
    ]
    samples = [sample(str(number), index) for index in range(len(a))]
    return Judge(AB).settle(Task(id=str(number), prompt="p"), samples, scores)


def rl_config(**fields: Any) -> RLConfig:
    body = {
        "stage": "rl",
        "model": "m",
        "tasks": {"path": "x"},
        "steps": 5,
        "prompts_per_step": 4,
        "samples_per_prompt": 2,
        "learner": {"lr": 1e-4},
        "rewards": [{"name": "math", "path": "m:f"}],
    }
    return RLConfig.model_validate(body | fields)


def prompts(num: int) -> list[PromptTask]:
    return [PromptTask(task=Task(id=str(i), prompt="p"), text="p", tokens=(1, i)) for i in range(num)]
