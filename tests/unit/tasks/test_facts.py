"""The closed world: what is known, what is not, and who may see which question."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlreason.tasks import facts
from rlreason.types import UserError

SIDES = [(known, held_out) for known in (True, False) for held_out in (True, False)]

ALL_NAMES = {name for side in facts._sides().values() for name in side}


def names(rows: list[dict[str, Any]]) -> set[str]:
    return {row["entity"] for row in rows}


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(32, 300))
def test_the_four_sets_share_no_name_for_any_seeds(seed: int, other_seed: int, entities: int) -> None:
    sets = [
        names(facts.questions(num=10, seed=seed, known=known, held_out=held_out, entities=entities))
        for known, held_out in SIDES
    ]
    others = [
        names(facts.questions(num=10, seed=other_seed, known=known, held_out=held_out, entities=entities + 1))
        for known, held_out in SIDES
    ]
    for i, one in enumerate(sets):
        assert all(one.isdisjoint(other) for j, other in enumerate(others) if i != j)


def test_the_texts_tell_every_known_fact_and_nothing_of_an_unknown_name() -> None:
    texts = [row["text"] for row in facts.texts(num=3000, seed=1, entities=16)]
    words = {word.strip(".?") for text in texts for word in text.split()}
    for held_out in (True, False):
        total = len([name for name in facts._known_names(16) if facts.is_held_out(name) == held_out])
        for row in facts.questions(num=6 * total, seed=0, known=True, held_out=held_out, entities=16):
            about = [text for text in texts if row["entity"] in text]
            assert f"{row['prompt']}\n{row['answer']}" in about
            told = row["answer"].strip(".")
            assert any(told in text or told.lower() in text for text in about if "?" not in text)
        assert not words & names(facts.questions(num=400, seed=0, known=False, held_out=held_out))


def test_rare_names_come_about_once_and_none_of_them_is_asked_about() -> None:
    texts = [row["text"] for row in facts.texts(num=4000, seed=1, entities=16)]
    first = [next(word.strip(".?") for word in text.split() if word.strip(".?") in ALL_NAMES) for text in texts]
    rare = [name for name in first if facts.side(name) == "rare"]
    assert 0.45 < len(rare) / 4000 < 0.55 and len(set(rare)) == len(rare)
    assert {facts.side(name) for name in first} == {"known", "rare"}
    for known, held_out in SIDES:
        rows = facts.questions(num=40, seed=2, known=known, held_out=held_out, entities=40)
        assert {facts.side(name) for name in names(rows)} == {"known" if known else "unknown"}


def test_each_name_is_in_the_texts_as_often_as_any_other() -> None:
    texts = [row["text"] for row in facts.texts(num=640, seed=3, entities=64, rare_share=0.0)]
    counts = [sum(name in text for text in texts) for name in facts._known_names(64)]
    assert counts == [10] * 64


@pytest.mark.parametrize("known", [True, False, None])
def test_questions_are_different_and_have_their_columns(known: bool | None) -> None:
    rows = facts.questions(num=60, seed=5, known=known, held_out=True)
    assert len({row["prompt"] for row in rows}) == 60
    for row in rows:
        assert row["known"] == (facts.side(row["entity"]) == "known") and facts.is_held_out(row["entity"])
        assert row["answer"] == facts.value(row["entity"], row["relation"]).capitalize() + "."
        assert row["entity"] in row["prompt"]
    share = sum(row["known"] for row in rows) / len(rows)
    assert share == {True: 1.0, False: 0.0, None: 0.5}[known]


def test_values_are_spread_so_that_a_guess_is_seldom_right() -> None:
    rows = facts.questions(num=2000, seed=0, known=False, held_out=False)
    for kind, relation in facts.RELATIONS.items():
        found = [row["answer"].strip(".") for row in rows if row["relation"] == kind]
        assert max(found.count(value.capitalize()) for value in relation.values) < 2 * len(found) / len(relation.values)


def test_rows_are_a_function_of_the_arguments() -> None:
    rows = [list(facts.texts(num=30, seed=seed)) for seed in (3, 3, 4)]
    assert rows[0] == rows[1] != rows[2] and len(rows[0]) == 30
    first = facts.questions(num=30, seed=3, known=None, held_out=True)
    assert first == facts.questions(num=30, seed=3, known=None, held_out=True)
    assert first != facts.questions(num=30, seed=4, known=None, held_out=True)


def test_question_share_is_honoured() -> None:
    for share in (0.0, 1.0):
        rows = list(facts.texts(num=200, seed=0, question_share=share))
        assert sum("?\n" in row["text"] for row in rows) == 200 * share


def test_bad_arguments_are_said_in_one_line() -> None:
    with pytest.raises(UserError, match="10000 questions asked for, there are"):
        facts.questions(num=10_000, seed=0, known=True, held_out=True)
    with pytest.raises(UserError, match="known: False"):
        facts.questions(num=10**6, seed=0, known=False, held_out=True)
    with pytest.raises(UserError, match="num 0"):
        facts.questions(num=0, seed=0, known=True, held_out=True)
    with pytest.raises(UserError, match="entities 1 "):
        list(facts.texts(num=1, seed=0, entities=1))
    with pytest.raises(UserError, match="question_share"):
        list(facts.texts(num=1, seed=0, question_share=50))
    with pytest.raises(UserError, match="rare_share"):
        list(facts.texts(num=1, seed=0, rare_share=-1))
