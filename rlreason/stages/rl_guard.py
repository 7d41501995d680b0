"""What an RL stage does about its reward models: newer files loaded, scores standardised, over-optimisation watched."""

import math
import shutil
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
    distinct_2,
)
from rlreason.algorithms.normaliser import Normaliser
from rlreason.config.schema import RLConfig
from rlreason.runlog import commit_folder
from rlreason.stages.console import say
from rlreason.stages.job import Job
from rlreason.stages.sampler import Batch
from rlreason.types import FAILED_STATUSES, Group, Score, UserError
from rlreason.workers.fleet import LearnerFleet, RolloutFleet


class Watch:
    """State is JSON, for checkpoints; `best/` of the run directory holds the policy of the best gold score."""

    def __init__(self, config: RLConfig, job: Job, policy: LearnerFleet, state: dict[str, Any] | None) -> None:
        self._config, self._job, self._policy = config, job, policy
        state = state or {}
        self._guard = Guard(config.guard, state.get("guard")) if config.guard else None
        saved = state.get("normalisers", {})
        self._normalisers = {
            reward.name: Normaliser(clip=reward.normalise.clip, state=saved.get(reward.name))
            for reward in config.rewards
            if reward.normalise is not None
        }
        self._models = [reward.name for reward in config.rewards if reward.model is not None]
        self._kl_factor = 1.0
        self._best_figures: dict[str, float] = state.get("best_figures", {})
        self.has_ended = False
        """The guard ends the stage."""

    def state(self) -> dict[str, Any]:
        return {
            "guard": self._guard and self._guard.state(),
            "best_figures": self._best_figures,
            "normalisers": {name: normaliser.state() for name, normaliser in self._normalisers.items()},
        }

    def ended_with(self, figures: dict[str, float]) -> tuple[dict[str, float], Path | None]:
        """The evaluation's figures and the folder of the policy that the stage ends with; None: the present one."""
        if self.has_ended and self._config.guard is not None and self._config.guard.action == "rollback":
            return self._best_figures, self._job.log.path / "best"
        return figures, None

    def reload(self, rollouts: RolloutFleet, step: int) -> None:
        """Reward models whose files were replaced are loaded anew; their running statistics begin again."""
        for name in rollouts.reload_scorers():
            self._job.log.event("reward model replaced", step=step, reward=name)
            if name in self._normalisers:
                (reward,) = (one for one in self._config.rewards if one.name == name)
                assert reward.normalise is not None
                self._normalisers[name] = Normaliser(clip=reward.normalise.clip)

    def scored(self, batch: Batch) -> Batch:
        """The batch with standardised scores, and the figures that are watched among its metrics."""
        metrics = dict(batch.metrics)
        if self._guard is not None:
            samples = [sample for group in batch.groups for sample in group.samples]
            written = [[t for t, flag in zip(s.tokens, s.mask, strict=True) if flag] for s in samples]
            metrics[DISTINCT] = distinct_2(written)
            metrics[COMPRESSION] = compression_ratio([sample.response for sample in samples])
            judged = [found for group in batch.groups for found in group.scores]
            scores = [[found[name].value for found in judged if name in found] for name in self._models]
            if len(scores) > 1 and all(len(of_model) == len(judged) for of_model in scores):
                metrics[DISAGREEMENT] = disagreement(scores)
        groups = batch.groups
        for name, normaliser in self._normalisers.items():
            raw = [found[name].value for group in groups for found in group.scores if _is_there(found.get(name))]
            metrics[f"reward/{name}/raw_mean"] = math.fsum(raw) / len(raw) if raw else math.nan
            normaliser.add(raw)
            groups = [_standardised(group, name, normaliser) for group in groups]
        kept = {id(group) for group in batch.kept}
        return Batch(
            groups=groups,
            kept=[now for before, now in zip(batch.groups, groups, strict=True) if id(before) in kept],
            metrics=metrics,
        )

    def observe(self, step: int, figures: dict[str, float]) -> None:
        """Judges the figures of the weights after `step` updates; warns and acts as the configuration says."""
        config = self._config.guard
        if self._guard is None or config is None or self.has_ended:
            return
        prefix = config.gold.rpartition("/")[0] + "/" if config.gold else None
        there = [key for key in figures if prefix and key.startswith(prefix)]
        if there and config.gold not in there:
            raise UserError(f"guard.gold: there is no figure `{config.gold}`; there are {', '.join(there)}")
        best_before = self._guard.best_step
        findings = self._guard.observe(step, figures)
        if config.action == "rollback" and self._guard.best_step != best_before:
            self._best_figures = {key: value for key, value in figures.items() if key.startswith("eval/")}
            self._keep()
        for finding in findings:
            self._job.log.event(
                "over-optimisation", step=step, what=finding.what, action=config.action, message=finding.message
            )
            say(f"{self._job.name} at step {step}: over-optimisation: {finding.message} ({config.action})")
        if findings and config.action == "raise_kl":
            self._kl_factor = config.kl_factor
        elif findings and config.action != "warn":
            self.has_ended = True

    def raised(self, kl_coef: float | None) -> float | None:
        """The penalty's coefficient after what was found since the last call."""
        factor, self._kl_factor = self._kl_factor, 1.0
        return None if kl_coef is None else kl_coef * factor

    def _keep(self) -> None:
        """The present policy becomes the best one: the folder is replaced whole."""
        folder = self._job.log.path / "best"
        aside = folder.with_name(".writing-best")
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        self._policy.save_model(aside)
        shutil.rmtree(folder, ignore_errors=True)
        commit_folder(aside, folder)


def _is_there(score: Score | None) -> bool:
    return score is not None and score.status not in FAILED_STATUSES


def _standardised(group: Group, name: str, normaliser: Normaliser) -> Group:
    def of(scores: Any) -> Any:
        if scores is None or not _is_there(scores.get(name)):
            return scores
        (value,) = normaliser.normalise([scores[name].value])
        return {**scores, name: replace(scores[name], value=value)}

    return replace(group, scores=tuple(of(scores) for scores in group.scores), greedy=of(group.greedy))
