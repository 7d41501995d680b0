"""The remote backend against a small HTTP service with SandboxFusion's interface, which runs programs in a sandbox."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from rlreason.rewards.code import check, prepare
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
            def do_POST(self) -> None:
                order = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                service.requests.append(order)
                service.tokens.append(self.headers.get("Authorization"))
                status, body = service.failures.pop(0) if service.failures else (200, service.run(order))
                self.send_response(status)
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
    service.failures = [(503, b""), (200, b"no json")]
    assert check(DOUBLE, STDIO, url=service.url).value == 1.0
    assert len(service.requests) == 3


@pytest.mark.parametrize(
    "failure",
    [(400, b""), (200, b'{"status": "SandboxError", "message": "no room", "run_result": null}'), (200, b"{}")],
)
def test_a_failing_service_is_no_wrong_answer(service: Service, failure: tuple[int, bytes]) -> None:
    service.failures = [failure]
    score = check(DOUBLE, STDIO, url=service.url)
    assert score.status == "sandbox_error" and service.url in score.detail


def test_no_service_is_no_wrong_answer() -> None:
    assert check(DOUBLE, STDIO, url="http://127.0.0.1:9").status == "sandbox_error"


def test_the_token_is_sent(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RLREASON_TEST_TOKEN", "abc")
    url = service.url + "/"  # another address, so that another client is made
    assert check(DOUBLE, STDIO, url=url, token_env="RLREASON_TEST_TOKEN").value == 1.0
    assert service.tokens == ["Bearer abc"]


def test_a_bad_address_is_the_users_error() -> None:
    with pytest.raises(UserError, match="http"):
        prepare(url="10.0.0.5:8080")
