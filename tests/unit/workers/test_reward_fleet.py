"""What a sample is turned into for the reward workers."""

from rlreason.rewards.runtime.load import Attempt
from rlreason.types import Sample, Task
from rlreason.workers.reward_fleet import _attempt


def test_token_ids_go_along_only_where_a_reward_asks_for_them() -> None:
    task = Task(id="t", prompt="p")
    sample = Sample(
        task_id="t",
        index=0,
        policy_version=0,
        tokens=(5, 6, 7, 2),
        mask=(0, 0, 1, 1),
        logprobs=(0.0, 0.0, -1.0, -1.0),
        prompt="p",
        response="7",
        finish_reason="length",
    )
    without = Attempt(response="7", task=task, num_tokens=2, truncated=True)
    assert _attempt(task, sample, with_ids=False) == without
    found = _attempt(task, sample, with_ids=True)
    assert (found.prompt_ids, found.completion_ids) == ((5, 6), (7, 2)), "the end token is the policy's"
