"""JSON answers against a schema and a gold value."""

import http.server
import threading
from typing import Any

import pytest

from rlreason.rewards.json_match import reward
from rlreason.types import Score, Task, UserError

SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
GOLD = Task(
    id="t", prompt="?", answer='{"name": "Ada", "age": 36}', columns={"schema": '{"type": "array"}', "bad": "{"}
)


def score(response: str, **options: Any) -> Score:
    return reward(response, GOLD, **options)


@pytest.mark.parametrize(
    "response",
    [
        '{"name": "Ada", "age": 36}',
        ' {"age":36.0,\n"name":"Ada"} ',
        'Here it is:\n```json\n{"name": "Ada", "age": 36}\n```\nDone.',
        '```\n{"name": "Bob"}\n```\nno:\n```json\n{"name": "Ada", "age": 36}\n```',
        '~~~json\n{"name": "Ada", "age": 36}\n~~~',
        '```json\n{"name": "Ada", "age": 36}',
        '<think>{"name": "Bob"}</think>{"name": "Ada", "age": 36}',
    ],
)
def test_valid_and_equal(response: str) -> None:
    verdict = score(response, schema=SCHEMA, match_answer=True)
    assert (verdict.value, verdict.status) == (1.0, "ok"), verdict.detail


@pytest.mark.parametrize(
    ("response", "status", "detail"),
    [
        ('{"name": "Ada"}', "wrong", "'age' is a required property"),
        ('{"name": "Ada", "age": -1}', "wrong", "$.age: -1 is less than the minimum"),
        ('{"name": "Ada", "age": 36, "x": 1}', "wrong", "Additional properties"),
        ("[]", "wrong", "is not of type 'object'"),
        ('{"name": "Ada", "age": 37}', "wrong", "not the gold"),
        ('{"name": "Ada", "age": NaN}', "unparseable", "NaN is not JSON"),
        ("{'name': 'Ada'}", "unparseable", "not JSON"),
        ("", "unparseable", "not JSON"),
        ('The answer is {"name": "Ada", "age": 36}', "unparseable", "not JSON"),
        ("[" * 30_000, "unparseable", ""),
        ("[" * 900 + "]" * 900, "wrong", ""),
        ("1" * 5_000, "unparseable", ""),
        ('"' + "a" * 100_000 + '"', "unparseable", "more than"),
    ],
)
def test_what_does_not_score(response: str, status: str, detail: str) -> None:
    verdict = score(response, schema=SCHEMA, match_answer=True)
    assert (verdict.value, verdict.status) == (0.0, status), verdict.detail
    assert detail in verdict.detail


def test_equality_is_that_of_json_not_of_python() -> None:
    def equal(response: str, gold: str) -> bool:
        return reward(response, Task(id="t", prompt="?", answer=gold), match_answer=True).value == 1.0

    assert equal("[1, 2.50]", "[1.0, 2.5]")
    assert not equal("[true]", "[1]")
    assert not equal("0", "false")
    assert equal("[null, true]", "[null, true]")
    assert not equal("[1, 2]", "[2, 1]")


def test_a_row_may_hold_its_own_schema() -> None:
    assert score("[1]", schema_column="schema").value == 1.0
    assert score("{}", schema_column="schema").status == "wrong"
    for column in ("bad", "absent"):
        with pytest.raises(UserError, match=column):
            score("[]", schema_column=column)
    with pytest.raises(UserError, match="one of schema"):
        score("[]", schema=SCHEMA, schema_column="schema")


def test_a_schema_that_is_none_is_the_users_error() -> None:
    with pytest.raises(UserError, match="not valid"):
        score("[]", schema={"type": "objekt"})


def test_a_schema_whose_pattern_backtracks_for_ever_is_a_timeout() -> None:
    schema = {"type": "string", "pattern": "^(a+)+$"}
    assert score('"aaa"', schema=schema).value == 1.0
    assert score('"' + "a" * 60 + '!"', schema=schema, timeout_s=0.3).status == "timeout"


def test_references_inside_work_and_nothing_is_fetched() -> None:
    inside = {"$defs": {"n": {"type": "integer"}}, "type": "array", "items": {"$ref": "#/$defs/n"}}
    assert score("[1]", schema=inside).value == 1.0
    assert score('["a"]', schema=inside).status == "wrong"
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"{}")

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(UserError, match="nothing is fetched"):
            score("[1]", schema={"$ref": f"http://127.0.0.1:{server.server_port}/schema.json"})
        server.shutdown()
    assert asked == []


def test_no_gold_to_compare_with_is_an_error() -> None:
    assert reward("[]", Task(id="t", prompt="?"), match_answer=True).status == "verifier_error"
