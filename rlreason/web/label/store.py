"""The labels' database: SQLite in WAL mode, one transaction a label, so that a crash or a closed tab loses nothing.

A prompt has answers, each with the model that wrote it; equal answers are one. A labeller gives each answer of a prompt
a place, 1 the best, ties share one, and may say that all are bad. A second label of one person on a prompt takes the
place of the first; both are kept, and `undo` brings the first back.
"""

import json
import random
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlreason.types import UserError
from rlreason.web.label.agreement import krippendorff_alpha, pairwise_labels

VERSION = 1
MAX_NAME, MAX_COMMENT = 60, 10_000
SCHEMA = """
CREATE TABLE prompts (id INTEGER PRIMARY KEY, key TEXT UNIQUE NOT NULL, prompt TEXT NOT NULL);
CREATE TABLE answers (
    id INTEGER PRIMARY KEY, prompt_id INTEGER NOT NULL REFERENCES prompts(id), text TEXT NOT NULL,
    models TEXT NOT NULL, UNIQUE (prompt_id, text));
CREATE TABLE labels (
    id INTEGER PRIMARY KEY, prompt_id INTEGER NOT NULL REFERENCES prompts(id), labeller TEXT NOT NULL,
    places TEXT NOT NULL, all_bad INTEGER NOT NULL, comment TEXT NOT NULL, time REAL NOT NULL,
    undone INTEGER NOT NULL DEFAULT 0);
CREATE INDEX by_labeller ON labels (labeller, prompt_id, undone, id);
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What is written to a prompt, and by which models."""

    text: str
    models: tuple[str, ...] = ()


class Store:
    """Example: store = Store(Path("labels.sqlite")); store.add("2+2=", [Answer(text="4"), Answer(text="5")])"""

    def __init__(self, path: Path, *, seed: int = 0) -> None:
        """UserError for a file that is no database of labels, or one of another version."""
        self._path, self._seed = path, seed
        if not path.parent.is_dir():
            raise UserError(f"{path}: there is no folder {path.parent}; make it, or name another file")
        try:
            with self._connected() as connection:
                self._prepare(connection)
        except sqlite3.DatabaseError as error:
            raise UserError(f"{path}: cannot be used as a database of labels: {error}") from None

    def add(self, prompt: str | tuple[Mapping[str, str], ...], answers: Iterable[Answer]) -> bool:
        """A prompt with its answers, in one transaction; answers that are there already get the new models. False
        where it is left out, since there are no two different answers to compare.
        """
        merged: dict[str, set[str]] = {}
        for answer in answers:
            merged.setdefault(answer.text, set()).update(answer.models)
        key = json.dumps(prompt, sort_keys=True)
        with self._connected() as connection:
            row = connection.execute("SELECT id FROM prompts WHERE key = ?", (key,)).fetchone()
            known = {} if row is None else self._answers(connection, row["id"])
            if len({*merged, *(answer["text"] for answer in known.values())}) < 2:
                return False
            if row is None:
                cursor = connection.execute(
                    "INSERT INTO prompts (key, prompt) VALUES (?, ?)", (key, json.dumps(prompt))
                )
                prompt_id = cursor.lastrowid
            else:
                prompt_id = row["id"]
                has_new = not merged.keys() <= {answer["text"] for answer in known.values()}
                labels = connection.execute("SELECT 1 FROM labels WHERE prompt_id = ?", (prompt_id,))
                if has_new and labels.fetchone():
                    raise UserError(
                        f"{self._path}: a prompt that is labelled cannot get new answers; take another file"
                    )
            for text, models in merged.items():
                models = models | {m for answer in known.values() if answer["text"] == text for m in answer["models"]}
                connection.execute(
                    "INSERT INTO answers (prompt_id, text, models) VALUES (?, ?, ?) "
                    "ON CONFLICT (prompt_id, text) DO UPDATE SET models = excluded.models",
                    (prompt_id, text, json.dumps(sorted(models))),
                )
        return True

    def has(self, prompt: str | tuple[Mapping[str, str], ...]) -> bool:
        with self._connected() as connection:
            found = connection.execute("SELECT 1 FROM prompts WHERE key = ?", (json.dumps(prompt, sort_keys=True),))
            return found.fetchone() is not None

    def next_prompt(self, labeller: str) -> dict[str, Any] | None:
        """The next one that this person has not labelled: id, prompt, and answers (id, text) in an order that is this
        person's own and the same after a reload. None where all are labelled.
        """
        _require_name(labeller)
        with self._connected() as connection:
            done = {row["prompt_id"] for row in self._current(connection, labeller)}
            rows = connection.execute("SELECT id, prompt FROM prompts ORDER BY id").fetchall()
            row = next((row for row in rows if row["id"] not in done), None)
            return None if row is None else self._shown(connection, row, labeller)

    def save(self, labeller: str, prompt_id: int, places: Mapping[int, int], *, all_bad: bool, comment: str) -> None:
        """A label, which is on the disk when this returns. UserError, in one line, for an unknown prompt or answer, an
        answer without a place, or a place that is none.
        """
        _require_name(labeller)
        if len(comment) > MAX_COMMENT:
            raise UserError(f"the comment is longer than {MAX_COMMENT} characters")
        with self._connected() as connection:
            known = set(self._answers(connection, prompt_id))
            if not known:
                raise UserError(f"there is no prompt {prompt_id}")
            if unknown := set(places) - known:
                raise UserError(f"answer {min(unknown)} is none of prompt {prompt_id}")
            if missing := known - set(places):
                raise UserError(f"answer {min(missing)} has no place")
            if not all(1 <= place <= len(known) for place in places.values()):
                raise UserError(f"places go from 1, the best, to {len(known)}")
            connection.execute(
                "INSERT INTO labels (prompt_id, labeller, places, all_bad, comment, time) VALUES (?, ?, ?, ?, ?, ?)",
                (
                    prompt_id,
                    labeller,
                    json.dumps({str(k): v for k, v in places.items()}),
                    all_bad,
                    comment,
                    time.time(),
                ),
            )

    def undo(self, labeller: str) -> dict[str, Any] | None:
        """Takes this person's last label back; the prompt as `next_prompt` shows it. None where there is none."""
        _require_name(labeller)
        with self._connected() as connection:
            last = connection.execute(
                "SELECT id, prompt_id FROM labels WHERE labeller = ? AND undone = 0 ORDER BY id DESC LIMIT 1",
                (labeller,),
            ).fetchone()
            if last is None:
                return None
            connection.execute("UPDATE labels SET undone = 1 WHERE id = ?", (last["id"],))
            row = connection.execute("SELECT id, prompt FROM prompts WHERE id = ?", (last["prompt_id"],)).fetchone()
            return self._shown(connection, row, labeller)

    def progress(self, labeller: str) -> dict[str, Any]:
        """Labelled by this person, all prompts, labellers, and their agreement (None: nothing to compare yet)."""
        with self._connected() as connection:
            total = connection.execute("SELECT COUNT(*) AS num FROM prompts").fetchone()["num"]
            labels = self._current(connection)
        alpha = agreement(labels)
        return {
            "done": sum(label["labeller"] == labeller for label in labels),
            "total": total,
            "labellers": len({label["labeller"] for label in labels}),
            "alpha": None if alpha != alpha else alpha,
        }

    def rankings(self) -> Iterator[dict[str, Any]]:
        """Preference rows, one for each person and prompt, as `stage: reward_model` and `stage: dpo` read them."""
        with self._connected() as connection:
            for label in self._current(connection):
                answers = self._answers(connection, label["prompt_id"])
                prompt = connection.execute("SELECT prompt FROM prompts WHERE id = ?", (label["prompt_id"],)).fetchone()
                yield {
                    "prompt": json.loads(prompt["prompt"]),
                    "responses": [answer["text"] for answer in answers.values()],
                    "ranking": [label["places"][str(number)] for number in answers],
                    "models": [answer["models"] for answer in answers.values()],
                    "labeller": label["labeller"],
                    "all_bad": bool(label["all_bad"]),
                    "comment": label["comment"],
                }

    def _prepare(self, connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA journal_mode = WAL")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        tables = {row["name"] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not tables:
            connection.executescript(f"{SCHEMA} PRAGMA user_version = {VERSION};")
        elif version != VERSION:
            whose = "an older" if version < VERSION else "a newer"
            raise UserError(
                f"{self._path}: is of {whose} version ({version}, this is {VERSION}); export its labels with the "
                "rlreason that made it, and name another file here"
            )

    def _shown(self, connection: sqlite3.Connection, row: sqlite3.Row, labeller: str) -> dict[str, Any]:
        answers = [
            {"id": number, "text": answer["text"]} for number, answer in self._answers(connection, row["id"]).items()
        ]
        random.Random(f"{self._seed}/{labeller}/{row['id']}").shuffle(answers)
        return {"id": row["id"], "prompt": json.loads(row["prompt"]), "answers": answers}

    def _answers(self, connection: sqlite3.Connection, prompt_id: int) -> dict[int, dict[str, Any]]:
        rows = connection.execute("SELECT id, text, models FROM answers WHERE prompt_id = ? ORDER BY id", (prompt_id,))
        return {row["id"]: {"text": row["text"], "models": json.loads(row["models"])} for row in rows}

    def _current(self, connection: sqlite3.Connection, labeller: str | None = None) -> list[dict[str, Any]]:
        """The last label that counts of each person on each prompt, by prompt."""
        rows = connection.execute(
            "SELECT * FROM labels WHERE id IN "
            "(SELECT MAX(id) FROM labels WHERE undone = 0 GROUP BY labeller, prompt_id) "
            "AND (? IS NULL OR labeller = ?) ORDER BY prompt_id, id",
            (labeller, labeller),
        )
        return [{**row, "places": json.loads(row["places"])} for row in map(dict, rows)]

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        """One transaction; several threads and processes may be in one at a time each."""
        connection = sqlite3.connect(self._path, timeout=30.0)
        connection.row_factory = sqlite3.Row
        try:
            connection.execute("PRAGMA synchronous = FULL")
            with connection:
                yield connection
        finally:
            connection.close()


def agreement(labels: list[dict[str, Any]]) -> float:
    """Krippendorff's alpha over pairs of answers: better, tie, worse as an ordinal scale. NaN: nothing to compare."""
    by_prompt: dict[int, list[list[int]]] = {}
    for label in labels:
        places = [label["places"][key] for key in sorted(label["places"], key=int)]
        by_prompt.setdefault(label["prompt_id"], []).append(places)
    return krippendorff_alpha(unit for places in by_prompt.values() for unit in pairwise_labels(places))


def pairs_of(row: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The decided pairs of a ranking as preference rows."""
    for one, better in enumerate(row["ranking"]):
        for other, worse in enumerate(row["ranking"]):
            if better < worse:
                yield {
                    "prompt": row["prompt"],
                    "chosen": row["responses"][one],
                    "rejected": row["responses"][other],
                    "models": [row["models"][one], row["models"][other]],
                    "labeller": row["labeller"],
                }


def _require_name(labeller: str) -> None:
    if not labeller.strip() or len(labeller) > MAX_NAME:
        raise UserError(f"a labeller's name has from 1 to {MAX_NAME} characters")
