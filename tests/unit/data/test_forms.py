"""Every form that converts, and every row that is refused with its number."""

from typing import Any

import pytest

from rlreason.data.forms import conversations
from rlreason.types import UserError

USER, ASSISTANT = {"role": "user", "content": "3+4="}, {"role": "assistant", "content": "7"}
SYSTEM = {"role": "system", "content": "Be brief."}
PAIR = {"human": "3+4=", "assistant": "7"}

FORMS: dict[str, Any] = {
    "messages": {"messages": [USER, ASSISTANT], "source": "x"},
    "messages of another file's columns": {"messages": [USER | {"thinking": None}, ASSISTANT], "chosen": None},
    "content parts": {"messages": [USER | {"content": [{"type": "text", "text": "3+4="}]}, ASSISTANT]},
    "sharegpt": {"conversations": [{"from": "human", "value": "3+4="}, {"from": "gpt", "value": "7"}], "id": 3},
    "sharegpt, roles": {"conversations": [{"from": "user", "value": "3+4="}, {"from": "assistant", "value": "7"}]},
    "sharegpt, bot": {"conversations": [{"from": "Human", "value": "3+4="}, {"from": "bot", "value": "7"}]},
    "sharegpt, model": {"conversations": [{"from": "user", "value": "3+4="}, {"from": "model", "value": "7"}]},
    "conversations of messages": {"conversations": [USER, ASSISTANT]},
    "alpaca": {"instruction": "3+4=", "input": "", "output": "7", "text": "all of it"},
    "pair": PAIR,
    "Human, Assistance": {"Human": "3+4=", "Assistance": "7"},
    "human, Assistance": {"human": "3+4=", "Assistance": "7"},
    "human, Assistant": {"human": "3+4=", "Assistant": "7"},
    "two spellings in one file": {"human": "3+4=", "assistant": None, "Assistance": "7"},
    "a list of pairs": [PAIR],
    "a column of pairs": {"id": 3, "dialogue": [{"Human": "3+4=", "Assistance": "7"}]},
    "prompt, response": {"prompt": "3+4=", "response": "7"},
    "prompt, completion": {"prompt": "3+4=", "completion": "7"},
    "prompt, completion of messages": {"prompt": [USER], "completion": [ASSISTANT]},
    "question, answer": {"question": "3+4=", "answer": "7"},
    "prompt and messages": {"prompt": "3+4=", "prompt_id": "f0", "messages": [USER, ASSISTANT]},
}


@pytest.mark.parametrize("name", FORMS)
def test_each_form_becomes_messages(name: str) -> None:
    assert conversations([FORMS[name], FORMS[name]], "f") == [[USER, ASSISTANT]] * 2


def test_pairs_and_turns_keep_their_order_over_many_turns() -> None:
    two = [USER, ASSISTANT, {"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]
    pairs = [PAIR, {"human": "Why?", "Assistance": "So."}]
    said = [{"from": ("human", "gpt")[i % 2], "value": m["content"]} for i, m in enumerate(two)]
    assert conversations([pairs], "f") == conversations([{"log": pairs}], "f") == [two]
    assert conversations([{"conversations": said}], "f") == conversations([{"messages": two}], "f") == [two]


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [SYSTEM, USER, ASSISTANT]},
        {"system": "Be brief.", "messages": [USER, ASSISTANT]},
        {"system": "Be long.", "messages": [SYSTEM, USER, ASSISTANT]},
        {"system": "Be brief.", "instruction": "3+4=", "output": "7"},
        {"system": "Be brief.", "human": "3+4=", "assistant": "7"},
        {"System": "Be brief.", "Human": "3+4=", "Assistant": "7"},
        [{"system": "Be brief.", "human": "3+4=", "assistant": "7"}],
        {"system": "Be long.", "log": [{"system": "Be brief.", "human": "3+4=", "assistant": "7"}]},
        {"conversations": [{"from": "system", "value": "Be brief."}, {"from": "human", "value": "3+4="},
                           {"from": "gpt", "value": "7"}]},
    ],
)  # fmt: skip
def test_a_system_message_comes_first_once(row: Any) -> None:
    assert conversations([row], "f") == [[SYSTEM, USER, ASSISTANT]]


def test_alpacas_input_follows_the_instruction() -> None:
    row = {"instruction": "Add.", "input": "3+4", "output": "7"}
    assert conversations([row], "f") == [[{"role": "user", "content": "Add.\n\n3+4"}, ASSISTANT]]


EARLIER = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]


@pytest.mark.parametrize(
    "history",
    [
        [["Hi", "Hello!"]],
        [{"human": "Hi", "assistant": "Hello!"}],
        [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello!"}],
    ],
)
@pytest.mark.parametrize(
    "row", [{"instruction": "3+4=", "input": "", "output": "7"}, {"prompt": "3+4=", "response": "7"}, PAIR]
)
def test_history_is_what_was_said_before(row: Any, history: Any) -> None:
    rows = [row | {"history": []}, row | {"history": history}, row | {"history": history, "system": "Be brief."}]
    wanted = [[USER, ASSISTANT], [*EARLIER, USER, ASSISTANT], [SYSTEM, *EARLIER, USER, ASSISTANT]]
    assert conversations(rows, "f") == wanted and conversations(rows[::-1], "f") == wanted[::-1]


def test_history_alone_is_the_conversation_and_beside_messages_it_is_left_out() -> None:
    assert conversations([{"id": 1, "history": [USER, ASSISTANT]}], "f") == [[USER, ASSISTANT]]
    assert conversations([{"messages": [USER, ASSISTANT], "history": [["Hi", "Hello!"]]}], "f") == [[USER, ASSISTANT]]


@pytest.mark.parametrize("name", ["model", "bot", "gpt", "chatgpt", "Model"])
@pytest.mark.parametrize("wrap", [lambda row: row, lambda row: [row], lambda row: {"log": [row]}])
def test_a_column_that_tells_which_model_answered_is_not_the_answer(name: str, wrap: Any) -> None:
    assert conversations([wrap(PAIR | {name: "gpt-4"})], "f") == [[USER, ASSISTANT]]
    assert "no form" in refusal([wrap({"human": "3+4=", name: "7"})])


def test_thinking_stays_with_the_answer() -> None:
    for key in ("thinking", "reasoning_content"):
        wanted = [USER, ASSISTANT | {key: "3 and 4"}]
        assert conversations([{"messages": [USER | {key: None}, ASSISTANT | {key: "3 and 4"}]}], "f") == [wanted]
        assert conversations([{"prompt": "3+4=", "response": "7", key: "3 and 4"}], "f") == [wanted]
        assert conversations([[PAIR | {key: "3 and 4"}]], "f") == [wanted]


def test_a_worked_solution_stays_as_it_is() -> None:
    row = {"question": "Six boxes of 7?", "answer": "6*7=<<6*7=42>>42\n#### 42"}
    assert conversations([row], "f")[0][1]["content"] == row["answer"]


def refusal(rows: list[Any]) -> str:
    with pytest.raises(UserError) as error:
        conversations(rows, "sft.jsonl")
    text = str(error.value)
    assert "`sft.jsonl`" in text and "\n" not in text
    return text


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([USER], "no assistant turn"),
        ([], "no assistant turn"),
        ([SYSTEM], "no assistant turn"),
        ([USER, ASSISTANT, USER], "ends with the user's turn"),
        ([ASSISTANT, USER, ASSISTANT], "turn 0 is the assistant's"),
        ([USER, USER, ASSISTANT], "turn 1 is the user's"),
        ([USER, ASSISTANT, ASSISTANT], "turn 2 is the assistant's"),
        ([USER, SYSTEM, ASSISTANT], "a system message stands first"),
        ([SYSTEM, SYSTEM, USER, ASSISTANT], "a system message stands first"),
        ([SYSTEM, ASSISTANT], "turn 0 is the assistant's"),
        ([USER, ASSISTANT | {"content": " \n"}], "an assistant turn is empty"),
        ([USER, ASSISTANT | {"content": None}], "the assistant's turn is NoneType"),
        ([USER, {"role": "tool", "content": "7"}], "unknown speaker `tool`"),
        ([USER, "7"], "not in the form"),
        (None, "no form of conversation that is known: messages;"),
        ("3+4=", "not in the form"),
    ],
)
def test_a_conversation_that_is_not_well_formed_is_refused_with_its_row(messages: Any, expected: str) -> None:
    found = refusal([{"messages": [USER, ASSISTANT]}, {"messages": messages}])
    assert "row 1" in found and expected in found


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "3+4=", "chosen": "7", "rejected": "8"},
        {"chosen": [USER, ASSISTANT], "rejected": [USER, ASSISTANT]},
        {"prompt": "3+4=", "responses": ["7", "8"], "ranking": [0, 1]},
    ],
)
def test_preferences_in_an_sft_file_are_sent_to_the_reward_model(row: Any) -> None:
    assert "reward_model" in refusal([row])
    found = refusal([{"messages": [USER, ASSISTANT]}, row])
    assert "row 1" in found and "reward_model" in found


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"human": "3+4=", "assistant": "7", "Assistance": "8"}, "both `assistant` and `Assistance`"),
        ({"user": "u17", "human": "3+4=", "assistant": "7"}, "both `user` and `human`"),
        ([PAIR, PAIR | {"system": "Be brief."}], "a system message stands first"),
        ({"instruction": "3+4=", "output": "7", "history": "none"}, "`history` is neither"),
        ({"instruction": "3+4=", "output": "7", "history": [["Hi"]]}, "`history` is neither"),
        ({"instruction": "3+4=", "output": "7", "history": [["Hi", None]]}, "the assistant's turn is NoneType"),
    ],
)
def test_a_row_with_two_texts_for_one_turn_or_a_broken_history_is_refused(row: Any, expected: str) -> None:
    assert expected in refusal([row])


def test_other_rows_are_told_what_they_are_or_could_be() -> None:
    assert "pretrain" in refusal([{"text": "3+4=7"}])
    found = refusal([{"problem": "3+4=", "gold": "7"}])
    assert "problem, gold" in found and "human and assistant" in found
    assert "row 1" in refusal([{"human": "3+4=", "assistant": "7"}, {"human": "3+4=", "assistant": None}])
    assert "no form" in refusal(["3+4=7"])
    assert "no rows" in refusal([])


@pytest.mark.parametrize("asked", [None, 7, 7.5, {"a": 1}])
def test_an_instruction_that_is_no_text_is_not_made_one(asked: object) -> None:
    row = {"instruction": "a", "input": "x", "output": "y"}
    with pytest.raises(UserError, match="row 1: `instruction` is .*, not text"):
        conversations([row, row | {"instruction": asked}], "data")
