"""Rows of real files through `datasets`, and tasks from them."""

import json
from collections.abc import Callable, Iterator
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from rlreason.config.data import DataConfig, TaskConfig
from rlreason.data.rows import fingerprint, load_rows, open_rows, texts_of
from rlreason.data.tasks import load_tasks
from rlreason.types import UserError

ROWS = [{"prompt": "3+4=", "answer": "7"}, {"prompt": "5*5=", "answer": "5"}, {"prompt": "9-1=", "answer": "8"}]
Write = Callable[[Path, list[dict[str, Any]]], None]


def column_of(config: DataConfig, column: str) -> Iterator[str]:
    return texts_of(open_rows(config), column, config)


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
    texts = [('a, b\t\n"c"', "007", ""), ("N/A", "1.50", "x"), ("é", "1e5", "NA")]
    rows = [{"prompt": text, "answer": answer, "note": note} for text, answer, note in texts]
    write_csv(tmp_path / name, rows)
    tasks = load_tasks(TaskConfig(path=str(tmp_path / name)))
    assert [(task.prompt, task.answer, task.columns["note"]) for task in tasks] == [
        (texts[0][0], "007", None), ("N/A", "1.50", "x"), ("é", "1e5", "NA")
    ]  # fmt: skip
    assert load_rows(DataConfig(path=str(tmp_path / name), split="train[1:2]")) == rows[1:2]


@pytest.mark.parametrize(
    "text",
    [
        "prompt,answer\n",
        "prompt,answer\n1,2,3\n",
        "prompt,answer\n1,2\n1\n",
        "prompt,prompt\n1,2\n",
        "prompt,answer\n1,2\n1,2,3\n",
        'p,a\n"1,2\n',
    ],
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


GOLDS = [
    ("2024-01-02", "2024-01-02"),
    (10**22, "1" + "0" * 22),
    (2**63, "9223372036854775808"),
    (7, "7"),
    (7.5, "7.5"),
    (-0.0, "-0.0"),
    (["1/2", 0.5, 3], ("1/2", "0.5", "3")),
    (True, "true"),
    (" 7 ", " 7 "),
]


def test_golds_are_what_the_file_spells_whatever_stands_beside_them(jsonl: Callable[..., TaskConfig]) -> None:
    tasks = load_tasks(jsonl([{"prompt": "p", "answer": value} for value, _ in GOLDS]))
    assert [task.answer for task in tasks] == [text for _, text in GOLDS]
    for value, text in GOLDS:
        (task,) = load_tasks(jsonl([{"prompt": "p", "answer": value}]))
        assert task.answer == text


@pytest.mark.parametrize("text", ["7.0", "1e5", "1E+2", "-0", "0.10", "9" * 5000])
def test_a_number_reaches_the_reward_with_its_digits_and_columns_stay_numbers(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.jsonl").write_text(f'{{"prompt": "p", "answer": {text}, "level": {text}, "n": {{"of": [2.0]}}}}')
    (task,) = load_tasks(TaskConfig(path=str(tmp_path / "a.jsonl"), template="{prompt} {level}"))
    assert (task.answer, task.prompt) == (text, f"p {text}")
    assert type(task.columns["level"]) in (int, float) and type(task.columns["n"]["of"][0]) is float


@pytest.mark.parametrize(
    ("gold", "says"),
    [
        ('["42", null]', "row 1: `answer`, item 1 is no gold: it is null"),
        ('["42", NaN]', "item 1 is no gold: it is NaN"),
        ('[["42"]]', "item 0 is no gold: it is a list"),
        ('["42", " "]', "item 1 is empty text"),
        ("[]", "row 1: `answer` is an empty list"),
        ("NaN", "row 1: `answer` is no gold: it is NaN"),
        ("-Infinity", "it is NaN or infinite"),
        (
            '{"ground_truth": "42"}',
            "it is an object; name the key that holds it, such as `answer_column: answer.ground",
        ),
        ('""', "row 1: `answer` is empty text"),
        ("null", "row 1: `answer` is null, and other rows have a gold"),
    ],
)
def test_what_is_no_gold_is_refused_with_row_and_column(tmp_path: Path, gold: str, says: str) -> None:
    (tmp_path / "a.jsonl").write_text(f'{{"prompt": "p", "answer": "7"}}\n{{"prompt": "p", "answer": {gold}}}\n')
    assert says in refusal(TaskConfig(path=str(tmp_path / "a.jsonl")))


def test_typed_golds_of_parquet(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    def golds(values: list[Any], kind: Any = None) -> list[Any]:
        table = pyarrow.table({"prompt": ["p"] * len(values), "answer": pyarrow.array(values, kind)})
        pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
        return [task.answer for task in load_tasks(TaskConfig(path=str(tmp_path / "a.parquet")))]

    assert golds([2**64 - 1, 7], pyarrow.uint64()) == ["18446744073709551615", "7"]
    assert golds([0.1, 1e22, 7.0]) == ["0.1", "1e+22", "7.0"]
    assert golds([0.1, 16777216.0], pyarrow.float32()) == ["0.1", "16777216.0"]
    assert golds([Decimal("1.50"), Decimal("100.00")]) == ["1.50", "100.00"]
    assert golds([date(2024, 1, 2)]) == ["2024-01-02"]
    assert golds([datetime(2024, 1, 2, 3, 4, 5)], pyarrow.timestamp("ns")) == ["2024-01-02T03:04:05"]
    assert golds([["1/2", "0.5"]]) == [("1/2", "0.5")]
    for values, kind, says in (
        ([7.0, float("nan")], None, "NaN"), ([b"42"], None, "bytes"), ([["42", None]], None, "item 1"),
        ([7, None], None, "null"), ([{"ground_truth": "42"}], None, "object"),
        ([{"a": 1}], pyarrow.map_(pyarrow.string(), pyarrow.int64()), "cannot be read"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=says):
            golds(values, kind)


def test_shards_of_parquet_keep_their_own_types(tmp_path: Path) -> None:
    for number, answer in enumerate([None, "2024-01-01", 7, 7.5, "x"]):
        write_parquet(tmp_path / f"{number}.parquet", [{"prompt": "p", "answer": answer}])
    rows = load_rows(DataConfig(path=str(tmp_path)))
    assert [row["answer"] for row in rows] == [None, "2024-01-01", 7, 7.5, "x"]
    assert type(rows[2]["answer"]) is int


def test_rows_of_verl_are_read_as_they_are(tmp_path: Path) -> None:
    row = {
        "data_source": "openai/gsm8k",
        "prompt": [{"role": "user", "content": "3+4="}],
        "ability": "math",
        "reward_model": {"style": "rule", "ground_truth": "7"},
        "extra_info": {"index": 0, "answer": "3+4=7", "split": "train"},
    }
    for name, write in (("a.parquet", write_parquet), ("a.jsonl", write_jsonl)):
        write(tmp_path / name, [row])
        (task,) = load_tasks(TaskConfig(path=str(tmp_path / name)), "set")
        assert (task.answer, task.prompt, task.source) == ("7", tuple(row["prompt"]), "set")
        assert task.columns == {key: value for key, value in row.items() if key != "prompt"}


@pytest.mark.parametrize("column", ["solution", "ground_truth", "answer"])
@pytest.mark.parametrize("prompt", ["3+4=", [{"role": "user", "content": "3+4="}]])
def test_rows_of_trl_are_read_as_they_are(jsonl: Callable[..., TaskConfig], column: str, prompt: Any) -> None:
    (task,) = load_tasks(jsonl([{"prompt": prompt, column: 7.0, "level": 2}]))
    assert task.answer == "7.0" and task.columns == {"level": 2} | ({column: 7.0} if column != "answer" else {})


def test_a_gold_in_doubt_is_asked_for(jsonl: Callable[..., TaskConfig]) -> None:
    rows = [{"prompt": "p", "solution": "7", "ground_truth": "8"}]
    assert "the gold may be `ground_truth` or `solution`" in refusal(jsonl(rows))
    assert load_tasks(jsonl(rows, answer_column="solution"))[0].answer == "7"
    nested = [{"prompt": "p", "meta": {"gold": 7}}]
    assert load_tasks(jsonl(nested, answer_column="meta.gold"))[0].answer == "7"
    assert "no column `meta.gold`" in refusal(
        jsonl([*nested, {"prompt": "p", "meta": None}], answer_column="meta.gold")
    )


def test_tests_decide_where_there_is_no_answer(jsonl: Callable[..., TaskConfig]) -> None:
    tests = [{"type": "stdio", "input": "1", "output": "2"}]
    (task,) = load_tasks(jsonl([{"prompt": "p", "tests": tests, "solution": "print(2)"}]))
    assert (task.answer, task.tests, task.columns) == (None, tuple(tests), {"solution": "print(2)"})
    assert load_tasks(jsonl([{"prompt": "p", "tests": tests, "answer": ""}]))[0].answer is None


def test_null_in_every_row_leaves_the_verdict_to_the_reward_source_by_source(jsonl: Callable[..., TaskConfig]) -> None:
    rows = [{"prompt": "p", "answer": None, "source": "open"}, {"prompt": "p", "answer": "7", "source": "sums"}]
    assert [task.answer for task in load_tasks(jsonl(rows))] == [None, "7"]


def test_null_keys_of_messages_are_dropped(tmp_path: Path) -> None:
    messages = [
        {"role": "system", "content": "s", "name": "x", "tool_calls": None},
        {"role": "user", "content": "u", "name": None, "tool_calls": [{"id": "1", "function": None}]},
    ]
    expected = (
        {"role": "system", "content": "s", "name": "x"},
        {"role": "user", "content": "u", "tool_calls": [{"id": "1"}]},
    )
    for name, write in (("a.parquet", write_parquet), ("a.jsonl", write_jsonl)):
        write(tmp_path / name, [{"prompt": messages, "answer": "7"}])
        (task,) = load_tasks(TaskConfig(path=str(tmp_path / name)))
        assert task.prompt == expected


def test_two_system_messages_are_refused(jsonl: Callable[..., TaskConfig]) -> None:
    system, user = {"role": "system", "content": "s"}, {"role": "user", "content": "u"}

    def said(messages: list[dict[str, str]], **settings: Any) -> str:
        return refusal(jsonl([{"prompt": messages, "answer": "7"}], **settings))

    assert "row 0: `prompt` has 2 system messages" in said([system, system, user])
    assert "so has the configuration" in said([system, user], system="s")
    assert "stands first or nowhere" in said([user, system, user])


def test_a_column_that_is_null_does_not_become_none_in_a_template(jsonl: Callable[..., TaskConfig]) -> None:
    rows = [{"prompt": "3+4=", "answer": "7", "unit": "apples"}, {"prompt": "3+4=", "answer": "7", "unit": None}]
    assert "row 1: `template` has `{unit}`, and that column is null" in refusal(jsonl(rows, template="{prompt} {unit}"))


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
    config = TaskConfig(generate="rlreason.tasks.chains:tasks", args={"num": 5, "seed": 1})
    tasks = load_tasks(config)
    assert len(tasks) == 5 and tasks == load_tasks(config)
    (tmp_path / "mine.py").write_text("def rows(n):\n    return ({'prompt': str(i), 'answer': i} for i in range(n))\n")
    mine = TaskConfig(generate=f"{tmp_path / 'mine.py'}:rows", args={"n": 4}, limit=3)
    assert [task.answer for task in load_tasks(mine)] == ["0", "1", "2"]


def test_a_function_that_does_not_fit_is_refused() -> None:
    wrong_args = TaskConfig(generate="rlreason.tasks.chains:tasks", args={"number": 5, "seed": 1})
    assert "number" in refusal(wrong_args)
    assert "seed" in refusal(TaskConfig(generate="rlreason.tasks.chains:tasks", args={"num": 5}))
    with pytest.raises(UserError, match="did you mean tasks"):
        load_rows(TaskConfig(generate="rlreason.tasks.chains:task"))


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
    made = DataConfig(generate="rlreason.tasks.chains:texts", args={"num": 3, "seed": 1})
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
        return fingerprint(TaskConfig(generate="rlreason.tasks.chains:tasks", args={"num": 5, "seed": seed}))

    assert chains(1) == chains(1) != chains(2)
    first = fingerprint(made("return [{'prompt': 'p', 'answer': '7'}]"))
    assert first == fingerprint(made("yield {'prompt': 'p', 'answer': '7'}"))
    assert first != fingerprint(made("return [{'prompt': 'p', 'answer': '8'}]"))
