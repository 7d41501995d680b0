"""A real HTTP server on 127.0.0.1 that answers what a test tells it to."""

import http.server
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest


@dataclass(slots=True, kw_only=True)
class Answer:
    """One answer: `body` is text or anything that JSON knows."""

    body: Any = ""
    code: int = 200
    wait_s: float = 0.0
    drip_s: float = 0.0
    """Seconds after each byte."""
    headers: dict[str, str] = field(default_factory=dict)
    hang_up: bool = False


@dataclass(slots=True, kw_only=True)
class Server:
    """`answers` are given in turn, the last one again and again; `requests` holds what came in."""

    url: str = ""
    answers: list[Answer] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)
    """Each with path, headers, and body as JSON."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    state = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            body = json.loads(self.rfile.read(length))
            state.requests.append({"path": self.path, "headers": dict(self.headers), "body": body})
            answer = state.answers.pop(0) if len(state.answers) > 1 else state.answers[0]
            time.sleep(answer.wait_s)
            if answer.hang_up:
                return
            data = (answer.body if isinstance(answer.body, str) else json.dumps(answer.body)).encode()
            self.send_response(answer.code)
            for name, value in {"Content-Length": str(len(data)), **answer.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self._write(data, answer.drip_s)

        def _write(self, data: bytes, drip_s: float) -> None:
            try:
                for piece in [data] if not drip_s else [data[i : i + 1] for i in range(len(data))]:
                    self.wfile.write(piece)
                    time.sleep(drip_s)
            except OSError:
                pass  # the client has gone: that is what the test is about

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Listening(http.server.ThreadingHTTPServer):
        request_queue_size = 64
        block_on_close = False

    with Listening(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True).start()
        state.url = f"http://127.0.0.1:{running.server_port}"
        yield state
        running.shutdown()
