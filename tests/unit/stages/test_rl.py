"""The pure functions of the RL stage, on groups made by hand."""

import random
from collections import Counter
from dataclasses import replace
from itertools import chain
from typing import Any

import pytest

from rlreason.config.rewards import CombineConfig, OnStatusConfig, RewardConfig
from rlreason.config.schema import AlgorithmConfig, RLConfig
from rlreason.stages.evaluate import at_k, require_reward, require_tasks, sample_rows
from rlreason.stages.rl import batch_of, update
from rlreason.stages.rl_batch import (
    broken_rewards,
    rollout_metrics,
    shuffled,
    stop_on_broken_rewards,
    total_rewards,
    train_sequences,
)
from rlreason.types import Group, PromptTask, RunError, Sample, Score, ScoreStatus, Task, UserError

MEAN = AlgorithmConfig()
PLAIN = AlgorithmConfig(baseline="none")
SUM = CombineConfig()
MATH = [RewardConfig(name="math", path="mine.py:f")]
AB = [RewardConfig(name="a", path="mine.py:a"), RewardConfig(name="b", path="mine.py:b")]


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


def advantages(
    groups: list[Group],
    algorithm: AlgorithmConfig,
    seed: int = 0,
    rewards: list[RewardConfig] = MATH,
    rule: CombineConfig = SUM,
) -> dict[int, float]:
    """By the token that tells samples apart."""
    found = train_sequences(groups, total_rewards(groups, rewards, rule), rewards, rule, algorithm, seed)
    return {sequence.tokens[2]: sequence.advantage for sequence in found}


def two_rewards(number: int, a: list[float], b: list[float], status: ScoreStatus = "ok") -> Group:
    """A group with rewards a and b; `status` is that of the last b."""
    scores = tuple(
        {
            "a": Score(value=one, status="ok"),
            "b": Score(value=two, status=status if index == len(a) - 1 else "ok"),
        }
        for index, (one, two) in enumerate(zip(a, b, strict=True))
    )
    samples = tuple(sample(str(number), index) for index in range(len(a)))
    return Group(task=Task(id=str(number), prompt="p"), samples=samples, scores=scores)


def test_rewards_are_weighted_and_added() -> None:
    both = two_rewards(0, [1.0], [0.5])
    weighted = [AB[0], RewardConfig(name="b", path="mine.py:b", weight=-0.5)]
    assert total_rewards([both], weighted, SUM) == [[0.75]]
    double = [RewardConfig(name="math", path="mine.py:f", weight=2.0)]
    assert total_rewards([group(0, [1.0, 0.0]), group(1, [0.25])], double, SUM) == [[2.0, 0.0], [0.5]]


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
    groups = [two_rewards(0, [1.0, 0.0, 1.0], [1.0, 1.0, 0.0], "timeout")]
    assert advantages(groups, MEAN, rewards=AB) == {0: 0.5, 1: -0.5}


def test_each_action_on_a_check_that_did_not_work() -> None:
    groups = [
        two_rewards(0, [1.0, 0.0, 1.0], [1.0, 0.0, 0.7], "verifier_error"),
        two_rewards(1, [1.0, 0.0], [0.0, 0.0]),
    ]
    other = {10: 0.5, 11: -0.5}

    def found(action: str) -> dict[int, float]:
        policy = OnStatusConfig(verifier_error=action)  # type: ignore[arg-type]
        return advantages(groups, MEAN, rewards=[AB[0], AB[1].model_copy(update={"on_status": policy})])

    # zero: the totals are 2, 0 and 1 + 0, whatever value came with the error.
    assert found("zero") == {0: 1.0, 1: -1.0, 2: 0.0} | other
    assert found("mask") == found("retry") == {0: 1.0, 1: -1.0} | other
    assert found("drop_group") == other


def test_a_timeout_of_a_shipped_reward_counts_as_zero() -> None:
    shipped = [RewardConfig(name="math", path="rlreason.rewards.math:reward")]
    groups = [group(0, [1.0, 0.0], ["ok", "timeout"])]
    assert advantages(groups, MEAN, rewards=shipped) == {0: 0.5, 1: -0.5}
    assert broken_rewards(groups, shipped) is None
    metrics = rollout_metrics(groups, [[1.0, 0.0]], shipped, version=3)
    assert metrics["reward/mean"] == metrics["reward/math/mean"] == 0.5
    assert metrics["reward/error_rate"] == 0.0 and metrics["verdict/timeout"] == 1.0


def test_a_batch_of_which_nothing_is_left_is_empty() -> None:
    for rule in (SUM, CombineConfig(mode="gdpo")):
        groups = [group(0, [0.0, 0.0], ["timeout", "timeout"]), group(1, [0.0], ["verifier_error"])]
        assert advantages(groups, MEAN, rule=rule) == {}
        no_learners: Any = None
        found = update(config(combine=rule), no_learners, groups, [[0.0, 0.0], [0.0]], 0)
        assert found == {"time/update_s": 0.0}  # no optimizer step: the learners are not asked


def test_gdpo_normalises_each_reward_and_leaves_samples_out_as_any_mode() -> None:
    rule = CombineConfig(mode="gdpo")
    # a: -1, 1 and b: -1, 1 in the first group, a: -1, 1 and b: 0, 0 in the second; variance (4 + 4 + 1 + 1) / 4.
    groups = [two_rewards(0, [0.0, 1.0], [0.0, 9.0]), two_rewards(1, [0.0, 1.0], [5.0, 5.0])]
    std = 2.5**0.5
    expected = {0: -2 / std, 1: 2 / std, 10: -1 / std, 11: 1 / std}
    assert advantages(groups, MEAN, rewards=AB, rule=rule) == pytest.approx(expected, rel=1e-5)
    hurt = [two_rewards(0, [0.0, 1.0, 7.0], [0.0, 9.0, 7.0], "timeout"), groups[1]]
    assert advantages(hurt, MEAN, rewards=AB, rule=rule) == pytest.approx(expected, rel=1e-5)


def test_a_reward_of_another_source_is_not_in_the_group() -> None:
    groups = [group(0, [1.0, 0.0]), two_rewards(1, [1.0, 1.0], [0.0, 3.0])]
    rewards = [*MATH, *AB]
    assert advantages(groups, MEAN, rewards=rewards) == {0: 0.5, 1: -0.5, 10: -1.5, 11: 1.5}
    metrics = rollout_metrics(groups, total_rewards(groups, rewards, SUM), rewards, version=3)
    found = {name: metrics[f"reward/{name}/mean"] for name in ("math", "a", "b")}
    assert found == {"math": 0.5, "a": 1.0, "b": 1.5}


def test_tasks_without_a_reward_and_rewards_without_a_task_are_refused() -> None:
    def of(source: str) -> PromptTask:
        return PromptTask(task=Task(id="1", prompt="p", source=source), text="p", tokens=(1,))

    for_a, for_all = RewardConfig(name="x", path="m:f", sources=["a"]), RewardConfig(name="y", path="m:f")
    require_reward([for_a], [of("a")])
    require_reward([for_a, for_all], [of("a"), of("b")])
    with pytest.raises(UserError, match="none is for the tasks of source `b`"):
        require_reward([for_a], [of("a"), of("b")])
    require_tasks([for_a, for_all], [of("a"), of("b")])
    with pytest.raises(UserError, match="`x` is for source `a`, which no task has; there are b, c"):
        require_tasks([for_all, for_a], [of("c"), of("b")])


def test_sequences_keep_tokens_mask_and_logprobs_and_their_order_follows_the_seed() -> None:
    groups = [group(number, [1.0, 0.0]) for number in range(10)]
    totals = total_rewards(groups, MATH, SUM)
    first = train_sequences(groups, totals, MATH, SUM, MEAN, seed=5)
    assert first == train_sequences(groups, totals, MATH, SUM, MEAN, seed=5)
    assert first != train_sequences(groups, totals, MATH, SUM, MEAN, seed=6)
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
    found = broken_rewards(groups, MATH)
    assert found is not None and (found.num_broken, found.num_samples) == (1, 4)
    stop_on_broken_rewards(found, 0.25)  # a quarter broke: not above
    with pytest.raises(RunError, match=r"reward `math` broke on 25% of the samples \(timeout\): timeout"):
        stop_on_broken_rewards(found, 0.24)
    assert broken_rewards([group(0, [1.0, 0.0])], MATH) is None


def test_the_stop_shows_the_first_broken_verdicts_last_line_and_where_the_rest_is() -> None:
    traceback = "Traceback (most recent call last):\n  File mine.py, line 3\nBoom: 7\n"
    scores = (
        {"a": Score(value=1.0, status="ok"), "b": Score(value=0.0, status="verifier_error", detail=traceback)},
        {"a": Score(value=0.0, status="timeout", detail="later"), "b": Score(value=0.0, status="wrong")},
    )
    samples = (sample("0", 0), sample("0", 1))
    found = broken_rewards([Group(task=Task(id="0", prompt="p"), samples=samples, scores=scores)], AB)
    assert found is not None and found.detail == traceback
    with pytest.raises(RunError) as error:
        stop_on_broken_rewards(found, 0.9)
    shown = "reward `b` broke on 100% of the samples (verifier_error): Boom: 7; events.jsonl has the whole traceback"
    assert str(error.value).startswith(shown) and "\n" not in str(error.value)


def test_rollout_metrics_by_hand() -> None:
    first = group(0, [1.0, 0.0], ["ok", "timeout"])
    second = group(1, [0.5, 0.0], ["ok", "wrong"], policy_version=2, finish_reason="length", mask=(0, 1, 1, 1))
    groups = [first, second]
    double = [RewardConfig(name="math", path="mine.py:f", weight=2.0)]
    assert rollout_metrics(groups, total_rewards(groups, double, SUM), double, version=3) == pytest.approx(
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
    assert at_k(groups, 4) == {"avg@4": 0.375, "pass@4": 1.0, "maj@4": 0.5}
    words = Group(
        task=Task(id="2", prompt="p", answer="Red."),
        samples=tuple(sample("2", i, response=text) for i, text in enumerate(["Blue.", "Red.", "Red. "])),
        scores=tuple({"right": Score(value=value, status="ok")} for value in (0.0, 1.0, 1.0)),
    )
    assert at_k([words], 3) == {"avg@3": pytest.approx(2 / 3), "pass@3": 1.0, "maj@3": 1.0}
    no_gold = replace(words, task=replace(words.task, answer=None))
    assert at_k([no_gold], 3).keys() == {"avg@3", "pass@3"}, "nothing to agree on"


def test_only_full_marks_of_a_check_that_worked_are_right() -> None:
    assert at_k([group(0, [1.0, 1.0], ["timeout", "ok"])], 2)["avg@2"] == 0.5
    assert at_k([group(0, [0.99, 0.5])], 2) == {"avg@2": 0.0, "pass@2": 0.0, "maj@2": 0.0}


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
