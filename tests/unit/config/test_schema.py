"""Stages: each refusal of parts that do not fit one another, in its own words."""

from typing import Any

import pytest
from pydantic import ValidationError

from rlreason.config.rewards import RewardConfig
from rlreason.config.schema import DPOConfig, PretrainConfig, RewardModelConfig, RLConfig
from tests.unit.stages.conftest import rl_config

GAE = {"advantage": "gae"}
ONE = {"name": "a", "path": "m:f"}
TWO = [ONE, {"name": "b", "path": "m:f"}]
ADAPTER = {"lr": 1e-4, "lora": {"send": "adapter"}}
STEERED = {"estimator": "k3", "coef": 0.1, "target": 0.5}

# The batch is 4 prompts of 2 samples.
EVERY = {"eval": {"tasks": {"path": "x"}, "every": 1}}

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"rewards": []}, "rewards: an RL stage needs at least one"),
    ({"rewards": [ONE, ONE]}, "rewards: two of them have the same name"),
    ({"rewards": [], "eval": {"tasks": {"path": "x"}}},
     "eval: needs at least one entry in `rewards` to judge the answers"),
    ({"rollout": {"max_context_tokens": 64, "max_response_tokens": 64}},
     "rollout.max_response_tokens, 64, must be smaller than rollout.max_context_tokens, 64"),
    *(
        ({"rollout": {key: value}},
         f"{key}: cuts off part of the distribution, which the learner would still train on; take it out and set "
         "`temperature` alone")
        for key, value in (("top_p", 1.0), ("top_k", 50), ("min_p", None))
    ),
    ({"rollout": {"gpus": 1, "tensor_parallel": 4}}, "tensor_parallel: an engine on 4 GPUs needs `gpus: 4`, not 1"),
    *(
        ({"combine": given}, "`gate` names the deciding reward of `mode: gate`: give both or neither")
        for given in ({"mode": "gate"}, {"gate": "math"})
    ),
    ({"combine": {"mode": "gate", "gate": "mth"}}, "combine.gate: no reward is called `mth`; there are math"),
    ({"combine": {"mode": "min"}}, "combine.mode: min has no effect on these rewards; take it out or add one"),
    *(
        ({"rewards": TWO[:num], "combine": {"mode": "gate", "gate": ["a", "b"][:num]}},
         "combine.mode: gate has no effect on these rewards; take it out or add one")
        for num in (1, 2)
    ),
    ({"rewards": [*TWO, {"name": "c", "path": "m:f", "weight": 2}], "combine": {"mode": "min"}},
     "rewards: the weight of `c` has no effect with `combine.mode: min`"),
    *(
        ({"combine": {"mode": "gdpo"}, "algorithm": given},
         f"algorithm.{what} does not go with `combine.mode: gdpo`; take one of them out")
        for given, what in (
            ({"normalize_std": True}, "normalize_std: true"),
            ({"preset": "dr_grpo"}, "advantage: dr_grpo"),
            ({"advantage": "none"}, "advantage: none"),
            ({"shuffle_rewards": True}, "shuffle_rewards: true"),
            ({"overlong": {}}, "overlong"),
            ({"kl": {"estimator": "k1", "coef": 0.1}}, "kl.estimator: k1"),
        )
    ),
    ({"algorithm": {"minibatches": 3}},
     "algorithm.minibatches: the batch of 8 samples (prompts_per_step x samples_per_prompt) does not divide by 3"),
    ({"learner": {"lr": 1e-4, "workers": 9}},
     "learner.workers: 9 workers for 8 samples an update; use fewer workers or a larger batch"),
    ({"learner": {"lr": 1e-4, "workers": 5}, "algorithm": {"minibatches": 2}},
     "learner.workers: 5 workers for 4 samples an update; use fewer workers or a larger batch"),
    ({"algorithm": GAE | {"minibatches": 2}, "critic": {"workers": 5}},
     "critic.workers: 5 workers for 4 samples an update; use fewer workers or a larger batch"),
    ({"algorithm": GAE, "critic": {"lora": {"send": "adapter"}}},
     "critic.lora.send: the critic is sent to no engine; take it out"),
    *(
        ({"learner": ADAPTER, "rollout": {"weight_sync": sync}},
         f"rollout.weight_sync: {sync} carries whole weights only; take it out, or use `learner.lora.send: merged`")
        for sync in ("nccl", "ipc")
    ),
    ({"learner": {"lr": 1e-4, "lora": {"send": "adapter", "rank": 513}}},
     "learner.lora.rank: vLLM takes adapters of rank 512 at most, not 513; lower it, or use `send: merged`"),
    *(
        ({"samples_per_prompt": 1, "algorithm": {"advantage": name}},
         f"samples_per_prompt: 1 with `algorithm.advantage: {name}` makes every advantage 0; use 2 or more samples, or "
         "an advantage that compares no samples (reinforce_pp, remax, gae, none)")
        for name in ("grpo", "dr_grpo", "rloo", "reinforce_pp_baseline")
    ),
    ({"samples_per_prompt": 1, "algorithm": {"advantage": "none", "dynamic_sampling": {}}},
     "algorithm.dynamic_sampling would replace every group of `samples_per_prompt: 1`"),
    ({"critic": {"lr": 1e-3}}, "critic has no effect with `algorithm.advantage: grpo`; take it out"),
    ({"algorithm": {"preset": "dapo"}, "rewards": [{"name": "length", "path": "rlreason.rewards.length:overlong"}]},
     "algorithm.overlong and the reward `overlong` both punish length; take one of them out"),
    ({"algorithm": {"kl": STEERED | {"horizon": 1.6}}},
     "algorithm.kl.horizon: 1.6 is no more than a fifth of the batch of 8 samples, which could bring the coefficient "
     "to 0; raise it"),
    ({"max_staleness": 1, "algorithm": {"off_policy": {"correction": "none"}}},
     "algorithm.off_policy.correction: none with max_staleness above 0 takes stale samples for fresh ones; choose a "
     "correction, or take `off_policy` out"),
    ({"max_staleness": 1, "algorithm": {"preset": "rloo"}},
     "`algorithm.loss: reinforce` has no ratio for the stale samples of max_staleness above 0; add "
     "`algorithm.off_policy`, or take another loss"),
    ({"guard": {"action": "rollback"}},
     "guard.action: rollback goes back to the best `gold`; name one, or take `stop`"),
    ({"guard": {"action": "raise_kl"}},
     "guard.action: raise_kl has no coefficient to raise: there is no `algorithm.kl`"),
    ({"guard": {"action": "raise_kl"}, "algorithm": {"kl": STEERED | {"horizon": 100}}},
     "guard.action: raise_kl has no coefficient to raise: `algorithm.kl.target` steers it already"),
    *(
        ({"guard": {"gold": "eval/tasks/reward@4"}, **given},
         "guard.gold: `eval/tasks/reward@4` is measured by `eval`; give `eval.tasks` and `eval.every`")
        for given in ({}, {"eval": {"tasks": {"path": "x"}}})
    ),
    *(
        ({"guard": {"gold": gold}, **EVERY},
         f"guard.gold: `{gold}` is no figure here: give eval/NAME/... of a set of `eval.tasks`, or reward/NAME/mean of "
         "one of the rewards")
        for gold in ("gold", "eval/held/reward@4", "reward/mth/mean", "policy/kl")
    ),
    ({"guard": {"gold": "reward/liked/mean"}, "rewards": [ONE, {"name": "liked", "model": "m"}]},
     "guard.gold: `reward/liked/mean` is what a reward model says which the policy follows; name a reward of weight 0 "
     "that tells the truth"),
    ({"guard": {"gold": "reward/math/mean", "action": "rollback"}, "max_staleness": 1},
     "guard.gold: with max_staleness above 0 `reward/math/mean` is of older weights than those that could be kept; "
     "name a figure of `eval`"),
]  # fmt: skip


@pytest.mark.parametrize(("given", "message"), REFUSED, ids=lambda value: str(value)[:60])
def test_parts_that_do_not_fit_are_refused_with_the_reason(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        rl_config(**given)
    (error,) = caught.value.errors()
    assert error["msg"] == f"Value error, {message}"


@pytest.mark.parametrize(
    "given",
    [
        {"rollout": {"gpus": 4, "tensor_parallel": 4}},
        {"rollout": {"gpus": 0, "tensor_parallel": 2}},
        {"rewards": TWO, "combine": {"mode": "min"}},
        {"rewards": TWO, "combine": {"mode": "gate", "gate": "a"}},
        {"combine": {"mode": "gdpo"}, "algorithm": {"kl": {"estimator": "k3", "coef": 0.1}}},
        {"learner": {"lr": 1e-4, "workers": 4}, "algorithm": {"minibatches": 2}},
        {"learner": ADAPTER | {"lora": {"send": "adapter", "rank": 512}}},
        {"samples_per_prompt": 1, "algorithm": {"advantage": "remax"}},
        {"algorithm": {"kl": STEERED | {"horizon": 1.7}}},
        {"max_staleness": 1, "algorithm": {"preset": "rloo", "off_policy": {"correction": "token_truncate"}}},
        {"max_staleness": 1},
        {"guard": {"action": "rollback", "gold": "reward/math/mean"}},
        {"guard": {"gold": "eval/tasks/reward@4"}, **EVERY},
        {"guard": {"gold": "reward/liked/mean"}, "rewards": [ONE, {"name": "liked", "model": "m", "weight": 0.0}]},
        {"guard": {"gold": "reward/math/mean"}, "max_staleness": 1},
        {
            "combine": {"mode": "min"},
            "rewards": [ONE, {"name": "b", "path": "m:f"}, {"name": "c", "model": "m", "weight": 0}],
        },
        {"guard": {"action": "raise_kl"}, "algorithm": {"kl": {"estimator": "k3", "coef": 0.1}}},
    ],
    ids=lambda value: str(value)[:60],
)
def test_what_is_just_within_the_bounds_is_taken(given: dict[str, Any]) -> None:
    assert isinstance(rl_config(**given), RLConfig)


ADAPTED = {"lr": 1e-4, "lora": {}}
NEW = {"architecture": {"model_type": "llama"}, "tokenizer": "t"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "give `architecture` and `tokenizer` for a new model, or `model` to continue one"),
        ({"tokenizer": "t"}, "give `architecture` and `tokenizer` for a new model, or `model` to continue one"),
        (NEW | {"model": "m"},
         "a `model` to continue brings its own architecture and tokenizer; take those two out"),
        ({"model": "m", "tokenizer": "t"},
         "a `model` to continue brings its own architecture and tokenizer; take those two out"),
        (NEW | {"learner": ADAPTED}, "learner.lora: a new model has nothing to adapt; give `model`, or take lora out"),
        ({"model": "m", "learner": ADAPTER},
         "learner.lora.send: only an RL stage sends weights; take it out (final/adapter has them)"),
    ],
    ids=lambda value: str(value)[:60],
)  # fmt: skip
def test_a_pretraining_that_is_neither_new_nor_continued_is_refused(given: dict[str, Any], message: str) -> None:
    plain = {"stage": "pretrain", "data": {"path": "x"}, "steps": 1, "tokens_per_step": 64, "learner": {"lr": 1e-4}}
    for good in (NEW, {"model": "m"}, {"model": "m", "learner": ADAPTED}):
        assert PretrainConfig.model_validate(plain | good).steps == 1
    with pytest.raises(ValidationError) as caught:
        PretrainConfig.model_validate(plain | given)
    assert [error["msg"] for error in caught.value.errors()] == [f"Value error, {message}"]


PREFERENCES = {"model": "m", "data": {"path": "x"}, "steps": 1, "rows_per_step": 4, "learner": {"lr": 1e-4}}
EVALUATED = {"rewards": [ONE], "eval": {"tasks": {"path": "x"}}}


@pytest.mark.parametrize(
    ("stage", "given", "message"),
    [
        *(
            (stage, given, message)
            for stage in ("reward_model", "dpo")
            for given, message in (
                ({"loss": "plackett_luce", "label_smoothing": 0.1},
                 "label_smoothing has no effect with `loss: plackett_luce`; take one of them out"),
                ({"loss": "plackett_luce", "data": {"one": {"path": "x"}, "two": {"path": "y", "margin": True}}},
                 "data: margin has no effect with `loss: plackett_luce`; take one of them out"),
                ({"learner": {"lr": 1e-4, "pack_tokens": 64}},
                 "learner.pack_tokens: the answers of a row stand side by side here; take it out"),
                ({"learner": {"lr": 1e-4, "workers": 5}},
                 "learner.workers: 5 workers for 4 rows a step; use fewer workers or raise rows_per_step"),
                ({"learner": ADAPTER},
                 "learner.lora.send: only an RL stage sends weights; take it out (final/adapter has them)"),
            )
        ),
        ("reward_model", EVALUATED, "eval: a reward model writes no answers; take it out (`held_out` measures it)"),
        ("reward_model", {"rewards": [ONE]},
         "rewards: a reward model writes no answers; take it out (`held_out` measures it)"),
    ],
    ids=lambda value: str(value)[:60],
)  # fmt: skip
def test_preference_stages_refuse_what_has_no_effect(stage: str, given: dict[str, Any], message: str) -> None:
    of = {"reward_model": RewardModelConfig, "dpo": DPOConfig}[stage]
    for good in ({"loss": "plackett_luce"}, {"label_smoothing": 0.4}, {"learner": {"lr": 1e-4, "workers": 4}}):
        assert of.model_validate(PREFERENCES | {"stage": stage} | good).rows_per_step == 4
    assert DPOConfig.model_validate(PREFERENCES | {"stage": "dpo"} | EVALUATED).eval is not None
    with pytest.raises(ValidationError) as caught:
        of.model_validate(PREFERENCES | {"stage": stage} | given)
    assert [error["msg"] for error in caught.value.errors()] == [f"Value error, {message}"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "give exactly one of `path` (a function) and `model` (a reward model)"),
        ({"path": "m:f", "model": "m"}, "give exactly one of `path` (a function) and `model` (a reward model)"),
        ({"path": "m:f", "chat": False}, "chat: has no effect on a function; take it out"),
        *(
            ({"model": "m"} | given, f"{next(iter(given))}: has no effect on a reward model; take it out")
            for given in ({"args": {"a": 1}}, {"memory_gib": 1.0}, {"env": ["A"]}, {"timeout_s": 9.0})
        ),
        *(
            (
                {"model": "m", "on_status": {status: "retry"}},
                "on_status: a reward model gives the same score again; use `mask` or `drop_group`",
            )
            for status in ("timeout", "verifier_error")
        ),
    ],
)
def test_a_reward_is_a_function_or_a_model(given: dict[str, Any], message: str) -> None:
    for good in ({"path": "m:f", "args": {"a": 1}}, {"model": "m", "chat": False, "on_status": {}}):
        assert RewardConfig.model_validate({"name": "a"} | good).weight == 1.0
    with pytest.raises(ValidationError) as caught:
        RewardConfig.model_validate({"name": "a"} | given)
    assert [error["msg"] for error in caught.value.errors()] == [f"Value error, {message}"]


@pytest.mark.parametrize(
    ("key", "value"),
    [("label_smoothing", 0.5), ("label_smoothing", -0.1), ("beta", 0.0), ("rows_per_step", 0), ("loss", "hinge")],
)
def test_numbers_of_preferences_have_bounds(key: str, value: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        DPOConfig.model_validate(PREFERENCES | {"stage": "dpo", key: value})
    assert [error["loc"] for error in caught.value.errors()] == [(key,)]
