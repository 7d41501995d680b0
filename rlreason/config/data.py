"""The data sections of a configuration: rows of a data set, tasks, mixtures, held-out text."""

import os
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from rlreason.config.base import Count, EmptyText, Strict

Location = Annotated[str, AfterValidator(os.path.expanduser)]
"""A path or a name; `~` is the home directory."""


class DataConfig(Strict):
    """Where rows come from: a data set (`path`) or a function (`generate`)."""

    path: Location | None = None
    """A local .jsonl, .ndjson, .json, .csv, .tsv (also as .gz, .zst, .xz), .parquet or .arrow file; a folder of them;
    `stage:NAME` for the corpus of an earlier stage of the recipe; or a hub name, where there is no such file."""
    name: str | None = None
    """Configuration of a hub data set, such as `main` of GSM8K; of a local folder, the folder in it."""
    split: str = "train"
    """Split, with slices: `train[:100]`, `train[:10%]+test`. A file is one split; in a folder the files' names tell."""
    generate: str | None = None
    """A function that returns rows: `package.module:function` or `file.py:function`."""
    args: dict[str, Any] = Field(default_factory=dict)
    """Keyword arguments of `generate`."""
    limit: Count | None = None
    """Take the first rows only."""

    @model_validator(mode="after")
    def _one_origin(self) -> "DataConfig":
        if (self.path is None) == (self.generate is None):
            raise ValueError("give exactly one of `path` (a data set) and `generate` (a function)")
        return self


class TaskConfig(DataConfig):
    """Rows that are problems, for RL and evaluation."""

    prompt_column: str = "prompt"
    """Column with the prompt: text, or a list of messages. One that ends in an assistant turn is continued."""
    answer_column: str | None = "answer"
    """Column with the gold answer, `outer.inner` for one inside another; null where `tests` or the reward decides. Rows
    without `answer` may have it in TRL's `solution` or `ground_truth`, or verl's `reward_model.ground_truth`."""
    template: str | None = None
    """Text around the prompt: `{prompt}` stands for it; other columns by their names."""
    system: str | None = None
    """System message put before the prompt (models with a chat template)."""
    chat: bool = True
    """false: the prompt is plain text to be continued, whether or not the tokenizer has a chat template."""
    too_long: Literal["error", "drop"] = "error"
    """What happens to a prompt that leaves no room in the context."""

    @model_validator(mode="after")
    def _no_effect_is_an_error(self) -> "TaskConfig":
        if not self.chat and self.system is not None:
            raise ValueError("system: has no effect with `chat: false`; take one of them out")
        return self


class SourceConfig(DataConfig):
    """One part of the mixture that a supervised stage trains on."""

    weight: Annotated[float, Field(gt=0)] = 1.0
    """Share of the trained tokens, relative to the other sources."""
    documents: bool = False
    """In SFT: rows are documents (`text`) and each token is trained on, as always in pretraining. Replaying what the
    model was pretrained on keeps it from forgetting that."""


class PreferenceSource(DataConfig):
    """Rows in which people prefer one answer to another: `prompt, chosen, rejected` or `prompt, responses, ranking`."""

    chat: bool = True
    """false: prompt and answer are plain text, whether or not the tokenizer has a chat template."""
    margin: bool = False
    """Rows have a `margin`: by how much a better answer's score is to exceed a worse one's (Llama 2, 2307.09288)."""
    bad_rows: Literal["error", "drop"] = "error"
    """What happens to a row that is no ranking, such as one of two equal answers; dropped ones are counted."""


def _one(name: str) -> BeforeValidator:
    """`data: {path: ...}` is a mixture of one, called `name`."""

    def named(value: Any) -> Any:
        keys = value.keys() & {"path", "generate"} if isinstance(value, dict) else ()
        return {name: value} if any(not isinstance(value[key], dict) for key in keys) else value

    return BeforeValidator(named)


Mixture = Annotated[dict[str, SourceConfig], _one("data"), Field(min_length=1)]
TaskSets = Annotated[dict[str, TaskConfig], _one("tasks"), Field(min_length=1)]

PreferenceSets = Annotated[dict[str, PreferenceSource], _one("data"), Field(min_length=1)]


class PreferenceHeldOutConfig(Strict):
    """Preference rows that are never trained on and measured instead."""

    share: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Of the prompts, chosen by a hash of their text: all rows of a prompt are on one side."""
    rows: Count = 1000
    """At most so many are measured."""
    every: Count = 100
    """Steps between measurements; there is one before the first step and one after the last as well."""


class HeldOutConfig(Strict):
    """Documents that are never trained on and measured instead."""

    share: Annotated[float, Field(gt=0, lt=1)] = 0.02
    """Of each source's documents, chosen by a hash of their text."""
    documents: Count = 200
    """At most so many of each source are measured."""
    every: Count = 500
    """Steps between measurements; there is one before the first step and one after the last as well."""
    prompts: list[EmptyText] = Field(default_factory=list)
    """Beginnings of text that the model continues at each measurement, greedily, for the log."""
    continuation_tokens: Count = 32
    """Length of such a continuation."""


class KnowledgeConfig(Strict):
    """Teaching the model what it does not know, as Llama 3 did (arXiv 2407.21783, section 4.3.6).

    The model that the stage starts from answers each question several times. Questions that it reliably gets wrong
    become conversations in which the assistant says that it does not know; those that it reliably gets right, ones
    with the right answer.
    """

    questions: TaskConfig
    """Questions with gold answers, none of them in the evaluation sets."""
    samples: Count = 4
    """Answers to each question."""
    temperature: Annotated[float, Field(gt=0)] = 0.7
    """Of those answers."""
    known_rate: Annotated[float, Field(gt=0, le=1)] = 0.75
    """At least this share right: known."""
    unknown_rate: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """At most this share right: not known. What lies between is left out."""
    refusals: list[str] = Field(default_factory=lambda: ["I don't know."], min_length=1)
    """What the assistant says; one is drawn for each question."""
    question_template: str = "{prompt}"
    """The user's turn in the conversations: `{prompt}` stands for the question, other columns by their names."""
    weight: Annotated[float, Field(gt=0)] = 1.0
    """Of these conversations in the mixture."""

    @model_validator(mode="after")
    def _ordered(self) -> "KnowledgeConfig":
        if self.unknown_rate >= self.known_rate:
            raise ValueError("unknown_rate must be below known_rate")
        return self
