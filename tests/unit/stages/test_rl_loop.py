"""What an error costs the RL loop, which is the real one: its engines and learners are numbers in this process."""

import resource
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from rlreason.runlog import RunLog, checkpoint_steps
from rlreason.running.interrupts import Interrupts
from rlreason.running.job import Job
from rlreason.stages.rl import train
from rlreason.types import BatchSize, Group, PromptTask, RunError, TrainSequence
from tests.batches import Learners
from tests.conftest import read_lines, untimed
from tests.unit.stages.conftest import group, prompts, rl_config

STEPS = 6
ADVANTAGE = """
from pathlib import Path

def advantage(rewards, groups):
    with Path(__file__ + ".calls").open("a+") as calls:
        calls.write(".")
        calls.seek(0)
        if len(calls.read()) == {at}:
            raise ZeroDivisionError("no such group")
    return rewards - rewards.mean()
"""


class Rollouts:
    """Writes a right and a wrong answer to each prompt."""

    def __init__(self, *, reward_breaks_at: int = 0, dies_at: int = 0, probe_dies_at: int = 0) -> None:
        self.num_batches = self.num_probes = 0
        self.reward_breaks_at, self.dies_at, self.probe_dies_at = reward_breaks_at, dies_at, probe_dies_at

    def submit(self, prompts: list[PromptTask], *, num_samples: int, with_greedy: bool) -> list[list[PromptTask]]:
        return [prompts]

    def wait_any(self, pending: list[Any]) -> tuple[list[Any], list[Any]]:
        self.num_batches += 1
        if self.num_batches == self.dies_at:
            raise RunError("RolloutWorker died")
        return pending, []

    def collect(self, pending: list[list[PromptTask]]) -> tuple[list[Group], dict[str, float]]:
        statuses: Any = ["verifier_error"] * 2 if self.num_batches == self.reward_breaks_at else None
        found = [
            group(int(prompt.task.id.partition("#")[0]), [1.0, 0.0], statuses) for one in pending for prompt in one
        ]
        return found, {"time/rollout_s": 1.0, "time/reward_s": 0.0}

    def restarts(self) -> list[str]:
        return []

    def reload_scorers(self) -> dict[str, str | None]:
        return {}

    def prompt_logprobs(self, tokens: tuple[int, ...]) -> list[list[float]]:
        self.num_probes += 1
        if self.num_probes == self.probe_dies_at:
            raise RunError("EngineDeadError")
        return [[-1.0] * (len(tokens) - 1)]


class Policy(Learners):
    """Weights are one number, which depends on every batch and on their order."""

    prefix = "policy"

    def __init__(self, dies_at: int = 0) -> None:
        super().__init__({})
        self.weights = 1.0
        self.num_submitted = self.num_finished = 0
        self.dies_at = dies_at

    def submit_batch_update(self, indices: Sequence[int], loss: Any, size: BatchSize, *, step: int) -> float:
        self.num_submitted += 1
        sequences = [self.sequences()[index] for index in indices]
        return float(sum(float(one.tokens[2]) * float(one.advantages[2]) for one in sequences))

    def finish_update(self, pending: float) -> dict[str, float]:
        if self.num_finished + 1 == self.dies_at:
            raise RunError("LearnerWorker died")
        self.num_finished += 1
        self.weights = self.weights / 3 + pending
        return {"policy/loss": self.weights, "policy/lr": 1.0, "policy/grad_norm": 1.0}

    def skip_updates(self, count: int) -> None:
        assert count == 0

    def score(self, sequences: list[TrainSequence], *rest: Any) -> list[list[float]]:
        return [[-1.0] * (len(sequence.tokens) - 1) for sequence in sequences]

    def send_weights(self, version: int) -> None: ...

    def require_finite_output(self) -> None: ...

    def save_checkpoint(self, path: Path) -> None:
        (path / "weights").write_text(repr(self.weights))

    def load_checkpoint(self, path: Path) -> None:
        self.weights = float((path / "weights").read_text())


def begin(path: Path, rollouts: Rollouts, policy: Policy, **config: Any) -> float:
    """The weights at the end."""
    log = RunLog(path, config_yaml="", resume=(path / "config.yaml").exists())
    job = Job(name="run", log=log, interrupts=Interrupts())
    try:
        train(rl_config(steps=STEPS, **config), job, prompts(9), {}, rollouts, policy, None)  # type: ignore[arg-type]
    finally:
        log.close()
    return policy.weights


@pytest.fixture
def whole(tmp_path: Path) -> tuple[Path, float]:
    """A run that nothing happened to."""
    return tmp_path / "whole", begin(tmp_path / "whole", Rollouts(), Policy())


ERRORS: dict[str, tuple[Callable[[], Rollouts], str, int]] = {
    "a reward breaks": (lambda: Rollouts(reward_breaks_at=4), "reward `math` broke on 100%", 3),
    "an engine dies": (lambda: Rollouts(dies_at=4), "RolloutWorker died", 3),
    # The fourth probe is that of step 3: its weights are good, and its line is there.
    "an engine dies in a sync": (lambda: Rollouts(probe_dies_at=4), "EngineDeadError", 3),
}


@pytest.mark.parametrize("what", ERRORS)
def test_an_error_costs_at_most_the_step_under_way(what: str, tmp_path: Path, whole: tuple[Path, float]) -> None:
    unhurt, weights = whole
    rollouts, says, step = ERRORS[what]
    run = tmp_path / "run"
    with pytest.raises(RunError, match=says):
        begin(run, rollouts(), Policy())
    assert checkpoint_steps(run / "checkpoints") == [step]
    assert [row["step"] for row in read_lines(run / "metrics.jsonl")] == list(range(1, step + 1))
    assert begin(run, Rollouts(), Policy()) == weights
    assert [{**row, "mismatch/probe_gap_mean": 0.0} for row in untimed(run)] == untimed(unhurt)
    assert read_lines(run / "samples.jsonl") == read_lines(unhurt / "samples.jsonl")


def test_an_error_of_a_users_advantage_costs_at_most_the_step_under_way(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.py", tmp_path / "bad.py"
    good.write_text(ADVANTAGE.format(at=0))
    bad.write_text(ADVANTAGE.format(at=3))
    weights = begin(tmp_path / "whole", Rollouts(), Policy(), algorithm={"advantage": f"{good}:advantage"})
    with pytest.raises(ZeroDivisionError):
        begin(tmp_path / "run", Rollouts(), Policy(), algorithm={"advantage": f"{bad}:advantage"})
    assert checkpoint_steps(tmp_path / "run/checkpoints") == [2]
    assert begin(tmp_path / "run", Rollouts(), Policy(), algorithm={"advantage": f"{good}:advantage"}) == weights
    assert untimed(tmp_path / "run") == untimed(tmp_path / "whole")


def test_a_learner_that_dies_costs_the_steps_since_the_last_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="LearnerWorker died"):
        begin(tmp_path, Rollouts(), Policy(dies_at=4), checkpoints={"every": 2})
    assert checkpoint_steps(tmp_path / "checkpoints") == [2]
    last = [row for row in read_lines(tmp_path / "events.jsonl") if row["event"] == "no checkpoint"]
    assert len(last) == 1


def test_a_disk_that_is_full_for_samples_costs_at_most_the_step_under_way(
    tmp_path: Path, whole: tuple[Path, float]
) -> None:
    unhurt, weights = whole
    run, limits = tmp_path / "run", resource.getrlimit(resource.RLIMIT_FSIZE)
    size = (unhurt / "samples.jsonl").stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2 + 1, limits[1]))
    try:
        with pytest.raises(RunError, match=r"^cannot write .*samples\.jsonl: File too large$"):
            begin(run, Rollouts(), Policy())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    (step,) = checkpoint_steps(run / "checkpoints")
    assert step == STEPS // 2 == read_lines(run / "metrics.jsonl")[-1]["step"]
    assert begin(run, Rollouts(), Policy()) == weights
    assert untimed(run) == untimed(unhurt)
    assert read_lines(run / "samples.jsonl") == read_lines(unhurt / "samples.jsonl")
