"""The pure functions of the RL stage, on groups made by hand."""

import random
from dataclasses import replace
from math import isfinite, nan
from pathlib import Path
from typing import Any

import pytest

from rlreason.config.algorithm import AlgorithmConfig
from rlreason.config.rewards import CombineConfig, OnStatusConfig, RewardConfig
from rlreason.config.schema import RolloutConfig
from rlreason.rewards.runtime.combine import Judge
from rlreason.rl.batch import minibatches, rollout_metrics, update_metrics
from rlreason.rl.experience import Experience, credit, policy_loss, score
from rlreason.rl.guard import Watch, require_gold
from rlreason.runlog import RunLog
from rlreason.running.checks import require_reward, require_tasks
from rlreason.running.evaluation import at_k
from rlreason.running.interrupts import Interrupts
from rlreason.running.job import Job
from rlreason.running.verdicts import broken_rewards, sample_rows, stop_on_broken_rewards
from rlreason.stages.rl import next_kl_coef, require_functions, require_parity, update
from rlreason.types import (
    Group,
    NotFinite,
    PolicyLoss,
    PromptTask,
    RunError,
    Score,
    ScoreStatus,
    Task,
    UserError,
)
from tests.batches import Learners
from tests.unit.stages.conftest import AB, MATH, SUM, group, rl_config, sample, settled, two_rewards

MEAN = AlgorithmConfig()
PLAIN = AlgorithmConfig(advantage="none")
JUDGE = Judge([RewardConfig(name=name, path="mine.py:f") for name in ("math", "short", "right")])


def advantages(
    groups: list[Group],
    algorithm: AlgorithmConfig,
    rewards: list[RewardConfig] = MATH,
    rule: CombineConfig = SUM,
) -> dict[int, float]:
    """By the token that tells samples apart; of a sequence's two tokens they are equal."""
    rng = random.Random(0)
    experience = Experience.of(settled(groups, rewards, rule), rng)
    policy: Any = Learners({})
    score(experience, policy, None, algorithm, wants_reference=False, temperature=1.0)
    credit(experience, policy, None, algorithm, None, kl_coef=0.0, max_response_tokens=8, on_policy=True, rng=rng)
    found = policy.sequences()
    assert all(sequence.advantages[2] == sequence.advantages[3] for sequence in found)
    return {int(sequence.tokens[2]): float(sequence.advantages[2]) for sequence in found}


def test_rewards_are_weighted_and_added() -> None:
    both = two_rewards(0, [1.0], [0.5])
    weighted = [AB[0], RewardConfig(name="b", path="mine.py:b", weight=-0.5)]
    assert rewards_of(settled([both], weighted)) == [[0.75]]
    double = [RewardConfig(name="math", path="mine.py:f", weight=2.0)]
    assert rewards_of(settled([group(0, [1.0, 0.0]), group(1, [0.25])], double)) == [[2.0, 0.0], [0.5]]


def rewards_of(groups: list[Group]) -> list[list[float | None]]:
    return [[one.reward for one in group.judged] for group in groups]


def test_advantages_are_relative_to_the_own_group() -> None:
    groups = [group(0, [1.0, 0.0]), group(1, [1.0, 1.0]), group(2, [1.0, 0.0, 0.0, 0.0])]
    assert advantages(groups, MEAN) == {0: 0.5, 1: -0.5, 10: 0.0, 11: 0.0, 20: 0.75, 21: -0.25, 22: -0.25, 23: -0.25}
    assert advantages(groups[:1], PLAIN) == {0: 1.0, 1: 0.0}
    assert advantages(groups[:1], AlgorithmConfig(normalize_std=True)) == pytest.approx({0: 1.0, 1: -1.0}, rel=1e-5)


@pytest.mark.parametrize("status", ["timeout", "verifier_error", "sandbox_error"])
def test_a_sample_whose_check_broke_is_left_out_and_the_mean_is_over_the_rest(status: ScoreStatus) -> None:
    groups = [group(0, [1.0, 0.0, 0.0], ["ok", status, "wrong"]), group(1, [0.0, 1.0], [status, "ok"])]
    assert advantages(groups, MEAN) == {0: 0.5, 2: -0.5, 11: 0.0}
    assert not Experience.of([group(0, [0.0, 0.0], [status, status])], random.Random(0)).judged


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
    groups = settled([group(0, [1.0, 0.0], ["ok", "timeout"])], shipped)
    assert advantages(groups, MEAN, rewards=shipped) == {0: 0.5, 1: -0.5}
    assert broken_rewards(groups) is None
    metrics = rollout_metrics(groups, version=3)
    assert metrics["reward/mean"] == metrics["reward/math/mean"] == 0.5
    assert metrics["reward/error_rate"] == 0.0 and metrics["verdict/timeout"] == 1.0


class Unasked(Learners):
    """Stands where the learners are: fails if it is asked to train, and notes what else it is told."""

    def __init__(self) -> None:
        super().__init__({})
        self.skipped = self.refreshed = 0

    def skip_updates(self, count: int) -> None:
        self.skipped += count

    def refresh_reference(self) -> None:
        self.refreshed += 1


def test_a_batch_of_which_nothing_is_left_is_empty() -> None:
    """No optimizer step; the schedule of each model that would have learned is told, the reference is refreshed."""
    no_learners: Any = Unasked()
    broken = [group(0, [0.0, 0.0], ["timeout", "timeout"]), group(1, [0.0], ["verifier_error"])]
    for rule in ({}, {"mode": "gdpo"}):
        found = update(rl_config(combine=rule), no_learners, None, broken, 0, None)
        assert "policy/loss" not in found and found["throughput/train_tokens_per_s"] == 0.0
    cut_off = [group(0, [1.0, 0.0], finish_reason="length")]
    found = update(rl_config(algorithm={"mask_truncated": True}), no_learners, None, cut_off, 0, None)
    assert "policy/loss" not in found and found["throughput/train_tokens_per_s"] == 0.0
    assert (no_learners.skipped, no_learners.refreshed) == (3, 0)


@pytest.mark.parametrize("step", [0, 1, 2, 3])
def test_an_empty_batch_shortens_schedules_and_the_reference_is_refreshed_when_it_is_due(step: int) -> None:
    """The policy waits two steps for its critic, and its schedule does not count them."""
    algorithm = {"preset": "ppo", "critic_warmup_steps": 2, "epochs": 2, "minibatches": 2}
    algorithm |= {"kl": {"estimator": "k1", "coef": 0.1, "refresh_every": 2}}
    config, policy, critic = rl_config(steps=10, algorithm=algorithm), Unasked(), Unasked()
    assert config.policy_updates == 8 * 4
    update(config, policy, critic, [group(0, [0.0], ["timeout"])], step, 0.1)  # type: ignore[arg-type]
    assert (policy.skipped, critic.skipped) == (0 if step < 2 else 4, 4)
    assert policy.refreshed == (step in (1, 3))


def test_a_policy_that_has_diverged_is_not_blamed_on_a_stale_weight() -> None:
    config = rl_config()
    require_parity(1e-5, -2.0, 3, config)
    for gap in (0.1, nan):
        with pytest.raises(RunError, match="after sync 3 learner and engine disagree: .* a weight is stale"):
            require_parity(gap, -2.0, 3, config)
        with pytest.raises(NotFinite, match="after step 3 the policy has diverged: .* -1e.09 nats.*; lower learner.lr"):
            require_parity(gap, -1e9, 3, config)


@pytest.mark.parametrize("value", [1e308, -1e308, 1.1e15])
def test_a_reward_that_training_cannot_hold_is_refused_with_its_sample(value: float) -> None:
    group(0, [1e15, -1e15])
    with pytest.raises(UserError, match=r"^reward `math`: .* for sample 1 of task 0; .* beyond \+-1e\+15"):
        group(0, [0.0, value], ["ok", "ok"])
    group(0, [value], ["verifier_error"])  # what a broken check says counts nowhere
    with pytest.raises(UserError, match="for sample 0 of task 0"):
        group(0, [0.0], greedy=value)
    weighted = [MATH[0].model_copy(update={"weight": 1e10})]
    with pytest.raises(UserError, match=r"reward `math`: 1e\+06 for sample 0 of task 0; with its weight"):
        settled([group(0, [1e6])], weighted)


def test_a_gold_figure_that_no_sample_has_is_not_taken_for_a_wrong_name(tmp_path: Path) -> None:
    log = RunLog(tmp_path / "run", config_yaml="")
    evaluated = {"tasks": {"held": {"path": "x"}}, "every": 1, "samples": 4}
    config = rl_config(guard={"gold": "eval/held/reward@4"}, eval=evaluated)
    no_policy: Any = None
    watch = Watch(config, Job(name="rl", log=log, interrupts=Interrupts()), no_policy, no_policy, None)
    watch.observe(0, {"eval/held/avg@4": 0.0})  # each check broke: a mean reward is of none
    with pytest.raises(UserError, match="there is no figure `eval/held/reward@4`; there are eval/held/avg@8"):
        watch.observe(0, {"eval/held/avg@8": 0.0})
    log.close()


def test_what_no_sample_was_judged_by_has_no_mean() -> None:
    broken = [group(0, [0.0, 0.0], ["timeout", "timeout"])]
    found = rollout_metrics(settled(broken, [*MATH, *AB]), version=3)
    assert all(isfinite(value) for value in found.values())
    assert not {"reward/mean", "reward/std", "reward/math/mean", "reward/a/mean"} & found.keys()
    assert found["reward/error_rate"] == 1.0 and found["verdict/timeout"] == 2.0


def test_a_reward_of_another_source_is_not_in_the_group() -> None:
    groups = [group(0, [1.0, 0.0]), two_rewards(1, [1.0, 1.0], [0.0, 3.0])]
    rewards = [*MATH, *AB]
    assert advantages(groups, MEAN, rewards=rewards) == {0: 0.5, 1: -0.5, 10: -1.5, 11: 1.5}
    metrics = rollout_metrics(settled(groups, rewards), version=3)
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


def test_a_run_whose_rewards_break_stops_above_the_threshold() -> None:
    groups = [group(0, [1.0, 0.0], ["ok", "timeout"]), group(1, [0.0, 0.0], ["wrong", "unparseable"])]
    found = broken_rewards(groups)
    assert found is not None and (found.num_broken, found.num_samples) == (1, 4)
    stop_on_broken_rewards(found, 0.25)  # a quarter broke: not above
    with pytest.raises(RunError, match=r"reward `math` broke on 25% of the samples \(timeout\): timeout"):
        stop_on_broken_rewards(found, 0.24)
    assert broken_rewards([group(0, [1.0, 0.0])]) is None


def test_the_stop_shows_the_first_broken_verdicts_last_line_and_where_the_rest_is() -> None:
    traceback = "Traceback (most recent call last):\n  File mine.py, line 3\nBoom: 7\n"
    scores = (
        {"a": Score(value=1.0, status="ok"), "b": Score(value=0.0, status="verifier_error", detail=traceback)},
        {"a": Score(value=0.0, status="timeout", detail="later"), "b": Score(value=0.0, status="wrong")},
    )
    samples = (sample("0", 0), sample("0", 1))
    found = broken_rewards([Judge(AB).settle(Task(id="0", prompt="p"), samples, scores)])
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
    assert rollout_metrics(settled(groups, double), version=3) == pytest.approx(
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


def test_figures_at_k_by_hand() -> None:
    def answers(number: int, found: list[str]) -> Group:
        return JUDGE.settle(
            Task(id=str(number), prompt="p", answer="7"),
            [sample(str(number), i, response=answer) for i, answer in enumerate(found)],
            [
                {"math": Score(value=float("7" in answer), status="ok"), "short": Score(value=0.0, status="wrong")}
                for answer in found
            ],
        )

    groups = [
        answers(0, [r"\boxed{7}", r"\boxed{3}", r"so \boxed{7}", ""]),
        answers(1, [r"\boxed{3}", r"\boxed{3}", r"\boxed{7}", ""]),
    ]
    assert at_k(groups, 4) == {"avg@4": 0.375, "pass@4": 1.0, "maj@4": 0.5, "reward@4": 0.375}
    words = JUDGE.settle(
        Task(id="2", prompt="p", answer="Red."),
        [sample("2", i, response=text) for i, text in enumerate(["Blue.", "Red.", "Red. "])],
        [{"right": Score(value=value, status="ok")} for value in (0.0, 1.0, 1.0)],
    )
    assert at_k([words], 3) == {
        "avg@3": pytest.approx(2 / 3),
        "pass@3": 1.0,
        "maj@3": 1.0,
        "reward@3": pytest.approx(2 / 3),
    }
    halves = JUDGE.settle(
        Task(id="3", prompt="p", answer="1/2"),
        [sample("3", i, response=text) for i, text in enumerate([r"\frac12", "0.5", "1.0", "1", "2/2"])],
        [{"math": Score(value)} for value in (1.0, 1.0, 0.0, 0.0, 0.0)],
    )
    judge = RewardConfig(name="math", path="rlreason.rewards.math:reward")
    assert at_k([halves], 5, [judge])["maj@5"] == 0.0, "equal wrong answers are one vote"
    assert at_k([halves], 5)["maj@5"] == 1.0
    no_gold = replace(words, task=replace(words.task, answer=None))
    assert at_k([no_gold], 3).keys() == {"avg@3", "pass@3", "reward@3"}, "nothing to agree on"


def test_only_full_marks_of_a_check_that_worked_are_right() -> None:
    assert at_k([group(0, [1.0, 1.0], ["timeout", "ok"])], 2)["avg@2"] == 0.5
    assert at_k([group(0, [0.99, 0.5])], 2) == {"avg@2": 0.0, "pass@2": 0.0, "maj@2": 0.0, "reward@2": 0.745}


def test_rows_of_samples() -> None:
    groups = [group(0, [1.0, 0.0], ["ok", "timeout"]), group(1, [0.0])]
    rows = sample_rows(groups, 7, split="train")
    assert [(row["task_id"], row["index"], row["reward"], row.get("left_out")) for row in rows] == [
        ("0", 0, 1.0, None),
        ("0", 1, None, "math: timeout"),
        ("1", 0, 0.0, None),
    ]
    assert [row["rewards"] for row in rows] == [{"math": 1.0}, {"math": 0.0}, {"math": 0.0}]
    assert rows[1]["verdicts"] == {"math": "timeout"} and rows[1]["step"] == 7 and rows[1]["split"] == "train"
    assert [row["reward"] for row in sample_rows(groups, 7, split="eval/a/greedy")] == [1.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("num_sequences", "count", "sizes"),
    [(6, 3, [2, 2, 2]), (9, 4, [2, 2, 2, 3]), (2, 4, [1, 1]), (0, 4, []), (5, 1, [5])],
)
def test_each_epoch_goes_once_through_the_batch(num_sequences: int, count: int, sizes: list[int]) -> None:
    parts = list(minibatches(list(range(num_sequences)), epochs=2, count=count, rng=random.Random(0)))
    assert [len(part) for part in parts] == sizes * 2
    first, second = ([s for part in parts[i : i + len(sizes)] for s in part] for i in (0, len(sizes)))
    assert first == list(range(num_sequences)) == sorted(second), "the caller's order first, then all of them again"
    assert num_sequences < 3 or second != first, "in a new order"


def test_metrics_of_several_updates_are_means_but_the_mismatch_is_that_of_the_first() -> None:
    parts = [{"policy/loss": 1.0, "mismatch/kl": 0.5}, {"policy/loss": 2.0, "mismatch/kl": 0.9}]
    assert update_metrics(parts) == {"policy/loss": 1.5, "mismatch/kl": 0.5}
    assert update_metrics([]) == {}


def test_the_kl_coefficient_follows_its_controller() -> None:
    fixed = rl_config(algorithm={"kl": {"estimator": "k2", "coef": 0.1}})
    steered = rl_config(algorithm={"kl": {"estimator": "k2", "coef": 0.1, "target": 0.5, "horizon": 80}})
    # error 0.55 / 0.5 - 1 = 0.1; 8 samples: 0.3 * (1 + 0.1 * 8 / 80). The present coefficient counts, not the first.
    assert next_kl_coef(steered, {"kl_coef": 0.3}, {"policy/kl": 0.55}) == pytest.approx(0.3 * 1.01)
    assert next_kl_coef(steered, {"kl_coef": 0.3}, {}) == 0.3, "a step without an update says nothing"
    assert next_kl_coef(fixed, {"kl_coef": 0.1}, {"policy/kl": 0.55}) == 0.1
    assert next_kl_coef(rl_config(), {"kl_coef": None}, {"policy/kl": 0.55}) is None


def test_functions_of_the_user_are_looked_at_before_anything_starts(tmp_path: Path) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text("def gain(reward_S, group_S, *, factor): ...\ndef loss(logprob_N, old_N, advantage_N): ...\n")
    right = AlgorithmConfig(advantage=f"{mine}:gain", advantage_args={"factor": 2})
    require_functions(right)
    require_functions(AlgorithmConfig())
    for wrong, says in (
        ({"advantage": f"{mine}:gain"}, "argument: 'factor'"),
        ({"advantage": f"{mine}:gain", "advantage_args": {"factor": 1, "more": 2}}, "unexpected keyword"),
        ({"advantage": f"{mine}:gian"}, "did you mean gain?"),
        ({"loss": f"{mine}:loss"}, "too many positional arguments"),
        ({"loss": "nowhere.py:loss"}, "file nowhere.py does not exist"),
    ):  # fmt: skip
        with pytest.raises(UserError) as error:
            require_functions(AlgorithmConfig.model_validate(wrong))
        assert says in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("algorithm", "expected"),
    [
        (
            {},
            PolicyLoss(
                name="ppo_clip", constants={"clip_low": 0.2, "clip_high": 0.28, "dual_clip": None}, divisor=512
            ),
        ),
        (
            {"preset": "dr_grpo", "dual_clip": 3, "entropy_coef": 0.01},
            PolicyLoss(
                name="ppo_clip", constants={"clip_low": 0.2, "clip_high": 0.2, "dual_clip": 3.0},
                aggregation="sequence_sum", divisor=512, entropy_coef=0.01,
            ),
        ),
        ({"preset": "cispo"}, PolicyLoss(name="cispo", constants={"clip_low": None, "clip_high": 4.0}, divisor=512)),
        # k1 is in the reward
        (
            {"preset": "rloo", "loss_divisor": 100},
            PolicyLoss(name="reinforce", aggregation="sequence_sum", divisor=100, kl_coef=0.7),
        ),
        (
            {"kl": {"estimator": "k3", "coef": 0.1}, "loss": "a.py:f", "loss_args": {"x": 1}},
            PolicyLoss(name="a.py:f", constants={"x": 1}, kl="k3", kl_coef=0.7, divisor=512),
        ),
    ],
)  # fmt: skip
def test_the_loss_that_a_configuration_describes(algorithm: dict[str, Any], expected: PolicyLoss) -> None:
    config = AlgorithmConfig.model_validate(algorithm)
    found = policy_loss(config, RolloutConfig(temperature=0.5), 0.7 if config.kl else 0.0)
    assert found == replace(expected, temperature=0.5)


def test_what_the_guard_takes_for_the_truth_is_not_what_is_followed() -> None:
    """An evaluation is judged by the first reward that applies to the task's source."""
    liked = {"name": "liked", "model": "m"}
    rule = {"name": "rule", "path": "m:f", "sources": "chains"}
    task = Task(id="t", prompt="1+1=", source="chains")
    held = {"held": [PromptTask(task=task, text=task.prompt, tokens=(1,))]}
    every = {"eval": {"tasks": {"held": {"path": "x"}}, "every": 1}, "guard": {"gold": "eval/held/reward@4"}}
    for rewards in ([liked, rule], [{**liked, "sources": "chains"}, rule], [{**rule, "sources": "other"}, liked]):
        with pytest.raises(UserError, match="is what the reward model `liked` says, which the policy follows"):
            require_gold(rl_config(rewards=rewards, **every), held)
    for rewards in ([rule, liked], [{**liked, "sources": "other"}, rule], [{**liked, "weight": 0.0}, rule]):
        require_gold(rl_config(rewards=rewards, **every), held)
    require_gold(rl_config(rewards=[liked], guard={}), held)
