"""The label server under clients that are slow, silent or many."""

import json
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from http.client import HTTPConnection
from pathlib import Path

import pytest
import uvicorn

from rlreason.web.label import connections
from rlreason.web.label.server import application
from rlreason.web.label.store import Answer, Store
from tests.conftest import wait_for

HEAD = b"POST /save HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 60000\r\n"
KEEP = b"GET /?token=wrong HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
LABEL = {"prompt": 1, "places": {"1": 1, "2": 2}, "all_bad": False, "comment": ""}
Connect = Callable[[bytes], socket.socket]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[uvicorn.Server]:
    store = Store(tmp_path / "labels.sqlite")
    store.add([("2+2=", [Answer(text="4"), Answer(text="5")])])
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(connections.server_config(application(store, {"owner": "sesame"}, ["127.0.0.1"])))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    wait_for(lambda: server.started, 30, "the server")
    yield server
    start_s = time.monotonic()
    server.should_exit = True
    thread.join()
    assert time.monotonic() - start_s < 5, "nobody who is slow holds up the end"


@pytest.fixture
def connect(server: uvicorn.Server) -> Iterator[Connect]:
    with ExitStack() as opened:

        def begin(sent: bytes) -> socket.socket:
            one = opened.enter_context(socket.create_connection(address_of(server), timeout=30))
            one.sendall(sent)
            return one

        yield begin


def address_of(server: uvicorn.Server) -> tuple[str, int]:
    host, port = server.servers[0].sockets[0].getsockname()
    return host, port


def label(server: uvicorn.Server) -> float:
    """Saves a label and takes it back, as a person does: seconds of the slower."""
    took_s = []
    for path, sent in (("/save", LABEL), ("/undo", {})):
        start_s = time.monotonic()
        person = HTTPConnection(*address_of(server), timeout=10)
        person.request("POST", f"{path}?token=sesame", json.dumps(sent), {"Content-Type": "application/json"})
        answer = person.getresponse()
        assert answer.status == 200, answer.read()
        person.close()
        took_s.append(time.monotonic() - start_s)
    return max(took_s)


def ended_after_s(one: socket.socket, drip: bytes = b"") -> float:
    """Seconds until the server ends the connection, to which `drip` is sent again and again meanwhile."""
    start_s = time.monotonic()
    one.settimeout(0.05)
    while time.monotonic() - start_s < 20:
        try:
            if drip:
                one.sendall(drip)
            if not one.recv(65536):
                break
        except TimeoutError:
            continue
        except OSError:
            break
    return time.monotonic() - start_s


@pytest.mark.parametrize("sent", [b"", b"POST /save HTT", HEAD, HEAD + b"\r\n{"])
def test_300_half_open_connections(server: uvicorn.Server, connect: Connect, sent: bytes) -> None:
    for _ in range(300):
        connect(sent)
    assert label(server) < 2
    wait_for(lambda: len(server.server_state.connections) <= connections.MAX_CONNECTIONS, 10, "the limit")


def test_slow_connections_that_come_back_whenever_they_are_closed(server: uvicorn.Server) -> None:
    stop = threading.Event()

    def attack() -> None:
        held: deque[socket.socket] = deque()
        while not stop.is_set():
            with suppress(OSError):
                held.append(socket.create_connection(address_of(server), timeout=5))
                held[-1].sendall(HEAD)
            if len(held) > 300:
                held.popleft().close()
        for one in held:
            one.close()

    attacker = threading.Thread(target=attack)
    attacker.start()
    try:
        wait_for(lambda: len(server.server_state.connections) >= connections.MAX_CONNECTIONS, 10, "the attack")
        assert max(label(server) for _ in range(5)) < 5
    finally:
        stop.set()
        attacker.join()


@pytest.mark.parametrize(
    ("sent", "drip"),
    [
        (b"", b""),
        (HEAD, b""),
        (HEAD + b"X: ", b"y"),
        (HEAD + b"\r\n", b"1"),
        (KEEP, b"G"),
        (HEAD.replace(b"POST", b"PUT") + b"\r\n", b"1"),
    ],
    ids=[
        "silent",
        "half headers",
        "slow headers",
        "slow body",
        "slow second request",
        "slow body of a refused request",
    ],
)
def test_a_request_has_its_time_in_total(
    server: uvicorn.Server, connect: Connect, sent: bytes, drip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "REQUEST_S", 1.0)
    one = connect(sent)
    assert 0.5 < ended_after_s(one, drip) < 5
    wait_for(lambda: not server.server_state.connections and not server.server_state.tasks, 10, "nothing left")


def test_a_slow_body_from_within(
    server: uvicorn.Server, connect: Connect, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A labeller's own upload, which the application is reading when it is cut off."""
    monkeypatch.setattr(connections, "REQUEST_S", 1.0)
    head = HEAD.replace(b"/save", b"/save?token=sesame")
    assert ended_after_s(connect(head + b"\r\n"), b"1") < 5
    wait_for(lambda: not server.server_state.tasks, 10, "nothing left")
    assert caplog.records == [], "no traceback in the terminal"
    assert label(server) < 2


def test_an_idle_connection_is_closed(server: uvicorn.Server, connect: Connect) -> None:
    server.config.timeout_keep_alive = 1
    assert 0.5 < ended_after_s(connect(KEEP)) < 5


def test_a_client_that_reads_no_answer(
    server: uvicorn.Server, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "EXCHANGE_S", 1.0)
    one = connect(b"")
    one.setblocking(False)
    page = b"GET /page.js?token=sesame HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    with suppress(BlockingIOError):  # neither side reads any more
        for _ in range(100_000):
            one.send(page * 100)
    assert label(server) < 2
    wait_for(lambda: not server.server_state.connections, 20, "the end of it")


def test_many_connections_close_the_oldest_that_waits(
    server: uvicorn.Server, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 3)
    first, second, third = (connect(KEEP) for _ in range(3))
    for one in (first, second, third):
        assert one.recv(65536).startswith(b"HTTP/1.1 403")
    second.sendall(KEEP)
    first.sendall(KEEP)  # the oldest, but answered last
    assert second.recv(65536) and first.recv(65536)
    connect(KEEP).recv(65536)
    assert ended_after_s(third) < 2
    assert label(server) < 2


def test_too_many_connections_at_work_give_503_at_once(
    server: uvicorn.Server, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections.Connection, "is_answering", True)
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 3)
    server.config.limit_concurrency = 4
    for _ in range(3):
        connect(b"")
    start_s = time.monotonic()
    assert connect(KEEP).recv(65536).startswith(b"HTTP/1.1 503")
    assert time.monotonic() - start_s < 2
    monkeypatch.undo()
