"""Evaluation: greedy accuracy and, with k samples, avg@k, pass@k and maj@k on held-out tasks.

An answer is judged by the first of the stage's rewards that applies to its task; right means full marks (1.0). A check
that breaks gives no mark; too many of them stop the run. All of an evaluation is written at its end, and one that the
run directory has is not done again: a resumed run neither loses nor doubles one.
"""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from itertools import chain
from typing import Any

from rlreason.algorithms.evaluation import avg_at_k, maj_at_k, pass_at_k
from rlreason.config.base import WorkerConfig
from rlreason.config.data import TaskConfig
from rlreason.config.rewards import RewardConfig
from rlreason.config.schema import EvaluateConfig, ModelStage, RolloutConfig, StageConfig
from rlreason.data.chat import encode_prompt, load_tokenizer
from rlreason.data.rows import origin
from rlreason.data.tasks import load_tasks
from rlreason.rewards.combine import value_of
from rlreason.rewards.reward_set import check_tasks
from rlreason.rewards.votes import votes
from rlreason.runlog import read_rows
from rlreason.stages.console import counted, say
from rlreason.stages.job import Job, require_model, write_manifest
from rlreason.stages.placement import evaluation_workers
from rlreason.stages.rl_batch import broken_rewards, require_trainable, stop_on_broken_rewards
from rlreason.types import EVALUATION, FAILED_STATUSES, Group, PromptTask, Score, Task, UserError
from rlreason.workers.cluster import require_resources
from rlreason.workers.reward import LoadFailure
from rlreason.workers.reward_fleet import RewardFleet
from rlreason.workers.rollout_fleet import RolloutFleet

Sets = dict[str, list[PromptTask]]
"""The prompts of each evaluation set."""


def run(config: EvaluateConfig, job: Job) -> dict[str, float]:
    """The `evaluate` stage: writes metrics.jsonl and samples.jsonl, trains nothing."""
    require_model(config.model)
    job.log.cut_after(-1)
    sets = prepare(config, load_tokenizer(config.model), config.model)
    figures = evaluate_model(config, job, config.model, sets, step=0)
    write_manifest(job, config.model_dump(mode="json"), kind="evaluation", figures=figures)
    return figures


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


@contextmanager
def checked_rewards(config: StageConfig, job: Job) -> Iterator[RewardFleet]:
    """Reward workers that have loaded their functions."""
    rewards = RewardFleet(config.rewards, config.reward_workers, config.scorers, config.watchdog)
    try:
        check_rewards(rewards, job)
        yield rewards
    finally:
        rewards.shutdown()


@contextmanager
def rollout_fleet(
    config: ModelStage,
    job: Job,
    model: str,
    *,
    rollout: RolloutConfig | None = None,
    beside: Mapping[str, WorkerConfig] | None = None,
) -> Iterator[RolloutFleet]:
    """Rollout workers with their reward workers, which may all be loading yet: see `wait_ready`. `beside`: others that
    are started at the same time.
    """
    rollout = rollout or config.rollout
    require_positions(model, None, rollout.context_tokens, "rollout.max_context_tokens")
    require_resources({**(beside or {}), **evaluation_workers(config), "rollout": rollout})
    others = "".join(f", {counted(one.workers, name)}" for name, one in (beside or {}).items())
    say(f"{job.name}: starting {counted(rollout.workers, 'rollout engine')} (vLLM){others} and the reward workers")
    rewards = RewardFleet(config.rewards, config.reward_workers, config.scorers, config.watchdog)
    rollouts = RolloutFleet(
        model,
        rollout,
        dtype=config.dtype,
        seed=config.seed,
        rewards=rewards,
        adapter_rank=config.adapter_rank,
        watchdog=config.watchdog,
    )
    try:
        yield rollouts
    finally:
        rollouts.shutdown()


def wait_ready(rollouts: RolloutFleet, job: Job) -> None:
    """Until engines and rewards are there. UserError as in `check_rewards`."""
    check_rewards(rollouts.rewards, job)
    rollouts.wait_ready()


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
        right = [is_right(group.scores[0]) for group in groups]
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


def report_rewards(groups: list[Group], rollouts: RolloutFleet, config: StageConfig, job: Job, step: int) -> None:
    """Events for reward workers that were replaced and for checks that broke. RunError where there are too many."""
    for reason in rollouts.restarts():
        job.log.event("reward worker replaced", step=step, reason=reason)
    report_broken_rewards(groups, config, job, step)


def report_broken_rewards(groups: list[Group], config: StageConfig, job: Job, step: int) -> None:
    """An event with the number and the first traceback of checks that broke. RunError where there are too many,
    UserError for a reward that is too large.
    """
    require_trainable(groups, config.rewards)
    found = broken_rewards(groups, config.rewards)
    if found is not None:
        job.log.event("broken reward", step=step, **asdict(found))
        stop_on_broken_rewards(found, config.reward_workers.max_error_rate)


def check_rewards(rewards: RewardFleet, job: Job) -> None:
    """UserError for a reward that does not load on a worker; its traceback goes to events.jsonl, as do reports such
    as the sandbox's level."""
    found = rewards.check()
    if isinstance(found, LoadFailure):
        job.log.event("broken reward", detail=found.traceback)
        raise UserError(found.message)
    for name, report in found.items():
        job.log.event("reward ready", reward=name, report=report)


def require_reward(rewards: list[RewardConfig], prompts: list[PromptTask]) -> None:
    """Raises UserError where a task has no reward, or one that cannot judge it."""
    for source in sorted({prompt.task.source for prompt in prompts}):
        if not any(reward.applies_to(source) for reward in rewards):
            raise UserError(f"rewards: none is for the tasks of source `{source}`; add it to the `sources` of one")
    check_tasks(rewards, [prompt.task for prompt in prompts])


def require_tasks(rewards: list[RewardConfig], prompts: list[PromptTask]) -> None:
    """Raises UserError where a reward is for a source that no task has."""
    # A recipe's stages share their rewards, and one of them may ask the questions of `knowledge`.
    known = {prompt.task.source for prompt in prompts} | {"knowledge"}
    for reward in rewards:
        unknown = sorted(set(reward.sources) - known)
        if unknown:
            raise UserError(
                f"rewards: `{reward.name}` is for source `{unknown[0]}`, which no task has; "
                f"there are {', '.join(sorted(known))}"
            )


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
        correct_K = [is_right(scores) for scores in group.scores]
        totals[f"avg@{k}"] += avg_at_k(correct_K)
        totals[f"pass@{k}"] += pass_at_k(correct_K)
        if f"maj@{k}" in totals:
            judge = judges.get(next(iter(group.scores[0])))
            vote_K = votes([sample.response for sample in group.samples], correct_K, judge)
            totals[f"maj@{k}"] += maj_at_k(correct_K, vote_K)
    judged = [next(iter(scores.values())) for group in groups for scores in group.scores]
    values = [score.value for score in judged if score.status not in FAILED_STATUSES]
    means = {key: total / len(groups) for key, total in totals.items()}
    return means | ({f"reward@{k}": math.fsum(values) / len(values)} if values else {})


def is_right(scores: Mapping[str, Score]) -> bool:
    """Verdicts stand in the order of the rewards, and only of those that apply."""
    return value_of(next(iter(scores.values()))) >= 1.0


def require_positions(
    model: str | None, architecture: dict[str, Any] | None, context_tokens: int, key: str = "context_tokens"
) -> None:
    """Raises UserError where the context is longer than what the model has positions for."""
    from rlreason.engines.learner_setup import num_positions

    limit = num_positions(model, architecture)
    if limit is not None and context_tokens > limit:
        raise UserError(
            f"{key}: {context_tokens} is more than the model's max_position_embeddings of {limit}; lower it"
        )


def task_sets(sets: Mapping[str, TaskConfig], rollout: RolloutConfig, tokenizer: Any) -> Sets:
    """UserError for a set whose tasks could be taken for those of an evaluation."""
    for name in sets:
        if name.startswith(EVALUATION):
            raise UserError(f"tasks.{name}: a name that begins with `{EVALUATION}` is for evaluation; choose another")
    return {name: prompt_tasks(load_tasks(data, name), data, rollout, tokenizer) for name, data in sets.items()}


def evaluation_sets(sets: Mapping[str, TaskConfig], rollout: RolloutConfig, tokenizer: Any) -> Sets:
    """With ids that no set of training has, which may be called the same."""
    return {
        name: [replace(one, task=replace(one.task, id=f"{EVALUATION}{one.task.id}")) for one in prompts]
        for name, prompts in task_sets(sets, rollout, tokenizer).items()
    }


def prompt_tasks(tasks: list[Task], data: TaskConfig, rollout: RolloutConfig, tokenizer: Any) -> list[PromptTask]:
    """Tasks with their encoded prompts; each leaves room for a whole response in the context."""
    kept = []
    for task in tasks:
        text, tokens = encode_prompt(tokenizer, task, data.system, chat=data.chat)
        if len(tokens) > rollout.context_tokens - rollout.response_tokens:
            if data.too_long == "drop":
                continue
            raise UserError(
                f"task {task.id}: a prompt of {len(tokens)} tokens and a response of {rollout.response_tokens} do "
                f"not fit the context of {rollout.context_tokens}; raise rollout.max_context_tokens, lower "
                "rollout.max_response_tokens, or set `too_long: drop`"
            )
        kept.append(PromptTask(task=task, text=text, tokens=tokens))
    if not kept:
        raise UserError(f"data `{origin(data)}`: every prompt is longer than the context")
    return kept


def sample_rows(
    groups: list[Group], step: int, *, split: str, rewards: list[list[float]] | None = None
) -> list[dict[str, Any]]:
    """Rows of samples.jsonl."""
    rows = []
    for place, group in enumerate(groups):
        for index, (sample, scores) in enumerate(zip(group.samples, group.scores, strict=True)):
            rows.append(
                {
                    "step": step,
                    "split": split,
                    "task_id": sample.task_id,
                    "index": sample.index,
                    "policy_version": sample.policy_version,
                    "prompt": sample.prompt,
                    "response": sample.response,
                    "answer": group.task.answer,
                    "reward": rewards[place][index] if rewards else next(iter(scores.values())).value,
                    "rewards": {name: score.value for name, score in scores.items()},
                    "verdicts": {name: score.status for name, score in scores.items()},
                    "num_tokens": sample.num_response_tokens,
                    "finish_reason": sample.finish_reason,
                }
            )
    return rows
