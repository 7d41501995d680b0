"""Every shipped reward and every example: full marks for its own gold, none for garbage, and no text breaks it."""

import ast
import http.server
import json
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from rlreason.config.rewards import RewardConfig
from rlreason.rewards.runtime.reward_set import RewardSet
from rlreason.types import Task

ROOT = Path(__file__).resolve().parents[2]
SERVER = "SERVER"
"""Stands for the address of the local server."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A reward with what it needs, and a response that carries the gold in the form that it expects."""

    path: str
    gold: str
    answer: str | None = "42"
    columns: dict[str, Any] = field(default_factory=dict)
    needs: str = ""
    """A package without which the case is skipped."""
    tests: tuple[dict[str, Any], ...] = ()
    args: dict[str, Any] = field(default_factory=dict)
    full: float = 1.0
    """A penalty is at its best at 0.0."""
    garbage: str | None = None
    """Text that earns the least, where not all of GARBAGE does."""


FLAT = "so " * 400
CASES = [
    Case(path="rlreason.rewards.math:reward", gold=r"\boxed{42}"),
    Case(
        path="rlreason.rewards.code:reward",
        gold="```python\nprint(42)\n```",
        tests=({"type": "stdio", "input": "", "output": "42"},),
    ),
    Case(path="rlreason.rewards.match:exact_text", gold="42"),
    Case(path="rlreason.rewards.match:numeric", gold="6 * 7 = 42", garbage="43"),
    Case(path="rlreason.rewards.match:choice", gold="The answer is B.", answer="B"),
    Case(path="rlreason.rewards.format:regex", gold="42.", args={"pattern": r"^42\.$"}),
    Case(path="rlreason.rewards.format:think", gold="<think>6 * 7</think>42"),
    Case(
        path="rlreason.rewards.length:overlong",
        gold="42",
        args={"max_tokens": 300, "buffer_tokens": 200},
        full=0.0,
        garbage=FLAT,
    ),
    Case(path="rlreason.rewards.length:budget", gold="42", args={"budget_tokens": 100}, full=0.0, garbage=FLAT),
    Case(path="rlreason.rewards.repetition:ngrams", gold="six times seven is 42", full=0.0, garbage=FLAT),
    Case(path="rlreason.rewards.repetition:compression", gold="six times seven is 42", full=0.0, garbage=FLAT),
    Case(path="rlreason.rewards.language:consistency", gold="It is 42.", garbage="答案是四十二"),
    Case(path="rlreason.rewards.json_match:reward", gold='{"n": 42}', answer='{"n": 42}', args={"match_answer": True}),
    Case(
        path="rlreason.rewards.gym:reward",
        gold="<answer>42</answer>",
        columns={"gym": {"name": "gcd", "args": "{}", "entry": "{'question': '', 'answer': '42', 'metadata': {}}"}},
        needs="reasoning_gym",
    ),
    Case(path="rlreason.rewards.judge:reward", gold="42", args={"url": SERVER, "model": "judge"}),
    Case(path="rlreason.rewards.http:reward", gold="42", args={"url": SERVER}),
    Case(path="rlreason.rewards.knows:right", gold="It is 42."),
    Case(path="rlreason.rewards.knows:abstains", gold="I don't know.", garbage="It is 42."),
    Case(path="rlreason.rewards.knows:honest", gold="42", garbage="43"),
    Case(path="rlreason.rewards.refusal:refused", gold="I can't help with that.", garbage="42"),
    Case(path="rlreason.rewards.refusal:complied", gold="42", garbage="I can't help with that."),
    Case(path=f"{ROOT}/reward_fns/short_and_right.py:reward", gold=r"\boxed{42}"),
    Case(path=f"{ROOT}/reward_fns/format_gate.py:reward", gold=r"<think>6 * 7</think>\boxed{42}"),
    Case(path=f"{ROOT}/reward_fns/units.py:reward", gold="It is 4.2 cm.", answer="42 mm"),
    Case(path=f"{ROOT}/reward_fns/trl_style.py:last_number_matches", gold="6 * 7 = 42"),
    Case(path=f"{ROOT}/reward_fns/verl_style.py:compute_score", gold="6 * 7\n#### 42"),
]
GARBAGE = ("", "I don't know.", "The answer is 43.", r"\boxed{41}", "#### 421", "]]}{$ \\", "\x00\ud800", "4 2" * 999)
HOSTILE = {
    "surrogates": "\ud800\udfff" * 1000,
    "nul": "\x00" * 1000,
    "a megabyte": "a" * 1_000_000,
    "a megabyte of words": "so 1 " * 200_000,
    "brackets": "[" * 200_000,
    "boxes": r"\boxed{" * 100_000,
    "tags": "<think>" * 50_000 + "</think>" * 50_000,
    "fences": "```python\n" * 50_000,
    "json": '{"a":' * 100_000,
    "dollars": "$" * 200_001,
    "tower": r"\boxed{9^{9^{9^{9^{9}}}}}",
    "combining": "e" + "\u0301" * 100_000,
    "digits": "9" * 500_000,
}
HOSTILE_LIMIT_S = 10.0


class Judging(http.server.BaseHTTPRequestHandler):
    """Grades by the text alone: right is the response `42`. Speaks both remote forms."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if "response" in body:
            answer: Any = float(body["response"] == "42")
        else:
            said = body["messages"][1]["content"].partition("Response:\n")[2].split("\n")[1]
            answer = {"choices": [{"message": {"content": f"Score: {int(said == '42')}"}, "finish_reason": "stop"}]}
        data = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    before = os.environ.get("no_proxy")
    os.environ["no_proxy"] = "127.0.0.1"
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Judging) as running:
        threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
    if before is None:
        del os.environ["no_proxy"]
    else:
        os.environ["no_proxy"] = before


class Shipped:
    """One case, loaded."""

    def __init__(self, case: Case, url: str) -> None:
        self.case = case
        args = {key: url if value == SERVER else value for key, value in case.args.items()}
        self.rewards = RewardSet([RewardConfig(name="it", path=case.path, timeout_s=HOSTILE_LIMIT_S, args=args)])
        self.task = Task(
            id="t", prompt="What is 6 * 7?", answer=case.answer, tests=case.tests, source="gsm8k", columns=case.columns
        )

    def __call__(self, response: str) -> tuple[float, str, str]:
        num_tokens = len(response.split())
        score = self.rewards.score(response, self.task, num_tokens=num_tokens, truncated=False)["it"]
        return score.value, score.status, score.detail


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case.path.rpartition("/")[2].removeprefix("rlreason."))
def shipped(request: pytest.FixtureRequest, server: str) -> Iterator[Shipped]:
    if request.param.needs:
        pytest.importorskip(request.param.needs, reason=f"{request.param.needs} is not installed")
    loaded = Shipped(request.param, server)
    loaded.rewards.check()
    yield loaded
    loaded.rewards.close()


def test_gold_scores_full_each_time(shipped: Shipped) -> None:
    for _ in range(2):
        value, status, detail = shipped(shipped.case.gold)
        assert (value, status) == (shipped.case.full, "ok"), detail


def test_garbage_scores_nothing_and_breaks_nothing(shipped: Shipped) -> None:
    own = shipped.case.garbage
    for garbage in GARBAGE if own is None else (own,):
        value, status, detail = shipped(garbage)
        assert value <= max(0.0, shipped.case.full - 1.0), (garbage, detail)
        assert status in ("wrong", "unparseable"), (garbage, detail)
    if own is not None:
        assert shipped(own)[0] < shipped.case.full


def test_no_text_breaks_or_stalls_it(shipped: Shipped) -> None:
    for name, text in HOSTILE.items():
        start = time.perf_counter()
        value, status, detail = shipped(text)
        assert time.perf_counter() - start < HOSTILE_LIMIT_S + 2.0, name
        assert status in ("ok", "wrong", "unparseable"), (name, detail)
        assert value <= shipped.case.full, (name, detail)


def test_everything_that_ships_is_covered() -> None:
    named = {case.path for case in CASES}
    examples = {path.rpartition(":")[0] for path in named}
    assert {str(file) for file in (ROOT / "reward_fns").glob("*.py")} <= examples
    for file in (ROOT / "rlreason" / "rewards").glob("*.py"):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            if is_function and [argument.arg for argument in node.args.args] == ["response", "task"]:
                assert f"rlreason.rewards.{file.stem}:{node.name}" in named
    page = (ROOT / "reward_fns" / "README.md").read_text(encoding="utf-8")
    for path in named:
        file_name = Path(path.rpartition(":")[0]).name
        shown = file_name if file_name.endswith(".py") else path.removeprefix("rlreason.rewards.")
        assert f"`{shown}`" in page
