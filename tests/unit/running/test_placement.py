"""What a file leaves out: contexts follow the model, cores the machine."""

from typing import Any

import pytest

from rlreason.config.schema import STAGES, AnyStage
from rlreason.running.placement import placed, within_model, worker_groups
from rlreason.types import UserError
from rlreason.workers.cluster import cores, require_fit

REWARDS = [{"name": "a", "path": "m:f"}]
COMMON: dict[str, Any] = {"model": "m", "steps": 1, "rewards": REWARDS}
PREFERENCES = {"data": {"path": "x"}, "rows_per_step": 1, "learner": {"lr": 1.0}}
BODIES: dict[str, dict[str, Any]] = {
    "rl": COMMON | {"tasks": {"path": "x"}},
    "sft": COMMON | {"data": {"path": "x"}, "tokens_per_step": 9, "learner": {"lr": 1.0}},
    "dpo": COMMON | PREFERENCES,
    "reward_model": COMMON | PREFERENCES | {"rewards": []},
    "evaluate": {"model": "m", "rewards": REWARDS, "eval": {"tasks": {"path": "x"}}},
}


def config(stage: str, **given: Any) -> Any:
    return STAGES[stage].model_validate({"stage": stage, **BODIES[stage], **given})


PPO = {"algorithm": {"preset": "ppo"}}
MODELS = {"rewards": [{"name": "a", "path": "m:f"}, {"name": "b", "model": "m"}, {"name": "c", "model": "n"}]}


MANY = {"rollout": {"workers": 3}, "learner": {"workers": 2}}


@pytest.mark.parametrize("num_cpus", [1, 2, 4, 64])
@pytest.mark.parametrize(
    "given", [{}, PPO, MODELS, PPO | MODELS, {"rollout": {"workers": 3}, "learner": {"workers": 2}}]
)
@pytest.mark.parametrize("stage", ["rl", "evaluate"])
def test_default_workers_fit_any_machine(stage: str, given: dict[str, Any], num_cpus: float) -> None:
    keys = STAGES[stage].model_fields.keys()
    found = placed(config(stage, **{key: value for key, value in given.items() if key in keys}), num_cpus)
    for workers in worker_groups(found):
        require_fit(workers, num_cpus=num_cpus, num_gpus=0)
        assert all(0 < cores(one) <= 1 for one in workers.values())
    assert num_cpus < 64 or found.rollout.cpus == 1.0


def test_cores_that_are_given_stay_and_the_others_share_the_rest() -> None:
    found = placed(config("rl", rollout={"cpus": 1.5}, **PPO), 2)
    assert found.rollout.cpus == 1.5 and found.reward_workers.cpus == 0.1
    assert found.learner.cpus == found.critic.cpus == 0.2


def test_more_than_the_machine_has_is_still_told() -> None:
    (workers,) = worker_groups(placed(config("rl", rollout={"cpus": 4}), 2))
    with pytest.raises(UserError, match=r"need 5\.1 CPUs .*this machine has 2"):
        require_fit(workers, num_cpus=2, num_gpus=0, where="this machine")


@pytest.mark.parametrize("stage", ["sft", "dpo", "reward_model"])
@pytest.mark.parametrize(("positions", "expected"), [(256, 256), (None, 2048), (32768, 2048)])
def test_a_context_that_is_not_given_follows_the_model(stage: str, positions: int | None, expected: int) -> None:
    found = within_model(config(stage), positions)
    assert found.context_tokens == found.sequence_tokens == expected
    assert within_model(config(stage, context_tokens=99), positions).context_tokens == 99


@pytest.mark.parametrize(
    ("rollout", "positions", "expected"),
    [
        ({}, 256, (256, 128)),
        ({}, None, (2048, 512)),
        ({}, 131072, (2048, 512)),
        ({"max_response_tokens": 200}, 256, (256, 200)),
        ({"max_context_tokens": 128}, 256, (128, 64)),
        ({"max_context_tokens": 8192}, 131072, (8192, 512)),
    ],
)
def test_a_response_that_is_not_given_follows_the_context(
    rollout: dict[str, Any], positions: int | None, expected: tuple[int, int]
) -> None:
    found: AnyStage = within_model(config("rl", rollout=rollout), positions)
    assert (found.rollout.max_context_tokens, found.rollout.max_response_tokens) == expected


def test_a_response_as_long_as_the_models_context_is_refused() -> None:
    with pytest.raises(UserError, match="max_response_tokens: 256 leaves no room .* context of 256"):
        within_model(config("rl", rollout={"max_response_tokens": 256}), 256)
