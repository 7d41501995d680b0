"""The guard's figures and limits, and the normaliser, against numbers worked out by hand."""

import json
import math
import random
import statistics

import pytest

from rlreason.algorithms.guard import KL, LENGTH, Guard, compression_ratio, disagreement, distinct_2
from rlreason.algorithms.normaliser import Normaliser
from rlreason.config.guard import GuardConfig


def test_distinct_2_by_hand() -> None:
    # (1, 2), (2, 1), (1, 2), (2, 1): 2 of 4; three different of three; fewer than two tokens
    assert distinct_2([[1, 2, 1, 2, 1], [1, 2, 3, 4], [5], []]) == pytest.approx((0.5 + 1 + 1 + 1) / 4)


def test_compression_tells_repetition_and_sameness() -> None:
    rng = random.Random(0)
    different = ["".join(rng.choices("abcdefghijklmnop", k=60)) for _ in range(20)]
    assert compression_ratio(["the " * 15] * 20) > 5 * compression_ratio(different)
    assert compression_ratio(different[:1] * 20) > 5 * compression_ratio(different), "all alike"
    assert compression_ratio([""]) == 1.0


def test_disagreement_by_hand() -> None:
    # Standardised both are -1, 1; then -1, 1 beside 1, -1: a standard deviation of 1 on each sample.
    assert disagreement([{"a": 0.0, "b": 10.0}, {"a": 2.0, "b": 30.0}]) == 0.0
    assert disagreement([{"a": 0.0, "b": 30.0}, {"a": 2.0, "b": 10.0}]) == 1.0
    # Equal scores are 0 throughout: deviations of (-1, 0) and (1, 0) are 1/2.
    assert disagreement([{"a": 0.0, "b": 7.0}, {"a": 2.0, "b": 7.0}]) == 0.5


def test_disagreement_is_of_answers_that_two_models_scored() -> None:
    shared = [{"a": 0.0, "b": 10.0}, {"a": 2.0, "b": 30.0}]
    assert disagreement([*shared, {"a": 99.0}, {}]) == 0.0, "a score that is not there is not a score of 0"
    assert disagreement([{"a": 1.0}, {"b": 1.0}, {}]) is None


def test_gold_that_falls_is_found_after_the_patience() -> None:
    guard = Guard(GuardConfig(gold="g", gold_tolerance=0.1, patience=2))
    # Of the 1.3 gained a tenth, 0.13, may be lost: down to 0.67.
    told = [
        bool(guard.observe(step, {"g": value})) for step, value in enumerate([-0.5, 0.8, 0.68, 0.66, 0.68, 0.66, 0.6])
    ]
    assert told == [False, False, False, False, False, False, True]
    assert guard.best_step == 1
    assert guard.is_below
    (finding,) = guard.observe(7, {"g": 0.5})
    assert (finding.what, finding.message) == ("gold", "g fell to 0.5, from 0.8 at step 1")
    assert guard.observe(8, {}) == guard.observe(9, {"g": float("nan")}) == []


def test_noise_about_what_has_gained_nothing_is_no_fall() -> None:
    guard = Guard(GuardConfig(gold="g", gold_tolerance=0.05, patience=1))
    assert not any(guard.observe(step, {"g": value}) for step, value in enumerate([0.2, 0.195, 0.191, 0.199]))
    assert guard.observe(4, {"g": 0.189})
    negative = Guard(GuardConfig(gold="g", gold_tolerance=0.05, patience=1))
    assert not negative.observe(0, {"g": -2.0}) and not negative.observe(1, {"g": -2.09})
    assert negative.observe(2, {"g": -2.11})


@pytest.mark.parametrize(
    ("key", "usual", "bad", "what"),
    [
        ("guard/distinct_2", 0.8, 0.39, "repetition"),
        ("guard/compression_ratio", 2.0, 4.1, "repetition"),
        ("response/tokens_mean", 20.0, 41.0, "length"),
        ("response/tokens_mean", 20.0, 9.0, "length"),
        ("guard/disagreement", 0.2, 0.61, "disagreement"),
        ("policy/kl", 0.1, 0.6, "kl"),
    ],
)
def test_drift_from_the_first_steps_is_found(key: str, usual: float, bad: float, what: str) -> None:
    guard = Guard(GuardConfig(max_kl=0.5, baseline_steps=2))
    assert not any(guard.observe(step, {key: usual}) for step in range(5))
    (finding,) = guard.observe(5, {key: bad})
    assert finding.what == what and f"{bad:.4g}" in finding.message


def test_a_resumed_guard_goes_on() -> None:
    rows = [{"g": 0.1 * step if step < 6 else 0.2, "response/tokens_mean": 10.0 * (1 + step)} for step in range(9)]
    config = GuardConfig(gold="g")
    whole = Guard(config)
    expected = [whole.observe(step, row) for step, row in enumerate(rows)]
    first = Guard(config)
    found = [first.observe(step, row) for step, row in enumerate(rows[:4])]
    second = Guard(config, json.loads(json.dumps(first.state())))
    found += [second.observe(step, row) for step, row in enumerate(rows[4:], 4)]
    assert found == expected and any(expected)


def test_a_finding_is_new_once() -> None:
    guard = Guard(GuardConfig(max_kl=0.5))
    told = [[f.is_new for f in guard.observe(step, {"policy/kl": kl})] for step, kl in enumerate([0.6, 0.7, 0.4, 0.8])]
    assert told == [[True], [False], [], [True]]
    assert guard.observe(4, {"reward/mean": 1.0}) == [], "what is not there is not judged"
    assert [f.is_new for f in guard.observe(5, {"policy/kl": 0.9})] == [False]


def test_a_saved_state_is_not_changed_by_what_comes_after() -> None:
    guard = Guard(GuardConfig(gold="g"))
    guard.observe(0, {"g": 1.0, "response/tokens_mean": 10.0})
    saved = guard.state()
    before = json.dumps(saved)
    guard.observe(1, {"g": 2.0, "response/tokens_mean": 20.0})
    assert json.dumps(saved) == before
    Guard(GuardConfig(gold="g"), saved).observe(1, {"g": 2.0, "response/tokens_mean": 20.0})
    assert json.dumps(saved) == before


def test_another_model_gets_a_baseline_of_its_own() -> None:
    guard = Guard(GuardConfig(baseline_steps=1))
    key = "guard/disagreement"
    assert not guard.observe(0, {key: 0.1}) and guard.observe(1, {key: 0.9})
    guard.begin_anew(key)
    assert not guard.observe(2, {key: 0.9}) and not guard.observe(3, {key: 0.9})
    assert [finding.is_new for finding in guard.observe(4, {key: 9.0})] == [True]


def test_a_true_score_by_another_judge_begins_anew() -> None:
    guard = Guard(GuardConfig(gold="g", patience=1))
    assert not guard.observe(0, {"g": 5.0})
    guard.begin_anew("g")
    assert not guard.observe(1, {"g": 0.5}) and guard.best_step == 1
    assert guard.observe(2, {"g": 0.1})


def test_normaliser_is_that_of_all_scores_so_far() -> None:
    rng = random.Random(0)
    batches = [[rng.gauss(3.0, 2.0) for _ in range(size)] for size in (1, 5, 0, 7, 40)]
    normaliser, seen = Normaliser(clip=1.5), []
    for batch in batches:
        seen += batch
        mean, std = statistics.fmean(seen), statistics.pstdev(seen)
        expected = [max(-1.5, min(1.5, (score - mean) / std)) if std else 0.0 for score in batch]
        normaliser.add(batch)
        assert normaliser.normalise(batch) == pytest.approx(expected, abs=1e-9)
        normaliser = Normaliser(clip=1.5, state=json.loads(json.dumps(normaliser.state())))
    assert normaliser.normalise([1e6, -1e6]) == [1.5, -1.5], "outliers are cut"


def test_equal_scores_are_worth_nothing() -> None:
    normaliser = Normaliser(clip=5.0)
    normaliser.add([0.1] * 3)
    assert normaliser.normalise([0.1] * 3) == [0.0] * 3


def test_a_figure_that_is_no_number_is_not_judged_and_no_baseline() -> None:
    guard = Guard(GuardConfig(gold="reward/gold/mean", baseline_steps=1, patience=1, max_kl=1.0))
    assert not guard.observe(1, {"reward/gold/mean": math.nan, LENGTH: math.nan, KL: math.nan})
    assert not guard.observe(2, {"reward/gold/mean": 0.5, LENGTH: 10.0})
    (found,) = guard.observe(3, {"reward/gold/mean": 0.5, LENGTH: 10.0, KL: math.inf})
    assert found.what == "kl" and guard.best_step == 2
