"""Pretraining and SFT: next-token prediction on a mixture of sources, on the learner that RL uses as well.

They differ in where the model comes from and in which tokens count. Rows are checked at the start and encoded as they
are drawn; one that cannot be encoded ends the stage, with its number. Documents are read from disk; the driver holds a
number for each, and all conversations.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from rlreason.config.schema import DataStageConfig, PretrainConfig, SFTConfig
from rlreason.data.chat import encode_conversations, encode_text, load_tokenizer, require_eos, thinking_of
from rlreason.data.forms import conversations
from rlreason.data.mixture import Mixture, Source
from rlreason.data.rows import Rows, load_rows, open_rows, origin, texts_of
from rlreason.paths import find_function
from rlreason.running.checks import require_positions
from rlreason.running.console import Progress, starting
from rlreason.running.evaluation import evaluate_model, prepare
from rlreason.running.job import Checkpointer, Job, require_model, save_final
from rlreason.running.rollouts import checked_rewards
from rlreason.stages.held_out import HeldOut, split
from rlreason.types import CrossEntropyLoss, Loss, Message, TrainSequence, UserError
from rlreason.workers.cluster import require_resources
from rlreason.workers.learner_fleet import LearnerFleet

LOSS = CrossEntropyLoss()
STEPS_AHEAD = 2
"""One step waits while another runs, so that the learners never wait for the driver."""


def run(config: PretrainConfig | SFTConfig, job: Job) -> dict[str, float]:
    """Trains, writes final/, evaluates. Returns the evaluation's figures and the last bits per byte."""
    require_resources({"learner": config.learner})
    if config.model is not None:
        require_model(config.model)
    tokenizer = load_pretrain_tokenizer(config) if isinstance(config, PretrainConfig) else load_sft_tokenizer(config)
    architecture = None
    if isinstance(config, PretrainConfig) and config.architecture is not None:
        architecture = complete_architecture(config.architecture, tokenizer)
    require_positions(config.model, architecture, config.sequence_tokens)
    sets = prepare(config, tokenizer, config.model, architecture)
    sources, held_out = sft_sources(config, tokenizer) if isinstance(config, SFTConfig) else {}, None
    # All before the learners start, whose place these workers may need.
    if sets:
        with checked_rewards(config, job):
            pass  # a reward that does not load is told before the training
    if isinstance(config, SFTConfig) and config.knowledge is not None:
        from rlreason.stages import knowledge

        rows = knowledge.build(config, job, tokenizer)
        sources["knowledge"] = conversation_source("knowledge", rows, config.knowledge.weight, tokenizer)
    # The workers start while the driver reads the documents.
    learners = LearnerFleet(
        config.learner,
        total_steps=config.steps,
        seed=config.seed,
        model=config.model,
        architecture=architecture,
        watchdog=config.watchdog,
    )
    if isinstance(config, PretrainConfig):
        sources, held_out = pretrain_sources(config, tokenizer)
    with starting(job.name, "the learners (DeepSpeed)"):
        learners.wait_ready()

    def stream(state: Any) -> Mixture:
        return Mixture(sources, context_tokens=config.sequence_tokens, seed=config.seed, state=state)

    figures = train(config, job, learners, stream, config.tokens_per_step, LOSS, held_out)
    save_final(job, learners, tokenizer, kind=config.stage, config=config.model_dump(mode="json"))
    learners.shutdown()
    return evaluate_model(config, job, str(job.log.final), sets, step=config.steps) | figures


class Stream(Protocol):
    """An endless stream of sequences, such as a Mixture."""

    def batch(self, size: int, /) -> list[TrainSequence]: ...

    def state(self) -> Any: ...

    def metrics(self) -> dict[str, float]: ...


class Measure(Protocol):
    """What is measured each `every` steps, such as HeldOut."""

    every: int

    def measure(self, learners: LearnerFleet, job: Job, step: int, /) -> dict[str, float]: ...


def train(
    config: DataStageConfig,
    job: Job,
    learners: LearnerFleet,
    stream_from: Callable[[Any], Stream],
    batch_size: int,
    loss: Loss,
    held_out: Measure | None,
) -> dict[str, float]:
    """The loop of each stage that trains on rows. Returns the last measured figures.

    `stream_from` makes the stream from a state (None: it begins), which is that of the last finished step.
    """
    checkpointer = Checkpointer(config.checkpoints, job, learners)
    state: dict[str, Any] = {"data": None, "measured": -1, "figures": {}} | checkpointer.resume()
    stream = stream_from(state["data"])
    measure_every, save_every = held_out.every if held_out else None, config.checkpoints.every
    submitted: deque[Any] = deque()
    idle_s = 0.0  # since when the learners had nothing older to do

    def finish() -> dict[str, float]:
        """The oldest step under way."""
        nonlocal idle_s
        pending, data, metrics, num_trained, start_s = submitted[0]
        metrics |= learners.finish_update(pending)
        submitted.popleft()
        start_s, idle_s = max(start_s, idle_s), time.monotonic()
        metrics["throughput/train_tokens_per_s"] = num_trained / (idle_s - start_s)
        state.update(step=state["step"] + 1, data=data)
        checkpointer.keep(state)
        job.log.metrics(state["step"], metrics)
        return metrics

    def finish_all() -> None:
        while submitted:
            finish()

    with checkpointer.rescue(state, finish_all), Progress(job.name, total=config.steps, done=state["step"]) as bar:
        while True:
            step = state["step"]
            if held_out and state["measured"] < step == next_due(step - 1, measure_every, config.steps):
                with job.interrupts.shield():
                    state.update(figures=held_out.measure(learners, job, step), measured=step)
            is_due = step == config.steps or (step > 0 and checkpointer.is_due(step))
            if is_due and not submitted:
                with job.interrupts.shield():
                    checkpointer.save(state)
                is_due = False
            if step == config.steps:
                return dict(state["figures"])
            # Nothing is under way at a checkpoint or a measurement: they are of the weights of that step.
            stop = min(next_due(step, every, config.steps) for every in (measure_every, save_every))
            while not is_due and len(submitted) < STEPS_AHEAD and step + len(submitted) < stop:
                batch = stream.batch(batch_size)
                drawn = stream.state(), stream.metrics(), sum(s.num_trained_tokens for s in batch)
                with job.interrupts.shield():
                    pending = learners.submit_update(batch, loss, step=step + len(submitted) + 1)
                    submitted.append((pending, *drawn, time.monotonic()))
            with job.interrupts.shield():
                metrics = finish()
            bar.step(state["step"], f"loss {metrics[f'{learners.prefix}/loss']:.4f}")


def next_due(step: int, every: int | None, total: int) -> int:
    """The first step after `step` at which something is due that happens at each `every` steps and at the last."""
    return min(total, (step // every + 1) * every) if every else total


def load_pretrain_tokenizer(config: PretrainConfig) -> Any:
    """Of the checkpoint to continue, else the one named: a folder, hub name or function."""
    if config.model is not None:
        return load_tokenizer(config.model)
    assert config.tokenizer is not None
    if ":" not in config.tokenizer:
        return load_tokenizer(config.tokenizer)
    tokenizer = find_function(config.tokenizer)()
    require_eos(tokenizer, config.tokenizer)
    return tokenizer


def load_sft_tokenizer(config: SFTConfig) -> Any:
    """The model's, with the chat template of the configuration. UserError where there is none at all."""
    tokenizer = load_tokenizer(config.model)
    if config.chat_template is not None:
        try:
            tokenizer.chat_template = Path(config.chat_template).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"chat_template `{config.chat_template}`: cannot be read: {error}") from None
    if tokenizer.chat_template is None:
        raise UserError(f"model `{config.model}`: its tokenizer has no chat template; name a file: chat_template=PATH")
    return tokenizer


def complete_architecture(architecture: dict[str, Any], tokenizer: Any) -> dict[str, Any]:
    """The architecture with vocabulary size and special tokens from the tokenizer, where they are not given."""
    least = len(tokenizer)
    size = architecture.get("vocab_size", -(-least // 64) * 64)
    if size < least:
        raise UserError(
            f"architecture.vocab_size: {size} is smaller than the tokenizer's vocabulary of {least}; "
            "take it out, or make it as large"
        )
    bos, eos, pad = tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id
    # A model never trains the input vector of its padding token, so no other token may stand for it.
    special = {"bos_token_id": bos, "eos_token_id": eos, "pad_token_id": None if pad in (bos, eos) else pad}
    return {"vocab_size": size, **special, **architecture}


class Texts(Sequence[str]):
    """The documents at `places` of a data set, read from disk as they are drawn."""

    def __init__(self, rows: Any, places: Sequence[int]) -> None:
        self._rows = rows.only("text") if isinstance(rows, Rows) else rows
        self._places = places

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: Any) -> Any:
        return self._rows[self._places[index]]["text"]


def pretrain_sources(config: PretrainConfig, tokenizer: Any) -> tuple[dict[str, Source], HeldOut | None]:
    """The documents to train on, by source, and those held out. Raises UserError for rows that are no text."""
    share, limit = (config.held_out.share, config.held_out.documents) if config.held_out else (0.0, 0)
    sources, held_out = {}, {}
    for name, data in config.data.items():
        rows = open_rows(data)
        trained, held_out[name] = split(texts_of(rows, "text", data), share, limit)
        if not trained:
            raise UserError(f"data `{origin(data)}`: every document is held out; lower held_out.share")
        sources[name] = replace(
            document_source(Texts(rows, trained), data.weight, tokenizer, config.sequence_tokens), numbers=trained
        )
    if config.held_out is None:
        return sources, None
    return sources, HeldOut(config.held_out, held_out, tokenizer, config.sequence_tokens)


def document_source(texts: Sequence[str], weight: float, tokenizer: Any, context_tokens: int) -> Source:
    return Source(
        rows=texts,
        weight=weight,
        encode=lambda rows: [encode_text(tokenizer, text, context_tokens) for text in rows],
    )


def sft_sources(config: SFTConfig, tokenizer: Any) -> dict[str, Source]:
    """The conversations, and the documents to replay, by source.

    Raises UserError for a row that is neither, and with `too_long: error` for one longer than the context.
    """
    if config.knowledge is not None and "knowledge" in config.data:
        raise UserError("data: `knowledge` is the name of the rows that this stage makes; choose another")
    sources = {}
    for name, data in config.data.items():
        if data.documents:
            rows = open_rows(data)
            texts = Texts(rows, range(sum(1 for _ in texts_of(rows, "text", data))))
            sources[name] = document_source(texts, data.weight, tokenizer, config.sequence_tokens)
            continue
        sources[name] = conversation_source(name, conversations(load_rows(data), origin(data)), data.weight, tokenizer)
        if config.too_long == "error":
            require_fit(name, sources[name], config.sequence_tokens)
    return sources


def conversation_source(name: str, rows: list[list[Message]], weight: float, tokenizer: Any) -> Source:
    """Raises UserError with the row that the chat template refuses: here one of each shape (roles, and which turns have
    thinking) is tried, since templates refuse or drop by shape; what it refuses for its text shows when it is drawn.
    """

    def encode(drawn: list[list[Message]]) -> list[list[TrainSequence]]:
        try:
            return [[sequence] for sequence in encode_conversations(tokenizer, drawn)]
        except UserError:
            for row in drawn:
                try:
                    encode_conversations(tokenizer, [row])
                except UserError as error:
                    place = next(place for place, other in enumerate(rows) if other is row)
                    raise UserError(f"data `{name}`, row {place}: {error}") from None
            raise

    shapes = {tuple((turn["role"], bool(thinking_of(turn))) for turn in row): row for row in reversed(rows)}
    encode(list(shapes.values()))
    return Source(rows=rows, weight=weight, encode=encode)


def require_fit(name: str, source: Source, context_tokens: int) -> None:
    """Raises UserError for the first conversation that is longer than the context. Encodes all of them."""
    for start in range(0, len(source.rows), 1000):
        for place, (sequence,) in enumerate(source.encode(list(source.rows[start : start + 1000])), start):
            if len(sequence.tokens) > context_tokens:
                raise UserError(
                    f"data `{name}`, row {place}: a conversation of {len(sequence.tokens)} tokens does not fit "
                    f"context_tokens, {context_tokens}; raise it, or set `too_long: drop`"
                )
