"""What an RL stage does about its reward models: newer files loaded, scores standardised, over-optimisation watched."""

import json
import math
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rlreason.algorithms.guard import (
    COMPRESSION,
    DISAGREEMENT,
    DISTINCT,
    Guard,
    compression_ratio,
    disagreement,
)
from rlreason.algorithms.normaliser import Normaliser
from rlreason.config.rewards import RewardConfig
from rlreason.config.schema import RLConfig
from rlreason.rewards.runtime.combine import Judge
from rlreason.rl.buffer import Batch
from rlreason.runlog import commit_folder, tree_hash
from rlreason.running.console import say
from rlreason.running.job import Job
from rlreason.types import FAILED_STATUSES, Group, Judged, PromptTask, Sample, Score, UserError
from rlreason.workers.learner_fleet import LearnerFleet
from rlreason.workers.rollout_fleet import RolloutFleet

MAX_RAISE = 100.0
"""Farthest that `raise_kl` raises the configured coefficient."""


class Watch:
    """State is JSON, for checkpoints; `best/` of the run directory holds the policy of the best gold score."""

    def __init__(
        self, config: RLConfig, job: Job, rollouts: RolloutFleet, policy: LearnerFleet, state: dict[str, Any] | None
    ) -> None:
        self._config, self._job, self._rollouts, self._policy = config, job, rollouts, policy
        self._judge = Judge(config.rewards, config.combine)
        state = state or {}
        self._guard = Guard(config.guard, state.get("guard")) if config.guard else None
        saved = state.get("normalisers", {})
        self._normalisers = {
            reward.name: Normaliser(clip=reward.normalise.clip, state=saved.get(reward.name))
            for reward in config.rewards
            if reward.normalise is not None
        }
        self._models = {reward.name: _identity(reward) for reward in config.rewards if reward.model is not None}
        self._raised_step: int | None = state.get("raised_step")
        self._kl_factor = 1.0
        self._told_best: int | None = None
        self.has_ended: bool = state.get("has_ended", False)
        """The guard ends the stage."""
        for name, digest in state.get("models", {}).items():
            if self._models.get(name, digest) != digest:
                self._begin_anew(name, step=int(state["step"]))

    def state(self, step: int) -> dict[str, Any]:
        """After so many updates."""
        self._told_best = self._guard.best_step if self._guard else None
        return {
            "step": step,
            "guard": self._guard and self._guard.state(),
            "normalisers": {name: normaliser.state() for name, normaliser in self._normalisers.items()},
            "models": self._models,
            "raised_step": self._raised_step,
            "has_ended": self.has_ended,
        }

    def end(self, step: int) -> tuple[int, Path | None]:
        """The step whose policy the stage ends with, and the folder that it lies in; None: it is the present one."""
        guard, config = self._guard, self._config.guard
        if guard is None or config is None or config.action != "rollback":
            return step, None
        best = guard.best_step
        if best is None or best == step or not (self.has_ended or guard.is_below):
            return step, None
        self._job.log.event("rolled back", step=step, to=best)
        say(f"{self._job.name} ends with the policy of step {best}, the best by {config.gold}")
        return best, self._best(best)

    def reload(self, step: int) -> None:
        """Reward models whose files were replaced are loaded anew; their running statistics begin again."""
        for name, fault in self._rollouts.reload_scorers().items():
            if fault is None:
                self._begin_anew(name, step=step)
            else:
                self._job.log.event("reward model not replaced", step=step, reward=name, error=fault)
                say(f"{self._job.name} at step {step}: reward `{name}` goes on with its old model: {fault}")

    def scored(self, batch: Batch) -> Batch:
        """The batch with standardised scores, and the figures that are watched among its metrics."""
        metrics = dict(batch.metrics)
        if self._guard is not None:
            samples = [sample for group in batch.groups for sample in group.samples]
            metrics[DISTINCT] = self._rollouts.distinct_2(samples)
            # As many as a batch has where none is drawn in place of another: it depends on their number.
            size = self._config.prompts_per_step * self._config.samples_per_prompt
            metrics[COMPRESSION] = compression_ratio([sample.response for sample in samples[:size]])
            working = [
                {name: one.scores[name].value for name in self._models if _is_there(one.scores.get(name))}
                for group in batch.groups
                for one in group.judged
            ]
            if (spread := disagreement(working)) is not None:
                metrics[DISAGREEMENT] = spread
        groups = batch.groups
        for name, normaliser in self._normalisers.items():
            scores = [one.scores.get(name) for group in groups for one in group.judged]
            raw = [score.value for score in scores if score is not None and _is_there(score)]
            if raw:
                metrics[f"reward/{name}/raw_mean"] = math.fsum(raw) / len(raw)
            normaliser.add(raw)
            groups = [self._standardised(group, name, normaliser) for group in groups]
        kept = {id(group) for group in batch.kept}
        return Batch(
            groups=groups,
            kept=[now for before, now in zip(batch.groups, groups, strict=True) if id(before) in kept],
            metrics=metrics,
        )

    def _standardised(self, group: Group, name: str, normaliser: Normaliser) -> Group:
        def of(judged: Judged) -> tuple[Sample, Mapping[str, Score]]:
            score = judged.scores.get(name)
            if score is None or not _is_there(score):
                return judged.sample, judged.scores
            (value,) = normaliser.normalise([score.value])
            return judged.sample, {**judged.scores, name: replace(score, value=value)}

        samples, scores = zip(*map(of, group.judged), strict=True)
        return self._judge.settle(group.task, samples, scores, of(group.greedy) if group.greedy else None)

    def observe(self, step: int, figures: dict[str, float]) -> None:
        """Judges the figures of the weights after `step` updates; warns and acts as the configuration says."""
        config = self._config.guard
        if self._guard is None or config is None:
            return
        prefix = config.gold.rpartition("/")[0] + "/" if config.gold else None
        there = [key for key in figures if prefix and key.startswith(prefix)]
        # A mean reward is left out where every check broke; how many samples it is of says avg@k as well.
        known = {*there, *(key.replace("/avg@", "/reward@") for key in there)}
        if there and config.gold not in known:
            raise UserError(f"guard.gold: there is no figure `{config.gold}`; there are {', '.join(there)}")
        best_before = self._guard.best_step
        findings = self._guard.observe(step, figures)
        if config.action == "rollback" and self._guard.best_step != best_before:
            self._keep(step)
        for finding in findings:
            if finding.is_new:
                self._job.log.event(
                    "over-optimisation", step=step, what=finding.what, action=config.action, message=finding.message
                )
                say(f"{self._job.name} at step {step}: over-optimisation: {finding.message} ({config.action})")
        if not findings or config.action == "warn":
            return
        if config.action != "raise_kl":
            self.has_ended = True
        elif self._raised_step is None or step >= self._raised_step + config.patience:
            self._kl_factor, self._raised_step = config.kl_factor, step

    def raised(self, kl_coef: float | None) -> float | None:
        """The penalty's coefficient after what was found since the last call."""
        factor, self._kl_factor = self._kl_factor, 1.0
        kl = self._config.algorithm.kl
        return kl_coef if kl_coef is None or kl is None or factor == 1 else min(kl_coef * factor, kl.coef * MAX_RAISE)

    def _begin_anew(self, name: str, *, step: int) -> None:
        """A reward's model is another one: what was learned of its scores is forgotten, what the stage is made of
        is told."""
        (reward,) = (one for one in self._config.rewards if one.name == name)
        self._models[name] = _identity(reward)
        self._job.parent_replaced(Path(str(reward.model)), self._models[name])
        self._job.log.event("reward model replaced", step=step, reward=name, hash=self._models[name])
        if reward.normalise is not None:
            self._normalisers[name] = Normaliser(clip=reward.normalise.clip)
        if self._guard is not None:
            self._guard.begin_anew(DISAGREEMENT)
            gold = (self._config.guard and self._config.guard.gold) or ""
            # Evaluation is judged by the first reward that applies.
            is_judge = gold.startswith("eval/") and self._config.rewards[0] is reward
            if is_judge or gold.startswith(f"reward/{name}/"):
                self._guard.begin_anew(gold)

    def _best(self, step: int) -> Path:
        return self._job.log.path / "best" / f"step-{step:06d}"

    def _keep(self, step: int) -> None:
        """The present policy becomes the best one. Those that a resumed run may go back to stay."""
        folder = self._best(step)
        aside = folder.parent / ".writing"
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        self._policy.save_model(aside)
        commit_folder(aside, folder)
        states = self._job.log.checkpoints.glob("step-*/state.json")
        saved = [_best_step(json.loads(state.read_text())) for state in states]
        kept = {self._best(best).name for best in (step, self._told_best, *saved) if best is not None}
        for other in folder.parent.iterdir():
            if other.name not in kept:
                shutil.rmtree(other)


def require_gold(config: RLConfig, sets: dict[str, list[PromptTask]]) -> None:
    """Raises UserError where the guard's gold is an evaluation that a reward model judges which the policy follows."""
    gold = (config.guard and config.guard.gold) or ""
    for prompt in sets.get(gold.split("/")[1], []) if gold.startswith("eval/") else []:
        judge = next(reward for reward in config.rewards if reward.applies_to(prompt.task.source))
        if judge.model is not None and judge.weight:
            raise UserError(
                f"guard.gold: `{gold}` is what the reward model `{judge.name}` says, which the policy follows; put a "
                "reward of weight 0 before it that tells the truth"
            )


def _best_step(state: dict[str, Any]) -> int | None:
    """That a checkpoint knows of; one from before the first step knows nothing."""
    watch = state.get("watch") or {}
    best: int | None = (watch.get("guard") or {}).get("best_step")
    return best


def _identity(reward: RewardConfig) -> str:
    """Of a local model's contents, whatever a manifest beside them says; "" for a hub name."""
    path = Path(str(reward.model))
    return tree_hash(path) if path.is_dir() else ""


def _is_there(score: Score | None) -> bool:
    return score is not None and score.status not in FAILED_STATUSES
