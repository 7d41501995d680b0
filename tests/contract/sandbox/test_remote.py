"""The remote backend against a small HTTP service with SandboxFusion's interface, which runs programs in a sandbox."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from rlreason.rewards.code import check, prepare
from rlreason.sandbox import remote
from rlreason.sandbox.pool import Sandbox
from rlreason.types import UserError

DOUBLE = "print(int(input()) * 2)"
STDIO = [{"type": "stdio", "input": "21\n", "output": "42"}]
CALLS = [
    {"type": "call", "args": [[3, 1, 2]], "expected": [1, 2, 3]},
    {"type": "call", "args": [], "kwargs": {"xs": (2, 1)}, "expected": [1, 2]},
]


class Service:
    """Counts and keeps requests; answers the next ones with `failures` first."""

    def __init__(self) -> None:
        self.sandbox = Sandbox()
        self.requests: list[dict[str, Any]] = []
        self.tokens: list[str | None] = []
        self.failures: list[tuple[int, bytes]] = []
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:  # what a redirect becomes
                service.tokens.append(self.headers.get("Authorization"))

            def do_POST(self) -> None:
                order = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                service.requests.append(order)
                service.tokens.append(self.headers.get("Authorization"))
                status, body = service.failures.pop(0) if service.failures else (200, service.run(order))
                self.send_response(status)
                self.send_header("Location", "/elsewhere")  # obeyed with a redirect's status only
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def run(self, order: dict[str, Any]) -> bytes:
        ended = self.sandbox.script(
            order["code"].encode(), order["stdin"].encode(), timeout_s=order["run_timeout"], memory_bytes=1 << 29
        )
        status = "TimeLimitExceeded" if ended.timed_out else "Finished"
        result = {
            "status": status,
            "return_code": ended.status,
            "stdout": ended.outputs[0].decode(),
            "stderr": ended.outputs[1].decode(),
        }
        whole = {"status": "Failed" if ended.status else "Success", "message": "", "run_result": result}
        return json.dumps(whole).encode()


@pytest.fixture(scope="module")
def running() -> Iterator[Service]:
    service = Service()
    yield service
    service.server.shutdown()
    service.sandbox.close()


@pytest.fixture
def service(running: Service) -> Service:
    running.requests, running.tokens, running.failures = [], [], []
    return running


def test_scripts(service: Service) -> None:
    assert check(DOUBLE, STDIO, url=service.url).value == 1.0
    assert check("print(43)", STDIO, url=service.url).status == "wrong"
    assert check("import sys; sys.exit(3)", STDIO, url=service.url).status == "wrong"
    assert check("while True: pass", STDIO, url=service.url, timeout_s=0.5).status == "timeout"


def test_calls(service: Service) -> None:
    right = "def f(xs):\n    return sorted(xs)"
    assert check(right, CALLS, entry_point="f", url=service.url).value == 1.0
    method = "class Solution:\n    def f(self, xs):\n        return sorted(xs)"
    assert check(method, CALLS, entry_point="f", url=service.url).value == 1.0
    nodes = [{"type": "call", "args": [[1, 2]], "expected": [2]}]
    following = "def f(head: Optional[ListNode]) -> Optional[ListNode]: return head.next"
    assert check(following, nodes, entry_point="f", url=service.url).value == 1.0
    for wrong in (
        "def f(xs):\n    return list(xs)",
        "import sys\nsys.exit(0)",
        "def f(xs):\n    raise SystemExit(0)",
        "class A(list):\n    def __eq__(self, other): return True\ndef f(xs):\n    return A()",
        "print('[1, 2, 3]')\ndef f(xs): pass",
    ):
        assert check(wrong, CALLS, entry_point="f", url=service.url).value == 0.0, wrong


def test_nothing_that_is_expected_leaves(service: Service) -> None:
    check("print(input())", [{"type": "stdio", "input": "a", "output": "the-secret"}], url=service.url)
    check("def f(): pass", [{"type": "call", "args": [], "expected": "the-secret"}], entry_point="f", url=service.url)
    assert len(service.requests) == 2
    assert "the-secret" not in json.dumps(service.requests)


def test_assert_tests_are_refused_not_failed(service: Service) -> None:
    score = check("def f(): return 1", [{"type": "assert", "code": "assert f() == 1"}], url=service.url)
    assert score.status == "verifier_error" and "local" in score.detail


def test_a_passing_failure_is_retried(service: Service) -> None:
    service.failures = [(503, b""), (429, b"")]
    assert check(DOUBLE, STDIO, url=service.url).value == 1.0
    assert len(service.requests) == 3


@pytest.mark.parametrize(
    "failure",
    [
        (302, b""),
        (400, b""),
        (200, b"no json"),
        (200, b"[]"),
        (200, b'{"status": "SandboxError", "message": "no room", "run_result": null}'),
        (200, b"{}"),
    ],
)
def test_a_failing_service_is_no_wrong_answer(service: Service, failure: tuple[int, bytes]) -> None:
    service.failures = [failure]
    score = check(DOUBLE, STDIO, url=service.url)
    assert score.status == "sandbox_error" and service.url in score.detail
    assert len(service.tokens) == 1


def test_no_service_is_no_wrong_answer() -> None:
    assert check(DOUBLE, STDIO, url="http://127.0.0.1:9").status == "sandbox_error"


def test_the_token_is_sent(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RLREASON_TEST_TOKEN", "abc")
    assert check(DOUBLE, STDIO, url=service.url).value == 1.0
    assert check(DOUBLE, STDIO, url=service.url, token_env="RLREASON_TEST_TOKEN").value == 1.0
    assert service.tokens == [None, "Bearer abc"]


def test_nothing_is_sent_without_the_token_that_is_named(service: Service) -> None:
    with pytest.raises(UserError, match="RLREASON_NO_TOKEN is not set"):
        prepare(url=service.url, token_env="RLREASON_NO_TOKEN")
    assert check(DOUBLE, STDIO, url=service.url, token_env="RLREASON_NO_TOKEN").status == "verifier_error"
    assert service.requests == []


def test_a_flood_is_the_programs_own_fault(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "MAX_REPLY_BYTES", 1 << 16)
    score = check("print('x' * (1 << 17))", STDIO, url=service.url)
    assert score.status == "wrong" and "too much" in score.detail
    assert check("print('\\ud800')", STDIO, url=service.url).status == "wrong"


def test_calls_end_at_the_first_failure_and_share_the_time(service: Service) -> None:
    calls = [{"type": "call", "args": [n], "expected": n} for n in range(4)]
    assert check("def f(n): return 9", calls, entry_point="f", url=service.url).detail.startswith("test 1 of 4")
    assert len(service.requests) == 1
    slow = "import time\ndef f(n):\n    time.sleep(1)\n    return n"
    assert check(slow, calls, entry_point="f", url=service.url, timeout_s=2.5).status == "timeout"
    assert service.requests[-1]["run_timeout"] < 1.6


def test_a_bad_address_is_the_users_error() -> None:
    with pytest.raises(UserError, match="http"):
        prepare(url="10.0.0.5:8080")
