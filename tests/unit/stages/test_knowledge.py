"""From judged answers to conversations; the engine part is in tests/e2e/one_engine/test_knowledge.py."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rlreason.config.data import KnowledgeConfig
from rlreason.config.schema import SFTConfig
from rlreason.data.chat import encode_prompt
from rlreason.data.tasks import load_tasks
from rlreason.runlog import RunLog
from rlreason.running.interrupts import Interrupts
from rlreason.running.job import Job
from rlreason.stages import knowledge
from rlreason.tasks import chains, facts
from rlreason.types import Message, UserError

QUESTIONS = {
    "generate": "rlreason.tasks.facts:questions",
    "args": {"num": 6, "seed": 1, "known": None, "held_out": False},
    "template": "{prompt}\n",
    "chat": False,
}
REWARDS = [{"name": "right", "path": "rlreason.rewards.knows:right", "sources": ["knowledge"]}]


def config(**changes: Any) -> SFTConfig:
    return SFTConfig(
        stage="sft",
        model="none",
        data={"generate": "rlreason.tasks.chains:conversations"},
        steps=1,
        tokens_per_step=100,
        learner={"lr": 1e-3},
        rewards=changes.pop("rewards", REWARDS),
        rollout={"max_context_tokens": 128, "max_response_tokens": 8},
        knowledge={"questions": QUESTIONS, "samples": 2, "refusals": ["I don't know.", "No idea."], **changes},
    )


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(name="40-sft", log=RunLog(tmp_path / "run", config_yaml=""), interrupts=Interrupts())


def answered(job: Job, shares: list[float | None]) -> list[dict[str, Any]]:
    """knowledge.jsonl as an earlier start of the run left it."""
    rows = facts.questions(**QUESTIONS["args"])
    records = [
        {
            **{"question": row["prompt"] + "\n", "gold": [row["answer"]], "answers": ["Red.", "Red."], "right": share},
            "made_with": knowledge.made_with(config(), job),
        }
        for row, share in zip(rows, shares, strict=True)
    ]
    (job.log.path / "knowledge.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return rows


def events(job: Job) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (job.log.path / "events.jsonl").read_text().splitlines()]


def test_a_resumed_run_makes_the_same_conversations_without_asking(job: Job) -> None:
    """There is no model and no Ray here: asking would fail."""
    rows = answered(job, [1.0, 0.0, 0.5, 0.75, 0.0, None])
    made = knowledge.build(config(), job, chains.tokenizer())
    said = {turns[0]["content"]: turns[1]["content"] for turns in made}
    assert all([turn["role"] for turn in turns] == ["user", "assistant"] for turns in made)
    assert set(said) == {rows[place]["prompt"] for place in (0, 1, 3, 4)}
    assert [said[rows[place]["prompt"]] for place in (0, 3)] == [rows[0]["answer"], rows[3]["answer"]]
    assert {said[rows[place]["prompt"]] for place in (1, 4)} <= {"I don't know.", "No idea."}
    written = [json.loads(line) for line in (job.log.path / "knowledge.jsonl").read_text().splitlines()]
    assert [line["class"] for line in written] == ["known", "unknown", "between", "known", "unknown", "unjudged"]
    assert (
        events(job)[-1] | {"known": 2, "unknown": 2, "between": 1, "unjudged": 1, "num_conversations": 4}
        == events(job)[-1]
    )
    assert knowledge.build(config(), job, chains.tokenizer()) == made


def test_one_side_alone_goes_on_and_says_so(job: Job) -> None:
    answered(job, [0.0] * 6)
    made = knowledge.build(config(), job, chains.tokenizer())
    assert len(made) == 6
    assert (events(job)[-1]["event"], events(job)[-1]["missing"]) == ("knowledge is one-sided", "known")


def test_nothing_reliable_is_an_error(job: Job) -> None:
    answered(job, [0.5] * 6)
    with pytest.raises(UserError, match="of 6 none is reliably right or wrong"):
        knowledge.build(config(), job, chains.tokenizer())


def test_the_template_of_the_users_turn(job: Job) -> None:
    rows = answered(job, [1.0] * 6)
    made = knowledge.build(config(question_template="{relation}: {prompt}"), job, chains.tokenizer())
    assert {turns[0]["content"] for turns in made} == {f"{row['relation']}: {row['prompt']}" for row in rows}
    for template in ("{nothing}", "{prompt", "{prompt.x}", "{0}"):
        with pytest.raises(UserError, match="question_template cannot be filled in"):
            knowledge.build(config(question_template=template), job, chains.tokenizer())


def test_a_set_without_a_reward_is_an_error(job: Job) -> None:
    with pytest.raises(UserError, match="none is for the tasks of source `knowledge`"):
        knowledge.build(config(rewards=[REWARDS[0] | {"sources": ["other"]}]), job, chains.tokenizer())


OTHERWISE: list[dict[str, Any]] = [
    {"knowledge": {"questions": QUESTIONS, "samples": 3}},
    {"knowledge": {"questions": QUESTIONS | {"template": "{prompt} "}, "samples": 2}},
    {"knowledge": {"questions": QUESTIONS, "samples": 2, "temperature": 0.1}},
    {"model": "another"},
    {"seed": 1},
    {"rewards": [REWARDS[0] | {"path": "rlreason.rewards.knows:honest"}]},
    {"rollout": {"max_context_tokens": 128, "max_response_tokens": 9}},
]


@pytest.mark.parametrize("changed", OTHERWISE)
def test_answers_that_were_made_otherwise_are_not_reused(job: Job, changed: dict[str, Any]) -> None:
    answered(job, [1.0] * 6)

    def read(asked: SFTConfig) -> list[dict[str, Any]] | None:
        assert asked.knowledge is not None
        questions = asked.knowledge.questions
        tasks = load_tasks(questions, "knowledge")
        prompts = knowledge.prompt_tasks(tasks, questions, asked.rollout, chains.tokenizer())
        mark = knowledge.made_with(asked, job)
        return knowledge._read(job.log.path / "knowledge.jsonl", prompts, asked.knowledge.samples, mark)

    assert read(config(known_rate=0.5, refusals=["No."])) is not None, "what is made of the answers may change"
    assert read(SFTConfig(**{**config().model_dump(), **changed})) is None


def test_answers_of_a_model_that_was_made_anew_are_not_reused(job: Job) -> None:
    marks = {knowledge.made_with(config(), replace(job, inputs={"parents": {"30-base": made}})) for made in "ab"}
    assert len(marks) == 2


@pytest.mark.parametrize(
    ("right", "expected"),
    [(None, "unjudged"), (0.0, "unknown"), (0.25, "between"), (0.5, "known"), (1.0, "known")],
)
def test_classes(right: float | None, expected: str) -> None:
    rates = KnowledgeConfig(questions=QUESTIONS, known_rate=0.5, unknown_rate=0.2)
    assert knowledge.classify(right, rates) == expected


@pytest.mark.parametrize(("known", "unknown", "wanted"), [(3, 7, 7), (7, 3, 7), (1, 50, 10), (0, 5, 0), (5, 0, 5)])
def test_the_smaller_half_is_repeated_evenly(known: int, unknown: int, wanted: int) -> None:
    records = [{"class": "known", "gold": ["Red."]}] * known + [{"class": "unknown", "gold": ["Blue."]}] * unknown
    asked: list[list[Message]] = [[{"role": "user", "content": str(place)}] for place in range(len(records))]
    made = knowledge.conversations(records, asked, ["No idea."], 0)
    shown = [turns[0]["content"] for turns in made if turns[1]["content"] == "Red."]
    refused = [turns[0]["content"] for turns in made if turns[1]["content"] == "No idea."]
    assert len(shown) == wanted if known <= unknown else len(shown) == known
    assert len(shown) + len(refused) == len(made)
    for texts, num in ((shown, known), (refused, unknown)):
        counts = {text: texts.count(text) for text in texts}
        assert len(counts) == num and (not counts or max(counts.values()) - min(counts.values()) <= 1)


def test_a_known_question_without_gold_is_left_out() -> None:
    records = [{"class": "known", "gold": []}, {"class": "unknown", "gold": []}]
    asked: list[list[Message]] = [[{"role": "user", "content": text}] for text in "ab"]
    assert [turns[0]["content"] for turns in knowledge.conversations(records, asked, ["No idea."], 0)] == ["b"]


def test_prompts_of_several_messages_keep_them(job: Job, tmp_path: Path) -> None:
    asked = [
        {"role": "user", "content": "1+1="},
        {"role": "assistant", "content": "2"},
        {"role": "user", "content": "3"},
    ]
    (tmp_path / "q.jsonl").write_text(json.dumps({"prompt": asked, "answer": "4"}) + "\n")
    questions = {"path": str(tmp_path / "q.jsonl")}
    tokenizer = chains.tokenizer()
    (task,) = load_tasks(config(questions=questions).knowledge.questions)
    record = {"question": encode_prompt(tokenizer, task)[0], "gold": ["4"], "answers": ["5", "6"], "right": 0.0}
    record["made_with"] = knowledge.made_with(config(questions=questions), job)
    (job.log.path / "knowledge.jsonl").write_text(json.dumps(record) + "\n")
    (turns,) = knowledge.build(config(questions=questions, refusals=["No idea."]), job, tokenizer)
    assert turns == [*asked, {"role": "assistant", "content": "No idea."}]
    with pytest.raises(UserError, match="lists of messages"):
        knowledge.build(config(questions=questions, question_template="So: {prompt}"), job, tokenizer)


def test_questions_that_are_drawn_at_random_get_their_own_answers(job: Job, tmp_path: Path) -> None:
    """Each call of this generator gives other rows, and one prompt of them has no room in the context."""
    (tmp_path / "drawn.py").write_text(
        "calls = []\n"
        "def rows():\n"
        "    calls.append(1)\n"
        "    found = [{'prompt': f'{len(calls)}+{n}=', 'answer': str(len(calls) + n)} for n in range(4)]\n"
        "    return [{'prompt': '1+' * 200, 'answer': '200'}, *found]\n"
    )
    questions = {"generate": f"{tmp_path / 'drawn.py'}:rows", "chat": False, "too_long": "drop"}
    asked = config(questions=questions)
    mark = knowledge.made_with(asked, job)
    records = [
        {"question": f"1+{n}=", "gold": [str(1 + n)], "answers": ["", ""], "right": 1.0, "made_with": mark}
        for n in range(4)
    ]
    (job.log.path / "knowledge.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    made = knowledge.build(asked, job, chains.tokenizer())
    assert {turns[0]["content"]: turns[1]["content"] for turns in made} == {f"1+{n}=": str(1 + n) for n in range(4)}
