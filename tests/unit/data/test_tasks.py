"""Rows of real files through `datasets`, and tasks from them."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rlreason.config.data import DataConfig, TaskConfig
from rlreason.data.tasks import fingerprint, load_rows, load_tasks, open_rows, texts_of
from rlreason.types import UserError

ROWS = [{"prompt": "3+4=", "answer": "7"}, {"prompt": "5*5=", "answer": "5"}, {"prompt": "9-1=", "answer": "8"}]
Write = Callable[[Path, list[dict[str, Any]]], None]


def column_of(config: DataConfig, column: str) -> Iterator[str]:
    return texts_of(open_rows(config), column, config)


@pytest.fixture(autouse=True)
def _cache_in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`datasets` writes what it read to its cache: not into the user's."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_json(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text(json.dumps(rows))


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    import csv

    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], delimiter="\t" if path.suffix == ".tsv" else ",")
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture
def jsonl(tmp_path: Path) -> Callable[..., TaskConfig]:
    def make(rows: list[dict[str, Any]], **settings: Any) -> TaskConfig:
        write_jsonl(tmp_path / "data.jsonl", rows)
        return TaskConfig(path=str(tmp_path / "data.jsonl"), **settings)

    return make


def refusal(config: TaskConfig) -> str:
    """One line that names the data."""
    with pytest.raises(UserError) as error:
        load_tasks(config)
    text = str(error.value)
    assert "\n" not in text and str(config.path or config.generate) in text
    return text


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.jsonl", write_jsonl),
        ("a.json", write_json),
        ("a.parquet", write_parquet),
        ("a.csv", write_csv),
        ("a.tsv", write_csv),
    ],
)
def test_the_formats_give_the_same_tasks(tmp_path: Path, name: str, write: Write) -> None:
    write(tmp_path / name, ROWS)
    tasks = load_tasks(TaskConfig(path=str(tmp_path / name)), "sums")
    assert [(task.id, task.prompt, task.answer) for task in tasks] == [
        ("sums:0", "3+4=", "7"), ("sums:1", "5*5=", "5"), ("sums:2", "9-1=", "8"),
    ]  # fmt: skip
    assert {task.source for task in tasks} == {"sums"}


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_cells_of_a_csv_file_stay_as_they_are_written(tmp_path: Path, name: str) -> None:
    rows = [{"prompt": text, "answer": answer} for text, answer in [('a, b\t\n"c"', "007"), ("N/A", "1.50"), ("é", "")]]
    write_csv(tmp_path / name, rows)
    tasks = load_tasks(TaskConfig(path=str(tmp_path / name)))
    assert [(task.prompt, task.answer) for task in tasks] == [(rows[0]["prompt"], "007"), ("N/A", "1.50"), ("é", None)]
    assert load_rows(DataConfig(path=str(tmp_path / name), split="train[1:2]")) == rows[1:2]


@pytest.mark.parametrize(
    "text", ["prompt,answer\n", "prompt,answer\n1,2,3\n", "prompt,answer\n1,2\n1,2,3\n", 'p,a\n"1,2\n']
)
def test_a_csv_file_that_is_empty_or_ragged_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    refusal(TaskConfig(path=str(tmp_path / "a.csv")))


def test_gsm8k_by_its_column_names(jsonl: Callable[..., TaskConfig]) -> None:
    row = {"question": "How many?", "answer": "6 * 7 = 42\n#### 42", "level": 2}
    (task,) = load_tasks(jsonl([row], prompt_column="question", answer_column="answer"))
    assert (task.prompt, task.answer) == ("How many?", "6 * 7 = 42\n#### 42")
    assert task.columns == {"level": 2}


def test_ids_are_stable_whatever_the_limit(jsonl: Callable[..., TaskConfig]) -> None:
    config = jsonl(ROWS)
    assert load_tasks(config) == load_tasks(config)
    assert load_tasks(jsonl(ROWS, limit=2)) == load_tasks(config)[:2]
    assert len({task.id for task in load_tasks(config)}) == 3


def test_answers_of_any_kind(jsonl: Callable[..., TaskConfig]) -> None:
    def answer(value: Any, **settings: Any) -> Any:
        return load_tasks(jsonl([{"prompt": "p", "answer": value}], **settings))[0].answer

    assert answer(["7", "seven"]) == ("7", "seven")
    assert answer([7, 8]) == ("7", "8")
    assert answer(42) == "42"
    assert answer(0) == "0"  # not: no answer
    assert answer(None) is None
    assert answer("7", answer_column=None) is None


def test_tests_source_and_messages_are_kept(jsonl: Callable[..., TaskConfig]) -> None:
    messages = [{"role": "user", "content": "3+4="}]
    tests = [{"type": "stdio", "input": "1", "output": "2"}]
    (task,) = load_tasks(jsonl([{"prompt": messages, "answer": "7", "tests": tests, "source": "hand"}]), "set")
    assert task.prompt == tuple(messages) and task.tests == tuple(tests)
    assert (task.id, task.source, task.columns) == ("set:0", "hand", {})


def test_program_tests_may_be_json_text(jsonl: Callable[..., TaskConfig]) -> None:
    tests = [{"type": "stdio", "input": "1", "output": "2"}]
    rows = [{"prompt": "p", "answer": None, "tests": text} for text in (json.dumps(tests), "[]", "null", "", None)]
    assert [task.tests for task in load_tasks(jsonl(rows))] == [tuple(tests), (), (), (), ()]


@pytest.mark.parametrize("tests", ["assert f(1) == 2", "3", '["a"]', '{"type": "stdio"}', ["assert f(1) == 2"], 3])
def test_tests_that_are_no_list_of_tests_are_refused_with_their_row(
    jsonl: Callable[..., TaskConfig], tests: Any
) -> None:
    rows: list[dict[str, Any]] = [
        {"prompt": "p", "answer": "7", "tests": None},
        {"prompt": "p", "answer": "7", "tests": tests},
    ]
    found = refusal(jsonl(rows))
    assert "row 1" in found and "`tests`" in found


def test_a_template_is_filled_with_the_columns(jsonl: Callable[..., TaskConfig]) -> None:
    config = jsonl([{"prompt": "3+4=", "answer": "7", "unit": "apples"}], template=r"{prompt} in {unit}, \boxed{{}}")
    assert load_tasks(config)[0].prompt == r"3+4= in apples, \boxed{}"


@pytest.mark.parametrize("template", ["{problem}", "{prompt} {0}", r"{prompt} \boxed{}", "{prompt", "{prompt.text}"])
def test_a_template_that_cannot_be_filled_is_refused(jsonl: Callable[..., TaskConfig], template: str) -> None:
    assert "template" in refusal(jsonl(ROWS, template=template))


def test_a_template_around_messages_is_refused_and_not_filled_with_their_repr(
    jsonl: Callable[..., TaskConfig],
) -> None:
    rows = [{"prompt": [{"role": "user", "content": "3+4="}], "answer": "7"}]
    assert "template" in refusal(jsonl(rows, template="{prompt} Think."))


def test_a_wrong_column_name_is_told_what_there_is(jsonl: Callable[..., TaskConfig]) -> None:
    found = refusal(jsonl(ROWS, prompt_column="question"))
    assert "`question`" in found and "prompt, answer" in found
    assert "`gold`" in refusal(jsonl(ROWS, answer_column="gold"))


def test_a_prompt_that_is_no_text_is_refused_with_its_row(jsonl: Callable[..., TaskConfig]) -> None:
    assert "row 1" in refusal(jsonl([{"prompt": "p", "answer": "7"}, {"prompt": None, "answer": "7"}]))


@pytest.mark.parametrize("prompt", [["3+4="], [], [{"role": "user"}], [{"role": "user", "content": None}]])
def test_a_list_that_is_no_messages_is_refused_with_its_row(jsonl: Callable[..., TaskConfig], prompt: Any) -> None:
    assert "row 0: `prompt` is neither" in refusal(jsonl([{"prompt": prompt, "answer": "7"}]))


@pytest.mark.parametrize(("name", "text"), [("a.jsonl", ""), ("a.jsonl", "\n"), ("a.json", ""), ("a.json", "[]")])
def test_an_empty_file_is_refused(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    refusal(TaskConfig(path=str(tmp_path / name)))


def test_a_broken_line_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps(ROWS[0]) + '\n{"prompt": "5*5=", "ans\n' + json.dumps(ROWS[2]) + "\n")
    refusal(TaskConfig(path=str(tmp_path / "a.jsonl")))


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.parquet", "a.arrow", "a.csv", "a.tsv"])
def test_a_missing_file_and_garbage_are_refused(tmp_path: Path, name: str) -> None:
    config = TaskConfig(path=str(tmp_path / name))
    assert "no such file" in refusal(config)
    (tmp_path / name).write_bytes(b"\x00\xff\xfegarbage" * 20)
    assert "cannot be read" in refusal(config)


def test_a_changed_file_is_read_again(jsonl: Callable[..., TaskConfig]) -> None:
    assert load_rows(jsonl(ROWS[:1])) == ROWS[:1]
    assert load_rows(jsonl(ROWS[1:])) == ROWS[1:]


def test_a_slice_of_a_file_is_taken_whatever_the_splits_name(jsonl: Callable[..., TaskConfig]) -> None:
    assert load_rows(jsonl(ROWS, split="train[1:]")) == ROWS[1:]
    assert load_rows(jsonl(ROWS, split="test[:1]")) == ROWS[:1]


def test_rows_from_a_function(tmp_path: Path) -> None:
    config = TaskConfig(generate="rlreason.data.chains:tasks", args={"num": 5, "seed": 1})
    tasks = load_tasks(config)
    assert len(tasks) == 5 and tasks == load_tasks(config)
    (tmp_path / "mine.py").write_text("def rows(n):\n    return ({'prompt': str(i), 'answer': i} for i in range(n))\n")
    mine = TaskConfig(generate=f"{tmp_path / 'mine.py'}:rows", args={"n": 4}, limit=3)
    assert [task.answer for task in load_tasks(mine)] == ["0", "1", "2"]


def test_a_function_that_does_not_fit_is_refused() -> None:
    wrong_args = TaskConfig(generate="rlreason.data.chains:tasks", args={"number": 5, "seed": 1})
    assert "number" in refusal(wrong_args)
    assert "seed" in refusal(TaskConfig(generate="rlreason.data.chains:tasks", args={"num": 5}))
    with pytest.raises(UserError, match="did you mean tasks"):
        load_rows(TaskConfig(generate="rlreason.data.chains:task"))


@pytest.fixture
def made(tmp_path: Path) -> Callable[[str], TaskConfig]:
    def make(body: str) -> TaskConfig:
        (tmp_path / "mine.py").write_text(f"def rows():\n    {body}\n")
        return TaskConfig(generate=f"{tmp_path / 'mine.py'}:rows")

    return make


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            "return [{'prompt': 'p', 'answer': '7'}, {'prompt': 'p'}]",
            "row 1: no column `answer`; its columns are prompt",
        ),
        ("return ['p']", "a row is a str"),
        ("return 'prompt'", "a row is a str"),
        ("pass", "returned NoneType"),
        (
            "return [{'prompt': 'p', 'answer': '7'}, {'prompt': 'a\\ud800', 'answer': '7'}]",
            "row 1: holds half a character",
        ),
        ("return [{'prompt': [{'role': 'user', 'content': '\\udfff'}]}]", "row 0: holds half a character"),
    ],
)
def test_what_a_function_returns_is_checked(made: Callable[[str], TaskConfig], body: str, expected: str) -> None:
    assert expected in refusal(made(body))


def test_half_a_character_is_refused_where_texts_are_read(made: Callable[[str], TaskConfig]) -> None:
    with pytest.raises(UserError, match="row 0: holds half a character"):
        next(column_of(made("yield {'text': 'a\\ud800'}"), "text"))


@pytest.mark.parametrize("body", ["return [len(3)]", "yield len(3)"])
def test_a_bug_in_a_function_is_not_called_wrong_args(made: Callable[[str], TaskConfig], body: str) -> None:
    with pytest.raises(TypeError, match=r"has no len\(\)"):
        load_rows(made(body))


@pytest.mark.parametrize("names", [["part-00001", "part-00000"], ["train-b", "train-a", "test-a"]])
def test_a_folder_of_parquet_files_is_read_in_the_order_of_their_names(tmp_path: Path, names: list[str]) -> None:
    (tmp_path / "rows").mkdir()
    for name, row in zip(names, ROWS, strict=False):
        write_parquet(tmp_path / "rows" / f"{name}.parquet", [row])
    (tmp_path / "rows" / "_notes.json").write_text("{}")
    config = DataConfig(path=str(tmp_path / "rows"))
    assert load_rows(config) == [ROWS[1], ROWS[0]]
    assert load_rows(config.model_copy(update={"split": "train[1:]"})) == [ROWS[0]]
    if "test-a" in names:
        assert load_rows(config.model_copy(update={"split": "test"})) == [ROWS[2]]
    with pytest.raises(UserError, match="validation"):
        load_rows(config.model_copy(update={"split": "validation"}))


def test_rows_and_texts_are_read_as_they_are_asked_for(tmp_path: Path) -> None:
    rows = [{"prompt": f"{i}"} for i in range(2500)]
    write_parquet(tmp_path / "a.parquet", rows)
    config = DataConfig(path=str(tmp_path / "a.parquet"), limit=2100)
    opened = open_rows(config)
    assert not isinstance(opened, list) and len(opened) == 2100 and opened[2099] == {"prompt": "2099"}
    assert list(column_of(config, "prompt")) == [str(i) for i in range(2100)]
    made = DataConfig(generate="rlreason.data.chains:texts", args={"num": 3, "seed": 1})
    assert [{"text": text} for text in column_of(made, "text")] == load_rows(made)


def test_a_column_without_text_is_refused_with_its_row(jsonl: Callable[..., DataConfig]) -> None:
    with pytest.raises(UserError, match="no column `text`; its columns are prompt, answer"):
        next(column_of(jsonl(ROWS), "text"))
    with pytest.raises(UserError, match="row 1: `prompt` is not text"):
        list(column_of(jsonl([ROWS[0], {"prompt": None, "answer": "7"}]), "prompt"))


def test_a_fingerprint_is_that_of_the_rows_wherever_they_lie(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for name in ("a.jsonl", "a/b.jsonl"):
        write_jsonl(tmp_path / name, ROWS)
    config = DataConfig(path=str(tmp_path / "a.jsonl"))
    first = fingerprint(config)
    assert fingerprint(DataConfig(path=str(tmp_path / "a/b.jsonl"))) == first
    assert fingerprint(config.model_copy(update={"limit": 2})) != first
    assert fingerprint(config.model_copy(update={"split": "train[:2]"})) != first
    same_length = (tmp_path / "a.jsonl").read_text().replace("3+4", "3+3")
    (tmp_path / "a.jsonl").write_text(same_length)
    assert fingerprint(config) != first


def test_a_fingerprint_of_made_rows_follows_arguments_and_code(made: Callable[[str], TaskConfig]) -> None:
    def chains(seed: int) -> str:
        return fingerprint(TaskConfig(generate="rlreason.data.chains:tasks", args={"num": 5, "seed": seed}))

    assert chains(1) == chains(1) != chains(2)
    first = fingerprint(made("return [{'prompt': 'p', 'answer': '7'}]"))
    assert first == fingerprint(made("yield {'prompt': 'p', 'answer': '7'}"))
    assert first != fingerprint(made("return [{'prompt': 'p', 'answer': '8'}]"))
