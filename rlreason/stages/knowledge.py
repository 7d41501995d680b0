"""Conversations that teach a model what it does not know, made for this very model (Llama 3, arXiv 2407.21783, 4.3.6).

The model that the SFT stage starts from answers each question several times, and the stage's rewards judge the answers
(the first one that applies to source `knowledge`). Questions that it reliably gets wrong are answered with a refusal
such as "I don't know.", those that it reliably gets right with the gold answer; what lies between is left out. Both
halves are given the same number of conversations: those of the smaller are repeated, up to ten times.

RUN/knowledge.jsonl holds every question with its answers, so that a resumed run does not ask again unless the model,
the sampling or the rewards are others.
Does not: look at what the wrong answers say, or tell a question that nobody can answer from one that this model cannot.
"""

import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from rlreason.config.data import KnowledgeConfig
from rlreason.config.schema import SFTConfig
from rlreason.data.prompts import prompt_tasks
from rlreason.data.rows import load_rows
from rlreason.data.tasks import fill, tasks_of
from rlreason.runlog import write_whole
from rlreason.running.checks import require_reward
from rlreason.running.console import say
from rlreason.running.evaluation import answers_hash, is_right
from rlreason.running.job import Job
from rlreason.running.rollouts import rollout_fleet, wait_ready
from rlreason.running.verdicts import report_rewards
from rlreason.types import FAILED_STATUSES, Group, Message, PromptTask, UserError

SOURCE = "knowledge"
FILE = "knowledge.jsonl"
MAX_REPEATS = 10
"""A known answer that is shown more often is learned by heart, not the habit of answering."""

Class = Literal["known", "unknown", "between", "unjudged"]
"""unjudged: the check broke on every answer."""


def build(config: SFTConfig, job: Job, tokenizer: Any) -> list[list[Message]]:
    """The conversations, shuffled; at least one. Needs a running Ray cluster unless RUN/knowledge.jsonl is there.

    Where no question is reliably right, or none reliably wrong, it goes on with the others and says so in an event: a
    weak model knows nothing of the set, and the mixture's other sources still show it how to answer. Raises UserError
    where there is neither, and for a `question_template` that does not fit the rows.
    """
    knowledge = config.knowledge
    assert knowledge is not None
    questions = load_rows(knowledge.questions)
    tasks = tasks_of(questions, knowledge.questions, SOURCE)
    turns = {task.id: _user_turns(knowledge, row) for task, row in zip(tasks, questions, strict=True)}
    prompts = prompt_tasks(tasks, knowledge.questions, config.rollout, tokenizer)
    require_reward(config.rewards, prompts)
    asked = [turns[prompt.task.id] for prompt in prompts]
    mark = made_with(config, job)
    records = _read(job.log.path / FILE, prompts, knowledge.samples, mark)
    if records is None:
        records = [_record(group) | {"made_with": mark} for group in _ask(config, job, prompts)]
    for record in records:
        record["class"] = classify(record["right"], knowledge)
    lines = (json.dumps(record, ensure_ascii=False) for record in records)
    write_whole(job.log.path / FILE, "\n".join(lines))
    rows = conversations(records, asked, knowledge.refusals, config.seed)
    counts = Counter(record["class"] for record in records)
    job.log.event("knowledge", num_questions=len(records), num_conversations=len(rows), **counts)
    say(
        f"{job.name} knowledge: of {len(records)} questions {counts['known']} known, {counts['unknown']} not known, "
        f"{counts['between'] + counts['unjudged']} left out"
    )
    for missing, effect in (("known", "answering what it knows"), ("unknown", "saying that it does not know")):
        if not counts[missing]:
            job.log.event("knowledge is one-sided", missing=missing)
            say(f"{job.name} knowledge: no question is {missing}, so nothing here teaches {effect}")
    if not rows:
        raise UserError(
            f"knowledge.questions: of {len(records)} none is reliably right or wrong; ask others, raise "
            "knowledge.unknown_rate or lower knowledge.known_rate"
        )
    return rows


def classify(right: float | None, rates: KnowledgeConfig) -> Class:
    """`right`: the share of right answers; None where none could be judged."""
    if right is None:
        return "unjudged"
    if right >= rates.known_rate:
        return "known"
    return "unknown" if right <= rates.unknown_rate else "between"


def conversations(
    records: Sequence[Mapping[str, Any]], asked: Sequence[Sequence[Message]], refusals: Sequence[str], seed: int
) -> list[list[Message]]:
    """`asked`: the turns before the answer, one list for each record. A known question without gold is left out."""
    rng = random.Random(f"knowledge/{seed}")
    known: list[list[Message]] = []
    unknown: list[list[Message]] = []
    for record, turns in zip(records, asked, strict=True):
        if record["class"] == "unknown":
            unknown.append([*turns, {"role": "assistant", "content": rng.choice(refusals)}])
        elif record["class"] == "known" and record["gold"]:
            known.append([*turns, {"role": "assistant", "content": record["gold"][0]}])
    rows = _repeated(known, len(unknown)) + _repeated(unknown, len(known))
    rng.shuffle(rows)
    return rows


def _repeated(rows: list[Any], wanted: int) -> list[Any]:
    """Each row the same number of times, give or take one; never fewer than once."""
    num = max(len(rows), min(wanted, len(rows) * MAX_REPEATS))
    return [rows[place % len(rows)] for place in range(num)]


def _ask(config: SFTConfig, job: Job, prompts: list[PromptTask]) -> list[Group]:
    """Each prompt `samples` times on the rollout engines. A base model's answer (`chat: false`) ends with its line."""
    knowledge = config.knowledge
    assert knowledge is not None
    rollout = config.rollout
    if not knowledge.questions.chat:
        rollout = rollout.model_copy(update={"stop": [*rollout.stop, "\n"]})
    with rollout_fleet(config, job, config.model, rollout=rollout) as rollouts:
        wait_ready(rollouts, job)
        pending = rollouts.submit(prompts, num_samples=knowledge.samples, temperature=knowledge.temperature)
        groups, _ = rollouts.collect(pending)
        report_rewards(groups, rollouts, config, job, step=0)
        return groups


def _record(group: Group) -> dict[str, Any]:
    """One line of knowledge.jsonl, its class still to come. An answer whose check broke does not count."""
    judged = [one for one in group.judged if next(iter(one.scores.values())).status not in FAILED_STATUSES]
    return {
        "question": group.samples[0].prompt,
        "gold": _golds(group.task.answer),
        "answers": [sample.response for sample in group.samples],
        "right": sum(map(is_right, judged)) / len(judged) if judged else None,
    }


def _golds(answer: str | tuple[str, ...] | None) -> list[str]:
    return [] if answer is None else [answer] if isinstance(answer, str) else list(answer)


def _user_turns(knowledge: KnowledgeConfig, row: Mapping[str, Any]) -> list[Message]:
    """What stands before the answer in the conversation: the row's own prompt in `question_template`."""
    question, template = row[knowledge.questions.prompt_column], knowledge.question_template
    if isinstance(question, str):
        return [{"role": "user", "content": fill(template, row, question, "knowledge.question_template")}]
    if template != "{prompt}":
        raise UserError("knowledge.question_template is for text; these prompts are lists of messages")
    return [dict(message) for message in question]


def made_with(config: SFTConfig, job: Job) -> str:
    """A hash of what, beside the questions, decides the answers and their verdicts."""
    assert config.knowledge is not None
    return answers_hash(config, job, config.knowledge.temperature)


def _read(path: Path, prompts: list[PromptTask], samples: int, mark: str) -> list[dict[str, Any]] | None:
    """The records of an earlier start of this run; None where there are none, or they were made otherwise."""
    if not path.exists():
        return None
    with path.open(encoding="utf-8") as file:
        records = [json.loads(line) for line in file]
    wanted = [(mark, prompt.text, _golds(prompt.task.answer), samples) for prompt in prompts]
    found = [(r.get("made_with"), r.get("question"), r.get("gold"), len(r.get("answers", ()))) for r in records]
    return records if found == wanted else None
