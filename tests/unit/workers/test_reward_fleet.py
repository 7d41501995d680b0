"""What a sample is turned into for the reward workers."""

from rlreason.rewards.runtime.load import Attempt
from rlreason.types import Sample, Task
from rlreason.workers.reward import _with_ids
from rlreason.workers.reward_fleet import _attempt
from tests.batches import token_arrays


def test_token_ids_go_along_only_where_a_reward_asks_for_them() -> None:
    task = Task(id="t", prompt="p")
    sample = Sample(
        task_id="t",
        index=0,
        policy_version=0,
        prompt="p",
        response="7",
        num_prompt_tokens=2,
        num_response_tokens=2,
        finish_reason="length",
        row=1,
    )
    attempt = _attempt(task, sample)
    assert attempt == Attempt(response="7", task=task, num_tokens=2, truncated=True, row=1)
    arrays = token_arrays([((9, 9), (0, 1), (0.0, -1.0)), ((5, 6, 7, 2), (0, 0, 1, 1), (0.0, 0.0, -1.0, -1.0))])
    found = _with_ids(attempt, arrays)
    assert (found.prompt_ids, found.completion_ids) == ((5, 6), (7, 2)), "the end token is the policy's"
