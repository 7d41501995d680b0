"""`rlreason label`: what is wrong is told in one line, before any page opens."""

import socket
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from rlreason.cli import app
from rlreason.types import UserError
from rlreason.web.label import command
from rlreason.web.label.server import application
from rlreason.web.label.store import Answer, Store

TASKS = {
    "fine": '{"prompt": "2+2=", "responses": ["4", "5"]}',
    "bare": '{"prompt": "2+2="}',
    "same": '{"prompt": "2+2=", "responses": ["4", "4"]}',
    "text": '{"prompt": "2+2=", "responses": "4"}',
    "authors": '{"prompt": "2+2=", "responses": ["4", "5"], "models": ["a"]}',
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, line in TASKS.items():
        (tmp_path / f"{name}.jsonl").write_text(line + "\n")
    Store(tmp_path / "empty.sqlite")
    tied = Store(tmp_path / "tied.sqlite")
    tied.add([("2+2=", [Answer(text="4"), Answer(text="four")])])
    tied.save("ann", 1, {1: 1, 2: 1}, all_bad=False, comment="")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("bare.jsonl", "name a model to write them: --model DIR"),
        ("same.jsonl", "no prompt has two different answers"),
        ("text.jsonl", "`responses` is no list of texts"),
        ("none.jsonl", "none.jsonl"),
        ("fine.jsonl --prompt-column question", "question"),
        ("fine.jsonl --max-tokens 10 --context-tokens 10", "must be smaller than --context-tokens"),
        ("fine.jsonl --host 203.0.113.1 --allow-host a", "cannot listen on 203.0.113.1"),
        (
            "fine.jsonl --host 0.0.0.0",
            "give the name or address by which browsers reach it: --allow-host NAME",
        ),
        ("fine.jsonl --host ::", "--host ::: give the name or address"),
        ("fine.jsonl --host 0.0.0.0 --allow-host *", "--allow-host *: give a name or an address, without a scheme"),
        ("fine.jsonl --host 0.0.0.0 --allow-host a:8400", "--allow-host a:8400: give a name or an address"),
        ("fine.jsonl --labellers anna,,ben", "--labellers anna,,ben: give names of 1 to 60 signs, with commas"),
        ("fine.jsonl --labellers anna,anna", "anna is there twice"),
        ("fine.jsonl --labellers owner", "owner is whoever starts the server"),
        ("fine.jsonl --labellers anna --token sesame", "--token: with --labellers give 16 signs or more"),
        ("bare.jsonl --model .", "config.json"),
        ("fine.jsonl --db none/labels.sqlite", "there is no folder none"),
        ("fine.jsonl --db fine.jsonl", "cannot be used as a database of labels"),
        ("none.sqlite --export rows.jsonl", "no such file"),
        ("empty.sqlite --export rows.jsonl", "nothing is labelled yet"),
        ("fine.jsonl --export rows.jsonl", "cannot be used as a database of labels"),
        ("tied.sqlite --export rows.jsonl --form pairs", "no label prefers one answer to another"),
        ("tied.sqlite --export none/rows.jsonl", "none/rows.jsonl: cannot be written: there is no folder none"),
        ("tied.sqlite --export .", "cannot be written: Is a directory"),
        ("tied.sqlite --export tied.sqlite", "tied.sqlite: is a database; name another file"),
        ("authors.jsonl", "`models` is to name the model of each of the 2 responses"),
        ("bare.jsonl --model m --samples 1", "--samples 1: one answer of one model leaves nothing to compare"),
        ("fine.jsonl --host no.such.host.invalid", "--host no.such.host.invalid: "),
        ("fine.jsonl --token é", "--token: use letters, digits and signs"),
    ],
)
def test_a_mistake_is_one_line(folder: Path, words: str, says: str) -> None:
    with pytest.raises(UserError) as error:
        app(["label", *words.split(), *([] if "--export" in words else ["--port", "0"])], standalone_mode=False)
    assert says in str(error.value) and "\n" not in str(error.value)
    assert not (folder / "rows.jsonl").exists()


def test_a_port_in_use(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(UserError, match="choose another --port"):
        app(["label", "fine.jsonl", "--port", str(taken.getsockname()[1])], standalone_mode=False)


@pytest.mark.parametrize(("form", "num_rows"), [("rankings", 1), ("pairs", 2)])
def test_an_export_is_read_as_preference_rows(folder: Path, form: str, num_rows: int) -> None:
    from rlreason.config.data import PreferenceSource
    from rlreason.data.preferences import load_preferences

    store = Store(folder / "labels.sqlite")
    store.add([("2+2=", [Answer(text=text) for text in ("4", "5", "\u2028")])])
    shown = store.next_prompt("ann")
    assert shown is not None
    places = {answer["id"]: 1 if answer["text"] == "4" else 2 for answer in shown["answers"]}
    store.save("ann", 1, places, all_bad=False, comment="")
    app(["label", "labels.sqlite", "--export", "rows.jsonl", "--form", form], standalone_mode=False)
    rows, left_out = load_preferences(PreferenceSource(path=str(folder / "rows.jsonl")))
    assert (len(rows), left_out) == (num_rows, 0)
    assert rows[0].responses[rows[0].places.index(1)] == "4" and rows[0].prompt == "2+2="


def test_foreign_text_cannot_steer_the_terminal(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command.export(folder / "tied.sqlite", folder / "a\x1b]0;x\x07\u202e", "rankings")
    assert capsys.readouterr().out == f"1 rankings written to {folder}/a\ufffd]0;x\ufffd\ufffd\n"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (['{"prompt": "a", "responses": ["x", "y"], "models": [["m", "n"], ["o"]]}'], {"x": ["m", "n"], "y": ["o"]}),
        (['{"prompt": "a", "responses": ["x", "y"], "model": "m"}'], {"x": ["m"], "y": ["m"]}),
        # as an evaluation's samples.jsonl has them: a row for each answer
        (['{"prompt": "a", "response": "x", "model": "m"}', '{"prompt": "a", "response": "y", "model": "n"}'],
         {"x": ["m"], "y": ["n"]}),
    ],
)  # fmt: skip
def test_answers_written_beforehand_keep_their_authors(
    folder: Path, lines: list[str], expected: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "tasks.jsonl").write_text("\n".join(lines))
    served: list[str] = []
    monkeypatch.setattr("uvicorn.Server.run", lambda self, sockets: served.append("page"))
    for _ in range(2):  # a second start finds them
        app(["label", "tasks.jsonl", "--port", "0"], standalone_mode=False)
    store = Store(folder / "labels.sqlite")
    shown = store.next_prompt("ann")
    assert shown is not None
    store.save("ann", 1, {answer["id"]: 1 for answer in shown["answers"]}, all_bad=False, comment="")
    (row,) = store.rankings()
    assert dict(zip(row["responses"], row["models"], strict=True)) == expected and len(served) == 2
    (folder / "tasks.jsonl").write_text('{"prompt": "a", "responses": ["z"]}')
    with pytest.raises(UserError, match="is labelled and cannot get new answers; name another file with --db"):
        app(["label", "tasks.jsonl", "--port", "0"], standalone_mode=False)


def test_a_port_that_two_take_at_once_is_told_at_once(folder: Path) -> None:
    first = command._listening("127.0.0.1", 0)
    with pytest.raises(UserError, match="choose another --port"):
        command._listening("127.0.0.1", first.getsockname()[1])
    first.close()


def served(words: str, monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, str], list[str]]:
    """The links and the Host names that `rlreason label` would serve."""
    calls: list[tuple[dict[str, str], list[str]]] = []
    monkeypatch.setattr(command, "_serve", lambda store, listening, links, hosts: calls.append((links, hosts)))
    app(["label", "fine.jsonl", "--port", "0", *words.split()], standalone_mode=False)
    return calls[0]


def test_links_are_made_of_token_and_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = "--token 0123456789abcdef --labellers"
    links, _ = served(f"{words} anna,ben", monkeypatch)
    assert list(links) == ["anna", "ben", "owner"] and links["owner"] == "0123456789abcdef"
    # by hand: printf anna | openssl dgst -sha256 -hmac 0123456789abcdef
    assert links["anna"] == "b7a04172e11eaea238a11b25b8cf06e78b2d0dea1c9ccd739f7b1183a5e7579b"
    assert served(f"{words} ben", monkeypatch)[0]["ben"] == links["ben"] != links["anna"], "after a restart too"
    assert served("--labellers ben", monkeypatch)[0]["ben"] != links["ben"], "another token"
    assert list(served("", monkeypatch)[0]) == ["owner"]


def test_labels_of_before_whose_labellers_have_no_link_are_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(folder / "labels.sqlite")
    store.add([("2+2=", [Answer(text="4"), Answer(text="5")])])
    store.save("ann", 1, {1: 1, 2: 2}, all_bad=False, comment="")
    served("", monkeypatch)
    assert "labels.sqlite has labels of 'ann', who get a link with --labellers" in capsys.readouterr().out
    served("--labellers ann", monkeypatch)
    assert "has labels of" not in capsys.readouterr().out


def test_foreign_host_with_0_0_0_0(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    links, hosts = served("--host 0.0.0.0 --allow-host lab.example --allow-host 192.0.2.7", monkeypatch)
    assert hosts == ["lab.example", "192.0.2.7"]
    page = application(Store(folder / "labels.sqlite"), links, hosts)
    for host, status in (("lab.example:8400", 200), ("192.0.2.7", 200), ("evil.example", 400), ("localhost", 400)):
        client = TestClient(page, base_url=f"http://{host}")
        assert client.get("/", params={"token": links["owner"]}).status_code == status, host


def test_loopback_wants_no_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert {"127.0.0.1", "localhost"} <= set(served("", monkeypatch)[1])
    assert "tunnel.example" in served("--allow-host tunnel.example", monkeypatch)[1]
