"""The shipped task: its gold answers are right, its split is clean, its tokenizer loses nothing."""

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlreason.rewards.math import verify
from rlreason.tasks import chains
from rlreason.types import UserError

PROMPT = re.compile(r"\d([+*-][1-9])+=")
LINE = re.compile(r"(\d)([+*-])([1-9])=(\d)")


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return chains.tokenizer()


def last_digit(prompt: str) -> str:
    """Worked out by Python's own arithmetic, from left to right, on text that holds digits and signs only."""
    assert PROMPT.fullmatch(prompt)
    value = prompt[0]
    for sign, operand in re.findall(r"([+*-])(\d)", prompt):
        value = str(eval(f"({value}{sign}{operand}) % 10"))
    return value


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6), st.booleans(), st.integers(2, 6))
def test_gold_answers_are_right_and_prompts_differ(seed: int, held_out: bool, max_operations: int) -> None:
    rows = chains.tasks(num=30, seed=seed, held_out=held_out, max_operations=max_operations)
    assert len({row["prompt"] for row in rows}) == 30
    for row in rows:
        assert row["answer"] == last_digit(row["prompt"])
        assert len(re.findall(r"[+*-]", row["prompt"])) == max_operations


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6), st.integers(1, 5))
def test_worked_solutions_are_right_line_by_line(seed: int, max_operations: int) -> None:
    for row in chains.texts(num=20, seed=seed, max_operations=max_operations):
        prompt, equals, solution = row["text"].partition("=")
        *lines, boxed = solution.split(";")
        value = prompt[0]
        assert len(lines) == len(re.findall(r"[+*-]", prompt))
        for line, (sign, operand) in zip(lines, re.findall(r"([+*-])(\d)", prompt), strict=True):
            left, found_sign, right, result = LINE.fullmatch(line).groups()
            assert (left, found_sign, right) == (value, sign, operand)
            value = result
        assert value == last_digit(prompt + equals)
        assert boxed == rf"\boxed{{{value}}}"


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_train_and_held_out_prompts_are_disjoint_for_any_seeds(seed: int, other_seed: int) -> None:
    # 2 operations: 7290 prompts in all, so that a leak would show.
    held_out = {row["prompt"] for row in chains.tasks(num=100, seed=seed, held_out=True, max_operations=2)}
    trained = {row["prompt"] for row in chains.tasks(num=400, seed=other_seed, max_operations=2)}
    pretrained = {row["text"].split("=")[0] + "=" for row in chains.texts(num=400, seed=other_seed, max_operations=2)}
    tuned = {
        row["messages"][0]["content"]
        for row in chains.conversations(num=400, seed=other_seed, worked_share=0.5, max_operations=2)
    }
    assert not held_out & (trained | pretrained | tuned)


def test_about_one_prompt_in_ten_is_held_out() -> None:
    prompts = [f"{a}{sign}{b}{other}{c}=" for a in range(10) for sign in "+-*" for b in range(1, 10)
               for other in "+-*" for c in range(1, 10)]  # fmt: skip
    assert 0.08 < sum(map(chains.is_held_out, prompts)) / len(prompts) < 0.12


def test_rows_are_a_function_of_the_arguments() -> None:
    rows = [list(chains.texts(num=20, seed=seed)) for seed in (3, 3, 4)]
    assert rows[0] == rows[1] != rows[2]
    assert chains.tasks(num=20, seed=3) == chains.tasks(num=40, seed=3)[:20]
    first = list(chains.conversations(num=20, seed=3, worked_share=0.5))
    assert first == list(chains.conversations(num=20, seed=3, worked_share=0.5))


@pytest.mark.parametrize(("share", "low", "high"), [(0.0, 0, 0), (0.1, 60, 140), (0.5, 430, 570), (1.0, 1000, 1000)])
def test_the_worked_share_is_honoured(share: float, low: int, high: int) -> None:
    replies = [row["messages"][1]["content"] for row in chains.conversations(num=1000, seed=5, worked_share=share)]
    assert low <= sum(reply.count(";") > 0 for reply in replies) <= high


def test_every_reply_passes_the_verifier_and_a_wrong_one_does_not() -> None:
    for row in chains.conversations(num=50, seed=6, worked_share=0.5):
        prompt, reply = (message["content"] for message in row["messages"])
        assert verify(reply, last_digit(prompt)).value == 1.0
        assert verify(reply, str((int(last_digit(prompt)) + 1) % 10)).value == 0.0


def test_the_tokenizer_round_trips_and_a_box_is_one_token(tokenizer: Any) -> None:
    for row in chains.texts(num=50, seed=7):
        ids = tokenizer(row["text"], add_special_tokens=False)["input_ids"]
        assert tokenizer.decode(ids) == row["text"]
        assert len(ids) == len(row["text"]) - len(r"\boxed{") + 1
        assert tokenizer.convert_ids_to_tokens(ids).count(r"\boxed{") == 1
    assert len(set(chains.VOCABULARY)) == len(chains.VOCABULARY) == len(tokenizer)
    assert [tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id] == [0, 1, 2]


def test_the_tokenizer_survives_being_saved(tokenizer: Any, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    text = r"3+4*7=3+4=7;7*7=9;\boxed{9}"
    assert again(text)["input_ids"] == tokenizer(text)["input_ids"]
    assert again.chat_template == tokenizer.chat_template
    assert again.decode(again(text)["input_ids"]) == text


@pytest.mark.timeout(60)
def test_asking_for_more_tasks_than_there_are_is_an_error_and_not_a_hang() -> None:
    # One operation: 10 x 3 x 9 = 270 prompts, on both sides of the split together.
    all_prompts = [f"{digit}{sign}{other}=" for digit in range(10) for sign in "+-*" for other in range(1, 10)]
    num_held_out = sum(map(chains.is_held_out, all_prompts))
    with pytest.raises(UserError, match=f"only {270 - num_held_out} training prompts were found"):
        chains.tasks(num=300, seed=0, max_operations=1)
    with pytest.raises(UserError, match=f"only {num_held_out} held-out prompts were found"):
        chains.tasks(num=100, seed=0, max_operations=1, held_out=True)
