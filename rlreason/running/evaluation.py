"""Evaluation: greedy accuracy and, with k samples, avg@k, pass@k and maj@k on held-out tasks.

An answer is judged by the first of the stage's rewards that applies to its task; right means full marks (1.0). A check
that breaks gives no mark; too many of them stop the run. All of an evaluation is written at its end, and one that the
run directory has is not done again: a resumed run neither loses nor doubles one.
"""

import hashlib
import json
import math
from collections.abc import Sequence
from itertools import chain
from typing import Any

from rlreason.algorithms.evaluation import avg_at_k, maj_at_k, pass_at_k
from rlreason.config.rewards import RewardConfig
from rlreason.config.schema import ModelStage, StageConfig
from rlreason.data.prompts import Sets, evaluation_sets
from rlreason.rewards.runtime.combine import value_of
from rlreason.rewards.votes import votes
from rlreason.runlog import read_rows
from rlreason.running.checks import require_positions, require_reward
from rlreason.running.console import say
from rlreason.running.job import Job
from rlreason.running.placement import evaluation_workers
from rlreason.running.rollouts import rollout_fleet, wait_ready
from rlreason.running.verdicts import (
    report_rewards,
    sample_rows,
)
from rlreason.types import (
    FAILED_STATUSES,
    Group,
    Judged,
)
from rlreason.workers.cluster import require_resources
from rlreason.workers.rollout_fleet import RolloutFleet


def prepare(config: StageConfig, tokenizer: Any, model: str | None, architecture: dict[str, Any] | None = None) -> Sets:
    """The evaluation sets, for a model made of `model` or `architecture`; {} without `eval:`.

    UserError for whatever is wrong with them and needs no worker to be found, so that no training comes before it.
    """
    if config.eval is None:
        return {}
    require_positions(model, architecture, config.rollout.context_tokens, "rollout.max_context_tokens")
    sets = evaluation_sets(config.eval.tasks, config.rollout, tokenizer)
    require_reward(config.rewards, list(chain(*sets.values())))
    require_resources(evaluation_workers(config))
    return sets


def evaluate_model(config: ModelStage, job: Job, model: str, sets: Sets, *, step: int) -> dict[str, float]:
    """Starts engines for `model`, evaluates, ends them. {} where the stage has no evaluation."""
    if (known := known_figures(config, job, step)) is not None:
        return known
    with rollout_fleet(config, job, model) as rollouts:
        wait_ready(rollouts, job)
        return _evaluate(config, rollouts, sets, job, step)


def evaluate(config: ModelStage, rollouts: RolloutFleet, sets: Sets, job: Job, *, step: int) -> dict[str, float]:
    """Figures by metric key, `eval/<task>/...`; written to the run directory as well. {} without `eval:`."""
    known = known_figures(config, job, step)
    return _evaluate(config, rollouts, sets, job, step) if known is None else known


def _evaluate(config: ModelStage, rollouts: RolloutFleet, sets: Sets, job: Job, step: int) -> dict[str, float]:
    assert config.eval is not None
    num_samples = config.eval.samples
    figures: dict[str, float] = {}
    rows: list[dict[str, Any]] = []
    for name, prompts in sets.items():
        groups, _ = rollouts.collect(rollouts.submit(prompts, num_samples=1, temperature=0.0))
        report_rewards(groups, rollouts, config, job, step)
        right = [is_right(group.judged[0]) for group in groups]
        tokens = [group.samples[0].num_response_tokens for group in groups]
        figures[f"eval/{name}/greedy_accuracy"] = sum(right) / len(right)
        figures[f"eval/{name}/response_tokens_mean"] = sum(tokens) / len(tokens)
        rows += sample_rows(groups, step, split=f"eval/{name}/greedy")
        if num_samples:
            pending = rollouts.submit(prompts, num_samples=num_samples, temperature=config.eval.temperature)
            sampled, _ = rollouts.collect(pending)
            report_rewards(sampled, rollouts, config, job, step)
            figures |= {
                f"eval/{name}/{key}": value for key, value in at_k(sampled, num_samples, config.rewards).items()
            }
            rows += sample_rows(sampled, step, split=f"eval/{name}/sampled")
    with job.interrupts.shield():
        job.log.samples(rows)
        job.log.metrics(step, figures)
        job.log.event("evaluation", step=step, made_with=made_with(config, job))
        say(f"{job.name} evaluation at step {step}: " + ", ".join(f"{k[5:]} {v:.4g}" for k, v in figures.items()))
    return figures


def known_figures(config: ModelStage, job: Job, step: int) -> dict[str, float] | None:
    """What this very evaluation of this step wrote, {} without `eval:`; None where it is still to be done."""
    if config.eval is None:
        return {}
    events = [row for row in read_rows(job.log.path / "events.jsonl") if row["event"] == "evaluation"]
    marks = [row["made_with"] for row in events if row["step"] == step]
    if marks[-1:] != [made_with(config, job)]:
        return None
    # Events stay where a resumed run cuts the figures.
    wanted = {f"eval/{name}/greedy_accuracy" for name in config.eval.tasks}
    for row in reversed(read_rows(job.log.path / "metrics.jsonl")):
        if row["step"] == step and wanted <= row.keys():
            return {key: value for key, value in row.items() if key.startswith("eval/")}
    return None


def made_with(config: ModelStage, job: Job) -> str:
    """A hash of what, beside the weights that a stage trains, decides an evaluation's figures."""
    assert config.eval is not None
    return answers_hash(config, job, config.eval.model_dump(mode="json", exclude={"every"}))


def answers_hash(config: ModelStage, job: Job, asked: Any) -> str:
    """Of what decides answers and their verdicts: the model that the stage starts from, sampling, rewards, local files.

    `asked`: the questions and how they are sampled, as JSON values.
    """
    model = [config.model, job.inputs.get("parents"), config.dtype, config.seed]
    rollout = [config.rollout.context_tokens, config.rollout.response_tokens, config.rollout.stop]
    rewards = [reward.model_dump(mode="json") for reward in config.rewards]
    values = [model, asked, rollout, rewards, job.inputs.get("files"), job.inputs.get("data")]
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]


def at_k(groups: list[Group], k: int, rewards: Sequence[RewardConfig] = ()) -> dict[str, float]:
    """Means over the groups: of the share that is right, of one right at least, of a right majority. There is no
    majority where tasks have no answer to agree on. And the mean of the reward's values where the check worked.

    rewards: those that judged; equal answers, as the judge of a task sees them, are one vote.
    """
    judges = {reward.name: reward for reward in rewards}
    totals = {f"avg@{k}": 0.0, f"pass@{k}": 0.0, f"maj@{k}": 0.0}
    if any(group.task.answer is None for group in groups):
        del totals[f"maj@{k}"]
    for group in groups:
        correct_K = [is_right(one) for one in group.judged]
        totals[f"avg@{k}"] += avg_at_k(correct_K)
        totals[f"pass@{k}"] += pass_at_k(correct_K)
        if f"maj@{k}" in totals:
            judge = judges.get(next(iter(group.judged[0].scores)))
            vote_K = votes([sample.response for sample in group.samples], correct_K, judge)
            totals[f"maj@{k}"] += maj_at_k(correct_K, vote_K)
    first = [next(iter(one.scores.values())) for group in groups for one in group.judged]
    values = [score.value for score in first if score.status not in FAILED_STATUSES]
    means = {key: total / len(groups) for key, total in totals.items()}
    return means | ({f"reward@{k}": math.fsum(values) / len(values)} if values else {})


def is_right(judged: Judged) -> bool:
    """The first reward that applies gives full marks."""
    return value_of(next(iter(judged.scores.values()))) >= 1.0
