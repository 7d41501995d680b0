"""The labelling page as people use it: `rlreason label` and a real browser, driven over its DevTools protocol."""

import json
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

from rlreason.running.lineage import artifact_hash
from rlreason.web.label.store import Store
from tests.conftest import Command, wait_for

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
browsing = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the path")
TOKEN = "open-sesame-open-sesame"
TASKS = [
    {"prompt": "What is 2 + 2?", "responses": ["4", "5", "<b>four</b>"]},
    {"prompt": "Name a colour.", "responses": ["Blue.", "the the the the"]},
    {"prompt": "Say hello.", "responses": ["Hello!", "hello", "no", ""]},
]


class Page:
    """One tab of a browser of its own profile: a person at a computer."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        words = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0"]
        self.browser = subprocess.Popen(
            [*words, f"--user-data-dir={folder}", "about:blank"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        port = wait_for(lambda: read(folder / "DevToolsActivePort"), 60, "the browser").split("\n")[0]
        tabs = json.loads(urllib.request.urlopen(f"http://127.0.0.1:{port}/json").read())
        tab = next(tab for tab in tabs if tab["type"] == "page")
        self._open = ExitStack()
        self._socket = self._open.enter_context(connect(tab["webSocketDebuggerUrl"], max_size=None))
        self._number = 0
        self.tell("Page.enable")

    def tell(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": params}))
        while True:
            answer = json.loads(self._socket.recv(timeout=60))
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return dict(answer["result"])

    def open(self, address: str) -> None:
        self.tell("Page.navigate", url=address)
        self.until("document.readyState === 'complete'")

    def reload(self) -> None:
        self.run("window.old = true")
        self.tell("Page.reload")
        self.until("!window.old && document.readyState === 'complete'")

    def run(self, script: str) -> Any:
        return self.tell("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def until(self, script: str) -> Any:
        try:
            return wait_for(lambda: self.run(script), 30, script)
        except AssertionError as error:
            raise AssertionError(f"{error}; the page says {self.run('document.body.innerText')!r}") from None

    def keys(self, *keys: str) -> None:
        for key in keys:
            text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
            self.tell("Input.dispatchKeyEvent", type="keyDown", key=key, text=text)
            self.tell("Input.dispatchKeyEvent", type="keyUp", key=key)

    def log_in(self, link: str, name: str) -> None:
        self.open(link)
        self.until(f"document.querySelector('#name').textContent === '{name}'")  # the task shows in the same moment

    def click(self, selector: str) -> None:
        self.run(f"document.querySelector('{selector}').click()")

    @property
    def answers(self) -> list[str]:
        return list(self.run("[...document.querySelectorAll('#answers li')].map((li) => li.lastChild.textContent)"))

    @property
    def places(self) -> list[str]:
        return list(self.run("[...document.querySelectorAll('#answers .place')].map((one) => one.textContent)"))

    @property
    def prompt(self) -> str:
        return str(self.run("document.querySelector('#prompt').innerText"))

    def saved(self, number: int) -> None:
        self.until(f"document.querySelector('#progress').textContent === '{number} of {len(TASKS)}'")

    def rank(self, *best_first: str) -> None:
        """By keys: the number of each answer on the page, the best one first."""
        self.keys(*(str(1 + self.answers.index(text)) for text in best_first), "Enter")

    def drag(self, source: int, target: int) -> None:
        (x1, y1), (x2, y2) = (
            self.run(
                f"(() => {{ const box = document.querySelectorAll('#answers li')[{at}].getBoundingClientRect();"
                "return [box.x + box.width / 2, box.y + box.height / 2] })()"
            )
            for at in (source, target)
        )
        self.tell("Input.dispatchMouseEvent", type="mousePressed", x=x1, y=y1, button="left", clickCount=1)
        for x, y in ((x1 + 8, y1 + 8), (x2, y2), (x2, y2)):
            self.tell("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y, button="left", buttons=1)
            time.sleep(0.1)
        self.tell("Input.dispatchMouseEvent", type="mouseReleased", x=x2, y=y2, button="left", clickCount=1)

    def close(self) -> None:
        self._open.close()
        self.browser.terminate()
        self.browser.wait()


def link_of(server: Command, name: str) -> str:
    return server.stdout.split("open " if name == "owner" else f"link of {name}: ")[1].split()[0]


def read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    path = tmp_path / "tasks.jsonl"
    path.write_text("".join(json.dumps(task) + "\n" for task in TASKS))
    return path


@pytest.fixture
def serve(start: Callable[..., Command], tasks: Path, tmp_path: Path) -> Callable[..., Command]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    def begin(rows: Path = tasks, database: str = "l.sqlite", labellers: str = "ann,bob") -> Command:
        words = ["--port", port, "--token", TOKEN, *(["--labellers", labellers] if labellers else [])]
        command = start("label", rows, "--db", tmp_path / database, *words)
        wait_for(lambda: "open http://" in command.stdout or not command.running, 60, "the page")
        assert command.running, command.stderr
        return command

    return begin


@pytest.fixture
def visit(tmp_path: Path) -> Iterator[Callable[[Command, str], Page]]:
    pages: list[Page] = []

    def begin(server: Command, name: str) -> Page:
        pages.append(Page(tmp_path / f"profile-{name}"))
        pages[-1].log_in(link_of(server, name), name)
        return pages[-1]

    yield begin
    for page in pages:
        page.close()


@browsing
def test_two_people_a_reload_and_a_killed_server(
    serve: Callable[[], Command], visit: Callable[[Command, str], Page], start: Callable[..., Command], tmp_path: Path
) -> None:
    server = serve()
    ann, bob = visit(server, "ann"), visit(server, "bob")
    assert "token" not in ann.run("location.href") and "model" not in ann.run("document.body.innerText")
    assert ann.prompt == bob.prompt == "What is 2 + 2?"
    assert sorted(ann.answers) == sorted(TASKS[0]["responses"]), "text is shown as text"

    ann.keys("2")  # one of three has a place, then the page is loaded again
    ann.run("document.querySelector('#comment').focus()")
    ann.tell("Input.insertText", text="hard to say")
    shown = ann.answers
    ann.reload()
    ann.until("!document.querySelector('#task').hidden")
    assert (ann.answers, ann.places) == (shown, ["–", "1", "–"])
    assert ann.run("document.querySelector('#comment').value") == "hard to say"
    ann.keys("Enter")
    ann.until("document.querySelector('#error').textContent === 'Give each answer a place first.'")
    ann.keys("Escape")
    ann.rank("4", "<b>four</b>", "5")
    ann.saved(1)
    bob.rank("4", "5", "<b>four</b>")
    bob.saved(1)
    assert (
        bob.run("document.querySelector('#agreement').textContent") == "agreement of 2: 0.39"
    )  # by hand: of three pairs, each in both orders, one disagrees: 1 - 11 * 4 / (2 * 6 * 6)

    server.send(signal.SIGKILL)
    server.wait()
    bob.keys("a" if bob.answers[0] == "Blue." else "b")
    bob.until("document.querySelector('#error').textContent.startsWith('The server does not answer')")
    serve()
    bob.keys("Enter")  # what the killed server did not take is still on the page
    bob.saved(2)
    ann.keys("=")
    ann.saved(2)
    ann.keys("u")
    ann.saved(1)
    assert ann.prompt == "Name a colour." and ann.places == ["1", "1"], "as it was said"
    ann.keys("a" if ann.answers[0] == "Blue." else "b")
    ann.saved(2)
    bob.keys("0")
    bob.until("!document.querySelector('#done').hidden")
    ann.reload()
    ann.until("!document.querySelector('#task').hidden")
    shown = ann.answers
    ann.drag(3, 0)
    ann.until("document.querySelector('#answers .place').textContent === '1'")
    assert ann.answers == [shown[3], *shown[:3]] and ann.places == ["1", "2", "3", "4"]
    ann.click("#save")
    ann.until("!document.querySelector('#done').hidden")

    out = tmp_path / "rows.jsonl"
    assert start("label", tmp_path / "l.sqlite", "--export", out).finish()[0] == 0
    found = {(row["prompt"], row["labeller"]): row for row in map(json.loads, out.read_text().splitlines())}
    assert len(found) == 6
    ranked = {key: dict(zip(row["responses"], row["ranking"], strict=True)) for key, row in found.items()}
    assert ranked["What is 2 + 2?", "ann"] == {"4": 1, "<b>four</b>": 2, "5": 3}
    assert ranked["What is 2 + 2?", "bob"] == {"4": 1, "5": 2, "<b>four</b>": 3}
    assert found["What is 2 + 2?", "ann"]["comment"] == "hard to say"
    assert ranked["Name a colour.", "ann"] == ranked["Name a colour.", "bob"] == {"Blue.": 1, "the the the the": 2}
    last = {text or "(empty answer)": place for text, place in ranked["Say hello.", "ann"].items()}
    assert [last[text] for text in (shown[3], *shown[:3])] == [1, 2, 3, 4]
    assert found["Say hello.", "bob"]["all_bad"] and set(ranked["Say hello.", "bob"].values()) == {1}
    assert len(list(Store(tmp_path / "l.sqlite").rankings())) == 6


@browsing
def test_one_screen_for_several_people_and_databases(
    serve: Callable[..., Command], visit: Callable[[Command, str], Page], tmp_path: Path
) -> None:
    server = serve()
    page = visit(server, "ann")
    page.keys("2")
    held = {"type": "rawKeyDown", "key": "0", "code": "Digit0"}
    for repeats in (False, True, True, True):
        page.tell("Input.dispatchKeyEvent", **held, autoRepeat=repeats)
    page.saved(1)
    time.sleep(0.5)
    page.saved(1)  # a key that is held is one label
    assert page.prompt == "Name a colour."
    page.click("#answers li:nth-child(2) .place")  # a finger has no keys
    page.click("#answers li:nth-child(1) .place")
    assert page.places == ["2", "1"]
    page.click("#answers li:nth-child(1) .place")
    assert page.places == ["–", "1"]

    ann, bob = link_of(server, "ann"), link_of(server, "bob")
    page.log_in(bob, "bob")
    assert page.prompt == "What is 2 + 2?" and set(page.places) == {"–"}
    page.log_in(ann, "ann")
    assert page.places == ["–", "1"], "a draft waits for whom it belongs to"
    page.run(f"fetch('{bob}').then(() => {{ window.opened = true }})")  # as another tab of this browser would open it
    page.until("window.opened")
    page.click("#bad")
    page.until("document.querySelector('#error').textContent.startsWith(\"this browser is bob's\")")
    page.log_in(ann, "ann")

    other = tmp_path / "other.jsonl"
    other.write_text(json.dumps({"prompt": "Name a colour.", "responses": ["Red.", "Green."]}) + "\n")
    server.interrupt()
    server.wait()
    serve(other, "other.sqlite")
    page.reload()
    page.until("!document.querySelector('#task').hidden")
    assert page.answers != [] and set(page.answers) == {"Red.", "Green."} and page.places == ["–", "–"]


@browsing
def test_one_person_opens_the_one_link_and_labels(
    serve: Callable[..., Command], visit: Callable[[Command, str], Page], tmp_path: Path
) -> None:
    server = serve(labellers="")
    assert server.stdout.count("http://") == 1
    page = visit(server, "owner")
    page.keys("=", "Enter")
    page.saved(1)
    assert [row["labeller"] for row in Store(tmp_path / "l.sqlite").rankings()] == ["owner"]


def test_a_model_writes_the_answers(start: Callable[..., Command], tiny_model: Path, tmp_path: Path) -> None:
    """Prompts that have none get them, before the page opens; a second start with the same database asks no model."""
    (tmp_path / "tasks.jsonl").write_text("".join(json.dumps({"prompt": text}) + "\n" for text in ("1+2=", "3+4=")))
    words = ["label", tmp_path / "tasks.jsonl", "--db", tmp_path / "l.sqlite", "--port", 0, "--token", TOKEN, "--base"]
    words += ["--model", tiny_model, "--samples", 3, "--max-tokens", 6, "--context-tokens", 48]
    for is_first in (True, False):
        server = start(*words)
        wait_for(lambda server=server: "open http" in server.stderr + server.stdout or not server.running, 200, "page")
        assert server.running, server.stderr
        assert ("writes 3 answers to each of 2 prompts" in server.stderr + server.stdout) == is_first
        server.interrupt()
        assert server.wait() == 0
        server.assert_nothing_left()
    store = Store(tmp_path / "l.sqlite")
    assert store.progress("ann")["total"] == 2
    shown = store.next_prompt("ann")
    assert shown is not None and len(shown["answers"]) in (2, 3) and set(shown) == {"id", "key", "prompt", "answers"}
    store.save(
        "ann", 1, {answer["id"]: place + 1 for place, answer in enumerate(shown["answers"])}, all_bad=False, comment=""
    )
    (row,) = store.rankings()
    assert {name for names in row["models"] for name in names} == {f"{tiny_model}@{artifact_hash(tiny_model)[:16]}"}
