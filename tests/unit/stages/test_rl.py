"""The pure functions of the RL stage, on groups made by hand."""

import random
from collections import Counter
from itertools import chain
from typing import Any

import pytest

from rlreason.config.schema import AlgorithmConfig, RLConfig
from rlreason.stages.evaluate import at_k, sample_rows
from rlreason.stages.rl import batch_of
from rlreason.stages.rl_batch import (
    rollout_metrics,
    shuffled,
    stop_on_broken_rewards,
    total_rewards,
    train_sequences,
)
from rlreason.types import Group, PromptTask, RunError, Sample, Score, ScoreStatus, Task

MEAN = AlgorithmConfig()
PLAIN = AlgorithmConfig(baseline="none")


def sample(task_id: str, index: int, **fields: Any) -> Sample:
    """The third token tells it apart."""
    number = 10 * int(task_id) + index
    values: dict[str, Any] = {
        "policy_version": 3,
        "tokens": (1, 1, number, 2),
        "mask": (0, 0, 1, 1),
        "logprobs": (0.0, 0.0, -0.25, -0.5),
        "prompt": "p",
        "response": rf"\boxed{{{number}}}",
        "finish_reason": "stop",
    }
    return Sample(task_id=task_id, index=index, **{**values, **fields})


def group(number: int, values: list[float], statuses: list[ScoreStatus] | None = None, **fields: Any) -> Group:
    found = statuses or ["ok" if value else "wrong" for value in values]
    return Group(
        task=Task(id=str(number), prompt="p", answer="7"),
        samples=tuple(sample(str(number), index, **fields) for index in range(len(values))),
        scores=tuple({"math": Score(value=value, status=status)} for value, status in zip(values, found, strict=True)),
    )


def advantages(groups: list[Group], algorithm: AlgorithmConfig, seed: int = 0) -> dict[int, float]:
    """By the token that tells samples apart."""
    found = train_sequences(groups, total_rewards(groups, {"math": 1.0}), algorithm, seed)
    return {sequence.tokens[2]: sequence.advantage for sequence in found}


def test_rewards_are_weighted_and_added() -> None:
    scores = {"math": Score(value=1.0, status="ok"), "short": Score(value=0.5, status="ok")}
    both = Group(task=Task(id="0", prompt="p"), samples=(sample("0", 0),), scores=(scores,))
    assert total_rewards([both], {"math": 1.0, "short": -0.5}) == [[0.75]]
    assert total_rewards([group(0, [1.0, 0.0]), group(1, [0.25])], {"math": 2.0}) == [[2.0, 0.0], [0.5]]


def test_advantages_are_relative_to_the_own_group() -> None:
    groups = [group(0, [1.0, 0.0]), group(1, [1.0, 1.0]), group(2, [1.0, 0.0, 0.0, 0.0])]
    assert advantages(groups, MEAN) == {0: 0.5, 1: -0.5, 10: 0.0, 11: 0.0, 20: 0.75, 21: -0.25, 22: -0.25, 23: -0.25}
    assert advantages(groups[:1], PLAIN) == {0: 1.0, 1: 0.0}
    assert advantages(groups[:1], AlgorithmConfig(normalize_std=True)) == pytest.approx({0: 1.0, 1: -1.0}, rel=1e-5)


@pytest.mark.parametrize("status", ["timeout", "verifier_error", "sandbox_error"])
def test_a_sample_whose_check_broke_is_left_out_and_the_mean_is_over_the_rest(status: ScoreStatus) -> None:
    groups = [group(0, [1.0, 0.0, 0.0], ["ok", status, "wrong"]), group(1, [0.0, 1.0], [status, "ok"])]
    assert advantages(groups, MEAN) == {0: 0.5, 2: -0.5, 11: 0.0}
    assert advantages([group(0, [0.0, 0.0], [status, status])], MEAN) == {}


def test_an_answer_that_cannot_be_parsed_is_wrong_and_not_broken() -> None:
    assert advantages([group(0, [1.0, 0.0], ["ok", "unparseable"])], MEAN) == {0: 0.5, 1: -0.5}


def test_one_broken_reward_of_several_leaves_the_sample_out() -> None:
    fine, broken = Score(value=1.0, status="ok"), Score(value=0.0, status="timeout")
    samples = tuple(sample("0", index) for index in range(3))
    scores = ({"a": fine, "b": fine}, {"a": fine, "b": broken}, {"a": fine, "b": Score(value=0.0, status="wrong")})
    found = train_sequences(
        [Group(task=Task(id="0", prompt="p"), samples=samples, scores=scores)], [[2.0, 1.0, 1.0]], MEAN, seed=0
    )
    assert {sequence.tokens[2]: sequence.advantage for sequence in found} == {0: 0.5, 2: -0.5}


def test_sequences_keep_tokens_mask_and_logprobs_and_their_order_follows_the_seed() -> None:
    groups = [group(number, [1.0, 0.0]) for number in range(10)]
    rewards = total_rewards(groups, {"math": 1.0})
    first = train_sequences(groups, rewards, MEAN, seed=5)
    assert first == train_sequences(groups, rewards, MEAN, seed=5)
    assert first != train_sequences(groups, rewards, MEAN, seed=6)
    assert {sequence.tokens for sequence in first} == {s.tokens for g in groups for s in g.samples}
    assert {sequence.mask for sequence in first} == {(0, 0, 1, 1)}
    assert {sequence.logprobs for sequence in first} == {(0.0, 0.0, -0.25, -0.5)}


def test_shuffled_rewards_are_the_same_rewards_in_other_places() -> None:
    rewards = [[float(10 * number + index) for index in range(4)] for number in range(8)]
    found = shuffled(rewards, random.Random(0))
    assert found != rewards and [len(reward_G) for reward_G in found] == [4] * 8
    assert sorted(chain(*found)) == sorted(chain(*rewards))
    # They cross the groups' borders: otherwise a good prompt would still be told from a bad one.
    assert any(set(new) - set(old) for new, old in zip(found, rewards, strict=True))
    assert found == shuffled(rewards, random.Random(0)) != shuffled(rewards, random.Random(1))


def test_the_control_experiment_keeps_the_multiset_of_rewards() -> None:
    groups = [group(number, [1.0, 0.0, 0.5, 0.0]) for number in range(6)]
    control = AlgorithmConfig(baseline="none", shuffle_rewards=True)
    plain, dealt = advantages(groups, PLAIN), advantages(groups, control)
    assert Counter(dealt.values()) == Counter(plain.values())
    assert dealt.keys() == plain.keys() and dealt != plain
    assert dealt == advantages(groups, control) != advantages(groups, control, seed=1)


def test_a_run_whose_rewards_break_stops_above_the_threshold() -> None:
    groups = [group(0, [1.0, 0.0], ["ok", "timeout"]), group(1, [0.0, 0.0], ["wrong", "unparseable"])]
    stop_on_broken_rewards(groups, 0.25)  # a quarter broke: not above
    with pytest.raises(RunError, match=r"reward `math` broke on 25% of the samples \(timeout\): timeout"):
        stop_on_broken_rewards(groups, 0.24)
    stop_on_broken_rewards([group(0, [1.0, 0.0])], 0.0)


def test_the_stop_shows_the_first_broken_verdicts_last_line() -> None:
    scores = (
        {"a": Score(value=1.0, status="ok"), "mine": Score(value=0.0, status="verifier_error", detail="x\nBoom: 7\n")},
        {"a": Score(value=0.0, status="timeout", detail="later"), "mine": Score(value=0.0, status="wrong")},
    )
    samples = (sample("0", 0), sample("0", 1))
    with pytest.raises(RunError) as error:
        stop_on_broken_rewards([Group(task=Task(id="0", prompt="p"), samples=samples, scores=scores)], 0.9)
    shown = "reward `mine` broke on 100% of the samples (verifier_error): Boom: 7; mend it and add --resume"
    assert str(error.value).startswith(shown)


def test_rollout_metrics_by_hand() -> None:
    first = group(0, [1.0, 0.0], ["ok", "timeout"])
    second = group(1, [0.5, 0.0], ["ok", "wrong"], policy_version=2, finish_reason="length", mask=(0, 1, 1, 1))
    groups = [first, second]
    assert rollout_metrics(groups, total_rewards(groups, {"math": 2.0}), version=3) == pytest.approx(
        {
            "reward/mean": 1.0,  # 2, 1, 0: the check that broke says nothing about its answer
            "reward/std": (2 / 3) ** 0.5,
            "reward/math/mean": 0.5,
            "reward/error_rate": 0.25,
            "verdict/ok": 2.0,
            "verdict/timeout": 1.0,
            "verdict/wrong": 1.0,
            "response/tokens_mean": 2.5,
            "response/truncated_rate": 0.5,
            "staleness/mean": 0.5,
            "staleness/max": 1.0,
        }
    )


def config(**fields: Any) -> RLConfig:
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


def test_each_prompt_is_used_once_an_epoch() -> None:
    known, used = prompts(10), []
    for step in range(5):
        batch = batch_of(config(), known, step)
        assert len(batch) == 4
        used += [prompt.task.id.partition("#")[0] for prompt in batch]  # later epochs' ids say which one
    assert sorted(used[:10]) == sorted(used[10:]) == sorted(prompt.task.id for prompt in known)
    assert used[:10] != used[10:]


def test_a_batch_is_a_function_of_seed_and_step() -> None:
    known = prompts(10)
    backwards = [batch_of(config(), known, step) for step in reversed(range(5))]
    assert [batch_of(config(), known, step) for step in range(5)] == backwards[::-1]
    assert batch_of(config(seed=1), known, 2) != batch_of(config(), known, 2)


def test_no_prompt_is_twice_in_one_batch() -> None:
    """Request seeds are a function of version, task and index: the second group would be a copy of the first."""
    known = prompts(10)
    for seed in range(20):
        for step in range(5):
            ids = [prompt.task.id for prompt in batch_of(config(seed=seed), known, step)]
            assert len(set(ids)) == len(ids), f"seed {seed}, step {step}: {ids}"


def test_figures_at_k_by_hand() -> None:
    def answers(number: int, found: list[str]) -> Group:
        return Group(
            task=Task(id=str(number), prompt="p", answer="7"),
            samples=tuple(sample(str(number), i, response=answer) for i, answer in enumerate(found)),
            scores=tuple(
                {"math": Score(value=float("7" in answer), status="ok"), "short": Score(value=0.0, status="wrong")}
                for answer in found
            ),
        )

    groups = [
        answers(0, [r"\boxed{7}", r"\boxed{3}", r"so \boxed{7}", ""]),
        answers(1, [r"\boxed{3}", r"\boxed{3}", r"\boxed{7}", ""]),
    ]
    assert at_k(groups, "math", 4) == {"avg@4": 0.375, "pass@4": 1.0, "maj@4": 0.5}


def test_only_full_marks_are_right() -> None:
    assert at_k([group(0, [0.99, 0.5])], "math", 2) == {"avg@2": 0.0, "pass@2": 0.0, "maj@2": 0.0}


def test_rows_of_samples() -> None:
    groups = [group(0, [1.0, 0.0], ["ok", "timeout"]), group(1, [0.0])]
    rows = sample_rows(groups, 7, split="train", rewards=[[2.0, -1.0], [0.5]])
    assert [(row["task_id"], row["index"], row["reward"]) for row in rows] == [
        ("0", 0, 2.0),
        ("0", 1, -1.0),
        ("1", 0, 0.5),
    ]
    assert rows[1]["verdicts"] == {"math": "timeout"} and rows[1]["step"] == 7 and rows[1]["split"] == "train"
    assert [row["reward"] for row in sample_rows(groups, 7, split="eval/a/greedy")] == [1.0, 0.0, 0.0]
