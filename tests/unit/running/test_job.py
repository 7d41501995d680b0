"""Checkpoints of a training stage: when they are written, what an error or a signal costs, torn ones, full disks.

The loop is the real one of the stages that train on rows; its learners are a number in this process.
"""

import json
import os
import resource
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlreason.config.schema import PretrainConfig
from rlreason.runlog import RunLog, checkpoint_steps
from rlreason.running import interrupts as interrupts_module
from rlreason.running.interrupts import Interrupts
from rlreason.running.job import Checkpointer, Job, require_model
from rlreason.stages.supervised import LOSS, train
from rlreason.types import NotFinite, RunError, TrainSequence, UserError
from tests.conftest import read_lines, untimed

STEPS = 8


class Learners:
    """Weights are one number, which depends on every batch and on their order."""

    prefix = "policy"

    def __init__(self) -> None:
        self.weights = 1.0
        self.dies_at: int | None = None
        self.hangs_at: int | None = None
        self.hangs_in_a_checkpoint = False
        self.num_submitted = self.num_finished = 0

    def require_finite_output(self) -> None:
        if self.weights != self.weights:
            raise NotFinite("the model makes no numbers")

    def submit_update(self, sequences: list[TrainSequence], loss: Any, step: int) -> int:
        self.num_submitted += 1
        return sequences[0].tokens[0]

    def finish_update(self, token: int) -> dict[str, float]:
        if self.num_finished + 1 == self.dies_at:
            self.weights = float("nan")
            raise RunError("the loss is not finite")
        if self.num_finished + 1 == self.hangs_at:
            os.kill(os.getpid(), signal.SIGTERM)
            threading.Event().wait(30)
        self.weights = self.weights / 3 + token
        self.num_finished += 1
        return {"policy/loss": self.weights} | {f"policy/more_{number}": 0.5 for number in range(40)}

    def save_checkpoint(self, path: Path) -> None:
        if self.hangs_in_a_checkpoint:
            threading.Event().wait(30)
        (path / "weights").write_text(repr(self.weights))

    def load_checkpoint(self, path: Path) -> None:
        self.weights = float((path / "weights").read_text())


class Stream:
    """Counts; `fails_at` is a row that cannot be encoded."""

    def __init__(self, state: Any, fails_at: int | None = None) -> None:
        self.place, self.fails_at = state or 0, fails_at

    def batch(self, size: int, /) -> list[TrainSequence]:
        if self.place == self.fails_at:
            raise UserError(f"data `mine`, row {self.place}: is not text")
        self.place += 1
        return [TrainSequence(tokens=(self.place, 0), mask=(0, 1))]

    def state(self) -> int:
        return self.place

    def metrics(self) -> dict[str, float]:
        return {}


class Run:
    """Stages on one run directory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.interrupts = Interrupts()

    def __call__(
        self,
        learners: Learners,
        *,
        fails_at: int | None = None,
        signals: bool = False,
        held_out: Any = None,
        **checkpoints: Any,
    ) -> float:
        """The weights at the end."""
        body = {
            "stage": "pretrain", "model": "m", "data": {"path": "x"}, "steps": STEPS, "tokens_per_step": 1,
            "learner": {"lr": 1}, "checkpoints": checkpoints,
        }  # fmt: skip
        log = RunLog(self.path, config_yaml="", resume=(self.path / "config.yaml").exists())
        self.interrupts = Interrupts()
        job = Job(name="run", log=log, interrupts=self.interrupts, inputs={"config": body})

        def begin() -> None:
            config = PretrainConfig.model_validate(body)
            train(config, job, learners, lambda state: Stream(state, fails_at), 1, LOSS, held_out)  # type: ignore[arg-type]

        try:
            if signals:
                with self.interrupts.installed():
                    begin()
            else:
                begin()
        finally:
            log.close()
        return learners.weights

    @property
    def steps(self) -> list[int]:
        return checkpoint_steps(self.path / "checkpoints")

    @property
    def lines(self) -> list[int]:
        return [row["step"] for row in read_lines(self.path / "metrics.jsonl")]

    def events(self, kind: str) -> list[dict[str, Any]]:
        return [row for row in read_lines(self.path / "events.jsonl") if row["event"] == kind]


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[[str], Run]:
    return lambda name: Run(tmp_path / name)


@pytest.fixture
def whole(make_run: Callable[[str], Run]) -> tuple[Run, float]:
    """A run that nothing happened to."""
    run = make_run("whole")
    return run, run(Learners())


def test_checkpoints_by_time_change_no_result(make_run: Callable[[str], Run], whole: tuple[Run, float]) -> None:
    unhurt, weights = whole
    assert unhurt.steps == [STEPS], "it took no five minutes"
    always = make_run("always")
    assert always(Learners(), every_s=1e-9, keep=9) == weights
    first, *_, last = [row["step"] for row in always.events("checkpoint")]
    assert first < STEPS == last
    never = make_run("never")
    assert never(Learners(), every_s=None) == weights and never.steps == [STEPS]
    assert untimed(always.path) == untimed(never.path) == untimed(unhurt.path)


def test_a_checkpoint_is_due_by_steps_and_by_time_but_not_for_more_than_a_tenth_of_it(tmp_path: Path) -> None:
    log = RunLog(tmp_path, config_yaml="")
    job = Job(name="a", log=log, interrupts=Interrupts())
    config = PretrainConfig.model_validate(
        {"stage": "pretrain", "model": "m", "data": {"path": "x"}, "steps": 1, "tokens_per_step": 1,
         "learner": {"lr": 1}, "checkpoints": {"every": 3}}
    ).checkpoints  # fmt: skip
    found = Checkpointer(config, job, Learners())  # type: ignore[arg-type]
    assert config.every_s == 300
    assert [step for step in range(1, 10) if found.is_due(step)] == [3, 6, 9]
    found._saved_s = time.monotonic() - 299
    assert not found.is_due(1)
    found._saved_s = time.monotonic() - 301
    assert found.is_due(1)
    found._took_s = 60.0  # a large model on a slow disk
    assert not found.is_due(1)
    found._saved_s = time.monotonic() - 601
    assert found.is_due(1)
    log.close()


@pytest.mark.parametrize("place", [1, 4, 7])
def test_an_error_that_is_not_the_learners_costs_no_finished_step(
    make_run: Callable[[str], Run], whole: tuple[Run, float], place: int
) -> None:
    unhurt, weights = whole
    run = make_run("run")
    with pytest.raises(UserError, match=f"row {place}: is not text"):
        run(Learners(), fails_at=place)
    assert run.steps == [place] == run.lines[-1:]
    assert run(Learners()) == weights
    assert untimed(run.path) == untimed(unhurt.path)


def test_before_the_first_step_there_is_nothing_to_keep(make_run: Callable[[str], Run]) -> None:
    run = make_run("run")
    with pytest.raises(UserError, match="row 0"):
        run(Learners(), fails_at=0)
    assert run.steps == [] and not run.events("no checkpoint")


def test_weights_that_the_learner_spoilt_are_not_kept(make_run: Callable[[str], Run]) -> None:
    run, learners = make_run("run"), Learners()
    learners.dies_at = 6
    with pytest.raises(RunError, match="the loss is not finite"):
        run(learners, every=2)
    assert run.steps == [2, 4] and run.lines == [1, 2, 3, 4, 5]
    (event,) = run.events("no checkpoint")
    assert "cut off" in event["reason"]


class Diverged:
    """A measurement that finds weights that no one can use, at the end of a step that went well."""

    every = 6

    def measure(self, learners: Any, job: Job, step: int, /) -> dict[str, float]:
        if step == 6:
            raise NotFinite("the model makes no numbers")
        return {}


def test_weights_that_make_no_numbers_are_not_kept_although_the_step_was_finished(
    make_run: Callable[[str], Run],
) -> None:
    run = make_run("run")
    with pytest.raises(NotFinite):
        run(Learners(), held_out=Diverged(), every=2, keep=9)
    assert run.steps == [2, 4]


def test_an_error_while_a_bad_step_is_under_way_is_the_one_that_is_told(make_run: Callable[[str], Run]) -> None:
    run, learners = make_run("run"), Learners()
    learners.dies_at = 4
    with pytest.raises(UserError, match="row 4: is not text"):
        run(learners, fails_at=4)  # the row is drawn before step 4 is finished
    assert run.steps == []
    (event,) = run.events("no checkpoint")
    assert "cut off" in event["reason"]


@pytest.mark.parametrize("where", ["in a step", "in its checkpoint"])
def test_one_signal_is_enough_where_a_worker_is_stuck(
    make_run: Callable[[str], Run], whole: tuple[Run, float], where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    unhurt, weights = whole
    monkeypatch.setattr(interrupts_module, "GRACE_S", 0.2)
    monkeypatch.setattr("rlreason.running.job.GRACE_S", 0.2)
    run, learners = make_run("run"), Learners()
    if where == "in a step":
        learners.hangs_at = 5
    else:
        learners.hangs_in_a_checkpoint = True
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGHUP)).start()
    start_s = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run(learners, signals=True, every=2)
    assert time.monotonic() - start_s < 5
    assert run.steps == ([2, 4] if where == "in a step" else [])
    assert "no checkpoint was written" in run.interrupts.remark
    assert ("the last one is of step 4" if where == "in a step" else "there is no earlier one") in run.interrupts.remark
    assert run(Learners(), every=2) == weights
    assert untimed(run.path) == untimed(unhurt.path)


def truncate(path: Path, size: int) -> None:
    with path.open("r+b") as file:
        file.truncate(size)


TEARS: dict[str, Callable[[Path], Any]] = {
    "an empty folder": lambda folder: [path.unlink() for path in folder.iterdir()],
    "an empty file": lambda folder: truncate(folder / "weights", 0),
    "a file that is cut short": lambda folder: truncate(folder / "weights", 2),
    "a file that is missing": lambda folder: (folder / "weights").unlink(),
    "an empty state": lambda folder: truncate(folder / "state.json", 0),
    "a state of zeros": lambda folder: (folder / "state.json").write_bytes(
        bytes((folder / "state.json").stat().st_size)
    ),
    "empty sizes": lambda folder: truncate(folder / "sizes.json", 0),
}


@pytest.mark.parametrize("tear", TEARS)
def test_a_torn_checkpoint_falls_back_to_the_one_before(
    make_run: Callable[[str], Run], whole: tuple[Run, float], tear: str
) -> None:
    unhurt, weights = whole
    run = make_run("run")
    with pytest.raises(UserError):
        run(Learners(), fails_at=6, every=2)
    assert run.steps == [4, 6]
    TEARS[tear](run.path / "checkpoints" / "step-000006")
    assert run(Learners(), every=2) == weights
    (event,) = run.events("torn checkpoint")
    assert event["step"] == 6 and event["reason"]
    assert [row["step"] for row in run.events("resume")] == [4]
    assert untimed(run.path) == untimed(unhurt.path)
    assert sorted(path.name for path in (run.path / "checkpoints").iterdir()) == ["step-000006", "step-000008"]


def test_a_disk_that_is_full_for_a_checkpoint_keeps_the_one_before_and_says_where_to_go_on(
    make_run: Callable[[str], Run], whole: tuple[Run, float]
) -> None:
    _, weights = whole
    run = make_run("run")
    with pytest.raises(UserError):
        run(Learners(), fails_at=4)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    (run.path / "checkpoints" / "step-000004" / "more").write_text("x")  # of no matter: it is not in sizes.json
    learners = Learners()
    learners.save_checkpoint = lambda path: (path / "weights").write_bytes(bytes(1 << 20))  # type: ignore[method-assign,assignment,return-value]
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 19, limits[1]))
    try:
        with pytest.raises(RunError, match=r"step 6: no checkpoint: .*File too large.* to go on from step 4"):
            run(learners, every=6)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert run.steps == [4] and run(Learners()) == weights


def test_a_disk_that_is_full_for_a_line_of_metrics_costs_neither_the_step_nor_the_line(
    make_run: Callable[[str], Run], whole: tuple[Run, float]
) -> None:
    unhurt, weights = whole
    run, limits = make_run("run"), resource.getrlimit(resource.RLIMIT_FSIZE)
    size = (unhurt.path / "metrics.jsonl").stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, limits[1]))
    try:
        with pytest.raises(RunError, match=r"^cannot write .*metrics\.jsonl: File too large$"):
            run(Learners())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    (step,) = run.steps
    assert run.lines == list(range(1, len(run.lines) + 1)) and 1 < len(run.lines) < step < STEPS
    assert run(Learners()) == weights
    assert untimed(run.path) == untimed(unhurt.path)


def test_what_a_checkpoint_was_made_of_is_in_it(make_run: Callable[[str], Run], whole: tuple[Run, float]) -> None:
    state = json.loads((whole[0].path / "checkpoints" / f"step-{STEPS:06d}" / "state.json").read_text())
    assert state["inputs"]["config"]["stage"] == "pretrain"


@pytest.mark.parametrize("final", ["run/final", "run/60-rl/final"])
def test_a_run_directory_as_the_model_is_told_where_its_model_is(tmp_path: Path, final: str) -> None:
    (tmp_path / final).mkdir(parents=True)
    (tmp_path / final / "config.json").write_text("{}")
    with pytest.raises(UserError, match=f"is a run directory; its model is {tmp_path / final}$"):
        require_model(str(tmp_path / "run"))
