"""`rlreason label`: what is wrong is told in one line, before any page opens."""

import socket
from pathlib import Path

import pytest

from rlreason.cli import app
from rlreason.types import UserError
from rlreason.web.label.store import Answer, Store

TASKS = {
    "fine": '{"prompt": "2+2=", "responses": ["4", "5"]}',
    "bare": '{"prompt": "2+2="}',
    "same": '{"prompt": "2+2=", "responses": ["4", "4"]}',
    "text": '{"prompt": "2+2=", "responses": "4"}',
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, line in TASKS.items():
        (tmp_path / f"{name}.jsonl").write_text(line + "\n")
    Store(tmp_path / "empty.sqlite")
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
        ("fine.jsonl --host 203.0.113.1", "cannot listen on 203.0.113.1"),
        ("bare.jsonl --model .", "config.json"),
        ("fine.jsonl --db none/labels.sqlite", "there is no folder none"),
        ("fine.jsonl --db fine.jsonl", "cannot be used as a database of labels"),
        ("none.sqlite --export rows.jsonl", "no such file"),
        ("empty.sqlite --export rows.jsonl", "nothing is labelled yet"),
        ("fine.jsonl --export rows.jsonl", "cannot be used as a database of labels"),
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
    store.add("2+2=", [Answer(text=text) for text in ("4", "5", "\u2028")])
    store.save("ann", 1, {1: 1, 2: 2, 3: 2}, all_bad=False, comment="")
    app(["label", "labels.sqlite", "--export", "rows.jsonl", "--form", form], standalone_mode=False)
    rows, left_out = load_preferences(PreferenceSource(path=str(folder / "rows.jsonl")))
    assert (len(rows), left_out) == (num_rows, 0)
    assert rows[0].responses[0] == "4" and rows[0].prompt == "2+2="
