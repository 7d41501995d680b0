"""The labels' database: nothing is lost, nothing wrong is let in, and what comes out can be trained on."""

import json
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from rlreason.config.data import PreferenceSource
from rlreason.data.preferences import load_preferences
from rlreason.types import UserError
from rlreason.web.label.store import Answer, Store, key_of, pairs_of


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "labels.sqlite"


@pytest.fixture
def store(path: Path) -> Store:
    store = Store(path)
    for number in range(3):
        store.add([(f"{number}+1=", [Answer(text=str(number + n), models=(f"m{n}",)) for n in range(3)])])
    return store


def label(store: Store, who: str, *texts: str, all_bad: bool = False) -> int:
    """Ranks the next prompt's answers in the order of `texts`, those left out last."""
    shown = store.next_prompt(who)
    assert shown is not None
    places = {a["id"]: texts.index(a["text"]) + 1 if a["text"] in texts else len(texts) + 1 for a in shown["answers"]}
    store.save(who, shown["id"], places, all_bad=all_bad, comment="")
    return int(shown["id"])


def test_a_label_comes_out_as_a_preference_row(store: Store, tmp_path: Path) -> None:
    label(store, "ann", "1", "0")
    (row,) = store.rankings()
    assert row["prompt"] == "0+1=" and row["labeller"] == "ann"
    assert dict(zip(row["responses"], row["models"], strict=True)) == {"0": ["m0"], "1": ["m1"], "2": ["m2"]}
    assert dict(zip(row["responses"], row["ranking"], strict=True)) == {"1": 1, "0": 2, "2": 3}
    for name, rows in (("rankings", [row]), ("pairs", list(pairs_of(row)))):
        file = tmp_path / f"{name}.jsonl"
        file.write_text("".join(json.dumps(one) + "\n" for one in rows))
        found, left_out = load_preferences(PreferenceSource(path=str(file)))
        assert (len(found), left_out) == ({"rankings": 1, "pairs": 3}[name], 0)


def test_order_is_the_labeller_s_own_and_stays(store: Store, path: Path) -> None:
    orders = set()
    for who in "abcdefgh":
        first, again = store.next_prompt(who), Store(path).next_prompt(who)
        assert first is not None and first == again, "a reload shows the same"
        orders.add(tuple(answer["text"] for answer in first["answers"]))
        assert all(answer.keys() == {"id", "text"} for answer in first["answers"]), "the model is hidden"
    assert len(orders) > 1


def test_a_second_label_takes_the_place_of_the_first_and_undo_brings_it_back(store: Store) -> None:
    number = label(store, "ann", "1", "0")
    undone = store.undo("ann")
    assert undone is not None and undone["comment"] == "" and sorted(undone["places"].values()) == [1, 2, 3]
    answers = {row["text"]: row["id"] for row in undone["answers"]}
    assert list(store.rankings()) == [] and store.next_prompt("ann")["id"] == number  # type: ignore[index]
    for places in ({"0": 1, "1": 2, "2": 2}, {"0": 3, "1": 1, "2": 2}):
        store.save("ann", number, {answers[text]: at for text, at in places.items()}, all_bad=False, comment="")
    (row,) = store.rankings()
    assert dict(zip(row["responses"], row["ranking"], strict=True)) == {"0": 3, "1": 1, "2": 2}
    assert store.progress("ann")["done"] == 1 and store.undo("ann") is not None
    (row,) = store.rankings()
    assert dict(zip(row["responses"], row["ranking"], strict=True)) == {"0": 1, "1": 2, "2": 2}
    assert store.undo("ann") is not None and store.undo("ann") is None


def test_agreement_is_that_of_all_pairs(store: Store) -> None:
    assert store.progress("ann")["alpha"] is None
    for who, order in (("ann", ("1", "0")), ("bob", ("1", "0"))):
        label(store, who, *order)
    assert store.progress("ann") == {"done": 1, "total": 3, "labellers": 2, "alpha": 1.0}
    label(store, "ann", "1", "2", "3")
    label(store, "bob", "3", "2", "1")
    assert store.progress("bob")["alpha"] < 1.0


@pytest.mark.parametrize(
    ("places", "message"),
    [
        ({1: 1, 2: 2, 99: 3}, "answer 99 is none of prompt 1"),
        ({1: 1, 2: 2}, "answer 3 has no place"),
        ({1: 0, 2: 1, 3: 2}, "places go from 1, the best, to 3"),
        ({1: 1, 2: 4, 3: 2}, "places go from 1, the best, to 3"),
    ],
)
def test_what_is_no_ranking_is_refused(store: Store, places: dict[int, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        store.save("ann", 1, places, all_bad=False, comment="")
    assert list(store.rankings()) == []


def test_unknown_prompts_and_names_are_refused(store: Store) -> None:
    with pytest.raises(UserError, match="there is no prompt 7"):
        store.save("ann", 7, {1: 1}, all_bad=False, comment="")
    for name in ("", "  ", "x" * 61):
        with pytest.raises(UserError, match="name has from 1 to 60"):
            store.next_prompt(name)


def test_equal_answers_are_one_and_a_prompt_needs_two(path: Path) -> None:
    store, x = Store(path), [Answer(text="x", models=(name,)) for name in "mn"]
    store.add([("a", x), ("b", [*x, Answer(text="")])])
    assert store.progress("ann")["total"] == 1 and store.answered_by("n") == {key_of("a"), key_of("b")}
    label(store, "ann", "x")
    assert store.next_prompt("ann") is None, "the other prompt has nothing to compare"
    (row,) = store.rankings()
    assert dict(zip(row["responses"], row["models"], strict=True)) == {"x": ["m", "n"], "": []}
    assert store.labelled() == {key_of("b")}
    store.add([("b", [Answer(text="x", models=("o",))])])
    with pytest.raises(UserError, match="the prompt 'b' is labelled and cannot get new answers; name another file"):
        store.add([("c", [*x, Answer(text="y")]), ("b", [Answer(text="new")])])
    assert store.progress("ann")["total"] == 1, "all or nothing"
    store.add([("a", [Answer(text="y")])])
    assert store.next_prompt("ann") is not None, "a prompt may get its second answer later"


def test_who_wrote_an_answer_does_not_show_in_its_number(path: Path) -> None:
    store = Store(path)
    store.add([(str(n), [Answer(text=f"{n}{name}", models=(name,)) for name in "mn"]) for n in range(40)])
    first = 0
    for _ in range(40):
        shown = store.next_prompt("ann")
        assert shown is not None
        numbers = {answer["text"][-1]: answer["id"] for answer in shown["answers"]}
        first += numbers["m"] < numbers["n"]
        store.save("ann", shown["id"], dict.fromkeys(numbers.values(), 1), all_bad=False, comment="")
    assert 8 <= first <= 32


def test_a_label_that_is_sent_again_is_one_label(store: Store) -> None:
    for comment in ("", "", "better"):
        store.save("ann", 1, {1: 1, 2: 2, 3: 3}, all_bad=False, comment=comment)
    assert store.undo("ann") is not None and store.undo("ann") is not None and store.undo("ann") is None


@pytest.mark.parametrize(("version", "whose"), [(0, "an older"), (2, "a newer")])
def test_another_version_is_refused_and_left_alone(store: Store, path: Path, version: int, whose: str) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {version}")
    with pytest.raises(UserError, match=f"is of {whose} version"):
        Store(path)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("not a database, " * 100)
    with pytest.raises(UserError, match="cannot be used as a database of labels"):
        Store(tmp_path / "x")
    with pytest.raises(UserError, match="there is no folder"):
        Store(tmp_path / "no" / "x")


DIES = """
import os, signal, sys
from pathlib import Path
from rlreason.web.label.store import Store
store = Store(Path(sys.argv[1]))
shown = store.next_prompt("ann")
places = {answer["id"]: place + 1 for place, answer in enumerate(shown["answers"])}
store.save("ann", shown["id"], places, all_bad=False, comment="kept")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_was_saved_outlives_a_kill(store: Store, path: Path) -> None:
    assert subprocess.run([sys.executable, "-c", DIES, str(path)]).returncode == -signal.SIGKILL
    (row,) = Store(path).rankings()
    assert (row["labeller"], row["comment"]) == ("ann", "kept")


OPENS = """
import sys
from pathlib import Path
from rlreason.web.label.store import Answer, Store
store = Store(Path(sys.argv[1]))
store.add((str(number), [Answer(text="a"), Answer(text=sys.argv[2])]) for number in range(50))
"""


def test_many_processes_may_begin_at_once(path: Path) -> None:
    words = [[sys.executable, "-c", OPENS, str(path), str(number)] for number in range(4)]
    children = [subprocess.Popen(one, stderr=subprocess.PIPE) for one in words]
    assert [(child.communicate()[1], child.returncode) for child in children] == [(b"", 0)] * 4
    shown = Store(path).next_prompt("ann")
    assert shown is not None and sorted(answer["text"] for answer in shown["answers"]) == ["0", "1", "2", "3", "a"]
    assert Store(path).progress("ann")["total"] == 50


def test_a_database_that_cannot_be_used_is_one_line(store: Store, path: Path, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "other.sqlite") as connection:
        connection.execute("CREATE TABLE somebody (s INTEGER)")
        connection.execute("PRAGMA user_version = 1")
    with pytest.raises(UserError, match="is a database of something else"):
        Store(tmp_path / "other.sqlite")
    assert sqlite3.connect(tmp_path / "other.sqlite").execute("PRAGMA journal_mode").fetchone() == ("delete",)
    path.with_name("labels.sqlite-wal").unlink(missing_ok=True)
    path.write_bytes(path.read_bytes()[:3000] + b"x" * 3000)
    with pytest.raises(UserError, match="cannot be used as a database of labels: "):
        store.save("ann", 1, {1: 1, 2: 2, 3: 3}, all_bad=False, comment="")
