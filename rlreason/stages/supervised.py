"""Pretraining and SFT: next-token prediction on the learner that RL uses as well.

They differ in where the model comes from and in which tokens count. Sequences are whole rows: no packing yet.
"""

from collections import deque
from typing import Any

from rlreason.config.schema import PretrainConfig, SFTConfig
from rlreason.data.chat import encode_conversation, encode_text, load_tokenizer, require_eos
from rlreason.data.order import token_batches
from rlreason.data.tasks import load_rows, require_column
from rlreason.paths import find_function
from rlreason.stages.console import Progress
from rlreason.stages.evaluate import evaluate_model
from rlreason.stages.job import Checkpointer, Job, require_model, save_final
from rlreason.types import LossSpec, TrainSequence, UserError
from rlreason.workers.cluster import require_resources
from rlreason.workers.fleet import LearnerFleet


def run(config: PretrainConfig | SFTConfig, job: Job) -> dict[str, float]:
    """Trains, writes final/, evaluates. Returns the evaluation's figures."""
    require_resources({"learner": config.learner})
    if job.model is not None:
        require_model(job.model)
    # The workers start while the driver reads and encodes the data.
    tokenizer = _tokenizer(config, job)
    learners = LearnerFleet(
        config.learner,
        total_steps=config.steps,
        seed=config.seed,
        model=job.model,
        architecture=config.architecture if isinstance(config, PretrainConfig) else None,
    )
    sequences = _encode(config, tokenizer)
    learners.wait_ready()
    _train(config, job, learners, sequences)
    save_final(job, learners, tokenizer, kind=config.stage, config=config.model_dump(mode="json"))
    learners.shutdown()
    return evaluate_model(config, job, str(job.log.final), dtype=config.learner.dtype, step=config.steps)


def _train(
    config: PretrainConfig | SFTConfig, job: Job, learners: LearnerFleet, sequences: list[TrainSequence]
) -> None:
    checkpointer = Checkpointer(config.checkpoints, job.log, learners)
    step = checkpointer.resume()["step"]
    batches = token_batches(sequences, config.tokens_per_step, config.seed)
    for _ in range(step):
        next(batches)
    loss = LossSpec(name="cross_entropy")
    submitted: deque[Any] = deque()
    try:
        with Progress(job.name, total=config.steps, done=step) as bar:
            while step < config.steps:
                # One step waits while another runs, so that the learners never wait for the driver.
                while len(submitted) < min(2, config.steps - step):
                    submitted.append(learners.submit_update(next(batches), loss))
                with job.interrupts.shield():
                    metrics = learners.finish_update(submitted.popleft())
                    step += 1
                    job.log.metrics(step, _supervised(metrics))
                    if checkpointer.is_due(step) or step == config.steps:
                        step = _drain(learners, submitted, step, job)
                        checkpointer.save({"step": step})
                bar.step(step, f"loss {metrics['policy/loss']:.4f}")
    except KeyboardInterrupt:
        step = _drain(learners, submitted, step, job)
        checkpointer.save({"step": step})
        raise


def _drain(learners: LearnerFleet, submitted: deque[Any], step: int, job: Job) -> int:
    """Waits for the steps under way: a checkpoint holds what the learners did."""
    while submitted:
        metrics = learners.finish_update(submitted.popleft())
        step += 1
        job.log.metrics(step, _supervised(metrics))
    return step


def _supervised(metrics: dict[str, float]) -> dict[str, float]:
    """The keys that mean something without rollouts."""
    return {key: value for key, value in metrics.items() if key.startswith("policy/") and "clip" not in key}


def _tokenizer(config: PretrainConfig | SFTConfig, job: Job) -> Any:
    if isinstance(config, SFTConfig):
        assert job.model is not None
        return load_tokenizer(job.model)
    if ":" not in config.tokenizer:
        return load_tokenizer(config.tokenizer)
    tokenizer = find_function(config.tokenizer)()
    require_eos(tokenizer, config.tokenizer)
    return tokenizer


def _encode(config: PretrainConfig | SFTConfig, tokenizer: Any) -> list[TrainSequence]:
    rows = load_rows(config.data)
    column = "text" if isinstance(config, PretrainConfig) else "messages"
    require_column(rows, column, config.data)
    if column == "messages" and tokenizer.chat_template is None:
        raise UserError("sft: the model's tokenizer has no chat template; add `chat_template.jinja` to the checkpoint")
    encode = encode_text if column == "text" else encode_conversation
    return [encode(tokenizer, row[column]) for row in rows]
