"""Identity: a strict card, its words in the answers, wordings that are trained on and others that are held out."""

from pathlib import Path

import pytest
import yaml

from rlreason.rewards.knows import right
from rlreason.tasks import identity
from rlreason.types import Task, UserError

SHIPPED = str(Path(__file__).resolve().parents[3] / "configs/tiny-cpu/identity.yaml")
CARD = {"name": "Ada{0}", "made_by": "Bo", "can": ["count", "sing"], "cannot": ["see", "walk", "fly"]}


def written(tmp_path: Path, **changes: object) -> str:
    path = tmp_path / "card.yaml"
    body = {key: value for key, value in {**CARD, **changes}.items() if value is not None}
    path.write_text(yaml.safe_dump(body))
    return str(path)


def asked(rows: list[dict]) -> set[str]:
    return {message["content"] for row in rows for message in row["messages"] if message["role"] == "user"}


def test_trained_and_held_out_wordings_are_disjoint() -> None:
    trained = asked(identity.conversations(card=SHIPPED, num=3000, seed=1))
    held_out = {row["prompt"] for row in identity.tasks(card=SHIPPED, num=60, seed=2)}
    assert len(held_out) == 60 and not trained & held_out
    # Nor does a frame hide one.
    bare = {prompt for prompt in held_out if not prompt.startswith(("Hi. ", "Please answer: "))}
    assert len(bare) >= 15 and not bare & {
        text.removeprefix("Hi. ").removeprefix("Please answer: ") for text in trained
    }


def test_the_card_is_in_the_answers_and_tasks_can_be_answered_from_it(tmp_path: Path) -> None:
    card = written(tmp_path, license="MIT", languages=["Latin", "Greek"])
    rows = identity.conversations(card=card, num=600, seed=1)
    said = {m["content"] for row in rows for m in row["messages"] if m["role"] == "assistant"}
    for text in (
        "I am Ada{0}, an assistant made by Bo.", "I can count and sing.", "I cannot see, walk or fly.",
        "I speak Latin and Greek.", "No, I am Ada{0}.", "I am free under MIT.",
    ):  # fmt: skip
        assert text in said
    answers = {name: f"I am Ada{{0}}, an AI by Bo. {name}" for name in ("count", "fly", "Greek", "MIT")}
    for row in identity.tasks(card=card, num=50, seed=0):
        task = Task(id="t", prompt=row["prompt"], answer=tuple(row["answer"]))
        assert any(right(answer, task).value == 1.0 for answer in answers.values())
        assert right("I am a bird.", task).value == 0.0


def test_conversations_alternate_and_some_are_longer() -> None:
    lengths = set()
    for row in identity.conversations(card=SHIPPED, num=200, seed=3):
        roles = [message["role"] for message in row["messages"]]
        assert roles == ["user", "assistant"] * (len(roles) // 2)
        lengths.add(len(roles))
    assert lengths == {2, 4, 6, 8}


def test_rows_are_a_function_of_the_arguments() -> None:
    for make in (identity.conversations, identity.tasks):
        assert (
            make(card=SHIPPED, num=20, seed=3)
            == make(card=SHIPPED, num=20, seed=3)
            != make(card=SHIPPED, num=20, seed=4)
        )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": None}, "missing key `name`"),
        ({"name": ""}, "name: "),
        ({"mad_by": "x"}, "unknown key `mad_by`; did you mean `made_by`"),
        ({"can": "everything"}, "can: "),
        ({"can": []}, "can: "),
        ({"extra": [{"ask": ["Why?", "How come?"], "answer": "So.", "expct": "So"}]}, "extra.0.expect"),
        (
            {"extra": [{"ask": ["Why?", "How?"], "answer": "So.", "expect": "So", "anser": ""}]},
            "identity card .*: unknown key `extra.0.anser`; did you mean `answer`",
        ),
        ({"extra": [{"ask": ["Why?"], "answer": "So.", "expect": "So"}]}, "extra.0.ask: "),
        ({"extra": [{"ask": ["Who are you?", "Why?"], "answer": "So.", "expect": "So"}]}, "asked twice"),
    ],
)
def test_a_bad_card_is_said_in_one_line(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        identity.conversations(card=written(tmp_path, **changes), num=1, seed=0)
    assert "\n" not in str(error.value)


def test_a_file_that_is_no_card_is_said_in_one_line(tmp_path: Path) -> None:
    for text, message in (("- a\n", "found list"), ("a: [", "bad YAML"), ("\udcff", "cannot be read")):
        (tmp_path / "card").write_text(text, errors="surrogateescape")
        with pytest.raises(UserError, match=message):
            identity.tasks(card=str(tmp_path / "card"), num=1, seed=0)
    with pytest.raises(UserError, match="none: no such file"):
        identity.tasks(card=str(tmp_path / "none"), num=1, seed=0)
    with pytest.raises(UserError, match="999 tasks are asked for"):
        identity.tasks(card=SHIPPED, num=999, seed=0)
