"""The labels' database: SQLite in WAL mode, one transaction a label, so that a crash or a closed tab loses nothing.

A prompt has answers, each with the model that wrote it; equal answers are one. A labeller gives each answer of a prompt
a place, 1 the best, ties share one, and may say that all are bad. A second label of one person on a prompt takes the
place of the first; both are kept, and `undo` brings the first back.
"""

import hashlib
import json
import math
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
IS_SHOWN = "(SELECT COUNT(*) FROM answers WHERE prompt_id = prompts.id) > 1"
"""There is something to compare."""
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

Prompt = str | tuple[Mapping[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What is written to a prompt, and by which models."""

    text: str
    models: tuple[str, ...] = ()


class Store:
    """Example: store = Store(Path("labels.sqlite")); store.add([("2+2=", [Answer(text="4"), Answer(text="5")])])

    May be used from several threads and processes. Every call raises UserError, in one line, where the file cannot be
    read or written: it is locked for long, the disk is full, it is no database.
    """

    def __init__(self, path: Path, *, seed: int = 0) -> None:
        """UserError for a file that is no database of labels, or one of another version."""
        self._path, self._seed = path, seed
        self._alpha: tuple[Any, float, float, float] = (None, math.nan, 0.0, 0.0)
        if not path.parent.is_dir():
            raise UserError(f"{path}: there is no folder {path.parent}; make it, or name another file")
        with self._connected(writes=True) as connection:
            self._prepare(connection)
        with self._connected(begins=False) as connection:
            connection.execute("PRAGMA journal_mode = WAL")

    def add(self, prompts: Iterable[tuple[Prompt, list[Answer]]]) -> None:
        """Prompts with answers, in one transaction. Equal answers are one, with the models of both; a prompt is shown
        once it has two. UserError for a new answer to a prompt that is labelled.
        """
        with self._connected(writes=True) as connection:
            for prompt, answers in prompts:
                self._add(connection, prompt, answers)

    def _add(self, connection: sqlite3.Connection, prompt: Prompt, answers: list[Answer]) -> None:
        key = key_of(prompt)
        connection.execute("INSERT OR IGNORE INTO prompts (key, prompt) VALUES (?, ?)", (key, json.dumps(prompt)))
        (prompt_id,) = connection.execute("SELECT id FROM prompts WHERE key = ?", (key,)).fetchone()
        known = {answer["text"]: answer["models"] for answer in self._answers(connection, prompt_id).values()}
        merged: dict[str, set[str]] = {}
        for answer in answers:
            merged.setdefault(answer.text, set(known.get(answer.text, ()))).update(answer.models)
        is_labelled = connection.execute("SELECT 1 FROM labels WHERE prompt_id = ?", (prompt_id,)).fetchone()
        if is_labelled and not merged.keys() <= known.keys():
            raise UserError(
                f"{self._path}: the prompt {str(prompt)[:60]!r} is labelled and cannot get new answers; name another "
                "file with --db"
            )
        # Their numbers, which the page knows, say nothing of who wrote them.
        order = list(merged.items())
        random.Random(f"{self._seed}/{key}").shuffle(order)
        for text, models in order:
            connection.execute(
                "INSERT INTO answers (prompt_id, text, models) VALUES (?, ?, ?) "
                "ON CONFLICT (prompt_id, text) DO UPDATE SET models = excluded.models",
                (prompt_id, text, json.dumps(sorted(models))),
            )

    def answered_by(self, model: str) -> set[str]:
        """Keys of the prompts with an answer of this model."""
        with self._connected() as connection:
            rows = connection.execute(
                "SELECT key, models FROM answers JOIN prompts ON prompts.id = prompt_id"
            ).fetchall()
        return {row["key"] for row in rows if model in json.loads(row["models"])}

    def shown(self) -> set[str]:
        """Keys of the prompts with answers to compare."""
        with self._connected() as connection:
            return {row["key"] for row in connection.execute(f"SELECT key FROM prompts WHERE {IS_SHOWN}").fetchall()}

    def labelled(self) -> set[str]:
        """Keys of the prompts that somebody has labelled."""
        with self._connected() as connection:
            rows = connection.execute("SELECT key FROM prompts WHERE id IN (SELECT prompt_id FROM labels)").fetchall()
        return {row["key"] for row in rows}

    def labellers(self) -> set[str]:
        """Names of those whose labels count."""
        with self._connected() as connection:
            return {name for (name,) in connection.execute("SELECT DISTINCT labeller FROM labels WHERE undone = 0")}

    def next_prompt(self, labeller: str) -> dict[str, Any] | None:
        """The next one that this person has not labelled: id, prompt, answers (id, text) in an order that is this
        person's own and the same after a reload, and a key of all that. None where all are labelled.
        """
        _require_name(labeller)
        with self._connected() as connection:
            row = connection.execute(
                f"SELECT id, prompt FROM prompts WHERE {IS_SHOWN} AND NOT EXISTS (SELECT 1 FROM labels "
                "WHERE labeller = ? AND prompt_id = prompts.id AND undone = 0) ORDER BY id LIMIT 1",
                (labeller,),
            ).fetchone()
            return None if row is None else self._shown(connection, row, labeller)

    def save(self, labeller: str, prompt_id: int, places: Mapping[int, int], *, all_bad: bool, comment: str) -> None:
        """A label, which is on the disk when this returns; one that is there already, word for word, is not doubled.
        UserError for an unknown prompt or answer, an answer without a place, or a place that is none.
        """
        _require_name(labeller)
        if len(comment) > MAX_COMMENT:
            raise UserError(f"the comment is longer than {MAX_COMMENT} characters")
        with self._connected(writes=True) as connection:
            known = set(self._answers(connection, prompt_id))
            if not known:
                raise UserError(f"there is no prompt {prompt_id}")
            if unknown := set(places) - known:
                raise UserError(f"answer {min(unknown)} is none of prompt {prompt_id}")
            if missing := known - set(places):
                raise UserError(f"answer {min(missing)} has no place")
            if not all(1 <= place <= len(known) for place in places.values()):
                raise UserError(f"places go from 1, the best, to {len(known)}")
            label = (json.dumps({str(answer): places[answer] for answer in sorted(places)}), int(all_bad), comment)
            last = self._last(connection, labeller, prompt_id)
            if last is not None and (last["places"], last["all_bad"], last["comment"]) == label:
                return
            connection.execute(
                "INSERT INTO labels (prompt_id, labeller, places, all_bad, comment, time) VALUES (?, ?, ?, ?, ?, ?)",
                (prompt_id, labeller, *label, time.time()),
            )

    def undo(self, labeller: str) -> dict[str, Any] | None:
        """Takes this person's last label back; the prompt as `next_prompt` shows it, with that label's places and
        comment. None where there is none.
        """
        _require_name(labeller)
        with self._connected(writes=True) as connection:
            last = self._last(connection, labeller)
            if last is None:
                return None
            connection.execute("UPDATE labels SET undone = 1 WHERE id = ?", (last["id"],))
            row = connection.execute("SELECT id, prompt FROM prompts WHERE id = ?", (last["prompt_id"],)).fetchone()
            shown = self._shown(connection, row, labeller)
            return shown | {"places": json.loads(last["places"]), "comment": last["comment"]}

    def progress(self, labeller: str) -> dict[str, Any]:
        """Labelled by this person, all prompts, labellers, and their agreement (None: nothing to compare yet)."""
        with self._connected() as connection:
            (total,) = connection.execute(f"SELECT COUNT(*) FROM prompts WHERE {IS_SHOWN}").fetchone()
            (done,) = connection.execute(
                "SELECT COUNT(DISTINCT prompt_id) FROM labels WHERE labeller = ? AND undone = 0", (labeller,)
            ).fetchone()
            (labellers,) = connection.execute("SELECT COUNT(DISTINCT labeller) FROM labels WHERE undone = 0").fetchone()
            alpha = self._agreement(connection)
        return {"done": done, "total": total, "labellers": labellers, "alpha": None if math.isnan(alpha) else alpha}

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
        """In one transaction, so that two processes may begin at once and a killed one leaves no half."""
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        tables = {row["name"] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not tables:
            for statement in (*SCHEMA.strip().split(";")[:-1], f"PRAGMA user_version = {VERSION}"):
                connection.execute(statement)
        elif not {"prompts", "answers", "labels"} <= tables:
            raise UserError(f"{self._path}: is a database of something else; name another file with --db")
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
        identity = json.dumps([row["prompt"], answers])
        random.Random(f"{self._seed}/{labeller}/{row['id']}").shuffle(answers)
        key = hashlib.sha256(identity.encode()).hexdigest()[:16]
        return {"id": row["id"], "key": key, "prompt": json.loads(row["prompt"]), "answers": answers}

    def _answers(self, connection: sqlite3.Connection, prompt_id: int) -> dict[int, dict[str, Any]]:
        rows = connection.execute("SELECT id, text, models FROM answers WHERE prompt_id = ? ORDER BY id", (prompt_id,))
        return {row["id"]: {"text": row["text"], "models": json.loads(row["models"])} for row in rows}

    def _last(self, connection: sqlite3.Connection, labeller: str, prompt_id: int | None = None) -> sqlite3.Row | None:
        """This person's last label that counts, of one prompt or of all."""
        found: sqlite3.Row | None = connection.execute(
            "SELECT * FROM labels WHERE labeller = ? AND undone = 0 AND (? IS NULL OR prompt_id = ?) "
            "ORDER BY id DESC LIMIT 1",
            (labeller, prompt_id, prompt_id),
        ).fetchone()
        return found

    def _current(self, connection: sqlite3.Connection) -> list[dict[str, Any]]:
        """The last label that counts of each person on each prompt, by prompt."""
        rows = connection.execute(
            "SELECT * FROM labels WHERE id IN "
            "(SELECT MAX(id) FROM labels WHERE undone = 0 GROUP BY labeller, prompt_id) ORDER BY prompt_id, id"
        )
        return [{**row, "places": json.loads(row["places"])} for row in map(dict, rows)]

    def _agreement(self, connection: sqlite3.Connection) -> float:
        """Of all labels, or where it takes long those of a while ago: at most a twentieth of the time goes into it."""
        state = tuple(connection.execute("SELECT MAX(id), SUM(undone) FROM labels").fetchone())
        known, alpha, made_s, took_s = self._alpha
        start_s = time.monotonic()
        if state != known and start_s > made_s + 20 * took_s:
            alpha = agreement(self._current(connection))
            made_s = time.monotonic()
            self._alpha = (state, alpha, made_s, made_s - start_s)
        return alpha

    @contextmanager
    def _connected(self, *, begins: bool = True, writes: bool = False) -> Iterator[sqlite3.Connection]:
        """One transaction. One that `writes` has the database for itself from its first statement on, so that what it
        reads is still so when it writes.
        """
        try:
            connection = sqlite3.connect(self._path, timeout=30.0, isolation_level=None)
            try:
                connection.row_factory = sqlite3.Row
                connection.execute("PRAGMA synchronous = FULL")
                if begins:
                    connection.execute("BEGIN IMMEDIATE" if writes else "BEGIN")
                yield connection
                if begins:
                    connection.execute("COMMIT")
            finally:
                connection.close()  # what is not committed is rolled back
        except sqlite3.Error as error:
            raise UserError(f"{self._path}: cannot be used as a database of labels: {error}") from None


def key_of(prompt: Prompt) -> str:
    """What a prompt is known by in the database."""
    return json.dumps(prompt, sort_keys=True)


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
