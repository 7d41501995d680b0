"""Ordinary conversation, and that no builder trains on what another holds out."""

from pathlib import Path

import pytest

from rlreason.rewards.knows import abstains
from rlreason.rewards.refusal import refused
from rlreason.tasks import chains, dialogue, facts, identity, safety
from rlreason.types import Task, UserError

CARD = str(Path(__file__).resolve().parents[3] / "configs/tiny-cpu/identity.yaml")


def test_conversations_alternate_and_are_of_several_lengths() -> None:
    lengths = []
    for row in dialogue.conversations(num=500, seed=1):
        roles = [message["role"] for message in row["messages"]]
        assert roles == ["user", "assistant"] * (len(roles) // 2)
        assert all(message["content"].strip() for message in row["messages"])
        lengths.append(len(roles))
    assert set(lengths) == {2, 4, 6, 8, 10, 12}


def test_it_neither_refuses_nor_abstains() -> None:
    task = Task(id="t", prompt="?")
    for row in dialogue.conversations(num=200, seed=2):
        for message in row["messages"][1::2]:
            assert refused(message["content"], task).value == abstains(message["content"], task).value == 0.0


def test_the_vocabulary_is_small() -> None:
    words = {word.strip(".,!?").lower() for row in dialogue.texts(num=1000, seed=3) for word in row["text"].split()}
    assert 150 < len(words) < 300


def test_rows_are_a_function_of_the_arguments() -> None:
    for make in (dialogue.conversations, dialogue.texts):
        assert make(num=30, seed=3) == make(num=30, seed=3) != make(num=30, seed=4)
        assert len(make(num=30, seed=3)) == 30


def test_phrasings_are_parted_whatever_their_order() -> None:
    wordings = [f"Say {number}." for number in range(20)]
    held_out = dialogue.phrasings(wordings, held_out=True)
    trained = dialogue.phrasings(wordings[::-1], held_out=False)
    assert len(held_out) == 4 and sorted(held_out + trained) == sorted(wordings)
    assert (
        len(dialogue.phrasings(["a", "b"], held_out=True)) == len(dialogue.phrasings(["a", "b"], held_out=False)) == 1
    )
    with pytest.raises(UserError, match="two wordings"):
        dialogue.phrasings(["a"], held_out=True)


def test_no_builder_trains_on_what_another_holds_out() -> None:
    trained = {
        message["content"]
        for rows in (
            dialogue.conversations(num=1000, seed=1),
            identity.conversations(card=CARD, num=1000, seed=1),
            safety.conversations(num=1000, seed=1),
            chains.conversations(num=1000, seed=1, worked_share=0.5, max_operations=1),
        )
        for row in rows
        for message in row["messages"]
        if message["role"] == "user"
    }
    trained |= {row["prompt"] for row in facts.questions(num=400, seed=1, known=None, held_out=False)}
    trained |= {line for row in facts.texts(num=3000, seed=1) for line in row["text"].splitlines()}
    trained |= {row["text"].partition("=")[0] + "=" for row in chains.texts(num=1000, seed=1, max_operations=1)}
    trained |= {row["text"] for row in dialogue.texts(num=1000, seed=1)}
    held_out = [
        *identity.tasks(card=CARD, num=63, seed=0),
        *safety.tasks(num=128, seed=0, unsafe=True),
        *safety.tasks(num=128, seed=0, unsafe=False),
        # What is asked of a known name is in the texts, as it should be.
        *facts.questions(num=1000, seed=0, known=False, held_out=True),
        *chains.tasks(num=20, seed=0, held_out=True, max_operations=1),
    ]
    assert len(trained) > 1000 and not trained & {row["prompt"] for row in held_out}
