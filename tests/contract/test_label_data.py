"""Real people's votes on real answers through the labels' database: agreement, export, and rows that a stage reads."""

import json
import os
import re
import sqlite3
import zipfile
from collections import defaultdict
from itertools import combinations
from pathlib import Path
from statistics import fmean
from xml.etree import ElementTree

import pytest

from rlreason.config.data import PreferenceSource
from rlreason.data.preferences import load_preferences
from rlreason.web.label.command import export
from rlreason.web.label.store import Answer, Store

CELL = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
PLACES = {"a": (1, 2), "b": (2, 1), "tie": (1, 1)}

Vote = tuple[str, str, dict[str, int]]
"""Prompt, person, and the place of each answer."""


def spreadsheet(path: Path) -> list[dict[str, str]]:
    """Rows by the header's names."""
    with zipfile.ZipFile(path) as file:
        shared, sheet = (
            ElementTree.fromstring(file.read(f"xl/{name}.xml")) for name in ("sharedStrings", "worksheets/sheet1")
        )
    texts = ["".join(part.text or "" for part in entry.iter(f"{CELL}t")) for entry in shared]
    rows = []
    for row in sheet.iter(f"{CELL}row"):
        cells = [(cell, cell.findtext(f"{CELL}v") or "") for cell in row.iter(f"{CELL}c")]
        rows.append({
            re.sub(r"\d", "", cell.attrib["r"]): texts[int(value)] if cell.get("t") == "s" else value
            for cell, value in cells
        })  # fmt: skip
    head, *body = rows
    return [{name: row.get(column, "") for column, name in head.items()} for row in body]


@pytest.fixture(scope="module")
def votes() -> dict[str, list[Vote]]:
    """By the pair of models: the human evaluation of Tulu (Wang et al. 2023, arXiv 2306.04751)."""
    data = os.environ.get("RLREASON_TEST_DATA")
    if data is None:
        pytest.skip("RLREASON_TEST_DATA is not set")
    found: dict[str, list[Vote]] = defaultdict(list)
    for row in spreadsheet(Path(data) / "tulu_human_eval/eval_annotations_tulu_1.xlsx"):
        texts, said = (row["completion_a"], row["completion_b"]), row["preference"].split("-")[0]
        if said in PLACES and texts[0] != texts[1]:
            vote = (row["prompt"], row["evaluator"], dict(zip(texts, PLACES[said], strict=True)))
            found[" ".join(sorted((row["model_a"], row["model_b"])))].append(vote)
    return found


def expected_alpha(votes: list[Vote]) -> float:
    """From the definition, vote against vote, for the three values of a comparison, each both ways round."""
    last = {(prompt, person): places for prompt, person, places in votes}
    by_prompt: dict[str, list[int]] = defaultdict(list)
    for (prompt, _), places in last.items():
        (_, one), (_, other) = sorted(places.items())
        by_prompt[prompt].append((one < other) - (one > other))
    units = [[sign * value for value in values] for values in by_prompt.values() if len(values) > 1 for sign in (1, -1)]
    every = [value for values in units for value in values]

    def distance(one: int, other: int) -> float:
        low, high = min(one, other), max(one, other)
        ranks = {value: every.count(value) for value in range(low, high + 1)}
        return 0.0 if one == other else (sum(ranks.values()) - (ranks[low] + ranks[high]) / 2) ** 2

    observed = sum(len(values) * fmean(distance(*two) for two in combinations(values, 2)) for values in units) / len(
        every
    )
    return 1 - observed / fmean(distance(*two) for two in combinations(every, 2))


def numbers(database: Path) -> dict[str, tuple[int, dict[str, int]]]:
    """By prompt its number and its answers' numbers."""
    found: dict[str, tuple[int, dict[str, int]]] = {}
    with sqlite3.connect(database) as connection:
        for prompt, prompt_id, text, answer in connection.execute(
            "SELECT prompt, prompt_id, text, answers.id FROM answers JOIN prompts ON prompts.id = prompt_id"
        ):
            found.setdefault(json.loads(prompt), (prompt_id, {}))[1][text] = answer
    return found


LONG = [pytest.param(f"tulu_65B {other}", marks=pytest.mark.long) for other in ("tulu_7B", "tulu_human_only_65B")]


@pytest.mark.parametrize("models", ["chatgpt tulu_65B", *LONG])
def test_votes_of_many_people(models: str, votes: dict[str, list[Vote]], tmp_path: Path) -> None:
    database, rows = tmp_path / "labels.sqlite", tmp_path / "rows.jsonl"
    store, people = Store(database), {person for _, person, _ in votes[models]}
    store.add((prompt, [Answer(text=text) for text in places]) for prompt, _, places in votes[models])
    known = numbers(database)
    for prompt, person, places in votes[models]:
        number, answers = known[prompt]
        store.save(person, number, {answers[text]: place for text, place in places.items()}, all_bad=False, comment="")
    progress = store.progress("nobody")
    assert progress["labellers"] == len(people) and progress["alpha"] == pytest.approx(expected_alpha(votes[models]))
    print(f"{models}: {len(people)} people, {len(votes[models])} votes, alpha {progress['alpha']:.2f}")
    last = {(prompt, person): places for prompt, person, places in votes[models]}
    export(database, rows, "rankings")
    found, num_tied = load_preferences(PreferenceSource(path=str(rows)))
    assert len(found) + num_tied == len(last) and num_tied == sum(len({*p.values()}) == 1 for p in last.values()) > 0
    export(database, rows, "pairs")
    found, _ = load_preferences(PreferenceSource(path=str(rows)))
    assert sorted((row.prompt, row.responses[0]) for row in found) == sorted(
        (prompt, min(places, key=places.__getitem__))
        for (prompt, _), places in last.items()
        if len({*places.values()}) > 1
    )
