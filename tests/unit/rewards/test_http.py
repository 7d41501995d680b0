"""The remote reward against a real local server: answers, failures, retries, deadlines, secrets."""

import asyncio
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from rlreason.rewards.http import reward
from rlreason.types import Score, Task, UserError

from .conftest import Answer, Server

TASK = Task(id="t:1", prompt="6*7=", answer=("42", "forty-two"), source="sums", columns={"level": 2})
KEY = "sk-very-secret-0123456789"


def score(url: str, response: str = "42", **options: Any) -> Score:
    return asyncio.run(reward(response, TASK, url=url, **{"timeout_s": 10.0, **options}))


def test_the_request_holds_the_response_and_the_task(server: Server) -> None:
    server.answers = [Answer(body=1)]
    assert score(server.url + "/grade?x=1", "4\ud8002").value == 1.0
    (request,) = server.requests
    assert request["path"] == "/grade?x=1"
    assert request["body"]["response"] == "4?2"  # a lone surrogate is no text that a server can read
    assert request["body"]["task"] == {
        "id": "t:1", "prompt": "6*7=", "answer": ["42", "forty-two"], "tests": [], "source": "sums",
        "columns": {"level": 2},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("body", "value", "status"),
    [
        (1, 1.0, "ok"),
        (0, 0.0, "wrong"),
        (-0.5, -0.5, "wrong"),
        (True, 1.0, "ok"),
        ({"value": 0.25}, 0.25, "ok"),
        ({"value": 0.0, "status": "unparseable", "detail": "no answer"}, 0.0, "unparseable"),
        ({"value": 0, "status": "sandbox_error"}, 0.0, "sandbox_error"),
    ],
)
def test_answers(server: Server, body: Any, value: float, status: str) -> None:
    server.answers = [Answer(body=body)]
    verdict = score(server.url)
    assert (verdict.value, verdict.status) == (value, status)


@pytest.mark.parametrize(
    "body",
    ["", "garbage", "NaN", "Infinity", "1e999", "null", "[1]", '"1"', "{}", '{"value": null}', '{"value": "1"}',
     '{"value": NaN}', '{"value": 1, "status": "great"}', '{"value": 1, "status": 3}', "[" * 100_000, "x" * 2_000_000],
)  # fmt: skip
def test_garbage_is_an_error_and_is_not_retried(server: Server, body: str) -> None:
    server.answers = [Answer(body=body)]
    verdict = score(server.url)
    assert (verdict.value, verdict.status) == (0.0, "verifier_error")
    assert verdict.detail
    assert len(server.requests) == 1


@pytest.mark.parametrize("first", [Answer(code=429), Answer(code=503), Answer(hang_up=True)])
def test_busy_and_broken_servers_are_asked_again(server: Server, first: Answer) -> None:
    server.answers = [first, Answer(body=1)]
    assert score(server.url).value == 1.0
    assert len(server.requests) == 2


def test_retries_end_in_an_error_with_the_reason(server: Server) -> None:
    server.answers = [Answer(code=500, body="out of memory")]
    verdict = score(server.url, max_retries=1)
    assert (verdict.value, verdict.status) == (0.0, "verifier_error")
    assert "HTTP 500 out of memory" in verdict.detail
    assert "tries: 2" in verdict.detail
    assert len(server.requests) == 2


@pytest.mark.parametrize("code", [400, 401, 404, 422])
def test_a_refusal_is_not_repeated(server: Server, code: int) -> None:
    server.answers = [Answer(code=code, body="no such route")]
    verdict = score(server.url)
    assert verdict.status == "verifier_error"
    assert f"HTTP {code}" in verdict.detail
    assert len(server.requests) == 1


def test_retry_after_is_obeyed(server: Server) -> None:
    server.answers = [Answer(code=429, headers={"Retry-After": "1"}), Answer(body=1)]
    start = time.monotonic()
    assert score(server.url).value == 1.0
    assert time.monotonic() - start >= 1.0
    server.answers = [Answer(code=429, headers={"Retry-After": "3600"})]
    start = time.monotonic()
    assert score(server.url).status == "verifier_error"
    assert time.monotonic() - start < 1.0  # it would come back too late: no use waiting


@pytest.mark.parametrize("answer", [Answer(wait_s=5.0, body=1), Answer(drip_s=0.05, body="1" + " " * 500)])
def test_the_deadline_holds_for_all_tries_together(server: Server, answer: Answer) -> None:
    server.answers = [answer]
    start = time.monotonic()
    verdict = score(server.url, timeout_s=0.6)
    assert time.monotonic() - start < 2.0
    assert (verdict.value, verdict.status) == (0.0, "verifier_error")
    assert "within 0.6 s" in verdict.detail


def test_a_server_that_hangs_once_is_asked_again(server: Server) -> None:
    server.answers = [Answer(wait_s=5.0), Answer(body=1)]
    assert score(server.url, timeout_s=1.2).value == 1.0


def test_nobody_listening_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    verdict = score(f"http://127.0.0.1:{port}", max_retries=1)
    assert verdict.status == "verifier_error"
    assert "no connection" in verdict.detail


def test_many_requests_run_side_by_side(server: Server) -> None:
    server.answers = [Answer(body=1, wait_s=0.1)]

    async def ask_all() -> list[Score]:
        return await asyncio.gather(*(reward("42", TASK, url=server.url, timeout_s=10.0) for _ in range(16)))

    start = time.monotonic()
    assert {one.value for one in asyncio.run(ask_all())} == {1.0}
    assert time.monotonic() - start < 16 * 0.1 / 2


def test_the_token_goes_along_and_never_shows(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADER_TOKEN", KEY + "\n")
    server.answers = [Answer(body=1)]
    assert score(server.url, token_env="GRADER_TOKEN").value == 1.0
    assert server.requests[0]["headers"]["Authorization"] == f"Bearer {KEY}"
    for answer in (Answer(code=400, body=f"bad key {KEY}"), Answer(code=500, body=KEY), Answer(code=401, body=KEY)):
        server.answers = [answer]
        verdict = score(server.url + f"?key={KEY}", token_env="GRADER_TOKEN", max_retries=0)
        assert verdict.status == "verifier_error"
        assert KEY not in verdict.detail
    monkeypatch.setenv("GRADER_TOKEN", f"{KEY}\n{KEY}")  # no header can hold it
    verdict = score(server.url, token_env="GRADER_TOKEN")
    assert verdict.status == "verifier_error"
    assert KEY not in verdict.detail


def test_redirects_are_not_followed(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADER_TOKEN", KEY)
    server.answers = [Answer(code=302, headers={"Location": server.url + "/elsewhere"})]
    verdict = score(server.url, token_env="GRADER_TOKEN")
    assert verdict.status == "verifier_error"
    assert "HTTP 302" in verdict.detail
    assert [request["path"] for request in server.requests] == ["/"]


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://x/y", "data:,1", "127.0.0.1:80", "http://", "http://u:pw@x/", "http://x:y/"]
)
def test_other_urls_are_the_users_error(url: str) -> None:
    with pytest.raises(UserError, match="^url"):
        score(url)


def test_a_missing_token_is_the_users_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GRADER_TOKEN", raising=False)
    with pytest.raises(UserError, match="GRADER_TOKEN is not set"):
        score("http://127.0.0.1:9", token_env="GRADER_TOKEN")


def test_a_file_is_no_endpoint(tmp_path: Path) -> None:
    answer = tmp_path / "one.json"
    answer.write_text("1")
    with pytest.raises(UserError):
        score(answer.as_uri())
