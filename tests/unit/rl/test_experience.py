"""From judged groups to training sequences, with numbers worked out by hand.

Notation: S = samples, N = tokens that the policy wrote. Samples are known by their number: that of the group, then
their place in it. Those of `conftest` have two such tokens, with logprobs -0.25 and -0.5, unless it says otherwise.
"""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from math import log, sqrt
from pathlib import Path
from typing import Any

import pytest

from rlreason.config.algorithm import AlgorithmConfig
from rlreason.config.rewards import CombineConfig, OnStatusConfig, RewardConfig
from rlreason.rl.batch import teaches
from rlreason.rl.experience import Experience, score
from rlreason.rl.experience import credit as module_credit
from rlreason.types import BatchSize, Group, TrainSequence, UserError
from tests.batches import Learners
from tests.unit.stages.conftest import AB, MATH, SUM, group, settled, tokens_of, two_rewards

BySample = dict[int, list[float]]
COLUMNS = ("logprobs", "old_logprobs", "reference_logprobs", "advantages", "weights", "values", "returns")
GDPO = CombineConfig(mode="gdpo")


def credit(
    groups: list[Group],
    algorithm: dict[str, Any] | None = None,
    *,
    rewards: list[RewardConfig] = MATH,
    rule: CombineConfig = SUM,
    proximal: BySample | None = None,
    reference: BySample | None = None,
    value: BySample | None = None,
    kl_coef: float = 0.0,
    on_policy: bool = False,
    seed: int = 0,
    num_ranks: int = 1,
) -> tuple[dict[int, TrainSequence], dict[str, float]]:
    """Sequences that are trained on by the number of their sample, in their order, with tuples; and metrics."""
    rng = random.Random(seed)
    config = AlgorithmConfig.model_validate(algorithm or {})
    experience = Experience.of(settled(groups, rewards, rule), rng)

    def of(numbers: BySample | None) -> Callable[[TrainSequence], Sequence[float]]:
        return lambda sequence: [] if numbers is None else numbers[int(sequence.tokens[2])]

    passes = {"policy": of(proximal), "reference": of(reference), "value": of(value)}
    policy: Any = Learners(passes, num_ranks)
    critic: Any = Learners(passes, 1) if value else None
    score(experience, policy, critic, config, wants_reference=reference is not None, temperature=1.0)
    weights = {reward.name: reward.weight for reward in rewards} if rule.mode == "gdpo" else None
    counts, metrics = module_credit(
        experience, policy, critic, config, weights,
        kl_coef=kl_coef, max_response_tokens=8, on_policy=on_policy, rng=rng,
    )  # fmt: skip
    found = policy.sequences()
    if critic is not None:
        found = [
            replace(one, values=other.values, returns=other.returns)
            for one, other in zip(found, critic.sequences(), strict=True)
        ]
        assert all((one.mask == other.mask).all() for one, other in zip(found, critic.sequences(), strict=True))
    for one, count in zip(found, counts, strict=True):
        assert count in (one.num_trained_tokens, 0)
    kept = [plain(one) for one, count in zip(found, counts, strict=True) if count]
    return {one.tokens[2]: one for one in kept}, metrics


def plain(sequence: TrainSequence) -> TrainSequence:
    """With tuples, so that it can be compared; rounded to what float32 holds."""
    numbers = {name: tuple(round(float(x), 7) for x in getattr(sequence, name)) for name in COLUMNS}
    mask = tuple(int(flag) for flag in sequence.mask)
    return replace(sequence, tokens=tuple(map(int, sequence.tokens)), mask=mask, **numbers)


def advantages(groups: list[Group], algorithm: dict[str, Any] | None = None, **kwargs: Any) -> BySample:
    """By the number of the sample, of the tokens that it wrote; the prompt's are 0."""
    found, _ = credit(groups, algorithm, **kwargs)
    assert all(sequence.advantages[:2] == (0, 0) for sequence in found.values())
    return {number: list(sequence.advantages[2:]) for number, sequence in sorted(found.items())}


def flat(found: BySample) -> list[float]:
    return [value for values in found.values() for value in values]


# One group of three and one of two; the first sample is longer. 11 tokens, of which 3 + 2 earn 1.
GROUPS = [group(0, [1.0, 0.0, 0.0], num_tokens=[3, 2, 2], greedy=1.0), group(1, [1.0, 0.0], greedy=0.0)]


@pytest.mark.parametrize(
    ("algorithm", "expected_S"),
    [
        ({"advantage": "grpo"}, [2 / 3, -1 / 3, -1 / 3, 0.5, -0.5]),
        ({"advantage": "dr_grpo"}, [2 / 3, -1 / 3, -1 / 3, 0.5, -0.5]),
        # variances 2/9 and 1/4
        ({"advantage": "grpo", "normalize_std": True}, [sqrt(2), -sqrt(0.5), -sqrt(0.5), 1.0, -1.0]),
        # minus the mean of the others: 0, 1/2, 1/2 and 0, 1
        ({"advantage": "rloo"}, [1.0, -0.5, -0.5, 1.0, -1.0]),
        # as dr_grpo, then over the batch of five samples: variance (4/9 + 1/9 + 1/9 + 1/4 + 1/4) / 5 = 7/30
        (
            {"advantage": "reinforce_pp_baseline"},
            [x / sqrt(7 / 30) for x in (2 / 3, -1 / 3, -1 / 3, 0.5, -0.5)],
        ),
        # over the 11 tokens: mean 5/11, variance 5/11 * 6/11, so (1 - 5/11) / (sqrt(30) / 11) and so on
        ({"advantage": "reinforce_pp"}, [6 / sqrt(30), -5 / sqrt(30), -5 / sqrt(30), 6 / sqrt(30), -5 / sqrt(30)]),
        # minus the greedy answer's reward: 1 and 0
        ({"advantage": "remax"}, [0.0, -1.0, -1.0, 1.0, 0.0]),
        ({"advantage": "none"}, [1.0, 0.0, 0.0, 1.0, 0.0]),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else "",
)
def test_each_advantage_by_hand(algorithm: dict[str, Any], expected_S: list[float]) -> None:
    found = advantages(GROUPS, algorithm)
    numbers, lengths = (0, 1, 2, 10, 11), (3, 2, 2, 2, 2)
    expected = {n: [x] * length for n, x, length in zip(numbers, expected_S, lengths, strict=True)}
    assert found.keys() == expected.keys() and flat(found) == pytest.approx(flat(expected), rel=1e-5)


def test_reinforce_pp_discounts_the_reward_of_the_last_token() -> None:
    # Returns 1/2, 1 and 0, 0: mean 3/8, variance (1 + 25 + 9 + 9) / 64 / 4 = 11/64.
    found = advantages([group(0, [1.0, 0.0])], {"advantage": "reinforce_pp", "gamma": 0.5})
    assert flat(found) == pytest.approx([x / sqrt(11) for x in (1, 5, -3, -3)], rel=1e-5)


VALUES = {0: [0.5, 0.25], 1: [0.5, 0.5]}


@pytest.mark.parametrize(
    ("constants", "raw", "returns"),
    [
        # Errors 0.25 - 0.5, 1 - 0.25 and 0, -0.5: their sums to the end are the rewards less the values.
        ({}, [0.5, 0.75, -0.5, -0.5], [1.0, 1.0, 0.0, 0.0]),
        # Errors 0.125 - 0.5, 0.75 and 0.25 - 0.5, -0.5; the sums' discount is 0.25.
        ({"gamma": 0.5, "lam": 0.5}, [-0.1875, 0.75, -0.375, -0.5], [0.3125, 1.0, 0.125, 0.0]),
    ],
)
def test_generalised_advantages_and_the_critics_targets(
    constants: dict[str, float], raw: list[float], returns: list[float]
) -> None:
    found, metrics = credit([group(0, [1.0, 0.0])], {"advantage": "gae"} | constants, value=VALUES)
    first, second = found[0], found[1]
    assert first.returns[2:] + second.returns[2:] == pytest.approx(returns)
    assert first.values == (0, 0, 0.5, 0.25) and second.values == (0, 0, 0.5, 0.5)
    mean = sum(raw) / 4
    std = sqrt(sum((x - mean) ** 2 for x in raw) / 4)
    assert first.advantages[2:] + second.advantages[2:] == pytest.approx([(x - mean) / std for x in raw], rel=1e-5)
    assert metrics["critic/value_mean"] == pytest.approx(1.75 / 4)
    assert metrics["critic/return_mean"] == pytest.approx(sum(returns) / 4)


def test_the_variance_that_a_critic_explains() -> None:
    _, metrics = credit([group(0, [1.0, 0.0])], {"advantage": "gae"}, value=VALUES)
    # Returns 1, 1, 0, 0 have variance 1/4; they less the values, 1/2, 3/4, -1/2, -1/2, have 83/256.
    assert metrics["critic/explained_variance"] == pytest.approx(1 - 83 / 64)
    _, perfect = credit([group(0, [1.0, 0.0])], {"advantage": "gae"}, value={0: [1.0, 1.0], 1: [0.0, 0.0]})
    assert perfect["critic/explained_variance"] == 1.0
    _, constant = credit([group(0, [1.0, 1.0])], {"advantage": "gae"}, value=VALUES)
    assert "critic/explained_variance" not in constant, "nothing to explain"


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(
        "def by_group(reward_S, group_S, *, factor):\n    return factor * reward_S + group_S\n"
        "def short(reward_S, group_S):\n    return reward_S[1:]\n"
        "def nan(reward_S, group_S):\n    return reward_S / 0\n"
        "def numbers(reward_S, group_S):\n    return reward_S.tolist()\n"
        "def huge(reward_S, group_S):\n    return reward_S * 1e200\n"
        "def is_right(reward_S, group_S):\n    return reward_S > 0\n"
    )
    return path


def test_an_advantage_of_the_users_own(mine: Path) -> None:
    found = advantages(GROUPS, {"advantage": f"{mine}:by_group", "advantage_args": {"factor": 10}})
    assert found == {0: [10.0] * 3, 1: [0.0] * 2, 2: [0.0] * 2, 10: [11.0] * 2, 11: [1.0] * 2}


@pytest.mark.parametrize("name", ["short", "numbers"])
def test_an_advantage_of_the_users_own_that_returns_nonsense(mine: Path, name: str) -> None:
    with pytest.raises(UserError) as error:
        credit(GROUPS, {"advantage": f"{mine}:{name}"})
    assert str(error.value) == f"algorithm.advantage `{mine}:{name}`: expected a tensor of 5 numbers"


@pytest.mark.parametrize(("name", "says"), [("nan", "inf"), ("huge", r"1e\+200")])
def test_an_advantage_that_float32_cannot_hold_names_its_sample(mine: Path, name: str, says: str) -> None:
    with pytest.raises(UserError, match=rf"^algorithm.advantage `.*:{name}`: {says} for sample 0 of task 1; an advan"):
        credit([group(1, [1.0])], {"advantage": f"{mine}:{name}"})
    assert flat(advantages([group(0, [1.0, 0.0])], {"advantage": f"{mine}:is_right"})) == [1.0, 1.0, 0.0, 0.0]


def test_gdpo_normalises_each_reward_and_leaves_samples_out_as_any_mode() -> None:
    # a: -1, 1 and b: -1, 1 in the first group, a: -1, 1 and b: 0, 0 in the second; variance (4 + 4 + 1 + 1) / 4.
    groups = [two_rewards(0, [0.0, 1.0], [0.0, 9.0]), two_rewards(1, [0.0, 1.0], [5.0, 5.0])]
    expected = [x / sqrt(2.5) for x in (-2, -2, 2, 2, -1, -1, 1, 1)]
    assert flat(advantages(groups, rewards=AB, rule=GDPO)) == pytest.approx(expected, rel=1e-5)
    hurt = [two_rewards(0, [0.0, 1.0, 7.0], [0.0, 9.0, 7.0], "timeout"), groups[1]]
    assert flat(advantages(hurt, rewards=AB, rule=GDPO)) == pytest.approx(expected, rel=1e-5)


def test_gdpo_weighs_rewards_and_leaves_out_those_that_are_not_for_a_task() -> None:
    # math: -1, 1 in the first group; a, of weight 2: -2, 2 in the second, where b is the same for both. Variance 5/2.
    rewards = [*MATH, RewardConfig(name="a", path="mine.py:a", weight=2.0), AB[1]]
    groups = [group(0, [0.0, 1.0]), two_rewards(1, [3.0, 9.0], [4.0, 4.0])]
    expected = [x / sqrt(2.5) for x in (-1, -1, 1, 1, -2, -2, 2, 2)]
    assert flat(advantages(groups, rewards=rewards, rule=GDPO)) == pytest.approx(expected, rel=1e-5)


# log p - log q: 0.1 and 0.1 of the first sample, 0 of the second
REFERENCE = {0: [-0.35, -0.6], 1: [-0.25, -0.5]}
K1 = {"estimator": "k1", "coef": 0.5}


def test_a_k1_penalty_is_taken_from_the_reward_of_whole_samples() -> None:
    # With the coefficient 2 the rewards are 1 - 2 * 0.2 and 0: the one that is given counts, not the configured one.
    found, metrics = credit([group(0, [1.0, 0.0])], {"kl": K1}, reference=REFERENCE, kl_coef=2.0)
    assert found[0].advantages == pytest.approx((0, 0, 0.3, 0.3))
    assert found[1].advantages == pytest.approx((0, 0, -0.3, -0.3))
    assert metrics["reward/kl_penalty_mean"] == pytest.approx(0.2)  # 0.4 and 0
    assert found[0].reference_logprobs == (0, 0, -0.35, -0.6)


def test_a_k1_penalty_is_taken_from_each_token_where_rewards_are_of_tokens() -> None:
    # Token rewards -0.2, 1 - 0.2 and 0, 0, so returns 0.6, 0.8, 0, 0: mean 0.35, variance 0.1275.
    found = advantages([group(0, [1.0, 0.0])], {"advantage": "reinforce_pp", "kl": K1}, reference=REFERENCE, kl_coef=2)
    assert flat(found) == pytest.approx([x / sqrt(0.1275) for x in (0.25, 0.45, -0.35, -0.35)], rel=1e-5)
    zeros = {0: [0.0, 0.0], 1: [0.0, 0.0]}
    gae, _ = credit([group(0, [1.0, 0.0])], {"advantage": "gae", "kl": K1}, reference=REFERENCE, value=zeros, kl_coef=2)
    assert gae[0].returns == pytest.approx((0, 0, 0.6, 0.8)) and gae[1].returns == (0, 0, 0, 0)


@pytest.mark.parametrize("estimator", ["k2", "k3"])
def test_a_penalty_in_the_loss_leaves_the_reward_alone(estimator: str) -> None:
    kl = {"estimator": estimator, "coef": 0.5}
    found, metrics = credit([group(0, [1.0, 0.0])], {"kl": kl}, reference=REFERENCE, kl_coef=2.0)
    assert found[0].advantages == (0, 0, 0.5, 0.5) and found[0].reference_logprobs == (0, 0, -0.35, -0.6)
    assert metrics == {"policy/kl_coef": 2.0}


def test_length_is_punished_before_the_advantage() -> None:
    # The buffer is the last 4 of 8 tokens: 4 tokens cost 0, 6 half and 8 all of the penalty of 2.
    shaped = {"advantage": "none", "overlong": {"buffer_share": 0.5, "penalty": 2.0}}
    groups = [group(0, [1.0, 1.0, 0.0], num_tokens=[4, 6, 8])]
    assert advantages(groups, shaped) == {0: [1.0] * 4, 1: [0.0] * 6, 2: [-2.0] * 8}
    # 1, 0, -2 less their mean of -1/3
    assert flat(advantages(groups, shaped | {"advantage": "grpo"})) == pytest.approx(
        [4 / 3] * 4 + [1 / 3] * 6 + [-5 / 3] * 8
    )


def cut(groups: list[Group], *numbers: int) -> list[Group]:
    """The groups, these samples cut off at the token limit: without an end-of-sequence token."""

    def one(sample: Any) -> Any:
        is_cut = tokens_of(sample)[2] in numbers
        return replace(sample, finish_reason="length") if is_cut else sample

    return [replace(group, judged=tuple(replace(j, sample=one(j.sample)) for j in group.judged)) for group in groups]


def test_a_cut_response_counts_in_the_mean_but_is_neither_trained_on_nor_counted() -> None:
    groups = cut([group(0, [1.0, 0.0, 0.0])], 2)
    assert flat(advantages(groups)) == pytest.approx([2 / 3, 2 / 3, -1 / 3, -1 / 3, -1 / 3, -1 / 3])
    found, _ = credit(groups, {"mask_truncated": True})
    assert {number: one.advantages[2] for number, one in found.items()} == pytest.approx({0: 2 / 3, 1: -1 / 3})
    assert BatchSize.of(found.values()) == BatchSize(num_tokens=4, num_sequences=2)
    assert credit(cut(groups, 0, 1, 2), {"mask_truncated": True})[0] == {}, "nothing is left, and that is no error"


def test_a_cut_response_has_its_reward_on_its_last_token() -> None:
    found, _ = credit(
        cut([group(0, [1.0, 0.0])], 0), {"advantage": "gae", "gamma": 0.5}, value={0: [0.0] * 2, 1: [0.0] * 2}
    )
    assert found[0].returns == (0, 0, 0.5, 1.0) and found[0].mask == (0, 0, 1, 1)


RATIOS = {0: (1.0, 4.0), 1: (0.25, 2.0)}
PROXIMAL = {n: [-0.25 + log(first), -0.5 + log(second)] for n, (first, second) in RATIOS.items()}


@pytest.mark.parametrize(
    ("off_policy", "weights", "mask"),
    [
        ({"correction": "none"}, [1, 1, 1, 1], [1, 1, 1, 1]),
        ({"correction": "token_truncate"}, [1, 2, 0.25, 2], [1, 1, 1, 1]),
        ({"correction": "token_truncate", "cap": 3}, [1, 3, 0.25, 2], [1, 1, 1, 1]),
        # products 4 and 1/2
        ({"correction": "sequence_truncate"}, [2, 2, 0.5, 0.5], [1, 1, 1, 1]),
        ({"correction": "token_mask", "high": 2.5}, [1, 0, 0, 2], [1, 0, 0, 1]),
        # geometric means 2 and sqrt(1/2) = 0.71
        ({"correction": "sequence_reject", "low": 0.8, "high": 2.5}, [1, 1, 0, 0], [1, 1, 0, 0]),
        ({"correction": "sequence_reject", "high": 2.5}, [1, 1, 1, 1], [1, 1, 1, 1]),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else "",
)
def test_each_correction_by_hand(off_policy: dict[str, Any], weights: list[float], mask: list[int]) -> None:
    found, metrics = credit([group(0, [1.0, 0.0])], {"off_policy": off_policy}, proximal=PROXIMAL)
    size = BatchSize.of(found.values())
    assert size == BatchSize(num_tokens=sum(mask), num_sequences=any(mask[:2]) + any(mask[2:]))
    assert sorted(found) == [number for number in (0, 1) if any(mask[2 * number : 2 * number + 2])]
    for number, one in found.items():
        part = slice(2 * number, 2 * number + 2)
        assert one.weights == pytest.approx((0, 0, *weights[part])) and one.mask == (0, 0, *mask[part])
        assert one.old_logprobs == pytest.approx((0, 0, *PROXIMAL[number])), "the ratio is that to the proximal policy"
        assert one.logprobs == (0, 0, -0.25, -0.5)
        assert one.advantages == (0, 0, *[0.5 - number] * 2), "whoever is left out counts in the mean"
    assert metrics == pytest.approx(
        {
            "mismatch/weight_mean": sum(weights) / 4,
            "mismatch/weight_max": max(weights),
            "mismatch/effective_sample_size": sum(weights) ** 2 / sum(w * w for w in weights) / 4,
            "mismatch/left_out_fraction": 1 - sum(mask) / 4,
            "mismatch/ratio_mean": 7.25 / 4,
            "mismatch/ratio_max": 4.0,
        }
    )


def test_a_correction_that_leaves_nothing_gives_no_sequence_and_says_so() -> None:
    far = {number: [5.0, 5.0] for number in (0, 1)}
    found, metrics = credit([group(0, [1.0, 0.0])], {"off_policy": {"correction": "token_mask"}}, proximal=far)
    assert found == {} and metrics["mismatch/left_out_fraction"] == 1.0
    assert metrics["mismatch/effective_sample_size"] == 0.0


def test_both_masks_hold_together() -> None:
    algorithm = {"off_policy": {"correction": "token_mask", "high": 2.5}, "mask_truncated": True}
    found, _ = credit(cut([group(0, [1.0, 0.0])], 1), algorithm, proximal=PROXIMAL)
    assert {number: one.mask for number, one in found.items()} == {0: (0, 0, 1, 0)}


OF_GROUPS = [
    {"advantage": "grpo"},
    {"advantage": "grpo", "normalize_std": True},
    {"advantage": "dr_grpo"},
    {"advantage": "rloo"},
    {"advantage": "reinforce_pp_baseline"},
]
of_groups = pytest.mark.parametrize("algorithm", OF_GROUPS, ids=lambda value: "-".join(map(str, value.values())))


@of_groups
def test_a_group_that_lost_a_member_is_as_one_that_never_had_it(algorithm: dict[str, Any]) -> None:
    other = group(1, [1.0, 0.0])
    lost = advantages([group(0, [1.0, 0.0, 1.0], ["ok", "wrong", "verifier_error"]), other], algorithm)
    assert lost == advantages([group(0, [1.0, 0.0]), other], algorithm)
    assert lost[0][0] > 0 > lost[1][0]


@of_groups
def test_groups_in_which_nobody_is_better_get_exactly_zero(algorithm: dict[str, Any]) -> None:
    """0.1 thrice: their rounded mean is not 0.1. One alone: what is left where the others' checks broke."""
    alone = group(1, [1.0, 0.0], ["ok", "timeout"])
    assert set(flat(advantages([group(0, [0.1, 0.1, 0.1]), alone], algorithm))) == {0.0}
    assert set(flat(advantages([alone], algorithm))) == {0.0}


def test_a_greedy_answer_whose_check_broke_takes_its_group_out() -> None:
    broken = two_rewards(0, [1.0, 0.0], [0.0, 0.0], "verifier_error").judged[1]
    groups = [replace(two_rewards(0, [1.0, 0.0], [0.0, 0.0]), greedy=broken), two_rewards(1, [1.0, 0.0], [0.0, 0.0])]
    groups[1] = replace(groups[1], greedy=groups[1].judged[0])
    assert advantages(groups, {"advantage": "remax"}, rewards=AB) == {10: [0.0, 0.0], 11: [-1.0, -1.0]}


def test_the_mask_decides_what_is_trained_on_and_not_the_id() -> None:
    """The end of a response is trained on, although padding has its id and the prompt holds it, too."""
    eos = 2
    groups = [group(0, [1.0], tokens=(eos, 1, 0, eos)), group(1, [0.5], tokens=(1, eos, 10, eos))]
    found, _ = credit(groups, {"advantage": "none"})
    assert found[0].mask == found[10].mask == (0, 0, 1, 1)
    assert found[0].advantages == (0, 0, 1.0, 1.0) and found[10].advantages == (0, 0, 0.5, 0.5)


def test_the_ratio_is_to_the_engines_policy_and_on_policy_to_none() -> None:
    for on_policy, old in ((False, (0, 0, -0.25, -0.5)), (True, ())):
        found, _ = credit([group(0, [1.0, 0.0])], on_policy=on_policy)
        assert {one.old_logprobs for one in found.values()} == {old}
        assert {one.logprobs for one in found.values()} == {(0, 0, -0.25, -0.5)}
        assert {one.weights for one in found.values()} == {one.reference_logprobs for one in found.values()} == {()}


def test_sequences_keep_their_tokens_and_their_order_follows_the_seed() -> None:
    groups = [group(number, [1.0, 0.0]) for number in range(10)]
    first, _ = credit(groups, seed=5)
    assert list(first.items()) == list(credit(groups, seed=5)[0].items())
    assert list(first) != list(credit(groups, seed=6)[0])
    assert list(first) != sorted(first), "neighbours of one group would fall into one minibatch"
    assert {one.tokens for one in first.values()} == {tokens_of(s) for g in groups for s in g.samples}


def test_the_control_experiment_deals_out_the_same_rewards_over_the_whole_batch() -> None:
    groups = [group(number, [1.0, 0.0, 0.5, float(number)]) for number in range(6)]
    control = {"advantage": "none", "shuffle_rewards": True}
    plain, dealt = advantages(groups, {"advantage": "none"}), advantages(groups, control)
    assert Counter(flat(dealt)) == Counter(flat(plain))
    assert dealt.keys() == plain.keys() and dealt != plain
    assert dealt == advantages(groups, control) != advantages(groups, control, seed=1)
    # They cross the groups' borders: otherwise a good prompt would still be told from a bad one.
    assert any({x for i in range(4) for x in dealt[10 * n + i]} - {1.0, 0.0, 0.5, float(n)} for n in range(6))


def test_which_groups_teach() -> None:
    assert teaches(group(0, [1.0, 0.0])) and not teaches(group(0, [0.1, 0.1, 0.1]))
    # The only other reward is that of a check that broke.
    assert not teaches(group(0, [1.0, 1.0, 0.0], ["ok", "ok", "timeout"]))
    assert not teaches(group(0, [1.0, 0.0], ["timeout", "timeout"]))
    # 1 + 0 is 0 + 1, but gdpo looks at each; where both are the same, it learns nothing either.
    assert not teaches(two_rewards(0, [1.0, 0.0], [0.0, 1.0]))
    assert teaches(two_rewards(0, [1.0, 0.0], [0.0, 1.0]), by_reward=True)
    assert not teaches(two_rewards(0, [1.0, 1.0], [0.5, 0.5]), by_reward=True)
    drops = [RewardConfig(name="math", path="mine.py:f", on_status=OnStatusConfig(timeout="drop_group"))]
    (dropped,) = settled([group(0, [1.0, 0.0, 0.0], ["ok", "wrong", "timeout"])], drops)
    assert not teaches(dropped) and [one.left_out for one in dropped.judged] == [
        "with its group: math: timeout", "with its group: math: timeout", "math: timeout",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "algorithm",
    [
        {"advantage": "gae", "gamma": 0.9, "lam": 0.8, "kl": K1, "off_policy": {"correction": "token_mask"}},
        {"advantage": "reinforce_pp", "gamma": 0.9, "off_policy": {"correction": "sequence_truncate"}},
        {"advantage": "grpo", "kl": {"estimator": "k3", "coef": 0.1}, "off_policy": {"correction": "sequence_reject"}},
        {"advantage": "rloo", "kl": K1, "off_policy": {"correction": "token_truncate"}},
    ],
    ids=lambda value: value["advantage"],
)
def test_any_number_of_ranks_gives_the_same_numbers(algorithm: dict[str, Any]) -> None:
    """The critic's ranks are others than the policy's, and the numbers pass from one to the other."""
    groups = [group(n, [1.0, 0.0, 0.5], num_tokens=[2, 3, 5]) for n in range(4)]
    numbers = [10 * n + index for n in range(4) for index in range(3)]
    drawn = random.Random(0)

    def some(scale: float) -> BySample:
        return {n: [-scale * drawn.random() for _ in range((2, 3, 5)[n % 10])] for n in numbers}

    passes: dict[str, Any] = {"proximal": some(2.0), "reference": some(1.0), "kl_coef": 0.1}
    if algorithm["advantage"] == "gae":
        passes["value"] = some(1.0)
    one, metrics = credit(groups, algorithm, **passes)
    for num_ranks in (2, 5):
        several, others = credit(groups, algorithm, **passes, num_ranks=num_ranks)
        assert others == pytest.approx(metrics, rel=1e-12)
        assert several.keys() == one.keys()
        for number, sequence in one.items():
            other = several[number]
            assert (other.tokens, other.mask) == (sequence.tokens, sequence.mask)
            for name in (
                "logprobs",
                "old_logprobs",
                "reference_logprobs",
                "advantages",
                "weights",
                "values",
                "returns",
            ):
                assert getattr(other, name) == pytest.approx(getattr(sequence, name), rel=1e-6), name
