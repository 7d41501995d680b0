"""Which prompts are drawn, which groups are kept, and that no place of the stream is lost or used twice.

The buffer talks to an engine in this process: its rewards are a pure function of the task, and it finishes in a random
order, as real ones do.
"""

import json
import random
from collections import Counter
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlreason.config.schema import RLConfig
from rlreason.rewards.runtime.combine import Judge
from rlreason.rl.buffer import Batch, RolloutBuffer, prompt_at
from rlreason.types import Group, PromptTask, Score
from tests.unit.stages.conftest import MATH, prompts, rl_config, sample

KNOWN = prompts(10)
SEEDS = st.integers(0, 10**6)


def teaches(task_id: str) -> bool:
    """Of the engine's tasks about every second does."""
    return crc32(task_id.encode()) % 2 == 0


@dataclass
class Sent:
    """Groups on their way."""

    prompts: list[PromptTask]
    num_samples: int
    with_greedy: bool
    is_done: bool = False


@dataclass
class Engine:
    """Writes groups of two, and a greedy response whose reward tells the task."""

    rng: random.Random
    sent: list[str] = field(default_factory=list)
    """Ids of all tasks that were ever to be sampled."""

    def submit(self, prompts: list[PromptTask], *, num_samples: int, with_greedy: bool) -> list[Sent]:
        self.sent += [prompt.task.id for prompt in prompts]
        size = self.rng.randint(1, len(prompts))
        chunks = [prompts[start : start + size] for start in range(0, len(prompts), size)]
        return [Sent(chunk, num_samples, with_greedy) for chunk in chunks]

    def wait_any(self, pending: list[Sent]) -> tuple[list[Sent], list[Sent]]:
        for one in self.rng.sample(pending, self.rng.randint(1, len(pending))):
            one.is_done = True
        return [one for one in pending if one.is_done], [one for one in pending if not one.is_done]

    def collect(self, pending: list[Sent]) -> tuple[list[Group], dict[str, float]]:
        return [self._group(prompt, one) for one in pending for prompt in one.prompts], {"time/rollout_s": 1.0}

    def _group(self, prompt: PromptTask, sent: Sent) -> Group:
        last = 0.0 if teaches(prompt.task.id) else 1.0
        values = [1.0] * (sent.num_samples - 1) + [last]
        samples = [replace(sample("0", index), task_id=prompt.task.id) for index in range(len(values))]
        greedy = (samples[0], {"math": Score(greedy_reward(prompt.task.id))}) if sent.with_greedy else None
        return Judge(MATH).settle(prompt.task, samples, [{"math": Score(value)} for value in values], greedy)


def greedy_reward(task_id: str) -> float:
    return crc32(task_id.encode()) / 2**32


def buffer(config: RLConfig, engine: Engine, state: dict[str, Any] | None = None) -> RolloutBuffer:
    return RolloutBuffer(config, KNOWN, typed(engine), state)


def typed(engine: Engine) -> Any:
    return engine


def stream(config: RLConfig, num_places: int, known: list[PromptTask] = KNOWN) -> list[str]:
    """Ids at the first places."""
    return [prompt_at(known, place, config.seed).task.id for place in range(num_places)]


def ids(groups: list[Group]) -> list[str]:
    return [group.task.id for group in groups]


def batches(config: RLConfig, engine: Engine, num: int) -> list[Batch]:
    """So many, as the loop draws them."""
    found, one = [], buffer(config, engine)
    for step in range(num):
        while one.num_under_way <= config.max_staleness and step + one.num_under_way < num:
            one.start()
        found.append(one.collect())
    return found


def dynamic(**fields: Any) -> RLConfig:
    max_draws = fields.pop("max_draws", 50)
    return rl_config(algorithm={"dynamic_sampling": {"max_draws": max_draws}}, **fields)


@given(finishes=SEEDS, seed=SEEDS, staleness=st.integers(0, 2))
def test_a_batch_is_the_next_prompts_of_the_stream_however_engines_finish(
    finishes: int, seed: int, staleness: int
) -> None:
    config = rl_config(seed=seed, max_staleness=staleness)
    found = batches(config, Engine(random.Random(finishes)), 5)
    assert [len(batch.groups) for batch in found] == [4] * 5
    assert [id for batch in found for id in ids(batch.groups)] == stream(config, 20)
    assert all(batch.kept == batch.groups and batch.metrics == {"time/rollout_s": 1.0} for batch in found)


def test_each_prompt_is_used_once_an_epoch() -> None:
    found = [prompt.partition("#") for prompt in stream(rl_config(), 30)]
    epochs = [[name for name, _, _ in found[start : start + 10]] for start in (0, 10, 20)]
    assert all(sorted(epoch) == sorted(prompt.task.id for prompt in KNOWN) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3, "each epoch has its own order"
    assert [epoch for _, _, epoch in found] == [""] * 10 + ["2"] * 10 + ["3"] * 10
    assert stream(rl_config(seed=1), 10) != stream(rl_config(), 10)


@given(seed=SEEDS)
def test_no_id_is_twice_in_the_stream(seed: int) -> None:
    """Request seeds are a function of version, task and index: the second group would be a copy of the first."""
    found = stream(rl_config(seed=seed), 35)
    assert len(set(found)) == len(found)


@given(finishes=SEEDS, seed=SEEDS)
def test_dynamic_sampling_draws_the_shortest_stretch_with_enough_that_teach(finishes: int, seed: int) -> None:
    config = dynamic(seed=seed)
    found = batches(config, Engine(random.Random(finishes)), 3)
    names = stream(config, sum(len(batch.groups) for batch in found))
    for batch in found:
        drawn, names = names[: len(batch.groups)], names[len(batch.groups) :]
        assert ids(batch.groups) == drawn, "all of it, in the order of the stream"
        assert ids(batch.kept) == [name for name in drawn if teaches(name)] and len(batch.kept) == 4
        assert teaches(drawn[-1]), "without its last prompt there would be too few"
        assert batch.metrics["sampling/groups_drawn"] == len(drawn) and batch.metrics["sampling/groups_kept"] == 4


@given(finishes=SEEDS, others=SEEDS, seed=SEEDS, staleness=st.integers(0, 2))
def test_dynamic_sampling_does_not_depend_on_who_finishes_first(
    finishes: int, others: int, seed: int, staleness: int
) -> None:
    config = dynamic(seed=seed, max_staleness=staleness, max_draws=2)
    assert batches(config, Engine(random.Random(finishes)), 4) == batches(config, Engine(random.Random(others)), 4)


@pytest.mark.parametrize(("max_draws", "num_drawn"), [(1.0, 4), (1.3, 5), (2.5, 10)])
@given(finishes=SEEDS, num_teaching=st.integers(0, 3))
def test_dynamic_sampling_stops_when_its_draws_are_used_up(
    max_draws: float, num_drawn: int, finishes: int, num_teaching: int
) -> None:
    """What it has by then is kept. 1.3 x 4 are 5 whole draws."""
    known = [prompt for prompt in prompts(50) if not teaches(prompt.task.id)][: 10 - num_teaching]
    known += [prompt for prompt in prompts(50) if teaches(prompt.task.id)][:num_teaching]
    config, engine = dynamic(max_draws=max_draws), Engine(random.Random(finishes))
    one = RolloutBuffer(config, known, typed(engine), None)
    one.start()
    batch = one.collect()
    assert ids(batch.groups) == stream(config, num_drawn, known) and len(engine.sent) == num_drawn
    assert ids(batch.kept) == list(filter(teaches, ids(batch.groups)))


def test_dynamic_sampling_goes_on_into_the_next_epoch() -> None:
    """Two prompts cannot fill a batch of four; what was accepted is not thrown away when the data ends."""
    one = RolloutBuffer(dynamic(), KNOWN[:2], typed(Engine(random.Random(0))), None)
    one.start()
    batch = one.collect()
    names = stream(dynamic(), len(batch.groups), KNOWN[:2])
    assert ids(batch.groups) == names and ids(batch.kept) == list(filter(teaches, names)) and len(batch.kept) == 4
    assert Counter(name.partition("#")[0] for name in names[:4]) == {"0": 2, "1": 2}


@st.composite
def lives(draw: st.DrawFn) -> list[tuple[int, int, bool]]:
    """For each life of the driver: batches that it finishes, its staleness, whether it dies while it waits."""
    life = st.tuples(st.integers(0, 3), st.integers(0, 2), st.booleans())
    return draw(st.lists(life, min_size=1, max_size=5))


@given(lives=lives(), finishes=SEEDS, is_dynamic=st.booleans())
def test_each_place_is_used_once_over_any_number_of_kills(
    lives: list[tuple[int, int, bool]], finishes: int, is_dynamic: bool
) -> None:
    """What was under way at a kill is drawn again; at the end the places that were used are the first ones, all."""
    make = dynamic if is_dynamic else rl_config
    engine, state, used = Engine(random.Random(finishes)), None, []
    steps = sum(num for num, _, _ in lives)
    step = 0
    for num, staleness, dies_waiting in lives:
        config = make(max_staleness=staleness)
        one = buffer(config, engine, state)
        for _ in range(num):
            while one.num_under_way <= staleness and step + one.num_under_way < steps:
                one.start()
            used += ids(one.collect().groups)
            step, state = step + 1, json.loads(json.dumps(one.state()))
        if dies_waiting:
            one.start()  # is in no checkpoint
            one.collect()
    if state is not None:
        assert state["again"] == [] and Counter(used) == Counter(stream(rl_config(), state["next"]))


@given(finishes=SEEDS, staleness=st.integers(0, 2), killed_after=st.integers(1, 4))
def test_a_resumed_run_draws_what_the_uninterrupted_one_would_have(
    finishes: int, staleness: int, killed_after: int
) -> None:
    config = dynamic(max_staleness=staleness, max_draws=2)
    whole = [ids(batch.groups) for batch in batches(config, Engine(random.Random(0)), 5)]
    engine, found, step = Engine(random.Random(finishes)), [], 0
    one = buffer(config, engine)
    while step < 5:
        while one.num_under_way <= staleness and step + one.num_under_way < 5:
            one.start()
        found.append(ids(one.collect().groups))
        step += 1
        if step == killed_after:
            one = buffer(config, engine, one.state())
            assert one.num_under_way == 0
    assert found == whole


@given(finishes=SEEDS)
def test_each_group_gets_the_greedy_verdict_of_its_own_prompt(finishes: int) -> None:
    found = batches(rl_config(algorithm={"advantage": "remax"}), Engine(random.Random(finishes)), 3)
    groups = list(chain.from_iterable(batch.groups for batch in found))
    assert [group.greedy and group.greedy.reward for group in groups] == [
        greedy_reward(group.task.id) for group in groups
    ]
    assert all(len(group.judged) == 2 for group in groups)


def test_without_remax_nothing_is_written_greedily() -> None:
    assert {group.greedy for batch in batches(rl_config(), Engine(random.Random(0)), 2) for group in batch.groups} == {
        None
    }
