"""The reward model and DPO: preference rows on the learner that every stage uses.

They differ in the head and in what an answer's score is: a number read at its last token, or beta times the log ratio
of the policy to the model that it started from. Rows are encoded as they are drawn. A reward model's scores have no
zero of their own; reward_model.json in final/ tells their mean and standard deviation, and who uses it takes off the
mean.
"""

import hashlib
import json
import statistics
from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from typing import Any

from rlreason.algorithms.preference_figures import preference_figures
from rlreason.config.data import PreferenceHeldOutConfig
from rlreason.config.schema import DPOConfig, PreferenceConfig, RewardModelConfig
from rlreason.data.chat import load_tokenizer
from rlreason.data.mixture import require_same
from rlreason.data.order import rows_between
from rlreason.data.preferences import SCORES, Preference, encode_answers, for_score, in_groups, load_preferences
from rlreason.running.checks import require_positions
from rlreason.running.console import say, starting
from rlreason.running.evaluation import evaluate_model, prepare
from rlreason.running.job import Job, require_model, save_final
from rlreason.running.rollouts import checked_rewards
from rlreason.stages.supervised import train
from rlreason.types import PreferenceLoss, TrainSequence, UserError
from rlreason.workers.cluster import require_resources
from rlreason.workers.learner_fleet import LearnerFleet

NUM_CENTRED = 256
"""Training rows whose answers tell a reward model's mean score where nothing is held out."""

Row = list[TrainSequence]
"""The answers of one preference row."""


def run(config: RewardModelConfig | DPOConfig, job: Job) -> dict[str, float]:
    """Trains, writes final/, evaluates. Returns the evaluation's figures and the last ones of the held-out rows."""
    require_resources({"learner": config.learner})
    require_model(config.model)
    tokenizer = load_tokenizer(config.model)
    require_positions(config.model, None, config.sequence_tokens)
    sets = prepare(config, tokenizer, config.model)
    if sets:
        with checked_rewards(config, job):
            pass  # a reward that does not load is told before the training
    trained, apart, told = load(config, tokenizer)
    say(f"{job.name}: preference rows: {', '.join(told)}; {len(apart.rows)} held out and measured")
    job.log.event("preferences", rows=told, held_out=len(apart.rows))
    learners = LearnerFleet(
        config.learner,
        total_steps=config.steps,
        seed=config.seed,
        model=config.model,
        head="score" if isinstance(config, RewardModelConfig) else "language",
        keep_reference=isinstance(config, DPOConfig),
        watchdog=config.watchdog,
    )
    with starting(job.name, "the learners (DeepSpeed)"):
        learners.wait_ready()
    scorer = Scorer(learners, config)
    held_out = HeldOutPreferences(config.held_out, apart, scorer) if config.held_out else None

    def stream(state: Any) -> PreferenceStream:
        return PreferenceStream(trained, config, scorer.with_reference, state)

    figures = train(config, job, learners, stream, config.rows_per_step, loss_of(config), held_out)
    files: dict[str, Any] = {}
    if isinstance(config, RewardModelConfig):
        last = held_out.scores if held_out else []
        scores = list(chain(*(last or scorer.scores(apart.encoded() or trained.encoded(NUM_CENTRED)))))
        forms = {source.chat and tokenizer.chat_template is not None for source in config.data.values()}
        chat = forms.pop() if len(forms) == 1 else None
        files[SCORES] = {"mean": statistics.fmean(scores), "std": statistics.pstdev(scores), "chat": chat}
    save_final(job, learners, tokenizer, kind=config.stage, config=config.model_dump(mode="json"), files=files)
    learners.shutdown()
    return evaluate_model(config, job, str(job.log.final), sets, step=config.steps) | figures


def loss_of(config: RewardModelConfig | DPOConfig) -> PreferenceLoss:
    """The configuration's loss as the learner takes it."""
    own = {"centring": config.centring} if isinstance(config, RewardModelConfig) else {"beta": config.beta}
    return PreferenceLoss(name=config.loss, label_smoothing=config.label_smoothing, **own)


class Rows:
    """Preference rows, encoded when they are asked for."""

    def __init__(self, rows: list[tuple[str, Preference]], tokenizer: Any, config: PreferenceConfig) -> None:
        """`rows`: each with the name of its set."""
        self.rows, self._tokenizer, self._config = rows, tokenizer, config
        self._is_scored = isinstance(config, RewardModelConfig)

    def encoded(self, most: int | None = None) -> list[Row]:
        """Those of the first `most` that fit the context."""
        return [row for row in map(self.encode, range(len(self.rows[:most]))) if row is not None]

    def encode(self, number: int) -> Row | None:
        """None for a row that is longer than the context; UserError with `too_long: error`."""
        name, preference = self.rows[number]
        try:
            row = encode_answers(self._tokenizer, preference, chat=self._config.data[name].chat)
        except UserError as error:
            raise UserError(f"data `{name}`: the row with prompt {str(preference.prompt)[:60]!r}: {error}") from None
        if self._is_scored:
            row = [for_score(sequence) for sequence in row]
        longest = max(len(sequence.tokens) for sequence in row)
        if longest > self._config.sequence_tokens:
            if self._config.too_long == "error":
                raise UserError(
                    f"data `{name}`: an answer of {longest} tokens, with its prompt {str(preference.prompt)[:60]!r}, "
                    f"does not fit context_tokens, {self._config.sequence_tokens}; raise it, or set `too_long: drop`"
                )
            return None
        return [replace(sequence, origin=f"{name} row {preference.row}") for sequence in row]


def load(config: PreferenceConfig, tokenizer: Any) -> tuple[Rows, Rows, list[str]]:
    """The rows to train on, those held out, which fit the context, and what there is of each set in words. UserError
    where there are none of the one or the other.
    """
    trained: list[tuple[str, Preference]] = []
    held_out: list[tuple[str, Preference]] = []
    told = []
    for name, source in config.data.items():
        found, left_out = load_preferences(source)
        told.append(f"{name} {len(found)}" + (f" ({left_out} left out)" if left_out else ""))
        for preference in found:
            is_held_out = config.held_out is not None and _hash(preference) < config.held_out.share
            (held_out if is_held_out else trained).append((name, preference))
    num_rows = len(trained) + len(held_out)
    if config.held_out is not None and not (trained and held_out):
        what = "no row is" if trained else "every row is"
        raise UserError(
            f"data: of {num_rows} row{'s' * (num_rows != 1)} {what} held out by held_out.share, "
            f"{config.held_out.share:g}; add rows, {'raise' if trained else 'lower'} it, or set `held_out: null`"
        )
    rows = Rows(trained, tokenizer, config)
    for number in range(len(trained) if config.too_long == "error" else 1):
        rows.encode(number)  # what the template or the context refuses is told before the learners start
    if config.held_out is None:
        return rows, Rows([], tokenizer, config), told
    kept = Rows(sorted(held_out, key=lambda found: _hash(found[1]))[: config.held_out.rows], tokenizer, config)
    fitting = [row for number, row in enumerate(kept.rows) if kept.encode(number) is not None]
    if not fitting:
        raise UserError(
            f"held_out: none of its {len(held_out)} rows fits context_tokens, {config.sequence_tokens}; raise that or "
            "held_out.share, or set `held_out: null`"
        )
    return rows, Rows(fitting, tokenizer, config), told


def _hash(preference: Preference) -> float:
    """From 0 to 1, of the prompt, whether it is text or that text as the user's only message."""
    prompt = preference.prompt
    is_text = not isinstance(prompt, str) and len(prompt) == 1 and prompt[0]["role"] == "user"
    text = json.dumps(prompt[0]["content"] if is_text else prompt, sort_keys=True)  # type: ignore[index]
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8]) / 2**64


class PreferenceStream:
    """The endless shuffled stream of rows: see `Stream` in supervised.py."""

    def __init__(
        self,
        rows: Rows,
        config: PreferenceConfig,
        finish: Callable[[list[TrainSequence]], list[TrainSequence]],
        state: Any,
    ) -> None:
        """`finish` completes a batch. UserError where `state` is of other data."""
        self._rows, self._seed, self._finish = rows, config.seed, finish
        self._made_of = {
            "seed": str(config.seed), "context_tokens": str(config.sequence_tokens), "rows": str(len(rows.rows))
        }  # fmt: skip
        if state is not None:
            require_same(state["made_of"], self._made_of)
        self._place = int(state["place"]) if state else 0
        self._dropped = int(state["dropped"]) if state else 0

    def batch(self, size: int, /) -> list[TrainSequence]:
        """The answers of the next `size` rows."""
        found: list[Row] = []
        last, num_rows = self._place, len(self._rows.rows)
        while len(found) < size:
            if self._place - last > 2 * num_rows:
                raise UserError("data: no row fits context_tokens; raise it")
            (number,) = rows_between(self._place, self._place + 1, num_rows, self._seed)
            row = self._rows.encode(number)
            self._place += 1
            if row is None:
                self._dropped += 1
            else:
                found.append(row)
                last = self._place
        return self._finish(in_groups(found))

    def state(self) -> dict[str, Any]:
        return {"made_of": self._made_of, "place": self._place, "dropped": self._dropped}

    def metrics(self) -> dict[str, float]:
        return {"data/dropped_too_long": float(self._dropped), "data/epochs": self._place / len(self._rows.rows)}


class Scorer:
    """What the learners say of answers."""

    def __init__(self, learners: LearnerFleet, config: RewardModelConfig | DPOConfig) -> None:
        self._learners = learners
        self._beta = config.beta if isinstance(config, DPOConfig) else None

    def with_reference(self, sequences: list[TrainSequence]) -> list[TrainSequence]:
        """For DPO with the logprobs of the reference."""
        if self._beta is None:
            return sequences
        found = self._learners.score(sequences, "reference")
        return [
            replace(sequence, reference_logprobs=_aligned(sequence, logprobs))
            for sequence, logprobs in zip(sequences, found, strict=True)
        ]

    def scores(self, rows: list[Row]) -> list[list[float]]:
        """Of the answers of each row."""
        sequences = in_groups(rows)
        if self._beta is None:
            found = [scores[0] for scores in self._learners.score(sequences, "value")]
        else:
            policy, reference = self._learners.score(sequences), self._learners.score(sequences, "reference")
            found = [self._beta * (sum(p) - sum(r)) for p, r in zip(policy, reference, strict=True)]
        remaining = iter(found)
        return [[next(remaining) for _ in row] for row in rows]


class HeldOutPreferences:
    """Held-out rows, measured at some steps: see `Measure` in supervised.py."""

    def __init__(self, config: PreferenceHeldOutConfig, rows: Rows, scorer: Scorer) -> None:
        self.every = config.every
        self._rows, self._scorer = rows.encoded(), scorer
        self._prompts = [_hash(preference) for _, preference in rows.rows]
        self._places = [[sequence.place for sequence in row] for row in self._rows]
        # The answers of a row share its prompt, so that these differ as the answers do.
        self._lengths = [[len(sequence.tokens) for sequence in row] for row in self._rows]
        self.scores: list[list[float]] = []
        """Those of the last measurement; none where a resumed run had made it before."""

    def measure(self, learners: LearnerFleet, job: Job, step: int, /) -> dict[str, float]:
        """`eval/preference/...`: see preference_figures; written to the run directory as well."""
        self.scores = self._scorer.scores(self._rows)
        found = preference_figures(self.scores, self._places, self._lengths, self._prompts)
        figures = {f"eval/preference/{key}": value for key, value in found.items()}
        job.log.metrics(step, figures)
        job.log.event("held out", step=step, **figures)
        say(
            f"{job.name} at step {step}: held-out pairs right {found['accuracy']:.1%} "
            f"(95 %: {found['accuracy_low']:.1%} to {found['accuracy_high']:.1%})"
        )
        return figures


def _aligned(sequence: TrainSequence, logprobs: list[float]) -> tuple[float, ...]:
    """Numbers of the trained tokens as a column of the sequence; 0 elsewhere."""
    values = iter(logprobs)
    return (0.0, *(next(values) if trained else 0.0 for trained in sequence.mask[1:]))
