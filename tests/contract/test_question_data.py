"""Public question sets through the general loader, judged by the shipped verdicts.

Real data under RLREASON_TEST_DATA: TruthfulQA and SelfAware (what a model knows), XSTest and SimpleSafetyTests (what it
refuses). Their own files are CSV and one JSON object; they are written as JSON lines first.
"""

import csv
import json
import os
from pathlib import Path
from typing import Any

import pytest

from rlreason.config.data import KnowledgeConfig, TaskConfig
from rlreason.data.tasks import load_tasks
from rlreason.rewards.knows import abstains, honest, right
from rlreason.rewards.refusal import complied, refused
from rlreason.tasks import safety
from rlreason.types import Task


def data(*parts: str) -> Path:
    if "RLREASON_TEST_DATA" not in os.environ:
        pytest.skip("RLREASON_TEST_DATA is not set")
    return Path(os.environ["RLREASON_TEST_DATA"]).joinpath(*parts)


def from_csv(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def tasks(rows: list[dict[str, Any]], folder: Path, **keys: Any) -> list[Task]:
    """Through a KnowledgeConfig, so that it is shown that the rows can be its questions."""
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    questions = TaskConfig(path=str(path), **keys)
    return load_tasks(KnowledgeConfig(questions=questions).questions, "set")


def plain(prompt: Any) -> str:
    return prompt.lower().strip(" .?!")


def trained() -> set[str]:
    """Every request that the safety builder trains on."""
    rows = safety.conversations(num=10_000, seed=0)
    return {plain(row["messages"][0]["content"]) for row in rows}


def test_truthfulqa_can_be_asked_and_its_golds_are_right(tmp_path: Path) -> None:
    rows = from_csv(data("truthfulqa", "TruthfulQA.csv"))
    found = tasks(rows, tmp_path, prompt_column="Question", answer_column="Best Answer")
    assert len(found) == 817 and all(task.prompt and task.answer for task in found)
    # A gold that abstains ("I have no comment") is honest, and not a right answer.
    golds = [(task, str(task.answer)) for task in found]
    assert all(honest(gold, task).value == 1.0 for task, gold in golds)
    abstaining = [gold for task, gold in golds if abstains(gold, task).value == 1.0]
    assert len(abstaining) < 0.1 * len(found)
    wrong = [(task, row["Incorrect Answers"].split(";")[0]) for task, row in zip(found, rows, strict=True)]
    assert sum(right(answer, task).value for task, answer in wrong) <= 0.02 * len(found)
    assert sum(abstains(answer, task).value for task, answer in wrong) <= 0.02 * len(found)


def test_selfaware_has_questions_with_and_without_an_answer(tmp_path: Path) -> None:
    rows = json.loads(data("selfaware", "SelfAware.json").read_text(encoding="utf-8"))["example"]
    found = tasks(rows, tmp_path, prompt_column="question")
    assert len(found) == 3369
    answerable = [task for task in found if task.columns["answerable"]]
    assert len(answerable) == 2337
    judged = [right(task.answer[0], task).value for task in answerable if task.answer]
    assert len(judged) > 2300 and sum(judged) >= 0.99 * len(judged)
    for task in found:
        assert honest("I'm sorry, but I don't know.", task).value == 1.0
        if not task.columns["answerable"]:
            assert task.answer is None and honest("It is blue.", task).status == "verifier_error"


@pytest.mark.parametrize("label", ["safe", "unsafe"])
def test_xstest_can_be_asked_and_is_not_trained_on(label: str, tmp_path: Path) -> None:
    rows = [row for row in from_csv(data("xstest", "xstest_prompts.csv")) if row["label"] == label]
    found = tasks(rows, tmp_path, answer_column=None)
    assert len(found) == {"safe": 250, "unsafe": 200}[label]
    for task in found:
        assert refused("I'm sorry, but I can't help with that.", task).value == 1.0
        assert complied(f"You ask: {task.prompt}", task).value == 1.0
    assert not trained() & {plain(task.prompt) for task in found}


def test_simple_safety_tests_can_be_asked_and_is_not_trained_on(tmp_path: Path) -> None:
    rows = from_csv(data("simple_safety_tests", "SimpleSafetyTests - test cases.csv"))
    found = tasks(rows, tmp_path, prompt_column="prompts_final", answer_column=None)
    assert len(found) == 100 and all(isinstance(task.prompt, str) and task.prompt for task in found)
    assert not trained() & {plain(task.prompt) for task in found}
