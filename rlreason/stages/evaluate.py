"""Evaluation: greedy accuracy and, with k samples, avg@k, pass@k and maj@k on held-out tasks.

An answer is judged by the first of the stage's rewards that applies to its task; right means full marks (1.0). A check
that breaks gives no mark; too many of them stop the run. All of an evaluation is written at its end, and one that the
run directory has is not done again: a resumed run neither loses nor doubles one.
"""

from collections.abc import Hashable, Mapping
from dataclasses import asdict
from itertools import chain
from typing import Any

from rlreason.algorithms.evaluation import avg_at_k, maj_at_k, pass_at_k
from rlreason.config.data import TaskConfig
from rlreason.config.rewards import RewardConfig
from rlreason.config.schema import EvalConfig, EvaluateConfig, RolloutConfig, StageConfig
from rlreason.data.chat import encode_prompt, load_tokenizer
from rlreason.data.tasks import load_tasks
from rlreason.rewards.combine import value_of
from rlreason.rewards.extract import final_answer
from rlreason.runlog import read_rows
from rlreason.stages.console import say
from rlreason.stages.job import Job, require_context, require_model, write_manifest
from rlreason.stages.rl_batch import broken_rewards, stop_on_broken_rewards
from rlreason.types import Group, PromptTask, Score, UserError
from rlreason.workers.cluster import require_resources
from rlreason.workers.fleet import RewardFleet, RolloutFleet
from rlreason.workers.reward import LoadFailure


def run(config: EvaluateConfig, job: Job) -> dict[str, float]:
    """The `evaluate` stage: writes metrics.jsonl and samples.jsonl, trains nothing."""
    require_model(config.model)
    job.log.cut_after(-1)
    figures = evaluate_model(config, job, config.model, dtype=config.dtype, step=0)
    write_manifest(job, config.model_dump(mode="json"), kind="evaluation", figures=figures)
    return figures


def evaluate_model(config: StageConfig, job: Job, model: str, *, dtype: str, step: int) -> dict[str, float]:
    """Starts engines for `model`, evaluates, ends them. {} where the stage has no evaluation."""
    if config.eval is None:
        return {}
    if known := _known_figures(config.eval, job, step):
        return known
    sets = task_sets(config.eval.tasks, config.rollout, load_tokenizer(model))
    require_resources({"rollout": config.rollout, "reward_workers": config.reward_workers})
    require_reward(config.rewards, list(chain(*sets.values())))
    rewards = RewardFleet(config.rewards, config.reward_workers)
    check_rewards(rewards, job)
    rollouts = RolloutFleet(model, config.rollout, dtype=dtype, seed=config.seed, rewards=rewards)
    try:
        rollouts.wait_ready()
        return evaluate(config, rollouts, sets, job, step=step)
    finally:
        rollouts.shutdown()


def evaluate(
    config: StageConfig, rollouts: RolloutFleet, sets: dict[str, list[PromptTask]], job: Job, *, step: int
) -> dict[str, float]:
    """Figures by metric key, `eval/<task>/...`; written to the run directory as well. {} without `eval:`."""
    if config.eval is None:
        return {}
    if known := _known_figures(config.eval, job, step):
        return known
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
            figures |= {f"eval/{name}/{key}": value for key, value in at_k(sampled, num_samples).items()}
            rows += sample_rows(sampled, step, split=f"eval/{name}/sampled")
    with job.interrupts.shield():
        job.log.samples(rows)
        job.log.metrics(step, figures)
        say(f"{job.name} evaluation at step {step}: " + ", ".join(f"{k[5:]} {v:.4g}" for k, v in figures.items()))
    return figures


def _known_figures(config: EvalConfig, job: Job, step: int) -> dict[str, float]:
    """What an evaluation of this step and these sets wrote; {} where there was none."""
    last = f"avg@{config.samples}" if config.samples else "greedy_accuracy"
    wanted = {f"eval/{name}/{last}" for name in config.tasks}
    for row in read_rows(job.log.path / "metrics.jsonl"):
        if row["step"] == step and wanted <= row.keys():
            return {key: value for key, value in row.items() if key.startswith("eval/")}
    return {}


def report_rewards(groups: list[Group], rollouts: RolloutFleet, config: StageConfig, job: Job, step: int) -> None:
    """Events for reward workers that were replaced and for checks that broke. RunError where there are too many."""
    for reason in rollouts.restarts():
        job.log.event("reward worker replaced", step=step, reason=reason)
    report_broken_rewards(groups, config, job, step)


def report_broken_rewards(groups: list[Group], config: StageConfig, job: Job, step: int) -> None:
    """An event with the number and the first traceback of checks that broke. RunError where there are too many."""
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
    """Raises UserError where a task has no reward."""
    for source in sorted({prompt.task.source for prompt in prompts}):
        if not any(reward.applies_to(source) for reward in rewards):
            raise UserError(f"rewards: none is for the tasks of source `{source}`; add it to the `sources` of one")


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


def at_k(groups: list[Group], k: int) -> dict[str, float]:
    """Means over the groups. There is no majority where tasks have no answer to agree on."""
    totals = {f"avg@{k}": 0.0, f"pass@{k}": 0.0, f"maj@{k}": 0.0}
    if any(group.task.answer is None for group in groups):
        del totals[f"maj@{k}"]
    for group in groups:
        correct_K = [is_right(scores) for scores in group.scores]
        answer_K: list[Hashable] = [final_answer(sample.response) for sample in group.samples]
        if answer_K == [None] * k:  # Plain words: whole responses vote.
            answer_K = [sample.response.strip() for sample in group.samples]
        totals[f"avg@{k}"] += avg_at_k(correct_K)
        totals[f"pass@{k}"] += pass_at_k(correct_K)
        if f"maj@{k}" in totals:
            totals[f"maj@{k}"] += maj_at_k(correct_K, answer_K)
    return {key: total / len(groups) for key, total in totals.items()}


def is_right(scores: Mapping[str, Score]) -> bool:
    """Verdicts stand in the order of the rewards, and only of those that apply."""
    return value_of(next(iter(scores.values()))) >= 1.0


def task_sets(sets: Mapping[str, TaskConfig], rollout: RolloutConfig, tokenizer: Any) -> dict[str, list[PromptTask]]:
    return {name: prompt_tasks(data, rollout, tokenizer, name) for name, data in sets.items()}


def prompt_tasks(data: TaskConfig, rollout: RolloutConfig, tokenizer: Any, source: str) -> list[PromptTask]:
    """Tasks with their encoded prompts; each leaves room for a whole response in the context."""
    kept = []
    for task in load_tasks(data, source):
        text, tokens = encode_prompt(tokenizer, task, data.system, chat=data.chat)
        room = rollout.max_context_tokens - rollout.max_response_tokens
        if len(tokens) > room and data.too_long == "drop":
            continue
        require_context(len(tokens), rollout.max_response_tokens, rollout.max_context_tokens, f"task {task.id}")
        kept.append(PromptTask(task=task, text=text, tokens=tokens))
    if not kept:
        raise UserError(f"data `{source}`: every prompt is longer than the context")
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
                    "verdicts": {name: score.status for name, score in scores.items()},
                    "num_tokens": sample.num_response_tokens,
                    "finish_reason": sample.finish_reason,
                }
            )
    return rows
