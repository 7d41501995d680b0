"""What every stage is given, and what the training stages do alike: checkpoints, resume, the final artifact."""

import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rlreason.config.schema import CheckpointConfig
from rlreason.runlog import (
    RunLog,
    checkpoint_fault,
    checkpoint_steps,
    commit_folder,
    seal_checkpoint,
    tree_hash,
    writing,
)
from rlreason.running.console import say
from rlreason.running.interrupts import GRACE_S, Interrupts
from rlreason.running.lineage import known_now
from rlreason.types import Lost, NotFinite, RunError, UserError
from rlreason.workers.learner_fleet import LearnerFleet


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One stage about to run.

    Example: Job(name="60-rl", log=log, interrupts=interrupts, parents={"40-sft": Path("runs/x/40-sft/final")})
    """

    name: str
    log: RunLog
    interrupts: Interrupts
    parents: Mapping[str, Path] = field(default_factory=dict)
    """Artifacts of earlier stages that the configuration names, by stage."""
    inputs: dict[str, Any] = field(default_factory=dict)
    """What decides the result (lineage.fingerprint)."""
    kind: str = ""
    """Of the stage."""

    def begin(self) -> None:
        """Told at the start already, so that a resumed recipe knows what a stage that is not done was begun with."""
        self.log.manifest(status="running", kind=self.kind, name=self.name, inputs=self.inputs)

    def parent_replaced(self, path: Path, digest: str) -> None:
        """The artifact at `path` is another one from now on, and the stage goes on with it."""
        names = [name for name, parent in self.parents.items() if parent.resolve() == path.resolve()]
        if names:
            self.inputs["parents"] |= dict.fromkeys(names, digest)
            self.begin()


class Checkpointer:
    """Writes and finds the checkpoints of one run: a folder appears whole or not at all."""

    def __init__(
        self, config: CheckpointConfig, job: Job, learners: LearnerFleet, critic: LearnerFleet | None = None
    ) -> None:
        self._config, self._job, self._log = config, job, job.log
        self._learners, self._critic = learners, critic
        self._fleets = [learners, critic] if critic is not None else [learners]
        self._saved_s, self._took_s = time.monotonic(), 0.0
        self.last_step: int | None = None
        self._state: dict[str, Any] = {}
        self._num_updates: list[int] = []

    def resume(self) -> dict[str, Any]:
        """State of the newest whole checkpoint, loaded into the learners; {"step": 0} where there is none.

        Metrics and samples of later steps are forgotten: those steps are about to be done again. A torn checkpoint is
        put aside with an event.
        """
        for step in reversed(checkpoint_steps(self._log.checkpoints)):
            folder = self._folder(step)
            if (reason := checkpoint_fault(folder)) is None:
                break
            self._log.event("torn checkpoint", step=step, reason=reason)
            say(f"{self._job.name}: the checkpoint of step {step} is torn ({reason}); trying the one before it")
            shutil.rmtree(aside := folder.with_name(f"torn-{step:06d}"), ignore_errors=True)
            folder.rename(aside)
        else:
            self._log.cut_after(-1)
            return {"step": 0}
        state: dict[str, Any] = json.loads((folder / "state.json").read_text())
        del state["inputs"]
        unwritten = state.pop("unwritten")
        self._learners.load_checkpoint(folder)
        if self._critic is not None:
            self._critic.load_checkpoint(folder / "critic")
        self._log.cut_after(state["step"])
        self._log.restore(unwritten, state["step"])
        self._log.event("resume", step=state["step"])
        self.last_step = state["step"]
        self._saved_s = time.monotonic()
        return state

    def is_due(self, step: int) -> bool:
        """After `every` steps, or where the last checkpoint is older than `every_s`."""
        by_steps, every_s = self._config.every, self._config.every_s
        if by_steps is not None and step % by_steps == 0:
            return True
        return every_s is not None and time.monotonic() - self._saved_s >= max(every_s, 10 * self._took_s)

    def save(self, state: dict[str, Any]) -> None:
        """Raises NotFinite where the model makes no numbers, RunError where the disk is full; older checkpoints stay as
        they are.
        """
        step, start_s = state["step"], time.monotonic()
        if self.last_step == step:
            return
        for fleet in self._fleets:
            fleet.require_finite_output()
        aside = self._log.checkpoints / f".writing-{step:06d}"
        shutil.rmtree(aside, ignore_errors=True)
        try:
            aside.mkdir(parents=True)
            self._learners.save_checkpoint(aside)
            if self._critic is not None:
                (aside / "critic").mkdir()
                self._critic.save_checkpoint(aside / "critic")
            more = {"inputs": known_now(self._job.inputs), "unwritten": self._log.unwritten}
            (aside / "state.json").write_text(json.dumps(state | more))
            seal_checkpoint(aside)
            commit_folder(aside, self._folder(step))
        except (OSError, RunError) as error:
            # torch does not say that a disk is full.
            free = shutil.disk_usage(aside if aside.exists() else self._log.path).free
            shutil.rmtree(aside, ignore_errors=True)
            if isinstance(error, Lost):
                raise
            raise RunError(
                f"step {step}: no checkpoint: {error} ({free / 1e6:.1f} MB are free on that disk); "
                f"mend that, then add --resume to go on from step {self.last_step or 0}"
            ) from None
        self.last_step = step
        self._saved_s, self._took_s = time.monotonic(), time.monotonic() - start_s
        self._log.event("checkpoint", step=step)
        for old in checkpoint_steps(self._log.checkpoints)[: -self._config.keep]:
            shutil.rmtree(self._folder(old))
        for torn in self._log.checkpoints.glob("torn-*"):
            shutil.rmtree(torn)

    def keep(self, state: dict[str, Any]) -> None:
        """`state` is what a checkpoint of the present weights says, until the learners are given another update."""
        self._state, self._num_updates = state, [fleet.num_finished for fleet in self._fleets]

    @contextmanager
    def rescue(self, state: dict[str, Any], settle: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Whatever ends the block early costs at most the step under way: the last state that was kept, at first
        `state`, is saved if the weights are still its own. `settle` is called before: it finishes submitted updates.
        """
        self.keep(state)
        is_done = False
        try:
            yield
            is_done = True
        finally:
            if not is_done:
                self._save_at_the_end(settle, isinstance(sys.exception(), KeyboardInterrupt))

    def _save_at_the_end(self, settle: Callable[[], None], is_interrupt: bool) -> None:
        """Raises nothing, so that the user reads of what ended the run and not of what followed from it."""
        interrupts, name = self._job.interrupts, self._job.name
        if isinstance(sys.exception(), NotFinite):
            return
        reason = "the step under way was cut off"
        if not interrupts.is_broken:
            try:
                with interrupts.at_most(max(GRACE_S, 2 * self._took_s) if is_interrupt else None):
                    with suppress(RunError):  # a full disk again; whether the updates are finished is seen below
                        settle()
                    # Before the first step there is nothing to lose, and a user who mends a mistake begins anew.
                    if self._state["step"] == 0 and not is_interrupt:
                        return
                    self._require_settled()
                    self.save(self._state)
                if not is_interrupt:
                    say(f"{name}: checkpoint of step {self.last_step}; --resume goes on from there")
                return
            except KeyboardInterrupt:
                reason = "it was not written in time"
            except (UserError, RunError) as error:
                reason = str(error)
        with suppress(RunError):
            self._log.event("no checkpoint", reason=reason)
        last = (
            "there is no earlier one, so the run would begin anew"
            if self.last_step is None
            else f"the last one is of step {self.last_step}"
        )
        interrupts.remark = f"no checkpoint was written of the last step ({reason}): {last}"
        if not is_interrupt:
            say(f"{name}: {interrupts.remark}")

    def _require_settled(self) -> None:
        done = [fleet.num_finished for fleet in self._fleets]
        if done != self._num_updates or done != [fleet.num_submitted for fleet in self._fleets]:
            raise RunError("the step under way was cut off")

    def _folder(self, step: int) -> Path:
        return self._log.checkpoints / f"step-{step:06d}"


def save_final(
    job: Job,
    learners: LearnerFleet,
    tokenizer: Any,
    *,
    kind: str,
    config: dict[str, Any],
    files: Mapping[str, Any] | None = None,
    model: Path | None = None,
    step: int | None = None,
) -> None:
    """Writes final/ and manifest.json. `files`: further JSON files of final/, by name. `model`: a folder with an
    earlier state of the model, in place of the present one. `step`: whose model it is; null: the last one.
    """
    aside = job.log.path / ".writing-final"
    shutil.rmtree(aside, ignore_errors=True)
    with writing(aside):
        aside.mkdir()
        tokenizer.save_pretrained(aside)
        for name, body in (files or {}).items():
            (aside / name).write_text(json.dumps(body, indent=2))
        if model is None:
            learners.save_model(aside)
        else:
            shutil.copytree(model, aside, dirs_exist_ok=True)
    commit_folder(aside, job.log.final)
    write_manifest(job, config, kind=kind, **({} if step is None else {"step": step}))


def write_manifest(job: Job, config: dict[str, Any], *, kind: str, **figures: Any) -> None:
    """manifest.json: what the artifact in final/ is, what it was made of, and with which packages."""
    own: dict[str, Any] = {}
    if job.log.final.is_dir():
        own["artifact_hash"] = tree_hash(job.log.final)
    if (job.log.final / "tokenizer_config.json").is_file():
        from rlreason.data.chat import load_tokenizer, template_hash, tokenizer_hash

        tokenizer = load_tokenizer(str(job.log.final))
        own |= {"tokenizer_hash": tokenizer_hash(tokenizer), "chat_template_hash": template_hash(tokenizer)}
    made_of = {name: {"path": str(path), "hash": job.inputs["parents"][name]} for name, path in job.parents.items()}
    # What a forced resume left behind is still in the weights.
    for change in job.inputs.get("forced", []):
        section, _, name = change["key"].partition(".")
        if section == "parents" and change["then"] is not None:
            made_of.setdefault(name, {"path": name, "hash": change["then"]})
    origin = {"parents": made_of, "inputs": job.inputs}
    job.log.manifest(status="done", kind=kind, name=job.name, **origin, **own, **figures, config=config)


def require_model(model: str) -> None:
    """Raises UserError where a local path is not a model, before any worker starts."""
    path = Path(model)
    looks_local = path.exists() or model.startswith((".", "/", "~")) or model.count("/") > 1
    if not looks_local:
        return
    if not path.is_dir():
        raise UserError(f"model `{model}`: no such directory")
    if not (path / "config.json").is_file():
        made = [
            found.parent
            for found in (path / "final/config.json", *sorted(path.glob("*/final/config.json")))
            if found.is_file()
        ]
        if made:
            raise UserError(f"model `{model}`: is a run directory; its model is {made[-1]}")
        raise UserError(f"model `{model}`: not a Hugging Face checkpoint: it has no config.json")
    if not any(path.glob("*.safetensors")):
        raise UserError(f"model `{model}`: has no .safetensors file; other weight formats are not loaded")


Stage = Callable[[Any, Job], dict[str, float]]
"""A stage's `run(config, job)`: returns its evaluation figures."""
