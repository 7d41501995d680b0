"""What every stage is given, and what the training stages do alike: checkpoints, resume, the final artifact."""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rlreason.config.schema import CheckpointConfig
from rlreason.runlog import RunLog, checkpoint_steps, commit_folder, tree_hash
from rlreason.stages.interrupts import Interrupts
from rlreason.types import RunError, UserError
from rlreason.workers.fleet import LearnerFleet


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
        self, config: CheckpointConfig, log: RunLog, learners: LearnerFleet, critic: LearnerFleet | None = None
    ) -> None:
        self._config, self._log, self._learners, self._critic = config, log, learners, critic
        self.last_step: int | None = None

    def resume(self) -> dict[str, Any]:
        """State of the newest checkpoint, loaded into the learners; {"step": 0} where there is none.

        Metrics and samples of later steps are forgotten: those steps are about to be done again.
        """
        steps = checkpoint_steps(self._log.checkpoints)
        if not steps:
            self._log.cut_after(-1)
            return {"step": 0}
        folder = self._folder(steps[-1])
        state: dict[str, Any] = json.loads((folder / "state.json").read_text())
        self._learners.load_checkpoint(folder)
        if self._critic is not None:
            self._critic.load_checkpoint(folder / "critic")
        self._log.cut_after(state["step"])
        self._log.event("resume", step=state["step"])
        self.last_step = state["step"]
        return state

    def is_due(self, step: int) -> bool:
        return self._config.every is not None and step % self._config.every == 0

    def save(self, state: dict[str, Any]) -> None:
        """Raises NotFinite where the model makes no numbers, RunError where the disk is full; older checkpoints stay as
        they are.
        """
        step = state["step"]
        if self.last_step == step:
            return
        for fleet in filter(None, (self._learners, self._critic)):
            fleet.require_finite_output()
        aside = self._log.checkpoints / f".writing-{step:06d}"
        shutil.rmtree(aside, ignore_errors=True)
        try:
            aside.mkdir(parents=True)
            self._learners.save_checkpoint(aside)
            if self._critic is not None:
                (aside / "critic").mkdir()
                self._critic.save_checkpoint(aside / "critic")
            (aside / "state.json").write_text(json.dumps(state))
            commit_folder(aside, self._folder(step))
        except (OSError, RunError) as error:
            # torch does not say that a disk is full.
            free = shutil.disk_usage(aside if aside.exists() else self._log.path).free
            shutil.rmtree(aside, ignore_errors=True)
            raise RunError(
                f"step {step}: no checkpoint: {error} ({free / 1e6:.1f} MB are free on that disk); "
                f"mend that, then add --resume to go on from step {self.last_step or 0}"
            ) from None
        self.last_step = step
        self._log.event("checkpoint", step=step)
        for old in checkpoint_steps(self._log.checkpoints)[: -self._config.keep]:
            shutil.rmtree(self._folder(old))

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
    aside.mkdir()
    if model is None:
        learners.save_model(aside)
    else:
        shutil.copytree(model, aside, dirs_exist_ok=True)
    tokenizer.save_pretrained(aside)
    for name, body in (files or {}).items():
        (aside / name).write_text(json.dumps(body, indent=2))
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
    origin = {
        "parents": {
            name: {"path": str(path), "hash": job.inputs["parents"][name]} for name, path in job.parents.items()
        },
        "inputs": job.inputs,
    }
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
        raise UserError(f"model `{model}`: not a Hugging Face checkpoint: it has no config.json")
    if not any(path.glob("*.safetensors")):
        raise UserError(f"model `{model}`: has no .safetensors file; other weight formats are not loaded")


Stage = Callable[[Any, Job], dict[str, float]]
"""A stage's `run(config, job)`: returns its evaluation figures."""
